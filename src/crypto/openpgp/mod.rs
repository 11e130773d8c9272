//! OpenPGP: one trait, several engines, one policy, decided here and never per engine (`docs/architecture.md`).
//!
//! An [`Engine`] decrypts a message and says, for each signature in it, what is true. What that is worth is decided by
//! [`SignerRule`] and [`RecipientRule`] alone.

pub mod agent;
mod choice;
mod fingerprint;
pub mod framing;
pub mod gpgme;
mod policy;
mod seal;
pub mod sequoia;
pub mod size;

pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use policy::{RecipientRule, SignerRule, Tolerance};
pub use seal::{MIN_TEXT, Role, SealError, Sealer, SignerPassphrase};

use crate::reason::{Reason, SignatureFault};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Decrypts and verifies with the keys of one keyring. Several threads may do so at once.
pub trait Engine: Send + Sync {
    /// Opens one binary OpenPGP message. `now` decides on expiry. Refuses what is damaged, not for our keys or without
    /// integrity protection as [`Reason::GpgDecrypt`]; bad signatures are *reported*, not refused: see the policy.
    fn open(&self, message: &[u8], now: Timestamp) -> Result<Opened, Reason>;

    /// What keeps it from opening messages, and that it no longer does: each told once.
    fn take_news(&self) -> Option<News> {
        None
    }

    /// Whether a message can be for one of its keys, as far as the recipients' ids in front of it tell: for free.
    fn is_addressed(&self, message: &[u8]) -> bool;
}

/// What the operator should know of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Messages cannot be opened, and why: what is wrong, and in a second line what to do.
    Trouble(String),
    /// They can be again.
    Over,
}

/// A decrypted message. Nothing is decided yet.
#[derive(Debug)]
pub struct Opened {
    pub plaintext: Secret<Vec<u8>>,
    /// The certificate it was encrypted to, by its primary key, and the key that decrypted. `None`: one of ours, but the
    /// engine cannot tell which.
    pub recipient: Option<KeyPath>,
    /// In the order of the message. A signature whose key is in several certificates stands here once for each.
    pub signatures: Vec<Signature>,
}

/// One signature, and what is true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Whose certificate verified it. `None` when the issuer is unknown: then nothing it says is true.
    pub by: Option<KeyPath>,
    pub user_id: Option<String>,
    /// `None`: valid at the time of checking.
    pub fault: Option<SignatureFault>,
    /// Over a SHA-1 digest of the text. Two texts with the same one can be made, so it is refused unless a stanza says
    /// otherwise; apart from that it may be valid.
    pub sha1: bool,
}

/// A key inside a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    pub primary: Fingerprint,
    /// The key itself: the primary again, or a subkey.
    pub key: Fingerprint,
}

/// Which of the daemon's loaded keyrings a stanza uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyringId(pub usize);
