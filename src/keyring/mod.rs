//! Where keys come from: a GnuPG home, or certificate and key files.
//!
//! Keys are read when the daemon starts and when it reloads, never for a packet. Secret keys are unlocked then, once,
//! because unlocking is slow on purpose; afterwards no file is touched and no other process asked.
//!
//! What cannot be read at all is an [`Error`]. What is merely not usable, such as one locked key among others, is a
//! [`Notice`]: the keyring loads, and whoever loads it tells the operator.

mod files;
mod home;
pub mod keybox;
pub mod manage;
mod permissions;
mod public;
mod trustdb;

use std::io;
use std::path::PathBuf;

pub use files::{KeyData, from_files, read as read_file};
pub use home::{Gpg, from_home, left_to_agent, left_to_gpg};
pub use public::PublicKeys;

use crate::crypto::openpgp::{Fingerprint, agent};

pub use crate::crypto::openpgp::sequoia::{Found, Keys, Notice};

/// A keyring that has been read.
#[derive(Debug)]
pub struct Loaded {
    pub keys: Keys,
    /// What in it will not work, or is not as safe as it should be. Each is a sentence for the operator.
    pub warnings: Vec<Warning>,
}

/// Something about a keyring that its owner should know. It does not stop the daemon.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    #[error(transparent)]
    Key(Notice),
    #[error("{} can be read by other users: it may hold secret keys\n     take that right away with: chmod go= {}", path.display(), path.display())]
    ReadableByOthers { path: PathBuf },
    #[error("{} holds no secret key that can decrypt: no OpenPGP packet can be read with it\n     add the server's secret key to it", place.display())]
    NothingDecrypts { place: PathBuf },
    #[error("gpg did not export all secret keys of {}: {problem}\n     see whether gpg-agent works there: gpg --homedir {} --list-secret-keys", home.display(), home.display())]
    Export { home: PathBuf, problem: String },
}

/// Why a keyring cannot be loaded. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no GnuPG home directory {}\n     set GPG_HOME_DIR to the directory that holds the server's keys, or make one with: mkdir -m 700 {}", home.display(), home.display())]
    NoHome { home: PathBuf },
    #[error("there is no key file {}\n     export one with: gpg --armor --export-secret-keys KEY, or correct the path", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is not a directory\n     name the directory that GnuPG keeps its keys in", path.display())]
    NotADirectory { path: PathBuf },
    #[error("{} can be changed by other users: whoever changes it decides who is let in\n     take that right away with: chmod go-w {}", path.display(), path.display())]
    WritableByOthers { path: PathBuf },
    #[error("{} belongs to user {owner}, who can change it at any time\n     run: chown {us} {}", path.display(), path.display())]
    Foreign { path: PathBuf, owner: u32, us: u32 },
    #[error("cannot read {}\n     it must be readable for the user who runs this, which for the daemon is root", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is {size} bytes long: too long for a key file\n     name a file that holds only OpenPGP keys", path.display())]
    TooLong { path: PathBuf, size: u64 },
    #[error("there is no OpenPGP certificate or key in {}\n     write it with: gpg --armor --export KEY (or --export-secret-keys)", path.display())]
    NotAKey { path: PathBuf },
    #[error("there is no key in the GnuPG home directory {}\n     import the server's secret key and the clients' public keys with: gpg --homedir {} --import FILE", home.display(), home.display())]
    EmptyHome { home: PathBuf },
    #[error(
        "the passphrase given unlocks no key that decrypts, not {key} either: no OpenPGP packet could be read\n     correct GPG_DECRYPT_PW; if the keys have no passphrase, set GPG_ALLOW_NO_PW Y instead"
    )]
    WrongPassphrase { key: Fingerprint },
    #[error(transparent)]
    Agent(#[from] agent::Error),
    #[error("gpg cannot be used\n     install GnuPG, or name the program with GPG_EXE")]
    NoGpg {
        #[source]
        source: gpgme::Error,
    },
    #[error("gpg cannot read the keys in {}\n     try: gpg --homedir {} --list-keys", home.display(), home.display())]
    Gpg {
        home: PathBuf,
        #[source]
        source: gpgme::Error,
    },
}
