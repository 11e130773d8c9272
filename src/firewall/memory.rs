//! What a firewall holds of ours, remembered: for one that can only be listed as a whole, which takes longer the more it
//! holds. Nothing in its rules tells whose they are either, only when they end.
//!
//! The memory is held against the firewall by each change: one that removes what is not there, or adds to what has no
//! effect, is refused by the firewall. Then it is listed anew ([`difference`]), and what is missing is put back.

mod difference;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::adopt::Adopted;
use super::rule::END;
use super::{Entry, Error, Firewall, Kind, Output, Rule, Spot, Tag, Value};
use crate::grant::{Grant, GrantId};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub struct Memory {
    rules: BTreeMap<Key, Rule>,
    by_grant: BTreeSet<(GrantId, Key)>,
    /// What was there when the firewall was last listed.
    listed: BTreeSet<Key>,
    /// What somebody else removed, and is to be put back.
    lost: Vec<Rule>,
    /// What it held before that, perhaps: of grants of a former daemon in whose place another is expected.
    others: Vec<Rule>,
    /// Perhaps the firewall never held what is of these: when it does not, nobody removed it.
    doubtful: BTreeSet<GrantId>,
    /// It has been listed before: what is there and not known is not from a former daemon.
    begun: bool,
}

/// A place, which holds one rule. Where packets are sent on in another name it is one for each name.
type Key = (Spot, Option<Value>);

impl Memory {
    pub fn note(&mut self, rule: Rule) {
        let key = key(rule.spot, rule.to);
        self.forget(&key);
        self.by_grant.insert((rule.tag.grant, key));
        self.rules.insert(key, rule);
    }

    fn note_listed(&mut self, rule: Rule) {
        let key = key(rule.spot, rule.to);
        self.note(rule);
        self.listed.insert(key);
    }

    pub fn find(&self, rule: &Rule, now: Timestamp) -> Option<Entry> {
        let found = self.rules.get(&key(rule.spot, rule.to))?;
        Some(Entry { remaining: Some(now.until(found.until)), ..found.entry() })
    }

    /// Whose the rule in its place is.
    pub fn holder(&self, rule: &Rule) -> Option<GrantId> {
        self.rules.get(&key(rule.spot, rule.to)).map(|rule| rule.tag.grant)
    }

    fn forget(&mut self, key: &Key) {
        if let Some(rule) = self.rules.remove(key) {
            self.by_grant.remove(&(rule.tag.grant, *key));
            self.listed.remove(key);
        }
    }

    pub fn of(&self, grant: GrantId) -> impl Iterator<Item = &Rule> {
        let least = Spot { kind: Kind::Input, address: IpAddr::from([0, 0, 0, 0]), peer: None, service: None };
        let from = (grant, (least, None));
        let own = self.by_grant.range(from..).take_while(move |(owner, _)| *owner == grant);
        own.filter_map(|(_, key)| self.rules.get(key))
    }

    /// Rules of one grant of a former daemon, which had done the same with those before.
    pub fn expect(&mut self, rules: Vec<Rule>, told: bool) {
        for rule in rules {
            if !told {
                self.doubtful.insert(rule.tag.grant);
            }
            let held = self.rules.get(&key(rule.spot, rule.to)).cloned();
            match held {
                Some(held) if held.until >= rule.until && held.to == rule.to => self.others.push(rule),
                held => {
                    self.others.extend(held);
                    self.note_listed(rule);
                }
            }
        }
    }

    /// Gives the rules a number of which nobody knows whose they are: those for one address that end together are one grant. What
    /// is sent on in another name tells not even for whom: it belongs to what ends at the same time.
    fn claim(&mut self, new_number: &mut dyn FnMut() -> GrantId) {
        let unclaimed: Vec<Rule> = self.of(NOBODY).cloned().collect();
        let mut owners: BTreeMap<(u64, IpAddr), Tag> = BTreeMap::new();
        let (vague, clear): (Vec<Rule>, Vec<Rule>) = unclaimed.into_iter().partition(|rule| is_vague(&rule.spot));
        for mut rule in clear {
            let until = rule.tag.until;
            let new = || Tag { grant: new_number(), until, signer: None };
            rule.tag = *owners.entry((until, rule.spot.address)).or_insert_with(new);
            self.note_listed(rule);
        }
        for mut rule in vague {
            let since = (rule.tag.until, IpAddr::from([0, 0, 0, 0]));
            let same = owners.range(since..).take_while(|((until, _), _)| *until == rule.tag.until);
            let mut same = same.filter(|((_, address), _)| address.is_ipv4() == rule.spot.address.is_ipv4());
            if let Some(((_, address), tag)) = same.next() {
                self.forget(&key(rule.spot, rule.to));
                rule.spot.address = *address;
                rule.tag = *tag;
                self.note_listed(rule);
            }
        }
    }
}

impl Firewall {
    /// Gives numbers to what nobody remembers and does not tell its own. To be done before [`adopt`](Self::adopt).
    pub fn claim(&mut self, new_number: &mut dyn FnMut() -> GrantId) {
        if let Some(memory) = &mut self.memory {
            memory.claim(new_number);
        }
    }

    /// Closes several grants at once, where that is cheaper than one by one.
    pub fn close_together(&mut self, grants: &[Grant]) -> Result<(), Error> {
        if self.memory.is_some() { self.close_remembered(grants) } else { Ok(()) }
    }

    /// Takes note of what the firewall holds, if it has to be remembered. `undone`: somebody undid set-up or loaded
    /// another ruleset, and with that all that is missing.
    pub(super) fn remember(&mut self, survey: &[Output], undone: bool) -> Result<(), Error> {
        if !self.backend.is_remembered() {
            return Ok(());
        }
        let listed = self.backend.entries(survey)?;
        let memory = self.memory.get_or_insert_default();
        let surplus = memory.compare(listed, undone);
        self.undone |= !memory.lost.is_empty();
        self.delete(&surplus)
    }

    /// Looks for chains of ours under other names. Returns the survey after that, and whether there were any.
    pub(super) fn recall(&mut self, survey: Vec<Output>) -> Result<(Vec<Output>, bool), Error> {
        let Some(memory) = &self.memory else { return Ok((survey, false)) };
        let steps = self.backend.recall(&survey, &|entry| memory.knows(entry));
        if steps.is_empty() {
            return Ok((survey, false));
        }
        self.change(&steps)?;
        Ok((self.run(&self.backend.survey())?, true))
    }

    /// What was refused may have been so because the firewall is not as it is remembered.
    pub(super) fn may_be_stale(&self, error: &Error) -> bool {
        self.memory.is_some() && matches!(error, Error::Refused { .. })
    }

    /// Opens again what somebody else removed: in parts, so that what cannot be opened keeps few others from it.
    pub(super) fn put_back(&mut self, now: Timestamp) -> Result<(), Error> {
        let mut lost = self.memory.as_mut().map(|memory| std::mem::take(&mut memory.lost)).unwrap_or_default();
        lost.retain(|rule| rule.until > now);
        let (mut done, mut still) = (Ok(()), Vec::new());
        for part in lost.chunks(PART) {
            if let Err(error) = self.open_all(part, &BTreeSet::new(), now) {
                still.extend_from_slice(part);
                done = Err(error);
            }
        }
        if let Some(memory) = &mut self.memory {
            memory.lost = still;
        }
        done
    }

    pub(super) fn close_remembered(&mut self, grants: &[Grant]) -> Result<(), Error> {
        let Some(memory) = &mut self.memory else { return Ok(()) };
        let are_closed: BTreeSet<GrantId> = grants.iter().map(|grant| grant.id).collect();
        memory.lost.retain(|rule| !are_closed.contains(&rule.tag.grant));
        let rules: Vec<Rule> = grants.iter().flat_map(|grant| memory.of(grant.id)).cloned().collect();
        self.remove(rules)
    }

    pub(super) fn adopt_remembered(&mut self, now: Timestamp) -> Result<Vec<Grant>, Error> {
        let rules: Vec<Rule> = self.memory.iter().flat_map(|memory| memory.rules.values()).cloned().collect();
        let (open, mut over): (Vec<Rule>, Vec<Rule>) =
            rules.into_iter().partition(|rule| rule.until > now && !is_vague(&rule.spot));
        let mut found: BTreeMap<(GrantId, IpAddr), (Adopted, Vec<Rule>)> = BTreeMap::new();
        for rule in open {
            let new = || Adopted { until: rule.until, certificate: rule.tag.certificate(), entries: Vec::new() };
            let (adopted, rules) =
                found.entry((rule.tag.grant, rule.spot.address)).or_insert_with(|| (new(), Vec::new()));
            adopted.until = adopted.until.max(rule.until);
            adopted.entries.push(rule.entry());
            rules.push(rule);
        }
        let mut grants = Vec::new();
        for ((id, allow), (adopted, rules)) in found {
            match adopted.grant(id, allow, now) {
                Some(grant) => grants.push(grant),
                // Nobody would close it.
                None => over.extend(rules),
            }
        }
        self.remove(over)?;
        Ok(grants)
    }

    /// Removes rules from the firewall, and then from memory. Somebody else may have removed some of them.
    fn remove(&mut self, mut rules: Vec<Rule>) -> Result<(), Error> {
        if rules.is_empty() {
            return Ok(());
        }
        rules.sort_by_key(|rule| chain(&rule.spot));
        let entries: Vec<Entry> = rules.iter().map(Rule::entry).collect();
        match self.delete(&entries) {
            Err(stale) if self.may_be_stale(&stale) => {
                self.set_up()?;
                let still = |rule: &&Rule| self.memory.as_ref().is_some_and(|memory| memory.holds(rule));
                let left: Vec<Entry> = rules.iter().filter(still).map(Rule::entry).collect();
                self.delete(&left)?;
            }
            done => done?,
        }
        if let Some(memory) = &mut self.memory {
            for rule in rules.iter() {
                if memory.holds(rule) {
                    memory.forget(&key(rule.spot, rule.to));
                }
                memory.lost.retain(|lost| lost != rule);
            }
        }
        Ok(())
    }

    /// All of them or none, where the firewall can do that. Not one by one: where it is listed as a whole that would take longer
    /// with each that is there.
    pub(super) fn delete(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let steps = self.backend.close_all(entries)?;
        if !steps.is_empty() {
            self.tidy.expect();
        }
        let Err(unable) = self.change(&steps) else { return Ok(()) };
        let others = self.backend.close_otherwise(entries, &unable)?;
        if others.is_empty() { Err(unable) } else { self.change(&others) }
    }
}

impl Memory {
    fn holds(&self, rule: &Rule) -> bool {
        self.rules.get(&key(rule.spot, rule.to)).is_some_and(|held| held.tag == rule.tag)
    }
}

impl Rule {
    /// As the firewall lists it.
    pub(super) fn entry(&self) -> Entry {
        let comment = Some(format!("{END}{}", self.tag.until));
        Entry { spot: self.spot, to: self.to, remaining: None, comment }
    }
}

fn key(spot: Spot, to: Option<Value>) -> Key {
    (spot, to.filter(|_| matches!(spot.kind, Kind::Snat | Kind::Masquerade)))
}

/// Rules of one kind and protocol are in one chain.
type Chain = (Kind, bool);

/// Changes that are ordered by it, in order of their tables, are few transactions.
pub(super) fn chain(spot: &Spot) -> Chain {
    (spot.kind, spot.address.is_ipv4())
}

/// As a listing tells it.
pub(super) fn anonymous(spot: Spot) -> Spot {
    let nobody = if spot.address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let told = spot.service.is_none() || !matches!(spot.kind, Kind::Snat | Kind::Masquerade);
    Spot { address: if told { spot.address } else { nobody }, ..spot }
}

/// Whether it does not tell whom it is for.
fn is_vague(spot: &Spot) -> bool {
    spot.address.is_unspecified()
}

/// What `iptables-restore` gets at once, where each is a rule of its own.
pub(super) const PART: usize = 200;

/// Numbers begin with 1.
const NOBODY: GrantId = GrantId(0);

#[cfg(test)]
mod tests {
    use super::*;

    /// PF tells for whom a source is rewritten, iptables does not.
    #[test]
    fn of_rules_that_are_alike_each_stays_whose_it_is() {
        let rule = |grant: u64, address: &str| Rule {
            spot: Spot {
                kind: Kind::Snat,
                address: address.parse().unwrap(),
                peer: Some("10.1.2.3".parse().unwrap()),
                service: Some("tcp/22".parse().unwrap()),
            },
            to: Some(Value::Address("10.9.9.9".parse().unwrap())),
            until: Timestamp::from_secs(9),
            tag: Tag { grant: GrantId(grant), until: 9, signer: None },
        };
        let rules = [rule(1, "192.0.2.1"), rule(2, "192.0.2.2")];
        for order in [[0, 1], [1, 0]] {
            for tells in [true, false] {
                let mut memory = Memory::default();
                rules.iter().for_each(|rule| memory.note(rule.clone()));
                let told =
                    |entry: Entry| Entry { spot: if tells { entry.spot } else { anonymous(entry.spot) }, ..entry };
                let listed = order.map(|at: usize| told(rules[at].entry()));
                assert!(memory.compare(listed.to_vec(), false).is_empty() && memory.lost.is_empty());
                assert!(rules.iter().all(|rule| memory.holds(rule)), "{tells}, {order:?}: {memory:?}");
            }
        }
    }
}
