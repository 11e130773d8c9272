//! How a stanza takes OpenPGP packets (`spec/access.md` 10).

use super::Resolve;
use crate::access::OpenPgpAccess;
use crate::config::EngineChoice;
use crate::config::keyrings::{KeyringPlace, KeyringSource, Keyrings};
use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId, RecipientRule, SignerRule};
use crate::reason::SignatureFault;
use crate::secret::Passphrase;

/// The keyrings that stanzas have asked for so far: each is opened once.
pub struct OpenedKeyrings<'a> {
    loader: &'a mut dyn Keyrings,
    /// `None`: it could not be opened, and that has been said.
    opened: Vec<(KeyringPlace, Option<KeyringId>)>,
}

impl<'a> OpenedKeyrings<'a> {
    pub fn new(loader: &'a mut dyn Keyrings) -> Self {
        Self { loader, opened: Vec::new() }
    }
}

impl Resolve<'_, '_> {
    /// `None`: the stanza takes no OpenPGP packets, or not as it is written.
    pub(super) fn openpgp(&mut self) -> Option<OpenPgpAccess> {
        let passphrase = self.passphrase();
        if passphrase.is_none() && !self.flag("GPG_ALLOW_NO_PW") {
            self.mention_unused();
            return None;
        }
        let signer = self.signer_lists();
        let keyring = self.keyring(passphrase)?;
        let recipient = self.recipient(keyring);
        let signer = match signer? {
            Signers::Anybody => SignerRule::Disabled,
            Signers::Listed(lists) => {
                let lists: Vec<_> =
                    lists.into_iter().map(|(name, ids)| (name, self.resolve_ids(keyring, name, &ids))).collect();
                let ignore_expiry = self.ignore_expiry();
                lists.iter().for_each(|(name, keys)| self.mention_unusable(keyring, name, keys, ignore_expiry));
                SignerRule::Listed { lists: lists.into_iter().map(|(_, keys)| keys).collect(), ignore_expiry }
            }
        };
        Some(OpenPgpAccess { keyring, recipient: recipient?, signer })
    }

    fn passphrase(&mut self) -> Option<Passphrase> {
        let bytes = self.settings.secret("GPG_DECRYPT_PW")?;
        // The file is UTF-8, so its parts are.
        String::from_utf8(bytes.expose().clone()).ok().map(Passphrase::new)
    }

    fn mention_unused(&mut self) {
        for name in UNUSED_WITHOUT_OPENPGP {
            if self.settings.place(name).is_some() {
                self.complaints.warn(
                    &self.at(name),
                    format!("{name} has no effect: the stanza takes no OpenPGP packets"),
                    "add GPG_ALLOW_NO_PW Y, or GPG_DECRYPT_PW with the passphrase of the server's key",
                );
            }
        }
    }

    fn keyring(&mut self, passphrase: Option<Passphrase>) -> Option<KeyringId> {
        let context = &mut *self.context;
        let path = |name| self.settings.text(name).map(|text| context.directory.join(text));
        let source = match self.settings.list("GPG_KEY_FILES") {
            Some(files) => KeyringSource::Files(files.iter().map(|file| context.directory.join(file)).collect()),
            None => KeyringSource::Home {
                directory: path("GPG_HOME_DIR").unwrap_or_else(|| context.server.gpg_home.clone()),
                program: path("GPG_EXE").or_else(|| context.server.gpg_program.clone()),
            },
        };
        let engine = context.server.gpg_engine;
        if let (EngineChoice::Gpgme, Some(place)) = (engine, self.settings.place("GPG_KEY_FILES")) {
            self.complaints.error(
                place,
                "GPG_KEY_FILES cannot be used with GPG_ENGINE gpgme: gpg reads only keys in a home of its own",
                "import the files with gpg --import and name the home in GPG_HOME_DIR, or use GPG_ENGINE sequoia",
            );
            return None;
        }
        let both = self.settings.place("GPG_KEY_FILES").and(self.settings.place("GPG_HOME_DIR"));
        if let Some(place) = both {
            self.complaints.warn(place, "GPG_HOME_DIR has no effect beside GPG_KEY_FILES", "remove one of them");
        }
        let place = KeyringPlace { source, passphrase, engine };
        let opened = &mut context.keyrings;
        if let Some((_, id)) = opened.opened.iter().find(|(known, _)| *known == place) {
            return *id;
        }
        let said_at = ["GPG_KEY_FILES", "GPG_HOME_DIR", "GPG_DECRYPT_PW", "GPG_ALLOW_NO_PW"];
        let said_at = said_at.into_iter().find_map(|name| self.settings.place(name)).unwrap_or(&self.place);
        let id = match opened.loader.open(&place) {
            Ok(keyring) => {
                for warning in keyring.warnings {
                    let (what, advice) = split(&warning);
                    self.complaints.warn(said_at, what, advice);
                }
                Some(keyring.id)
            }
            Err(error) => {
                let text = with_causes(&error);
                let (what, advice) = split(&text);
                self.complaints.error(said_at, what, advice);
                None
            }
        };
        opened.opened.push((place, id));
        id
    }

    /// `GPG_DECRYPT_ID`: the original looks it up and ignores it.
    fn recipient(&mut self, keyring: KeyringId) -> Option<RecipientRule> {
        let Some(id) = self.settings.text("GPG_DECRYPT_ID") else { return Some(RecipientRule::Any) };
        let place = self.at("GPG_DECRYPT_ID");
        let keyrings = &*self.context.keyrings.loader;
        match keyrings.find(keyring, id) {
            Found::One(key) if keyrings.decrypts(keyring, &key) => return Some(RecipientRule::Key(key)),
            Found::One(key) => self.complaints.error(
                &place,
                format!("GPG_DECRYPT_ID: nothing can be decrypted with key {key}"),
                "name a key whose secret part is in the keyring and unlocked",
            ),
            Found::None => self.complaints.error(
                &place,
                format!("GPG_DECRYPT_ID: there is no key '{id}' in the keyring"),
                "name a key of this server; gpg --list-secret-keys lists them",
            ),
            Found::Several(keys) => self.complaints.error(
                &place,
                format!("GPG_DECRYPT_ID: '{id}' means several keys: {}", list(&keys)),
                "write the full fingerprint of the one that is meant",
            ),
        }
        None
    }

    /// Which signatures the stanza takes. `None`: it does not say whose.
    fn signer_lists(&mut self) -> Option<Signers> {
        let require = self.settings.flag("GPG_REQUIRE_SIG");
        let disable = self.flag("GPG_DISABLE_SIG");
        if disable && require == Some(true) {
            self.complaints.note(
                &self.at("GPG_DISABLE_SIG"),
                "GPG_DISABLE_SIG has no effect beside GPG_REQUIRE_SIG",
                "signatures are required; remove one of the two",
            );
        } else if disable {
            self.complaints.warn(
                &self.at("GPG_DISABLE_SIG"),
                "packets need no signature: whoever has the server's public key is let in",
                "remove GPG_DISABLE_SIG and list the signers in GPG_FINGERPRINT_ID; until then the lists are not looked at",
            );
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
        let found = |id: &str| self.context.keyrings.loader.find(keyring, id);
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
    fn mention_unusable(&mut self, keyring: KeyringId, name: &str, keys: &[Fingerprint], ignore_expiry: bool) {
        for key in keys {
            let keyrings = &*self.context.keyrings.loader;
            let is_there = keyrings.find(keyring, &key.to_string()) != Found::None; // else that has been said
            let fault = keyrings.standing(keyring, key).filter(|fault| match fault {
                SignatureFault::Expired => !ignore_expiry,
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

    fn flag(&self, name: &str) -> bool {
        self.settings.flag(name).unwrap_or(false)
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
        SignatureFault::WrongUse => ("it may not sign", "list the key that signs, or its primary key"),
        SignatureFault::Bad | SignatureFault::UnknownSigner => {
            ("its own signatures are not valid", "let its owner export it anew, and import it again")
        }
    }
}

const UNUSED_WITHOUT_OPENPGP: [&str; 9] = [
    "GPG_REMOTE_ID",
    "GPG_FINGERPRINT_ID",
    "GPG_DECRYPT_ID",
    "GPG_REQUIRE_SIG",
    "GPG_DISABLE_SIG",
    "GPG_IGNORE_SIG_VERIFY_ERROR",
    "GPG_HOME_DIR",
    "GPG_KEY_FILES",
    "GPG_EXE",
];

enum Signers {
    Anybody,
    Listed(Vec<(&'static str, Vec<String>)>),
}

enum Known {
    Key(Fingerprint),
    NotInKeyring,
    Refused,
}

fn list(keys: &[Fingerprint]) -> String {
    keys.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(", ")
}

/// An error's text is one sentence, or two with a newline between: what is wrong, and what to do.
fn split(text: &str) -> (&str, &str) {
    text.split_once('\n').map_or((text, ""), |(what, advice)| (what, advice.trim()))
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    let (what, advice) = split(&text);
    let mut what = what.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        what = format!("{what}: {error}");
        cause = error.source();
    }
    format!("{what}\n{advice}")
}
