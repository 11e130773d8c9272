//! What was decided, and what is open because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::crypto::Signer;
use crate::crypto::openpgp::Fingerprint;
use crate::net::Origin;
use crate::time::{Lifetime, Shift, Timestamp};

mod access;
mod cycle;
mod errand;
mod words;

pub use access::{Access, Forward, Host, HostName, SourceNat, Target, Through, may_be_inside};
pub use cycle::{CommandCycle, Cycle, Half, Template};
pub use errand::{Account, Errand, RunAs, Sudo, Task};
pub use words::Unsplit;

/// A decision to let one address reach some services for a while. Plain data: it can cross a process boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub allow: IpAddr,
    pub access: Access,
    /// Only under this address of ours, to which the packet was sent. `None`: under all of them.
    pub at: Option<IpAddr>,
    pub lifetime: Lifetime,
    pub until: Timestamp,
    /// The listed key whose signature opened it, if one did: when it is listed no more, the grant ends. Survives a restart, in
    /// the firewall's own tag.
    pub certificate: Option<Fingerprint>,
    /// `None`: found open in the firewall when the daemon started, and not remembered.
    pub knock: Option<Knock>,
}

/// The packet that led to a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Its place when the packet came.
    pub stanza: StanzaId,
    /// Its name, for people.
    pub name: Arc<str>,
    /// The keys that let it in, when it was no certificate: when no stanza has them any more, the grant ends.
    pub mark: Option<KeyMark>,
    pub user: String,
    pub signer: Signer,
    pub origin: Origin,
}

impl Grant {
    /// Whether a signature of this certificate opened it.
    pub fn is_signed_by(&self, key: &Fingerprint) -> bool {
        let by = |knock: &Knock| matches!(&knock.signer, Signer::Certificate { primary, .. } if primary == key);
        self.certificate.as_ref() == Some(key) || self.knock.as_ref().is_some_and(by)
    }

    /// Not by commands, and not before its name was looked up.
    pub fn is_in_firewall(&self) -> bool {
        self.cycle().is_none() && self.access.name().is_none()
    }

    /// Whether the same key opened both. Of what a former daemon left that may not be known.
    fn is_by_same_key(&self, newer: &Grant) -> bool {
        match (&self.certificate, &self.knock) {
            (Some(key), _) => newer.certificate.as_ref() == Some(key),
            (None, Some(knock)) => newer.knock.as_ref().is_some_and(|newer| newer.mark == knock.mark),
            (None, None) => true,
        }
    }

    /// Whether a stanza of this name, or one of several in a file of this name, opened it.
    pub fn is_by_stanza(&self, name: &str) -> bool {
        let fits = |rest: &str| rest.is_empty() || rest.starts_with('#');
        self.knock.as_ref().is_some_and(|knock| knock.name.strip_prefix(name).is_some_and(fits))
    }
}

/// Tells the shared keys of stanzas apart, and nothing else about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyMark(pub [u8; 16]);

/// Counts grants since the daemon was first started, so that a number is not used twice in one journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stanza's place in the access files, counted from 1 as the original's log lines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StanzaId(pub u32);

impl fmt::Display for StanzaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is open. Bounded: only authenticated requests get in, and not more than [`GrantTable::MAX`] of them.
#[derive(Debug, Default)]
pub struct GrantTable {
    open: BTreeMap<GrantId, Grant>,
    by_end: BTreeSet<(Timestamp, GrantId)>,
    by_address: BTreeSet<(IpAddr, GrantId)>,
    last: GrantId,
    changes: u64,
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl GrantTable {
    pub const MAX: usize = 65_536;

    /// Goes on counting after `last`.
    pub fn after(last: GrantId) -> Self {
        Self { last, ..Self::default() }
    }

    pub fn next_id(&self) -> Result<GrantId, TableFull> {
        if self.open.len() >= Self::MAX { Err(TableFull) } else { Ok(GrantId(self.last.0 + 1)) }
    }

    /// Adds a grant under the id it got from [`next_id`](Self::next_id), or one that was found open at start.
    pub fn insert(&mut self, grant: Grant) -> &Grant {
        self.remove(grant.id);
        self.changes += 1;
        self.last = self.last.max(grant.id);
        self.by_end.insert((grant.until, grant.id));
        self.by_address.insert((grant.allow, grant.id));
        self.open.entry(grant.id).or_insert(grant)
    }

    pub fn remove(&mut self, id: GrantId) -> Option<Grant> {
        let grant = self.open.remove(&id)?;
        self.changes += 1;
        self.by_end.remove(&(grant.until, id));
        self.by_address.remove(&(grant.allow, id));
        Some(grant)
    }

    /// Marks a number as given out, for what is never in the table.
    pub fn use_up(&mut self, id: GrantId) {
        self.last = self.last.max(id);
    }

    /// Takes out the grants that `newer` makes superfluous: same address, no other services, no later end, and opened by the
    /// same key, since what others have open stays theirs when this one is closed. What one command closes, whoever opened
    /// it, is closed once.
    pub fn superseded_by(&mut self, newer: &Grant) -> Vec<Grant> {
        let same = |older: &&Grant| newer.cycle().is_some() || older.is_by_same_key(newer);
        let over = self.covered_by(newer).filter(|older| older.until <= newer.until).filter(same);
        let ids: Vec<GrantId> = over.map(|older| older.id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Those that let the same address do no more than `newer`, however long.
    pub fn covered_by(&self, newer: &Grant) -> impl Iterator<Item = &Grant> {
        let covered =
            |older: &&Grant| older.id != newer.id && older.at == newer.at && newer.access.covers(&older.access);
        self.of_address(newer.allow).filter(covered)
    }

    /// Those for this address, in the order of their numbers.
    pub fn of_address(&self, allow: IpAddr) -> impl Iterator<Item = &Grant> {
        let same = self.by_address.range((allow, GrantId(0))..=(allow, GrantId(u64::MAX)));
        same.filter_map(|(_, id)| self.open.get(id))
    }

    /// Takes out what is meant.
    pub fn take(&mut self, is_meant: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        let ids: Vec<GrantId> = self.open.values().filter(|grant| is_meant(grant)).map(|grant| grant.id).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Takes out what has ended.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Grant> {
        let mut ended = Vec::new();
        while self.by_end.first().is_some_and(|(until, _)| *until <= now) {
            let due = self.by_end.pop_first();
            ended.extend(due.and_then(|(_, id)| self.remove(id)));
        }
        ended
    }

    /// The clock was set: each ends after the time it had left.
    pub fn shift(&mut self, by: Shift) {
        self.changes += 1;
        self.open.values_mut().for_each(|grant| grant.until = grant.until.shifted(by));
        self.by_end = self.open.values().map(|grant| (grant.until, grant.id)).collect();
    }

    /// Grows with all that comes and goes: whoever knows the number knows whether there is news.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn contains(&self, id: GrantId) -> bool {
        self.open.contains_key(&id)
    }

    pub fn get(&self, id: GrantId) -> Option<&Grant> {
        self.open.get(&id)
    }

    /// The command that opens it is about to be started. `None`: it is closed, or has none.
    pub fn begin(&mut self, id: GrantId) -> Option<&Grant> {
        let grant = self.open.get_mut(&id)?;
        let Access::Cycle(cycle) = &mut grant.access else { return None };
        cycle.begun = true;
        Some(grant)
    }

    /// The highest number given out.
    pub fn last(&self) -> GrantId {
        self.last
    }

    pub fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(until, _)| *until)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.open.values()
    }

    /// Those with higher numbers, in their order.
    pub fn behind(&self, last: GrantId) -> impl Iterator<Item = &Grant> {
        self.open.range((Bound::Excluded(last), Bound::Unbounded)).map(|(_, grant)| grant)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grant(id: u64, allow: &str, ports: &str, until: u64) -> Grant {
        let allow = allow.parse().unwrap();
        Grant {
            id: GrantId(id),
            allow,
            access: Access::Open(ports.parse().unwrap()),
            at: None,
            lifetime: Lifetime::from_secs(30).unwrap(),
            until: Timestamp::from_secs(until),
            certificate: None,
            knock: None,
        }
    }

    fn ids(grants: &[Grant]) -> Vec<u64> {
        grants.iter().map(|grant| grant.id.0).collect()
    }

    #[test]
    fn grants_end_in_order_and_once() {
        let mut table = GrantTable::default();
        table.insert(grant(1, "192.0.2.1", "tcp/22", 130));
        table.insert(grant(2, "192.0.2.2", "tcp/22", 110));
        assert_eq!(table.next_end(), Some(Timestamp::from_secs(110)));
        let before = table.changes();
        assert!(table.expire(Timestamp::from_secs(109)).is_empty());
        assert_eq!(table.changes(), before);
        assert_eq!(ids(&table.expire(Timestamp::from_secs(130))), [2, 1]);
        assert_eq!(table.changes(), before + 2);
        assert!(table.expire(Timestamp::from_secs(999)).is_empty());
        assert_eq!(table.next_end(), None);
    }

    #[test]
    fn a_clock_that_is_set_changes_no_order_and_no_time_left() {
        let mut table = GrantTable::default();
        table.insert(grant(1, "192.0.2.1", "tcp/22", 130));
        table.insert(grant(2, "192.0.2.2", "tcp/22", 110));
        let before = table.changes();
        table.shift(Shift::Ahead(Duration::from_secs(3600)));
        assert_eq!(table.next_end(), Some(Timestamp::from_secs(3710)));
        assert!(table.expire(Timestamp::from_secs(3709)).is_empty());
        table.shift(Shift::Back(Duration::from_secs(3610)));
        assert_eq!(ids(&table.expire(Timestamp::from_secs(100))), [2]);
        assert_eq!(ids(&table.expire(Timestamp::from_secs(120))), [1]);
        assert!(table.changes() > before, "whoever watches is told the new ends");
    }

    #[test]
    fn a_number_stands_for_one_grant_only() {
        let mut table = GrantTable::default();
        table.insert(grant(1, "192.0.2.1", "tcp/22", 110));
        table.insert(grant(1, "192.0.2.2", "tcp/22", 130));
        assert_eq!(table.next_end(), Some(Timestamp::from_secs(130)));
        assert_eq!(ids(&table.expire(Timestamp::from_secs(200))), [1]);
        assert_eq!(table.next_end(), None);
    }

    #[test]
    fn what_is_meant_is_taken_out_and_nothing_else() {
        let mut table = GrantTable::default();
        for (id, allow) in [(1, "192.0.2.1"), (2, "192.0.2.2"), (3, "192.0.2.3")] {
            table.insert(grant(id, allow, "tcp/22", 110));
        }
        assert_eq!(ids(&table.take(|grant| grant.id.0 == 2)), [2]);
        assert!(table.take(|grant| grant.id.0 == 2).is_empty());
        let behind: Vec<u64> = table.behind(GrantId(1)).map(|grant| grant.id.0).collect();
        assert_eq!(behind, [3]);
        assert_eq!(ids(&table.expire(Timestamp::from_secs(110))), [1, 3]);
    }

    #[test]
    fn it_is_known_whose_it_is() {
        let key = |octet: u8| Fingerprint::from_bytes(&[octet; 20]).unwrap();
        let signed = || Knock {
            stanza: StanzaId(1),
            name: "access".into(),
            mark: None,
            user: "alice".into(),
            signer: Signer::Certificate { primary: key(1), signing: key(2), user_id: None },
            origin: Origin::udp("192.0.2.1".parse().unwrap()),
        };
        let certificate = Some(key(2));
        let grant = Grant { knock: Some(signed()), certificate, ..grant(1, "192.0.2.1", "tcp/22", 110) };
        let named = |name: &str| Grant { knock: Some(Knock { name: name.into(), ..signed() }), ..grant.clone() };
        let by = |name: &str| named(name).is_by_stanza("alice");
        assert!(by("alice") && by("alice#2") && !by("alice2") && !by("bob"));
        assert!(grant.is_signed_by(&key(1)) && grant.is_signed_by(&key(2)) && !grant.is_signed_by(&key(3)));
    }

    #[test]
    fn a_newer_grant_replaces_none_of_another_key() {
        let by = |mark: u8, grant: Grant| {
            let knock = Knock {
                stanza: StanzaId(1),
                name: "access".into(),
                mark: Some(KeyMark([mark; 16])),
                user: "alice".into(),
                signer: Signer::SharedKey,
                origin: Origin::udp("192.0.2.1".parse().unwrap()),
            };
            Grant { knock: Some(knock), ..grant }
        };
        let mut table = GrantTable::default();
        table.insert(by(1, grant(1, "192.0.2.1", "tcp/22", 110)));
        table.insert(by(2, grant(2, "192.0.2.1", "tcp/22", 110)));
        // Left by a former daemon.
        table.insert(grant(3, "192.0.2.1", "tcp/22", 110));
        let signed = Fingerprint::from_bytes(&[7; 20]);
        table.insert(Grant { certificate: signed.clone(), ..grant(4, "192.0.2.1", "tcp/22", 110) });
        let newer = by(2, grant(5, "192.0.2.1", "tcp/22", 120));
        table.insert(newer.clone());
        assert_eq!(ids(&table.superseded_by(&newer)), [2, 3]);
        let newer = Grant { certificate: signed, ..grant(6, "192.0.2.1", "tcp/22", 120) };
        assert_eq!(ids(&table.superseded_by(&newer)), [4]);
        let left: Vec<u64> = table.of_address("192.0.2.1".parse().unwrap()).map(|grant| grant.id.0).collect();
        assert_eq!(left, [1, 5]);
    }

    #[test]
    fn a_newer_grant_replaces_only_what_it_covers() {
        let mut table = GrantTable::default();
        table.insert(grant(1, "192.0.2.1", "tcp/22", 110));
        table.insert(grant(2, "192.0.2.1", "tcp/22,udp/53", 110));
        table.insert(grant(3, "192.0.2.2", "tcp/22", 110));
        table.insert(grant(4, "192.0.2.1", "tcp/22", 200));
        let newer = grant(5, "192.0.2.1", "tcp/22,tcp/80", 120);
        table.insert(newer.clone());
        assert_eq!(ids(&table.superseded_by(&newer)), [1]);
        assert_eq!(table.iter().count(), 4);
        assert_eq!(table.next_id(), Ok(GrantId(6)));
    }
}
