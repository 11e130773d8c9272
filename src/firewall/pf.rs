//! PF of OpenBSD and FreeBSD: rules in an anchor that the administrator's ruleset names, each with its end as a label.
//!
//! ```text
//! anchor "fwknop"                                                                       (in pf.conf)
//! pass in quick proto 6 from 198.51.100.7 to any port 22 keep state label _exp_1748779233
//! ```
//!
//! An anchor is loaded as a whole: what it holds is listed, changed, and loaded again, all at once (`pfctl(8)`). Rules of
//! others in it stay as `pfctl` prints them, which is how `pf.conf(5)` reads them. States outlive the rules that made
//! them. Pure: renders and reads, acts never.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::backend::{Backend, Change, Command, Output, SetUp, Step};
use super::error::Error;
use super::listed::{Edit, Held, Listed, Verb, end_in, service};
use super::rule::{END, Entry, Rule};

pub struct Pf {
    anchor: Anchor,
}

/// Where our rules are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    name: String,
    /// FreeBSD shows ports by their names unless `-P` is given; on OpenBSD `-P` is what asks for names.
    names_unless_told: bool,
}

impl Default for Anchor {
    fn default() -> Self {
        Self { name: "fwknop".to_owned(), names_unless_told: cfg!(target_os = "freebsd") }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One that the main ruleset itself can name: `pfctl -s Anchors` shows no deeper ones.
impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(name: &str) -> Result<Self, AnchorError> {
        let letter_first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !letter_first || !plain || name.len() > 63 {
            return Err(AnchorError);
        }
        Ok(Self { name: name.to_owned(), ..Self::default() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an anchor: at most 63 letters, digits, '_', '-' and '.'")]
pub struct AnchorError;

impl Pf {
    pub fn new(anchor: &Anchor) -> Self {
        Self { anchor: anchor.clone() }
    }

    fn listed(&self) -> Listed {
        Listed::Pf(self.anchor.clone())
    }
}

impl Backend for Pf {
    fn survey(&self) -> Vec<Step> {
        let anchors = Command::new(PROGRAM, ["-s", "Anchors"]);
        vec![Step::Command(anchors), Step::Command(self.anchor.list())]
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let named = |line: &str| line.trim().trim_end_matches("/*") == self.anchor.name;
        if !text(survey.first()).lines().any(named) {
            return Err(Error::NoAnchor { anchor: self.anchor.to_string() });
        }
        let listing = text(survey.get(1));
        let lost = listing.lines().filter(|line| is_ours(line) && read(line).is_none()).count();
        if lost == 0 {
            return Ok(SetUp { place: format!("anchor {}", self.anchor), ..SetUp::default() });
        }
        let warning = format!("{lost} rules with our label in the anchor {} cannot be read: removed", self.anchor);
        let steps = vec![Step::Command(self.anchor.load(listing, &[])?)];
        Ok(SetUp { place: format!("anchor {}", self.anchor), steps, warnings: vec![warning] })
    }

    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let listing = text(survey.get(1));
        if !listing.lines().any(is_ours) {
            return Ok(Vec::new());
        }
        let foreign = listing.lines().filter(|line| !is_ours(line)).map(str::to_owned);
        Ok(vec![Step::Command(self.anchor.hold(foreign.collect()))])
    }

    fn is_remembered(&self) -> bool {
        true
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        self.listed().open(rule, found)
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![self.listed().close(entry)?])
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        Ok(text(outputs.get(1)).lines().filter_map(read).map(|held| held.entry()).collect())
    }

    fn list_all(&self) -> Vec<Step> {
        vec![Step::Command(self.anchor.list()), Step::Command(Command::new(PROGRAM, ["-s", "rules"]))]
    }
}

impl Anchor {
    pub fn list(&self) -> Command {
        let numbers: &[&str] = if self.names_unless_told { &["-P"] } else { &[] };
        Command::new(PROGRAM, ["-a", &*self.name].iter().chain(numbers).chain(&["-s", "rules"]).copied())
    }

    pub fn text(&self, held: &Held) -> String {
        let Held { address, at, service, until } = held;
        let family = if address.is_ipv6() { "inet6 " } else { "" };
        let at = at.map_or("any".to_owned(), |at| at.to_string());
        let (proto, port) = (service.proto.number(), service.port);
        format!("pass in quick {family}proto {proto} from {address} to {at} port {port} keep state label {END}{until}")
    }

    /// The changed anchor. Rules with our label that cannot be read go: nobody could close them.
    pub fn load(&self, listing: &str, edits: &[&Edit]) -> Result<Command, Error> {
        let mut lines: Vec<(Option<Held>, String)> = listing
            .lines()
            .map(|line| (read(line), line))
            .filter(|(held, line)| !line.trim().is_empty() && (held.is_some() || !is_ours(line)))
            .map(|(held, line)| (held, line.to_owned()))
            .collect();
        for edit in edits {
            match edit.verb {
                Verb::Add => lines.push((Some(edit.held), self.text(&edit.held))),
                Verb::Remove => {
                    let found = lines.iter().position(|(held, _)| *held == Some(edit.held));
                    lines.remove(found.ok_or_else(|| edit.held.refusal(PROGRAM, edit))?);
                }
            }
        }
        Ok(self.hold(lines.into_iter().map(|(_, line)| line).collect()))
    }

    fn hold(&self, lines: Vec<String>) -> Command {
        if lines.is_empty() {
            return Command::new(PROGRAM, ["-a", &self.name, "-F", "rules"]);
        }
        Command::new(PROGRAM, ["-a", &self.name, "-f", "-"]).with_stdin(lines.join("\n") + "\n")
    }
}

fn text(output: Option<&Output>) -> &str {
    match output {
        Some(Output::Text(text)) => text,
        _ => "",
    }
}

/// Reads a rule of ours, as loaded or as `pfctl -s rules` prints it:
/// `pass in quick inet proto tcp from 198.51.100.7 to any port = 22 flags S/SA keep state label "_exp_1748779233"`.
pub fn read(line: &str) -> Option<Held> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if words.first() != Some(&"pass") {
        return None;
    }
    let after = |word: &str| words.iter().position(|w| *w == word).and_then(|place| words.get(place + 1..));
    let port = match after("port")? {
        ["=", port, ..] | [port, ..] => port,
        [] => return None,
    };
    let at = match *after("to")?.first()? {
        "any" => None,
        at => Some(at.parse().ok()?),
    };
    Some(Held {
        address: after("from")?.first()?.parse().ok()?,
        at,
        service: service(after("proto")?.first()?, port)?,
        until: end_in(label(&words)?)?,
    })
}

/// Whether it has our label.
fn is_ours(line: &str) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.first() == Some(&"pass") && label(&words).and_then(end_in).is_some()
}

fn label<'a>(words: &[&'a str]) -> Option<&'a str> {
    let place = words.iter().position(|word| *word == "label")?;
    Some(words.get(place + 1)?.trim_matches('"'))
}

const PROGRAM: &str = "pfctl";
