//! How long a packet will be. The algorithms of its two keys and the length of its text decide, so it is known before any
//! secret is used: nobody is asked for a passphrase or a PIN for a packet that cannot be sent.
//!
//! Sizes are those of the longest message that can come out: an integer in it begins with zeros now and then and is an
//! octet shorter. Packet formats: RFC 9580 sections 4.2 and 5. `docs/openpgp-sizes.md` has a table.

use std::fmt;

use super::seal::{Role, padding};
use crate::spa::Digest;

/// What kind of key it is, as far as that decides on sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Rsa {
        bits: usize,
    },
    ElGamal {
        bits: usize,
    },
    /// The bits are those of the group's order.
    Dsa {
        bits: usize,
    },
    /// The curve in the form that GnuPG has used since 2.1: Cv25519 and Ed25519.
    Curve25519,
    /// The same curve in the form of RFC 9580: X25519 and Ed25519.
    New25519,
    /// X448 and Ed448 of RFC 9580.
    New448,
    Nist {
        bits: usize,
    },
    Brainpool {
        bits: usize,
    },
}

/// The two keys of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The server's key, to which it is encrypted.
    pub recipient: KeyKind,
    pub signer: Option<KeyKind>,
}

/// What can be chosen freely in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The signature says for whom the message is, so that no other server can be knocked at with it.
    pub names_recipient: bool,
    /// A literal file name of so many characters: the one part of a message that may be of any length and means nothing
    /// to any receiver.
    pub name_length: usize,
}

/// Characters that fit one datagram wherever IPv6 gets through: 1280 octets without the headers.
pub const UNFRAGMENTED: usize = 1232;

/// Characters that fit one datagram on Ethernet: 1500 octets without the headers of IPv4 and UDP.
pub const ONE_DATAGRAM: usize = 1472;

impl Pair {
    /// Octets of the message, framed as it is sent.
    pub fn octets(self, text: usize) -> usize {
        self.octets_in(self.shape(text), text)
    }

    /// Characters on the wire: base64 without the prefix, and the tag behind it.
    pub fn characters(self, text: usize, hmac: Option<Digest>) -> usize {
        characters(self.octets(text), hmac)
    }

    /// The recipient is named unless just that would make the packet too long for what it may have to pass through. What
    /// is too short to be taken for OpenPGP gets a file name.
    pub fn shape(self, text: usize) -> Shape {
        let bare = Shape { names_recipient: false, name_length: 0 };
        let named = Shape { names_recipient: self.signer.is_some(), ..bare };
        // Nobody tells here which HMAC there will be, so room is left for the longest.
        let length = |shape| characters(self.octets_in(shape, text), Some(Digest::Sha512));
        let shape = match [UNFRAGMENTED, ONE_DATAGRAM].into_iter().find(|room| length(bare) <= *room) {
            Some(room) if length(named) <= room => named,
            _ => bare,
        };
        Shape { name_length: padding(self.octets_in(shape, text)), ..shape }
    }

    fn octets_in(self, shape: Shape, text: usize) -> usize {
        const PREFIX_OF_CIPHER: usize = 16 + 2;
        const MODIFICATION_DETECTION: usize = 2 + 20;
        // Framing gives the first header two octets of length.
        let session_key = 3 + VERSION + KEY_ID + ALGORITHM + self.recipient.session_key();
        let signature = self.signer.map_or(0, |signer| packet(signer.signature_packet(shape)));
        let literal = packet(FORMAT + 1 + shape.name_length + DATE + text);
        session_key + packet(VERSION + PREFIX_OF_CIPHER + signature + literal + MODIFICATION_DETECTION)
    }
}

const VERSION: usize = 1;
const ALGORITHM: usize = 1;
const KEY_ID: usize = 8;
const FINGERPRINT: usize = 20;
const DATE: usize = 4;
/// Of literal data.
const FORMAT: usize = 1;

fn characters(octets: usize, hmac: Option<Digest>) -> usize {
    const PREFIX: usize = 2;
    (octets * 4).div_ceil(3) - PREFIX + hmac.map_or(0, Digest::text_len)
}

/// A packet with so much in it, under a header of the new format.
fn packet(body: usize) -> usize {
    body + match body {
        ..192 => 2,
        192..8384 => 3,
        _ => 6,
    }
}

/// An integer of so many bits, behind two octets that count them.
fn integer(bits: usize) -> usize {
    2 + bits.div_ceil(8)
}

impl KeyKind {
    /// The fields of an encrypted session key, always one for AES-256.
    fn session_key(self) -> usize {
        // The cipher's number, the key and a sum, filled up to 40 octets and wrapped (RFC 9580 section 11.5).
        const WRAPPED: usize = 1 + 40 + 8;
        match self {
            KeyKind::Rsa { bits } => integer(bits),
            KeyKind::ElGamal { bits } | KeyKind::Dsa { bits } => 2 * integer(bits),
            KeyKind::Curve25519 => integer(8 + 256) + WRAPPED,
            KeyKind::Nist { bits } | KeyKind::Brainpool { bits } => integer(8 + 2 * bits.next_multiple_of(8)) + WRAPPED,
            // Here the cipher's number is not wrapped.
            KeyKind::New25519 => 32 + 1 + 1 + 32 + 8,
            KeyKind::New448 => 56 + 1 + 1 + 32 + 8,
        }
    }

    /// By GnuPG's name for the curve.
    pub fn on_curve(name: &str) -> Option<Self> {
        Some(match name {
            "cv25519" | "ed25519" | "Curve25519" | "Ed25519" => KeyKind::Curve25519,
            "nistp256" => KeyKind::Nist { bits: 256 },
            "nistp384" => KeyKind::Nist { bits: 384 },
            "nistp521" => KeyKind::Nist { bits: 521 },
            "brainpoolP256r1" => KeyKind::Brainpool { bits: 256 },
            "brainpoolP384r1" => KeyKind::Brainpool { bits: 384 },
            "brainpoolP512r1" => KeyKind::Brainpool { bits: 512 },
            _ => return None,
        })
    }

    /// The integers of a signature.
    fn signature(self) -> usize {
        match self {
            KeyKind::Rsa { bits } => integer(bits),
            KeyKind::Dsa { bits } | KeyKind::Nist { bits } | KeyKind::Brainpool { bits } => 2 * integer(bits),
            // Twice a number modulo the prime.
            KeyKind::ElGamal { bits } => 2 * integer(bits),
            KeyKind::Curve25519 => 2 * integer(256),
            KeyKind::New25519 => 64,
            KeyKind::New448 => 114,
        }
    }

    fn signature_packet(self, shape: Shape) -> usize {
        /// Length and type.
        const SUBPACKET: usize = 2;
        const TYPE_AND_HASH: usize = 2;
        const AREAS: usize = 2 + 2;
        const START_OF_DIGEST: usize = 2;
        let mut subpackets = (SUBPACKET + DATE) + (SUBPACKET + KEY_ID);
        if shape.names_recipient {
            subpackets += SUBPACKET + VERSION + FINGERPRINT;
        }
        VERSION + TYPE_AND_HASH + ALGORITHM + AREAS + subpackets + START_OF_DIGEST + self.signature()
    }

    /// As people call it: the same curve has a name for each use.
    pub fn name(self, role: Role) -> String {
        match (self, role) {
            (KeyKind::Rsa { bits }, _) => format!("RSA-{bits}"),
            (KeyKind::ElGamal { bits }, _) => format!("ElGamal-{bits}"),
            (KeyKind::Dsa { bits }, _) => format!("DSA-{bits}"),
            (KeyKind::Curve25519, Role::Recipient) => "Cv25519".to_owned(),
            (KeyKind::New25519, Role::Recipient) => "X25519".to_owned(),
            (KeyKind::New448, Role::Recipient) => "X448".to_owned(),
            (KeyKind::Curve25519 | KeyKind::New25519, Role::Signer) => "Ed25519".to_owned(),
            (KeyKind::New448, Role::Signer) => "Ed448".to_owned(),
            (KeyKind::Nist { bits }, _) => format!("P-{bits}"),
            (KeyKind::Brainpool { bits }, _) => format!("brainpoolP{bits}"),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.recipient.name(Role::Recipient))?;
        match self.signer {
            Some(signer) => write!(f, " signed by {}", signer.name(Role::Signer)),
            None => write!(f, " unsigned"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: Option<KeyKind> = Some(KeyKind::Curve25519);

    #[test]
    fn known_sizes() {
        let pair = |recipient, signer| Pair { recipient, signer };
        let bare = Shape { names_recipient: false, name_length: 0 };
        // What was measured, and an octet for the framing of short keys.
        assert_eq!(pair(KeyKind::Curve25519, ED25519).octets_in(bare, 109), 353 + 1);
        let rsa = |bits| KeyKind::Rsa { bits };
        assert_eq!(pair(rsa(2048), Some(rsa(2048))).octets_in(bare, 109), 719);
        assert_eq!(pair(rsa(4096), Some(rsa(4096))).octets_in(bare, 109), 1231);
        let p256 = KeyKind::Nist { bits: 256 };
        assert_eq!(pair(p256, Some(p256)).octets_in(bare, 109), 385 + 1);
    }

    /// The recipient is named wherever that does not carry the packet over a limit.
    #[test]
    fn the_recipient_is_named_where_there_is_room() {
        let pair = Pair { recipient: KeyKind::Rsa { bits: 2048 }, signer: Some(KeyKind::Rsa { bits: 2048 }) };
        let mut dropped = Vec::new();
        for text in 80..1000 {
            let shape = pair.shape(text);
            let length = pair.characters(text, Some(Digest::Sha512));
            let other = Shape { names_recipient: !shape.names_recipient, ..shape };
            let other = characters(pair.octets_in(other, text), Some(Digest::Sha512));
            if shape.names_recipient {
                let room = |room: &usize| length <= *room || other > *room;
                assert!([UNFRAGMENTED, ONE_DATAGRAM].iter().all(room), "{text}");
            } else if length <= ONE_DATAGRAM {
                dropped.push(text);
                assert!(other > ONE_DATAGRAM || (length <= UNFRAGMENTED && other > UNFRAGMENTED), "{text}");
            }
        }
        assert_eq!(dropped.len(), 2 * 23, "{dropped:?}");
        let unsigned = Pair { signer: None, ..pair };
        assert!(!unsigned.shape(100).names_recipient);
    }

    #[test]
    fn names() {
        let pair = Pair { recipient: KeyKind::Curve25519, signer: Some(KeyKind::Rsa { bits: 3072 }) };
        assert_eq!(pair.to_string(), "Cv25519 signed by RSA-3072");
        let pair = Pair { recipient: KeyKind::Nist { bits: 521 }, signer: None };
        assert_eq!(pair.to_string(), "P-521 unsigned");
    }
}
