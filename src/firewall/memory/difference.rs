//! What was listed, held against what is remembered: what somebody else has done in between.
//!
//! Who empties a chain of ours, undoes set-up, or loads a ruleset from before takes away more than was meant, and it is put
//! back. Who deletes one rule among others means it. Both may look the same: where the only rule of a chain is gone, it is
//! put back. What is there and unknown was in a ruleset from before, and was closed since then or has another end now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Key, Memory, NOBODY, anonymous, is_vague, key};
use crate::firewall::{Entry, Kind, Rule, Spot, Tag, Value};
use crate::time::Timestamp;

/// As a listing tells it, with the second at which it ends.
type Told = (Spot, Option<Value>, u64);

/// Rules of one kind and protocol are in one chain.
type Chain = (Kind, bool);

impl Memory {
    /// Whether it is a rule of ours.
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        let told = |rule: &&Rule| Some(told(rule)) == entry.end().map(|until| (entry.spot, entry.to, until));
        self.rules.values().chain(&self.lost).any(|rule| told(&rule))
    }

    /// Takes over what was listed, and from before whose it is. Returns what should not be there.
    pub(super) fn compare(&mut self, listed: Vec<Entry>, undone: bool) -> Vec<Entry> {
        let former = std::mem::replace(self, Self { begun: true, ..Self::default() });
        let (mut known, mut lost) = (by_what_is_told(former.rules.into_values()), by_what_is_told(former.lost));
        let (mut surplus, mut strangers) = (Vec::new(), false);
        for entry in listed {
            let Some(until) = entry.end() else { continue };
            match take(&mut known, &entry, until).or_else(|| take(&mut lost, &entry, until)) {
                Some(rule) => surplus.extend(self.keep(rule)),
                None if former.begun => {
                    strangers = true;
                    surplus.push(entry);
                }
                None => surplus.extend(self.keep(unclaimed(&entry, until))),
            }
        }
        let gone: Vec<Rule> = known.into_values().flatten().collect();
        let emptied = self.emptied(&gone, &former.listed);
        let meant = |rule: &Rule| !undone && !strangers && !emptied.contains(&chain(&rule.spot));
        self.lost = lost.into_values().flatten().chain(gone.into_iter().filter(|rule| !meant(rule))).collect();
        surplus
    }

    /// Of two that only differ in their end the later one counts. Returns the other.
    fn keep(&mut self, rule: Rule) -> Option<Entry> {
        let other = self.rules.get(&key(rule.spot, rule.to)).cloned();
        if let Some(other) = &other
            && other.until >= rule.until
        {
            return Some(rule.entry());
        }
        self.note_listed(rule);
        other.map(|other| other.entry())
    }

    /// The chains that somebody emptied since they were `listed`: what is in them now came later.
    fn emptied(&self, gone: &[Rule], listed: &BTreeSet<Key>) -> BTreeSet<Chain> {
        let old = |rule: &&Rule| listed.contains(&key(rule.spot, rule.to));
        let chains = |rules: &mut dyn Iterator<Item = &Rule>| -> BTreeSet<Chain> {
            rules.map(|rule| chain(&rule.spot)).collect()
        };
        let (all_gone, all_left) = (chains(&mut gone.iter()), chains(&mut self.rules.values()));
        let (old_gone, old_left) = (chains(&mut gone.iter().filter(old)), chains(&mut self.rules.values().filter(old)));
        let is_emptied =
            |chain: &Chain| !all_left.contains(chain) || (old_gone.contains(chain) && !old_left.contains(chain));
        all_gone.into_iter().filter(is_emptied).collect()
    }
}

/// From before this daemon: whose it is will be asked.
fn unclaimed(entry: &Entry, until: u64) -> Rule {
    Rule {
        spot: entry.spot,
        to: entry.to,
        // Whole seconds, cut off: the second in progress counts.
        until: Timestamp::from_secs(until.saturating_add(1)),
        tag: Tag { grant: NOBODY, until, signer: None },
    }
}

fn by_what_is_told(rules: impl IntoIterator<Item = Rule>) -> BTreeMap<Told, Vec<Rule>> {
    let mut by: BTreeMap<Told, Vec<Rule>> = BTreeMap::new();
    for rule in rules {
        by.entry(told(&rule)).or_default().push(rule);
    }
    by
}

/// Of those that are told alike the very one, where the listing says whose it is.
fn take(rules: &mut BTreeMap<Told, Vec<Rule>>, entry: &Entry, until: u64) -> Option<Rule> {
    let alike = rules.get_mut(&(anonymous(entry.spot), entry.to, until))?;
    let same = |rule: &Rule| is_vague(&entry.spot) || rule.spot == entry.spot;
    alike.iter().rposition(same).map(|place| alike.remove(place))
}

fn told(rule: &Rule) -> Told {
    (anonymous(rule.spot), rule.to, rule.tag.until)
}

fn chain(spot: &Spot) -> Chain {
    (spot.kind, spot.address.is_ipv4())
}
