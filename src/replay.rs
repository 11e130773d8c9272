//! What has been seen, so that no packet is taken twice.
//!
//! Replays are refused in two steps. The digest of the text as received is cheap, stops floods, and is what the original
//! keeps in its `digest.cache`. It proves nothing alone, because one signed message can be framed in several ways
//! (RFC 9580 section 4.2), so the second key comes from inside the authenticated message.
//!
//! Invariants: only authenticated messages are remembered; they are remembered durably before anything is opened; and a
//! message may be forgotten only once it is too old to be taken, whatever the clock and the configuration do later: what
//! is stamped before the store's [`floor`](ReplayStore::floor) is refused without a look.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::grant::{Grant, GrantId};
use crate::net::Origin;
use crate::time::{Shift, Timestamp};

/// SHA-256 of a packet's text, or of its plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplayKey(pub [u8; 32]);

impl ReplayKey {
    /// The identity of a message, however it was framed: its plaintext holds the random value, the time and a digest.
    pub fn of_plaintext(plaintext: &[u8]) -> Self {
        Self(Sha256::digest(plaintext).into())
    }
}

/// When and whence a packet was first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub origin: Origin,
    pub at: Timestamp,
}

/// What is remembered of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The text as received, and the message inside.
    pub keys: [ReplayKey; 2],
    pub seen: Seen,
    /// The message's own time stamp.
    pub stamped: Timestamp,
    /// When it may be forgotten; `None` is never.
    pub until: Option<Timestamp>,
    /// The number set aside for what the message may open: kept with it, so that no number is given out twice.
    pub grant: GrantId,
}

/// The memory itself: here in RAM, in the daemon a file.
pub trait ReplayStore {
    fn seen(&mut self, key: &ReplayKey) -> Result<Option<Seen>, StoreError>;

    /// Remembers the whole entry, or nothing. Durable when [`settle`](Self::settle) has returned.
    fn remember(&mut self, entry: &Entry) -> Result<(), StoreError>;

    /// The number is given out, also when the message was remembered under another: durable in the same way.
    fn set_aside(&mut self, _: GrantId) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes durable what was remembered since the last time. When that fails, all of it is lost.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Keeps a grant until it ends, and no longer those it takes the place of: durable in the same way.
    fn keep(&mut self, _: &Grant, _instead_of: &[GrantId]) -> Result<(), StoreError> {
        Ok(())
    }

    /// They were closed before their end: durable in the same way.
    fn unkeep(&mut self, _: &[GrantId]) -> Result<(), StoreError> {
        Ok(())
    }

    /// They have ended by the clock, which the next daemon sees as well: written down with whatever is written next.
    fn lapse(&mut self, _: Vec<GrantId>) {}

    /// Of all grants up to this one the firewall was told: written down with whatever is written next.
    fn told(&mut self, _: GrantId) {}

    /// Writes down what waited for something to be written.
    fn rest(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What was kept, also by a former daemon.
    fn kept(&mut self) -> Result<Kept, StoreError> {
        Ok(Kept::default())
    }

    /// The clock was wrong until now, also when a new memory was made by it.
    fn clock_was_set(&mut self, _: Shift) -> Result<(), StoreError> {
        Ok(())
    }

    /// Messages stamped before this moment must be refused: they may have been forgotten. It moves back only when it was set
    /// by a clock that was wrong, and nothing was forgotten since.
    fn floor(&self) -> Timestamp;

    /// Drops what may be forgotten, and raises the floor. Not before all is settled: then it does nothing.
    fn forget(&mut self, now: Timestamp) -> Result<(), StoreError>;
}

/// Grants as they were kept.
#[derive(Debug, Default)]
pub struct Kept {
    pub grants: Vec<Grant>,
    /// Of those up to this one the firewall was told. Of later ones it may have been.
    pub told: GrantId,
    /// Written by another version, and not understood.
    pub unread: Vec<GrantId>,
}

/// The memory cannot be read or written: nothing may be opened.
#[derive(Debug, thiserror::Error)]
#[error("the replay store failed: {0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A memory without a file: for tests, and for reading savefiles.
#[derive(Debug)]
pub struct MemoryStore {
    seen: HashMap<ReplayKey, Seen>,
    by_end: BTreeMap<Timestamp, Vec<Entry>>,
    floor: Timestamp,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { seen: HashMap::new(), by_end: BTreeMap::new(), floor: Timestamp::from_secs(0) }
    }
}

impl ReplayStore for MemoryStore {
    fn seen(&mut self, key: &ReplayKey) -> Result<Option<Seen>, StoreError> {
        Ok(self.seen.get(key).copied())
    }

    fn remember(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.seen.extend(entry.keys.iter().map(|key| (*key, entry.seen)));
        if let Some(until) = entry.until {
            self.by_end.entry(until).or_default().push(entry.clone());
        }
        Ok(())
    }

    fn floor(&self) -> Timestamp {
        self.floor
    }

    fn forget(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while let Some(entry) = self.by_end.first_entry()
            && *entry.key() < now
        {
            for forgotten in entry.remove() {
                self.floor = self.floor.max(forgotten.stamped.plus(Duration::from_secs(1)));
                for key in forgotten.keys {
                    self.seen.remove(&key);
                }
            }
        }
        Ok(())
    }
}
