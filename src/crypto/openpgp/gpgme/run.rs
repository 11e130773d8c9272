//! One run of gpg, and what it says: plain data, so that it can leave the thread in which gpg was waited for.

use std::ffi::CStr;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use gpgme::{Context, Data, Error, HashAlgorithm, PinentryMode, VerificationResult};
use zeroize::Zeroizing;

use super::{GnuPg, passphrase_provider};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::Bounds;
use crate::reason::SignatureFault;
use crate::secret::{Passphrase, Secret};

/// What came out of gpg.
pub(super) struct Read {
    pub plaintext: Secret<Vec<u8>>,
    /// The key that decrypted. `None`: an old gpg, which does not tell.
    pub key: Option<Fingerprint>,
    pub signatures: Vec<Said>,
}

/// What gpg says of one signature.
pub(super) struct Said {
    /// The key that made it. `None`: only an id is known, because the key is not.
    pub signer: Option<Fingerprint>,
    pub made: Option<SystemTime>,
    pub fault: Option<SignatureFault>,
    pub sha1: bool,
}

/// Why there is no plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// gpg cannot be used at all.
    NoGpg,
    /// gpg could not read the message, or would not.
    Refused,
    /// gpg goes no further after a signature that does not fit or has itself expired, and leaves the integrity unchecked.
    Signature(SignatureFault),
}

/// Decrypts and verifies. After any error the plaintext is dropped unseen.
pub(super) fn decrypt(gpg: &GnuPg, passphrase: Option<&Passphrase>, message: &[u8]) -> Result<Read, Failure> {
    let mut context = context(gpg, passphrase).map_err(|_| Failure::NoGpg)?;
    let (plaintext, status) = (Bounded::new(), Status::default());
    let mut out = Data::from_writer(plaintext.clone()).map_err(|_| Failure::Refused)?;
    let results = context.with_status_handler(status.handler(), |context| match passphrase {
        None => context.decrypt_and_verify(message, &mut out),
        Some(_) => context.with_passphrase_provider(passphrase_provider(passphrase), |context: &mut Context| {
            context.decrypt_and_verify(message, &mut out)
        }),
    });
    let Facts { key, intact, fault } = status.take();
    let (decryption, verification) = results.map_err(|_| fault.map_or(Failure::Refused, Failure::Signature))?;
    // gpg itself insists on integrity, unless its configuration tells it not to.
    if !intact || decryption.is_legacy_cipher_no_mdc() {
        return Err(Failure::Refused);
    }
    Ok(Read { plaintext: plaintext.take(), key, signatures: signatures(&verification) })
}

fn context(gpg: &GnuPg, passphrase: Option<&Passphrase>) -> Result<Context, Error> {
    let mut context = gpg.context()?;
    context.set_flag("full-status", "1")?;
    // Without a passphrase of ours the agent may know it. It never asks: nobody sits before a server.
    context.set_pinentry_mode(if passphrase.is_some() { PinentryMode::Loopback } else { PinentryMode::Cancel })?;
    Ok(context)
}

fn signatures(result: &VerificationResult) -> Vec<Said> {
    let said = result.signatures().map(|signature| {
        let hash = signature.hash_algorithm();
        Said {
            signer: signature.fingerprint().ok().and_then(|text| text.parse().ok()),
            made: signature.creation_time(),
            fault: match signature.status() {
                Ok(()) if WEAK.contains(&hash) => Some(SignatureFault::Weak),
                Ok(()) if signature.is_wrong_key_usage() => Some(SignatureFault::WrongUse),
                Ok(()) => None,
                Err(error) => Some(fault(error)),
            },
            sha1: hash == HashAlgorithm::Sha1,
        }
    });
    said.collect()
}

fn fault(error: Error) -> SignatureFault {
    match error.code() {
        code if code == Error::NO_PUBKEY.code() => SignatureFault::UnknownSigner,
        code if code == Error::KEY_EXPIRED.code() || code == Error::SIG_EXPIRED.code() => SignatureFault::Expired,
        code if code == Error::CERT_REVOKED.code() => SignatureFault::Revoked,
        code if code == Error::UNSUPPORTED_ALGORITHM.code() => SignatureFault::Unsupported,
        code if code == Error::DIGEST_ALGO.code() => SignatureFault::Weak,
        code if code == Error::TIME_CONFLICT.code() => SignatureFault::NotYetValid,
        code if code == Error::WRONG_KEY_USAGE.code() => SignatureFault::WrongUse,
        _ => SignatureFault::Bad,
    }
}

/// Digests that the policy of the other engine refuses, whatever a stanza says.
const WEAK: [HashAlgorithm; 2] = [HashAlgorithm::Md5, HashAlgorithm::RipeMd160];

/// What is in gpg's status lines and not in GPGME's results.
#[derive(Clone, Default)]
struct Status(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    key: Option<Fingerprint>,
    intact: bool,
    fault: Option<SignatureFault>,
}

impl Status {
    fn handler(&self) -> impl FnMut(Option<&CStr>, Option<&CStr>) -> gpgme::Result<()> + use<> {
        let status = self.clone();
        move |one, other| {
            let text = |part: Option<&CStr>| part.map(CStr::to_string_lossy).unwrap_or_default().into_owned();
            lock(&status.0).note(&text(one), &text(other));
            Ok(())
        }
    }

    fn take(&self) -> Facts {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Facts {
    /// The crate hands keyword and arguments over in the wrong order, so either is taken. A message can make gpg write
    /// words of its own choice as *arguments* of a line; they never stand alone and are no fingerprint.
    fn note(&mut self, one: &str, other: &str) {
        match (one, other) {
            ("GOODMDC", "") | ("", "GOODMDC") => self.intact = true,
            ("DECRYPTION_KEY", arguments) | (arguments, "DECRYPTION_KEY") => {
                self.key = arguments.split(' ').next().and_then(|key| key.parse().ok());
            }
            ("BADSIG", _) | (_, "BADSIG") => self.fault = Some(SignatureFault::Bad),
            ("EXPSIG", _) | (_, "EXPSIG") => self.fault = Some(SignatureFault::Expired),
            _ => {}
        }
    }
}

/// Takes no more than a plaintext may be long, whatever is packed into the message.
#[derive(Clone)]
struct Bounded(Arc<Mutex<Zeroizing<Vec<u8>>>>);

impl Bounded {
    /// Never grown, so no copy of a plaintext stays behind in freed memory.
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(Bounds::PLAINTEXT)))))
    }

    fn take(&self) -> Secret<Vec<u8>> {
        Secret::new(std::mem::take(&mut *lock(&self.0)))
    }
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let mut held = lock(&self.0);
        if held.len() + part.len() > Bounds::PLAINTEXT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        held.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_unpacked_than_a_plaintext_may_be_long() {
        let mut bounded = Bounded::new();
        assert_eq!(bounded.write(&[b'x'; Bounds::PLAINTEXT]).unwrap(), Bounds::PLAINTEXT);
        assert!(bounded.write(b"y").is_err());
        assert_eq!(bounded.take().expose().len(), Bounds::PLAINTEXT);
    }

    #[test]
    fn a_message_cannot_put_words_into_gpgs_mouth() {
        let facts = |lines: &[(&str, &str)]| {
            let mut facts = Facts::default();
            lines.iter().for_each(|(one, other)| facts.note(one, other));
            (facts.intact, facts.key)
        };
        let key = "C302E131A0C3DB54381ADDA8C284E5A7589D1439";
        let told = format!("{key} D3939AEF57059512C5F71C54EC7D9871B128A32E -");
        let expected = (true, Some(key.parse().unwrap()));
        assert_eq!(facts(&[("DECRYPTION_KEY", &told), ("GOODMDC", "")]), expected);
        assert_eq!(facts(&[(&told, "DECRYPTION_KEY"), ("", "GOODMDC")]), expected);
        // Notations, file names and user ids are the sender's own words.
        assert_eq!(facts(&[("NOTATION_DATA", "GOODMDC"), ("GOODMDC", "NOTATION_DATA")]), (false, None));
        assert_eq!(facts(&[("NOTATION_DATA", "DECRYPTION_KEY"), ("PLAINTEXT", &told)]), (false, None));
    }
}
