//! The gate: the order of all checks. Bytes and `now` in, a verdict out; no IO but the replay store, no clock, no log.
//!
//! Cheapest and least trusting first, so that a forgery costs a hash and not public-key work:
//! shape → source → replay of the same text → known to be refused → per stanza: expiry, authentication, decryption, decoding → age →
//! remember → policy. The first stanza that permits wins; when none does, the refusal is that of the stanza that got
//! furthest.

mod spent;

use std::time::Duration;

use crate::access::{AccessTable, Stanza};
use crate::crypto::unseal::{Keyrings, Unsealing};
use crate::crypto::{Authenticated, Signer};
use crate::grant::{Grant, GrantId, GrantTable, Knock, StanzaId};
use crate::reason::Reason;
use crate::replay::{Entry, ReplayKey, ReplayStore, Seen, StoreError};
use crate::spa::{Datagram, Envelope, HttpRules, Message};
use crate::time::Timestamp;
use spent::Spent;

/// Everything that decides on packets.
pub struct Gate {
    access: AccessTable,
    keyrings: Keyrings,
    replay: Box<dyn ReplayStore + Send>,
    grants: GrantTable,
    rules: GateRules,
    tidied: Option<Timestamp>,
    spent: Spent,
    trouble: Option<StoreError>,
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
    Refuse(Refusal),
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
            rules,
            tidied: None,
            spent: Spent::default(),
            trouble: None,
        }
    }

    /// Exchanges what the configuration says and keeps what has happened: open grants and what was seen.
    pub fn reload(&mut self, rules: GateRules, access: AccessTable, keyrings: Keyrings) {
        (self.rules, self.access, self.keyrings) = (rules, access, keyrings);
        self.spent = Spent::default();
    }

    pub fn handle(&mut self, datagram: &Datagram, now: Timestamp) -> Verdict {
        match self.admit(datagram, now) {
            Ok(opening) => Verdict::Open(Box::new(opening)),
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    fn admit(&mut self, datagram: &Datagram, now: Timestamp) -> Result<Opening, Refusal> {
        let envelope = Envelope::recognise(&datagram.payload, self.rules.http)?;
        let stanzas = self.access.candidates(&datagram.origin)?;
        let key = envelope.replay_key();
        refuse_seen(&mut *self.replay, &key, &mut self.trouble)?;
        let spent = Spent::key(&key, stanzas.iter().map(|stanza| stanza.id));
        self.spent.refuse_known(&spent)?;

        let id = self.grants.next_id().map_err(|_| Reason::TooManyGrants)?;
        let mut passage = Passage {
            datagram,
            envelope: &envelope,
            unsealing: Unsealing::new(&envelope, &self.keyrings, now),
            replay: &mut *self.replay,
            max_age: self.rules.max_age,
            now,
            trouble: &mut self.trouble,
            id,
            remembered: None,
        };
        let grant = match passage.first_that_permits(&stanzas) {
            Ok(grant) => grant,
            Err(refusal) => {
                self.spent.note(spent, &refusal);
                return Err(refusal);
            }
        };
        self.grants.insert(grant.clone());
        let supersedes = self.grants.superseded_by(&grant);
        Ok(Opening { grant, supersedes })
    }

    /// Takes an opening back that the firewall did not take: what it would have made superfluous still stands.
    pub fn withdraw(&mut self, opening: &Opening) {
        self.grants.remove(opening.grant.id);
        opening.supersedes.iter().for_each(|older| self.grants.insert(older.clone()));
    }

    /// Takes up a grant that a former daemon left open. Another daemon may have used its number as well.
    pub fn adopt(&mut self, mut grant: Grant) {
        if self.grants.contains(grant.id)
            && let Ok(id) = self.grants.next_id()
        {
            grant.id = id;
        }
        self.grants.insert(grant);
    }

    /// What went wrong with the replay store since the last call: the reason behind [`Reason::ReplayStore`].
    pub fn take_trouble(&mut self) -> Option<StoreError> {
        self.trouble.take()
    }

    /// Takes out the grants that have ended.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Grant> {
        self.grants.expire(now)
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
}

/// One packet on its way from stanza to stanza.
struct Passage<'a> {
    datagram: &'a Datagram,
    envelope: &'a Envelope,
    unsealing: Unsealing<'a>,
    replay: &'a mut dyn ReplayStore,
    max_age: Option<Duration>,
    now: Timestamp,
    trouble: &'a mut Option<StoreError>,
    id: GrantId,
    /// The message this very packet was remembered as: a later stanza must not take it for a replay.
    remembered: Option<ReplayKey>,
}

impl Passage<'_> {
    fn first_that_permits(&mut self, stanzas: &[&Stanza]) -> Result<Grant, Refusal> {
        let mut furthest: Option<Refusal> = None;
        for stanza in stanzas {
            match self.try_stanza(stanza) {
                Ok(grant) => return Ok(grant),
                // Without its memory the gate stays shut, whatever other stanzas would say.
                Err(refusal) if refusal.reason == Reason::ReplayStore => return Err(refusal),
                Err(refusal) => {
                    let further = furthest.as_ref().is_none_or(|known| rank(&refusal) > rank(known));
                    if further {
                        furthest = Some(refusal);
                    }
                }
            }
        }
        Err(furthest.unwrap_or_else(|| Reason::NoSourceMatch.into()))
    }

    fn try_stanza(&mut self, stanza: &Stanza) -> Result<Grant, Refusal> {
        let at = |reason: Reason| Refusal { stanza: Some(stanza.id), ..reason.into() };
        stanza.refuse_expired(self.now).map_err(at)?;
        let plaintext = self.unsealing.unseal(stanza).map_err(at)?;
        let signer = plaintext.by().clone();
        let identity = ReplayKey::of_plaintext(plaintext.value().expose());
        // Without an HMAC a wrong Rijndael key shows here at the latest: until then nobody has signed anything.
        let message = plaintext.try_map(|text| Message::decode(text.expose())).map_err(at)?;
        let by = |refusal: Refusal| Refusal { stanza: Some(stanza.id), signer: Some(signer.clone()), ..refusal };
        self.refuse_stale(&message, identity).map_err(by)?;
        let source = self.envelope.forwarded_for().unwrap_or(self.datagram.origin.src);
        let decision = stanza.decide(message.value(), source).map_err(|r| by(r.into()))?;
        let grant = Grant {
            id: self.id,
            allow: decision.allow,
            ports: decision.ports,
            lifetime: decision.lifetime,
            until: self.now.plus(decision.lifetime.as_duration()),
            knock: Some(Knock {
                stanza: stanza.id,
                user: message.value().user.to_string(),
                signer: signer.clone(),
                origin: self.datagram.origin,
            }),
        };
        Ok(grant)
    }

    /// Too old, seen before under another spelling, or from the future. What is authentic and not yet too old is
    /// remembered, also when it is refused for lying ahead: it must not be taken later either.
    fn refuse_stale(&mut self, message: &Authenticated<Message>, identity: ReplayKey) -> Result<(), Refusal> {
        let time = message.value().time;
        let age = time.age_at(self.now);
        let out_of_window = self.max_age.is_some_and(|window| age.exceeds(window));
        let forgotten = time < self.replay.floor();
        if forgotten || (out_of_window && age.seconds > 0) {
            return Err(Reason::TooOld(age).into());
        }
        self.remember(identity, time)?;
        if out_of_window { Err(Reason::TooOld(age).into()) } else { Ok(()) }
    }

    fn remember(&mut self, identity: ReplayKey, stamped: Timestamp) -> Result<(), Refusal> {
        if self.remembered == Some(identity) {
            return Ok(());
        }
        refuse_seen(self.replay, &identity, self.trouble)?;
        let entry = Entry {
            keys: [self.envelope.replay_key(), identity],
            seen: Seen { origin: self.datagram.origin, at: self.now },
            stamped,
            until: self.max_age.map(|window| stamped.plus(window)),
            grant: self.id,
        };
        self.replay.remember(&entry).map_err(|error| failed(error, self.trouble))?;
        self.remembered = Some(identity);
        Ok(())
    }
}

fn refuse_seen(replay: &mut dyn ReplayStore, key: &ReplayKey, trouble: &mut Option<StoreError>) -> Result<(), Refusal> {
    match replay.seen(key) {
        Ok(None) => Ok(()),
        Ok(Some(seen)) => Err(Refusal { first_seen: Some(Box::new(seen)), ..Reason::Replay.into() }),
        Err(error) => Err(failed(error, trouble)),
    }
}

fn failed(error: StoreError, trouble: &mut Option<StoreError>) -> Refusal {
    *trouble = Some(error);
    Reason::ReplayStore.into()
}

/// How far a refused packet came: authentic, of the right kind, or not even that.
fn rank(refusal: &Refusal) -> u8 {
    match refusal.reason {
        _ if refusal.signer.is_some() => 4,
        Reason::GpgNoSignature | Reason::GpgBadSignature(_) | Reason::SignerNotListed(_) | Reason::WrongRecipient => 3,
        Reason::NoKey => 0,
        Reason::StanzaExpired | Reason::HmacMismatch | Reason::HmacLength => 1,
        _ => 2,
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, stanza: None, signer: None, first_seen: None }
    }
}

#[cfg(test)]
mod tests;
