//! ipfw of FreeBSD and macOS: numbered rules in a set of our own, each with its end as a comment.
//!
//! ```text
//! 10000 set 1 allow tcp from 198.51.100.7 to me dst-port 22 setup keep-state // _exp_1748779233
//! ```
//!
//! A rule that ends while connections use it would take their dynamic states with it when it is deleted. So it is moved
//! to a second set, which is disabled (`ipfw(8)`, SETS OF RULES), and deleted when no state refers to it any more: then,
//! when the next rule is added. Pure: renders and reads, acts never.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backend::{Backend, Change, Command, Output, SetUp, Step};
use super::error::Error;
use super::listed::{Edit, Held, Listed, Verb, end_in, service};
use super::rule::{END, Entry, Rule};

pub struct Ipfw {
    numbers: Numbers,
}

/// Which numbers and sets are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    pub start: u16,
    /// How many rules there may be.
    pub count: u32,
    /// The set of the rules in force.
    pub active: u8,
    /// The set of rules that ended while in use. `None`: they are deleted, with the connections.
    pub expired: Option<u8>,
    /// Our first rule lets through what belongs to a known connection.
    pub check_state: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { start: 10_000, count: 1000, active: 1, expired: Some(2), check_state: false }
    }
}

impl Ipfw {
    pub fn new(numbers: &Numbers) -> Self {
        Self { numbers: *numbers }
    }
}

impl Backend for Ipfw {
    fn survey(&self) -> Vec<Step> {
        vec![Step::Command(self.numbers.list())]
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let Numbers { start, active, expired, check_state, .. } = self.numbers;
        let mut steps: Vec<Step> = Vec::new();
        if let Some(expired) = expired {
            steps.push(ipfw(["set", "disable", &expired.to_string()]));
        }
        let listing = text(survey);
        if check_state && !lines(listing).any(|line| line.set == active && line.body.starts_with("check-state")) {
            steps.push(ipfw(["add", &start.to_string(), "set", &active.to_string(), "check-state"]));
        }
        let unread: Vec<u16> = unread(listing, active).collect();
        steps.extend(unread.iter().map(|number| Step::Command(self.numbers.delete(active, *number))));
        let warn = |number: &u16| format!("rule {number} has our comment and cannot be read: removed");
        let warnings = unread.iter().map(warn).collect();
        Ok(SetUp { place: format!("set {active}"), steps, warnings })
    }

    /// Rules of others in our set stay. What has ended stays for its connections.
    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let Numbers { start, active, check_state, .. } = self.numbers;
        let is_ours = |line: &Line<'_>| {
            line.set == active
                && (line.end().is_some()
                    || (check_state && line.number == start && line.body.starts_with("check-state")))
        };
        let ours: BTreeSet<u16> = lines(text(survey)).filter(is_ours).map(|line| line.number).collect();
        Ok(ours.into_iter().map(|number| Step::Command(self.numbers.delete(active, number))).collect())
    }

    fn is_remembered(&self) -> bool {
        true
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        Listed::Ipfw(self.numbers).open(rule, found)
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![Listed::Ipfw(self.numbers).close(entry)?])
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        let here = lines(text(outputs)).filter(|line| line.set == self.numbers.active);
        Ok(here.filter_map(|line| line.held()).map(|held| held.entry()).collect())
    }

    fn list_all(&self) -> Vec<Step> {
        vec![ipfw(["-d", "-S", "list"])]
    }
}

impl Numbers {
    /// All rules with their sets, disabled ones too, and then the dynamic ones.
    pub fn list(&self) -> Command {
        Command::new(PROGRAM, ["-d", "-S", "list"])
    }

    pub fn text(&self, held: &Held) -> String {
        let Held { address, at, service, until } = held;
        let me = if address.is_ipv6() { "me6" } else { "me" };
        let at = at.map_or(me.to_owned(), |at| at.to_string());
        // Only TCP has connections whose first packet can be told.
        let setup = if service.proto == crate::net::Proto::Tcp { "setup " } else { "" };
        let (proto, port) = (service.proto.number(), service.port);
        format!("pass {proto} from {address} to {at} dst-port {port} {setup}keep-state // {END}{until}")
    }

    /// The change itself comes last: what goes before it only removes what nobody uses.
    pub fn commands(&self, listing: &str, edits: &[&Edit]) -> Result<Vec<Command>, Error> {
        let mut commands = Vec::new();
        for edit in edits {
            match edit.verb {
                Verb::Add => {
                    let unused = self.unused(listing);
                    let number = self.free(listing, &unused).ok_or(Error::NoNumber { count: self.count })?;
                    let expired = self.expired.unwrap_or(self.active);
                    commands.extend(unused.into_iter().map(|number| self.delete(expired, number)));
                    let head = ["add".to_owned(), number.to_string(), "set".to_owned(), self.active.to_string()];
                    let text = self.text(&edit.held);
                    commands.push(Command::new(PROGRAM, head.into_iter().chain(text.split(' ').map(str::to_owned))));
                }
                Verb::Remove => {
                    let mut here = lines(listing).filter(|line| line.set == self.active);
                    let found = here.find(|line| line.held() == Some(edit.held));
                    let number = found.ok_or_else(|| edit.held.refusal(PROGRAM, edit))?.number;
                    commands.push(self.remove(number));
                }
            }
        }
        Ok(commands)
    }

    fn remove(&self, number: u16) -> Command {
        match self.expired {
            Some(expired) => {
                Command::new(PROGRAM, ["set", "move", "rule", &number.to_string(), "to", &expired.to_string()])
            }
            None => self.delete(self.active, number),
        }
    }

    fn delete(&self, set: u8, number: u16) -> Command {
        Command::new(PROGRAM, ["set", &set.to_string(), "delete", &number.to_string()])
    }

    /// Those that ended, and whose connections did too.
    fn unused(&self, listing: &str) -> BTreeSet<u16> {
        let used = dynamic(listing);
        let ended = lines(listing).filter(|line| Some(line.set) == self.expired && line.end().is_some());
        ended.map(|line| line.number).filter(|number| !used.contains(number)).collect()
    }

    /// The lowest number that no rule has, of whatever set: each rule can be moved and deleted by itself.
    fn free(&self, listing: &str, unused: &BTreeSet<u16>) -> Option<u16> {
        let taken: BTreeSet<u16> =
            lines(listing).map(|line| line.number).filter(|number| !unused.contains(number)).collect();
        let first = u32::from(self.start) + u32::from(self.check_state);
        let ours = first..u32::from(self.start).saturating_add(self.count).min(u32::from(LAST));
        ours.filter_map(|number| u16::try_from(number).ok()).find(|number| !taken.contains(number))
    }
}

/// A rule as `ipfw -S list` prints it; what is disabled has `# DISABLED ` before it.
struct Line<'a> {
    number: u16,
    set: u8,
    body: &'a str,
}

impl Line<'_> {
    fn end(&self) -> Option<u64> {
        end_in(self.body.rsplit_once("// ")?.1.trim_end())
    }

    /// `allow tcp from 198.51.100.7 to me dst-port 22 setup keep-state :default // _exp_1748779233`; before FreeBSD 12 without
    /// the name of the states, and in some versions without `dst-port`.
    fn held(&self) -> Option<Held> {
        let words: Vec<&str> = self.body.split_ascii_whitespace().collect();
        let ["allow" | "pass" | "accept" | "permit", proto, "from", address, "to", at, rest @ ..] = &words[..] else {
            return None;
        };
        let port = match rest {
            ["dst-port", port, ..] | [port, ..] => port,
            [] => return None,
        };
        let at = match *at {
            "me" | "me6" => None,
            at => Some(at.parse().ok()?),
        };
        Some(Held { address: address.parse().ok()?, at, service: service(proto, port)?, until: self.end()? })
    }
}

fn lines(listing: &str) -> impl Iterator<Item = Line<'_>> {
    let rules = listing.lines().take_while(|line| !line.starts_with(DYNAMIC));
    rules.filter_map(|line| {
        let line = line.strip_prefix("# DISABLED ").unwrap_or(line).trim_start();
        let (number, rest) = line.split_once(" set ")?;
        let (set, body) = rest.trim_start().split_once(' ')?;
        Some(Line { number: number.trim().parse().ok()?, set: set.parse().ok()?, body: body.trim() })
    })
}

/// The rules that dynamic ones come from: each line begins with that number.
fn dynamic(listing: &str) -> BTreeSet<u16> {
    let states = listing.lines().skip_while(|line| !line.starts_with(DYNAMIC)).skip(1);
    states.filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
}

/// What has our comment, and nobody could close.
fn unread(listing: &str, active: u8) -> impl Iterator<Item = u16> {
    let ours = lines(listing).filter(move |line| line.set == active && line.end().is_some());
    ours.filter(|line| line.held().is_none()).map(|line| line.number)
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
const DYNAMIC: &str = "## Dynamic rules";
/// The default rule, which everybody has.
const LAST: u16 = u16::MAX;
