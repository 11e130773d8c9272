//! Sealing in this process: with keys from files, which needs no GnuPG, or with a signature by gpg-agent.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::ValidCert;
use pgp::crypto::{self, KeyPair};
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::policy::StandardPolicy;

use super::keys::{certs, user_id};
use super::kind::{kind, needs_gpg};
use super::names::Wanted;
use super::pack::Packing;
use super::policy;
use super::unlock::{Lock, unlock};
use crate::crypto::openpgp::agent;
use crate::crypto::openpgp::choice::NEEDS_GPG;
use crate::crypto::openpgp::seal::framed;
use crate::crypto::openpgp::size::{KeyKind, Pair, Shape};
use crate::crypto::openpgp::{Role, SealError, Sealer, SignerPassphrase};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Keys as they come from a file, and which of them is meant.
#[derive(Clone, Copy)]
pub struct KeyFile<'a> {
    /// Armored or binary.
    pub data: &'a [u8],
    /// A fingerprint, key id or part of a user id. `None`: there is only one.
    pub wanted: Option<&'a str>,
    /// Where it comes from, for messages to the user.
    pub place: &'a str,
}

/// Makes messages with one certificate and, optionally, one signing key.
pub struct SequoiaSealer {
    /// Of the primary key.
    fingerprint: pgp::Fingerprint,
    encryption: Key<PublicParts, UnspecifiedRole>,
    signer: Option<Signing>,
    pair: Pair,
    now: Timestamp,
}

/// The key that signs, wherever its secret is.
pub(super) struct Signing {
    key: Mutex<SigningKey>,
    kind: KeyKind,
    /// For messages to the user.
    owner: String,
    passphrase: SignerPassphrase,
}

pub(super) type SigningKey = Box<dyn crypto::Signer + Send + Sync>;

impl Signing {
    pub fn new(key: SigningKey, owner: &Cert, passphrase: SignerPassphrase) -> Result<Self, SealError> {
        let kind = kind(key.public(), owner, Role::Signer)?;
        Ok(Self { key: Mutex::new(key), kind, owner: describe(owner), passphrase })
    }
}

impl SequoiaSealer {
    /// With keys from files. `now` is also the date of the signatures.
    pub fn new(
        recipient: KeyFile<'_>,
        signer: Option<(KeyFile<'_>, Option<&Passphrase>)>,
        now: Timestamp,
    ) -> Result<Self, SealError> {
        let cert = pick(recipient, Role::Recipient)?;
        let signer = match signer {
            None => None,
            Some((file, passphrase)) => {
                let cert = pick(file, Role::Signer)?;
                let policy = policy(now);
                let key = signing_key(&usable(&cert, Role::Signer, &policy, now)?, passphrase)?;
                let passphrase = passphrase.cloned().map_or(SignerPassphrase::Empty, SignerPassphrase::Given);
                Some(Signing::new(Box::new(key), &cert, passphrase)?)
            }
        };
        Self::with(&cert, signer, now)
    }

    /// With a certificate and a key that have been chosen already.
    pub(super) fn with(recipient: &Cert, signer: Option<Signing>, now: Timestamp) -> Result<Self, SealError> {
        let encryption = recipient_key(recipient, now)?;
        let pair = Pair {
            recipient: kind(&encryption, recipient, Role::Recipient)?,
            signer: signer.as_ref().map(|signer| signer.kind),
        };
        Ok(Self { fingerprint: recipient.fingerprint(), encryption, signer, pair, now })
    }

    fn packing(&self, shape: Shape) -> Packing<'_> {
        let (recipient, encryption) = (&self.fingerprint, &self.encryption);
        Packing { recipient, encryption, made: self.now.to_system_time(), shape }
    }
}

impl Sealer for SequoiaSealer {
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let packing = self.packing(self.pair.shape(plaintext.len()));
        let packed = match &self.signer {
            None => packing.pack(plaintext, None).map_err(|error| SealError::Sequoia(error.to_string())),
            Some(signer) => {
                let mut key = signer.key.lock().unwrap_or_else(PoisonError::into_inner);
                packing.pack(plaintext, Some(&mut **key)).map_err(|error| signer.explain(error))
            }
        };
        framed(packed?)
    }

    fn pair(&self) -> Option<Pair> {
        Some(self.pair)
    }
}

impl Signing {
    /// Keys in this process do not fail; an agent may not have got the passphrase.
    fn explain(&self, error: pgp::anyhow::Error) -> SealError {
        match error.downcast::<agent::Error>() {
            Ok(error) if error.is_about_passphrase() => {
                SealError::Passphrase { key: self.owner.clone(), advice: self.passphrase.advice() }
            }
            Ok(error) => SealError::Agent(error),
            Err(error) => SealError::Sequoia(error.to_string()),
        }
    }
}

impl fmt::Debug for SequoiaSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequoiaSealer(to {}, signed: {})", self.fingerprint, self.signer.is_some())
    }
}

pub(super) const ASK_ADMIN: &str = "ask the server's administrator for its current key";
pub(super) const NEW_KEY: &str = "make a new key, or prolong it, and give the server the new public key";

pub(super) fn advice(role: Role) -> &'static str {
    match role {
        Role::Recipient => ASK_ADMIN,
        Role::Signer => NEW_KEY,
    }
}

/// Exactly one certificate.
pub(super) fn pick(file: KeyFile<'_>, role: Role) -> Result<Cert, SealError> {
    let (certs, _) = certs(file.data);
    let mut matching: Vec<Cert> =
        certs.into_iter().filter(|cert| file.wanted.is_none_or(|wanted| Wanted::of(wanted).is(cert))).collect();
    let wanted = file.wanted.unwrap_or_default().to_owned();
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => Err(SealError::NoKey {
            role,
            wanted,
            place: file.place.to_owned(),
            advice: match role {
                Role::Recipient => "name a file with the server's public key, as gpg --export writes it",
                Role::Signer => "name a file with your secret key, as gpg --export-secret-keys writes it",
            },
        }),
        _ => Err(SealError::SeveralKeys {
            role,
            wanted,
            place: file.place.to_owned(),
            found: matching.iter().map(describe).collect::<Vec<_>>().join(", "),
        }),
    }
}

pub(super) fn usable<'a>(
    cert: &'a Cert,
    role: Role,
    policy: &'a StandardPolicy<'a>,
    now: Timestamp,
) -> Result<ValidCert<'a>, SealError> {
    let no = |problem| unusable(cert, role, problem, advice(role));
    let valid = cert
        .with_policy(policy, now.to_system_time())
        .map_err(|_| unfit(cert, role, "it is made with algorithms that are no longer safe", advice(role)))?;
    if matches!(valid.revocation_status(), pgp::types::RevocationStatus::Revoked(_)) {
        return Err(no("it is revoked"));
    }
    valid.alive().map_err(|_| no("it has expired"))?;
    Ok(valid)
}

pub(super) fn recipient_key(cert: &Cert, now: Timestamp) -> Result<Key<PublicParts, UnspecifiedRole>, SealError> {
    encryption_key(&usable(cert, Role::Recipient, &policy(now), now)?)
        .ok_or_else(|| unfit(cert, Role::Recipient, "it has no valid key for encryption", ASK_ADMIN))
}

pub(super) fn encryption_key(cert: &ValidCert<'_>) -> Option<Key<PublicParts, UnspecifiedRole>> {
    let keys = cert.keys().supported().alive().revoked(false).for_transport_encryption().for_storage_encryption();
    // The newest, as gpg chooses.
    keys.max_by_key(|key| key.key().creation_time()).map(|key| key.key().clone())
}

fn signing_key(cert: &ValidCert<'_>, passphrase: Option<&Passphrase>) -> Result<KeyPair, SealError> {
    let keys = cert.keys().secret().supported().alive().revoked(false).for_signing();
    let key = keys.max_by_key(|key| key.key().creation_time());
    let key =
        key.ok_or_else(|| unfit(cert.cert(), Role::Signer, "the file holds no valid secret key that signs", NEW_KEY))?;
    unlock(key.key().clone(), passphrase).map_err(|lock| match lock {
        Lock::NoPassphrase => SealError::Passphrase { key: describe(cert.cert()), advice: "give one" },
        Lock::WrongPassphrase => SealError::Passphrase { key: describe(cert.cert()), advice: "give the right one" },
        Lock::Unsupported => unfit(cert.cert(), Role::Signer, "its secret part is of an unknown kind", NEW_KEY),
        Lock::Elsewhere => unusable(
            cert.cert(),
            Role::Signer,
            "its secret part is not in the file: it is on a card, or was left out",
            "name both keys as they are called in GnuPG, and no files: then gpg-agent signs, also with a card",
        ),
    })
}

pub(super) fn unusable(cert: &Cert, role: Role, problem: &'static str, advice: &'static str) -> SealError {
    SealError::Unusable { role, key: describe(cert), problem, advice }
}

/// Nothing valid was found in it; which may be for want of arithmetic.
pub(super) fn unfit(cert: &Cert, role: Role, problem: &'static str, advice: &'static str) -> SealError {
    let (problem, advice) = if needs_gpg(cert, role) { NEEDS_GPG } else { (problem, advice) };
    unusable(cert, role, problem, advice)
}

pub(super) fn describe(cert: &Cert) -> String {
    format!("{:X} ({})", cert.fingerprint(), user_id(cert))
}
