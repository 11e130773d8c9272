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

    /// What the two characters stand for: the upper twelve of sixteen bits.
    fn bits(self) -> u16 {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let value = |c: u8| ALPHABET.iter().position(|known| *known == c).map_or(0, |at| at as u16);
        value(self.0[0]) << 10 | value(self.0[1]) << 4
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
///
/// The text is decoded once: a prefix is twelve bits, and only they are exchanged.
pub fn candidates(body: &str) -> Vec<(Prefix, Vec<u8>)> {
    const NO_BITS: &str = "AA";
    let Ok(mut message) = STANDARD_NO_PAD.decode([NO_BITS, body].concat()) else { return Vec::new() };
    let [_, second, ..] = message[..] else { return Vec::new() };
    let mut found = Vec::new();
    for prefix in prefixes() {
        let [upper, lower] = prefix.bits().to_be_bytes();
        (message[0], message[1]) = (upper, lower | second);
        if plausible(&message) {
            found.push((prefix, message.clone()));
        }
    }
    found
}

/// The binary message for one prefix. `None` when the text is not canonical base64.
pub fn decode(prefix: Prefix, body: &str) -> Option<Vec<u8>> {
    STANDARD_NO_PAD.decode([prefix.as_str(), body].concat()).ok()
}

/// Whether the octets are one or more session keys (tag 1, version 3 or 6) whose fields fill them exactly, followed by
/// exactly one integrity-protected packet (tag 18, or GnuPG's own tag 20) that ends with the message.
pub fn plausible(message: &[u8]) -> bool {
    container(message).is_some()
}

/// The same for what every server can read: of GnuPG's own packet only GnuPG knows.
pub fn is_common(message: &[u8]) -> bool {
    container(message) == Some(Tag::PROTECTED)
}

/// What the protected packet of a plausible message is.
fn container(message: &[u8]) -> Option<Tag> {
    let mut rest = message;
    let mut session_keys = 0usize;
    while let Some(header) = Header::read(rest) {
        let after = &rest[header.len..];
        match (header.tag, header.length) {
            (Tag::SESSION_KEY, Length::Definite(length)) if length <= after.len() => {
                let (body, next) = after.split_at(length);
                if !is_session_key(body) {
                    return None;
                }
                session_keys += 1;
                rest = next;
            }
            (tag @ (Tag::PROTECTED | Tag::GNUPG_OCB), length) => {
                let versions: &[u8] = if tag == Tag::PROTECTED { &[1, 2] } else { &[1] };
                return (session_keys > 0 && is_protected(versions, length, after)).then_some(tag);
            }
            _ => return None,
        }
    }
    None
}

/// Whether a message can be for us: it names a key that is ours, or nobody.
pub fn is_for(message: &[u8], is_ours: impl Fn([u8; 8]) -> bool) -> bool {
    const NOBODY: [u8; 8] = [0; 8];
    recipients(message).any(|id| id == NOBODY || is_ours(id))
}

/// The key ids of those whom a message is for.
fn recipients(message: &[u8]) -> impl Iterator<Item = [u8; 8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let header = Header::read(rest).filter(|header| header.tag == Tag::SESSION_KEY)?;
        let Length::Definite(length) = header.length else { return None };
        let (body, next) = rest.get(header.len..)?.split_at_checked(length)?;
        rest = next;
        recipient(body)
    })
}

/// The key id in a session key packet, or the one that belongs to its fingerprint; zeros when it names nobody.
fn recipient(body: &[u8]) -> Option<[u8; 8]> {
    match body {
        [6, 0, ..] => Some([0; 8]),
        [6, 21, 4, ..] => body.get(15..23)?.try_into().ok(),
        [6, 33, 6, ..] => body.get(3..11)?.try_into().ok(),
        _ => body.get(1..9)?.try_into().ok(),
    }
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
    /// OCB Encrypted Data, in no RFC (draft-koch-librepgp section 5.16). GnuPG 2.4 writes it for keys that ask for it.
    const GNUPG_OCB: Tag = Tag(20);
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

/// Session key packet: for whom it is, algorithm, and the algorithm's fields, nothing left over.
fn is_session_key(body: &[u8]) -> bool {
    let Some([algorithm, fields @ ..]) = after_recipient(body) else { return false };
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

/// Skips the version of a session key packet and a key id or a counted fingerprint, which has the key's version in front.
fn after_recipient(body: &[u8]) -> Option<&[u8]> {
    match body {
        [3, ..] => body.get(9..),
        [6, 0, ..] => body.get(2..),
        [6, 21, 4, ..] => body.get(23..),
        [6, 33, 6, ..] => body.get(35..),
        _ => None,
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

/// The version, a block and two octets of it again, and the modification detection code with its header (RFC 9580 section
/// 5.13.1). Version 2 is longer still. Sequoia 2.4 panics when it decrypts less than that.
const SHORTEST_PROTECTED: usize = 1 + 16 + 2 + 22;

/// Of a known version, not too short to be that, and the last octet of the (possibly chunked) packet is the last of the message.
fn is_protected(versions: &[u8], mut length: Length, data: &[u8]) -> bool {
    let mut rest = data;
    if !data.first().is_some_and(|version| versions.contains(version)) {
        return false;
    }
    let mut before = 0usize;
    loop {
        match length {
            Length::Definite(octets) => {
                return octets == rest.len() && before.saturating_add(octets) >= SHORTEST_PROTECTED;
            }
            Length::Indeterminate => return false,
            Length::Partial(octets) => {
                before = before.saturating_add(octets);
                let Some(next) = rest.get(octets..) else { return false };
                let Some((following, header)) = Length::read_new(next) else { return false };
                length = following;
                rest = &next[header..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_prefixes_are_those_of_the_specification() {
        let all: Vec<Prefix> = prefixes().collect();
        assert_eq!(all.len(), 33);
        assert_eq!(all[0], Prefix::STANDARD);
        for prefix in all {
            let octets = decode(prefix, "AA").unwrap();
            let expected = match prefix.as_str().as_bytes() {
                b"hQ" => (0x85, 0x0),
                [b'h', second] => (0x84, second - b'A'),
                [_, second] => (0xc1, if second.is_ascii_uppercase() { second - b'Q' } else { second - b'a' + 10 }),
                _ => unreachable!(),
            };
            assert_eq!((octets[0], octets[1] >> 4), expected, "{prefix}");
        }
    }

    #[test]
    fn every_definite_header_is_rewritten() {
        let body = vec![7u8; 0x5e];
        let framed = [&[0x85, 0, 0x5e], &body[..], b"rest"].concat();
        let headers: [&[u8]; 6] = [
            &[0x84, 0x5e],
            &[0x85, 0, 0x5e],
            &[0x86, 0, 0, 0, 0x5e],
            &[0xc1, 0x5e],
            &[0xc1, 0xff, 0, 0, 0, 0x5e],
            &framed[..3],
        ];
        for header in headers {
            let message = [header, &body, b"rest"].concat();
            assert_eq!(reframe(message).unwrap(), framed, "{header:x?}");
        }
        // Two octets in the new format begin at 192.
        let long = [&[0xc1, 0xc1, 0x4c][..], &[7; 524], b"rest"].concat();
        assert_eq!(reframe(long).unwrap()[..3], [0x85, 0x02, 0x0c]);
    }

    #[test]
    fn what_cannot_be_framed_says_why() {
        let long = [&[0x85, 0x10, 0][..], &[0; 4096]].concat();
        assert_eq!(reframe(long), Err(FramingError::TooLong { length: 4096 }));
        let longest = [&[0x85, 0x0f, 0xff][..], &[0; 4095]].concat();
        assert_eq!(reframe(longest.clone()), Ok(longest));
        assert_eq!(reframe(vec![0xcb, 1, 0]), Err(FramingError::NotEncryptedToAKey { tag: 11 }));
        for malformed in [&[][..], b"plain", &[0x84], &[0x84, 5, 1], &[0x87, 1], &[0xc1, 0xe1, 1, 2], &[0xc1, 0xff, 0]]
        {
            assert_eq!(reframe(malformed.to_vec()), Err(FramingError::Malformed), "{malformed:x?}");
        }
    }

    #[test]
    fn whom_a_message_is_for_shows_in_front() {
        let to = |id: u8| [&[0x84, 14, 3][..], &[id; 8], &[1, 0, 16, 0xff, 0xff]].concat();
        let data = [0xd2, 3, 1, 9, 9];
        let message = [&to(5)[..], &to(7), &data].concat();
        for (ours, for_us) in [(5, true), (7, true), (6, false)] {
            assert_eq!(is_for(&message, |id| id == [ours; 8]), for_us);
        }
        assert!(is_for(&[&to(5)[..], &to(0), &data].concat(), |_| false), "hidden");
        assert!(!is_for(&data, |_| true), "nobody");
        let by_fingerprint = |version: u8, fingerprint: &[u8]| {
            let head = [0xc1, fingerprint.len() as u8 + 7, 6, fingerprint.len() as u8 + 1, version];
            [&head, fingerprint, &[18, 0, 0, 0]].concat()
        };
        let numbered: Vec<u8> = (0..32).collect();
        let version_4 = by_fingerprint(4, &numbered[..20]);
        let version_6 = by_fingerprint(6, &numbered);
        assert!(is_for(&version_4, |id| id == numbered[12..20]) && !is_for(&version_4, |id| id != numbered[12..20]));
        assert!(is_for(&version_6, |id| id == numbered[..8]) && !is_for(&version_6, |id| id != numbered[..8]));
        assert!(!is_for(&to(5)[..10], |_| true), "cut off");
        assert!(!is_for(&[], |_| true));
    }

    /// A session key whose integers do not fill it, or one packet more or less, is no message.
    #[test]
    fn only_complete_messages_are_plausible() {
        let key = [&[0x84, 14, 3], &[7; 8][..], &[1, 0, 16, 0xff, 0xff]].concat();
        let data = [&[0xd2, 41, 1], &[9; 40][..]].concat();
        let good = [&key[..], &data].concat();
        assert!(plausible(&good));
        assert!(plausible(&[&key[..], &good].concat()), "two recipients");
        assert!(plausible(&[&key[..], &[0xd2, 0xe5, 1], &[9; 31], &[9], &[9; 9]].concat()), "in chunks");
        assert!(plausible(&[&key[..], &[0xd2, 0xe0, 2, 0xff, 0, 0, 0, 40], &[9; 40]].concat()), "version 2, in chunks");

        let changed = |at: usize, octet: u8| {
            let mut message = good.clone();
            message[at] = octet;
            message
        };
        assert!(!plausible(&changed(2, 6)), "version 6 with neither fingerprint nor none");
        let later = [&[0xc1, 26, 6, 21, 4], &[7; 20][..], &[18, 0, 0, 0]].concat();
        assert!(!plausible(&[&later[..], &data].concat()), "a fingerprint too long");
        let later = [&[0xc1, 27, 6, 21, 4], &[7; 20][..], &[18, 0, 0, 0]].concat();
        assert!(plausible(&[&later[..], &data].concat()), "version 6");
        assert!(plausible(&[&[0xc1, 6, 6, 0, 18, 0, 0, 0], &data[..]].concat()), "version 6, to nobody in particular");
        assert!(!plausible(&changed(11, 99)), "unknown algorithm");
        assert!(!plausible(&changed(13, 24)), "integer too long");
        assert!(!plausible(&changed(13, 8)), "integer too short");
        assert!(!plausible(&changed(16, 0xc9)), "not integrity protected");
        assert!(!plausible(&changed(18, 3)), "unknown version");
        assert!(plausible(&changed(16, 0xd4)) && !is_common(&changed(16, 0xd4)), "OCB as GnuPG has it");
        assert!(is_common(&good));
        assert!(!plausible(&data), "no recipient");
        assert!(!plausible(&key), "no data");
        assert!(!plausible(&[&good[..], &[0]].concat()), "something after it");
        assert!(!plausible(&[&good[..], &data].concat()), "twice");
        assert!(!plausible(&[&key[..], &[0xd2, 0xe5, 1], &[9; 31], &[19], &[9; 9]].concat()), "a chunk is missing");
        let short = [&[0xd2, 40, 1][..], &[9; 39]].concat();
        let chunked = [&[0xd2, 0xe5, 1][..], &[9; 31], &[8], &[9; 8]].concat();
        for data in [short, chunked] {
            assert!(!plausible(&[&key[..], &data].concat()), "too short for what must be in it");
        }
    }

    /// The fields of a session key packet: RSA, ElGamal, ECDH, X25519, X448.
    fn session_key() -> impl Strategy<Value = Vec<u8>> {
        let octets = |most| proptest::collection::vec(any::<u8>(), 1..most);
        let mpi = |value: &[u8]| [&((value.len() * 8) as u16).to_be_bytes()[..], value].concat();
        let counted = |value: &[u8]| [&[value.len() as u8][..], value].concat();
        let fields = (0usize..5, octets(520), octets(120)).prop_map(move |(kind, long, short)| match kind {
            0 => (1, mpi(&long)),
            1 => (16, [mpi(&long), mpi(&short)].concat()),
            2 => (18, [mpi(&short), counted(&short)].concat()),
            3 => (25, [vec![5; 32], counted(&short)].concat()),
            _ => (26, [vec![5; 56], counted(&short)].concat()),
        });
        (any::<[u8; 8]>(), fields).prop_map(|(id, (algorithm, fields))| [&[3][..], &id, &[algorithm], &fields].concat())
    }

    /// With the header in one of the forms that real programs write.
    fn message() -> impl Strategy<Value = Vec<u8>> {
        let data = proptest::collection::vec(any::<u8>(), 40..400);
        (session_key(), data, any::<bool>(), any::<bool>())
            .prop_map(|(key, data, new, chunked)| {
                let length = key.len();
                let header = match (new, length) {
                    (true, ..=191) => vec![0xc1, length as u8],
                    (true, _) => vec![0xc1, 192 + ((length - 192) >> 8) as u8, (length - 192) as u8],
                    (false, ..=255) => vec![0x84, length as u8],
                    (false, _) => vec![0x85, (length >> 8) as u8, length as u8],
                };
                let rest = if chunked {
                    [&[0xd2, 0xe3, 1][..], &data[..7], &[0xff, 0, 0, 0, (data.len() - 7) as u8], &data[7..]].concat()
                } else {
                    [&[0xd2, 0xff, 0, 0, ((data.len() + 1) >> 8) as u8, (data.len() + 1) as u8, 1][..], &data].concat()
                };
                [header, key, rest].concat()
            })
            .prop_filter("a length that fits one octet", |message| plausible(message))
    }

    proptest! {
        #[test]
        fn what_a_sender_cut_off_is_found(message in message()) {
            let text = STANDARD_NO_PAD.encode(&message);
            let (prefix, body) = text.split_at(2);
            let found = candidates(body);
            // Headers of more than 16 times 16 octets in the new format start with other characters.
            let known = prefixes().any(|known| known.as_str() == prefix);
            prop_assert_eq!(known, found.iter().any(|(p, m)| p.as_str() == prefix && *m == message));
        }

        #[test]
        fn a_reframed_message_begins_with_the_standard_prefix_and_is_the_same(message in message()) {
            let framed = reframe(message.clone()).unwrap();
            prop_assert!(plausible(&framed));
            prop_assert!(STANDARD_NO_PAD.encode(&framed).starts_with("hQ"));
            prop_assert_eq!(reframe(framed.clone()).unwrap(), framed.clone());
            let (old, new) = (Header::read(&message).unwrap(), Header::read(&framed).unwrap());
            prop_assert_eq!(&message[old.len..], &framed[new.len..]);
        }

        #[test]
        fn a_cut_message_is_not_plausible(message in message(), cut in 1usize..60) {
            prop_assert!(!plausible(&message[..message.len() - cut.min(message.len())]));
        }

        #[test]
        fn anything_is_judged_without_a_panic(data in proptest::collection::vec(any::<u8>(), 0..300), text in "[A-Za-z0-9+/=]{0,300}") {
            let _ = (plausible(&data), reframe(data), candidates(&text));
        }
    }
}
