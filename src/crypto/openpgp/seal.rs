//! Making messages: what the client does with a plaintext.

use std::path::PathBuf;

use super::framing::FramingError;
use crate::secret::Passphrase;

/// Encrypts to one recipient and, if it has a signer, signs first (`spec/wire.md` 5.1).
pub trait Sealer {
    /// One binary message that can be sent as it is: its base64 text begins with `hQ` and has at least
    /// [`MIN_TEXT`] characters.
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError>;
}

/// Where a signing key's passphrase comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerPassphrase {
    /// gpg-agent knows it or asks for it.
    Agent,
    /// The key has none (`--gpg-no-signing-pw`).
    Empty,
    Given(Passphrase),
}

/// Base64 characters below which the original takes a text for Rijndael (`spec/wire.md` 7.3). It counts 400 without the
/// prefix when there is no HMAC: two more are on the safe side in every case.
pub const MIN_TEXT: usize = 402;

/// Why a message could not be made. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("no key matches {role} '{wanted}' in {place}\n     {advice}")]
    NoKey { role: Role, wanted: String, place: String, advice: &'static str },
    #[error(
        "{role} '{wanted}' matches several keys in {place}: {found}\n     name one of them by its full fingerprint"
    )]
    SeveralKeys { role: Role, wanted: String, place: String, found: String },
    #[error("{role} {key} cannot be used: {problem}\n     {advice}")]
    Unusable { role: Role, key: String, problem: String, advice: &'static str },
    #[error("the passphrase of signing key {key} is wrong or missing\n     {advice}")]
    Passphrase { key: String, advice: &'static str },
    #[error("the OpenPGP home directory {} cannot be used: {problem}", home.display())]
    Home { home: PathBuf, problem: String },
    #[error("{what}")]
    Gpgme {
        what: &'static str,
        #[source]
        source: gpgme::Error,
    },
    #[error("the message cannot be framed for sending")]
    Framing(#[from] FramingError),
}

/// What a key was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Recipient,
    Signer,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Recipient => "the recipient",
            Role::Signer => "the signer",
        })
    }
}
