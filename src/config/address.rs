//! Address lists of access stanzas (`spec/access.md` 4), with IPv6 as our extension.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::complaint::Fault;
use crate::net::AddrSet;

/// Reads `ANY`, addresses and networks. Host bits set in a network are masked away.
pub fn parse(items: &[&str]) -> Result<AddrSet, Fault> {
    let mut networks = Vec::new();
    let mut any = false;
    for item in items {
        if item.eq_ignore_ascii_case("ANY") {
            any = true;
            continue;
        }
        let network = network(item)?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(if any { AddrSet::Any } else { AddrSet::Networks(networks) })
}

fn network(item: &str) -> Result<IpNet, Fault> {
    let wrong = |advice: &str| Fault::new(format!("'{item}' is not an address or network"), advice);
    let (address, mask) = match item.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (item, None),
    };
    let ip: IpAddr = address.parse().map_err(|_| wrong(advice_for(address)))?;
    let full = if ip.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => full,
        Some(mask) => prefix_length(mask, ip).ok_or_else(|| wrong("write a prefix length after the slash"))?,
    };
    if length == 0 {
        return Err(wrong("write ANY for all addresses"));
    }
    let network = IpNet::new(ip, length).map_err(|_| wrong(&format!("a prefix length is at most {full}")))?;
    Ok(canonical(network.trunc()))
}

/// A prefix length, or a netmask for IPv4.
fn prefix_length(mask: &str, ip: IpAddr) -> Option<u8> {
    if (1..=3).contains(&mask.len()) && mask.bytes().all(|byte| byte.is_ascii_digit()) {
        return mask.parse().ok();
    }
    let mask: Ipv4Addr = mask.parse().ok().filter(|_| ip.is_ipv4())?;
    ipnet::ipv4_mask_to_prefix(mask).ok()
}

/// Packets from mapped addresses are compared as IPv4.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).map_or(network, IpNet::V4),
        _ => network,
    }
}

fn advice_for(address: &str) -> &'static str {
    let looks_short = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if address.starts_with('!') {
        "exclusions are not known; list what shall be let in"
    } else if looks_short {
        "write all four parts, each 0 to 255 without leading zeros, like 192.0.2.0/24"
    } else if address.contains('-') {
        "ranges are not known; write networks like 192.0.2.0/24"
    } else {
        "write ANY, or addresses and networks; names are not looked up"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Fault> {
        parse(&text.split(',').map(str::trim).collect::<Vec<_>>()).map(|set| set.to_string())
    }

    #[test]
    fn addresses_are_read() {
        for (text, means) in [
            ("any", "ANY"),
            ("ANY, 1.2.3.4", "ANY"),
            ("1.2.3.4", "1.2.3.4/32"),
            ("1.2.3.4/24, 10.0.0.0/8", "1.2.3.0/24,10.0.0.0/8"),
            ("1.2.3.0/255.255.255.0", "1.2.3.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("1.2.3.4, 1.2.3.4", "1.2.3.4/32"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(means), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_advice() {
        for (text, advice) in [
            ("0.0.0.0/0", "ANY"),
            ("::/0", "ANY"),
            ("1.2.3", "four parts"),
            ("1.2.3/24", "four parts"),
            ("01.2.3.4", "four parts"),
            ("!1.2.3.4", "exclusions"),
            ("1.2.3.4-9", "ranges"),
            ("gate.example.org", "names"),
            ("1.2.3.4/33", "at most 32"),
            ("1.2.3.4/", "prefix"),
            ("1.2.3.4/255.0.255.0", "prefix"),
            ("2001:db8::/129", "at most 128"),
        ] {
            let fault = read(text).expect_err(text);
            assert!(fault.advice.contains(advice), "{text}: {fault:?}");
        }
    }
}
