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
use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::grant::{Grant, GrantId, Knock};
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
    /// Who knocked.
    pub knock: Knock,
}

/// What a knock opens, as far as a firewall's rules tell that have no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opens {
    pub allow: IpAddr,
    pub until: Timestamp,
}

/// The memory itself: here in RAM, in the daemon a file.
pub trait ReplayStore {
    fn seen(&mut self, key: &ReplayKey) -> Result<Option<Seen>, StoreError>;

    /// Remembers the whole entry, or nothing. Durable when [`settle`](Self::settle) has returned.
    fn remember(&mut self, entry: &Entry) -> Result<(), StoreError>;

    /// What was remembered with a knock opens this, or another knock than that takes the number: durable in the same way.
    fn attribute(&mut self, _: GrantId, _: &Knock, _: Option<Opens>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whose number opened something for this address until then, in seconds; the last of them. `None`: not known, or long
    /// ago.
    fn number(&mut self, _: IpAddr, _: u64) -> Result<Option<GrantId>, StoreError> {
        Ok(None)
    }

    /// Makes durable what was remembered since the last time. When that fails, all of it is lost.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Who got a number. `None`: not known, or long ago.
    fn knock(&mut self, _: GrantId) -> Result<Option<Knock>, StoreError> {
        Ok(None)
    }

    /// Keeps a grant that a command will have to close, and no longer those it takes the place of: durable in the same way.
    fn keep(&mut self, _: &Grant, _instead_of: &[GrantId]) -> Result<(), StoreError> {
        Ok(())
    }

    /// They are closed.
    fn unkeep(&mut self, _: &[GrantId]) -> Result<(), StoreError> {
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

/// Grants that a command will have to close.
#[derive(Debug, Default)]
pub struct Kept {
    pub grants: Vec<Grant>,
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
