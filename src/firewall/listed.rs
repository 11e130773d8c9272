//! Firewalls that must be listed to be changed: what has to be done depends on what is there.
//!
//! The runner lists, asks here what follows from that, and does it. So a rule is found by what it says, whatever was
//! changed by others in the meantime.

use std::fmt;
use std::rc::Rc;

use super::rule::{END, Entry, Rule};
use super::{Change, Command, Error, Kind, Spot, Step, Value};
use crate::net::{Proto, Service, parse_port};

/// What such a firewall tells the runner.
pub trait Listed: fmt::Debug {
    /// Asks for what [`commands`](Self::commands) has to know: what they print is one text.
    fn list(&self) -> Vec<Command>;

    /// What the changes come to, from the first to the last.
    fn commands(&self, listing: &str, edits: &[&Edit]) -> Result<Vec<Part>, Error>;

    /// The change for people: the number or place of a rule is chosen when the rules are listed.
    fn describe(&self, verb: Verb, held: &Held) -> String;
}

/// A command, and how many more of the changes are made once it has run: none where it only makes room, and all where a
/// firewall takes them as one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub command: Command,
    pub makes: usize,
}

/// One change. For neighbouring ones the firewall is listed once.
#[derive(Clone, Debug)]
pub struct Edit {
    pub firewall: Rc<dyn Listed>,
    pub verb: Verb,
    pub held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    /// Refused when it is not there.
    Remove,
}

/// A rule of ours, and the second at which it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub spot: Spot,
    /// What packets are rewritten to, where they are.
    pub to: Option<Value>,
    pub until: u64,
}

/// Opens anew before what was there is removed: at no moment is it closed.
pub fn open(firewall: &Rc<dyn Listed>, rule: &Rule, found: Option<&Entry>) -> Result<Vec<Change>, Error> {
    let held = Held { spot: rule.spot, to: rule.to, until: rule.tag.until };
    let former = found.map(Held::of).transpose()?;
    let change = |verb, undo, held| Change { step: edit(firewall, verb, held), undo: Some(edit(firewall, undo, held)) };
    let remove = former.map(|former| change(Verb::Remove, Verb::Add, former));
    Ok([change(Verb::Add, Verb::Remove, held)].into_iter().chain(remove).collect())
}

pub fn close(firewall: &Rc<dyn Listed>, entry: &Entry) -> Result<Step, Error> {
    Ok(edit(firewall, Verb::Remove, Held::of(entry)?))
}

fn edit(firewall: &Rc<dyn Listed>, verb: Verb, held: Held) -> Step {
    Step::Edit(Edit { firewall: firewall.clone(), verb, held })
}

impl Edit {
    pub fn is_for_the_same(&self, other: &Edit) -> bool {
        Rc::ptr_eq(&self.firewall, &other.firewall)
    }

    /// What is to be removed is gone.
    pub fn refusal(&self, program: &'static str) -> Error {
        Error::Refused { program, step: self.to_string(), said: "there is no such rule".to_owned() }
    }
}

impl PartialEq for Edit {
    fn eq(&self, other: &Self) -> bool {
        self.is_for_the_same(other) && (self.verb, self.held) == (other.verb, other.held)
    }
}

impl Eq for Edit {}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.firewall.describe(self.verb, &self.held))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Verb::Add { "add" } else { "remove" })
    }
}

impl Held {
    fn of(entry: &Entry) -> Result<Self, Error> {
        Ok(Self { spot: entry.spot, to: entry.to, until: entry.end().ok_or(Error::NoSlot)? })
    }

    pub fn entry(&self) -> Entry {
        let Self { spot, to, until } = *self;
        Entry { spot, to, remaining: None, comment: Some(format!("{END}{until}")) }
    }

    /// The service it opens. `Err`: it does something else.
    pub fn opens(&self) -> Result<Service, Error> {
        self.spot.service.filter(|_| self.spot.kind == Kind::Input).ok_or(Error::NoSlot)
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
