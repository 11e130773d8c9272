//! Values that only the client has: the table of variables takes them for any text.

use std::net::{IpAddr, Ipv4Addr};

use super::address;
use super::compose::{NatWish, TimeOffset};
use super::layers::Layers;
use super::options::{Proxy, Transport};
use super::raw::{Icmp, Shape};
use crate::config::{Complaints, Fault};
use crate::net::{can_be_host, parse_port};

/// Complains about those that cannot be read, in all layers.
pub fn check(layers: &Layers, complaints: &mut Complaints) {
    let mut check = |name: &'static str, fault_of: fn(&str) -> Option<Fault>| {
        for said in layers.all(name) {
            if let Some(fault) = said.text().and_then(fault_of) {
                complaints.error(said.place, format!("{name}: {}", fault.what), fault.advice);
            }
        }
    };
    check("ALLOW_IP", |text| allow(text).err());
    check("RESOLVE_URL", |text| address::service(text).err());
    check("NAT_ACCESS", |text| nat_target(text).err());
    check("TIME_OFFSET", |text| text.parse::<TimeOffset>().err());
    check("SPOOF_SOURCE_IP", |text| forged(text).err());
    check("HTTP_PROXY", |text| proxy(text).err());
}

/// Whom to let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allow {
    Address(IpAddr),
    /// Whatever address a web service sees us at.
    Resolve,
}

impl Allow {
    /// The source of the packet, whatever it is.
    const SOURCE: Self = Allow::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

pub fn allow(text: &str) -> Result<Allow, Fault> {
    match text {
        _ if text.eq_ignore_ascii_case("source") => Ok(Allow::SOURCE),
        _ if text.eq_ignore_ascii_case("resolve") => Ok(Allow::Resolve),
        _ => text.parse().map(Allow::Address).map_err(|_| {
            let advice = "write an address like 192.0.2.7; names are not looked up; -s stands for the packet's source";
            Fault::new(format!("'{text}' is not an IP address"), advice)
        }),
    }
}

/// The table lets no other words through.
pub fn transport(text: &str) -> Option<Transport> {
    match text {
        "udp" => Some(Transport::Udp),
        "tcp" => Some(Transport::Tcp),
        "http" => Some(Transport::Http),
        "udpraw" => Some(Transport::Raw(Shape::Udp)),
        "tcpraw" => Some(Transport::Raw(Shape::Tcp)),
        "icmp" => Some(Transport::Raw(Shape::Icmp(Icmp::default()))),
        _ => None,
    }
}

/// A source address that a server does not drop.
pub fn forged(text: &str) -> Result<Ipv4Addr, Fault> {
    let address = text.parse().ok().filter(|address| can_be_host(IpAddr::V4(*address)));
    address.ok_or_else(|| {
        let advice = "write an address like 192.0.2.7; raw packets go over IPv4 only, and names are not looked up";
        Fault::new(format!("'{text}' is not the IPv4 address of a host"), advice)
    })
}

/// `host:port`, `host,port`, `host`, and `[2001:db8::1]:port` for IPv6.
pub fn nat_target(text: &str) -> Result<NatWish, Fault> {
    host_and_port(text, "write host:port, with an address or a host name; an IPv6 address in brackets")
}

/// `host:port` or `host`, perhaps behind `http://`.
pub fn proxy(text: &str) -> Result<Proxy, Fault> {
    let advice = "write host:port, of a proxy that asks for no password; an IPv6 address in brackets";
    let place = match text.split_once("://") {
        Some((scheme, place)) if scheme.eq_ignore_ascii_case("http") => place,
        Some((scheme, _)) => return Err(Fault::new(format!("a proxy is not spoken to with {scheme}"), advice)),
        None => text,
    };
    if place.contains('@') {
        return Err(Fault::new("a proxy that asks for a password cannot be used", advice));
    }
    let (host, port) = host_and_port(place.strip_suffix('/').unwrap_or(place), advice)?.into_parts();
    Ok(Proxy { host, port })
}

fn host_and_port(text: &str, advice: &'static str) -> Result<NatWish, Fault> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix([':', ',']).or((!rest.is_empty()).then_some(rest))),
        None => match text.split_once(',').or_else(|| text.rsplit_once(':')) {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => {
            let parsed = parse_port(port);
            Some(parsed.ok_or_else(|| Fault::new(format!("'{port}' is not a port"), advice))?)
        }
    };
    NatWish::new(host, port).ok_or_else(|| Fault::new(format!("'{host}' is not a host"), advice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proxies_are_read_as_the_original_reads_them() {
        let read = |text| proxy(text).map(|proxy| (proxy.host, proxy.port.map(|port| port.get()))).ok();
        for text in ["proxy.example:3128", "http://proxy.example:3128", "HTTP://proxy.example:3128/"] {
            assert_eq!(read(text), Some(("proxy.example".into(), Some(3128))), "{text}");
        }
        assert_eq!(read("http://192.0.2.1"), Some(("192.0.2.1".into(), None)));
        assert_eq!(read("[2001:db8::1]:8080"), Some(("2001:db8::1".into(), Some(8080))));
        for bad in ["", "http://", "https://proxy.example", "proxy:0", "proxy:65536", "me:secret@proxy:3128", "a/b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nat_targets_are_read_as_they_are_written(host in "[a-z][a-z0-9.-]{0,9}|[0-9.]{1,12}|[0-9a-f:]{2,9}", port: u16) {
            let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            for separator in [':', ','] {
                let read = nat_target(&format!("{bracketed}{separator}{port}"));
                prop_assert_eq!(read.ok(), parse_port(&port.to_string()).and_then(|port| NatWish::new(&host, Some(port))));
            }
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,20}") {
            let _ = (nat_target(&text), proxy(&text), allow(&text), text.parse::<TimeOffset>());
        }
    }
}
