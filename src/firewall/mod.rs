//! The firewall: opens what was granted, closes it again, and cleans up.
//!
//! The engine is written once. [`Firewall`] decides what happens; a [`Backend`] renders it as [`Step`]s and reads
//! listings; a [`Runner`] acts. Invariants:
//!
//! * A grant is all or nothing: when a step fails, the ones before it are undone.
//! * A repeated knock never shortens what is open, and whoever closes a grant closes only what is still its own.
//! * Before anything is opened, set-up is in place: somebody may have reloaded the ruleset since.
//! * What is not ours is never changed. What is ours says so, with its [`Tag`].

mod adopt;
mod backend;
mod concern;
mod ends;
mod error;
mod firewalld;
mod forwarding;
mod ipfw;
mod iptables;
mod kernel;
mod known;
mod listed;
mod memory;
mod netlink;
mod nftables;
mod pf;
mod place;
mod rule;
mod ruleset;
mod runner;
mod settings;
mod table;
mod tidy;
mod watch;

use std::collections::BTreeSet;

use crate::grant::{Grant, GrantId};
use crate::net::Service;
use crate::time::Timestamp;

pub use backend::{Backend, Change, Command, Element, Line, Output, Pass, Remains, SetUp, Step, Verb};
pub use concern::Concern;
pub use error::Error;
pub use forwarding::forwarding;
pub use ipfw::{IPFW, Ipfw, Numbers};
pub use iptables::{
    Chains, FIREWALLD, IPTABLES, Iptables, Role, TableChain, TableChainError, TablesSettings, one_at_a_time,
};
pub use known::{ALL, BackendName, NAMES};
use memory::Memory;
pub use nftables::{NFTABLES, Nftables};
pub use pf::{Anchor, AnchorError, PF, Pf, Syntax};
pub use rule::{Entry, Kind, NotOurs, Rule, Spot, Tag, Value};
use runner::transactions;
pub use runner::{Failed, Runner, System};
pub use settings::{ChainPlace, ChainPlaceError, Family, Features, FirewallSettings, Hook, Name};
use tidy::Tidy;
pub use watch::{News, Watch};

/// The one firewall of this machine.
pub struct Firewall {
    backend: Box<dyn Backend>,
    runner: Box<dyn Runner>,
    /// Replies need rules of their own.
    replies: bool,
    /// The firewall's own count of changes when it was last as it should be.
    seen: Option<u32>,
    /// Set-up was in place once.
    stood: bool,
    /// Somebody undid it since the last look, and what was open is gone.
    undone: bool,
    /// Something that failed half-way could not be undone: there may be more than there should be.
    unsure: bool,
    /// What a firewall holds that cannot be asked for one rule. `None`: it can, or was not looked at yet.
    memory: Option<Memory>,
    /// What closing leaves behind.
    tidy: Tidy,
}

impl Firewall {
    /// Touches nothing yet.
    pub fn new(settings: &FirewallSettings) -> Self {
        let backend = settings.backend.backend(settings);
        let runner = Box::new(System::new(settings.program.clone()));
        Self { replies: settings.features.output, ..Self::with(backend, runner) }
    }

    /// For tests: any back-end, any runner.
    pub fn with(backend: Box<dyn Backend>, runner: Box<dyn Runner>) -> Self {
        Self {
            backend,
            runner,
            replies: false,
            seen: None,
            stood: false,
            undone: false,
            unsure: false,
            memory: None,
            tidy: Tidy::default(),
        }
    }

    /// Makes rules take effect. What is in place, with all that is open, stays as it is. The returned warnings are for
    /// the administrator.
    pub fn set_up(&mut self) -> Result<SetUp, Error> {
        // Did anybody else change something meanwhile, the number will not fit, and the next grant looks again.
        self.seen = self.generation()?;
        let done = self.put_in_place();
        if done.is_err() {
            self.seen = None;
        }
        done
    }

    /// Grants may lead to other things from now on, by the same firewall in the same place: makes what that needs. What is open
    /// stays open, and what is needed no more stays until the end.
    pub fn fit(&mut self, settings: &FirewallSettings) -> Result<SetUp, Error> {
        let former = std::mem::replace(&mut self.backend, settings.backend.backend(settings));
        // What is missing now was not undone by anybody.
        let stood = std::mem::take(&mut self.stood);
        let done = self.set_up();
        match done {
            Ok(_) => self.replies = settings.features.output,
            Err(_) => (self.backend, self.stood) = (former, stood),
        }
        done
    }

    fn put_in_place(&mut self) -> Result<SetUp, Error> {
        let survey = self.run(&self.backend.survey())?;
        let (survey, renamed) = self.recall(survey)?;
        let set_up = self.backend.set_up(&survey)?;
        self.change(&set_up.steps)?;
        let marks = self.run(&self.backend.marks())?;
        let made_anew = self.backend.recognise(&survey, &marks);
        let undone = self.stood && (renamed || !set_up.steps.is_empty());
        // What is remembered tells by itself whether anything is lost.
        self.undone |= undone || (self.stood && made_anew && !self.backend.is_remembered());
        self.stood = true;
        self.remember(&survey, undone || made_anew)?;
        self.tidy.found(&self.backend.remains(&survey));
        self.unsure = false;
        Ok(set_up)
    }

    /// What would keep grants from working: looks, as set-up does, and changes nothing. `opens` tells which services of this
    /// machine grants may open.
    pub fn check(&mut self, opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
        let grave = |error: Error| Concern::told(true, &with_cause(&error), LOOK);
        if let Err(error) = self.generation() {
            return vec![grave(error)];
        }
        let survey = match self.run(&self.backend.survey()) {
            Ok(survey) => survey,
            Err(error) => return vec![grave(error)],
        };
        let set_up = match self.backend.set_up(&survey) {
            Ok(set_up) => set_up,
            Err(error) => return vec![grave(error)],
        };
        let mut concerns: Vec<Concern> =
            set_up.warnings.iter().map(|warning| Concern::told(false, warning, LOOK)).collect();
        concerns.extend(self.backend.concerns(&survey, opens));
        concerns.extend(self.surroundings());
        // What the kernel lacks, it says when it is asked for it.
        if let Err(error) = self.run(&self.backend.rehearsal(&set_up.steps)) {
            concerns.push(Concern::grave(with_cause(&error), LACKING));
        }
        concerns
    }

    /// What around the firewall keeps it from being of use. What cannot be asked is passed over.
    pub fn surroundings(&mut self) -> Vec<Concern> {
        let asked = self.backend.inquiries();
        let answers: Vec<Output> = asked.into_iter().map(|step| self.ask(step).unwrap_or(Output::Done)).collect();
        self.backend.surroundings(&answers)
    }

    /// How to learn of changes that others make. To be asked after set-up, and followed by a look: what was changed in
    /// between is not told.
    pub fn news(&self) -> Result<News, Error> {
        match self.backend.generation() {
            Some(_) => Watch::open().map(News::Told),
            None if self.backend.is_silent() => Ok(News::Sought),
            None => Ok(News::Never),
        }
    }

    /// Puts set-up back if somebody undid it. Tells whether anybody has since the last look: then what was open is to be
    /// opened again.
    pub fn look(&mut self, now: Timestamp) -> Result<bool, Error> {
        if self.backend.is_silent() {
            self.set_up()?;
        } else {
            self.ensure_set_up()?;
        }
        self.put_back(now)?;
        Ok(std::mem::take(&mut self.undone))
    }

    pub fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Looks for what could not be undone, and removes it.
    pub fn make_sure(&mut self) -> Result<(), Error> {
        if self.unsure { self.set_up().map(|_| ()) } else { Ok(()) }
    }

    /// Lets the grant's address reach its services until it ends: all of them, or none and an error.
    pub fn open(&mut self, grant: &Grant, now: Timestamp) -> Result<(), Error> {
        self.renew(grant, &[], now)
    }

    /// The same in the place of others, which are not closed any more: what they hold is the new grant's, whenever they end.
    pub fn renew(&mut self, grant: &Grant, instead_of: &[Grant], now: Timestamp) -> Result<(), Error> {
        let leaving = instead_of.iter().map(|older| older.id).collect();
        self.open_rules(&self.backend.rules(grant, self.replies), &leaving, now)
    }

    /// Before `leaving` are closed: what `others` have open as well is theirs from now on, until their own end. What led
    /// elsewhere meanwhile leads to where they were let again.
    pub fn hand_over<'a>(
        &mut self,
        leaving: &[Grant],
        others: impl Iterator<Item = &'a Grant>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let from: BTreeSet<GrantId> = leaving.iter().map(|grant| grant.id).collect();
        let mut spots: BTreeSet<Spot> = BTreeSet::new();
        for rule in leaving.iter().flat_map(|grant| self.backend.rules(grant, self.replies)).collect::<Vec<_>>() {
            let found = self.find(&rule, now)?;
            // Of many there is one that holds the rule: when another leaves, nothing is to be done. The kernel may have been
            // faster.
            let holder = found.map(|found| self.holder(&rule, &found));
            if holder.is_none_or(|holder| holder.is_some_and(|grant| from.contains(&grant))) {
                spots.insert(rule.spot);
            }
        }
        if spots.is_empty() {
            return Ok(());
        }
        let mut done = Ok(());
        for other in others.filter(|other| other.until > now) {
            let mut rules = self.backend.rules(other, self.replies);
            rules.retain(|rule| spots.contains(&rule.spot));
            if !rules.is_empty() {
                done = self.open_rules(&rules, &from, now).and(done);
            }
        }
        done
    }

    /// What is held by one of `leaving` does not count as open.
    fn open_rules(&mut self, rules: &[Rule], leaving: &BTreeSet<GrantId>, now: Timestamp) -> Result<(), Error> {
        self.ensure_set_up()?;
        self.put_back(now)?;
        match self.open_all(rules, leaving, now) {
            Err(stale) if stale.is_stale() || self.may_be_stale(&stale) => {
                self.set_up()?;
                self.put_back(now)?;
                self.open_all(rules, leaving, now)
            }
            done => done,
        }
    }

    /// Ends a grant before or at its time. What a later grant extended stays open.
    pub fn close(&mut self, grant: &Grant) -> Result<(), Error> {
        if self.memory.is_some() {
            return self.close_remembered(std::slice::from_ref(grant));
        }
        let mut own = Vec::new();
        for rule in self.backend.rules(grant, self.replies) {
            let found = self.find(&rule, grant.until)?;
            own.extend(found.filter(|found| found.tag().is_some_and(|tag| tag.grant == grant.id)));
        }
        match self.delete(&own) {
            // The kernel was faster with one of them, and took none.
            Err(gone) if gone.is_stale() => own.iter().try_for_each(|entry| self.close_entry(entry)),
            done => done,
        }
    }

    /// Removes everything of ours, open grants included, and nothing else.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.seen = None;
        self.memory = None;
        match self.tear_down() {
            // Somebody changed the firewall between our look and our step: the kernel took nothing of it.
            Err(Error::Refused { .. } | Error::Kernel { .. }) => self.tear_down(),
            done => done,
        }
    }

    /// Closes what says it is ours and is of no grant that is open: somebody restored it from a saved ruleset.
    pub fn close_others(&mut self, are_open: &BTreeSet<GrantId>) -> Result<(), Error> {
        if self.memory.is_some() {
            // Done with each look.
            return Ok(());
        }
        let is_over = |entry: &Entry| entry.tag().is_some_and(|tag| !are_open.contains(&tag.grant));
        let entries = self.entries()?;
        entries.iter().filter(|entry| is_over(entry)).try_for_each(|entry| self.close_entry(entry))
    }

    /// What opening the grant would do, for a dry run: asks nobody, changes nothing.
    pub fn describe(&self, grant: &Grant) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for rule in self.backend.rules(grant, self.replies) {
            let changes = self.backend.open(&rule, None, grant.lifetime.as_duration())?;
            steps.extend(changes.into_iter().map(|change| change.step));
        }
        Ok(steps)
    }

    fn ensure_set_up(&mut self) -> Result<(), Error> {
        let number = self.generation()?;
        // Without a number to go by, each change looks by itself whether it is.
        if number.map_or(self.memory.is_some(), |number| self.seen == Some(number)) {
            return Ok(());
        }
        if let Some(check) = self.backend.check()
            && let Ok(output) = self.ask(check)
            && self.backend.in_place(&output)
        {
            self.seen = number;
            return Ok(());
        }
        self.set_up().map(|_| ())
    }

    fn open_all(&mut self, rules: &[Rule], leaving: &BTreeSet<GrantId>, now: Timestamp) -> Result<(), Error> {
        let mut changes: Vec<Change> = Vec::new();
        let mut changed = Vec::new();
        for rule in rules {
            let lasts = now.until(rule.until);
            if lasts.is_zero() {
                return Err(Error::Elapsed);
            }
            let found = self.find(rule, now)?;
            // What an administrator opened by hand for a shorter time is taken over: a place holds one opening only.
            let stays = |found: &Entry| self.holder(rule, found).is_none_or(|grant| !leaving.contains(&grant));
            let enough = |found: &Entry| found.outlasts(lasts) && found.to == rule.to && stays(found);
            if found.as_ref().is_some_and(enough) {
                continue;
            }
            changed.push(rule.clone());
            if found.as_ref().is_some_and(|found| self.says_the_same(rule, found)) {
                continue;
            }
            if found.is_some() {
                self.tidy.expect();
            }
            for change in self.backend.open(rule, found.as_ref(), lasts)? {
                // A look is enough once.
                if change.undo.is_some() || !changes.contains(&change) {
                    changes.push(change);
                }
            }
        }
        self.apply(changes)?;
        if let Some(memory) = &mut self.memory {
            changed.into_iter().for_each(|rule| memory.note(rule));
        }
        Ok(())
    }

    fn apply(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let (steps, mut undos): (Vec<Step>, Vec<Option<Step>>) =
            changes.into_iter().map(|change| (change.step, change.undo)).unzip();
        let failed = match self.runner.run(&steps) {
            Ok(outputs) => return self.count(&steps, &outputs),
            Err(failed) => failed,
        };
        self.tidy.expect();
        self.unsure |= failed.error.is_unknown();
        undos.truncate(failed.done);
        undos.reverse();
        // Each by itself: one that fails must not keep the others from being tried.
        let failures: Vec<String> = undos
            .iter()
            .flatten()
            .filter_map(|undo| self.runner.run(std::slice::from_ref(undo)).err())
            .map(|failed| failed.error.to_string())
            .collect();
        if failures.is_empty() {
            return Err(failed.error);
        }
        self.unsure = true;
        Err(Error::NotUndone { undo: failures.join("; "), cause: Box::new(failed.error) })
    }

    fn find(&mut self, rule: &Rule, now: Timestamp) -> Result<Option<Entry>, Error> {
        if let Some(memory) = &self.memory {
            return Ok(memory.find(rule, now));
        }
        let output = self.ask(self.backend.find(rule)?)?;
        let entries = self.backend.entries(&[output])?;
        Ok(entries.into_iter().find(|entry| entry.spot == rule.spot))
    }

    /// Whose it is.
    fn holder(&self, rule: &Rule, found: &Entry) -> Option<GrantId> {
        match &self.memory {
            Some(memory) => memory.holder(rule),
            None => found.tag().map(|tag| tag.grant),
        }
    }

    /// Where rules do not tell whose they are, those of two grants may be the same.
    fn says_the_same(&self, rule: &Rule, found: &Entry) -> bool {
        self.memory.is_some() && (found.to, found.end()) == (rule.to, Some(rule.tag.until))
    }

    fn close_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        match self.delete(std::slice::from_ref(entry)) {
            // The kernel was faster.
            Err(gone) if gone.is_stale() => Ok(()),
            done => done,
        }
    }

    fn tear_down(&mut self) -> Result<(), Error> {
        let runner = &mut *self.runner;
        match (tear_down(&*self.backend, runner), self.backend.stand_in()) {
            // It may have left ours where they were.
            (Err(away), Some(other)) if away.keeps_from_firewalld() => tear_down(&*other, runner),
            (done, _) => done,
        }
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Error> {
        let survey = self.run(&self.backend.survey())?;
        self.backend.entries(&survey)
    }

    fn generation(&mut self) -> Result<Option<u32>, Error> {
        let Some(step) = self.backend.generation() else { return Ok(None) };
        match self.ask(step)? {
            Output::Generation(number) => Ok(Some(number)),
            _ => Ok(None),
        }
    }

    fn change(&mut self, steps: &[Step]) -> Result<(), Error> {
        let outputs = self.run(steps)?;
        self.count(steps, &outputs)
    }

    /// Our own changes, so that those of others can be told from them.
    fn count(&mut self, steps: &[Step], outputs: &[Output]) -> Result<(), Error> {
        let Some(seen) = self.seen else { return Ok(()) };
        // firewalld may have what it is told in tables whose changes nobody counts.
        let uncounted = self.memory.is_some() && self.generation()? == Some(seen);
        let made = if uncounted { 0 } else { transactions(steps, outputs) };
        self.seen = Some(seen.wrapping_add(made));
        Ok(())
    }

    fn ask(&mut self, step: Step) -> Result<Output, Error> {
        Ok(self.run(&[step])?.pop().unwrap_or(Output::Done))
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<Output>, Error> {
        self.runner.run(steps).map_err(|failed| failed.error)
    }
}

fn tear_down(backend: &dyn Backend, runner: &mut dyn Runner) -> Result<(), Error> {
    let mut run = |steps: &[Step]| runner.run(steps).map_err(|failed| failed.error);
    let survey = run(&backend.survey())?;
    run(&backend.tear_down(&survey)?).map(|_| ())
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

const LOOK: &str = "look at the whole firewall with: fwknopd --fw-list-all";
const LACKING: &str = "the kernel may lack a module that this needs (nf_tables, nft_ct, nft_nat, nft_masq; for iptables nft_compat, \
                       xt_comment, xt_nat, xt_MASQUERADE): load it with modprobe, or \
                       start the kernel that is installed";

#[cfg(test)]
mod tests;
