//! How a stanza takes OpenPGP packets (`spec/access.md` 10).

use super::Resolve;
use crate::access::OpenPgpAccess;
use crate::config::keyrings::{KeyringPlace, KeyringSource, Keyrings};
use crate::config::{EngineChoice, SecretKeys};
use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId, RecipientRule};
use crate::keyring;
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

    pub fn loader(&self) -> &dyn Keyrings {
        self.loader
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
        let signers = self.signer_lists();
        let keyring = self.keyring(passphrase)?;
        let recipient = self.recipient(keyring);
        let signer = self.signer_rule(keyring, signers?);
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
        let secret_keys = context.server.gpg_secret_keys;
        if let (SecretKeys::Agent, Some(place)) = (secret_keys, self.settings.place("GPG_KEY_FILES")) {
            self.complaints.error(
                place,
                "GPG_KEY_FILES cannot be used with GPG_SECRET_KEYS agent: the agent has only keys of a GnuPG home",
                "import the files with gpg --import and name the home in GPG_HOME_DIR, or use GPG_SECRET_KEYS memory",
            );
            return None;
        }
        let both = self.settings.place("GPG_KEY_FILES").and(self.settings.place("GPG_HOME_DIR"));
        if let Some(place) = both {
            self.complaints.warn(place, "GPG_HOME_DIR has no effect beside GPG_KEY_FILES", "remove one of them");
        }
        let place = KeyringPlace { source, passphrase, engine, secret_keys };
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
                let passphrase = self.settings.place("GPG_DECRYPT_PW");
                let at = passphrase.filter(|_| matches!(error, keyring::Error::WrongPassphrase { .. }));
                let text = with_causes(&error);
                let (what, advice) = split(&text);
                self.complaints.error(at.unwrap_or(said_at), what, advice);
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
        let keyrings = self.context.keyrings.loader();
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
}

const UNUSED_WITHOUT_OPENPGP: [&str; 10] = [
    "GPG_REMOTE_ID",
    "GPG_FINGERPRINT_ID",
    "GPG_DECRYPT_ID",
    "GPG_REQUIRE_SIG",
    "GPG_DISABLE_SIG",
    "GPG_IGNORE_SIG_VERIFY_ERROR",
    "GPG_ALLOW_WEAK_SIG",
    "GPG_HOME_DIR",
    "GPG_KEY_FILES",
    "GPG_EXE",
];

pub(super) fn list(keys: &[Fingerprint]) -> String {
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
