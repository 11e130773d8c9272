//! The Rijndael and HMAC keys of a stanza (`spec/access.md` 3, 11).

use super::Resolve;
use crate::config::value::Checked;
use crate::crypto::hmac::{HmacAuth, HmacKey};
use crate::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use crate::secret::{Secret, constant_time_eq};
use crate::spa::Digest;

impl Resolve<'_, '_> {
    pub(super) fn hmac(&mut self) -> Option<HmacAuth> {
        let (name, secret) = self.key("HMAC_KEY", "HMAC_KEY_BASE64")?;
        let Some(key) = HmacKey::new(secret.expose().clone()) else {
            let what = format!("{name} is longer than {} bytes", HmacKey::MAX);
            self.complaints.error(&self.at(name), what, "use a shorter key; fwknop --key-gen makes one");
            return None;
        };
        for other in ["KEY", "KEY_BASE64", "GPG_DECRYPT_PW"] {
            let same = |secret: &Secret<Vec<u8>>| constant_time_eq(secret.expose(), key.expose());
            if self.settings.secret(other).is_some_and(same) {
                let what = format!("{name} is the same as {other}");
                self.complaints.error(&self.at(name), what, "use two different keys; fwknop --key-gen makes them");
            }
        }
        let digest = match self.settings.get("HMAC_DIGEST_TYPE") {
            Some(Checked::Digest(digest)) => *digest,
            _ => Digest::default(),
        };
        Some(HmacAuth::new(digest, &key))
    }

    pub(super) fn rijndael(&mut self) -> Option<RijndaelAuth> {
        let mode = match self.settings.get("ENCRYPTION_MODE") {
            Some(Checked::Mode(mode)) => *mode,
            _ => Some(Mode::default()),
        };
        let (name, secret) = self.key("KEY", "KEY_BASE64")?;
        let place = self.at(name);
        let Some(mode) = mode else {
            let what = format!("ENCRYPTION_MODE Asymmetric does not fit {name}");
            self.complaints.error(&self.at("ENCRYPTION_MODE"), what, "write CBC, or remove the line");
            return None;
        };
        let mut bytes = secret.expose().clone();
        if mode == Mode::Legacy {
            if bytes.len() > LEGACY_KEY {
                let what = format!("{name}: only the first {LEGACY_KEY} bytes are used in legacy mode");
                self.complaints.warn(&place, what, "use mode CBC if all clients know it");
                bytes.truncate(LEGACY_KEY);
            }
            if self.settings.later("HMAC_KEY", "HMAC_KEY_BASE64").is_some() {
                let what = "legacy mode together with an HMAC";
                self.complaints.warn(&self.at("ENCRYPTION_MODE"), what, "the original's client refuses that; use CBC");
            }
        }
        let key = RijndaelKey::new(bytes);
        if key.is_none() {
            let what = format!("{name} is longer than {} bytes", RijndaelKey::MAX);
            self.complaints.error(&place, what, "use a shorter key; fwknop --key-gen makes one");
        }
        key.map(|key| RijndaelAuth::new(key, mode))
    }

    /// What a stanza must have, and what it should have.
    pub(super) fn judge_keys(&mut self, rijndael: bool, openpgp: bool) {
        let mentioned = |names: &[&str]| names.iter().any(|name| self.settings.mentions(name));
        // A key that could not be used has been complained about.
        let without =
            !mentioned(&["KEY", "KEY_BASE64", "GPG_DECRYPT_PW"]) && self.settings.flag("GPG_ALLOW_NO_PW") != Some(true);
        let without_hmac = !mentioned(&["HMAC_KEY", "HMAC_KEY_BASE64"]);
        if !rijndael && !openpgp && without {
            self.complaints.error(
                &self.place,
                "the stanza has no key",
                "add KEY_BASE64 and HMAC_KEY_BASE64 (fwknop --key-gen makes them), or GPG_ALLOW_NO_PW and GPG_REMOTE_ID",
            );
        }
        if (rijndael || openpgp) && without_hmac {
            let advice = match rijndael {
                true => {
                    "forged packets are recognised only by decrypting them: add HMAC_KEY_BASE64 here and on the clients"
                }
                false => {
                    "anybody can make the server decrypt with its public key: add HMAC_KEY_BASE64 here and on the clients"
                }
            };
            self.complaints.warn(&self.place, "the stanza has no HMAC key", advice);
        }
    }

    /// The key that was set by one of two names; the later one wins.
    fn key(&mut self, text: &'static str, base64: &'static str) -> Option<(&'static str, Secret<Vec<u8>>)> {
        let name = self.settings.later(text, base64)?;
        if self.settings.place(text).is_some() && self.settings.place(base64).is_some() {
            let what = format!("both {text} and {base64} are set");
            self.complaints.warn(&self.at(name), what, format!("{name}, the later one, counts; remove the other"));
        }
        self.settings.secret(name).map(|secret| (name, secret.clone()))
    }
}

/// Bytes of a key in legacy mode (`spec/wire.md` 4).
const LEGACY_KEY: usize = 16;
