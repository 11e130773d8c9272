//! What a grant means to a firewall: the rules that make it, and the tag that tells whose they are.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::crypto::openpgp::Fingerprint;
use crate::grant::{Access, Forward, Grant, GrantId, Host, SourceNat, Target, Through};
use crate::net::{Port, PortSet, Service};
use crate::time::Timestamp;

/// One thing a firewall does for a grant, until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub spot: Spot,
    /// What packets are rewritten to, where they are.
    pub to: Option<Value>,
    pub until: Timestamp,
    pub tag: Tag,
}

/// To which packets it happens. A firewall holds at most one rule for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub kind: Kind,
    /// Whom the grant is for.
    pub address: IpAddr,
    /// The other end. `None`: any.
    pub peer: Option<IpAddr>,
    /// `None`: all.
    pub service: Option<Service>,
}

/// What happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Accepted as incoming, at this service.
    Input,
    /// Accepted as outgoing, from this service.
    Output,
    /// Accepted as incoming at this service, if it was another one before.
    Local,
    /// Accepted on their way to another host.
    Forward,
    /// Sent to another port of this host.
    Redirect,
    /// Sent to another host …
    DnatAddress,
    /// … and port.
    DnatPort,
    /// Sent on in the name of an address.
    Snat,
    /// Sent on in the name of this host.
    Masquerade,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Address(IpAddr),
    Port(Port),
    /// Both, where a firewall says them in one rule.
    Socket(IpAddr, Port),
}

impl Rule {
    /// The rules of a grant, in the order of its services; with `replies` also those for the way back. None as long as a
    /// name is not looked up.
    pub fn of(grant: &Grant, replies: bool) -> Vec<Rule> {
        let tag = Tag::of(grant);
        let mut plan = Plan { address: grant.allow.to_canonical(), at: grant.at, rules: Vec::new() };
        match &grant.access {
            Access::Open(ports) => plan.open(ports, replies),
            Access::Local { ports, to } => plan.local(ports, *to, replies),
            Access::Forward(forward) => plan.forward(forward),
            Access::Cycle(_) => {}
        }
        plan.rules.into_iter().map(|(spot, to)| Rule { spot, to, until: grant.until, tag }).collect()
    }
}

/// An IPv4 address in IPv6 clothes has become plain IPv4, which is how its packets arrive.
struct Plan {
    address: IpAddr,
    at: Option<IpAddr>,
    rules: Vec<(Spot, Option<Value>)>,
}

impl Plan {
    fn open(&mut self, ports: &PortSet, replies: bool) {
        ports.iter().for_each(|service| self.add(Kind::Input, self.at, Some(service), None));
        if replies {
            ports.iter().for_each(|service| self.add(Kind::Output, self.at, Some(service), None));
        }
    }

    /// Replies leave from the port where the connection really is. What asks for that port needs no other way there: to the
    /// kernel it would not have been translated.
    fn local(&mut self, ports: &PortSet, to: Port, replies: bool) {
        for outer in ports.iter() {
            let inner = Service { port: to, ..outer };
            let (kind, at) = if outer == inner { (Kind::Input, self.at) } else { (Kind::Local, None) };
            self.add(kind, at, Some(inner), None);
            if replies {
                self.add(Kind::Output, self.at, Some(inner), None);
            }
            if outer != inner {
                self.add(Kind::Redirect, self.at, Some(outer), Some(Value::Port(to)));
            }
        }
    }

    fn forward(&mut self, forward: &Forward) {
        for Through { outer, inner, to } in forward.through() {
            let peer = to.map(|(address, _)| address);
            self.add(Kind::Forward, peer, inner, None);
            match forward.source {
                Some(SourceNat::To(source)) => self.add(Kind::Snat, peer, inner, Some(Value::Address(source))),
                Some(SourceNat::Masquerade) => self.add(Kind::Masquerade, peer, inner, None),
                None => {}
            }
            // Last: who is sent on must be let through.
            if let Some((address, port)) = to.filter(|_| forward.translated) {
                if outer.is_some() {
                    self.add(Kind::DnatPort, self.at, outer, Some(Value::Port(port)));
                }
                self.add(Kind::DnatAddress, self.at, outer, Some(Value::Address(address)));
            }
        }
    }

    /// Several ports may lead to one.
    fn add(&mut self, kind: Kind, peer: Option<IpAddr>, service: Option<Service>, to: Option<Value>) {
        let spot = Spot { kind, address: self.address, peer, service };
        if !self.rules.iter().any(|(known, _)| *known == spot) {
            self.rules.push((spot, to));
        }
    }
}

/// What a former daemon granted, put together from what the firewall holds of it. `None`: nothing that makes sense.
pub fn access_of(entries: &[Entry]) -> Option<(Access, Option<IpAddr>)> {
    let entries: Vec<Entry> = entries.iter().flat_map(Entry::apart).collect();
    let of = |kind| entries.iter().filter(move |entry: &&Entry| entry.spot.kind == kind);
    let ports = |kind| PortSet::new(of(kind).filter_map(|entry| entry.spot.service));
    if let Some(Entry { to: Some(Value::Port(to)), spot, .. }) = of(Kind::Redirect).next() {
        let outer = of(Kind::Input).chain(of(Kind::Redirect)).filter_map(|entry| entry.spot.service);
        return Some((Access::Local { ports: PortSet::new(outer)?, to: *to }, spot.peer));
    }
    // A firewall without redirects opens the port itself.
    if let (None, Some(_), Some(Entry { to: Some(Value::Port(to)), spot, .. })) =
        (of(Kind::Forward).next(), of(Kind::Input).next(), of(Kind::DnatPort).next())
    {
        return Some((Access::Local { ports: ports(Kind::DnatPort)?, to: *to }, spot.peer));
    }
    let through = [Kind::Forward, Kind::Snat, Kind::Masquerade, Kind::DnatAddress];
    let Some(known) = through.into_iter().find_map(|kind| of(kind).next()) else {
        let at = of(Kind::Input).find_map(|entry| entry.spot.peer);
        return Some((Access::Open(ports(Kind::Input)?), at));
    };
    let dnat = of(Kind::DnatAddress).next();
    let source = match of(Kind::Snat).next().map(|entry| entry.to) {
        Some(Some(Value::Address(address))) => Some(SourceNat::To(address)),
        _ => of(Kind::Masquerade).next().map(|_| SourceNat::Masquerade),
    };
    let inner_port = || match of(Kind::DnatPort).find_map(|entry| entry.to) {
        Some(Value::Port(port)) => Some(port),
        _ => known.spot.service.map(|service| service.port),
    };
    let host = match dnat.and_then(|entry| entry.to) {
        Some(Value::Address(address)) => Some(address),
        _ => known.spot.peer.filter(|_| known.spot.kind != Kind::DnatAddress),
    };
    // With all ports there is no port to name, and whatever is written there is not looked at.
    let to = host.map(|host| Target { host: Host::Address(host), port: inner_port().unwrap_or(Port::MIN) });
    let ports = ports(if dnat.is_some() { Kind::DnatAddress } else { known.spot.kind });
    let forward = Forward { ports, to, translated: dnat.is_some(), source };
    Some((Access::Forward(Box::new(forward)), dnat.and_then(|entry| entry.spot.peer)))
}

/// Written into the firewall with each rule, as `fwknop:17:1748779233`, and behind that `:` and the fingerprint of the key that
/// signed for it, if one did: a restarted daemon learns from it whose rule that is, without any file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub grant: GrantId,
    /// Seconds since the epoch.
    pub until: u64,
    /// A fingerprint of version 4, the only one that servers know.
    pub signer: Option<[u8; 20]>,
}

impl Tag {
    pub fn of(grant: &Grant) -> Self {
        let signer = grant.certificate.as_ref().and_then(|key| key.as_bytes().try_into().ok());
        Self { grant: grant.id, until: grant.until.secs(), signer }
    }

    pub fn certificate(&self) -> Option<Fingerprint> {
        Fingerprint::from_bytes(self.signer.as_ref()?)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fwknop:{}:{}", self.grant, self.until)?;
        self.certificate().map_or(Ok(()), |signer| write!(f, ":{signer}"))
    }
}

/// Only what `Display` writes is a tag: a rule that merely looks like ours is not touched.
impl FromStr for Tag {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let words: Vec<&str> = text.strip_prefix("fwknop:").ok_or(NotOurs)?.split(':').collect();
        let (grant, until, signer) = match words[..] {
            [grant, until] => (grant, until, None),
            [grant, until, signer] => (grant, until, Some(signer.parse::<Fingerprint>().map_err(|_| NotOurs)?)),
            _ => return Err(NotOurs),
        };
        let tag = Self {
            grant: GrantId(grant.parse().map_err(|_| NotOurs)?),
            until: until.parse().map_err(|_| NotOurs)?,
            signer: signer.and_then(|key| key.as_bytes().try_into().ok()),
        };
        if tag.to_string() == text { Ok(tag) } else { Err(NotOurs) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tag of fwknopd")]
pub struct NotOurs;

/// What a firewall holds in a place of ours: a rule of ours, or something an administrator put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub spot: Spot,
    pub to: Option<Value>,
    /// `None`: for ever, as nothing of ours is made: what has our tag nevertheless was restored from a file.
    pub remaining: Option<Duration>,
    pub comment: Option<String>,
}

impl Entry {
    /// `None`: not ours.
    pub fn tag(&self) -> Option<Tag> {
        self.comment.as_deref()?.parse().ok()
    }

    /// When it ends, by the sign that the original and some of our back-ends leave in a rule: `_exp_1748779233`.
    pub fn end(&self) -> Option<u64> {
        let digits = self.comment.as_deref()?.strip_prefix(END)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// With address and port each in an entry of its own.
    fn apart(&self) -> Vec<Entry> {
        let part = |kind, to| Entry { spot: Spot { kind, ..self.spot }, to: Some(to), ..self.clone() };
        match (self.spot.kind, self.to) {
            (Kind::DnatAddress, Some(Value::Socket(address, port))) => {
                vec![part(Kind::DnatPort, Value::Port(port)), part(Kind::DnatAddress, Value::Address(address))]
            }
            (Kind::DnatAddress, Some(Value::Port(port))) => vec![part(Kind::DnatPort, Value::Port(port))],
            _ => vec![self.clone()],
        }
    }

    /// Whether its other end is another host, and not an address of ours.
    fn is_outward(&self) -> bool {
        matches!(self.spot.kind, Kind::Forward | Kind::Snat | Kind::Masquerade)
    }

    /// Whether it stays at least that long: then there is nothing to extend, and replacing it would shorten it.
    pub fn outlasts(&self, lasts: Duration) -> bool {
        self.remaining.map_or(self.tag().is_none(), |remaining| remaining >= lasts)
    }
}

/// For people: `dnat to 10.1.2.3`. Empty for what is merely open.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.spot.kind {
            Kind::Input => return self.spot.peer.map_or(Ok(()), |at| write!(f, "at {at}")),
            Kind::Output => "replies",
            Kind::Local => "translated only",
            Kind::Forward => "forward",
            Kind::Redirect => "local nat",
            Kind::DnatAddress | Kind::DnatPort => "dnat",
            Kind::Snat => "snat",
            Kind::Masquerade => "masquerade",
        };
        f.write_str(what)?;
        if let Some(peer) = self.spot.peer {
            write!(f, " {} {peer}", if self.is_outward() { "to" } else { "at" })?;
        }
        match self.to {
            Some(Value::Address(address)) => write!(f, " as {address}"),
            Some(Value::Port(port)) => write!(f, " as port {port}"),
            Some(Value::Socket(address, port)) => write!(f, " as {}", SocketAddr::new(address, port.get())),
            None => Ok(()),
        }
    }
}

/// Before the seconds since the epoch.
pub const END: &str = "_exp_";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_we_write_is_a_tag() {
        let tag: Tag = "fwknop:17:1748779233".parse().unwrap();
        assert_eq!(tag, Tag { grant: GrantId(17), until: 1_748_779_233, signer: None });
        for foreign in [
            "",
            "fwknop",
            "fwknop:",
            "fwknop:17",
            "fwknop:17:",
            "fwknop::1",
            "fwknop:17:1:",
            "fwknop:17:1:ABCD",
            "fwknop:17:1:abababababababababababababababababababab",
            "fwknop:17:1:ABABABABABABABABABABABABABABABABABABABAB:",
            "fwknop:+17:1",
            "fwknop:017:1",
            "fwknop:17: 1",
            "fwknop:17:1 ",
            "Fwknop:17:1",
            "fwknop:17:18446744073709551616",
            "_exp_1748779233",
        ] {
            assert!(foreign.parse::<Tag>().is_err(), "{foreign:?} was taken for ours");
        }
    }

    #[test]
    fn a_grant_is_put_together_again_from_its_rules() {
        let (ports, to) = ("tcp/22,tcp/5555".parse::<PortSet>().unwrap(), Port::new(22).unwrap());
        let inner = Target { host: Host::Address([10, 1, 2, 3].into()), port: to };
        let forward =
            |source| Forward { ports: Some(ports.clone()), to: Some(inner.clone()), translated: true, source };
        let accesses = [
            Access::Open(ports.clone()),
            Access::Local { ports: ports.clone(), to },
            Access::Local { ports: "udp/53".parse().unwrap(), to },
            Access::Forward(Box::new(forward(None))),
            Access::Forward(Box::new(forward(Some(SourceNat::Masquerade)))),
        ];
        for access in accesses {
            let (until, lifetime) = (Timestamp::from_secs(60), crate::time::Lifetime::from_secs(60).unwrap());
            let (id, allow) = (GrantId(1), [1, 2, 3, 4].into());
            let grant = Grant { id, allow, access, at: None, lifetime, until, certificate: None, knock: None };
            let entries: Vec<Entry> = Rule::of(&grant, true).iter().map(Rule::entry).collect();
            assert_eq!(access_of(&entries), Some((grant.access, None)));
        }
    }

    proptest! {
        #[test]
        fn a_tag_is_read_as_written(grant: u64, until: u64, signer: Option<[u8; 20]>) {
            let tag = Tag { grant: GrantId(grant), until, signer };
            prop_assert_eq!(tag.to_string().parse::<Tag>(), Ok(tag));
        }

        #[test]
        fn nothing_else_is_read(text in "(fwknop)?[:0-9 +-]{0,12}") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
