//! Whose signatures a stanza takes, and what it lets through in them.

use super::Resolve;
use super::openpgp::list;
use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId, SignerRule, Tolerance};
use crate::reason::SignatureFault;

/// What a stanza says about signers, before the keyring is asked.
pub(super) enum Signers {
    Anybody,
    Listed(Vec<(&'static str, Vec<String>)>),
}

/// What the keyring says about an id.
enum Known {
    Key(Fingerprint),
    NotInKeyring,
    Refused,
}

impl Resolve<'_, '_> {
    /// Which signatures the stanza takes. `None`: it does not say whose.
    pub(super) fn signer_lists(&mut self) -> Option<Signers> {
        let require = self.settings.flag("GPG_REQUIRE_SIG");
        let disable = self.flag("GPG_DISABLE_SIG");
        if disable && require == Some(true) {
            self.complaints.note(
                &self.at("GPG_DISABLE_SIG"),
                "GPG_DISABLE_SIG has no effect beside GPG_REQUIRE_SIG",
                "signatures are required; remove one of the two",
            );
        } else if disable {
            self.warn_of_anybody();
            return Some(Signers::Anybody);
        } else if require == Some(false) {
            self.complaints.warn(
                &self.at("GPG_REQUIRE_SIG"),
                "GPG_REQUIRE_SIG has no effect when it is off: signatures are required",
                "remove it; only GPG_DISABLE_SIG takes packets without signature",
            );
        }
        let lists = ["GPG_REMOTE_ID", "GPG_FINGERPRINT_ID"];
        let lists = lists.into_iter().filter_map(|name| Some((name, self.settings.list(name)?.to_vec())));
        let lists: Vec<_> = lists.collect();
        if lists.is_empty() {
            self.complaints.error(
                &self.place,
                "the stanza does not say whose signature it takes",
                "add GPG_FINGERPRINT_ID with the fingerprints of the clients' keys",
            );
            return None;
        }
        Some(Signers::Listed(lists))
    }

    pub(super) fn signer_rule(&mut self, keyring: KeyringId, signers: Signers) -> SignerRule {
        let Signers::Listed(lists) = signers else { return SignerRule::Disabled };
        let resolved = lists.into_iter().map(|(name, ids)| (name, self.resolve_ids(keyring, name, &ids)));
        let lists: Vec<_> = resolved.collect();
        let tolerance = Tolerance { expired: self.ignore_expiry(), sha1: self.allow_weak() };
        lists.iter().for_each(|(name, keys)| self.mention_unusable(keyring, name, keys, tolerance));
        SignerRule::Listed { lists: lists.into_iter().map(|(_, keys)| keys).collect(), tolerance }
    }

    /// The original starts so, and so do we; but nobody should believe that this keeps anybody out.
    fn warn_of_anybody(&mut self) {
        let place = self.at("GPG_DISABLE_SIG");
        if self.settings.later("HMAC_KEY", "HMAC_KEY_BASE64").is_some() {
            self.complaints.warn(
                &place,
                "packets need no signature: whoever has the HMAC key and the server's public key is let in",
                "remove GPG_DISABLE_SIG and list the signers in GPG_FINGERPRINT_ID; until then the lists are not looked at",
            );
        } else {
            self.complaints.warn(
                &place,
                "packets need neither signature nor HMAC: everybody who has the server's public key is let in",
                "remove GPG_DISABLE_SIG and list the signers in GPG_FINGERPRINT_ID; at the very least set HMAC_KEY",
            );
        }
    }

    /// The keys a list stands for. An id that means nothing is an error when the whole list would mean nothing.
    fn resolve_ids(&mut self, keyring: KeyringId, name: &str, ids: &[String]) -> Vec<Fingerprint> {
        let mut keys = Vec::new();
        let mut unknown = Vec::new();
        for id in ids {
            match self.resolve_id(keyring, name, id) {
                Known::Key(key) => keys.push(key),
                Known::NotInKeyring => unknown.push(id),
                Known::Refused => {}
            }
        }
        for id in unknown {
            let what = format!("{name}: there is no key {id} in the keyring");
            if keys.is_empty() {
                self.complaints.error(&self.at(name), what, "import the client's public key, or correct the id");
            } else {
                self.complaints.warn(&self.at(name), what, "nobody can sign with it; import the key or remove the id");
            }
        }
        keys
    }

    fn resolve_id(&mut self, keyring: KeyringId, name: &str, id: &str) -> Known {
        let place = self.at(name);
        let found = |id: &str| self.context.keyrings.loader().find(keyring, id);
        if let Ok(fingerprint) = id.parse::<Fingerprint>() {
            if found(&fingerprint.to_string()) == Found::None {
                let what = format!("{name}: the key {fingerprint} is not in the keyring");
                self.complaints.warn(&place, what, "nobody can sign with it until it is imported and we reload");
            }
            return Known::Key(fingerprint);
        }
        let digits = id.strip_prefix("0x").or(id.strip_prefix("0X")).unwrap_or(id);
        let is_id = matches!(digits.len(), 8 | 16) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            let what = format!("{name}: '{id}' is no fingerprint and no key id");
            self.complaints.error(&place, what, "write the 40 hexadecimal digits of the fingerprint");
            return Known::Refused;
        }
        match found(digits) {
            Found::One(key) => {
                let what = format!("{name}: {id} is only the end of a fingerprint; keys with that end can be made");
                self.complaints.warn(&place, what, format!("write {key} if that is the key you mean"));
                Known::Key(key)
            }
            Found::None => Known::NotInKeyring,
            Found::Several(keys) => {
                let what = format!("{name}: {id} means several keys: {}", list(&keys));
                self.complaints.error(&place, what, "write the full fingerprint of the one that is meant");
                Known::Refused
            }
        }
    }

    /// Whoever is listed expects to get in.
    fn mention_unusable(&mut self, keyring: KeyringId, name: &str, keys: &[Fingerprint], tolerance: Tolerance) {
        for key in keys {
            let keyrings = self.context.keyrings.loader();
            let is_there = keyrings.find(keyring, &key.to_string()) != Found::None; // else that has been said
            let fault = keyrings.standing(keyring, key).filter(|fault| match fault {
                SignatureFault::Expired => !tolerance.expired,
                _ => true,
            });
            if let Some(fault) = fault.filter(|_| is_there) {
                let (why, advice) = unusable(fault);
                let what = format!("{name}: nobody gets in with the key {key}: {why}");
                self.complaints.warn(&self.at(name), what, advice);
            }
        }
    }

    fn ignore_expiry(&mut self) -> bool {
        let ignore = self.flag("GPG_IGNORE_SIG_VERIFY_ERROR");
        if ignore {
            self.complaints.warn(
                &self.at("GPG_IGNORE_SIG_VERIFY_ERROR"),
                "signatures of keys that have expired are taken",
                "this is all it does here: a signature that cannot be verified is refused; renew the keys and remove it",
            );
        }
        ignore
    }

    fn allow_weak(&mut self) -> bool {
        let allow = self.flag("GPG_ALLOW_WEAK_SIG");
        if allow {
            self.complaints.warn(
                &self.at("GPG_ALLOW_WEAK_SIG"),
                "signatures over SHA-1 are taken, in which forgeries can be prepared",
                "let the clients sign with SHA-256 or better (gpg: personal-digest-preferences SHA256) and remove it",
            );
        }
        allow
    }
}

/// What is wrong with a listed key, and what to do.
fn unusable(fault: SignatureFault) -> (&'static str, &'static str) {
    match fault {
        SignatureFault::Expired => ("it has expired", "let its owner extend it, import it again, and reload"),
        SignatureFault::Revoked => ("it has been revoked", "import the owner's new key and list that"),
        SignatureFault::NotYetValid => ("it is not valid yet", "compare the clocks of this machine and its owner's"),
        SignatureFault::Weak => {
            ("it is bound by weak signatures, such as SHA-1", "let its owner renew them with SHA-256; import it again")
        }
        SignatureFault::Unsupported => {
            ("it is of a kind that cannot be verified here", "use a key with RSA or Ed25519, or GPG_ENGINE gpgme")
        }
        SignatureFault::WrongUse => ("it may not sign", "list the key that signs, or its primary key"),
        SignatureFault::Bad | SignatureFault::UnknownSigner => {
            ("its own signatures are not valid", "let its owner export it anew, and import it again")
        }
    }
}
