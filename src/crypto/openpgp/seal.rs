//! Making messages: what the client does with a plaintext.

use std::fmt;

use super::agent;
use super::framing::{FramingError, is_common, reframe};
use super::size::Pair;
use crate::secret::Passphrase;

/// Encrypts to one recipient and, if it has a signer, signs first (`spec/wire.md` 5.1).
pub trait Sealer {
    /// One binary message that can be sent as it is: its base64 text begins with `hQ` and has at least
    /// [`MIN_TEXT`] characters.
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError>;

    /// The keys, which tell before any secret is used how long a packet will be, or at least how long if gpg makes it.
    /// `None`: they are of no known kind.
    fn pair(&self) -> Option<Pair>;
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

impl SignerPassphrase {
    /// What to do when it was wrong or missing.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            SignerPassphrase::Agent => {
                "gpg-agent could not ask for it: install a pinentry, run from a terminal with GPG_TTY set, or give the passphrase with GPG_SIGNING_PW"
            }
            SignerPassphrase::Empty => "the key has a passphrase: leave out --gpg-no-signing-pw, or use --gpg-agent",
            SignerPassphrase::Given(_) => "give the right one, or let gpg-agent ask for it with --gpg-agent",
        }
    }
}

/// Base64 characters below which the original takes a text for Rijndael (`spec/wire.md` 7.3). It counts 400 without the
/// prefix when there is no HMAC: two more are on the safe side in every case.
pub const MIN_TEXT: usize = 402;

/// Octets whose base64 text without padding has [`MIN_TEXT`] characters.
const MIN_OCTETS: usize = MIN_TEXT * 3 / 4;

/// The longest literal file name (RFC 9580 section 5.9).
const MAX_NAME: usize = 255;

/// Seals with a literal file name of so many characters that the message is long enough, and frames it.
///
/// `seal` gets the length of the file name. That name is the one part of a message that may be of any length and means
/// nothing to any receiver.
pub(super) fn seal_padded(seal: impl Fn(usize) -> Result<Vec<u8>, SealError>) -> Result<Vec<u8>, SealError> {
    let message = framed(seal(0)?)?;
    if message.len() >= MIN_OCTETS {
        return Ok(message);
    }
    framed(seal(padding(message.len()))?)
}

/// Characters of a file name that make a message of so many octets long enough: none if it is.
pub(super) fn padding(octets: usize) -> usize {
    // An integer in the next message may happen to be an octet or two shorter.
    const SLACK: usize = 8;
    if octets >= MIN_OCTETS + SLACK { 0 } else { (MIN_OCTETS + SLACK - octets).min(MAX_NAME) }
}

/// The name itself: no receiver may take it for a path or an option.
pub(super) fn padding_name(length: usize) -> String {
    "x".repeat(length)
}

pub(super) fn framed(message: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let message = reframe(message)?;
    if is_common(&message) { Ok(message) } else { Err(SealError::NotReadable) }
}

/// Why a message could not be made. Each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("no key for {role} '{wanted}' in {place}\n     {advice}")]
    NoKey { role: Role, wanted: String, place: String, advice: &'static str },
    #[error("{role} '{wanted}' means several keys in {place}: {found}\n     name one of them by its full fingerprint")]
    SeveralKeys { role: Role, wanted: String, place: String, found: String },
    #[error("the key of {role}, {key}, cannot be used: {problem}\n     {advice}")]
    Unusable { role: Role, key: String, problem: &'static str, advice: &'static str },
    #[error("the passphrase of the signing key {key} is wrong or missing\n     {advice}")]
    Passphrase { key: String, advice: &'static str },
    #[error("gpg cannot be used\n     install GnuPG, or name the program with --gpg-exe")]
    NoGpg {
        #[source]
        source: gpgme::Error,
    },
    #[error("gpg could not {what}")]
    Gpg {
        what: &'static str,
        #[source]
        source: gpgme::Error,
    },
    #[error(transparent)]
    Agent(agent::Error),
    #[error("the message could not be made: {0}")]
    Sequoia(String),
    #[error(
        "gpg made a message of a newer kind that servers do not read\n     let the recipient key do without it: gpg --edit-key KEY, then 'setpref AES256 AES192 AES SHA512 SHA384 SHA256 ZLIB ZIP Uncompressed'"
    )]
    NotReadable,
    #[error("the message cannot be framed for sending")]
    Framing(#[from] FramingError),
}

/// What a key was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Recipient,
    Signer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Recipient => "the recipient",
            Role::Signer => "the signer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session key packet and a protected one of so many octets.
    fn message(octets: usize) -> Vec<u8> {
        let session_key = [&[0x84, 13, 3], &[7; 8][..], &[1, 0, 8, 255]].concat();
        let rest = octets - session_key.len() - 3;
        let length = [0xd2, (192 + ((rest - 192) >> 8)) as u8, (rest - 192) as u8];
        [&session_key[..], &length, &[1], &vec![9; rest - 1]].concat()
    }

    #[test]
    fn short_messages_are_padded_and_long_ones_made_once() {
        let names = std::cell::RefCell::new(Vec::new());
        let seal = |length: usize, shrink: usize| {
            let names = &names;
            move |name: usize| {
                names.borrow_mut().push(name);
                Ok(message(length + name - if name > 0 { shrink } else { 0 }))
            }
        };
        assert_eq!(seal_padded(seal(300, 0)).unwrap().len(), 301);
        assert_eq!(names.take(), [0]);
        for length in 220..300 {
            let sealed = seal_padded(seal(length, 2)).unwrap();
            assert!((sealed.len() * 4).div_ceil(3) >= MIN_TEXT, "{length}: {}", sealed.len());
            assert_eq!(names.take().len(), 2);
        }
    }

    #[test]
    fn what_servers_cannot_read_is_not_sent() {
        let mut tag_20 = message(400);
        let protected = tag_20.iter().position(|octet| *octet == 0xd2).unwrap();
        tag_20[protected] = 0xd4;
        assert!(matches!(seal_padded(|_| Ok(tag_20.clone())), Err(SealError::NotReadable)));
        assert!(matches!(seal_padded(|_| Ok(vec![0xcb, 0])), Err(SealError::Framing(_))));
    }
}
