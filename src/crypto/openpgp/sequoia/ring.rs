//! The certificates of a keyring, to be looked at: by name, and those whose secret half is here.

use std::fmt;

use sequoia_openpgp as pgp;

use pgp::Cert;

use super::about::{About, AboutKey, Certificate};
use super::keys::{certs, fingerprint, user_id};
use super::names::Wanted;
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::agent::{Protection, Stored};
use crate::time::Timestamp;

/// Certificates. Nothing is verified before somebody asks about one.
pub struct Ring(Vec<Cert>);

impl Ring {
    /// All that are in `data`, armored or binary.
    pub fn read(data: &[u8]) -> Self {
        Self(certs(data).0)
    }

    /// A certificate that is there already is merged with it.
    pub fn add(&mut self, data: &[u8]) {
        for cert in certs(data).0 {
            match self.0.iter_mut().find(|known| known.fingerprint() == cert.fingerprint()) {
                // Both halves are the same certificate, so merging cannot fail.
                Some(known) => *known = known.clone().merge_public(cert).unwrap_or_else(|_| known.clone()),
                None => self.0.push(cert),
            }
        }
    }

    /// Those that a name means: by the digits of a key, else by a whole e-mail address, else by a part of a user id.
    pub fn named(&self, name: &str, now: Timestamp) -> Vec<Certificate> {
        Wanted::of(name).choose(&self.0).into_iter().filter_map(|cert| Certificate::of(cert.clone(), now)).collect()
    }

    /// Fingerprint and user id of each.
    pub fn names(&self) -> impl Iterator<Item = (Fingerprint, String)> {
        self.0.iter().filter_map(|cert| Some((fingerprint(&cert.fingerprint())?, user_id(cert))))
    }

    /// Those of which an agent has a secret key.
    pub fn own(&self, stored: &[Stored], now: Timestamp) -> Vec<Own> {
        self.0.iter().filter_map(|cert| Own::of(cert, stored, now)).collect()
    }
}

/// A certificate of which at least one secret key is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub about: About,
    secrets: Vec<(Fingerprint, SecretPlace)>,
}

impl Own {
    fn of(cert: &Cert, stored: &[Stored], now: Timestamp) -> Option<Self> {
        let secret = |key: pgp::cert::amalgamation::key::ErasedKeyAmalgamation<'_, _>| {
            let stored = stored.iter().find(|stored| stored.is(key.key().mpis()))?;
            Some((fingerprint(&key.key().fingerprint())?, SecretPlace::of(&stored.protection)))
        };
        let secrets: Vec<_> = cert.keys().filter_map(secret).collect();
        if secrets.is_empty() { None } else { Some(Self { about: About::of(cert, now)?, secrets }) }
    }

    /// Where the secret half of one of its keys is. `None`: not here.
    pub fn place(&self, key: &Fingerprint) -> Option<SecretPlace> {
        self.secrets.iter().find(|(held, _)| held == key).map(|(_, place)| *place)
    }

    /// The key that signs: the newest of those whose secret is here.
    pub fn signing(&self) -> Option<(&AboutKey, SecretPlace)> {
        if !self.about.is_usable() {
            return None;
        }
        self.about.signing().into_iter().find_map(|key| Some((key, self.place(&key.fingerprint)?)))
    }
}

/// Where the secret half of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// In a file of gpg-agent's, without a passphrase.
    Open,
    /// In a file of gpg-agent's, behind a passphrase.
    Protected,
    Card,
}

impl SecretPlace {
    fn of(protection: &Protection) -> Self {
        match protection {
            Protection::Card { .. } => SecretPlace::Card,
            Protection::Passphrase { .. } => SecretPlace::Protected,
            Protection::None => SecretPlace::Open,
        }
    }

    /// One word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            SecretPlace::Open => "open",
            SecretPlace::Protected => "protected",
            SecretPlace::Card => "card",
        }
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretPlace::Open => "on disk, without a passphrase",
            SecretPlace::Protected => "on disk, with a passphrase",
            SecretPlace::Card => "on a card",
        })
    }
}
