//! How long knocks get, and what would make them shorter.

use super::keys::Finding;
use crate::crypto::openpgp::Role;
use crate::crypto::openpgp::size::{KeyKind, Pair, UNFRAGMENTED};
use crate::spa::Digest;

/// What decides on the length of an OpenPGP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub pair: Pair,
    /// Bytes of the plaintext.
    pub text: usize,
    /// The digest in the plaintext.
    pub digest: Digest,
    pub hmac: Option<Digest>,
}

impl Size {
    /// At most.
    pub fn characters(&self) -> usize {
        self.pair.characters(self.text, self.hmac)
    }

    /// What is wrong with the length of knocks if `room` is what arrives at `place` in one piece.
    pub fn finding(&self, place: &str, room: usize) -> Option<Finding> {
        let length = self.characters();
        let (what, room) = match length {
            _ if length > room => (
                format!("knocks at {place} would be {length} characters long, but only {room} arrive in one piece"),
                room,
            ),
            _ if length > UNFRAGMENTED => (
                format!(
                    "knocks at {place} have {length} characters; over {UNFRAGMENTED} they may be cut in pieces and lost"
                ),
                UNFRAGMENTED,
            ),
            _ => return None,
        };
        let advice = self.what_fits(room);
        Some(Finding::new(what, advice.unwrap_or_else(|| "ask for less, or make the names shorter".to_owned())))
    }

    /// What would make the packet fit, the least trouble first. `None`: nothing but a shorter request.
    pub fn what_fits(&self, room: usize) -> Option<String> {
        let fitting = |change: Change| {
            let size = change.of(self);
            let length = size.characters();
            (size != *self && length <= room).then(|| format!("{} ({length} characters)", change.advice()))
        };
        let mut ways =
            [Change::Hmac, Change::Digest, Change::Signer, Change::Recipient].into_iter().filter_map(fitting);
        match (ways.next(), ways.next()) {
            (Some(first), Some(second)) => Some(format!("{first}, or {second}")),
            (one, _) => one.or_else(|| fitting(Change::BothKeys)),
        }
    }
}

/// What can be changed about a packet.
#[derive(Clone, Copy)]
enum Change {
    Hmac,
    Digest,
    Signer,
    Recipient,
    BothKeys,
}

impl Change {
    fn of(self, size: &Size) -> Size {
        let shorter = |digest: Digest| if digest.text_len() > SHORT.text_len() { SHORT } else { digest };
        let Size { mut pair, text, digest, hmac } = *size;
        match self {
            Change::Hmac => return Size { hmac: hmac.map(shorter), ..*size },
            Change::Digest => {
                let text = text - digest.text_len() + shorter(digest).text_len();
                return Size { digest: shorter(digest), text, ..*size };
            }
            Change::Signer => pair.signer = pair.signer.map(|_| KeyKind::Curve25519),
            Change::Recipient => pair.recipient = KeyKind::Curve25519,
            Change::BothKeys => {
                pair = Pair { recipient: KeyKind::Curve25519, signer: pair.signer.map(|_| KeyKind::Curve25519) };
            }
        }
        Size { pair, ..*size }
    }

    fn advice(self) -> String {
        let name = |role| KeyKind::Curve25519.name(role);
        match self {
            Change::Hmac => format!("use --hmac-digest-type {SHORT}, here and on the server"),
            Change::Digest => format!("use --digest-type {SHORT}"),
            Change::Signer => format!("sign with an {} subkey", name(Role::Signer)),
            Change::Recipient => format!("let the server have a {} key", name(Role::Recipient)),
            Change::BothKeys => {
                format!("sign with an {} subkey to a {} key of the server", name(Role::Signer), name(Role::Recipient))
            }
        }
    }
}

/// No shorter one is advised, as those are not safe.
const SHORT: Digest = Digest::Sha256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::openpgp::size::ONE_DATAGRAM;

    fn size(recipient: usize, signer: usize, hmac: Option<Digest>) -> Size {
        let rsa = |bits| KeyKind::Rsa { bits };
        let pair = Pair { recipient: rsa(recipient), signer: Some(rsa(signer)) };
        Size { pair, text: 114, digest: Digest::Sha256, hmac }
    }

    #[test]
    fn what_would_fit_is_named_with_its_size() {
        let fits = |size: Size| size.what_fits(ONE_DATAGRAM);
        let large = size(4096, 4096, None);
        let ed25519 = Size { pair: Pair { signer: Some(KeyKind::Curve25519), ..large.pair }, ..large };
        let cv25519 = Size { pair: Pair { recipient: KeyKind::Curve25519, ..large.pair }, ..large };
        let [sign, serve] = [ed25519, cv25519].map(|size| size.characters());
        assert_eq!(
            fits(large).unwrap(),
            format!(
                "sign with an Ed25519 subkey ({sign} characters), or let the server have a Cv25519 key ({serve} characters)"
            )
        );
        let too_long = |size: &Size| size.characters() > ONE_DATAGRAM;
        let shortest = |size: Size| (100..).map(|text| Size { text, ..size }).find(too_long).unwrap();
        let hmac = shortest(size(3072, 3072, Some(Digest::Sha512)));
        assert!(fits(hmac).unwrap().starts_with("use --hmac-digest-type SHA256, here and on the server ("));
        let digest = shortest(Size { digest: Digest::Sha512, ..size(3072, 3072, Some(Digest::Sha256)) });
        assert!(fits(digest).unwrap().starts_with("use --digest-type SHA256 ("));
        // Only a short text helps against a long one.
        assert_eq!(fits(Size { text: 1400, ..large }), None);
        let both = Size { text: 600, ..large };
        assert!(fits(both).unwrap().starts_with("sign with an Ed25519 subkey to a Cv25519 key of the server ("));
    }
}
