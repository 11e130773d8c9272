//! What the configuration asks of keyrings while it is read.

use std::path::PathBuf;

use super::server::{EngineChoice, SecretKeys};
use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId};
use crate::keyring;
use crate::reason::SignatureFault;
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

    /// What would be wrong now with every signature by this key, or, if it is a primary key, by any key of its
    /// certificate.
    fn standing(&self, keyring: KeyringId, key: &Fingerprint) -> Option<SignatureFault>;
}

/// Which keyring, and what unlocks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringPlace {
    pub source: KeyringSource,
    /// `None`: the secret keys have no passphrase.
    pub passphrase: Option<Passphrase>,
    /// What reads messages with it.
    pub engine: EngineChoice,
    /// Where the secret keys of a home are.
    pub secret_keys: SecretKeys,
}

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyringSource {
    /// A GnuPG home directory, and the gpg program that reads it. `None`: the one GnuPG's library finds.
    Home { directory: PathBuf, program: Option<PathBuf> },
    /// Key files, armored or binary: the server's secret key, and the certificates of those who may sign.
    Files(Vec<PathBuf>),
}

/// A keyring that can be used.
#[derive(Clone, Debug)]
pub struct OpenedKeyring {
    pub id: KeyringId,
    /// Sentences about what in it will not work; what to do stands in a second line.
    pub warnings: Vec<String>,
}
