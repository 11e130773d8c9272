//! The gate: the order of all checks. Bytes and `now` in, a verdict out; no IO but the replay store, no clock, no log.
//!
//! Cheapest and least trusting first, so that a forgery costs a hash and not public-key work:
//! shape → source → replay of the same text → known to be refused → per stanza: expiry, authentication, decryption, decoding → age →
//! remember → policy. The first stanza that permits wins; when none does, the refusal is that of the stanza that got
//! furthest.
//!
//! Public-key work is the one thing here that takes long. [`Gate::examine`] stops before it and hands out what is
//! [`Pending`]; whoever holds that does the work wherever it likes, and [`Gate::conclude`] takes the packet further. Writing
//! to the disk is the other: several verdicts share one write, and are [`Unsettled`] until [`Gate::settle`] has made it.
//! [`Gate::handle`] does all of it in one go.

mod opening;
mod passage;
mod pending;
mod recent;
mod spent;
mod unsettled;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::access::AccessTable;
use crate::crypto::Signer;
use crate::crypto::openpgp::News;
use crate::crypto::unseal::{Keyrings, Unsealing};
use crate::grant::{Errand, Grant, GrantId, GrantTable, StanzaId};
use crate::reason::Reason;
use crate::replay::{ReplayStore, Seen, StoreError};
use crate::spa::{Datagram, Envelope, HttpRules};
use crate::time::{Shift, Timestamp};
use opening::settled;
use passage::{Passage, Permitted, Stop, failed, refuse_seen};
use pending::{Era, Progress};
use recent::Recent;
use spent::Spent;

pub use opening::TakenUp;
pub use pending::{Pending, Worked};
pub use unsettled::Unsettled;

/// Everything that decides on packets.
pub struct Gate {
    access: AccessTable,
    keyrings: Keyrings,
    replay: Box<dyn ReplayStore + Send>,
    grants: GrantTable,
    /// Nobody has said yet that the firewall was told of these.
    untold: BTreeSet<GrantId>,
    /// They did not come about, when a later grant had taken their place already: should that not come about either, what they
    /// would have made superfluous stands again, and not they.
    outdated: BTreeMap<GrantId, Vec<Grant>>,
    rules: GateRules,
    tidied: Option<Timestamp>,
    spent: Spent,
    /// The stanza that let an address in last: most likely the one whose tag fits the next packet from there.
    likely: Recent<IpAddr, StanzaId>,
    trouble: Option<StoreError>,
    era: Era,
}

/// What holds for all stanzas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateRules {
    /// How far a message's time may lie from ours, either way. `None`: ageing is off.
    pub max_age: Option<Duration>,
    pub http: HttpRules,
}

/// What to do about a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Open(Box<Opening>),
    Run(Box<Errand>),
    Refuse(Refusal),
}

/// How far a datagram has come.
pub enum Examined {
    Final(Unsettled),
    Pending(Box<Pending>),
}

/// A grant to be opened, and those it makes superfluous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    pub grant: Grant,
    pub supersedes: Vec<Grant>,
}

/// Why nothing is opened, and how far the packet came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The stanza that got furthest.
    pub stanza: Option<StanzaId>,
    /// Set when the message was authentic, whatever the policy then said.
    pub signer: Option<Signer>,
    /// For a replay: the first time.
    pub first_seen: Option<Box<Seen>>,
}

impl Gate {
    /// `last` is the highest grant id ever given out.
    pub fn new(
        rules: GateRules,
        access: AccessTable,
        keyrings: Keyrings,
        replay: Box<dyn ReplayStore + Send>,
        last: GrantId,
    ) -> Self {
        Self {
            access,
            keyrings,
            replay,
            grants: GrantTable::after(last),
            untold: BTreeSet::new(),
            outdated: BTreeMap::new(),
            rules,
            tidied: None,
            spent: Spent::default(),
            likely: Recent::new(LIKELY),
            trouble: None,
            era: Era::default(),
        }
    }

    /// Exchanges what the configuration says and keeps what has happened: open grants and what was seen. Takes out the grants
    /// of keys that are listed no more: they are to be closed.
    pub fn reload(&mut self, rules: GateRules, access: AccessTable, keyrings: Keyrings) -> Vec<Grant> {
        (self.rules, self.access, self.keyrings) = (rules, access, keyrings);
        self.spent = Spent::default();
        self.likely.clear();
        self.era.reloads += 1;
        self.take_orphans()
    }

    /// Takes out the grants whose key no stanza takes any more.
    pub fn take_orphans(&mut self) -> Vec<Grant> {
        let known = self.access.known();
        let taken = self.grants.take(|grant| !known.takes(grant));
        self.untold.retain(|id| self.grants.contains(*id));
        taken
    }

    /// Takes out the grants that are meant: they are to be closed.
    pub fn take(&mut self, is_meant: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        let taken = self.grants.take(is_meant);
        self.untold.retain(|id| self.grants.contains(*id));
        taken
    }

    /// The whole way of a datagram, public-key work included.
    pub fn handle(&mut self, datagram: &Datagram, now: Timestamp) -> Verdict {
        let mut examined = self.examine(datagram, now);
        loop {
            match examined {
                Examined::Final(unsettled) => return self.settle_one(unsettled),
                Examined::Pending(pending) => examined = self.conclude(pending.work(now), now),
            }
        }
    }

    /// As far as a datagram comes without public-key work.
    pub fn examine(&mut self, datagram: &Datagram, now: Timestamp) -> Examined {
        self.judge(datagram, Progress::default(), now)
    }

    /// Goes on where a datagram stopped. All that can have changed in the meantime is looked at again: what was seen, what
    /// is known to be refused, and after a reload everything, since the keys may be others.
    pub fn conclude(&mut self, worked: Worked, now: Timestamp) -> Examined {
        let Worked { datagram, progress, era } = worked;
        self.judge(&datagram, progress.after(era, self.era), now)
    }

    fn judge(&mut self, datagram: &Datagram, progress: Progress, now: Timestamp) -> Examined {
        let origin = datagram.origin;
        match self.admit(datagram, progress, now) {
            Ok(verdict) => Examined::Final(Unsettled { origin, verdict }),
            Err(Stop::Refused(refusal)) => Examined::Final(Unsettled { origin, verdict: Verdict::Refuse(refusal) }),
            Err(Stop::Undecrypted(pending)) => Examined::Pending(pending),
        }
    }

    fn admit(&mut self, datagram: &Datagram, progress: Progress, now: Timestamp) -> Result<Verdict, Stop> {
        let envelope = Envelope::recognise(&datagram.payload, self.rules.http)?;
        let stanzas = self.access.candidates(&datagram.origin)?;
        let text = envelope.replay_key();
        // Remembered by this very packet, it is no replay of itself.
        if progress.remembered.is_none() {
            refuse_seen(&mut *self.replay, &text, &mut self.trouble)?;
        }
        let spent = Spent::key(&text, stanzas.iter().map(|stanza| stanza.id));
        self.spent.refuse_known(&spent)?;

        let source = datagram.origin.src;
        let mut unsealing = Unsealing::new(&envelope, &self.keyrings).knowing(progress.decrypted);
        if let Some(likely) = self.likely.get(&source).and_then(|id| stanzas.iter().find(|stanza| stanza.id == *id)) {
            unsealing = unsealing.expecting(likely);
        }
        let id = self.grants.next_id().map_err(|_| Reason::TooManyGrants)?;
        let Progress { remembered, refused, furthest, .. } = progress;
        let passage = Passage {
            datagram,
            envelope: &envelope,
            text,
            unsealing,
            replay: &mut *self.replay,
            max_age: self.rules.max_age,
            now,
            trouble: &mut self.trouble,
            id,
            remembered,
            refused,
            furthest,
            era: self.era,
        };
        let permitted = match passage.first_that_permits(&stanzas) {
            Ok(permitted) => permitted,
            Err(Stop::Refused(refusal)) => {
                self.spent.note(spent, &refusal);
                return Err(refusal.into());
            }
            Err(stop) => return Err(stop),
        };
        match permitted {
            Permitted::Grant(grant) => {
                if let Some(knock) = &grant.knock {
                    self.likely.note(source, knock.stanza);
                }
                Ok(Verdict::Open(Box::new(self.enter(grant)?)))
            }
            Permitted::Errand(errand) => {
                self.likely.note(source, errand.knock.stanza);
                self.grants.use_up(errand.id);
                Ok(Verdict::Run(Box::new(errand)))
            }
        }
    }

    /// Puts a grant among what is open, and into the store. What it renews stays there until the firewall has been told; but one
    /// that is closed by a command takes its place at once, because the command closes both.
    fn enter(&mut self, mut grant: Grant) -> Result<Opening, Refusal> {
        if grant.cycle().is_some() {
            if !grant.is_closed_by_command() {
                // It has no end.
                self.grants.use_up(grant.id);
                return Ok(Opening { grant, supersedes: Vec::new() });
            }
            let older: Vec<Grant> = self.grants.covered_by(&grant).cloned().collect();
            older.iter().for_each(|older| grant.take_over(older));
        }
        self.grants.insert(grant.clone());
        let opening = Opening { supersedes: self.grants.superseded_by(&grant), grant };
        let mut renewed = Vec::new();
        if opening.grant.cycle().is_some() {
            renewed.extend(opening.ids_of_superseded());
        } else {
            self.untold.insert(opening.grant.id);
        }
        if let Err(error) = self.replay.keep(&opening.grant, &renewed) {
            self.forget(&opening);
            return Err(failed(error, &mut self.trouble));
        }
        Ok(opening)
    }

    /// What the operator should know of the keyrings' engines: the reason behind [`Reason::GpgEngine`], and its end.
    pub fn take_news(&self) -> Vec<News> {
        self.keyrings.take_news()
    }

    /// What went wrong with the replay store since the last call: the reason behind [`Reason::ReplayStore`].
    pub fn take_trouble(&mut self) -> Option<StoreError> {
        self.trouble.take()
    }

    /// Takes out the grants that have ended.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Grant> {
        let ended = self.grants.expire(now);
        if !ended.is_empty() {
            self.untold.retain(|id| self.grants.contains(*id));
        }
        // What closes the others says when they are.
        let lapsed = ended.iter().filter(|grant| !grant.is_closed_by_command());
        self.replay.lapse(lapsed.map(|grant| grant.id).collect());
        ended
    }

    /// The clock was set: what is open keeps the time it has left, so it ends at another moment by the clock. That is also what
    /// the next daemon goes by.
    pub fn clock_was_set(&mut self, by: Shift) -> Result<(), StoreError> {
        self.grants.shift(by);
        self.replay.clock_was_set(by)?;
        let grants = &self.grants;
        settled(&mut *self.replay, |replay| grants.iter().try_for_each(|grant| replay.keep(grant, &[])))
    }

    /// Drops from the replay store what is too old to be taken anyway, now and then: a minute more or less does not
    /// matter, and without ageing there is nothing to drop.
    pub fn tidy(&mut self, now: Timestamp) -> Result<(), StoreError> {
        const EACH: Duration = Duration::from_secs(60);
        let due = self.tidied.is_none_or(|last| last.plus(EACH) <= now || now < last);
        if due && self.rules.max_age.is_some() {
            self.tidied = Some(now);
            self.replay.forget(now)?;
        }
        Ok(())
    }

    /// When [`expire`](Self::expire) has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.grants.next_end()
    }

    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// What is open for this address, in the order in which it was opened.
    pub fn grants_for(&self, allow: IpAddr) -> impl Iterator<Item = &Grant> {
        self.grants.of_address(allow)
    }

    /// Grows whenever something is opened or closed.
    pub fn changes(&self) -> u64 {
        self.grants.changes()
    }

    /// Those with higher numbers, in their order.
    pub fn grants_behind(&self, last: GrantId) -> impl Iterator<Item = &Grant> {
        self.grants.behind(last)
    }
}

/// So many addresses are remembered with their stanza: some 100 bytes each.
const LIKELY: usize = 4096;

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, stanza: None, signer: None, first_seen: None }
    }
}

#[cfg(test)]
mod tests;
