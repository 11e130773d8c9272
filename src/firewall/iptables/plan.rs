//! What a grant means here: the rules of the original, action by action (`spec/firewall.md` 3).

use std::net::IpAddr;

use crate::firewall::{Kind, Rule, Spot, Tag, Value};
use crate::grant::{Access, Forward, Grant, SourceNat, Through};
use crate::net::{Port, PortSet, Service};

pub fn rules(grant: &Grant, replies: bool) -> Vec<Rule> {
    let mut plan = Plan { address: grant.allow.to_canonical(), at: grant.at, rules: Vec::new() };
    match &grant.access {
        Access::Open(ports) => plan.open(ports, replies),
        Access::Local { ports, to } => plan.local(ports, *to, reached_at(grant)),
        Access::Forward(forward) => plan.forward(forward),
        Access::Cycle(_) => {}
    }
    let tag = Tag::of(grant);
    plan.rules.into_iter().map(|(spot, to)| Rule { spot, to, until: grant.until, tag }).collect()
}

/// The address of ours that the client knows us by: it comes from the packet, since what the client writes there need not
/// be ours.
fn reached_at(grant: &Grant) -> Option<IpAddr> {
    let by_packet = grant.knock.as_ref().and_then(|knock| knock.origin.dst);
    grant.at.or(by_packet).map(|at| at.to_canonical()).filter(|at| at.is_ipv4() == grant.allow.to_canonical().is_ipv4())
}

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

    /// The real port is open as well: a rule of the original does not see what was translated.
    fn local(&mut self, ports: &PortSet, to: Port, reached_at: Option<IpAddr>) {
        for outer in ports.iter() {
            self.add(Kind::Input, self.at, Some(Service { port: to, ..outer }), None);
            let value = reached_at.map_or(Value::Port(to), |address| Value::Socket(address, to));
            self.add(Kind::DnatAddress, self.at, Some(outer), Some(value));
        }
    }

    fn forward(&mut self, forward: &Forward) {
        for Through { outer, inner, to } in forward.through() {
            self.add(Kind::Forward, None, inner, None);
            if let Some(source) = forward.source {
                // With all ports the rule is for the client, else for the inner host.
                let peer = to.map(|(address, _)| address).filter(|_| inner.is_some());
                let (kind, value) = match source {
                    SourceNat::To(source) => (Kind::Snat, Some(Value::Address(source))),
                    SourceNat::Masquerade => (Kind::Masquerade, outer.map(|outer| Value::Port(outer.port))),
                };
                self.add(kind, peer, inner, value);
            }
            // Last: who is sent on must be let through.
            if let Some((address, port)) = to.filter(|_| forward.translated) {
                let value = if outer.is_some() { Value::Socket(address, port) } else { Value::Address(address) };
                self.add(Kind::DnatAddress, self.at, outer, Some(value));
            }
        }
    }

    /// Several ports may lead to one.
    fn add(&mut self, kind: Kind, peer: Option<IpAddr>, service: Option<Service>, to: Option<Value>) {
        let spot = Spot { kind, address: self.address, peer, service };
        if !self.rules.contains(&(spot, to)) {
            self.rules.push((spot, to));
        }
    }
}
