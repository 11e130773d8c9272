//! Firewalls that must be listed to be changed: what has to be done depends on what is there.
//!
//! The runner lists, asks here what follows from that, and does it. So a rule is found by what it says, whatever was
//! changed by others in the meantime.

use std::fmt;
use std::net::IpAddr;

use super::ipfw::Numbers;
use super::pf::Anchor;
use super::rule::{END, Entry, Rule};
use super::{Change, Command, Error, Kind, Spot};
use crate::net::{Proto, Service, parse_port};

/// One change. Neighbouring ones for the same anchor of PF are one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub firewall: Listed,
    pub verb: Verb,
    pub held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    /// Refused when it is not there.
    Remove,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    Ipfw(Numbers),
    Pf(Anchor),
}

/// A rule of ours: an opening, and the second at which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub address: IpAddr,
    /// The address of ours it is for. `None`: all.
    pub at: Option<IpAddr>,
    pub service: Service,
    pub until: u64,
}

impl Listed {
    /// Asks for what [`commands`](Self::commands) has to know.
    pub fn list(&self) -> Command {
        match self {
            Listed::Ipfw(numbers) => numbers.list(),
            Listed::Pf(anchor) => anchor.list(),
        }
    }

    /// What the changes come to.
    pub fn commands(&self, listing: &str, edits: &[&Edit]) -> Result<Vec<Command>, Error> {
        match self {
            Listed::Ipfw(numbers) => numbers.commands(listing, edits),
            Listed::Pf(anchor) => Ok(vec![anchor.load(listing, edits)?]),
        }
    }

    /// Whether many changes can be one transaction.
    pub fn takes_many(&self) -> bool {
        matches!(self, Listed::Pf(_))
    }

    /// Opens anew before what was there is removed: at no moment is it closed.
    pub fn open(&self, rule: &Rule, found: Option<&Entry>) -> Result<Vec<Change>, Error> {
        let held = Held::new(&rule.spot, rule.tag.until)?;
        let former = found.map(Held::of).transpose()?;
        let change = |verb, undo, held| Change { step: self.edit(verb, held), undo: Some(self.edit(undo, held)) };
        let remove = former.map(|former| change(Verb::Remove, Verb::Add, former));
        Ok([change(Verb::Add, Verb::Remove, held)].into_iter().chain(remove).collect())
    }

    pub fn close(&self, entry: &Entry) -> Result<super::Step, Error> {
        Ok(self.edit(Verb::Remove, Held::of(entry)?))
    }

    fn edit(&self, verb: Verb, held: Held) -> super::Step {
        super::Step::Edit(Edit { firewall: self.clone(), verb, held })
    }
}

/// As the rule it is about; the number that ipfw needs is chosen when its rules are listed.
impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.verb == Verb::Add { "add" } else { "remove" };
        match &self.firewall {
            Listed::Ipfw(numbers) => write!(f, "ipfw {verb} set {} {}", numbers.active, numbers.text(&self.held)),
            Listed::Pf(anchor) => write!(f, "pfctl -a {anchor} {verb} {}", anchor.text(&self.held)),
        }
    }
}

impl Held {
    fn new(spot: &Spot, until: u64) -> Result<Self, Error> {
        match (spot.kind, spot.service) {
            (Kind::Input, Some(service)) => Ok(Self { address: spot.address, at: spot.peer, service, until }),
            _ => Err(Error::NoSlot),
        }
    }

    fn of(entry: &Entry) -> Result<Self, Error> {
        Self::new(&entry.spot, entry.end().ok_or(Error::NoSlot)?)
    }

    pub fn entry(&self) -> Entry {
        let Self { address, at, service, until } = *self;
        let spot = Spot { kind: Kind::Input, address, peer: at, service: Some(service) };
        Entry { spot, to: None, remaining: None, comment: Some(format!("{END}{until}")) }
    }

    pub fn refusal(&self, program: &'static str, step: &Edit) -> Error {
        Error::Refused { program, step: step.to_string(), said: "there is no such rule".to_owned() }
    }
}

/// The second at which a rule of ours ends. `None`: it does not say so in our words.
pub fn end_in(comment: &str) -> Option<u64> {
    let digits = comment.strip_prefix(END)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// As a listing writes them: a number, or the name of the protocol.
pub fn service(proto: &str, port: &str) -> Option<Service> {
    let proto = match proto {
        "6" | "tcp" => Proto::Tcp,
        "17" | "udp" => Proto::Udp,
        _ => return None,
    };
    Some(Service { proto, port: parse_port(port)? })
}

#[cfg(test)]
mod tests;
