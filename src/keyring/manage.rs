//! Changing a GnuPG home: generate, import, export, remove. All through GPGME; nothing secret is ever in an argument.

use std::time::Duration;

use gpgme::{Context, CreateKeyFlags, DeleteKeyFlags, ExportMode, Key, PinentryMode};

use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::gpgme::{GnuPg, is_about_passphrase, passphrase_provider};
use crate::secret::Passphrase;

/// A GnuPG home that is looked after.
pub struct Home {
    context: Context,
    place: String,
}

/// A key to be made: one that certifies and signs, and a subkey that encrypts.
pub struct NewKey<'a> {
    pub user_id: &'a str,
    pub algorithm: Algorithm,
    /// `None`: never.
    pub lasts: Option<Duration>,
    pub passphrase: NewPassphrase,
    /// There may be a key with this user id already.
    pub beside: bool,
}

pub enum NewPassphrase {
    /// gpg-agent asks for it.
    Asked,
    None,
    Given(Passphrase),
}

/// What clients and servers of both makers can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 and Cv25519.
    Curve25519,
    Rsa {
        bits: u16,
    },
    NistP256,
}

impl Algorithm {
    pub const NAMES: [&'static str; 5] = ["curve25519", "rsa2048", "rsa3072", "rsa4096", "nistp256"];

    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "curve25519" => Algorithm::Curve25519,
            "rsa2048" => Algorithm::Rsa { bits: 2048 },
            "rsa3072" => Algorithm::Rsa { bits: 3072 },
            "rsa4096" => Algorithm::Rsa { bits: 4096 },
            "nistp256" => Algorithm::NistP256,
            _ => return None,
        })
    }

    /// As gpg calls the key that signs and the one that encrypts.
    fn pair(self) -> (String, String) {
        match self {
            Algorithm::Curve25519 => ("ed25519".into(), "cv25519".into()),
            Algorithm::Rsa { bits } => (format!("rsa{bits}"), format!("rsa{bits}")),
            Algorithm::NistP256 => ("nistp256".into(), "nistp256".into()),
        }
    }
}

impl NewKey<'_> {
    /// In gpg's language for making keys unattended. A line cannot be smuggled in.
    fn parameters(&self) -> String {
        let ((sign, encrypt), size) = match self.algorithm {
            Algorithm::Curve25519 => (("EDDSA", "ECDH"), ["Key-Curve: ed25519".into(), "Subkey-Curve: cv25519".into()]),
            Algorithm::NistP256 => (("ECDSA", "ECDH"), ["Key-Curve: nistp256".into(), "Subkey-Curve: nistp256".into()]),
            Algorithm::Rsa { bits } => {
                (("RSA", "RSA"), [format!("Key-Length: {bits}"), format!("Subkey-Length: {bits}")])
            }
        };
        let [key_size, subkey_size] = size;
        let user_id: String = self.user_id.chars().filter(|c| !c.is_control()).collect();
        let lasts = self.lasts.map_or("0".to_owned(), |lasts| format!("seconds={}", lasts.as_secs()));
        format!(
            "<GnupgKeyParms format=\"internal\">\nKey-Type: {sign}\n{key_size}\nKey-Usage: sign,cert\n\
             Subkey-Type: {encrypt}\n{subkey_size}\nSubkey-Usage: encrypt\nName-Real: {user_id}\n\
             Expire-Date: {lasts}\n%ask-passphrase\n</GnupgKeyParms>\n"
        )
    }
}

/// Why a home was not changed. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    #[error("gpg cannot be used\n     install GnuPG")]
    NoGpg(#[source] gpgme::Error),
    #[error("there is a key for {user_id} in {place} already\n     use that one, or make another with --beside")]
    Exists { user_id: String, place: String },
    #[error("there is no key {key} in {place}\n     list the keys with: key list")]
    NoKey { key: Fingerprint, place: String },
    #[error(
        "no passphrase was given\n     gpg-agent could not ask for one: install a pinentry, or run from a terminal with GPG_TTY set"
    )]
    Passphrase,
    #[error("gpg could not {what} in {place}")]
    Gpg {
        what: &'static str,
        place: String,
        #[source]
        source: gpgme::Error,
    },
    #[error("gpg did not {what} in {place}\n     look at what it says with: gpg --homedir {place} --list-keys")]
    Nothing { what: &'static str, place: String },
}

impl Home {
    pub fn open(gpg: &GnuPg) -> Result<Self, ManageError> {
        let context = gpg.context().map_err(ManageError::NoGpg)?;
        Ok(Self {
            context,
            place: gpg.home.as_ref().map_or("your GnuPG home".into(), |home| home.display().to_string()),
        })
    }

    /// All certificates; of those with a secret key, which they are.
    pub fn certificates(&mut self) -> Result<(Vec<u8>, Vec<Fingerprint>), ManageError> {
        let mut exported = Vec::new();
        let all = self.context.export_all(ExportMode::empty(), &mut exported);
        all.map_err(|source| self.failed("list its keys", source))?;
        let listed: gpgme::Result<Vec<Key>> = self.context.secret_keys().and_then(Iterator::collect);
        let secrets = listed.map_err(|source| self.failed("list its secret keys", source))?;
        Ok((exported, secrets.iter().filter_map(|key| key.fingerprint().ok()?.parse().ok()).collect()))
    }

    pub fn generate(&mut self, new: &NewKey<'_>) -> Result<Fingerprint, ManageError> {
        let (sign, encrypt) = new.algorithm.pair();
        let lasts = new.lasts.unwrap_or_default();
        let mut flags = if new.lasts.is_none() { CreateKeyFlags::NOEXPIRE } else { CreateKeyFlags::empty() };
        if new.beside {
            flags |= CreateKeyFlags::FORCE;
        }
        let passphrase = match &new.passphrase {
            NewPassphrase::Asked => None,
            NewPassphrase::None => {
                flags |= CreateKeyFlags::NOPASSWD;
                None
            }
            NewPassphrase::Given(passphrase) => Some(passphrase),
        };
        let mode = if passphrase.is_some() { PinentryMode::Loopback } else { PinentryMode::Ask };
        self.context.set_pinentry_mode(mode).map_err(ManageError::NoGpg)?;
        // In one step, the user is asked once for a passphrase; with two, once more to unlock the first key.
        if matches!(new.passphrase, NewPassphrase::Asked) && !new.beside && self.has(new.user_id)? {
            return Err(ManageError::Exists { user_id: new.user_id.to_owned(), place: self.place.clone() });
        }
        let at_once = matches!(new.passphrase, NewPassphrase::Asked).then(|| new.parameters());
        let make = |context: &mut Context| {
            if let Some(parameters) = at_once {
                let made = context.generate_key(parameters, None::<&mut Vec<u8>>, None::<&mut Vec<u8>>)?;
                return Ok(made.fingerprint().unwrap_or_default().to_owned());
            }
            let usage = flags | CreateKeyFlags::SIGN | CreateKeyFlags::CERT;
            let made = context.create_key_with_flags(new.user_id, sign.as_str(), lasts, usage)?;
            let fingerprint = made.fingerprint().unwrap_or_default().to_owned();
            let key = context.get_secret_key(fingerprint.as_str())?;
            context.create_subkey_with_flags(&key, encrypt.as_str(), lasts, flags | CreateKeyFlags::ENCR)?;
            Ok(fingerprint)
        };
        let made: gpgme::Result<String> = match passphrase {
            None => make(&mut self.context),
            Some(_) => self.context.with_passphrase_provider(passphrase_provider(passphrase), make),
        };
        match made {
            Ok(fingerprint) => fingerprint.parse().map_err(|_| self.nothing("make a key")),
            Err(error) if is_about_passphrase(error) => Err(ManageError::Passphrase),
            Err(source) => Err(self.failed("make a key", source)),
        }
    }

    /// Whether a certificate has exactly this user id.
    fn has(&mut self, user_id: &str) -> Result<bool, ManageError> {
        let keys: gpgme::Result<Vec<Key>> = self.context.find_keys([user_id]).and_then(Iterator::collect);
        let keys = keys.map_err(|source| self.failed("list its keys", source))?;
        Ok(keys.iter().any(|key| key.user_ids().any(|id| id.id() == Ok(user_id))))
    }

    /// Adds certificates, or what is new in those that are there.
    pub fn import(&mut self, data: &[u8]) -> Result<(), ManageError> {
        let imported = self.context.import(data).map_err(|source| self.failed("import the key", source))?;
        if imported.considered() == 0 || imported.not_imported() > 0 {
            return Err(self.nothing("import the key"));
        }
        Ok(())
    }

    /// The certificate, armored, without signatures of others.
    pub fn export(&mut self, key: &Fingerprint) -> Result<String, ManageError> {
        let found = self.find(key)?;
        let mut text = Vec::new();
        self.context.set_armor(true);
        let exported = self.context.export_keys([&found], ExportMode::MINIMAL, &mut text);
        self.context.set_armor(false);
        exported.map_err(|source| self.failed("export the key", source))?;
        match String::from_utf8(text) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => Err(self.nothing("export the key")),
        }
    }

    /// Removes a certificate, with its secret keys if `secret`.
    pub fn remove(&mut self, key: &Fingerprint, secret: bool) -> Result<(), ManageError> {
        let found = self.find(key)?;
        let flags = if secret { DeleteKeyFlags::ALLOW_SECRET | DeleteKeyFlags::FORCE } else { DeleteKeyFlags::empty() };
        self.context.delete_key_with_flags(&found, flags).map_err(|source| self.failed("remove the key", source))
    }

    fn find(&mut self, key: &Fingerprint) -> Result<Key, ManageError> {
        let missing = || ManageError::NoKey { key: key.clone(), place: self.place.clone() };
        self.context.get_key(key.to_string()).map_err(|_| missing())
    }

    fn failed(&self, what: &'static str, source: gpgme::Error) -> ManageError {
        ManageError::Gpg { what, place: self.place.clone(), source }
    }

    fn nothing(&self, what: &'static str) -> ManageError {
        ManageError::Nothing { what, place: self.place.clone() }
    }
}
