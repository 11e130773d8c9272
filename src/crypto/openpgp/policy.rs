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
    /// A key that nobody can tell is not the one that is demanded.
    pub fn judge(&self, recipient: Option<&KeyPath>) -> Result<(), Reason> {
        match self {
            RecipientRule::Any => Ok(()),
            RecipientRule::Key(wanted) if recipient.is_some_and(|recipient| recipient.is(wanted)) => Ok(()),
            RecipientRule::Key(_) => Err(Reason::WrongRecipient),
        }
    }
}

/// Whose signature a stanza takes. Listing is trust: no certification is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignerRule {
    /// A valid signature by a key that is in every one of the lists. Never empty: `GPG_REMOTE_ID` and
    /// `GPG_FINGERPRINT_ID` are both obeyed when both are set. Ids shorter than a fingerprint are resolved at load.
    Listed { lists: Vec<Vec<Fingerprint>>, tolerance: Tolerance },
    /// `GPG_DISABLE_SIG`: no signature is needed. One that does not fit the data is refused all the same.
    Disabled,
}

/// What a stanza lets through in a signature that is otherwise valid and by a listed key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// `GPG_IGNORE_SIG_VERIFY_ERROR`: the key or the signature has expired.
    pub expired: bool,
    /// `GPG_ALLOW_WEAK_SIG`: the digest of the text is SHA-1.
    pub sha1: bool,
}

impl SignerRule {
    pub fn judge(&self, opened: &Opened) -> Result<Signer, Reason> {
        // A signature that does not fit the data means that somebody tampered, whatever the stanza asks for.
        if opened.signatures.iter().any(|s| s.fault == Some(SignatureFault::Bad)) {
            return Err(Reason::GpgBadSignature(SignatureFault::Bad));
        }
        match self {
            SignerRule::Disabled => Ok(Signer::Unsigned),
            SignerRule::Listed { lists, tolerance } => judge_listed(&opened.signatures, lists, *tolerance),
        }
    }
}

/// The first valid signature by a listed key decides; without one, the first fault is the reason.
fn judge_listed(signatures: &[Signature], lists: &[Vec<Fingerprint>], tolerance: Tolerance) -> Result<Signer, Reason> {
    let mut refusal = None;
    for signature in signatures {
        match judge_one(signature, lists, tolerance) {
            Ok(signer) => return Ok(signer),
            Err(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    Err(refusal.unwrap_or(Reason::GpgNoSignature))
}

fn judge_one(signature: &Signature, lists: &[Vec<Fingerprint>], tolerance: Tolerance) -> Result<Signer, Reason> {
    match signature.fault {
        None => {}
        Some(SignatureFault::Expired) if tolerance.expired => {}
        Some(fault) => return Err(Reason::GpgBadSignature(fault)),
    }
    if signature.sha1 && !tolerance.sha1 {
        return Err(Reason::GpgBadSignature(SignatureFault::Weak));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn key(octet: u8) -> Fingerprint {
        Fingerprint::from_bytes(&[octet; 20]).unwrap()
    }

    fn path(primary: u8, subkey: u8) -> KeyPath {
        KeyPath { primary: key(primary), key: key(subkey) }
    }

    fn signature(by: Option<KeyPath>, fault: Option<SignatureFault>) -> Signature {
        Signature { by, user_id: None, fault, sha1: false }
    }

    fn opened(signatures: Vec<Signature>) -> Opened {
        Opened { plaintext: Secret::new(Vec::new()), recipient: Some(path(1, 2)), signatures }
    }

    fn listed(lists: &[&[u8]], expired: bool) -> SignerRule {
        tolerant(lists, Tolerance { expired, sha1: false })
    }

    fn tolerant(lists: &[&[u8]], tolerance: Tolerance) -> SignerRule {
        let lists = lists.iter().map(|list| list.iter().map(|octet| key(*octet)).collect()).collect();
        SignerRule::Listed { lists, tolerance }
    }

    #[test]
    fn the_signer_is_named_by_primary_key_or_subkey() {
        let message = opened(vec![signature(Some(path(5, 6)), None)]);
        let signer = Signer::Certificate { primary: key(5), signing: key(6), user_id: None };
        assert_eq!(listed(&[&[5]], false).judge(&message), Ok(signer.clone()));
        assert_eq!(listed(&[&[9, 6]], false).judge(&message), Ok(signer));
        assert_eq!(listed(&[&[9]], false).judge(&message), Err(Reason::SignerNotListed(key(6))));
    }

    #[test]
    fn every_list_must_name_the_signer_and_no_list_names_nobody() {
        let message = opened(vec![signature(Some(path(5, 5)), None)]);
        assert!(listed(&[&[5], &[7, 5]], false).judge(&message).is_ok());
        assert!(listed(&[&[5], &[7]], false).judge(&message).is_err());
        assert!(listed(&[&[5], &[]], false).judge(&message).is_err());
        assert!(listed(&[], false).judge(&message).is_err());
    }

    #[test]
    fn a_signature_is_needed_and_one_good_one_is_enough() {
        assert_eq!(listed(&[&[5]], true).judge(&opened(Vec::new())), Err(Reason::GpgNoSignature));
        let unknown = signature(None, Some(SignatureFault::UnknownSigner));
        let good = signature(Some(path(5, 5)), None);
        assert!(listed(&[&[5]], false).judge(&opened(vec![unknown.clone(), good])).is_ok());
        let stranger = signature(Some(path(8, 8)), None);
        let first = Err(Reason::GpgBadSignature(SignatureFault::UnknownSigner));
        assert_eq!(listed(&[&[5]], false).judge(&opened(vec![unknown, stranger])), first);
    }

    #[test]
    fn only_expiry_can_be_ignored_and_only_when_asked() {
        use SignatureFault::*;
        for fault in [Bad, UnknownSigner, Expired, Revoked, NotYetValid, Weak, Unsupported, WrongUse] {
            let message = opened(vec![signature(Some(path(5, 5)), Some(fault))]);
            let refused = Err(Reason::GpgBadSignature(fault));
            assert_eq!(listed(&[&[5]], false).judge(&message), refused.clone());
            assert_eq!(listed(&[&[5]], true).judge(&message).is_ok(), fault == Expired, "{fault}");
            let disabled = SignerRule::Disabled.judge(&message);
            assert_eq!(disabled, if fault == Bad { refused } else { Ok(Signer::Unsigned) });
        }
        // A signature whose issuer is not known says nothing true, whatever fault it is given.
        let nobody = opened(vec![signature(None, Some(Expired)), signature(None, None)]);
        assert!(listed(&[&[5]], true).judge(&nobody).is_err());
    }

    /// What one setting lets through does not hide what the other is for.
    #[test]
    fn sha1_can_be_allowed_by_itself() {
        let weak = |fault| opened(vec![Signature { sha1: true, ..signature(Some(path(5, 5)), fault) }]);
        let judge =
            |expired, sha1, fault| tolerant(&[&[5]], Tolerance { expired, sha1 }).judge(&weak(fault)).map(|_| ());
        let refused = |fault| Err(Reason::GpgBadSignature(fault));
        let expired = Some(SignatureFault::Expired);
        assert_eq!(judge(false, false, None), refused(SignatureFault::Weak));
        assert_eq!(judge(false, true, None), Ok(()));
        assert_eq!(judge(true, false, expired), refused(SignatureFault::Weak));
        assert_eq!(judge(false, true, expired), refused(SignatureFault::Expired));
        assert_eq!(judge(true, true, expired), Ok(()));
        for fault in [SignatureFault::Weak, SignatureFault::Bad, SignatureFault::UnknownSigner, SignatureFault::Revoked]
        {
            assert_eq!(judge(true, true, Some(fault)), refused(fault));
        }
    }

    /// A bad signature beside a good one means that somebody tampered.
    #[test]
    fn one_bad_signature_spoils_all() {
        let (good, bad) = (signature(Some(path(5, 5)), None), signature(Some(path(6, 6)), Some(SignatureFault::Bad)));
        assert!(listed(&[&[5]], true).judge(&opened(vec![good, bad])).is_err());
    }

    #[test]
    fn the_recipient_is_the_named_certificate_or_key() {
        let recipient = path(1, 2);
        let judge = |rule: RecipientRule| rule.judge(Some(&recipient));
        assert_eq!(judge(RecipientRule::Any), Ok(()));
        assert_eq!(judge(RecipientRule::Key(key(1))), Ok(()));
        assert_eq!(judge(RecipientRule::Key(key(2))), Ok(()));
        assert_eq!(judge(RecipientRule::Key(key(3))), Err(Reason::WrongRecipient));
        assert_eq!(RecipientRule::Any.judge(None), Ok(()));
        assert_eq!(RecipientRule::Key(key(1)).judge(None), Err(Reason::WrongRecipient));
    }
}
