//! `fwknopd key`: the keys that knocks are encrypted to.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Places, health, say, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended};
use crate::cli::private_file;
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::crypto::openpgp::sequoia::About;
use crate::keyring::manage::{Algorithm, Home, NewKey, NewPassphrase};
use crate::secret::{Passphrase, Secret};
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make the server's first key, and its keyring if there is none
    Init {
        /// Whose it is: "gate <gate@example.org>"
        user_id: String,
        /// curve25519, rsa2048, rsa3072, rsa4096 or nistp256
        #[arg(long, default_value = "curve25519", value_name = "NAME")]
        algo: String,
        /// Give it the passphrase in this file, or - for standard input; it is kept in the keyring for the daemon
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        consent: Consent,
    },
    /// The server's keys
    Show {
        #[arg(long)]
        json: bool,
    },
    /// Write the newest public certificate, for users
    Export {
        /// Write to this file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },
    /// Make a new key beside the old one: knocks to both are taken
    Rotate {
        /// curve25519, rsa2048, rsa3072, rsa4096 or nistp256
        #[arg(long, default_value = "curve25519", value_name = "NAME")]
        algo: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Remove an old key for good: knocks to it are refused
    Retire {
        #[arg(add = values::own_keys())]
        fingerprint: Fingerprint,
        #[command(flatten)]
        consent: Consent,
    },
    /// Health of the server's keys, their keyring and the users' certificates
    Check {
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: Key, places: &Places) -> Result<(), Ended> {
    let now = Timestamp::now();
    match command {
        Key::Init { user_id, algo, passphrase_file, consent } => {
            init(places, consent, &user_id, &algo, passphrase_file.as_deref())
        }
        Key::Show { json } => show(places, json, now),
        Key::Export { output, json } => export(places, output.as_deref(), json, now),
        Key::Rotate { algo, consent } => rotate(places, consent, &algo, now),
        Key::Retire { fingerprint, consent } => retire(places, consent, &fingerprint, now),
        Key::Check { json } => health::run(places, json, now),
    }
}

/// The server's keyring, opened.
pub(super) struct Keyring {
    pub home: Home,
    pub path: PathBuf,
    pub all: Vec<About>,
    /// Those with a secret key, the newest last.
    pub own: Vec<Fingerprint>,
}

impl Keyring {
    pub fn open(gpg: &GnuPg, now: Timestamp) -> Result<Self, Ended> {
        let path = gpg.home.clone().unwrap_or_default();
        if !path.is_dir() {
            let what = format!("there is no keyring {}", path.display());
            return Err(Ended::not_found(
                what,
                "make one with: fwknopd key init \"NAME <MAIL>\", or correct GPG_HOME_DIR",
            ));
        }
        let mut home = Home::open(gpg)?;
        let (data, own) = home.certificates()?;
        Ok(Self { home, path, all: About::read(&data, now), own })
    }

    pub fn about(&self, key: &Fingerprint) -> Option<&About> {
        self.all.iter().find(|about| about.fingerprint == *key)
    }

    /// Without a key that decrypts nobody could be let in.
    pub fn must_decrypt(&self) -> Result<(), Ended> {
        self.current().map(|_| ())
    }

    /// The one that users are given: the last made that can be used.
    pub fn current(&self) -> Result<&About, Ended> {
        let usable = self.own.iter().rev().filter_map(|key| self.about(key)).find(|about| about.encrypting().is_some());
        usable
            .ok_or_else(|| Ended::not_found("the server has no key", "make one with: fwknopd key init \"NAME <MAIL>\""))
    }

    /// The settings by which a stanza can decrypt.
    pub fn unlocking(&self) -> String {
        let file = self.path.join(PASSPHRASE);
        if file.exists() {
            format!("%include_keys        {}\n", file.display())
        } else {
            "GPG_ALLOW_NO_PW     Y\n".into()
        }
    }

    pub fn passphrase(&self) -> Result<Option<Passphrase>, Ended> {
        let path = self.path.join(PASSPHRASE);
        if !path.exists() {
            return Ok(None);
        }
        let text = Secret::new(fs::read_to_string(&path).map_err(|source| Ended::Read { path: path.clone(), source })?);
        let line = text.expose().lines().find_map(|line| line.strip_prefix("GPG_DECRYPT_PW"));
        Ok(line.map(|rest| Passphrase::new(rest.trim().to_owned())))
    }
}

/// In the keyring, readable by its owner alone, and included by the stanzas of users.
const PASSPHRASE: &str = "fwknopd-passphrase.conf";

fn algorithm(name: &str) -> Result<Algorithm, Ended> {
    let no = || {
        Ended::usage(
            format!("'{name}' is no algorithm"),
            "write one of curve25519, rsa2048, rsa3072, rsa4096, nistp256",
        )
    };
    Algorithm::named(name).ok_or_else(no)
}

fn init(
    places: &Places,
    consent: Consent,
    user_id: &str,
    algo: &str,
    passphrase_file: Option<&Path>,
) -> Result<(), Ended> {
    let algorithm = algorithm(algo)?;
    let gpg = places.gpg()?;
    let path = gpg.home.clone().unwrap_or_default();
    if path.exists() && !Keyring::open(&gpg, Timestamp::now())?.own.is_empty() {
        let what = format!("there is a key in {} already", path.display());
        return Err(Ended::refused(what, "make a new one beside it with: fwknopd key rotate"));
    }
    let passphrase = passphrase_file.map(passphrase_in).transpose()?;
    let mut plan = Plan::default();
    if !path.exists() {
        plan.step(format!("make the keyring {}", path.display()));
    }
    let protection =
        if passphrase.is_some() { "with a passphrase" } else { "without a passphrase, readable by its owner alone" };
    plan.step(format!("make a {algo} key for {user_id}, {protection}"));
    if passphrase.is_some() {
        plan.step(format!("keep the passphrase for the daemon in {}", path.join(PASSPHRASE).display()));
    }
    consent.obtain(&plan)?;
    if !path.exists() {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(|source| Ended::Write { path: path.clone(), source })?;
    }
    if let Some(passphrase) = &passphrase {
        keep(&path, passphrase)?;
    }
    let new = NewKey {
        user_id,
        algorithm,
        lasts: None,
        passphrase: passphrase.map_or(NewPassphrase::None, NewPassphrase::Given),
        beside: false,
    };
    let made = Home::open(&gpg)?.generate(&new)?;
    Ok(consent.done(&plan, [("fingerprint", json!(made.to_string()))], &format!("{made}\n"))?)
}

fn keep(home: &Path, passphrase: &Passphrase) -> Result<(), Ended> {
    let path = home.join(PASSPHRASE);
    let text = Secret::new(format!("GPG_DECRYPT_PW      {}\n", passphrase.expose()));
    private_file::write(&path, text.expose()).map_err(|source| Ended::Write { path, source })
}

/// The first line.
fn passphrase_in(file: &Path) -> Result<Passphrase, Ended> {
    let data = keys::read(file)?;
    let line = std::str::from_utf8(data.expose()).ok().and_then(|text| text.lines().next()).unwrap_or_default();
    if line.is_empty() || line.trim() != line || line.contains(';') {
        let what = format!("the first line of {} cannot be a passphrase", file.display());
        return Err(Ended::refused(what, "write one without ';' and without blanks at its ends"));
    }
    Ok(Passphrase::new(line.to_owned()))
}

fn show(places: &Places, json: bool, now: Timestamp) -> Result<(), Ended> {
    let keyring = Keyring::open(&places.gpg()?, now)?;
    let own: Vec<&About> = keyring.own.iter().filter_map(|key| keyring.about(key)).collect();
    if json {
        let shown = own.iter().map(|about| keys::as_json(about, now)).collect();
        return say(&format!("{}\n", Value::Array(shown)));
    }
    let current = keyring.current().map(|about| about.fingerprint.clone());
    for about in own {
        let is_current = current.as_ref().is_ok_and(|key| *key == about.fingerprint);
        let note = if is_current { "    this is the one that users are given\n" } else { "" };
        say(&format!("{}{note}", keys::shown(about, now)))?;
    }
    current.map(|_| ())
}

fn export(places: &Places, output: Option<&Path>, json: bool, now: Timestamp) -> Result<(), Ended> {
    let mut keyring = Keyring::open(&places.gpg()?, now)?;
    let key = keyring.current()?.fingerprint.clone();
    let mut text = keyring.home.export(&key)?;
    if json {
        text = format!("{}\n", json!({"fingerprint": key.to_string(), "certificate": text}));
    }
    match output {
        Some(path) => private_file::write(path, &text).map_err(|source| Ended::Write { path: path.to_owned(), source }),
        None => say(&text),
    }
}

fn rotate(places: &Places, consent: Consent, algo: &str, now: Timestamp) -> Result<(), Ended> {
    let algorithm = algorithm(algo)?;
    let mut keyring = Keyring::open(&places.gpg()?, now)?;
    let old = keyring.current()?;
    let (user_id, old_key) = (old.name().to_owned(), old.fingerprint.clone());
    let mut plan = Plan::default();
    plan.step(format!("make a new {algo} key for {user_id}"));
    plan.step(format!("knocks to the old one, {old_key}, are taken as well until: fwknopd key retire {old_key}"));
    consent.obtain(&plan)?;
    let passphrase = keyring.passphrase()?.map_or(NewPassphrase::None, NewPassphrase::Given);
    let made =
        keyring.home.generate(&NewKey { user_id: &user_id, algorithm, lasts: None, passphrase, beside: true })?;
    places.tell_daemon()?;
    Ok(consent.done(&plan, [("fingerprint", json!(made.to_string()))], &format!("{made}\n"))?)
}

fn retire(places: &Places, consent: Consent, key: &Fingerprint, now: Timestamp) -> Result<(), Ended> {
    let mut keyring = Keyring::open(&places.gpg()?, now)?;
    if !keyring.own.contains(key) {
        return Err(Ended::not_found(
            format!("{key} is not a key of this server"),
            "list its keys with: fwknopd key show",
        ));
    }
    let others = keyring.own.iter().filter(|own| *own != key).filter_map(|own| keyring.about(own));
    if !others.into_iter().any(|about| about.encrypting().is_some()) {
        let what = format!("{key} is the only key that knocks can be encrypted to");
        return Err(Ended::refused(what, "make a new one first: fwknopd key rotate"));
    }
    let mut plan = Plan::default();
    plan.step(format!("remove the key {key} and its secret: whoever still knocks with it is refused"));
    consent.obtain(&plan)?;
    keyring.home.remove(key, true)?;
    places.tell_daemon()?;
    Ok(consent.done(&plan, [], "")?)
}
