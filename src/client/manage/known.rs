//! The servers in the rc file, as a knock would see them.

use std::path::Path;

use super::super::gpg::is_file;
use super::super::layers::Layers;
use super::super::options::{Given, GpgOptions, Options, Scheme};
use super::super::{rc, values};
use super::Places;
use super::own::Keyring;
use super::size::Target;
use crate::cli::keys::Ended;
use crate::config::{Complaints, Place, Setting};
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::crypto::openpgp::sequoia::About;
use crate::keyring;
use crate::time::Timestamp;

/// A stanza and what it means.
pub struct Known {
    pub name: String,
    /// It may be broken.
    pub options: Result<Options, Complaints>,
}

/// All stanzas; none if there is no rc file.
pub fn all(places: &Places) -> Result<Vec<Known>, Ended> {
    let path = places.rc_file()?;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut names = rc::stanza_names(&path)?;
    let mut seen: Vec<String> = Vec::new();
    names.retain(|name| {
        let is_new = !seen.iter().any(|other| other.eq_ignore_ascii_case(name));
        seen.push(name.clone());
        is_new
    });
    Ok(names.into_iter().map(|name| Known::read(&path, name)).collect())
}

/// The stanza of this name.
pub fn named(places: &Places, name: &str) -> Result<Known, Ended> {
    let found = all(places)?.into_iter().find(|known| known.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| Ended::not_found(format!("there is no server '{name}'"), "list them with: fwknop server list"))
}

impl Known {
    fn read(path: &Path, name: String) -> Self {
        let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
        rc::add_layers(path, Some(&name), &mut layers, &mut complaints);
        let options = meaning(&layers, complaints, &Place::File(path.into()));
        Self { name, options }
    }

    /// `None`: it is broken, or shares a key with the server.
    pub fn openpgp(&self) -> Option<&GpgOptions> {
        match &self.options.as_ref().ok()?.scheme {
            Scheme::OpenPgp(gpg) => Some(gpg),
            Scheme::Rijndael { .. } => None,
        }
    }

    /// The certificate of the server, from the keyring or the file that the stanza names.
    pub fn recipient(&self, keyring: &Keyring, now: Timestamp) -> Result<Option<About>, Ended> {
        self.openpgp().map(|gpg| certificate(gpg, &gpg.recipient, keyring, now)).transpose()
    }

    /// The key that the stanza signs with.
    pub fn signer(&self, keyring: &Keyring, now: Timestamp) -> Result<Option<About>, Ended> {
        let Some(gpg) = self.openpgp() else { return Ok(None) };
        gpg.signer.as_deref().map(|signer| certificate(gpg, signer, keyring, now)).transpose()
    }

    /// `None`: nothing can be said about the length of knocks at it.
    pub fn target(&self, keyring: &Keyring, now: Timestamp) -> Option<Target> {
        let recipient = self.recipient(keyring, now).ok().flatten()?;
        Target::of(&self.name, self.options.as_ref().ok()?, &recipient)
    }
}

/// What settings mean; every mistake in them is told.
pub fn meaning(layers: &Layers, mut complaints: Complaints, place: &Place) -> Result<Options, Complaints> {
    values::check(layers, &mut complaints);
    let options = Options::resolve(layers, Given::default(), &mut complaints);
    if options.is_none() && !complaints.has_errors() {
        complaints.error(place, "the stanza cannot be used", "compare it with docs/client.md");
    }
    complaints.judge(options).map(|(options, _)| options)
}

fn certificate(gpg: &GpgOptions, name: &str, keyring: &Keyring, now: Timestamp) -> Result<About, Ended> {
    if is_file(name) {
        let file = keyring::read_file(Path::new(name)).map_err(Ended::other)?;
        let mut found = About::read(file.data.expose(), now);
        return found.pop().ok_or_else(|| Ended::other(keyring::Error::NotAKey { path: name.into() }));
    }
    let elsewhere = match &gpg.home {
        Some(home) if std::path::absolute(home).ok().as_deref() != Some(keyring.directory()) => {
            Some(Keyring::open(GnuPg { home: Some(home.clone()), program: gpg.exe.clone() }, now)?)
        }
        _ => None,
    };
    Ok(elsewhere.as_ref().unwrap_or(keyring).named(name)?.about)
}

/// What is asked of a server of which only the key is known.
pub fn unnamed() -> Option<Options> {
    let settings =
        [Setting::from_option("USE_GPG", "Y", "--server"), Setting::from_option("GPG_RECIPIENT", "-", "--server")];
    let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
    layers.add_command_line(settings.into(), &mut complaints);
    meaning(&layers, complaints, &Place::Option("--server".to_owned())).ok()
}
