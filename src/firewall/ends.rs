//! Ends that are told anew: what a firewall's rules say of them is what the next daemon goes by.

use super::memory::{PART, chain};
use super::{Change, Entry, Error, Firewall, Rule, Tag};
use crate::grant::Grant;
use crate::time::Timestamp;

impl Firewall {
    /// The clock was set. `grants` have as much time left as before: the firewall is told anew when they end.
    pub fn tell_ends(&mut self, grants: &[Grant], now: Timestamp) -> Result<(), Error> {
        self.ensure_set_up()?;
        let own = self.own_rules(grants, now)?;
        match self.replace(&own, now) {
            Err(stale) if stale.is_stale() || self.may_be_stale(&stale) => {
                self.set_up()?;
                self.put_back(now)?;
                let own = self.own_rules(grants, now)?;
                self.replace(&own, now)
            }
            done => done,
        }
    }

    /// The rules of these grants as they are to be, with what the firewall holds of them. Another grant may have extended some.
    fn own_rules(&mut self, grants: &[Grant], now: Timestamp) -> Result<Vec<(Rule, Entry)>, Error> {
        let mut own = Vec::new();
        for grant in grants {
            let retimed = |rule: &Rule| Rule { until: grant.until, tag: Tag::of(grant), ..rule.clone() };
            if let Some(memory) = &self.memory {
                let own_ones = memory.of(grant.id).map(|rule| (retimed(rule), rule.entry()));
                own.extend(own_ones.filter(|(rule, found)| found.end() != Some(rule.tag.until)));
                continue;
            }
            for rule in self.backend.rules(grant, self.replies) {
                let found = self.find(&rule, now)?;
                let found = found.filter(|found| found.tag().is_some_and(|tag| tag.grant == grant.id));
                own.extend(found.map(|found| (rule, found)));
            }
        }
        own.sort_by_key(|(rule, _)| chain(&rule.spot));
        Ok(own)
    }

    fn replace(&mut self, rules: &[(Rule, Entry)], now: Timestamp) -> Result<(), Error> {
        if self.memory.is_some() && self.backend.has_room() {
            return self.replace_together(rules, now);
        }
        // What has to be listed to be changed is changed in one go; a kernel takes only so much at once.
        let at_once = if self.memory.is_some() { rules.len() } else { AT_ONCE };
        for part in rules.chunks(at_once.max(1)) {
            let mut changes: Vec<Change> = Vec::new();
            for (rule, found) in part {
                changes.extend(self.backend.open(rule, Some(found), now.until(rule.until))?);
            }
            self.apply(changes)?;
            if let Some(memory) = &mut self.memory {
                part.iter().for_each(|(rule, _)| memory.note(rule.clone()));
            }
        }
        Ok(())
    }

    /// All of the new before the first of the old goes: at no moment is anything closed. Should the old ones stay, nobody knows them,
    /// and the next listing removes them.
    fn replace_together(&mut self, rules: &[(Rule, Entry)], now: Timestamp) -> Result<(), Error> {
        for part in rules.chunks(PART) {
            let mut changes: Vec<Change> = Vec::new();
            for (rule, _) in part {
                changes.extend(self.backend.open(rule, None, now.until(rule.until))?);
            }
            self.apply(changes)?;
            if let Some(memory) = &mut self.memory {
                part.iter().for_each(|(rule, _)| memory.note(rule.clone()));
            }
        }
        let old: Vec<Entry> = rules.iter().map(|(_, found)| found.clone()).collect();
        self.delete(&old)
    }
}

/// So many elements of nftables.
const AT_ONCE: usize = 50;
