//! The HMAC around a packet (`spec/wire.md` 6): RFC 2104 over the base64 text *with* its prefix, sent as base64 text.
//!
//! The keyed state is prepared once, so that a packet costs one pass per stanza and no key set-up.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use sha3::{Sha3_256, Sha3_512};

use crate::secret::{Secret, constant_time_eq};
use crate::spa::Digest;

/// A key for the HMAC: 1 to 136 bytes, the limit of the original's library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacKey(Secret<Vec<u8>>);

impl HmacKey {
    pub const MAX: usize = 136;

    /// `None` when empty or over [`HmacKey::MAX`].
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let secret = Secret::new(bytes);
        (1..=Self::MAX).contains(&secret.expose().len()).then_some(Self(secret))
    }

    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// A key and a digest, ready for use.
#[derive(Clone)]
pub struct HmacAuth {
    digest: Digest,
    state: State,
    mark: Mark,
}

#[derive(Clone)]
enum State {
    Md5(Hmac<Md5>),
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Sha512(Hmac<Sha512>),
    Sha3_256(Hmac<Sha3_256>),
    Sha3_512(Hmac<Sha3_512>),
}

impl HmacAuth {
    pub fn new(digest: Digest, key: &HmacKey) -> Self {
        let key = key.expose();
        let state = match digest {
            Digest::Md5 => State::Md5(keyed(key)),
            Digest::Sha1 => State::Sha1(keyed(key)),
            Digest::Sha256 => State::Sha256(keyed(key)),
            Digest::Sha384 => State::Sha384(keyed(key)),
            Digest::Sha512 => State::Sha512(keyed(key)),
            Digest::Sha3_256 => State::Sha3_256(keyed(key)),
            Digest::Sha3_512 => State::Sha3_512(keyed(key)),
        };
        Self { digest, mark: Mark::of(&state), state }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length of the tag's text: 22, 27, 43, 64 or 86 characters.
    pub fn tag_len(&self) -> usize {
        self.digest.text_len()
    }

    /// The tag over `prefix` followed by `body`, as base64 text.
    pub fn tag(&self, prefix: &str, body: &str) -> String {
        self.state.mac([prefix.as_bytes(), body.as_bytes()], |mac| STANDARD_NO_PAD.encode(mac))
    }

    /// In constant time. Decoding is strict, so that no second spelling of a tag is valid.
    pub fn verify(&self, prefix: &str, body: &str, tag: &str) -> bool {
        let mut given = [0; MOST_OCTETS];
        let Ok(octets) = STANDARD_NO_PAD.decode_slice(tag, &mut given) else { return false };
        self.state.mac([prefix.as_bytes(), body.as_bytes()], |mac| constant_time_eq(mac, &given[..octets]))
    }

    /// Tells keys apart and nothing else about them.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

/// Longer than any digest, and than what the text of the longest one could stand for.
const MOST_OCTETS: usize = 72;

/// The same for the same key and digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 16]);

impl Mark {
    pub fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// The start of a MAC over what is no base64 text, hence never a tag.
    fn of(state: &State) -> Self {
        state.mac([b"which key", b"\0"], |mac| {
            let mut mark = [0; 16];
            mark.copy_from_slice(&mac[..16]);
            Self(mark)
        })
    }
}

impl fmt::Debug for HmacAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HmacAuth({}, [secret])", self.digest)
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104 section 2)")
}

impl State {
    fn mac<T>(&self, parts: [&[u8]; 2], then: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            State::Md5(state) => then(&finish(state, parts)),
            State::Sha1(state) => then(&finish(state, parts)),
            State::Sha256(state) => then(&finish(state, parts)),
            State::Sha384(state) => then(&finish(state, parts)),
            State::Sha512(state) => then(&finish(state, parts)),
            State::Sha3_256(state) => then(&finish(state, parts)),
            State::Sha3_512(state) => then(&finish(state, parts)),
        }
    }
}

fn finish<M: Mac + Clone>(state: &M, parts: [&[u8]; 2]) -> hmac::digest::Output<M> {
    let mut mac = state.clone();
    parts.into_iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes()
}
