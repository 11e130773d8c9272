//! What was listed, held against what is remembered: what somebody else has done in between.
//!
//! Who empties a chain of ours, undoes set-up, or loads a ruleset from before takes away more than was meant, and it is put
//! back. Who deletes one rule among others means it. Where the only rule of a chain is gone, both look the same, and it is
//! put back. A ruleset from before shows in what it holds that had ended, or the back-end knows it by its marks. What is there and unknown was in a ruleset from before, and was closed since then or has another end now.

use std::collections::{BTreeMap, BTreeSet};

use super::{Chain, Key, Memory, NOBODY, anonymous, chain, is_vague, key};
use crate::firewall::{Entry, Rule, Spot, Tag, Value};
use crate::time::Timestamp;

/// As a listing tells it, with the second at which it ends.
type Told = (Spot, Option<Value>, u64);

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
        let mut others = by_what_is_told(former.others);
        let (mut surplus, mut strangers) = (Vec::new(), false);
        for entry in listed {
            let Some(until) = entry.end() else { continue };
            let found = [&mut known, &mut lost, &mut others].into_iter().find_map(|rules| take(rules, &entry, until));
            match found {
                Some(rule) => surplus.extend(self.keep(rule)),
                None if former.begun => {
                    strangers = true;
                    surplus.push(entry);
                }
                None => surplus.extend(self.keep(unclaimed(&entry, until))),
            }
        }
        let doubtful = |rule: &Rule| former.doubtful.contains(&rule.tag.grant);
        let gone: Vec<Rule> = known.into_values().flatten().filter(|rule| !doubtful(rule)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Kind;
    use crate::grant::GrantId;

    fn rule(grant: u64, address: &str, until: u64) -> Rule {
        let service = Some("tcp/22".parse().unwrap());
        Rule {
            spot: Spot { kind: Kind::Input, address: address.parse().unwrap(), peer: None, service },
            to: None,
            until: Timestamp::from_secs(until + 1),
            tag: Tag { grant: GrantId(grant), until, signer: None },
        }
    }

    /// These were seen in the firewall by a look.
    fn memory(rules: &[Rule]) -> Memory {
        let mut memory = Memory::default();
        rules.iter().for_each(|rule| memory.note(rule.clone()));
        assert!(memory.compare(listing(rules), false).is_empty() && memory.lost.is_empty());
        memory
    }

    fn listing(rules: &[Rule]) -> Vec<Entry> {
        rules.iter().map(Rule::entry).collect()
    }

    const HERE: &str = "192.0.2.1";
    const THERE: &str = "192.0.2.2";
    const SIXTH: &str = "2001:db8::1";

    #[test]
    fn what_is_missing_was_meant_or_is_put_back() {
        let (a, b, c) = (rule(1, HERE, 9), rule(2, THERE, 9), rule(3, SIXTH, 9));
        let all = [a.clone(), b.clone(), c.clone()];
        for (left, undone, lost) in [
            (vec![a.clone(), c.clone()], false, vec![]),
            (vec![a.clone(), c.clone()], true, vec![b.clone()]),
            // Its chain is empty.
            (vec![a.clone(), b.clone()], false, vec![c.clone()]),
            (vec![c.clone()], false, vec![a.clone(), b.clone()]),
        ] {
            let mut memory = memory(&all);
            assert!(memory.compare(listing(&left), undone).is_empty());
            assert_eq!(memory.lost, lost, "{left:?}");
            assert!(left.iter().all(|rule| memory.holds(rule)));
        }
    }

    #[test]
    fn what_came_after_a_flush_does_not_hide_it() {
        let (a, b) = (rule(1, HERE, 9), rule(2, THERE, 9));
        let mut flushed = memory(std::slice::from_ref(&a));
        flushed.note(b.clone());
        assert!(flushed.compare(listing(std::slice::from_ref(&b)), false).is_empty());
        assert_eq!(flushed.lost, [a]);
    }

    #[test]
    fn what_could_not_be_put_back_stays_lost() {
        let a = rule(1, HERE, 9);
        let mut flushed = memory(std::slice::from_ref(&a));
        for _ in 0..2 {
            assert!(flushed.compare(Vec::new(), false).is_empty());
            assert_eq!(flushed.lost, std::slice::from_ref(&a));
            assert!(flushed.knows(&a.entry()));
        }
        // Somebody else did.
        assert!(flushed.compare(listing(std::slice::from_ref(&a)), false).is_empty());
        assert!(flushed.lost.is_empty() && flushed.holds(&a));
    }

    #[test]
    fn a_ruleset_from_before_brings_back_nothing() {
        let (a, b, closed) = (rule(1, HERE, 9), rule(2, THERE, 9), rule(3, SIXTH, 9));
        let shorter = rule(1, HERE, 5);
        let mut restored = memory(&[a.clone(), b.clone()]);
        let surplus = restored.compare(listing(&[shorter.clone(), closed.clone()]), false);
        assert_eq!(surplus, listing(&[shorter, closed]));
        assert_eq!(restored.lost, [a, b], "all that is missing is put back");
    }

    #[test]
    fn whose_it_is_is_known_also_when_another_was_expected() {
        let (longer, shorter) = (rule(2, HERE, 9), rule(1, HERE, 5));
        for (first, second, told) in [(&shorter, &longer, false), (&longer, &shorter, true)] {
            for there in [&longer, &shorter] {
                let mut next = Memory::default();
                next.expect(vec![first.clone()], true);
                next.expect(vec![second.clone()], told);
                assert!(next.compare(listing(std::slice::from_ref(there)), false).is_empty());
                assert!(next.holds(there) && next.lost.is_empty(), "{first:?}, {there:?}: {next:?}");
            }
        }
    }

    #[test]
    fn what_may_never_have_been_there_is_not_missing() {
        let mut next = Memory::default();
        next.expect(vec![rule(1, HERE, 9)], false);
        next.expect(vec![rule(2, THERE, 9)], true);
        assert!(next.compare(Vec::new(), false).is_empty());
        assert_eq!(next.lost, [rule(2, THERE, 9)], "its chain was emptied");
    }

    #[test]
    fn a_former_daemon_may_have_left_anything_and_of_two_the_later_counts() {
        let mut new = Memory::default();
        let surplus = new.compare(listing(&[rule(1, HERE, 9), rule(1, HERE, 5), rule(2, THERE, 5)]), false);
        assert_eq!(surplus, listing(&[rule(1, HERE, 5)]));
        assert_eq!(new.rules.len(), 2);
        assert!(new.rules.values().all(|rule| rule.tag.grant == NOBODY));
    }
}
