//! PF of OpenBSD and FreeBSD: rules in an anchor that the administrator's ruleset names, each with its end as a label.
//!
//! ```text
//! anchor "fwknop"                                                                       (in pf.conf)
//! pass in quick proto 6 from 198.51.100.7 to any port 22 keep state label _exp_1748779233
//! ```
//!
//! An anchor is loaded as a whole: what it holds is listed, changed, and loaded again, all at once (`pfctl(8)`). Rules of
//! others in it stay as `pfctl` prints them, which is how `pf.conf(5)` reads them. States outlive the rules that made
//! them. NAT is said in two ways: OpenBSD has it in the rule that lets through, FreeBSD in rules of their own (`text.rs`).
//! Pure: renders and reads, acts never.

mod anchor;
mod concern;
mod plan;
mod text;

use std::rc::Rc;
use std::time::Duration;

use super::backend::{Backend, Change, Command, Output, SetUp, Step};
use super::concern::Concern;
use super::error::Error;
use super::known::{BackendName, Known};
use super::listed::{self, Listed};
use super::rule::{Entry, Rule};
use super::settings::Features;
use crate::grant::Grant;
pub use anchor::{Anchor, AnchorError, Syntax};
use text::{is_ours, read};

pub const PF: BackendName = BackendName::new(&Known {
    name: "pf",
    programs: &["pfctl"],
    missing: "pfctl belongs to OpenBSD and FreeBSD and has no other package: set FIREWALL to what this system has",
    found_by: None,
    make: |settings| Box::new(Pf::new(&settings.anchor, settings.features)),
});

pub struct Pf {
    anchor: Anchor,
    features: Features,
    listed: Rc<dyn Listed>,
}

impl Pf {
    pub fn new(anchor: &Anchor, features: Features) -> Self {
        Self { anchor: anchor.clone(), features, listed: Rc::new(anchor.clone()) }
    }

    /// What the anchor holds.
    fn held(&self, survey: &[Output]) -> String {
        survey.iter().skip(1).map(text).collect()
    }
}

impl Backend for Pf {
    fn rules(&self, grant: &Grant, _: bool) -> Vec<Rule> {
        plan::rules(grant)
    }

    fn survey(&self) -> Vec<Step> {
        [Command::new(PROGRAM, ["-s", "Anchors"])].into_iter().chain(self.anchor.list()).map(Step::Command).collect()
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let named = |line: &str| line.trim().trim_end_matches("/*") == self.anchor.name();
        if !survey.first().map(text).unwrap_or_default().lines().any(named) {
            return Err(Error::NoAnchor { anchor: self.anchor.to_string() });
        }
        let listing = self.held(survey);
        let lost = listing.lines().filter(|line| is_ours(line) && read(line).is_none()).count();
        let place = format!("anchor {}", self.anchor);
        if lost == 0 {
            return Ok(SetUp { place, ..SetUp::default() });
        }
        let warning = format!("{lost} rules with our label in the anchor {} cannot be read: removed", self.anchor);
        let steps = vec![Step::Command(self.anchor.load(&listing, &[])?)];
        Ok(SetUp { place, steps, warnings: vec![warning] })
    }

    fn inquiries(&self) -> Vec<Step> {
        concern::inquiries(&self.anchor, self.features)
    }

    fn surroundings(&self, answers: &[Output]) -> Vec<Concern> {
        let told = |output: &'_ Output| matches!(output, Output::Text(_));
        let answers: Vec<Option<&str>> = answers.iter().map(|answer| told(answer).then_some(text(answer))).collect();
        concern::surroundings(&self.anchor, self.features, &answers)
    }

    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let listing = self.held(survey);
        if !listing.lines().any(is_ours) {
            return Ok(Vec::new());
        }
        let foreign = listing.lines().filter(|line| !is_ours(line)).map(str::to_owned);
        Ok(vec![Step::Command(self.anchor.hold(foreign.collect()))])
    }

    fn is_remembered(&self) -> bool {
        true
    }

    /// Two or three listings.
    fn is_silent(&self) -> bool {
        true
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        if !self.anchor.can_say(&rule.spot, rule.to) {
            return Err(Error::NoSlot);
        }
        listed::open(&self.listed, rule, found)
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![listed::close(&self.listed, entry)?])
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        Ok(self.held(outputs).lines().filter_map(read).map(|held| held.entry()).collect())
    }

    fn list_all(&self) -> Vec<Step> {
        let whole = Command::new(PROGRAM, ["-s", "rules"]);
        self.anchor.list().into_iter().chain([whole]).map(Step::Command).collect()
    }
}

fn text(output: &Output) -> &str {
    match output {
        Output::Text(text) => text,
        _ => "",
    }
}

const PROGRAM: &str = "pfctl";
