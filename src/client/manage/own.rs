//! The user's keyring: whose certificates are in it, and which of their secrets are here.

use std::path::PathBuf;

use crate::cli;
use crate::cli::keys::Ended;
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::agent::{Agent, Unlock};
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::crypto::openpgp::sequoia::{Certificate, Own, Ring};
use crate::keyring::PublicKeys;
use crate::keyring::manage::Home;
use crate::time::Timestamp;

/// A GnuPG home as it was when the command began.
pub struct Keyring {
    gpg: GnuPg,
    directory: PathBuf,
    ring: Ring,
    /// The agent is asked when its answer is needed first: it may have to be started.
    now: Timestamp,
}

impl Keyring {
    pub fn open(gpg: GnuPg, now: Timestamp) -> Result<Self, Ended> {
        let Some(directory) = gpg.directory() else {
            let what = "there is no GnuPG home: neither GNUPGHOME nor HOME is set";
            return Err(Ended::usage(what, "name it with --gpg-home-dir"));
        };
        if gpg.home.is_some() && !directory.is_dir() {
            let what = format!("there is no GnuPG home {}", directory.display());
            return Err(Ended::not_found(what, "make it with mkdir -m 700, or correct --gpg-home-dir (GPG_HOMEDIR)"));
        }
        let public = PublicKeys::open(&gpg).map_err(Ended::other)?;
        let ring = Ring::read(&public.certificates());
        Ok(Self { gpg, directory, ring, now })
    }

    /// The home, to be changed.
    pub fn home(&self) -> Result<Home, Ended> {
        Ok(Home::open(&self.gpg)?)
    }

    /// What to call it.
    pub fn place(&self) -> String {
        self.directory.display().to_string()
    }

    /// The GnuPG home that somebody named.
    pub fn is_named(&self) -> bool {
        self.gpg.home.is_some()
    }

    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Also looks for keys in what is going to be imported.
    pub fn add(&mut self, certificate: &Certificate) {
        self.ring.add(&certificate.data);
    }

    /// The certificates of which a secret key is here.
    pub fn own(&self) -> Result<Vec<Own>, Ended> {
        if !self.directory.is_dir() {
            return Ok(Vec::new());
        }
        let stored = Agent::new(&self.directory, Unlock::Never).stored().map_err(|error| {
            let what = cli::describe(&error);
            let what = what.lines().next().unwrap_or_default();
            Ended::refused(what, format!("see what it says: gpgconf --homedir {} --launch gpg-agent", self.place()))
        })?;
        Ok(self.ring.own(&stored, self.now))
    }

    /// The one certificate that a name means.
    pub fn named(&self, name: &str) -> Result<Certificate, Ended> {
        let mut found = self.ring.named(name, self.now);
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => {
                let what = format!("there is no key '{name}' in {}", self.place());
                Err(Ended::not_found(what, "import it with fwknop key import FILE, or correct the name"))
            }
            _ => Err(several(
                &format!("'{name}' means"),
                found.iter().map(|one| (&one.about.fingerprint, one.about.name())),
            )),
        }
    }

    /// The one key of our own that a name means; without a name, the only one.
    pub fn own_named(&self, name: Option<&str>) -> Result<Own, Ended> {
        let mut own = self.own()?;
        if let Some(name) = name {
            let wanted = self.named(name)?.about.fingerprint;
            own.retain(|own| own.about.fingerprint == wanted);
            return own.pop().ok_or_else(|| {
                let what = format!("the secret key of {wanted} is not here");
                Ended::not_found(what, "insert its card and run gpg --card-status, or see: fwknop key list")
            });
        }
        match own.len() {
            1 => Ok(own.remove(0)),
            0 => Err(no_own(self)),
            _ => Err(several("there are", own.iter().map(|own| (&own.about.fingerprint, own.about.name())))),
        }
    }
}

pub fn no_own(keyring: &Keyring) -> Ended {
    let what = format!("there is no key of yours in {}", keyring.place());
    Ended::not_found(what, "make one with: fwknop key generate")
}

fn several<'k>(what: &str, keys: impl Iterator<Item = (&'k Fingerprint, &'k str)>) -> Ended {
    let list: Vec<String> = keys.map(|(fingerprint, name)| format!("{fingerprint} ({name})")).collect();
    Ended::usage(
        format!("{what} several keys: {}", list.join(", ")),
        "write the full fingerprint of the one that is meant",
    )
}
