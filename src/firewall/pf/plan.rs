//! What a grant means to PF: a rule that rewrites lets through as well.

use std::net::IpAddr;

use crate::firewall::{Kind, Rule, Spot, Tag, Value};
use crate::grant::{Access, Forward, Grant, SourceNat, Through};
use crate::net::Service;

/// States let replies back, so they need no rules.
pub fn rules(grant: &Grant) -> Vec<Rule> {
    let mut plan = Plan { address: grant.allow.to_canonical(), rules: Vec::new() };
    match &grant.access {
        Access::Open(ports) => ports.iter().for_each(|service| plan.add(Kind::Input, grant.at, Some(service), None)),
        Access::Local { ports, to } => {
            ports.iter().for_each(|outer| plan.add(Kind::Redirect, grant.at, Some(outer), Some(Value::Port(*to))));
        }
        Access::Forward(forward) => plan.forward(forward, grant.at),
        Access::Cycle(_) => {}
    }
    let tag = Tag::of(grant);
    plan.rules.into_iter().map(|(spot, to)| Rule { spot, to, until: grant.until, tag }).collect()
}

struct Plan {
    address: IpAddr,
    rules: Vec<(Spot, Option<Value>)>,
}

impl Plan {
    /// Who comes without a host to go to, or with all ports, gets what [`Pf::open`](super::Pf) refuses: the configuration
    /// allows neither.
    fn forward(&mut self, forward: &Forward, at: Option<IpAddr>) {
        for Through { outer, inner, to } in forward.through() {
            let peer = to.map(|(address, _)| address);
            match forward.source {
                Some(SourceNat::To(source)) => self.add(Kind::Snat, peer, inner, Some(Value::Address(source))),
                Some(SourceNat::Masquerade) => self.add(Kind::Masquerade, peer, inner, None),
                None => {}
            }
            self.add(Kind::Forward, peer, inner, None);
            // Last: who is sent on must be let through.
            if let Some((address, port)) = to.filter(|_| forward.translated) {
                self.add(Kind::DnatAddress, at, outer, Some(Value::Socket(address, port)));
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
