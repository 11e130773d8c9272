//! How a message begins on the wire (`spec/wire.md` 5.2).
//!
//! The protocol cuts the first two base64 characters off a message and puts `hQ` back: the octets `85 0n` of an
//! old-format header with a two-octet length below 4096. That fits RSA keys from 2048 bits on. For every other key
//! GnuPG writes a shorter header, and the original then rebuilds a broken message.
//!
//! * Sending: [`reframe`] rewrites the first header, so that every receiver is right with `hQ`.
//! * Receiving: with an HMAC each of [`prefixes`] is tried against the tag. Without one, [`candidates`] keeps those that
//!   give a message that parses strictly to its end. Only octets are counted here: this costs no public-key work.
//!
//! Packet headers: RFC 9580 section 4.2, the encrypted session key: section 5.1.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Two base64 characters that a sender may have cut off.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix([u8; 2]);

impl Prefix {
    /// `hQ`: the one every well-formed packet is meant to begin with.
    pub const STANDARD: Prefix = Prefix(*b"hQ");

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every prefix a real sender can have cut off, the likeliest first: `hQ`, then `hA` to `hP` (old format, one-octet
/// length: GnuPG and elliptic curves), then `wQ` to `wf` (new format: other programs).
pub fn prefixes() -> impl Iterator<Item = Prefix> {
    let old = (b'A'..=b'P').map(|second| Prefix([b'h', second]));
    let new = (b'Q'..=b'Z').chain(b'a'..=b'f').map(|second| Prefix([b'w', second]));
    std::iter::once(Prefix::STANDARD).chain(old).chain(new)
}

/// The messages `body` (base64 without prefix and padding) can stand for: those that are [`plausible`], the likeliest
/// first. Nearly always one or none. `hF` and `wV`, say, can both remain: the old and the new header of the same packet,
/// which decrypt alike; only the tag over the text, if there is one, tells which of them the sender cut off.
pub fn candidates(body: &str) -> Vec<(Prefix, Vec<u8>)> {
    let message = |prefix| decode(prefix, body).filter(|message| plausible(message));
    prefixes().filter_map(|prefix| Some((prefix, message(prefix)?))).collect()
}

/// The binary message for one prefix. `None` when the text is not canonical base64.
pub fn decode(prefix: Prefix, body: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode([prefix.as_str(), body].concat()).ok()
}

/// Whether the octets are one or more session keys (tag 1, version 3) whose fields fill them exactly, followed by
/// exactly one integrity-protected packet (tag 18) that ends with the message.
pub fn plausible(message: &[u8]) -> bool {
    let mut rest = message;
    let mut session_keys = 0usize;
    while let Some(header) = Header::read(rest) {
        let after = &rest[header.len..];
        match (header.tag, header.length) {
            (Tag::SESSION_KEY, Length::Definite(length)) if length <= after.len() => {
                let (body, next) = after.split_at(length);
                if !is_session_key(body) {
                    return false;
                }
                session_keys += 1;
                rest = next;
            }
            (Tag::PROTECTED, length) => return session_keys > 0 && is_protected(length, after),
            _ => return false,
        }
    }
    false
}

/// Rewrites the header of the first packet to `85` and a two-octet length, so that the base64 text begins with `hQ`.
/// The body and everything after it stay as they are.
pub fn reframe(message: Vec<u8>) -> Result<Vec<u8>, FramingError> {
    let header = Header::read(&message).ok_or(FramingError::Malformed)?;
    if header.tag != Tag::SESSION_KEY {
        return Err(FramingError::NotEncryptedToAKey { tag: header.tag.0 });
    }
    let Length::Definite(length) = header.length else { return Err(FramingError::Malformed) };
    if message.len() - header.len < length {
        return Err(FramingError::Malformed);
    }
    // Twelve bits: from 4096 on the second character would no longer be `Q`.
    let octets = u16::try_from(length).ok().filter(|length| *length < 0x1000);
    let octets = octets.ok_or(FramingError::TooLong { length })?.to_be_bytes();
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend([OLD_SESSION_KEY_TWO_OCTETS, octets[0], octets[1]]);
    framed.extend_from_slice(&message[header.len..]);
    Ok(framed)
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("not an OpenPGP message, or cut off")]
    Malformed,
    #[error("the message does not begin with a key encrypted to somebody, but with packet type {tag}")]
    NotEncryptedToAKey { tag: u8 },
    #[error("the message begins with a packet of {length} bytes, but at most 4095 can be sent")]
    TooLong { length: usize },
}

/// Old format, tag 1, two-octet length.
const OLD_SESSION_KEY_TWO_OCTETS: u8 = 0x85;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Tag(u8);

impl Tag {
    /// Public-Key Encrypted Session Key.
    const SESSION_KEY: Tag = Tag(1);
    /// Symmetrically Encrypted and Integrity Protected Data.
    const PROTECTED: Tag = Tag(18);
}

/// A packet header, RFC 9580 section 4.2.
struct Header {
    tag: Tag,
    length: Length,
    /// Octets of the header itself.
    len: usize,
}

#[derive(Clone, Copy)]
enum Length {
    Definite(usize),
    /// The first of several chunks, new format only.
    Partial(usize),
    /// Up to the end of the data, old format only.
    Indeterminate,
}

impl Header {
    fn read(data: &[u8]) -> Option<Header> {
        let (&first, rest) = data.split_first()?;
        if first & 0x80 == 0 {
            return None;
        }
        if first & 0x40 != 0 {
            let (length, octets) = Length::read_new(rest)?;
            return Some(Header { tag: Tag(first & 0x3f), length, len: 1 + octets });
        }
        let octets = match first & 0x03 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => 0,
        };
        let length = match octets {
            0 => Length::Indeterminate,
            octets => Length::Definite(big_endian(rest.get(..octets)?)),
        };
        Some(Header { tag: Tag((first >> 2) & 0x0f), length, len: 1 + octets })
    }
}

impl Length {
    /// A new-format length and how many octets it takes.
    fn read_new(data: &[u8]) -> Option<(Length, usize)> {
        let first = usize::from(*data.first()?);
        match first {
            0..=191 => Some((Length::Definite(first), 1)),
            192..=223 => {
                let second = usize::from(*data.get(1)?);
                Some((Length::Definite(((first - 192) << 8) + second + 192), 2))
            }
            224..=254 => Some((Length::Partial(1 << (first & 0x1f)), 1)),
            _ => Some((Length::Definite(big_endian(data.get(1..5)?)), 5)),
        }
    }
}

fn big_endian(octets: &[u8]) -> usize {
    octets.iter().fold(0, |value, octet| (value << 8) | usize::from(*octet))
}

/// Version 3 session key packet: version, key id, algorithm, and the algorithm's fields, nothing left over.
fn is_session_key(body: &[u8]) -> bool {
    let [3, _, _, _, _, _, _, _, _, algorithm, fields @ ..] = body else { return false };
    match algorithm {
        // RSA: one integer. 2 is the old encrypt-only form.
        1 | 2 => after_mpi(fields) == Some(&[]),
        // ElGamal: two.
        16 => after_mpi(fields).and_then(after_mpi) == Some(&[]),
        // ECDH: a point and a wrapped key.
        18 => after_mpi(fields).and_then(after_counted) == Some(&[]),
        // X25519, X448: the point has a fixed size.
        25 => fields.get(32..).and_then(after_counted) == Some(&[]),
        26 => fields.get(56..).and_then(after_counted) == Some(&[]),
        _ => false,
    }
}

/// Skips a multi-precision integer: two octets counting bits, then the bits.
fn after_mpi(data: &[u8]) -> Option<&[u8]> {
    let bits = big_endian(data.get(..2)?);
    data[2..].get(bits.div_ceil(8)..)
}

/// Skips one octet that counts octets, and those.
fn after_counted(data: &[u8]) -> Option<&[u8]> {
    let (&count, rest) = data.split_first()?;
    rest.get(usize::from(count)..)
}

/// Version 1 or 2, and the last octet of the (possibly chunked) packet is the last of the message.
fn is_protected(mut length: Length, data: &[u8]) -> bool {
    let mut rest = data;
    if !matches!(data.first(), Some(1 | 2)) {
        return false;
    }
    loop {
        match length {
            Length::Definite(octets) => return octets == rest.len(),
            Length::Indeterminate => return false,
            Length::Partial(octets) => {
                let Some(next) = rest.get(octets..) else { return false };
                let Some((following, header)) = Length::read_new(next) else { return false };
                length = following;
                rest = &next[header..];
            }
        }
    }
}
