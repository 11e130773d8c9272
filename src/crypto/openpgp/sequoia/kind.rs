//! Which kind of key a certificate has for a message: all that its size depends on.

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::crypto::mpi;
use pgp::packet::Key;
use pgp::packet::key::{KeyParts, KeyRole, PublicParts, UnspecifiedRole};
use pgp::types::{Curve, PublicKeyAlgorithm};

use super::policy;
use super::sealer::{KeyFile, advice, pick, recipient_key, unfit, unusable, usable};
use crate::crypto::openpgp::size::{KeyKind, Pair};
use crate::crypto::openpgp::{Role, SealError};
use crate::time::Timestamp;

impl Pair {
    /// The kinds of the keys that would be used now. Public keys are enough.
    pub fn of(recipient: KeyFile<'_>, signer: Option<KeyFile<'_>>, now: Timestamp) -> Result<Self, SealError> {
        let policy = policy(now);
        let cert = pick(recipient, Role::Recipient)?;
        let recipient = kind(&recipient_key(&cert, now)?, &cert, Role::Recipient)?;
        let signer = match signer {
            None => None,
            Some(file) => {
                let cert = pick(file, Role::Signer)?;
                let valid = usable(&cert, Role::Signer, &policy, now)?;
                let keys = valid.keys().supported().alive().revoked(false).for_signing();
                let newest = keys.max_by_key(|key| key.key().creation_time());
                let no = || unfit(&cert, Role::Signer, "it has no valid key that signs", advice(Role::Signer));
                Some(kind(newest.ok_or_else(no)?.key(), &cert, Role::Signer)?)
            }
        };
        Ok(Self { recipient, signer })
    }
}

pub(super) fn kind(key: &Key<PublicParts, UnspecifiedRole>, cert: &Cert, role: Role) -> Result<KeyKind, SealError> {
    let unknown = "its kind is too new for servers, or too large for a packet";
    KeyKind::of(key).ok_or_else(|| unusable(cert, role, unknown, advice(role)))
}

/// Whether there is arithmetic for it here. Nettle has none for ElGamal and the brainpool curves.
pub(super) fn is_supported<P: KeyParts, R: KeyRole>(key: &Key<P, R>) -> bool {
    key.pk_algo().is_supported() && curve(key).is_none_or(Curve::is_supported)
}

/// Whether a certificate that seems to have no valid key for this may have one that is not [`is_supported`], or is made by one.
pub(super) fn needs_gpg(cert: &Cert, role: Role) -> bool {
    let is_for = |algorithm: PublicKeyAlgorithm| match role {
        Role::Recipient => algorithm.for_encryption(),
        Role::Signer => algorithm.for_signing(),
    };
    let mut subkeys = cert.keys().subkeys().filter(|subkey| is_for(subkey.key().pk_algo()));
    !is_supported(cert.primary_key().key()) || subkeys.any(|subkey| !is_supported(subkey.key()))
}

fn curve<P: KeyParts, R: KeyRole>(key: &Key<P, R>) -> Option<&Curve> {
    use mpi::PublicKey::{ECDH, ECDSA, EdDSA};
    match key.mpis() {
        EdDSA { curve, .. } | ECDSA { curve, .. } | ECDH { curve, .. } => Some(curve),
        _ => None,
    }
}

/// What a key is made of, for people.
pub(super) fn algorithm<P: KeyParts, R: KeyRole>(key: &Key<P, R>) -> String {
    match curve(key) {
        Some(curve) => format!("{}, {curve}", key.pk_algo()),
        None => key.pk_algo().to_string(),
    }
}

impl KeyKind {
    /// `None`: no message with such a key fits a packet, or no server would read it. Only version 4 of keys is spoken here.
    pub(super) fn of(key: &Key<PublicParts, UnspecifiedRole>) -> Option<Self> {
        use mpi::PublicKey as Public;
        if key.version() != 4 {
            return None;
        }
        match key.mpis() {
            Public::RSA { n, .. } => Some(KeyKind::Rsa { bits: n.bits() }),
            Public::ElGamal { p, .. } => Some(KeyKind::ElGamal { bits: p.bits() }),
            Public::DSA { q, .. } => Some(KeyKind::Dsa { bits: q.bits() }),
            Public::EdDSA { curve, .. } | Public::ECDSA { curve, .. } | Public::ECDH { curve, .. } => Self::on(curve),
            Public::X25519 { .. } | Public::Ed25519 { .. } => Some(KeyKind::New25519),
            Public::X448 { .. } | Public::Ed448 { .. } => Some(KeyKind::New448),
            _ => None,
        }
    }

    fn on(curve: &Curve) -> Option<Self> {
        Some(match curve {
            Curve::Cv25519 | Curve::Ed25519 => KeyKind::Curve25519,
            Curve::NistP256 => KeyKind::Nist { bits: 256 },
            Curve::NistP384 => KeyKind::Nist { bits: 384 },
            Curve::NistP521 => KeyKind::Nist { bits: 521 },
            Curve::BrainpoolP256 => KeyKind::Brainpool { bits: 256 },
            Curve::BrainpoolP384 => KeyKind::Brainpool { bits: 384 },
            Curve::BrainpoolP512 => KeyKind::Brainpool { bits: 512 },
            _ => return None,
        })
    }
}
