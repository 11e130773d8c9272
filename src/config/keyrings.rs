//! What the configuration asks of keyrings while it is read.

use std::path::PathBuf;

use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId};
use crate::keyring;
use crate::secret::Passphrase;

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
