//! The keyrings that access files name, read once at start and at each reload.

use std::collections::HashSet;

use crate::config::{self, EngineChoice, KeyringPlace, KeyringSource, OpenedKeyring, SecretKeys};
use crate::crypto::openpgp::gpgme::GpgmeEngine;
use crate::crypto::openpgp::sequoia::{Found, Keys};
use crate::crypto::openpgp::{Fingerprint, KeyPath, KeyringId};
use crate::crypto::unseal;
use crate::keyring::{self, Gpg, Notice, Warning};
use crate::reason::SignatureFault;
use crate::time::Timestamp;

/// Opens keyrings for the configuration, and hands them to the gate when it is complete.
pub struct Keyrings {
    now: Timestamp,
    engines: Vec<Reader>,
}

/// A keyring, and what reads messages with it.
enum Reader {
    Sequoia(Keys),
    Gpgme(GpgmeEngine),
}

impl Reader {
    /// Where names are looked up and certificates judged.
    fn certificates(&self) -> &Keys {
        match self {
            Reader::Sequoia(keys) => keys,
            Reader::Gpgme(engine) => engine.certificates(),
        }
    }

    fn decrypts(&self, key: &Fingerprint) -> bool {
        self.decrypting().any(|path| path.is(key))
    }

    fn decrypting(&self) -> impl Iterator<Item = &KeyPath> {
        let (here, with_gpg) = match self {
            Reader::Sequoia(keys) => (Some(keys), None),
            Reader::Gpgme(engine) => (None, Some(engine)),
        };
        let here = here.into_iter().flat_map(Keys::decrypting);
        here.chain(with_gpg.into_iter().flat_map(GpgmeEngine::decrypting))
    }

    /// A passphrase that opens nothing is a mistake in the configuration, where one that does not fit every key of a
    /// keyring is none.
    fn refuse_wrong_passphrase(&self, warnings: &[Warning]) -> Result<(), keyring::Error> {
        let locked: Vec<&Fingerprint> = warnings
            .iter()
            .filter_map(|warning| match warning {
                Warning::Key(Notice::WrongPassphrase { key, .. }) => Some(key),
                _ => None,
            })
            .collect();
        match locked.first() {
            Some(key) if self.decrypting().all(|path| locked.contains(&&path.key)) => {
                Err(keyring::Error::WrongPassphrase { key: (*key).clone() })
            }
            _ => Ok(()),
        }
    }
}

impl Keyrings {
    pub fn new(now: Timestamp) -> Self {
        Self { now, engines: Vec::new() }
    }

    /// One engine each, under the ids given out by `open`.
    pub fn into_engines(self) -> unseal::Keyrings {
        let mut engines = unseal::Keyrings::default();
        for reader in self.engines {
            match reader {
                Reader::Sequoia(keys) => engines.add(Box::new(keys)),
                Reader::Gpgme(engine) => engines.add(Box::new(engine)),
            };
        }
        engines
    }

    fn get(&self, id: KeyringId) -> Option<&Reader> {
        self.engines.get(id.0)
    }
}

impl config::Keyrings for Keyrings {
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error> {
        let passphrase = place.passphrase.as_ref();
        let sequoia = |loaded: keyring::Loaded| (Reader::Sequoia(loaded.keys), loaded.warnings);
        let (reader, warnings) = match &place.source {
            KeyringSource::Files(files) => sequoia(keyring::from_files(files, passphrase, self.now)?),
            KeyringSource::Home { directory, program } => {
                let gpg = Gpg { home: directory.clone(), program: program.clone() };
                match (place.engine, place.secret_keys) {
                    (EngineChoice::Sequoia, SecretKeys::Memory) => {
                        sequoia(keyring::from_home(&gpg, passphrase, self.now)?)
                    }
                    (EngineChoice::Sequoia, SecretKeys::Agent) => {
                        sequoia(keyring::left_to_agent(&gpg, passphrase, self.now)?)
                    }
                    (EngineChoice::Gpgme, _) => {
                        let (engine, warnings) = keyring::left_to_gpg(&gpg, passphrase, self.now)?;
                        (Reader::Gpgme(engine), warnings)
                    }
                }
            }
        };
        reader.refuse_wrong_passphrase(&warnings)?;
        // Keys on cards or of other servers are mentioned once each, and not at all when they are not wanted.
        let mut told = HashSet::new();
        let warnings = warnings.iter().map(ToString::to_string).filter(|text| told.insert(text.clone())).collect();
        self.engines.push(reader);
        Ok(OpenedKeyring { id: KeyringId(self.engines.len() - 1), warnings })
    }

    fn find(&self, keyring: KeyringId, name: &str) -> Found {
        self.get(keyring).map_or(Found::None, |reader| reader.certificates().find(name))
    }

    fn decrypts(&self, keyring: KeyringId, key: &Fingerprint) -> bool {
        self.get(keyring).is_some_and(|reader| reader.decrypts(key))
    }

    fn standing(&self, keyring: KeyringId, key: &Fingerprint) -> Option<SignatureFault> {
        match self.get(keyring)? {
            Reader::Sequoia(keys) => keys.standing(key, self.now),
            Reader::Gpgme(engine) => engine.standing(key, self.now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// 15 January 2027.
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn listed_keys_that_have_expired_or_are_revoked_are_told_at_load() {
        let dir = tempfile::tempdir().unwrap();
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyrings/vectors");
        let copied = |name: &str| {
            let path = dir.path().join(name);
            fs::write(&path, fs::read(vectors.join(name)).unwrap()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let names = ["server-rsa2048.sec.asc", "client-expired.pub.asc", "client-revoked.pub.asc"];
        let files = names.map(|name| copied(name).display().to_string());
        let keys = fs::read_to_string(vectors.join("keys.json")).unwrap();
        let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
        let id = |name: &str| keys["keys"][name]["primary"]["fingerprint"].as_str().expect("a fingerprint").to_owned();
        let access = format!(
            "SOURCE ANY\nHMAC_KEY h\nGPG_ALLOW_NO_PW Y\nGPG_KEY_FILES {}\nGPG_FINGERPRINT_ID {}, {}\n",
            files.join(", "),
            id("client-expired"),
            id("client-revoked"),
        );
        let (server, _) = config::parse_server(Path::new("/fwknopd.conf"), "").unwrap();
        let mut keyrings = Keyrings::new(NOW);
        let (_, said) = config::parse_access(Path::new("/access.conf"), &access, &server, &mut keyrings, NOW).unwrap();
        let said = said.to_string();
        assert!(said.contains(&format!("the key {}: it has expired", id("client-expired"))), "{said}");
        assert!(said.contains(&format!("the key {}: it has been revoked", id("client-revoked"))), "{said}");
    }
}
