//! How a packet is sent, and whence.

use std::net::Ipv4Addr;

use super::super::layers::Said;
use super::super::raw::{Icmp, Shape};
use super::super::values;
use super::Reader;
use crate::config::Checked;
use crate::net::Port;

#[derive(Debug)]
pub struct SendOptions {
    pub destination: Option<String>,
    pub port: u16,
    pub random_port: bool,
    pub source_port: u16,
    pub transport: Transport,
    /// Only with HTTP.
    pub proxy: Option<Proxy>,
    /// The source address of a raw packet, where it is not ours.
    pub forged: Option<Ipv4Addr>,
    pub ipv4_only: bool,
    pub user_agent: Option<String>,
}

/// Who passes an HTTP request on to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    /// `None`: that of the server.
    pub port: Option<Port>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Http,
    Raw(Shape),
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Http => "http",
            Transport::Raw(Shape::Udp) => "udpraw",
            Transport::Raw(Shape::Tcp) => "tcpraw",
            Transport::Raw(Shape::Icmp(_)) => "icmp",
        }
    }
}

impl Reader<'_> {
    pub(super) fn send(&mut self) -> SendOptions {
        let (transport, proxy) = self.transport();
        let transport = self.with_icmp(transport);
        let forged = self.forged(transport);
        let layers = self.layers;
        let port = |name| layers.number(name).and_then(|port| u16::try_from(port).ok());
        let usual = if transport == Transport::Http { 80 } else { crate::net::DEFAULT_SPA_PORT };
        SendOptions {
            destination: layers.text("SPA_SERVER").map(str::to_owned),
            port: port("SPA_SERVER_PORT").unwrap_or(usual),
            random_port: layers.flag("RAND_PORT"),
            source_port: port("SPA_SOURCE_PORT").unwrap_or(0),
            transport,
            proxy,
            forged,
            ipv4_only: layers.flag("SERVER_RESOLVE_IPV4"),
            user_agent: layers.text("HTTP_USER_AGENT").map(str::to_owned),
        }
    }

    /// A proxy means HTTP, unless a stronger layer wants something else.
    fn transport(&mut self) -> (Transport, Option<Proxy>) {
        let proxy = self.parsed("HTTP_PROXY", values::proxy);
        let deciding = self.layers.strongest_first().find_map(|layer| {
            match (layer.said("SPA_SERVER_PROTO"), layer.said("HTTP_PROXY")) {
                (None, None) => None,
                both => Some(both),
            }
        });
        match deciding {
            None => (Transport::Udp, None),
            Some((None, _)) => (Transport::Http, proxy),
            Some((Some(proto), beside)) => {
                let transport = proto.text().and_then(values::transport).unwrap_or(Transport::Udp);
                if let (false, Some(said)) = (transport == Transport::Http, beside) {
                    let what = format!("a proxy carries HTTP, not {}", transport.name());
                    self.complaints.error(said.place, what, "leave out the proxy, or the other transport");
                }
                (transport, proxy.filter(|_| transport == Transport::Http))
            }
        }
    }

    fn with_icmp(&mut self, transport: Transport) -> Transport {
        let icmp = ["ICMP_TYPE", "ICMP_CODE"].map(|name| self.layers.strongest(&[name]));
        let byte = |said: Option<Said<'_>>| match said.map(|said| said.value) {
            Some(Checked::Number(number)) => u8::try_from(*number).ok(), // the table lets only small numbers through
            _ => None,
        };
        if transport == Transport::Raw(Shape::Icmp(Icmp::default())) {
            let [kind, code] = icmp.map(|said| byte(said).unwrap_or_default());
            return Transport::Raw(Shape::Icmp(Icmp { kind, code }));
        }
        for said in icmp.into_iter().flatten() {
            self.complaints.warn(said.place, "only ICMP has types and codes", "send with -P icmp, or leave it out");
        }
        transport
    }

    fn forged(&mut self, transport: Transport) -> Option<Ipv4Addr> {
        let said = self.layers.strongest(&["SPOOF_SOURCE_IP"])?;
        if !matches!(transport, Transport::Raw(_)) {
            let what = "only a raw packet can have another source address";
            self.complaints.error(said.place, what, "send with -P udpraw, tcpraw or icmp");
        }
        self.parsed("SPOOF_SOURCE_IP", values::forged)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::resolved;
    use super::*;

    #[test]
    fn the_port_follows_the_transport_unless_it_is_named() {
        assert_eq!(resolved(&[&[]], false).send.port, 62201);
        assert_eq!(resolved(&[&[("SPA_SERVER_PROTO", "HTTP")]], false).send.port, 80);
        assert_eq!(resolved(&[&[("SPA_SERVER_PROTO", "http"), ("SPA_SERVER_PORT", "62201")]], false).send.port, 62201);
    }

    #[test]
    fn a_proxy_means_http_unless_a_stronger_layer_says_otherwise() {
        let proxy = ("HTTP_PROXY", "proxy.example:3128");
        for (each, transport, is_used) in [
            (&[&[proxy][..]][..], Transport::Http, true),
            (&[&[("SPA_SERVER_PROTO", "udp")], &[proxy]], Transport::Http, true),
            (&[&[proxy], &[("SPA_SERVER_PROTO", "tcp")]], Transport::Tcp, false),
            (&[&[proxy], &[("SPA_SERVER_PROTO", "http")]], Transport::Http, true),
            (&[&[("SPA_SERVER_PROTO", "http")]], Transport::Http, false),
        ] {
            let send = resolved(each, false).send;
            assert_eq!((send.transport, send.proxy.is_some()), (transport, is_used), "{each:?}");
        }
    }
}
