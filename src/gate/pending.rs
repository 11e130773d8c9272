//! A packet that waits for public-key work, and what it takes up again afterwards. Plain data: it may go to another
//! thread, and may as well be dropped. Until it has been concluded nothing is decided and nothing is open.

use super::Refusal;
use crate::crypto::unseal::{Decrypted, Work};
use crate::net::Origin;
use crate::replay::ReplayKey;
use crate::spa::Datagram;
use crate::time::Timestamp;

/// Stopped before public-key work.
pub struct Pending {
    pub(super) datagram: Datagram,
    pub(super) text: ReplayKey,
    pub(super) work: Work,
    pub(super) progress: Progress,
    pub(super) era: Era,
}

/// The work is done; [`Gate::conclude`](super::Gate::conclude) takes it further.
pub struct Worked {
    pub(super) datagram: Datagram,
    pub(super) progress: Progress,
    pub(super) era: Era,
}

/// How far a packet has come.
#[derive(Default)]
pub(super) struct Progress {
    pub decrypted: Vec<Decrypted>,
    /// The message it was remembered as: a later stanza must not take it for a replay.
    pub remembered: Option<ReplayKey>,
    /// How many of its stanzas have refused it, and the refusal of the one that got furthest.
    pub refused: usize,
    pub furthest: Option<Refusal>,
}

impl Pending {
    pub fn origin(&self) -> &Origin {
        &self.datagram.origin
    }

    /// Which text it is: two copies of one packet are the same work.
    pub fn text(&self) -> ReplayKey {
        self.text
    }

    /// It carries a valid tag: whoever sent it knows a key of ours.
    pub fn trusted(&self) -> bool {
        self.work.trusted
    }

    /// Does what it waits for, which takes long.
    pub fn work(self, now: Timestamp) -> Worked {
        let Self { datagram, work, mut progress, era, .. } = self;
        progress.decrypted.push(work.run(now));
        Worked { datagram, progress, era }
    }
}

impl Worked {
    pub fn origin(&self) -> &Origin {
        &self.datagram.origin
    }
}

/// What a packet's progress rests on, counted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Era {
    /// How often the keyrings and stanzas were exchanged.
    pub reloads: u64,
    /// How often the memory could not be made durable.
    pub losses: u64,
}

impl Progress {
    /// What of it still holds: under other keys and stanzas only that the packet was remembered, and not even that when
    /// the memory of it may be lost.
    pub fn after(self, then: Era, now: Era) -> Self {
        let remembered = self.remembered.filter(|_| then.losses == now.losses);
        if then.reloads == now.reloads { Self { remembered, ..self } } else { Self { remembered, ..Self::default() } }
    }
}
