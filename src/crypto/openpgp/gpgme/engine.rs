//! Reading with GnuPG itself (`GPG_ENGINE gpgme`): gpg decrypts and does the arithmetic of each signature, and no secret
//! key enters this process. It also reads what Sequoia over Nettle does not: ElGamal, brainpool, bzip2, GnuPG's own OCB.
//!
//! Three things are not left to gpg. A message that is not addressed to a key of ours never starts it. A signer is judged
//! as of now by the certificate, as in the other engine, since gpg goes by the date in the signature. And what it says
//! counts only when it succeeded: after an error the plaintext is dropped unseen.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use gpgme::{Context, Data, DecryptionResult, Error, HashAlgorithm, PinentryMode, VerificationResult};
use zeroize::Zeroizing;

use super::{GnuPg, passphrase_provider};
use crate::crypto::openpgp::sequoia::{Addressed, Bounds, Keys};
use crate::crypto::openpgp::{Engine, Fingerprint, KeyPath, Opened, Signature};
use crate::reason::{Reason, SignatureFault};
use crate::secret::{Passphrase, Secret};
use crate::time::Timestamp;

/// A GnuPG home whose keys stay there.
pub struct GpgmeEngine {
    gpg: GnuPg,
    passphrase: Option<Passphrase>,
    /// The certificates of the home, without secrets.
    certificates: Keys,
    /// The keys of the home that decrypt.
    decrypting: Vec<KeyPath>,
    /// Runs of gpg that have not come back in time.
    lost: Arc<AtomicUsize>,
}

impl GpgmeEngine {
    /// `passphrase` unlocks the secret keys; without one the agent must know it or the keys have none: nobody is asked.
    pub fn new(gpg: GnuPg, passphrase: Option<Passphrase>, certificates: Keys, decrypting: Vec<KeyPath>) -> Self {
        Self { gpg, passphrase, certificates, decrypting, lost: Arc::default() }
    }

    pub fn certificates(&self) -> &Keys {
        &self.certificates
    }

    pub fn decrypting(&self) -> &[KeyPath] {
        &self.decrypting
    }

    /// Runs gpg in a thread of its own and waits for it, but not for ever.
    fn run(&self, message: &[u8]) -> Option<Read> {
        if self.lost.fetch_add(1, Ordering::Relaxed) >= MOST_RUNS {
            self.lost.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (gpg, passphrase, lost) = (self.gpg.clone(), self.passphrase.clone(), self.lost.clone());
        let message = message.to_vec();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            // Whoever waited may have given up.
            let _ = tell.send(decrypt(&gpg, passphrase.as_ref(), &message).ok());
            lost.fetch_sub(1, Ordering::Relaxed);
        });
        told.recv_timeout(PATIENCE).ok().flatten()
    }

    /// The key that decrypted, where that is certain: gpg does not tell which of several it took.
    fn recipient(&self, addressed: &Addressed, read: &Read) -> Option<KeyPath> {
        let named = addressed.among(&self.decrypting);
        let usable = |path: &&&KeyPath| !read.without_secret.iter().any(|id| path.key.ends_with(id));
        let mut usable = named.iter().filter(usable);
        match (usable.next(), usable.next(), addressed.hidden) {
            (Some(path), None, false) => Some((*path).clone()),
            _ => None,
        }
    }
}

impl Engine for GpgmeEngine {
    fn open(&self, message: &[u8], now: Timestamp) -> Result<Opened, Reason> {
        let addressed = Addressed::read(message).ok_or(Reason::GpgDecrypt)?;
        let may_be_ours = match addressed.hidden {
            true => !self.decrypting.is_empty(),
            false => !addressed.among(&self.decrypting).is_empty(),
        };
        if !may_be_ours {
            return Err(Reason::GpgDecrypt);
        }
        let read = self.run(message).ok_or(Reason::GpgDecrypt)?;
        let recipient = self.recipient(&addressed, &read);
        let signatures = read.signatures.iter().flat_map(|said| self.judge(said, now)).collect();
        Ok(Opened { plaintext: read.plaintext, recipient, signatures })
    }
}

impl GpgmeEngine {
    /// What gpg says of a signature, and what the certificate says of its key now. One verdict for each certificate that
    /// holds the key.
    fn judge(&self, said: &Said, now: Timestamp) -> Vec<Signature> {
        let nobody = |fault| vec![Signature { by: None, user_id: None, fault: Some(fault) }];
        let Some(signer) = &said.signer else {
            return nobody(said.fault.unwrap_or(SignatureFault::UnknownSigner));
        };
        let holders = self.certificates.holders(signer, said.made, now);
        if holders.is_empty() {
            return nobody(SignatureFault::UnknownSigner);
        }
        let judged = holders.into_iter().map(|holder| Signature { fault: worse(said.fault, holder.fault), ..holder });
        judged.collect()
    }
}

/// Expiry is what a stanza may choose to ignore, so any other fault hides it.
fn worse(one: Option<SignatureFault>, other: Option<SignatureFault>) -> Option<SignatureFault> {
    let faults = || one.into_iter().chain(other);
    faults().find(|fault| *fault != SignatureFault::Expired).or(faults().next())
}

/// What came out of gpg: plain data, so that it can leave the thread.
struct Read {
    plaintext: Secret<Vec<u8>>,
    /// Key ids of recipients whose secret key is not there.
    without_secret: Vec<String>,
    signatures: Vec<Said>,
}

/// What gpg says of one signature.
struct Said {
    /// The key that made it. `None`: only an id is known, because the key is not.
    signer: Option<Fingerprint>,
    made: Option<SystemTime>,
    fault: Option<SignatureFault>,
}

fn decrypt(gpg: &GnuPg, passphrase: Option<&Passphrase>, message: &[u8]) -> Result<Read, Error> {
    let mut context = gpg.context()?;
    // Without a passphrase of ours the agent may know it. It never asks: nobody sits before a server.
    context.set_pinentry_mode(if passphrase.is_some() { PinentryMode::Loopback } else { PinentryMode::Cancel })?;
    let plaintext = Bounded::new();
    let mut out = Data::from_writer(plaintext.clone()).map_err(|failed| failed.error())?;
    let results = match passphrase {
        None => context.decrypt_and_verify(message, &mut out),
        Some(_) => context.with_passphrase_provider(passphrase_provider(passphrase), |context: &mut Context| {
            context.decrypt_and_verify(message, &mut out)
        }),
    };
    let (decryption, verification) = results?;
    if decryption.is_legacy_cipher_no_mdc() {
        return Err(Error::DECRYPT_FAILED);
    }
    Ok(Read {
        plaintext: plaintext.take(),
        without_secret: without_secret(&decryption),
        signatures: signatures(&verification),
    })
}

fn without_secret(result: &DecryptionResult) -> Vec<String> {
    let missing = result.recipients().filter(|recipient| recipient.status().is_err());
    missing.filter_map(|recipient| recipient.key_id().ok().map(str::to_owned)).collect()
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
        }
    });
    said.collect()
}

fn fault(error: Error) -> SignatureFault {
    match error.code() {
        code if code == Error::NO_PUBKEY.code() => SignatureFault::UnknownSigner,
        code if code == Error::KEY_EXPIRED.code() || code == Error::SIG_EXPIRED.code() => SignatureFault::Expired,
        code if code == Error::CERT_REVOKED.code() => SignatureFault::Revoked,
        code if code == Error::UNSUPPORTED_ALGORITHM.code() || code == Error::DIGEST_ALGO.code() => {
            SignatureFault::Weak
        }
        code if code == Error::WRONG_KEY_USAGE.code() => SignatureFault::WrongUse,
        _ => SignatureFault::Bad,
    }
}

/// Digests in which collisions can be made, as in the policy of the other engine.
const WEAK: [HashAlgorithm; 3] = [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::RipeMd160];

/// So many runs of gpg may be under way at once, also when they hang.
const MOST_RUNS: usize = 8;

/// How long one may take. An agent on a loaded machine needs a second at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes no more than a plaintext may be long, whatever is packed into the message.
#[derive(Clone)]
struct Bounded(Arc<Mutex<Zeroizing<Vec<u8>>>>);

impl Bounded {
    /// Never grown, so no copy of a plaintext stays behind in freed memory.
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Zeroizing::new(Vec::with_capacity(Bounds::PLAINTEXT)))))
    }

    fn take(&self) -> Secret<Vec<u8>> {
        Secret::new(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

impl fmt::Debug for GpgmeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpgmeEngine({:?}, {} secret keys)", self.gpg.home, self.decrypting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stanza_may_ignore_never_hides_what_it_may_not() {
        use SignatureFault::{Expired, Revoked};
        assert_eq!(worse(None, None), None);
        assert_eq!(worse(Some(Expired), None), Some(Expired));
        assert_eq!(worse(Some(Expired), Some(Revoked)), Some(Revoked));
        assert_eq!(worse(Some(Revoked), Some(Expired)), Some(Revoked));
    }

    #[test]
    fn no_more_is_unpacked_than_a_plaintext_may_be_long() {
        let mut bounded = Bounded::new();
        assert_eq!(bounded.write(&[b'x'; Bounds::PLAINTEXT]).unwrap(), Bounds::PLAINTEXT);
        assert!(bounded.write(b"y").is_err());
        assert_eq!(bounded.take().expose().len(), Bounds::PLAINTEXT);
    }
}
