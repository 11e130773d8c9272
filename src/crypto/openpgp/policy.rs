//! The one policy: a valid signature by a listed certificate.

use super::{Fingerprint, KeyPath, Opened, Signature};
use crate::crypto::Signer;
use crate::reason::{Reason, SignatureFault};

/// Which of our keys a message must be encrypted to (`GPG_DECRYPT_ID`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientRule {
    /// Any key of the keyring.
    Any,
    /// This certificate: its primary key or a subkey.
    Key(Fingerprint),
}

impl RecipientRule {
    pub fn judge(&self, recipient: &KeyPath) -> Result<(), Reason> {
        match self {
            RecipientRule::Any => Ok(()),
            RecipientRule::Key(wanted) if recipient.is(wanted) => Ok(()),
            RecipientRule::Key(_) => Err(Reason::WrongRecipient),
        }
    }
}

/// Whose signature a stanza takes. Listing is trust: no certification is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerRule {
    /// A valid signature by a key that is in every one of the lists. Never empty: `GPG_REMOTE_ID` and
    /// `GPG_FINGERPRINT_ID` are both obeyed when both are set. Ids shorter than a fingerprint are resolved at load.
    Listed { lists: Vec<Vec<Fingerprint>>, ignore_expiry: bool },
    /// `GPG_DISABLE_SIG`: no signature is needed. One that does not fit the data is refused all the same.
    Disabled,
}

impl SignerRule {
    pub fn judge(&self, opened: &Opened) -> Result<Signer, Reason> {
        // A signature that does not fit the data means that somebody tampered, whatever the stanza asks for.
        if opened.signatures.iter().any(|s| s.fault == Some(SignatureFault::Bad)) {
            return Err(Reason::GpgBadSignature(SignatureFault::Bad));
        }
        match self {
            SignerRule::Disabled => Ok(Signer::Unsigned),
            SignerRule::Listed { lists, ignore_expiry } => judge_listed(&opened.signatures, lists, *ignore_expiry),
        }
    }
}

/// The first valid signature by a listed key decides; without one, the first fault is the reason.
fn judge_listed(signatures: &[Signature], lists: &[Vec<Fingerprint>], ignore_expiry: bool) -> Result<Signer, Reason> {
    let mut refusal = None;
    for signature in signatures {
        match judge_one(signature, lists, ignore_expiry) {
            Ok(signer) => return Ok(signer),
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    Err(refusal.unwrap_or(Reason::GpgNoSignature))
}

fn judge_one(signature: &Signature, lists: &[Vec<Fingerprint>], ignore_expiry: bool) -> Result<Signer, Reason> {
    match signature.fault {
        None => {}
        Some(SignatureFault::Expired) if ignore_expiry => {}
        Some(fault) => return Err(Reason::GpgBadSignature(fault)),
    }
    let Some(by) = &signature.by else {
        return Err(Reason::GpgBadSignature(SignatureFault::UnknownSigner));
    };
    let listed = !lists.is_empty() && lists.iter().all(|list| list.iter().any(|wanted| by.is(wanted)));
    if !listed {
        return Err(Reason::SignerNotListed(by.key.clone()));
    }
    Ok(Signer::Certificate { primary: by.primary.clone(), signing: by.key.clone(), user_id: signature.user_id.clone() })
}

impl KeyPath {
    /// Named by the fingerprint of the primary key or of the key itself.
    pub fn is(&self, wanted: &Fingerprint) -> bool {
        self.primary == *wanted || self.key == *wanted
    }
}
