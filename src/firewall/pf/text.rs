//! A rule of ours as `pf.conf(5)` wants it, and as `pfctl -s rules` and `pfctl -s nat` print it.
//!
//! | | loaded | printed |
//! |---|---|---|
//! | open | `pass in quick proto 6 from A to any port 22 keep state label _exp_E` | `pass in quick inet proto tcp from A to any port = 22 flags S/SA keep state label "_exp_E"` |
//! | pass on | `pass quick proto 6 from A to H port 22 keep state label _exp_E` | likewise |
//! | OpenBSD: to another host | `pass in quick proto 6 from A to any port 5555 keep state label _exp_E rdr-to H port 22` | `… flags S/SA label "_exp_E" rdr-to H port 22` |
//! | OpenBSD: in another name | `pass out quick proto 6 from A to H port 22 keep state label _exp_E nat-to S` | likewise |
//! | FreeBSD: to another host | `rdr pass proto 6 from A to any port 5555 tag _exp_E -> H port 22` | `rdr pass inet proto tcp from A to any port = 5555 tag _exp_E -> H port 22` |
//! | FreeBSD: in another name | `nat pass proto 6 from A to H port 22 tag _exp_E -> S` | likewise |
//!
//! FreeBSD's translation rules have no labels: a tag, which no rule asks for, holds the end of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::anchor::Syntax;
use crate::firewall::listed::{Held, end_in, service};
use crate::firewall::rule::END;
use crate::firewall::{Kind, Spot, Value};
use crate::net::{Port, parse_port};

/// `None`: PF has no rule for that.
pub fn write(held: &Held, syntax: Syntax) -> Option<String> {
    let Held { spot: Spot { kind, address, peer, service }, to, until } = *held;
    let service = service?;
    let (proto, port) = (service.proto.number(), service.port);
    let family = if address.is_ipv6() { "inet6 " } else { "" };
    let at = peer.map_or("any".to_owned(), |at| at.to_string());
    let whom = format!("{family}proto {proto} from {address} to {at} port {port}");
    let pass = |direction: &str| format!("pass {direction}quick {whom} keep state label {END}{until}");
    let target = match (kind, to) {
        (Kind::Input, None) => return Some(pass("in ")),
        // Packets come in and go out, and a state is for one of both.
        (Kind::Forward, None) => return peer.map(|_| pass("")),
        (Kind::DnatAddress, Some(Value::Socket(host, port))) if !host.is_loopback() => format!("{host} port {port}"),
        (Kind::Redirect, Some(Value::Port(port))) => format!("{} port {port}", loopback(address)),
        (Kind::Snat, Some(Value::Address(source))) => peer.map(|_| source.to_string())?,
        _ => return None,
    };
    Some(match (syntax, kind) {
        (Syntax::OpenBsd, Kind::Snat) => format!("{} nat-to {target}", pass("out ")),
        (Syntax::OpenBsd, _) => format!("{} rdr-to {target}", pass("in ")),
        (Syntax::FreeBsd, Kind::Snat) => format!("nat pass {whom} tag {END}{until} -> {target}"),
        (Syntax::FreeBsd, _) => format!("rdr pass {whom} tag {END}{until} -> {target}"),
    })
}

/// A rule of ours in either language, as loaded or as printed.
pub fn read(line: &str) -> Option<Held> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let until = end(&words)?;
    let (head, rest) = words.split_at(words.iter().position(|word| *word == "from")?);
    let ["from", address, "to", at, "port", rest @ ..] = rest else { return None };
    let (port, rest) = number(rest)?;
    let proto = head.iter().position(|word| *word == "proto").and_then(|place| head.get(place + 1))?;
    let address: IpAddr = address.parse().ok()?;
    let peer = if *at == "any" { None } else { Some(at.parse().ok()?) };
    let (kind, to) = what(head, peer.is_some(), target(rest)?)?;
    let spot = Spot { kind, address, peer, service: Some(service(proto, port)?) };
    Some(Held { spot, to, until })
}

/// Whether it has our mark.
pub fn is_ours(line: &str) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    end(&words).is_some()
}

/// In the order in which FreeBSD wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Normalization,
    Translation,
    Filter,
}

impl Class {
    pub fn of(line: &str) -> Self {
        let mut words = line.split_ascii_whitespace();
        match words.next().filter(|word| *word != "no").or_else(|| words.next()).unwrap_or_default() {
            "scrub" | "scrub-anchor" => Class::Normalization,
            "nat" | "rdr" | "binat" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => Class::Translation,
            _ => Class::Filter,
        }
    }
}

fn what(head: &[&str], to_one: bool, target: Option<(IpAddr, Option<Port>)>) -> Option<(Kind, Option<Value>)> {
    let is = |word| head.contains(&word);
    let redirects = is("rdr") || (is("pass") && is("in"));
    match (head.first()?, target) {
        (&"pass", None) if is("in") => Some((Kind::Input, None)),
        (&"pass", None) if !is("out") && to_one => Some((Kind::Forward, None)),
        (_, Some((host, Some(port)))) if redirects && host.is_loopback() => {
            Some((Kind::Redirect, Some(Value::Port(port))))
        }
        (_, Some((host, Some(port)))) if redirects => Some((Kind::DnatAddress, Some(Value::Socket(host, port)))),
        (&"pass" | &"nat", Some((source, None))) if !is("in") && to_one => {
            Some((Kind::Snat, Some(Value::Address(source))))
        }
        _ => None,
    }
}

/// Where packets are sent, or in whose name. `Some(None)`: they stay as they are.
fn target(rest: &[&str]) -> Option<Option<(IpAddr, Option<Port>)>> {
    let Some(place) = rest.iter().position(|word| ["rdr-to", "nat-to", "->"].contains(word)) else { return Some(None) };
    let host = rest.get(place + 1)?.parse().ok()?;
    let port = match rest.get(place + 2..) {
        Some(["port", rest @ ..]) => Some(parse_port(number(rest)?.0)?),
        _ => None,
    };
    Some(Some((host, port)))
}

/// `= 22` as it is printed, `22` as it was written.
fn number<'a>(words: &'a [&'a str]) -> Option<(&'a str, &'a [&'a str])> {
    match words {
        ["=", port, rest @ ..] | [port, rest @ ..] => Some((port, rest)),
        [] => None,
    }
}

/// By the label of a rule that lets through, by the tag of one that rewrites.
fn end(words: &[&str]) -> Option<u64> {
    let mark = match *words.first()? {
        "pass" => "label",
        "rdr" | "nat" => "tag",
        _ => return None,
    };
    let place = words.iter().position(|word| *word == mark)?;
    end_in(words.get(place + 1)?.trim_matches('"'))
}

/// This host, to packets that came from outside.
fn loopback(address: IpAddr) -> IpAddr {
    if address.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}
