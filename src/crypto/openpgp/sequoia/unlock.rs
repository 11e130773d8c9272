//! From a protected secret key to one that works.

use sequoia_openpgp as pgp;

use pgp::cert::amalgamation::ValidateAmalgamation as _;
use pgp::cert::amalgamation::key::ErasedKeyAmalgamation;
use pgp::crypto::KeyPair;
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, SecretKeyMaterial, SecretParts, UnspecifiedRole};

use super::kind::is_supported;
use super::lenient_policy;
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Whether the certificate's owner meant the key for encryption, however old or expired it is: an expired key of ours
/// still reads what clients with an old copy of it send, as GnuPG does.
pub(super) fn may_decrypt(key: &ErasedKeyAmalgamation<'_, PublicParts>, now: Timestamp) -> bool {
    let can = key.key().pk_algo().for_encryption();
    let policy = lenient_policy();
    let valid = key.clone().with_policy(&policy, now.to_system_time());
    match valid.ok().map(|valid| valid.key_flags()) {
        Some(Some(flags)) => can && (flags.for_transport_encryption() || flags.for_storage_encryption()),
        // Nothing said: old certificates do not.
        Some(None) => can,
        // What binds it cannot be verified, and it cannot be used either: so its owner should hear of it.
        None => can && !(is_supported(key.cert().primary_key().key()) && is_supported(key.key())),
    }
}

/// Why a secret key cannot be used.
pub(super) enum Lock {
    NoPassphrase,
    WrongPassphrase,
    Unsupported,
    Elsewhere,
}

pub(super) fn unlock(key: Key<SecretParts, UnspecifiedRole>, passphrase: Option<&Passphrase>) -> Result<KeyPair, Lock> {
    if !is_supported(&key) {
        return Err(Lock::Unsupported);
    }
    let key = match key.secret() {
        SecretKeyMaterial::Unencrypted(_) => key,
        SecretKeyMaterial::Encrypted(secret) if !secret.s2k().is_supported() => return Err(Lock::Elsewhere),
        SecretKeyMaterial::Encrypted(_) => {
            let passphrase = passphrase.ok_or(Lock::NoPassphrase)?;
            key.decrypt_secret(&passphrase.expose().into()).map_err(|_| Lock::WrongPassphrase)?
        }
    };
    key.into_keypair().map_err(|_| Lock::Unsupported)
}
