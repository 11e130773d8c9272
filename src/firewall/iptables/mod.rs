//! iptables and ip6tables, in both variants: the rules that the original makes, each with its end as a comment.
//!
//! ```text
//! -A INPUT -j FWKNOP_INPUT
//! -A FWKNOP_INPUT -s 198.51.100.7/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1748779233 -j ACCEPT
//! ```
//!
//! The kernel never removes a rule by itself: the daemon does when its time has come, and the next daemon what this one
//! could not. The changes of a grant in one table are one transaction of `iptables-restore`, which also says without which
//! jump they are pointless; rules are removed by what they say, never by their place. Many that end together are looked up by what they
//! say and removed by the numbers that nf_tables gave them ([`Sweep`]). Pure: renders and reads, acts never.

mod beside;
mod chain;
mod concern;
mod plan;
mod rehearsal;
mod restore;
mod save;
mod sweep;
mod text;
mod tongue;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use super::backend::{Backend, Change, Output, SetUp, Step};
use super::concern::Concern;
use super::error::Error;
use super::forwarding;
use super::known::{BackendName, Known};
use super::rule::{Entry, Rule, Spot, Value};
use super::settings::{Features, FirewallSettings, Hook, Name};
use crate::grant::Grant;
use crate::net::Service;
pub use chain::{Chains, Role, TableChain, TableChainError, TablesSettings};
pub use concern::one_at_a_time;
pub use restore::{AT_ONCE, program, refused_line, transaction};
use save::{Save, Table};
pub use sweep::{FEW, Place, Sweep};
use text::{Version, rule_text};
use tongue::Tongue;
pub use tongue::directly;

pub const IPTABLES: BackendName = BackendName::new(&Known {
    name: "iptables",
    programs: &["iptables", "iptables-nft", "iptables-legacy", "ip6tables", "ip6tables-nft", "ip6tables-legacy"],
    missing: "install the package iptables",
    found_by: Some("iptables-restore"),
    make: |settings| Box::new(Iptables::new(settings)),
});

pub const FIREWALLD: BackendName = BackendName::new(&Known {
    name: "firewalld",
    programs: &["firewall-cmd"],
    missing: "install the package firewalld",
    found_by: None,
    make: |settings| Box::new(Iptables::through_firewalld(settings)),
});

#[derive(Clone)]
pub struct Iptables {
    tongue: Tongue,
    features: Features,
    tables: TablesSettings,
    versions: Vec<Version>,
    /// Those by which others reach this machine.
    in_use: Vec<Version>,
    /// Where its rules are. `None`: not asked yet.
    variant: Option<Variant>,
    /// The comment match has been tried.
    tried: bool,
    seen: Seen,
}

/// What tells tables from those that somebody has made anew.
#[derive(Debug, Default, Clone)]
struct Seen {
    handles: Vec<Output>,
    /// How many packets each jump of ours has counted.
    passed: BTreeMap<(Version, Role), u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// In the kernel's nf_tables, which tells of every change and counts them.
    NfTables,
    /// In tables of its own: nobody tells who changes them.
    Legacy,
}

impl Iptables {
    pub fn new(settings: &FirewallSettings) -> Self {
        // A kernel without IPv6 has no ip6tables to speak to.
        let v6 = fs::read_to_string("/proc/net/if_inet6").ok();
        let versions = |with_v6| if with_v6 { vec![Version::V4, Version::V6] } else { vec![Version::V4] };
        let in_use = versions(v6.as_deref().is_some_and(forwarding::has_global));
        let FirewallSettings { features, tables, .. } = settings.clone();
        let (tongue, versions) = (Tongue::Restore, versions(v6.is_some()));
        Self { tongue, features, tables, versions, in_use, variant: None, tried: false, seen: Seen::default() }
    }

    /// The same rules, made by firewalld. What it does itself is in nf_tables, whatever becomes of ours.
    pub fn through_firewalld(settings: &FirewallSettings) -> Self {
        Self { tongue: Tongue::Firewalld, variant: Some(Variant::NfTables), ..Self::new(settings) }
    }

    /// The chains in use, in the order of the original: of two jumps to the same position the later stands first.
    fn roles(&self) -> impl Iterator<Item = (Role, &TableChain)> {
        let Features { forwarding, local_nat, source_nat, output, .. } = self.features;
        let nat = forwarding || local_nat;
        let used = [
            (Role::Input, true),
            (Role::Output, output),
            (Role::Forward, nat),
            (Role::Dnat, nat),
            (Role::Snat, nat && source_nat),
            (Role::Masquerade, nat && source_nat),
        ];
        used.into_iter().filter(|(_, used)| *used).map(|(role, _)| (role, self.tables.chains.of(role)))
    }

    fn line(&self, version: Version, chain: &TableChain, jump: bool, text: String) -> Step {
        let jump = jump.then(|| chain.jump());
        // Those of the legacy variant are in tables that are replaced as a whole.
        let bounded = self.variant != Some(Variant::Legacy);
        self.tongue.line(version, &chain.table, jump, text, bounded)
    }

    fn rule(&self, verb: &str, spot: &Spot, to: Option<Value>, comment: &str) -> Result<Step, Error> {
        let chain = self.tables.chains.of(Role::of(spot.kind).ok_or(Error::NoSlot)?);
        let version = Version::of(spot, to);
        let text = rule_text(spot, to, comment, &chain.target);
        let jump = verb != "-D";
        Ok(self.line(version, chain, jump, format!("{verb} {} {text}", chain.to)))
    }

    fn missing(&self, version: Version, save: &Save, warnings: &mut Vec<String>) -> Vec<Step> {
        let mut steps = Vec::new();
        for table in self.table_names() {
            let held = save.table(version, &table);
            let mut inserted: Vec<&str> = Vec::new();
            for (role, chain) in self.roles().filter(|(_, chain)| chain.table == table) {
                let mut change = |text| steps.push(self.line(version, chain, false, text));
                if !held.has_chain(&chain.to) {
                    change(format!("-N {}", chain.to));
                }
                if !held.jumps(&chain.from, &chain.to) {
                    let here = inserted.iter().filter(|from| **from == chain.from).count();
                    let last = held.count(&chain.from) + here + 1;
                    if chain.position > last {
                        warnings.push(format!(
                            "{}: {} has only {} rules, so our jump is its last: position {last} instead of {}",
                            role.setting(self.tongue.word()),
                            chain.from,
                            last - 1,
                            chain.position
                        ));
                    }
                    change(format!("-I {} {} -j {}", chain.from, chain.position.min(last), chain.to));
                    inserted.push(&chain.from);
                }
            }
        }
        steps
    }

    /// Whether what is opened there will have an effect.
    fn look(&self, spot: &Spot, to: Option<Value>) -> Result<Option<Step>, Error> {
        let chain = self.tables.chains.of(Role::of(spot.kind).ok_or(Error::NoSlot)?);
        Ok(self.tongue.look(Version::of(spot, to), &chain.table, &chain.jump()))
    }

    fn passed(&self, survey: &[Output]) -> BTreeMap<(Version, Role), u64> {
        let save = self.read(survey);
        let jumps =
            self.versions.iter().flat_map(|version| self.roles().map(move |(role, chain)| (*version, role, chain)));
        let counted = jumps.filter_map(|(version, role, chain)| {
            let count = save.table(version, &chain.table).passed(&chain.from, &chain.to)?;
            Some(((version, role), count))
        });
        counted.collect()
    }

    fn read(&self, outputs: &[Output]) -> Save {
        let asked = self.tongue.survey(&self.versions, &self.table_names());
        let sources = asked.into_iter().map(|(_, version, table)| (version, table));
        Save::read(sources.zip(outputs))
    }

    /// Each once, in the order of use.
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for role in Role::ALL {
            let table = &self.tables.chains.of(role).table;
            if !names.contains(table) {
                names.push(table.clone());
            }
        }
        names
    }

    /// Whether firewalld filters elsewhere than where it puts our rules.
    fn is_beside_firewalld(&self, save: &Save) -> bool {
        self.tongue == Tongue::Firewalld && !save.table(Version::V4, "filter").has_chain("INPUT_ZONES")
    }

    fn removal(&self, version: Version, save: &Save) -> Vec<Step> {
        let mut steps = Vec::new();
        for table in self.table_names() {
            let held = save.table(version, &table);
            let ours = Role::ALL.map(|role| self.tables.chains.of(role));
            for chain in ours.into_iter().filter(|chain| chain.table == table && held.has_chain(&chain.to)) {
                let jumps = held.jump_count(&chain.from, &chain.to);
                let mut texts = vec![format!("-D {} -j {}", chain.from, chain.to); jumps];
                texts.push(format!("-F {}", chain.to));
                // Somebody else's rule may lead there as well.
                if held.mentions(&chain.to) == jumps {
                    texts.push(format!("-X {}", chain.to));
                }
                steps.extend(texts.into_iter().map(|text| self.line(version, chain, false, text)));
            }
        }
        steps
    }

    /// What a chain of ours is called now: the one that holds a rule of ours.
    fn renamed<'a>(
        &self,
        version: Version,
        role: Role,
        held: &'a Table,
        ours: &dyn Fn(&Entry) -> bool,
    ) -> Option<&'a str> {
        let known = |chain: &str| Role::ALL.iter().any(|role| self.tables.chains.of(*role).to == chain);
        let target = &self.tables.chains.of(role).target;
        let holds = |words: &[String]| text::read(role, version, target, words).is_some_and(|entry| ours(&entry));
        held.all_rules().find(|(chain, words)| !known(chain) && holds(words)).map(|(chain, _)| chain)
    }

    fn close_each(&self, entries: &[Entry]) -> Result<Vec<Step>, Error> {
        let steps: Result<Vec<_>, Error> = entries.iter().map(|entry| self.close(entry)).collect();
        Ok(steps?.concat())
    }

    fn entries_in(&self, version: Version, table: &str, held: &Table) -> Vec<Entry> {
        let ours = Role::ALL.map(|role| (role, self.tables.chains.of(role)));
        let here = ours.into_iter().filter(|(_, chain)| chain.table == table);
        here.flat_map(|(role, chain)| {
            held.rules(&chain.to).filter_map(move |rule| text::read(role, version, &chain.target, rule))
        })
        .collect()
    }
}

impl Backend for Iptables {
    fn rules(&self, grant: &Grant, replies: bool) -> Vec<Rule> {
        plan::rules(grant, replies)
    }

    fn survey(&self) -> Vec<Step> {
        let asked = self.tongue.survey(&self.versions, &self.table_names());
        // Last: what it brings belongs to no table.
        let variant = self.tongue.ask_variant().filter(|_| self.variant.is_none());
        asked.into_iter().map(|(step, ..)| step).chain(variant).collect()
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let save = self.read(survey);
        self.variant = self.variant.or_else(|| survey.last().and_then(Variant::told));
        let (mut steps, mut warnings) = (Vec::new(), Vec::new());
        if self.tables.comment_check && !self.tried {
            // One module for both protocols.
            steps.extend(self.tongue.try_comments(Version::V4));
        }
        for version in &self.versions {
            steps.extend(self.missing(*version, &save, &mut warnings));
        }
        if self.is_beside_firewalld(&save) {
            warnings.push(BESIDE_FIREWALLD.to_owned());
        }
        self.tried = true;
        let places: Vec<&str> = self.roles().map(|(_, chain)| &*chain.to).collect();
        Ok(SetUp { place: places.join(", "), steps, warnings })
    }

    fn concerns(&self, survey: &[Output], opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
        let save = self.read(survey);
        if self.is_beside_firewalld(&save) {
            // What else is not as it should be is so because of that.
            return Vec::new();
        }
        let from = |role| &*self.tables.chains.of(role).from;
        let Features { forwarding, output, .. } = self.features;
        let mut chains = vec![(Hook::Input, from(Role::Input))];
        chains.extend(forwarding.then(|| (Hook::Forward, from(Role::Forward))));
        // Answers need the rule where nothing of ours lets them out.
        chains.extend((!output).then(|| (Hook::Output, from(Role::Output))));
        concern::concerns(&save, &self.in_use, &chains, opens)
    }

    /// Not in the legacy variant, which would make tables for it.
    fn rehearsal(&self, set_up: &[Step]) -> Vec<Step> {
        match (self.tongue, self.variant) {
            (Tongue::Restore, Some(Variant::NfTables)) => rehearsal::steps(self, set_up),
            _ => Vec::new(),
        }
    }

    fn inquiries(&self) -> Vec<Step> {
        match (self.tongue, self.variant) {
            (Tongue::Restore, Some(variant)) => beside::inquiries(variant),
            (Tongue::Firewalld, _) => vec![beside::ask_nft()],
            _ => Vec::new(),
        }
    }

    fn surroundings(&self, answers: &[Output]) -> Vec<Concern> {
        let hook = |role| match role {
            Role::Input => Some(Hook::Input),
            Role::Output => Some(Hook::Output),
            Role::Forward if self.features.forwarding => Some(Hook::Forward),
            _ => None,
        };
        let hooks: Vec<(Hook, &str)> =
            self.roles().filter_map(|(role, chain)| Some((hook(role)?, &*chain.from))).collect();
        // Its own is told by set-up.
        let spared = (self.tongue == Tongue::Firewalld).then_some("firewalld");
        self.variant.map(|variant| beside::overruling(variant, &hooks, spared, answers)).unwrap_or_default()
    }

    fn generation(&self) -> Option<Step> {
        (self.variant == Some(Variant::NfTables)).then_some(Step::Generation)
    }

    /// Who restores a ruleset makes its tables anew.
    fn marks(&self) -> Vec<Step> {
        let versions = if self.variant == Some(Variant::NfTables) { &*self.versions } else { &[] };
        let tables: Vec<Name> = self.table_names().iter().filter_map(|name| name.parse().ok()).collect();
        let each = |version: &Version| {
            let family = version.family();
            tables.iter().map(move |table| Step::Handle(family, table.clone()))
        };
        versions.iter().flat_map(each).collect()
    }

    /// The legacy variant does not number its tables. But who restores a ruleset makes our jumps anew too, and they count the packets
    /// that pass from the start, or from what they had counted when it was saved.
    fn recognise(&mut self, survey: &[Output], marks: &[Output]) -> bool {
        let passed = if self.variant == Some(Variant::Legacy) { self.passed(survey) } else { BTreeMap::new() };
        let former = std::mem::replace(&mut self.seen, Seen { handles: marks.to_vec(), passed });
        let is_new = |(before, now): (&Output, &Output)| *before != Output::Handle(None) && before != now;
        let fewer = |(jump, count): (&(Version, Role), &u64)| self.seen.passed.get(jump).is_some_and(|now| now < count);
        former.handles.iter().zip(marks).any(is_new) || former.passed.iter().any(fewer)
    }

    fn is_silent(&self) -> bool {
        self.variant == Some(Variant::Legacy)
    }

    fn recall(&self, survey: &[Output], ours: &dyn Fn(&Entry) -> bool) -> Vec<Step> {
        let save = self.read(survey);
        let mut steps = Vec::new();
        for (version, name, held) in save.tables() {
            for role in Role::ALL {
                let chain = self.tables.chains.of(role);
                if chain.table == name
                    && !held.has_chain(&chain.to)
                    && let Some(now) = self.renamed(version, role, held, ours)
                {
                    steps.push(self.line(version, chain, false, format!("-E {now} {}", chain.to)));
                }
            }
        }
        steps
    }

    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let save = self.read(survey);
        Ok(self.versions.iter().flat_map(|version| self.removal(*version, &save)).collect())
    }

    fn stand_in(&self) -> Option<Box<dyn Backend>> {
        let iptables = || Self { tongue: Tongue::Restore, ..self.clone() };
        (self.tongue == Tongue::Firewalld).then(|| Box::new(iptables()) as Box<dyn Backend>)
    }

    fn is_remembered(&self) -> bool {
        true
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        let verb = if self.tables.prepend { "-I" } else { "-A" };
        let comment = format!("{}{}", super::rule::END, rule.tag.until);
        let change = |step, undo| Change { step, undo };
        let add = change(
            self.rule(verb, &rule.spot, rule.to, &comment)?,
            Some(self.rule("-D", &rule.spot, rule.to, &comment)?),
        );
        let look = self.look(&rule.spot, rule.to)?.map(|look| change(look, None));
        let Some(found) = found else { return Ok(look.into_iter().chain([add]).collect()) };
        let former = found.comment.as_deref().unwrap_or_default();
        let delete = change(
            self.rule("-D", &found.spot, found.to, former)?,
            Some(self.rule(verb, &found.spot, found.to, former)?),
        );
        Ok(look.into_iter().chain([delete, add]).collect())
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![self.rule("-D", &entry.spot, entry.to, entry.comment.as_deref().unwrap_or_default())?])
    }

    fn close_all(&self, entries: &[Entry]) -> Result<Vec<Step>, Error> {
        if entries.len() > FEW && self.variant == Some(Variant::NfTables) {
            return Ok(sweep::steps(&self.tables.chains, entries));
        }
        self.close_each(entries)
    }

    /// firewalld may have them in the legacy variant, where nothing can be looked up. And where somebody changes the ruleset all the
    /// time, lines wait for a moment that is theirs.
    fn close_otherwise(&self, entries: &[Entry], unable: &Error) -> Result<Vec<Step>, Error> {
        let of_use = self.tongue == Tongue::Firewalld || unable.is_outdated();
        if entries.len() > FEW && of_use { self.close_each(entries) } else { Ok(Vec::new()) }
    }

    fn has_room(&self) -> bool {
        self.tongue == Tongue::Restore
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        let save = self.read(outputs);
        Ok(save.tables().flat_map(|(version, name, held)| self.entries_in(version, name, held)).collect())
    }

    fn list_all(&self) -> Vec<Step> {
        let tables: Vec<&str> = self.roles().map(|(_, chain)| &*chain.table).collect();
        let names: Vec<String> = self.table_names().into_iter().filter(|name| tables.contains(&&**name)).collect();
        self.versions.iter().flat_map(|version| names.iter().map(|name| self.tongue.list(*version, name))).collect()
    }
}

impl Variant {
    /// `iptables-legacy`
    fn suffix(self) -> &'static str {
        match self {
            Variant::NfTables => "nft",
            Variant::Legacy => "legacy",
        }
    }

    /// `iptables v1.8.9 (legacy)`. Before there were two, it was that one.
    fn told(version: &Output) -> Option<Self> {
        let Output::Text(text) = version else { return None };
        let line = text.lines().next().filter(|line| line.contains("tables v"))?;
        Some(if line.contains("(nf_tables)") { Variant::NfTables } else { Variant::Legacy })
    }
}

const BESIDE_FIREWALLD: &str = "firewalld filters with nftables, and drops there what our rules let through, which it has in iptables; \
                                write FIREWALL nftables, or FirewallBackend=iptables to firewalld.conf, and restart firewalld";

#[cfg(test)]
mod tests;
