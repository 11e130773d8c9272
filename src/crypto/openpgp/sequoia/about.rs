//! What a certificate says, for people: whose it is, which keys it has, what they are for and until when.

use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::amalgamation::key::ErasedKeyAmalgamation;
use pgp::cert::amalgamation::{ValidAmalgamation as _, ValidateAmalgamation as _};
use pgp::crypto::mpi::PublicKey;
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::serialize::MarshalInto as _;
use pgp::types::RevocationStatus;

use super::judge::printable;
use super::keys::{Keys, certs, fingerprint};
use super::{lenient_policy, policy};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::size::KeyKind;
use crate::reason::SignatureFault;
use crate::time::Timestamp;

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub fingerprint: Fingerprint,
    pub user_ids: Vec<String>,
    /// `None`: it does not expire.
    pub expires: Option<Timestamp>,
    /// Primary key first.
    pub keys: Vec<AboutKey>,
    /// What would be wrong now with every signature of it. `None`: it can sign.
    pub fault: Option<SignatureFault>,
    pub has_secrets: bool,
}

/// A key in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AboutKey {
    pub fingerprint: Fingerprint,
    /// As GnuPG calls it: `ed25519`, `rsa3072`.
    pub algorithm: String,
    /// What the size of a packet depends on. `None`: it cannot be used for one.
    pub kind: Option<KeyKind>,
    pub created: SystemTime,
    pub expires: Option<Timestamp>,
    pub signs: bool,
    pub encrypts: bool,
    /// It may be used now.
    pub valid: bool,
}

/// A certificate of which it is known what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub about: About,
    /// This certificate alone, in binary and without secrets.
    pub data: Vec<u8>,
}

impl Certificate {
    /// Every certificate in `data`, armored or binary, in its order.
    pub fn read(data: &[u8], now: Timestamp) -> Vec<Self> {
        certs(data).0.into_iter().filter_map(|cert| Self::of(cert, now)).collect()
    }

    pub(super) fn of(cert: Cert, now: Timestamp) -> Option<Self> {
        let about = About::of(&cert, now)?;
        Some(Self { about, data: cert.strip_secret_key_material().to_vec().ok()? })
    }
}

impl About {
    /// Every certificate in `data`, armored or binary, in its order.
    pub fn read(data: &[u8], now: Timestamp) -> Vec<Self> {
        certs(data).0.iter().filter_map(|cert| Self::of(cert, now)).collect()
    }

    pub(super) fn of(cert: &Cert, now: Timestamp) -> Option<Self> {
        let name = fingerprint(&cert.fingerprint())?;
        let mut alone = Keys::default();
        alone.add_cert(cert.clone().strip_secret_key_material());
        let lenient = lenient_policy();
        let valid = cert.with_policy(&lenient, now.to_system_time()).ok();
        Some(Self {
            fault: alone.standing(&name, now),
            fingerprint: name,
            user_ids: cert.userids().map(|id| printable(id.userid().value())).collect(),
            expires: valid
                .and_then(|cert| cert.primary_key().key_expiration_time())
                .and_then(Timestamp::of_system_time),
            keys: cert.keys().filter_map(|key| AboutKey::of(&key, now)).collect(),
            has_secrets: cert.is_tsk(),
        })
    }

    /// The user id a person is shown.
    pub fn name(&self) -> &str {
        self.user_ids.first().map_or("no user id", String::as_str)
    }

    /// Neither expired nor revoked, nor bound by weak signatures: what its keys are for is another matter.
    pub fn is_usable(&self) -> bool {
        matches!(self.fault, None | Some(SignatureFault::WrongUse))
    }

    /// The newest valid key that encrypts: the one that is used.
    pub fn encrypting(&self) -> Option<&AboutKey> {
        self.keys.iter().filter(|key| key.valid && key.encrypts).max_by_key(|key| key.created)
    }

    /// The valid keys that sign, the newest first.
    pub fn signing(&self) -> Vec<&AboutKey> {
        let mut keys: Vec<&AboutKey> = self.keys.iter().filter(|key| key.valid && key.signs).collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.created));
        keys
    }
}

impl AboutKey {
    fn of(key: &ErasedKeyAmalgamation<'_, PublicParts>, now: Timestamp) -> Option<Self> {
        let (policy, lenient) = (policy(now), lenient_policy());
        let bound = key.clone().with_policy(&lenient, now.to_system_time()).ok();
        let flags = bound.as_ref().and_then(|key| key.key_flags()).unwrap_or_else(pgp::types::KeyFlags::empty);
        let valid = key
            .clone()
            .with_policy(&policy, now.to_system_time())
            .is_ok_and(|key| key.alive().is_ok() && !matches!(key.revocation_status(), RevocationStatus::Revoked(_)));
        Some(Self {
            fingerprint: fingerprint(&key.key().fingerprint())?,
            algorithm: algorithm(key.key()),
            kind: KeyKind::of(key.key()),
            created: key.key().creation_time(),
            expires: bound.and_then(|key| key.key_expiration_time()).and_then(Timestamp::of_system_time),
            signs: flags.for_signing(),
            encrypts: flags.for_transport_encryption() || flags.for_storage_encryption(),
            valid,
        })
    }
}

fn algorithm(key: &Key<PublicParts, UnspecifiedRole>) -> String {
    match key.mpis() {
        PublicKey::RSA { n, .. } => format!("rsa{}", n.bits()),
        PublicKey::DSA { p, .. } => format!("dsa{}", p.bits()),
        PublicKey::ElGamal { p, .. } => format!("elg{}", p.bits()),
        PublicKey::EdDSA { curve, .. } | PublicKey::ECDSA { curve, .. } | PublicKey::ECDH { curve, .. } => {
            match curve.to_string().to_ascii_lowercase().as_str() {
                "curve25519" | "cv25519" => "cv25519".to_owned(),
                name => name.replace(['-', ' ', '_'], ""),
            }
        }
        _ => key.pk_algo().to_string().to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 15 January 2027.
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn read(file: &str) -> About {
        let path = format!("{}/keyrings/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
        About::read(&std::fs::read(path).unwrap(), NOW).remove(0)
    }

    #[test]
    fn algorithms_are_called_as_gnupg_calls_them() {
        for (file, signs, encrypts) in [
            ("client-ed25519.pub.asc", Some("ed25519"), None),
            ("server-cv25519.pub.asc", Some("ed25519"), Some("cv25519")),
            ("server-nistp256.pub.asc", Some("nistp256"), Some("nistp256")),
            ("server-rsa3072.pub.asc", Some("rsa3072"), Some("rsa3072")),
        ] {
            let about = read(file);
            assert_eq!(about.signing().first().map(|key| key.algorithm.as_str()), signs, "{file}");
            if encrypts.is_some() {
                assert_eq!(about.encrypting().map(|key| key.algorithm.as_str()), encrypts, "{file}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told() {
        assert_eq!(read("client-expired.pub.asc").fault, Some(SignatureFault::Expired));
        assert_eq!(read("client-revoked.pub.asc").fault, Some(SignatureFault::Revoked));
        let good = read("client-rsa2048.pub.asc");
        assert_eq!((good.fault, good.expires, good.has_secrets), (None, None, false));
        assert!(read("client-rsa2048.sec.asc").has_secrets);
    }
}
