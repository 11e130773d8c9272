//! What is true of one signature, now.
//!
//! Sequoia asks whether a key was good when the signature says it was made. Whoever holds an expired or revoked key can
//! write any date, so we ask whether it is good at the time of checking. The arithmetic comes first: a signature that
//! was not verified is never reported as merely expired.

use std::time::{Duration, SystemTime};

use sequoia_openpgp as pgp;

use pgp::cert::amalgamation::key::{ErasedKeyAmalgamation, ValidErasedKeyAmalgamation};
use pgp::cert::amalgamation::{ValidAmalgamation as _, ValidateAmalgamation as _};
use pgp::crypto::hash::Hash as _;
use pgp::packet::key::PublicParts;
use pgp::policy::{HashAlgoSecurity, Policy, StandardPolicy};
use pgp::types::{HashAlgorithm, RevocationStatus, SignatureType};
use pgp::{Cert, KeyHandle};

use super::kind::is_supported;
use super::{Keys, lenient_policy};
use crate::crypto::openpgp::{Fingerprint, KeyPath, Signature};
use crate::reason::SignatureFault;
use crate::time::Timestamp;

/// A client's clock may be ahead of ours by this much. How old a *message* may be is decided by its own time stamp.
const CLOCK_SKEW: Duration = Duration::from_secs(30 * 60);

/// Different keys with the same id that are tried for one signature.
const NAMESAKES: usize = 4;

type SignedKey<'a> = ErasedKeyAmalgamation<'a, PublicParts>;
type ValidKey<'a> = ValidErasedKeyAmalgamation<'a, PublicParts>;

/// Judges the signatures of one message.
pub(super) struct Judge<'a> {
    pub keys: &'a Keys,
    pub policy: &'a StandardPolicy<'a>,
    /// The primary key of the certificate that the message was decrypted with.
    pub recipient: &'a Fingerprint,
    pub now: Timestamp,
}

impl Judge<'_> {
    /// One verdict for each certificate whose key fits the signature: several may hold the same key, by intent (a new
    /// primary key over an old signing subkey) or because somebody bound another's key to his own. Which of them counts
    /// is for the policy to say. Where no key fits there is one verdict: bad, or by nobody we know.
    pub fn judge(&self, signature: &pgp::packet::Signature, text: &[u8]) -> Vec<Signature> {
        let issuers = signature.get_issuers();
        let named = self.keys.named(&issuers).take(NAMESAKES);
        let judged = named.map(|key| Signature {
            by: KeyPath::of(&key),
            user_id: self.user_id(key.cert()),
            fault: self.fault(signature, text, &key),
            sha1: is_sha1(signature),
        });
        let (mut bad, fitting): (Vec<_>, Vec<_>) = judged.partition(|s| s.fault == Some(SignatureFault::Bad));
        if !fitting.is_empty() {
            return fitting;
        }
        bad.truncate(1);
        if bad.is_empty() {
            let fault = Some(SignatureFault::UnknownSigner);
            bad.push(Signature { by: None, user_id: None, fault, sha1: is_sha1(signature) });
        }
        bad
    }

    /// The same for a signature that somebody else has verified, who knows its digest: one verdict for each certificate
    /// that holds `key`.
    pub fn holders(&self, key: &KeyHandle, made: Option<SystemTime>) -> Vec<Signature> {
        let now = self.now.to_system_time();
        let fault = |key: &SignedKey<'_>| match made {
            None => Some(SignatureFault::Bad),
            Some(made) if made < key.key().creation_time() || is_ahead(made, now) => Some(SignatureFault::NotYetValid),
            Some(made) => self.key_fault(key, now.max(made)),
        };
        let named = self.keys.named(std::slice::from_ref(key)).take(NAMESAKES);
        let judged = named.map(|key| Signature {
            by: KeyPath::of(&key),
            user_id: self.user_id(key.cert()),
            fault: fault(&key),
            sha1: false,
        });
        judged.collect()
    }

    /// In the order of what it would mean to overlook it. Expiry is last, because a stanza may choose to ignore it.
    fn fault(&self, signature: &pgp::packet::Signature, text: &[u8], key: &SignedKey<'_>) -> Option<SignatureFault> {
        if !signature.hash_algo().is_supported() || !is_supported(key.key()) {
            return Some(SignatureFault::Unsupported);
        }
        let Some(made) = signature.signature_creation_time() else { return Some(SignatureFault::Bad) };
        if made < key.key().creation_time() {
            return Some(SignatureFault::NotYetValid);
        }
        if let Err(error) = verify(signature, text, key) {
            return Some(if is_unsupported(&error) { SignatureFault::Unsupported } else { SignatureFault::Bad });
        }
        if self.is_for_somebody_else(signature) {
            return Some(SignatureFault::Bad);
        }
        if self.is_weak(signature) {
            return Some(SignatureFault::Weak);
        }
        let now = self.now.to_system_time();
        if is_ahead(made, now) {
            return Some(SignatureFault::NotYetValid);
        }
        // A key made just now by a client whose clock is ahead exists as of its first signature.
        let at = now.max(made);
        let expired = signature.signature_validity_period().is_some_and(|period| made + period <= at);
        self.key_fault(key, at).or(expired.then_some(SignatureFault::Expired))
    }

    /// Apart from SHA-1, which is told separately.
    fn is_weak(&self, signature: &pgp::packet::Signature) -> bool {
        let mut policy = self.policy.clone();
        policy.accept_hash(HashAlgorithm::SHA1);
        policy.signature(signature, HashAlgoSecurity::CollisionResistance).is_err()
    }

    pub fn key_fault(&self, key: &SignedKey<'_>, at: SystemTime) -> Option<SignatureFault> {
        let Ok(valid) = key.clone().with_policy(self.policy, at) else {
            return Some(self.why_unbound(key, at));
        };
        if self.is_revoked(&valid) {
            return Some(SignatureFault::Revoked);
        }
        if !valid.for_signing() {
            return Some(SignatureFault::WrongUse);
        }
        match valid.valid_cert().alive().and_then(|()| valid.alive()) {
            Ok(()) => None,
            Err(error) if matches!(error.downcast_ref(), Some(pgp::Error::Expired(_))) => Some(SignatureFault::Expired),
            Err(_) => Some(SignatureFault::NotYetValid),
        }
    }

    /// Why nothing that counts says what the key is for.
    fn why_unbound(&self, key: &SignedKey<'_>, at: SystemTime) -> SignatureFault {
        if !is_supported(key.cert().primary_key().key()) || !is_supported(key.key()) {
            return SignatureFault::Unsupported;
        }
        let bound = key.clone().with_policy(&lenient_policy(), at).is_ok();
        if bound { SignatureFault::Weak } else { SignatureFault::WrongUse }
    }

    fn is_revoked(&self, key: &ValidKey<'_>) -> bool {
        match (key.valid_cert().revocation_status(), key.revocation_status()) {
            (RevocationStatus::Revoked(_), _) | (_, RevocationStatus::Revoked(_)) => true,
            (RevocationStatus::CouldBe(claims), _) => claims.iter().any(|claim| self.is_by_revoker(claim, key.cert())),
            _ => false,
        }
    }

    /// Whether a revocation was made by somebody the certificate itself names as its revoker.
    fn is_by_revoker(&self, claim: &pgp::packet::Signature, cert: &Cert) -> bool {
        cert.revocation_keys(self.policy).any(|revoker| {
            let id = revoker.revoker().1.clone().into();
            self.keys
                .named(&[id])
                .take(NAMESAKES)
                .any(|revoker| claim.verify_primary_key_revocation(revoker.key(), cert.primary_key().key()).is_ok())
        })
    }

    /// The signer says whom the message is for, and it is not us: somebody forwarded what was sent to him.
    fn is_for_somebody_else(&self, signature: &pgp::packet::Signature) -> bool {
        let mut named = signature.intended_recipients().peekable();
        named.peek().is_some() && !named.any(|recipient| recipient.as_bytes() == self.recipient.as_bytes())
    }

    fn user_id(&self, cert: &Cert) -> Option<String> {
        let valid = cert.with_policy(self.policy, self.now.to_system_time()).ok();
        let primary = valid.as_ref().and_then(|cert| cert.primary_userid().ok()).map(|id| id.userid().clone());
        let id = primary.or_else(|| cert.userids().next().map(|id| id.userid().clone()))?;
        Some(printable(id.value()))
    }
}

/// The arithmetic. Not through Sequoia's verification of signatures, which remembers each one that was good for ever.
fn verify(signature: &pgp::packet::Signature, text: &[u8], key: &SignedKey<'_>) -> pgp::Result<()> {
    let is_binary = signature.typ() == SignatureType::Binary;
    if !is_binary && signature.typ() != SignatureType::Text {
        return Err(pgp::Error::UnsupportedSignatureType(signature.typ()).into());
    }
    if (signature.version(), key.key().version()) != (4, 4) {
        let is_hashed = signature.computed_digest().is_some() || !is_binary;
        return if is_hashed {
            signature.verify_document(key.key())
        } else {
            signature.verify_message(key.key(), text)
        };
    }
    let hash = signature.hash_algo();
    match signature.computed_digest() {
        Some(digest) => key.key().verify(signature.mpis(), hash, digest),
        // It stands before the text (RFC 9580 section 10.3), so there was nothing to hash yet.
        None if is_binary => {
            let mut context = hash.context()?.for_signature(signature.version());
            context.update(text);
            signature.hash(&mut context)?;
            key.key().verify(signature.mpis(), hash, &context.into_digest()?)
        }
        None => Err(pgp::Error::BadSignature("no digest of the text".into()).into()),
    }
}

/// Further than a client's clock may be wrong.
fn is_ahead(made: SystemTime, now: SystemTime) -> bool {
    made.duration_since(now).is_ok_and(|ahead| ahead > CLOCK_SKEW)
}

/// A signature that cannot even be parsed.
pub(super) fn unreadable() -> Signature {
    Signature { by: None, user_id: None, fault: Some(SignatureFault::Bad), sha1: false }
}

fn is_sha1(signature: &pgp::packet::Signature) -> bool {
    signature.hash_algo() == HashAlgorithm::SHA1
}

/// A user id is anybody's text: nothing in it may move a terminal's cursor or begin a new line in a log.
pub fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn is_unsupported(error: &pgp::anyhow::Error) -> bool {
    use pgp::Error::{UnsupportedEllipticCurve, UnsupportedHashAlgorithm, UnsupportedPublicKeyAlgorithm};
    matches!(
        error.downcast_ref(),
        Some(UnsupportedEllipticCurve(_) | UnsupportedHashAlgorithm(_) | UnsupportedPublicKeyAlgorithm(_))
    )
}
