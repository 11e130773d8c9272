//! Sealing in this process, with keys from files: no GnuPG needed.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::ValidCert;
use pgp::crypto::{self, KeyPair, mpi};
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::policy::StandardPolicy;
use pgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient, Signer};
use pgp::types::{Features, HashAlgorithm};

use super::keys::{certs, user_id};
use super::names::Wanted;
use super::policy;
use super::unlock::{Lock, unlock};
use crate::crypto::openpgp::seal::{padding_name, seal_padded};
use crate::crypto::openpgp::{Role, SealError, Sealer};
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
    recipient: Cert,
    encryption: Key<PublicParts, UnspecifiedRole>,
    signer: Option<Mutex<SigningKey>>,
    now: Timestamp,
}

/// A key that signs, wherever its secret is.
pub type SigningKey = Box<dyn crypto::Signer + Send + Sync>;

impl SequoiaSealer {
    /// `now` is also the date of the signatures.
    pub fn new(
        recipient: KeyFile<'_>,
        signer: Option<(KeyFile<'_>, Option<&Passphrase>)>,
        now: Timestamp,
    ) -> Result<Self, SealError> {
        let cert = pick(recipient, Role::Recipient)?;
        let signer: Option<SigningKey> = match signer {
            None => None,
            Some((file, passphrase)) => {
                let cert = pick(file, Role::Signer)?;
                let policy = policy(now);
                Some(Box::new(signing_key(&usable(&cert, Role::Signer, &policy, now)?, passphrase)?))
            }
        };
        Self::from_parts(cert, signer, now)
    }

    /// With a certificate and a key that have been chosen already.
    pub fn from_parts(recipient: Cert, signer: Option<SigningKey>, now: Timestamp) -> Result<Self, SealError> {
        let policy = policy(now);
        let encryption = encryption_key(&usable(&recipient, Role::Recipient, &policy, now)?)
            .ok_or_else(|| unusable(&recipient, Role::Recipient, "it has no valid key for encryption", ASK_ADMIN))?;
        Ok(Self { recipient: recipient.strip_secret_key_material(), encryption, signer: signer.map(Mutex::new), now })
    }

    fn encrypt(&self, plaintext: &[u8], name_length: usize) -> Result<Vec<u8>, SealError> {
        let sealed = self.write(plaintext, name_length, true).and_then(|sealed| match sealed.len() {
            ..=ROOM => Ok(sealed),
            _ => self.write(plaintext, name_length, false),
        });
        sealed.map_err(|error| SealError::Sequoia(error.to_string()))
    }

    fn write(&self, plaintext: &[u8], name_length: usize, intended: bool) -> pgp::Result<Vec<u8>> {
        let mut sealed = Vec::new();
        let mut key = self.signer.as_ref().map(|key| key.lock().unwrap_or_else(PoisonError::into_inner));
        // Version 1 and its modification detection code: what every GnuPG reads.
        let features = Features::empty().set_seipdv1();
        let recipient = Recipient::new(features, self.encryption.key_handle(), &self.encryption);
        let mut message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build()?;
        if let Some(key) = &mut key {
            let mut signer = Signer::new(message, Lent(key))?.creation_time(self.now.to_system_time());
            if intended {
                // Whom the message is for, so that no other server can be knocked at with it.
                signer = signer.add_intended_recipient(&self.recipient);
            }
            message = signer.build()?;
        }
        let mut literal = LiteralWriter::new(message).filename(padding_name(name_length))?.build()?;
        literal.write_all(plaintext)?;
        literal.finalize()?;
        Ok(sealed)
    }
}

/// A signing key for the time of one message.
struct Lent<'a>(&'a mut SigningKey);

impl crypto::Signer for Lent<'_> {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        self.0.public()
    }

    fn acceptable_hashes(&self) -> &[HashAlgorithm] {
        self.0.acceptable_hashes()
    }

    fn sign(&mut self, hash: HashAlgorithm, digest: &[u8]) -> pgp::Result<mpi::Signature> {
        self.0.sign(hash, digest)
    }
}

impl Sealer for SequoiaSealer {
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        seal_padded(|name_length| self.encrypt(plaintext, name_length))
    }
}

impl fmt::Debug for SequoiaSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequoiaSealer(to {}, signed: {})", self.recipient.fingerprint(), self.signer.is_some())
    }
}

/// Octets of a message that fit one Ethernet datagram with the longest HMAC: (1472 - 86 + 2) characters of base64. Where
/// two long RSA keys meet, naming the intended recipient would not leave it sendable.
const ROOM: usize = 1041;

const ASK_ADMIN: &str = "ask the server's administrator for its current key";
const NEW_KEY: &str = "make a new key, or prolong it, and give the server the new public key";

fn advice(role: Role) -> &'static str {
    match role {
        Role::Recipient => ASK_ADMIN,
        Role::Signer => NEW_KEY,
    }
}

/// Exactly one certificate.
fn pick(file: KeyFile<'_>, role: Role) -> Result<Cert, SealError> {
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

fn usable<'a>(
    cert: &'a Cert,
    role: Role,
    policy: &'a StandardPolicy<'a>,
    now: Timestamp,
) -> Result<ValidCert<'a>, SealError> {
    let no = |problem| unusable(cert, role, problem, advice(role));
    let valid = cert
        .with_policy(policy, now.to_system_time())
        .map_err(|_| no("it is made with algorithms that are no longer safe"))?;
    if matches!(valid.revocation_status(), pgp::types::RevocationStatus::Revoked(_)) {
        return Err(no("it is revoked"));
    }
    valid.alive().map_err(|_| no("it has expired"))?;
    Ok(valid)
}

fn encryption_key(cert: &ValidCert<'_>) -> Option<Key<PublicParts, UnspecifiedRole>> {
    let keys = cert.keys().supported().alive().revoked(false).for_transport_encryption().for_storage_encryption();
    // The newest, as gpg chooses.
    keys.max_by_key(|key| key.key().creation_time()).map(|key| key.key().clone())
}

fn signing_key(cert: &ValidCert<'_>, passphrase: Option<&Passphrase>) -> Result<KeyPair, SealError> {
    let keys = cert.keys().secret().supported().alive().revoked(false).for_signing();
    let key = keys.max_by_key(|key| key.key().creation_time());
    let key = key
        .ok_or_else(|| unusable(cert.cert(), Role::Signer, "the file holds no valid secret key that signs", NEW_KEY))?;
    unlock(key.key().clone(), passphrase).map_err(|lock| match lock {
        Lock::NoPassphrase => SealError::Passphrase { key: describe(cert.cert()), advice: "give one" },
        Lock::WrongPassphrase => SealError::Passphrase { key: describe(cert.cert()), advice: "give the right one" },
        Lock::Unsupported | Lock::Elsewhere => {
            unusable(cert.cert(), Role::Signer, "its secret part is not in the file, or of an unknown kind", NEW_KEY)
        }
    })
}

fn unusable(cert: &Cert, role: Role, problem: &'static str, advice: &'static str) -> SealError {
    SealError::Unusable { role, key: describe(cert), problem, advice }
}

fn describe(cert: &Cert) -> String {
    format!("{:X} ({})", cert.fingerprint(), user_id(cert))
}
