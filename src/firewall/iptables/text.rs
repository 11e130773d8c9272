//! A rule as iptables writes and reads it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::chain::Role;
use crate::firewall::{Entry, Family, Kind, Spot, Value};
use crate::net::{Port, Proto, Service, parse_port};

/// The protocol that a program of its own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    pub fn of(spot: &Spot, to: Option<Value>) -> Self {
        let address = match (spot.peer, to) {
            // It may not tell whom it is for.
            _ if !spot.address.is_unspecified() => spot.address,
            (Some(peer), _) => peer,
            (None, Some(Value::Address(address))) => address,
            _ => spot.address,
        };
        if address.is_ipv4() { Version::V4 } else { Version::V6 }
    }

    pub fn program(self) -> &'static str {
        match self {
            Version::V4 => "iptables",
            Version::V6 => "ip6tables",
        }
    }

    pub fn restore(self) -> &'static str {
        match self {
            Version::V4 => "iptables-restore",
            Version::V6 => "ip6tables-restore",
        }
    }

    pub fn save(self) -> &'static str {
        match self {
            Version::V4 => "iptables-save",
            Version::V6 => "ip6tables-save",
        }
    }

    pub fn family(self) -> Family {
        match self {
            Version::V4 => Family::Ip,
            Version::V6 => Family::Ip6,
        }
    }

    fn nobody(self) -> IpAddr {
        match self {
            Version::V4 => IpAddr::from([0; 4]),
            Version::V6 => IpAddr::from([0_u16; 8]),
        }
    }
}

/// What follows the chain, in the original's order.
pub fn rule_text(spot: &Spot, to: Option<Value>, comment: &str, target: &str) -> String {
    let mut text = String::new();
    let mut say = |option: &str, value: &dyn std::fmt::Display| {
        let _ = write!(text, "{}{option} {value}", if text.is_empty() { "" } else { " " }); // a String takes all
    };
    if let Some(service) = spot.service {
        say("-p", &service.proto.number());
    }
    let renamed = matches!(spot.kind, Kind::Snat | Kind::Masquerade);
    let (source, destination) = match spot.kind {
        Kind::Output => (spot.peer, Some(spot.address)),
        _ if renamed && spot.service.is_some() => (None, spot.peer),
        _ => (Some(spot.address), spot.peer),
    };
    let (first, second) = (("-s", source), ("-d", destination));
    let ends = if spot.kind == Kind::Output { [second, first] } else { [first, second] };
    for (option, address) in ends {
        if let Some(address) = address {
            say(option, &address);
        }
    }
    if let Some(service) = spot.service {
        say(if spot.kind == Kind::Output { "--sport" } else { "--dport" }, &service.port);
    }
    say("-m comment --comment", &comment);
    say("-j", &target);
    match (spot.kind, to) {
        (Kind::DnatAddress, Some(Value::Address(address))) => say("--to-destination", &address),
        (Kind::DnatAddress, Some(Value::Socket(address, port))) => {
            say("--to-destination", &SocketAddr::new(address, port.get()));
        }
        (Kind::DnatAddress, Some(Value::Port(port))) => say("--to-destination", &format_args!(":{port}")),
        (Kind::Snat, Some(Value::Address(address))) => say("--to-source", &address),
        (Kind::Masquerade, Some(Value::Port(port))) => say("--to-ports", &port),
        _ => {}
    }
    text
}

/// A rule of a chain of ours, as `iptables-save` writes it. `None`: none that we would have made, which stays as it is.
pub fn read(role: Role, version: Version, target: &str, words: &[String]) -> Option<Entry> {
    let said = Said::read(words)?;
    if said.target? != target {
        return None;
    }
    let (kind, nobody) = (role.kind(), version.nobody());
    let service = |port: Option<Port>| match (said.proto, port) {
        (Some(proto), Some(port)) => Some(Some(Service { proto, port })),
        (None, None) => Some(None),
        _ => None,
    };
    let to = match said.to {
        Some(to) => Some(value(role, to)?),
        None => None,
    };
    let port = if role == Role::Output { said.source_port } else { said.port };
    let service = service(port)?;
    // What we would not write like that could not be removed by what it says.
    let (address, peer) = match (role, said.source, said.destination, service, to) {
        (Role::Input, Some(source), at, Some(_), None) => (source, at),
        (Role::Output, at, Some(destination), Some(_), None) => (destination, at),
        (Role::Forward, Some(source), None, _, None) => (source, None),
        (Role::Dnat, Some(source), at, _, Some(_)) => (source, at),
        (Role::Snat, Some(source), None, None, Some(_)) | (Role::Masquerade, Some(source), None, None, None) => {
            (source, None)
        }
        (Role::Snat | Role::Masquerade, None, Some(inner), Some(_), Some(_)) => (nobody, Some(inner)),
        _ => return None,
    };
    let other_port = if role == Role::Output { said.port } else { said.source_port };
    let comment = said.comment.map(str::to_owned);
    let spot = Spot { kind, address, peer, service };
    other_port.is_none().then_some(Entry { spot, to, remaining: None, comment })
}

fn value(role: Role, text: &str) -> Option<Value> {
    if role == Role::Masquerade {
        return parse_port(text).map(Value::Port);
    }
    if let Some(port) = text.strip_prefix(':').and_then(parse_port) {
        return Some(Value::Port(port));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Value::Address(address));
    }
    let socket: SocketAddr = text.parse().ok()?;
    Some(Value::Socket(socket.ip(), Port::new(socket.port())?))
}

#[derive(Default)]
struct Said<'a> {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    proto: Option<Proto>,
    port: Option<Port>,
    source_port: Option<Port>,
    comment: Option<&'a str>,
    target: Option<&'a str>,
    to: Option<&'a str>,
}

impl<'a> Said<'a> {
    /// `None`: something we never write.
    fn read(words: &'a [String]) -> Option<Self> {
        let mut said = Self::default();
        let mut pairs = words.chunks_exact(2);
        for pair in &mut pairs {
            let [option, value] = pair else { return None };
            match &**option {
                "-s" => said.source = Some(host(value)?),
                "-d" => said.destination = Some(host(value)?),
                "-p" => said.proto = Some(value.parse().ok()?),
                "-m" if ["tcp", "udp", "comment"].contains(&&**value) => {}
                "--dport" => said.port = Some(parse_port(value)?),
                "--sport" => said.source_port = Some(parse_port(value)?),
                "--comment" => said.comment = Some(value),
                "-j" => said.target = Some(value),
                "--to-destination" | "--to-source" | "--to-ports" => said.to = Some(value),
                _ => return None,
            }
        }
        pairs.remainder().is_empty().then_some(said)
    }
}

/// One address, as `192.0.2.1/32`.
fn host(text: &str) -> Option<IpAddr> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    (prefix.is_empty() || prefix == whole).then_some(address)
}
