//! What the configuration asks of keyrings while it is read, and the keyrings that answer.

use std::path::PathBuf;

use crate::crypto::openpgp::sequoia::{Found, Keys};
use crate::crypto::openpgp::{Fingerprint, KeyringId};
use crate::crypto::unseal;
use crate::keyring::{self, Gpg};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Opens keyrings and looks keys up in them.
pub trait Keyrings {
    /// Opens a keyring, which gets the next free id. Called once for each different [`KeyringPlace`].
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error>;

    /// Finds the key with this fingerprint, or with these last 16 or 8 digits of one, or, by a part of its user id, a
    /// certificate.
    fn find(&self, keyring: KeyringId, name: &str) -> Found;

    /// Whether something can be decrypted with this key, or with a subkey of it.
    fn decrypts(&self, keyring: KeyringId, key: &Fingerprint) -> bool;
}

/// Which keyring, and what unlocks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringPlace {
    /// A GnuPG home directory.
    pub home: PathBuf,
    /// The gpg program. `None`: the one GnuPG's library finds.
    pub program: Option<PathBuf>,
    /// `None`: the secret keys have no passphrase.
    pub passphrase: Option<Passphrase>,
}

/// A keyring that can be used.
#[derive(Clone, Debug)]
pub struct OpenedKeyring {
    pub id: KeyringId,
    /// Sentences about what in it will not work; what to do stands in a second line.
    pub warnings: Vec<String>,
}

/// The keyrings on disk, read when a stanza asks for them and never again.
pub struct DiskKeyrings {
    keys: Vec<Keys>,
    now: Timestamp,
}

impl DiskKeyrings {
    /// None yet. `now` decides which keys have expired.
    pub fn new(now: Timestamp) -> Self {
        Self { keys: Vec::new(), now }
    }

    /// What the gate decrypts with, under the ids that the stanzas name.
    pub fn into_engines(self) -> unseal::Keyrings {
        let mut engines = unseal::Keyrings::default();
        for keys in self.keys {
            engines.add(Box::new(keys));
        }
        engines
    }
}

impl Keyrings for DiskKeyrings {
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error> {
        let gpg = Gpg { home: place.home.clone(), program: place.program.clone() };
        let loaded = keyring::from_home(&gpg, place.passphrase.as_ref(), self.now)?;
        self.keys.push(loaded.keys);
        let warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        Ok(OpenedKeyring { id: KeyringId(self.keys.len() - 1), warnings })
    }

    fn find(&self, keyring: KeyringId, name: &str) -> Found {
        self.keys.get(keyring.0).map_or(Found::None, |keys| keys.find(name))
    }

    fn decrypts(&self, keyring: KeyringId, key: &Fingerprint) -> bool {
        self.keys.get(keyring.0).is_some_and(|keys| keys.decrypting().any(|path| path.is(key)))
    }
}
