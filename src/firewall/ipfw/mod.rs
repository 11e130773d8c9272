//! ipfw of FreeBSD and macOS: numbered rules in a set of our own, each with its end as a comment.
//!
//! ```text
//! 10000 set 1 allow tcp from 198.51.100.7 to me dst-port 22 setup keep-state // _exp_1748779233
//! ```
//!
//! A rule that ends while connections use it would take their dynamic states with it when it is deleted. So it is moved
//! to a second set, which is disabled (`ipfw(8)`, SETS OF RULES), and deleted when no state refers to it any more: that is
//! looked at every [`Numbers::purge`], as long as there is such a rule, and before the next rule is added. Pure: renders
//! and reads, acts never.

mod concern;
mod line;
mod numbers;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::backend::{Backend, Change, Command, Output, Remains, SetUp, Step};
use super::concern::Concern;
use super::error::Error;
use super::known::{BackendName, Known};
use super::listed::{self, Listed};
use super::rule::{Entry, Rule};
use crate::net::Service;
use line::{Line, lines, unread};
pub use numbers::Numbers;

pub const IPFW: BackendName = BackendName::new(&Known {
    name: "ipfw",
    programs: &["ipfw"],
    missing: "ipfw belongs to FreeBSD and has no other package: set FIREWALL to what this system has",
    found_by: None,
    make: |settings| Box::new(Ipfw::new(&settings.numbers)),
});

pub struct Ipfw {
    numbers: Numbers,
    /// The set of what ended was put out of force. No listing tells that of an empty set.
    disabled: bool,
    listed: Rc<dyn Listed>,
}

impl Ipfw {
    pub fn new(numbers: &Numbers) -> Self {
        Self { numbers: *numbers, disabled: false, listed: Rc::new(*numbers) }
    }
}

impl Backend for Ipfw {
    fn survey(&self) -> Vec<Step> {
        vec![list()]
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let Numbers { start, active, check_state, .. } = self.numbers;
        let listing = text(survey);
        let disable = self.numbers.expired.filter(|set| !self.disabled || is_in_force(listing, *set));
        let mut steps: Vec<Step> = disable.map(disabling).into_iter().collect();
        self.disabled = true;
        if check_state && !lines(listing).any(|line| line.set == active && line.body.starts_with("check-state")) {
            steps.push(ipfw(["add", &start.to_string(), "set", &active.to_string(), "check-state"]));
        }
        let unread: Vec<u16> = unread(listing, active).collect();
        steps.extend(unread.iter().map(|number| self.delete(active, *number)));
        let warn = |number: &u16| format!("rule {number} has our comment and cannot be read: removed");
        let warnings = unread.iter().map(warn).collect();
        Ok(SetUp { place: format!("set {active}"), steps, warnings })
    }

    fn concerns(&self, survey: &[Output], _: &dyn Fn(Service) -> bool) -> Vec<Concern> {
        concern::concerns(text(survey), &self.numbers)
    }

    fn inquiries(&self) -> Vec<Step> {
        vec![Step::Command(Command::new("sysctl", ["-n", concern::SWITCH]))]
    }

    fn surroundings(&self, answers: &[Output]) -> Vec<Concern> {
        concern::surroundings(text(answers))
    }

    /// Rules of others in our set stay. What has ended stays for its connections.
    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let Numbers { start, active, check_state, .. } = self.numbers;
        let is_ours = |line: &Line<'_>| {
            line.set == active
                && (line.end().is_some()
                    || (check_state && line.number == start && line.body.starts_with("check-state")))
        };
        let listing = text(survey);
        let ours: BTreeSet<u16> = lines(listing).filter(is_ours).map(|line| line.number).collect();
        // What is deleted by its number goes with all that have it.
        let others = lines(listing).filter(|line| line.set == active && !is_ours(line));
        let others: BTreeSet<u16> = others.map(|line| line.number).collect();
        let ours = ours.difference(&others).copied();
        Ok(ours.map(|number| self.delete(active, number)).collect())
    }

    fn is_remembered(&self) -> bool {
        true
    }

    /// One listing.
    fn is_silent(&self) -> bool {
        true
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        if !Numbers::can_say(&rule.spot) {
            return Err(Error::NoSlot);
        }
        listed::open(&self.listed, rule, found)
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![listed::close(&self.listed, entry)?])
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        let here = lines(text(outputs)).filter(|line| line.set == self.numbers.active);
        Ok(here.filter_map(|line| line.held()).map(|held| held.entry()).collect())
    }

    fn tidies_every(&self) -> Option<Duration> {
        self.numbers.expired.map(|_| self.numbers.purge)
    }

    fn remains(&self, survey: &[Output]) -> Remains {
        let Some(expired) = self.numbers.expired else { return Remains::default() };
        let listing = text(survey);
        let (unused, used) = self.numbers.ended(listing);
        // Or what has ended would be open.
        let disable = is_in_force(listing, expired).then(|| disabling(expired));
        let unused = unused.into_iter().map(|number| self.delete(expired, number));
        Remains { unused: disable.into_iter().chain(unused).collect(), in_use: !used.is_empty() }
    }

    fn list_all(&self) -> Vec<Step> {
        vec![list()]
    }
}

impl Ipfw {
    fn delete(&self, set: u8, number: u16) -> Step {
        Step::Command(numbers::delete(set, number))
    }
}

fn is_in_force(listing: &str, set: u8) -> bool {
    lines(listing).any(|line| line.set == set && line.enabled && line.end().is_some())
}

fn disabling(set: u8) -> Step {
    ipfw(["set", "disable", &set.to_string()])
}

/// All rules with their sets, disabled ones too, and then the dynamic ones.
fn list() -> Step {
    ipfw(["-d", "-S", "list"])
}

fn ipfw<const N: usize>(args: [&str; N]) -> Step {
    Step::Command(Command::new(PROGRAM, args))
}

fn text(outputs: &[Output]) -> &str {
    match outputs.first() {
        Some(Output::Text(text)) => text,
        _ => "",
    }
}

const PROGRAM: &str = "ipfw";
