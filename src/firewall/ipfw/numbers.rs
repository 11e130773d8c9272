//! Which numbers and sets are ours, and what a change comes to.

use std::collections::BTreeSet;
use std::time::Duration;

use super::line::{dynamic, lines};
use super::{PROGRAM, list};
use crate::firewall::listed::{Edit, Held, Listed, Part, Verb};
use crate::firewall::rule::END;
use crate::firewall::{Command, Error, Kind, Spot, Step};
use crate::net::Proto;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub start: u16,
    /// How many rules there may be.
    pub count: u32,
    /// The set of the rules in force.
    pub active: u8,
    /// The set of rules that ended while in use. `None`: they are deleted, with the connections.
    pub expired: Option<u8>,
    /// How often to look whether those are still in use.
    pub purge: Duration,
    /// Our first rule lets through what belongs to a known connection.
    pub check_state: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        let purge = Duration::from_secs(30);
        Self { start: 10_000, count: 1000, active: 1, expired: Some(2), purge, check_state: false }
    }
}

impl Listed for Numbers {
    fn list(&self) -> Vec<Command> {
        match list() {
            Step::Command(command) => vec![command],
            _ => Vec::new(),
        }
    }

    /// What nobody uses any more makes room for what is added.
    fn commands(&self, listing: &str, edits: &[&Edit]) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        let mut free: Option<Free> = None;
        let mut here: Vec<(u16, Held)> = self.held(listing);
        for edit in edits {
            let command = match edit.verb {
                Verb::Add => {
                    let free = free.get_or_insert_with(|| {
                        let (unused, _) = self.ended(listing);
                        let expired = self.expired.unwrap_or(self.active);
                        parts.extend(unused.iter().map(|number| Part { command: delete(expired, *number), makes: 0 }));
                        self.free(listing, &unused)
                    });
                    let number = free.next().ok_or(Error::NoNumber { count: self.count })?;
                    self.add(number, &edit.held)?
                }
                Verb::Remove => {
                    let found = here.iter().position(|(_, held)| *held == edit.held);
                    self.remove(here.swap_remove(found.ok_or_else(|| edit.refusal(PROGRAM))?).0)
                }
            };
            parts.push(Part { command, makes: 1 });
        }
        Ok(parts)
    }

    fn describe(&self, verb: Verb, held: &Held) -> String {
        format!("ipfw {verb} set {} {}", self.active, text(held).unwrap_or_default())
    }
}

impl Numbers {
    /// In-kernel NAT has instances of its own, which we make none of.
    pub fn can_say(spot: &Spot) -> bool {
        spot.kind == Kind::Input && spot.service.is_some()
    }

    fn held(&self, listing: &str) -> Vec<(u16, Held)> {
        let here = lines(listing).filter(|line| line.set == self.active);
        here.filter_map(|line| Some((line.number, line.held()?))).collect()
    }

    fn add(&self, number: u16, held: &Held) -> Result<Command, Error> {
        let head = ["add".to_owned(), number.to_string(), "set".to_owned(), self.active.to_string()];
        let text = text(held)?;
        Ok(Command::new(PROGRAM, head.into_iter().chain(text.split(' ').map(str::to_owned))))
    }

    fn remove(&self, number: u16) -> Command {
        match self.expired {
            Some(expired) => {
                Command::new(PROGRAM, ["set", "move", "rule", &number.to_string(), "to", &expired.to_string()])
            }
            None => delete(self.active, number),
        }
    }

    /// Those that ended: whose connections did too, and which are still in use.
    pub fn ended(&self, listing: &str) -> (BTreeSet<u16>, BTreeSet<u16>) {
        let used = dynamic(listing);
        let ended = lines(listing).filter(|line| Some(line.set) == self.expired && line.end().is_some());
        ended.map(|line| line.number).partition(|number| !used.contains(number))
    }

    /// The numbers that no rule has, of whatever set: each rule can be moved and deleted by itself.
    fn free(&self, listing: &str, unused: &BTreeSet<u16>) -> Free {
        let taken: BTreeSet<u16> =
            lines(listing).map(|line| line.number).filter(|number| !unused.contains(number)).collect();
        let first = u32::from(self.start) + u32::from(self.check_state);
        let ours = first..u32::from(self.start).saturating_add(self.count).min(u32::from(LAST));
        let ours = ours.filter_map(|number| u16::try_from(number).ok());
        ours.filter(|number| !taken.contains(number)).collect::<Vec<_>>().into_iter()
    }
}

type Free = std::vec::IntoIter<u16>;

pub fn text(held: &Held) -> Result<String, Error> {
    let Held { spot, until, .. } = held;
    let service = held.opens()?;
    let me = if spot.address.is_ipv6() { "me6" } else { "me" };
    let at = spot.peer.map_or(me.to_owned(), |at| at.to_string());
    // Only TCP has connections whose first packet can be told.
    let setup = if service.proto == Proto::Tcp { "setup " } else { "" };
    let (proto, port, address) = (service.proto.number(), service.port, spot.address);
    Ok(format!("pass {proto} from {address} to {at} dst-port {port} {setup}keep-state // {END}{until}"))
}

pub fn delete(set: u8, number: u16) -> Command {
    Command::new(PROGRAM, ["set", &set.to_string(), "delete", &number.to_string()])
}

/// The default rule, which everybody has.
pub const LAST: u16 = u16::MAX;
