//! One packet on its way from stanza to stanza: the first that permits wins.

use std::time::Duration;

use super::Refusal;
use super::pending::{Era, Pending, Progress};
use crate::access::{Decision, Permit, Stanza};
use crate::crypto::Authenticated;
use crate::crypto::unseal::{Sealed, Unsealing, Work};
use crate::grant::{Errand, Grant, GrantId, Knock, Task};
use crate::reason::Reason;
use crate::replay::{Entry, ReplayKey, ReplayStore, Seen, StoreError};
use crate::spa::{Datagram, Envelope, Message};
use crate::time::Timestamp;

pub(super) struct Passage<'a> {
    pub datagram: &'a Datagram,
    pub envelope: &'a Envelope,
    pub text: ReplayKey,
    pub unsealing: Unsealing<'a>,
    pub replay: &'a mut dyn ReplayStore,
    pub max_age: Option<Duration>,
    pub now: Timestamp,
    pub trouble: &'a mut Option<StoreError>,
    pub id: GrantId,
    pub remembered: Option<ReplayKey>,
    pub refused: usize,
    pub furthest: Option<Refusal>,
    pub era: Era,
}

/// What a stanza permits.
pub(super) enum Permitted {
    Grant(Grant),
    Errand(Errand),
}

/// Why a packet comes no further.
pub(super) enum Stop {
    Refused(Refusal),
    /// For now.
    Undecrypted(Box<Pending>),
}

/// When the message was remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remembered {
    Now,
    /// By a stanza that then refused it, or under another number.
    Before,
}

/// The same for one stanza.
enum Withheld {
    Refused(Refusal),
    Undecrypted(Work),
}

impl Passage<'_> {
    pub fn first_that_permits(mut self, stanzas: &[&Stanza]) -> Result<Permitted, Stop> {
        while let Some(stanza) = stanzas.get(self.refused) {
            match self.try_stanza(stanza) {
                Ok(permitted) => return Ok(permitted),
                Err(Withheld::Undecrypted(work)) => return Err(Stop::Undecrypted(Box::new(self.pending(work)))),
                // Without its memory the gate stays shut, whatever other stanzas would say.
                Err(Withheld::Refused(refusal)) if refusal.reason == Reason::ReplayStore => return Err(refusal.into()),
                Err(Withheld::Refused(refusal)) => self.note(refusal),
            }
        }
        Err(self.furthest.unwrap_or_else(|| Reason::NoSourceMatch.into()).into())
    }

    fn note(&mut self, refusal: Refusal) {
        self.refused += 1;
        if self.furthest.as_ref().is_none_or(|known| rank(&refusal) > rank(known)) {
            self.furthest = Some(refusal);
        }
    }

    fn pending(self, work: Work) -> Pending {
        let Self { datagram, text, unsealing, remembered, refused, furthest, era, .. } = self;
        let progress = Progress { decrypted: unsealing.into_decrypted(), remembered, refused, furthest };
        Pending { datagram: datagram.clone(), text, work, progress, era }
    }

    fn try_stanza(&mut self, stanza: &Stanza) -> Result<Permitted, Withheld> {
        let at = |reason: Reason| Refusal { stanza: Some(stanza.id), ..reason.into() };
        stanza.refuse_expired(self.now).map_err(at)?;
        let plaintext = self.unsealing.try_unseal(stanza).map_err(|sealed| match sealed {
            Sealed::Refused(reason) => Withheld::Refused(at(reason)),
            Sealed::Undecrypted(work) => Withheld::Undecrypted(work),
        })?;
        let signer = plaintext.by().clone();
        let identity = ReplayKey::of_plaintext(plaintext.value().expose());
        // Without an HMAC a wrong Rijndael key shows here at the latest: until then nobody has signed anything.
        let message = plaintext.try_map(|text| Message::decode(text.expose())).map_err(at)?;
        let by = |refusal: Refusal| Refusal { stanza: Some(stanza.id), signer: Some(signer.clone()), ..refusal };
        let knock = Knock {
            stanza: stanza.id,
            name: stanza.name.clone(),
            mark: stanza.mark(&signer),
            user: message.value().user.to_string(),
            signer: signer.clone(),
            origin: self.datagram.origin,
        };
        let remembered = self.refuse_stale(&message, identity).map_err(by)?;
        let source = self.envelope.forwarded_for().unwrap_or(self.datagram.origin.src);
        let decision = stanza.decide(message.value(), source, &self.datagram.origin).map_err(|r| by(r.into()))?;
        if remembered == Remembered::Before {
            self.replay.set_aside(self.id).map_err(|error| by(failed(error, self.trouble)))?;
        }
        let certificate = stanza.listed_key(&signer);
        Ok(match decision {
            Decision::Grant(Permit { allow, access, at, lifetime }) => Permitted::Grant(Grant {
                id: self.id,
                allow,
                access,
                at,
                lifetime,
                until: self.now.plus(lifetime.as_duration()),
                certificate,
                knock: Some(knock),
            }),
            Decision::Run { allow, command, run_as } => {
                let (stamped, task) = (message.value().time, Task::Message(command));
                Permitted::Errand(Errand { id: self.id, allow, task, run_as, stamped, knock })
            }
        })
    }

    /// Too old, seen before under another spelling, or from the future. What is authentic and not yet too old is
    /// remembered, also when it is refused for lying ahead: it must not be taken later either.
    fn refuse_stale(&mut self, message: &Authenticated<Message>, identity: ReplayKey) -> Result<Remembered, Refusal> {
        let time = message.value().time;
        let age = time.age_at(self.now);
        let out_of_window = self.max_age.is_some_and(|window| age.exceeds(window));
        let forgotten = time < self.replay.floor();
        if forgotten || (out_of_window && age.seconds > 0) {
            return Err(Reason::TooOld(age).into());
        }
        let remembered = self.remember(identity, time)?;
        if out_of_window { Err(Reason::TooOld(age).into()) } else { Ok(remembered) }
    }

    fn remember(&mut self, identity: ReplayKey, stamped: Timestamp) -> Result<Remembered, Refusal> {
        if self.remembered == Some(identity) {
            return Ok(Remembered::Before);
        }
        refuse_seen(self.replay, &identity, self.trouble)?;
        let entry = Entry {
            keys: [self.text, identity],
            seen: Seen { origin: self.datagram.origin, at: self.now },
            stamped,
            until: self.max_age.map(|window| stamped.plus(window)),
            grant: self.id,
        };
        self.replay.remember(&entry).map_err(|error| failed(error, self.trouble))?;
        self.remembered = Some(identity);
        Ok(Remembered::Now)
    }
}

pub(super) fn refuse_seen(
    replay: &mut dyn ReplayStore,
    key: &ReplayKey,
    trouble: &mut Option<StoreError>,
) -> Result<(), Refusal> {
    match replay.seen(key) {
        Ok(None) => Ok(()),
        Ok(Some(seen)) => Err(Refusal { first_seen: Some(Box::new(seen)), ..Reason::Replay.into() }),
        Err(error) => Err(failed(error, trouble)),
    }
}

pub(super) fn failed(error: StoreError, trouble: &mut Option<StoreError>) -> Refusal {
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

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Stop::Refused(reason.into())
    }
}

impl From<Refusal> for Withheld {
    fn from(refusal: Refusal) -> Self {
        Withheld::Refused(refusal)
    }
}
