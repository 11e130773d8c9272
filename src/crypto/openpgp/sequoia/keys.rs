//! The certificates and secret keys of one keyring, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::cert::CertParser;
use pgp::cert::amalgamation::key::{ErasedKeyAmalgamation, PrimaryKey as _};
use pgp::packet::key::PublicParts;
use pgp::parse::Parse;
use pgp::{Cert, KeyHandle, KeyID};

use super::doubt::{Doubt, Source};
use super::judge::{Judge, printable};
use super::kind;
use super::names::{Found, Wanted};
use super::policy;
use super::secret::{Holder, SecretKey};
use super::unlock::{Lock, may_decrypt, unlock};
use crate::crypto::openpgp::{Fingerprint, KeyPath, Signature};
use crate::reason::SignatureFault;
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// A keyring. Certificates verify; secret keys, unlocked once when they are added or left with gpg-agent, decrypt.
///
/// Unlocked secrets lie in Sequoia's memory, which is encrypted while they are not in use and zeroed when freed.
#[derive(Default)]
pub struct Keys {
    /// By the fingerprint of the primary key. Without secrets.
    certs: BTreeMap<pgp::Fingerprint, Cert>,
    /// Which certificates hold a key with this id: primary key or subkey.
    by_id: HashMap<KeyID, BTreeSet<pgp::Fingerprint>>,
    secrets: Vec<SecretKey>,
}

/// Something in a keyring that will not work. The rest of it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    #[error(
        "secret key {key} ({user_id}) has a passphrase and none is given: messages to it cannot be read\n     set GPG_DECRYPT_PW, or take the passphrase away with: gpg --edit-key {key} passwd"
    )]
    NoPassphrase { key: Fingerprint, user_id: String },
    #[error(
        "the passphrase given does not unlock secret key {key} ({user_id}): messages to it cannot be read\n     correct GPG_DECRYPT_PW"
    )]
    WrongPassphrase { key: Fingerprint, user_id: String },
    #[error(
        "secret key {key} ({user_id}) is of a kind that cannot decrypt here ({algorithm})\n     use a server key with RSA or Curve25519, or let gpg read with GPG_ENGINE gpgme"
    )]
    Unsupported { key: Fingerprint, user_id: String, algorithm: String },
    #[error(
        "the secret part of key {key} ({user_id}) is on a card or was left out: messages to it cannot be read\n     set GPG_SECRET_KEYS agent if it is on a card, or use a server key whose secret part is in the keyring"
    )]
    Elsewhere { key: Fingerprint, user_id: String },
    #[error(
        "secret key {key} ({user_id}) has a passphrase: none is given, and gpg-agent does not know it now, so messages to it cannot be read until it does\n     set GPG_DECRYPT_PW, enter it with: gpg --decrypt, or take the passphrase away with: gpg --edit-key {key} passwd"
    )]
    Locked { key: Fingerprint, user_id: String },
    #[error("secret key {key} ({user_id}) cannot be used at present: {problem}")]
    Unusable { key: Fingerprint, user_id: String, problem: String },
    #[error(
        "the certificate {0} has a revocation that is damaged, so nobody knows what it revokes: it is left out\n     get the certificate anew from its owner"
    )]
    DamagedRevocation(Named),
    #[error(
        "in the certificate {0} something is damaged, or does not belong there: if it was a revocation, it is lost\n     get the certificate anew from its owner"
    )]
    DamagedSignature(Named),
    #[error("one of the certificates cannot be read and is left out: {problem}")]
    Unreadable { problem: String },
}

impl Notice {
    /// The key it is about.
    pub fn key(&self) -> Option<&Fingerprint> {
        match self {
            Notice::NoPassphrase { key, .. }
            | Notice::WrongPassphrase { key, .. }
            | Notice::Unsupported { key, .. }
            | Notice::Elsewhere { key, .. }
            | Notice::Locked { key, .. }
            | Notice::Unusable { key, .. } => Some(key),
            Notice::Unreadable { .. } | Notice::DamagedRevocation(_) | Notice::DamagedSignature(_) => None,
        }
    }
}

/// A certificate as people are told of it: fingerprint and user id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

impl Named {
    fn of(cert: &Cert) -> Self {
        Self(format!("{} ({})", cert.fingerprint().to_hex(), user_id(cert)))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// There is no certificate in what should be a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no OpenPGP certificate or key in it")]
pub struct Unreadable;

impl Keys {
    /// Adds all certificates and secret keys in `data`: binary, or one or more armored blocks. A certificate that is
    /// there already is merged with it. What does not work is told, and does not keep the rest from working.
    ///
    /// A protected key costs a deliberately slow key derivation: about 0.2 seconds each.
    pub fn add(
        &mut self,
        data: &[u8],
        passphrase: Option<&Passphrase>,
        now: Timestamp,
    ) -> Result<Vec<Notice>, Unreadable> {
        let (certs, mut notices) = certs(data);
        let left_out = notices.iter().any(|notice| matches!(notice, Notice::DamagedRevocation(_)));
        if certs.is_empty() && !left_out {
            return Err(Unreadable);
        }
        for cert in certs {
            self.add_secrets(&cert, passphrase, now, &mut notices);
            self.add_cert(cert.strip_secret_key_material());
        }
        Ok(notices)
    }

    /// Finds keys by a full fingerprint, by the last 16 or 8 digits of one (any case, `0x`, blanks between the digits),
    /// by e-mail address, or by a part of a user id. Digits name the primary key or subkey that has them, anything else
    /// the primary key.
    pub fn find(&self, name: &str) -> Found {
        Wanted::of(name).among(&self.certs)
    }

    /// Whose signature it is when `key` has made one that somebody else has verified, and what is wrong with that key
    /// now: one for each certificate that holds it.
    pub fn holders(&self, key: &Fingerprint, made: Option<SystemTime>, now: Timestamp) -> Vec<Signature> {
        let policy = policy(now);
        let judge = Judge { keys: self, policy: &policy, recipient: key, now };
        handle_of(key).map_or_else(Vec::new, |handle| judge.holders(&handle, made))
    }

    /// What would be wrong now with every signature by this key, or, if it is a primary key, by any key of its
    /// certificate. For telling at load that a listed signer cannot be used.
    pub fn standing(&self, key: &Fingerprint, now: Timestamp) -> Option<SignatureFault> {
        let policy = policy(now);
        let judge = Judge { keys: self, policy: &policy, recipient: key, now };
        let handle = handle_of(key)?;
        let mut faults = Vec::new();
        for named in self.named(&[handle]) {
            let meant = named.cert().keys().filter(|other| named.primary() || other.key() == named.key());
            faults.extend(meant.map(|key| judge.key_fault(&key, now.to_system_time())));
        }
        if faults.contains(&None) {
            return None;
        }
        // Every certificate has keys that are not for signing. That is the reason only when there is no other.
        let mut faults = faults.into_iter().flatten();
        let first = faults.next().unwrap_or(SignatureFault::UnknownSigner);
        Some(if first == SignatureFault::WrongUse {
            faults.find(|fault| *fault != first).unwrap_or(first)
        } else {
            first
        })
    }

    /// The certificates: primary key and user id.
    pub fn certificates(&self) -> impl Iterator<Item = (Fingerprint, String)> {
        self.certs.values().filter_map(|cert| Some((fingerprint(&cert.fingerprint())?, user_id(cert))))
    }

    /// The keys that can decrypt now.
    pub fn decrypting(&self) -> impl Iterator<Item = &KeyPath> {
        self.secrets.iter().map(|secret| &secret.path)
    }

    pub(super) fn add_secret(&mut self, secret: SecretKey) {
        self.secrets.push(secret);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Cert> {
        self.certs.values()
    }

    pub(super) fn secrets(&self) -> &[SecretKey] {
        &self.secrets
    }

    /// All keys with one of these ids or fingerprints.
    pub(super) fn named(&self, ids: &[KeyHandle]) -> impl Iterator<Item = ErasedKeyAmalgamation<'_, PublicParts>> {
        let primaries = ids.iter().filter_map(|id| self.by_id.get(&KeyID::from(id))).flatten();
        let certs: BTreeSet<_> = primaries.collect();
        let certs = certs.into_iter().filter_map(|primary| self.certs.get(primary));
        certs.flat_map(|cert| cert.keys()).filter(|key| ids.iter().any(|id| id.aliases(key.key().key_handle())))
    }

    pub(super) fn add_cert(&mut self, cert: Cert) {
        let primary = cert.fingerprint();
        // Both halves are the same certificate, so merging cannot fail.
        let merged = match self.certs.remove(&primary) {
            Some(known) => known.clone().merge_public(cert).unwrap_or(known),
            None => cert,
        };
        for key in merged.keys() {
            self.by_id.entry(key.key().keyid()).or_default().insert(primary.clone());
        }
        self.certs.insert(primary, merged);
    }

    fn add_secrets(&mut self, cert: &Cert, passphrase: Option<&Passphrase>, now: Timestamp, notices: &mut Vec<Notice>) {
        for key in cert.keys().secret() {
            let Some(path) = KeyPath::of(&key.clone().parts_into_public()) else { continue };
            let known = self.secrets.iter().any(|secret| secret.path == path);
            if known || !may_decrypt(&key.clone().parts_into_public(), now) {
                continue;
            }
            let algorithm = key.key().pk_algo();
            let of_kind = kind::algorithm(key.key());
            let about = || (path.key.clone(), user_id(cert));
            let pair = unlock(key.key().clone(), passphrase).map_err(|lock| {
                let (key, user_id) = about();
                match lock {
                    Lock::NoPassphrase => Notice::NoPassphrase { key, user_id },
                    Lock::WrongPassphrase => Notice::WrongPassphrase { key, user_id },
                    Lock::Unsupported => Notice::Unsupported { key, user_id, algorithm: of_kind },
                    Lock::Elsewhere => Notice::Elsewhere { key, user_id },
                }
            });
            match pair {
                Ok(pair) => {
                    let handle = key.key().key_handle();
                    self.secrets.push(SecretKey::new(path, handle, algorithm, Holder::Memory(Box::new(pair))));
                }
                Err(notice) => notices.push(notice),
            }
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} certificates, {} secret keys)", self.certs.len(), self.secrets.len())
    }
}

impl KeyPath {
    pub(super) fn of(key: &ErasedKeyAmalgamation<'_, PublicParts>) -> Option<Self> {
        Some(Self { primary: fingerprint(&key.cert().fingerprint())?, key: fingerprint(&key.key().fingerprint())? })
    }
}

/// `None` for versions of keys that cannot be named by a full fingerprint.
pub(super) fn fingerprint(fingerprint: &pgp::Fingerprint) -> Option<Fingerprint> {
    Fingerprint::from_bytes(fingerprint.as_bytes())
}

pub(super) fn handle_of(key: &Fingerprint) -> Option<KeyHandle> {
    let version = if key.as_bytes().len() == 20 { 4 } else { 6 };
    pgp::Fingerprint::from_bytes(version, key.as_bytes()).ok().map(KeyHandle::Fingerprint)
}

pub(super) fn user_id(cert: &Cert) -> String {
    cert.userids().next().map_or_else(|| "no user id".to_owned(), |id| printable(id.userid().value()))
}

/// All certificates in `data`, and what could not be read.
pub(super) fn certs(data: &[u8]) -> (Vec<Cert>, Vec<Notice>) {
    let mut certs = Vec::new();
    let mut notices = Vec::new();
    for block in blocks(data) {
        let Ok(parser) = CertParser::from_bytes(block) else { continue };
        let source = Source::new(block);
        for cert in parser {
            match cert {
                Ok(cert) => match source.doubt(&cert) {
                    Some(Doubt::Revocation) => notices.push(Notice::DamagedRevocation(Named::of(&cert))),
                    doubt => {
                        notices.extend(doubt.map(|_| Notice::DamagedSignature(Named::of(&cert))));
                        certs.push(cert);
                    }
                },
                Err(error) => notices.push(Notice::Unreadable { problem: printable(error.to_string().as_bytes()) }),
            }
        }
    }
    (certs, notices)
}

/// Splits armored text at its blocks: users concatenate exported keys, and a parser reads only the first.
fn blocks(data: &[u8]) -> Vec<&[u8]> {
    const BEGIN: &[u8] = b"-----BEGIN PGP";
    let mut starts: Vec<usize> =
        data.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return vec![data];
    }
    starts.push(data.len());
    starts.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect()
}
