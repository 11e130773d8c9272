//! What a former daemon left in the firewall.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::rule::access_of;
use super::{Entry, Error, Firewall, Rule, Tag};
use crate::crypto::openpgp::Fingerprint;
use crate::grant::{Grant, GrantId};
use crate::time::{Lifetime, Timestamp};

impl Firewall {
    /// What a former daemon had opened, or was about to when `is_told` says no. To be said before [`set_up`](Self::set_up):
    /// what of it is missing then was undone by somebody while no daemon ran.
    pub fn expect<'a>(&mut self, grants: impl Iterator<Item = &'a Grant>, is_told: impl Fn(&Grant) -> bool) {
        for grant in grants {
            let told = is_told(grant);
            self.stood |= told;
            if self.backend.is_remembered() {
                let rules = self.backend.rules(grant, self.replies);
                self.memory.get_or_insert_default().expect(rules, told);
            }
        }
    }

    /// What a former daemon left open: from now on ours to close. What should have ended already is closed at once: the
    /// kernel's clock stands still while a machine sleeps. What the kernel would never close, because somebody restored it
    /// from a saved ruleset, gets the end its tag says.
    pub fn adopt(&mut self, now: Timestamp) -> Result<Vec<Grant>, Error> {
        if self.memory.is_some() {
            return self.adopt_remembered(now);
        }
        let mut found: BTreeMap<(GrantId, IpAddr), Adopted> = BTreeMap::new();
        for entry in self.entries()? {
            let Some(tag) = entry.tag() else { continue };
            // Whole seconds, cut off, both of them: the second in progress counts.
            let tagged = Timestamp::from_secs(tag.until.saturating_add(1));
            if tagged <= now {
                self.close_entry(&entry)?;
                continue;
            }
            let left = entry.remaining.map_or(LONGEST, |remaining| remaining + Duration::from_secs(1));
            let until = now.plus(left).min(tagged);
            if entry.remaining.is_none() && !self.limit(&entry, tag, now.until(until))? {
                continue;
            }
            let new = || Adopted { until, certificate: tag.certificate(), entries: Vec::new() };
            let adopted = found.entry((tag.grant, entry.spot.address)).or_insert_with(new);
            adopted.until = until.min(adopted.until);
            adopted.entries.push(entry);
        }
        let adopted = found.into_iter().filter_map(|((id, allow), adopted)| adopted.grant(id, allow, now));
        Ok(adopted.collect())
    }

    /// Lets an entry that would stay for ever end after `lasts`. `false`: it is gone.
    fn limit(&mut self, entry: &Entry, tag: Tag, lasts: Duration) -> Result<bool, Error> {
        let rule = Rule { spot: entry.spot, to: entry.to, until: Timestamp::from_secs(tag.until), tag };
        let changes = self.backend.open(&rule, Some(entry), lasts)?;
        match self.apply(changes) {
            Err(gone) if gone.is_stale() => Ok(false),
            done => done.map(|()| true),
        }
    }
}

/// A grant as it is put together from the firewall's entries.
pub(super) struct Adopted {
    pub until: Timestamp,
    pub certificate: Option<Fingerprint>,
    pub entries: Vec<Entry>,
}

impl Adopted {
    /// `None`: there is nothing that makes a grant.
    pub fn grant(self, id: GrantId, allow: IpAddr, now: Timestamp) -> Option<Grant> {
        let Self { until, certificate, entries } = self;
        // Not missing, because it is not over.
        let seconds = now.until(until).as_millis().div_ceil(1000);
        let lifetime = Lifetime::from_secs(u32::try_from(seconds).unwrap_or(u32::MAX))?;
        let (access, at) = access_of(&entries)?;
        Some(Grant { id, allow, access, at, lifetime, until, certificate, knock: None })
    }
}

/// No grant lasts longer.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);
