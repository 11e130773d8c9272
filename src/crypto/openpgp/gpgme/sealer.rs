//! Sealing with GnuPG: personal keys, smartcards, whatever gpg-agent guards.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;

use gpgme::{Context, Data, EncryptFlags, Error, Key, KeyAlgorithm, PinentryMode, Subkey};
use sequoia_openpgp::armor;

use super::{GnuPg, is_about_passphrase, passphrase_provider};
use crate::crypto::openpgp::agent;
use crate::crypto::openpgp::choice::{Problem, Search};
use crate::crypto::openpgp::seal::{padding_name, seal_padded};
use crate::crypto::openpgp::size::{KeyKind, Pair};
use crate::crypto::openpgp::{Role, SealError, Sealer, SignerPassphrase};

/// Makes messages with the keys of a GnuPG home.
pub struct GpgmeSealer {
    context: RefCell<Context>,
    recipient: Key,
    signer: Option<(Key, SignerPassphrase)>,
}

impl GpgmeSealer {
    /// `recipient` and the signer's name may be a fingerprint, a key id or a part of a user id, as gpg takes them. Each
    /// must mean exactly one usable key. The recipient needs no certification: naming it is trusting it.
    pub fn new(gpg: &GnuPg, recipient: &str, signer: Option<(&str, SignerPassphrase)>) -> Result<Self, SealError> {
        let mut context = gpg.context().map_err(|source| SealError::NoGpg { source })?;
        let recipient = find(&mut context, gpg, Role::Recipient, recipient)?;
        let signer = match signer {
            None => None,
            Some((name, passphrase)) => Some((find(&mut context, gpg, Role::Signer, name)?, passphrase)),
        };
        if let Some((key, passphrase)) = &signer {
            context.add_signer(key).map_err(|source| SealError::Gpg { what: "use the signing key", source })?;
            let mode = match passphrase {
                // Also where gpg.conf says loopback, as the original wants it.
                SignerPassphrase::Agent => PinentryMode::Ask,
                SignerPassphrase::Empty | SignerPassphrase::Given(_) => PinentryMode::Loopback,
            };
            context.set_pinentry_mode(mode).map_err(|source| SealError::NoGpg { source })?;
        }
        Ok(Self { context: RefCell::new(context), recipient, signer })
    }

    fn encrypt(&self, plaintext: &[u8], name_length: usize) -> Result<Vec<u8>, SealError> {
        let failed = |source| self.explain(source);
        let mut literal = Data::from_buffer(plaintext).map_err(failed)?;
        if name_length > 0 {
            literal.set_filename(padding_name(name_length)).map_err(failed)?;
        }
        let mut message = Vec::new();
        let recipients = [&self.recipient];
        let mut context = self.context.borrow_mut();
        match &self.signer {
            None => {
                context.encrypt_with_flags(recipients, &mut literal, &mut message, FLAGS).map_err(failed)?;
            }
            Some((_, SignerPassphrase::Agent)) => {
                context.sign_and_encrypt_with_flags(recipients, &mut literal, &mut message, FLAGS).map_err(failed)?;
            }
            Some((_, passphrase)) => {
                let passphrase = match passphrase {
                    SignerPassphrase::Given(passphrase) => Some(passphrase),
                    _ => None,
                };
                let sealed = context.with_passphrase_provider(passphrase_provider(passphrase), |context| {
                    context.sign_and_encrypt_with_flags(recipients, &mut literal, &mut message, FLAGS)
                });
                sealed.map_err(failed)?;
            }
        }
        Ok(without_armor(message))
    }

    fn explain(&self, source: Error) -> SealError {
        match &self.signer {
            Some((key, passphrase)) if is_about_passphrase(source) => {
                SealError::Passphrase { key: describe(key), advice: passphrase.advice() }
            }
            Some((key, _)) if signs_by_card(key) => {
                SealError::Agent(agent::Error::of_card(source.code(), &source.to_string()))
            }
            _ => SealError::Gpg { what: "encrypt the message", source },
        }
    }
}

impl Sealer for GpgmeSealer {
    fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        seal_padded(|name_length| self.encrypt(plaintext, name_length))
    }

    fn pair(&self) -> Option<Pair> {
        let signer = match &self.signer {
            Some((key, _)) => Some(kind(key, |subkey| subkey.can_sign() && subkey.is_secret())?),
            None => None,
        };
        Some(Pair { recipient: kind(&self.recipient, |subkey| subkey.can_encrypt())?, signer })
    }
}

impl fmt::Debug for GpgmeSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signer = self.signer.as_ref().map(|(key, _)| describe(key));
        write!(f, "GpgmeSealer(to {}, signed by {signer:?})", describe(&self.recipient))
    }
}

/// To whom is decided here alone: what `gpg.conf` adds would not fit a datagram. Compression makes short text longer.
const FLAGS: EncryptFlags =
    EncryptFlags::ALWAYS_TRUST.union(EncryptFlags::NO_COMPRESS).union(EncryptFlags::NO_ENCRYPT_TO);

/// The key that gpg will use: the newest.
fn newest(key: &Key, is_for_it: impl Fn(&Subkey<'_>) -> bool) -> Option<Subkey<'_>> {
    let usable = key.subkeys().filter(|subkey| is_for_it(subkey) && !subkey.is_bad());
    usable.max_by_key(Subkey::creation_time)
}

fn signs_by_card(key: &Key) -> bool {
    newest(key, |subkey| subkey.can_sign() && subkey.is_secret()).is_some_and(|subkey| subkey.is_card_key())
}

fn kind(key: &Key, is_for_it: impl Fn(&Subkey<'_>) -> bool) -> Option<KeyKind> {
    let newest = newest(key, is_for_it)?;
    let bits = newest.length();
    match newest.algorithm() {
        KeyAlgorithm::Rsa | KeyAlgorithm::RsaEncrypt | KeyAlgorithm::RsaSign => Some(KeyKind::Rsa { bits }),
        KeyAlgorithm::Elgamal | KeyAlgorithm::ElgamalEncrypt => Some(KeyKind::ElGamal { bits }),
        KeyAlgorithm::Ecdh | KeyAlgorithm::Ecdsa | KeyAlgorithm::Eddsa => KeyKind::on_curve(newest.curve().ok()?),
        _ => None,
    }
}

fn find(context: &mut Context, gpg: &GnuPg, role: Role, wanted: &str) -> Result<Key, SealError> {
    let failed = |source| SealError::Gpg { what: "list its keys", source };
    let listed = match role {
        Role::Recipient => context.find_keys([wanted]),
        Role::Signer => context.find_secret_keys([wanted]),
    };
    let keys: Vec<Key> = listed.map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    let search = Search { role, wanted, place: &gpg.place() };
    search.one(keys, |key| problem(key, role), describe)
}

fn problem(key: &Key, role: Role) -> Option<Problem> {
    let is_fit = match role {
        Role::Recipient => key.can_encrypt(),
        Role::Signer => key.can_sign(),
    };
    match () {
        () if key.is_revoked() => Some(Problem::Revoked),
        () if key.is_expired() => Some(Problem::Expired),
        () if key.is_disabled() => Some(Problem::Disabled),
        () => (!is_fit).then_some(Problem::Unfit),
    }
}

fn describe(key: &Key) -> String {
    let fingerprint = key.fingerprint().unwrap_or("?");
    match key.user_ids().next().and_then(|id| id.id().ok()) {
        Some(user_id) => format!("{fingerprint} ({user_id})"),
        None => fingerprint.to_owned(),
    }
}

/// `armor` in somebody's `gpg.conf` wins over what GPGME asks for.
fn without_armor(message: Vec<u8>) -> Vec<u8> {
    if !message.starts_with(b"-----BEGIN") {
        return message;
    }
    let mut binary = Vec::new();
    let mode = armor::ReaderMode::Tolerant(Some(armor::Kind::Message));
    let read = armor::Reader::from_bytes(&message, mode).read_to_end(&mut binary);
    if read.is_ok() { binary } else { message }
}
