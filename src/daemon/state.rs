//! The replay memory on disk, the number of the last grant, and what is open: one `redb` file, mode 0600.
//!
//! What is remembered waits in one transaction, which [`settle`](ReplayStore::settle) makes durable before anything is opened
//! because of it: `kill -9` at any moment loses nothing that was acted on. A lookup is one step down a tree, however much is
//! stored.

mod digest_cache;

use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redb::{
    Database, Key, ReadOnlyTable, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, Value,
    WriteTransaction,
};

use super::kept;
use crate::grant::{Grant, GrantId};
use crate::net::Origin;
use crate::replay::{Entry, Kept, ReplayKey, ReplayStore, Seen, StoreError};
use crate::time::{Shift, Timestamp};

/// The file's name, beside the original's `digest.cache`.
pub const FILE: &str = "replay.redb";

/// Key → where and when it was first seen.
const SEEN: TableDefinition<[u8; 32], Stored> = TableDefinition::new("seen");
/// When an entry may be forgotten, and its key → how the message was stamped.
const ENDS: TableDefinition<(u64, [u8; 32]), u64> = TableDefinition::new("ends");
/// The number of a grant that has not ended → the grant, as JSON. Some that have ended stay until something is written.
const KEPT: TableDefinition<u64, &str> = TableDefinition::new("kept");
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");
const FLOOR: &str = "floor";
const LAST_GRANT: &str = "last-grant";
const TOLD: &str = "told";

/// Seconds, source, destination (empty: unknown), protocol, ports.
type Stored<'a> = (u64, &'a str, &'a str, u8, u16, u16);

/// Why the state cannot be used. Without it the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the replay store {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read the digest cache {}", path.display())]
    Import {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A state file. Opened again by itself after a failure: a full disk must not lock everybody out for good.
pub struct State {
    path: PathBuf,
    /// `None` after a failure: `redb` refuses everything then, until the file is opened again.
    db: Option<Database>,
    batch: Batch,
    /// What is durable, as it was after the last write: opening a table costs more than looking into it. `None`: to be
    /// opened when it is needed.
    seen: Option<ReadOnlyTable<[u8; 32], Stored<'static>>>,
    floor: Timestamp,
    /// When it was made, if we made it and ageing is on.
    born: Option<Timestamp>,
    /// What the floor is at least because of what was forgotten since.
    forgotten: Timestamp,
    aside: Aside,
}

/// What is no reason to write, and is written with what is.
#[derive(Default)]
struct Aside {
    lapsed: Vec<GrantId>,
    told: GrantId,
}

/// What was remembered and is not durable yet.
enum Batch {
    Nothing,
    Open(Box<WriteTransaction>),
    /// Something of it could not be written, so nothing of it may be taken for remembered.
    Lost,
}

impl State {
    /// Opens `dir/replay.redb` or makes it. A new one knows nothing of what was sent before `now`: so it refuses all that
    /// is stamped earlier, or a reboot that empties `/run` would let packets of the last two minutes be sent again. Not
    /// so without ageing, which is for clients whose clock is wrong by any amount.
    pub fn open(dir: &Path, now: Timestamp, max_age: Option<Duration>) -> Result<Self, Error> {
        let path = dir.join(FILE);
        let error = |source| Error::Open { path: path.clone(), source };
        // Made here, because redb would use the umask.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.map_err(|e| error(e.into()))?;
        let db = Database::builder().set_cache_size(CACHE).create(&path).map_err(|e| error(e.into()))?;
        let floor = Timestamp::from_secs(0);
        let mut state = Self {
            path,
            db: Some(db),
            batch: Batch::Nothing,
            seen: None,
            floor,
            born: None,
            forgotten: floor,
            aside: Aside::default(),
        };
        // The record and not the file tells whether it is new: a daemon may have died between the two.
        state.floor = match state.number(FLOOR)? {
            Some(floor) => Timestamp::from_secs(floor),
            None => {
                let floor = Timestamp::from_secs(max_age.map_or(0, |_| now.secs()));
                state.write(|tables| tables.set(FLOOR, floor.secs()))?;
                state.born = max_age.map(|_| floor);
                floor
            }
        };
        Ok(state)
    }

    /// The highest number ever set aside.
    pub fn last_grant(&mut self) -> Result<GrantId, StoreError> {
        Ok(GrantId(self.number(LAST_GRANT)?.unwrap_or_default()))
    }

    /// What outlives the memory of packets: what is open, and the highest number.
    pub fn leave(mut self) -> Result<(Kept, GrantId), StoreError> {
        Ok((self.kept()?, self.last_grant()?))
    }

    /// What another left.
    pub fn take_over(&mut self, (kept, last): &(Kept, GrantId)) -> Result<(), StoreError> {
        self.told(kept.told);
        self.set_aside(*last)?;
        kept.grants.iter().try_for_each(|grant| self.keep(grant, &[]))?;
        self.settle()
    }

    /// How many keys are remembered.
    pub fn count(&mut self) -> Result<u64, StoreError> {
        self.read(SEEN, |table| Ok(table.len()?)).map(Option::unwrap_or_default)
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, StoreError> {
        let number = self.read(NUMBERS, |table| Ok(table.get(name)?.map(|value| value.value())))?;
        Ok(number.flatten())
    }

    /// `None` when nothing was ever written there.
    fn read<K: Key + 'static, V: Value + 'static, T>(
        &mut self,
        table: TableDefinition<K, V>,
        read: impl FnOnce(&ReadOnlyTable<K, V>) -> Result<T, redb::Error>,
    ) -> Result<Option<T>, StoreError> {
        match self.table(table)? {
            Some(table) => self.with_db(|_| read(&table).map(Some)),
            None => Ok(None),
        }
    }

    fn table<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>, StoreError> {
        self.with_db(|db| match db.begin_read()?.open_table(table) {
            Ok(table) => Ok(Some(table)),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// One durable transaction.
    fn write<T>(&mut self, change: impl FnOnce(&mut Tables) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.seen = None;
        self.with_db(|db| {
            let transaction = db.begin_write()?;
            let result = Tables::of(&transaction).and_then(|mut tables| change(&mut tables))?;
            transaction.commit()?;
            Ok(result)
        })
    }

    /// A change that becomes durable with the batch, or is lost with it.
    fn add(&mut self, change: impl FnOnce(&mut Tables) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        let transaction = match std::mem::replace(&mut self.batch, Batch::Lost) {
            Batch::Open(transaction) => transaction,
            Batch::Nothing => {
                self.seen = None;
                let begun = self.with_db(|db| Ok(Box::new(db.begin_write()?)));
                if begun.is_err() {
                    // Nothing is lost but this.
                    self.batch = Batch::Nothing;
                }
                begun?
            }
            Batch::Lost => return Err(StoreError(Box::new(BatchLost))),
        };
        let changed = Tables::of(&transaction).and_then(|mut tables| change(&mut tables));
        match changed {
            Ok(()) => self.batch = Batch::Open(transaction),
            // Dropped, and with it the file is opened again.
            Err(error) => {
                drop(transaction);
                return self.with_db(|_| Err(error));
            }
        }
        Ok(())
    }

    fn with_db<T>(&mut self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let db = match self.db.take() {
            Some(db) => db,
            // Never made anew: an empty one would have forgotten everything.
            None => Database::builder().set_cache_size(CACHE).open(&self.path).map_err(|e| StoreError(e.into()))?,
        };
        match act(&db) {
            Ok(result) => {
                self.db = Some(db);
                Ok(result)
            }
            Err(error) => {
                // It would keep the file from being opened again.
                self.seen = None;
                Err(StoreError(error.into()))
            }
        }
    }
}

impl ReplayStore for State {
    fn seen(&mut self, key: &ReplayKey) -> Result<Option<Seen>, StoreError> {
        if let Batch::Open(transaction) = &self.batch {
            let seen = Tables::of(transaction).and_then(|tables| tables.seen(key));
            return seen.map_err(|error| StoreError(error.into()));
        }
        if self.seen.is_none() {
            self.seen = self.table(SEEN)?;
        }
        let Some(table) = &self.seen else { return Ok(None) };
        match table.get(key.0) {
            Ok(stored) => Ok(stored.map(|stored| restore(stored.value()))),
            Err(error) => self.with_db(|_| Err(error.into())),
        }
    }

    fn remember(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.add(|tables| {
            tables.raise(LAST_GRANT, entry.grant.0)?;
            entry.keys.iter().try_for_each(|key| tables.remember(key, &entry.seen, entry.stamped, entry.until))
        })
    }

    fn set_aside(&mut self, grant: GrantId) -> Result<(), StoreError> {
        self.add(|tables| tables.raise(LAST_GRANT, grant.0))
    }

    fn keep(&mut self, grant: &Grant, instead_of: &[GrantId]) -> Result<(), StoreError> {
        let Some(text) = kept::text(grant) else { return Ok(()) };
        self.add(|tables| {
            tables.raise(LAST_GRANT, grant.id.0)?;
            tables.unkeep(instead_of)?;
            tables.kept()?.insert(grant.id.0, &*text)?;
            Ok(())
        })
    }

    fn unkeep(&mut self, grants: &[GrantId]) -> Result<(), StoreError> {
        self.add(|tables| tables.unkeep(grants))
    }

    fn lapse(&mut self, grants: Vec<GrantId>) {
        self.aside.lapsed.extend(grants);
    }

    fn told(&mut self, up_to: GrantId) {
        self.aside.told = up_to;
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        self.add(|_| Ok(()))?;
        self.settle()
    }

    fn kept(&mut self) -> Result<Kept, StoreError> {
        let told = GrantId(self.number(TOLD)?.unwrap_or_default());
        let kept = self.read(KEPT, |table| {
            let mut kept = Kept { told, ..Kept::default() };
            for entry in table.iter()? {
                let (id, text) = entry?;
                let id = GrantId(id.value());
                match kept::grant(id, text.value()) {
                    Some(grant) => kept.grants.push(grant),
                    None => kept.unread.push(id),
                }
            }
            Ok(kept)
        })?;
        Ok(kept.unwrap_or_default())
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.batch, Batch::Nothing) {
            Batch::Nothing => Ok(()),
            Batch::Lost => Err(StoreError(Box::new(BatchLost))),
            Batch::Open(transaction) => {
                let aside = std::mem::take(&mut self.aside);
                let committed = self.with_db(|_| {
                    Tables::of(&transaction).and_then(|mut tables| tables.note(&aside))?;
                    Ok(transaction.commit()?)
                });
                if committed.is_err() {
                    self.aside = aside;
                }
                committed
            }
        }
    }

    /// A machine may learn only after its start how late it is: then what was sent before the memory was made is refused still,
    /// and what was sent after it is not.
    fn clock_was_set(&mut self, by: Shift) -> Result<(), StoreError> {
        let Some(born) = self.born.map(|born| born.shifted(by)) else { return Ok(()) };
        let floor = born.max(self.forgotten);
        self.write(|tables| tables.set(FLOOR, floor.secs()))?;
        (self.born, self.floor) = (Some(born), floor);
        Ok(())
    }

    fn floor(&self) -> Timestamp {
        self.floor
    }

    /// Raises the floor only as far as what is dropped was stamped: a clock that jumps ahead and back costs nothing.
    fn forget(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if !matches!(self.batch, Batch::Nothing) {
            return Ok(());
        }
        let due = (0, [0; 32])..(now.secs(), [0; 32]);
        // Looked at first: nobody shall make us write who has nothing to say.
        let any = self.read(ENDS, |table| Ok(table.range(due)?.next().is_some()))?;
        if any == Some(true) {
            let forgotten = self.write(|tables| tables.forget(now))?;
            self.forgotten = self.forgotten.max(forgotten);
            self.floor = self.floor.max(forgotten);
        }
        Ok(())
    }
}

struct Tables<'a> {
    transaction: &'a WriteTransaction,
    seen: redb::Table<'a, [u8; 32], Stored<'static>>,
    ends: redb::Table<'a, (u64, [u8; 32]), u64>,
    numbers: redb::Table<'a, &'static str, u64>,
}

/// Why nothing more is remembered before the batch is settled.
#[derive(Debug, thiserror::Error)]
#[error("something that came with it could not be written")]
struct BatchLost;

impl<'a> Tables<'a> {
    fn of(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            transaction,
            seen: transaction.open_table(SEEN)?,
            ends: transaction.open_table(ENDS)?,
            numbers: transaction.open_table(NUMBERS)?,
        })
    }

    fn seen(&self, key: &ReplayKey) -> Result<Option<Seen>, redb::Error> {
        Ok(self.seen.get(key.0)?.map(|stored| restore(stored.value())))
    }

    /// Opened when it is needed: most packets do not.
    fn kept(&self) -> Result<redb::Table<'a, u64, &'static str>, redb::Error> {
        Ok(self.transaction.open_table(KEPT)?)
    }

    fn unkeep(&self, grants: &[GrantId]) -> Result<(), redb::Error> {
        let mut kept = self.kept()?;
        for grant in grants {
            kept.remove(grant.0)?;
        }
        Ok(())
    }

    fn note(&mut self, aside: &Aside) -> Result<(), redb::Error> {
        if !aside.lapsed.is_empty() {
            self.unkeep(&aside.lapsed)?;
        }
        // Numbers may have been given out that nothing was written for.
        self.raise(LAST_GRANT, aside.told.0)?;
        self.raise(TOLD, aside.told.0)
    }

    fn raise(&mut self, name: &'static str, value: u64) -> Result<(), redb::Error> {
        let known = self.numbers.get(name)?.map_or(0, |value| value.value());
        if value > known { self.set(name, value) } else { Ok(()) }
    }

    fn remember(
        &mut self,
        key: &ReplayKey,
        seen: &Seen,
        stamped: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), redb::Error> {
        let (src, dst) = (seen.origin.src.to_string(), seen.origin.dst.map(|dst| dst.to_string()).unwrap_or_default());
        let origin = &seen.origin;
        let stored = (seen.at.secs(), src.as_str(), dst.as_str(), origin.proto, origin.src_port, origin.dst_port);
        self.seen.insert(key.0, stored)?;
        if let Some(until) = until {
            self.ends.insert((until.secs(), key.0), stamped.secs())?;
        }
        Ok(())
    }

    /// Messages stamped before the returned moment are not known any more.
    fn forget(&mut self, now: Timestamp) -> Result<Timestamp, redb::Error> {
        let mut forgotten = 0;
        let due = (0, [0; 32])..(now.secs(), [0; 32]);
        let ended = self.ends.range(due)?.map(|entry| entry.map(|(key, stamped)| (key.value(), stamped.value())));
        let ended: Vec<((u64, [u8; 32]), u64)> = ended.collect::<Result<_, _>>()?;
        for ((until, key), stamped) in ended {
            self.seen.remove(key)?;
            self.ends.remove((until, key))?;
            forgotten = forgotten.max(stamped.saturating_add(1));
        }
        self.raise(FLOOR, forgotten)?;
        Ok(Timestamp::from_secs(forgotten))
    }

    fn set(&mut self, name: &'static str, value: u64) -> Result<(), redb::Error> {
        self.numbers.insert(name, value)?;
        Ok(())
    }
}

fn restore((at, src, dst, proto, src_port, dst_port): Stored<'_>) -> Seen {
    // What we wrote reads back; should a file have been tampered with, the origin is only shown, never decided on.
    let src = src.parse().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let origin = Origin { src, dst: dst.parse().ok(), proto, src_port, dst_port };
    Seen { origin, at: Timestamp::from_secs(at) }
}

/// Bytes of the file kept in memory, as it grows: enough for ten thousand grants and hundreds of thousands of packets.
const CACHE: usize = 16 << 20;

#[cfg(test)]
mod tests;
