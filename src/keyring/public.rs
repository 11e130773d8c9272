//! The public keys of a GnuPG home, read from its files. gpg is started only where they are kept in a way that gpg
//! alone knows: by keyboxd, or in other places that its configuration names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gpgme::ExportMode;

use super::keybox::{self, Entry};
use super::{Error, trustdb};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::crypto::openpgp::sequoia::{Candidates, Wanted};

/// A home's public keys.
pub struct PublicKeys {
    home: PathBuf,
    place: String,
    content: Content,
    disabled: Vec<Fingerprint>,
}

enum Content {
    Keybox(Vec<u8>),
    Packets(Vec<u8>),
}

impl PublicKeys {
    /// A home that is not there has no keys.
    pub fn open(gpg: &GnuPg) -> Result<Self, Error> {
        let Some(home) = gpg.directory() else {
            let source = io::Error::new(io::ErrorKind::NotFound, "HOME is not set");
            return Err(Error::Read { path: "~/.gnupg".into(), source });
        };
        let content = match content(&home)? {
            Some(content) => content,
            None => Content::Packets(exported(gpg, &home)?),
        };
        let disabled = read(&home.join("trustdb.gpg"))?.map_or_else(Vec::new, |data| trustdb::disabled(&data));
        Ok(Self { place: gpg.place(), home, content, disabled })
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// All certificates, as `gpg --export` writes them.
    pub fn certificates(&self) -> Vec<u8> {
        self.those(|_| true)
    }

    /// The certificates that a name may mean.
    pub fn named<'a>(&'a self, wanted: &'a str) -> Candidates<'a> {
        let name = Wanted::of(wanted);
        let certificates = self.those(|entry| name.may_mean(&entry.fingerprints, &entry.user_ids));
        Candidates { wanted, certificates, disabled: &self.disabled, place: &self.place }
    }

    /// Packets without an index are given whole.
    fn those(&self, fits: impl Fn(&Entry<'_>) -> bool) -> Vec<u8> {
        match &self.content {
            Content::Packets(packets) => packets.clone(),
            // It could be read when it was opened.
            Content::Keybox(data) => {
                let entries = keybox::entries(data).unwrap_or_default();
                entries.iter().filter(|entry| fits(entry)).map(|entry| entry.keyblock).collect::<Vec<_>>().concat()
            }
        }
    }
}

/// As gpg chooses between the two files. `None`: ask gpg.
fn content(home: &Path) -> Result<Option<Content>, Error> {
    if is_elsewhere(home)? {
        return Ok(None);
    }
    let keybox = read(&home.join("pubring.kbx"))?;
    match keybox {
        Some(data) if keybox::is_for_openpgp(&data) => {
            return Ok(keybox::entries(&data).is_ok().then_some(Content::Keybox(data)));
        }
        _ => {}
    }
    match read(&home.join("pubring.gpg"))? {
        // The old name for a keybox, made by hand.
        Some(data) if data.get(8..12) == Some(b"KBXf") => Ok(None),
        Some(data) => Ok(Some(Content::Packets(data))),
        None => Ok(Some(Content::Packets(Vec::new()))),
    }
}

/// Whether the configuration says that the keys are not, or not only, in the usual files.
fn is_elsewhere(home: &Path) -> Result<bool, Error> {
    const OPTIONS: [&str; 4] = ["use-keyboxd", "keyring", "no-default-keyring", "primary-keyring"];
    for directory in [home, Path::new("/etc/gnupg")] {
        for name in ["gpg.conf", "common.conf"] {
            let text = read(&directory.join(name))?.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let mut options = text.lines().filter_map(|line| line.split_whitespace().next());
            if options.any(|option| OPTIONS.contains(&option.trim_start_matches('-'))) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn exported(gpg: &GnuPg, home: &Path) -> Result<Vec<u8>, Error> {
    let mut context = gpg.context().map_err(|source| Error::NoGpg { source })?;
    let mut packets = Vec::new();
    let exported = context.export_all(ExportMode::empty(), &mut packets);
    exported.map_err(|source| Error::Gpg { home: home.into(), source })?;
    Ok(packets)
}

/// `None`: there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(Error::Read { path: path.into(), source }),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return failed(error),
    };
    let mut data = Vec::new();
    match file.take(MAX_FILE + 1).read_to_end(&mut data) {
        Ok(_) if data.len() as u64 > MAX_FILE => Err(Error::TooLong { path: path.into(), size: data.len() as u64 }),
        Ok(_) => Ok(Some(data)),
        Err(error) => failed(error),
    }
}

/// Bytes. Room for many thousand certificates.
const MAX_FILE: u64 = 128 << 20;
