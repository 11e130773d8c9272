//! Reading with GnuPG itself (`GPG_ENGINE gpgme`): gpg decrypts and does the arithmetic of each signature, and no secret
//! key enters this process. It also reads what Sequoia over Nettle does not: ElGamal, brainpool, bzip2, GnuPG's own OCB.
//!
//! Three things are not left to gpg. A message that is not addressed to a key of ours never starts it. A signer is judged
//! as of now by the certificate, as in the other engine, since gpg goes by the date in the signature. And what it says
//! counts only when it succeeded: after an error the plaintext is dropped unseen.
//!
//! Two limits: gpg does not tell for whom a signer says that a message is, so that is not looked at here; and it gives up
//! at a signature that has itself expired, so no stanza can let that through.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::GnuPg;
use super::run::{Failure, Read, Said, decrypt};
use crate::crypto::openpgp::sequoia::{Addressed, Keys};
use crate::crypto::openpgp::{Engine, Fingerprint, KeyPath, Opened, Signature, framing};
use crate::reason::{Reason, SignatureFault};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// A GnuPG home whose keys stay there.
pub struct GpgmeEngine {
    gpg: GnuPg,
    passphrase: Option<Passphrase>,
    /// The certificates of the home, without secrets.
    certificates: Keys,
    /// The keys of the home that decrypt.
    decrypting: Vec<KeyPath>,
    /// Runs of gpg that have not ended, also those that nobody waits for any more.
    under_way: Arc<AtomicUsize>,
    patience: Duration,
}

impl GpgmeEngine {
    /// `passphrase` unlocks the secret keys; without one the agent must know it or the keys have none: nobody is asked.
    pub fn new(gpg: GnuPg, passphrase: Option<Passphrase>, certificates: Keys, decrypting: Vec<KeyPath>) -> Self {
        Self { gpg, passphrase, certificates, decrypting, under_way: Arc::default(), patience: PATIENCE }
    }

    pub fn certificates(&self) -> &Keys {
        &self.certificates
    }

    pub fn decrypting(&self) -> &[KeyPath] {
        &self.decrypting
    }

    /// What would be wrong now with every signature by this key, as far as we can tell: see [`worse`].
    pub fn standing(&self, key: &Fingerprint, now: Timestamp) -> Option<SignatureFault> {
        worse(None, self.certificates.standing(key, now))
    }

    /// Whether gpg can use this key now. `None`: that cannot be tried.
    pub fn can_use(&self, key: &Fingerprint) -> Option<bool> {
        let probe = self.certificates.probe(key)?;
        // A gpg that is late once, on a machine that is just starting, is no verdict.
        let mut tries = (0..2).map(|_| match self.run(&probe) {
            Ok(_) => Some(true),
            Err(Reason::GpgDecrypt) => Some(false),
            Err(_) => None,
        });
        tries.find_map(|verdict| verdict)
    }

    /// Runs gpg in a thread of its own and waits for it, but not for ever: GPGME has no way to give a run up. One that
    /// hangs keeps its place until it ends, and when all places are taken nothing is read.
    fn run(&self, message: &[u8]) -> Result<Read, Reason> {
        let place = Place::take(&self.under_way).ok_or(Reason::GpgEngine)?;
        let (gpg, passphrase, message) = (self.gpg.clone(), self.passphrase.clone(), message.to_vec());
        let (tell, told) = mpsc::channel();
        let started = thread::Builder::new().name("gpg".into()).spawn(move || {
            // Whoever waited may have given up.
            let _ = tell.send(decrypt(&gpg, passphrase.as_ref(), &message));
            drop(place);
        });
        let said = started.ok().and_then(|_| told.recv_timeout(self.patience).ok());
        said.unwrap_or(Err(Failure::NoGpg)).map_err(|failure| match failure {
            Failure::NoGpg => Reason::GpgEngine,
            Failure::Refused => Reason::GpgDecrypt,
            Failure::Signature(fault) => Reason::GpgBadSignature(fault),
        })
    }

    /// What gpg says of a signature, and what the certificate says of its key now. One verdict for each certificate that
    /// holds the key.
    fn judge(&self, said: &Said, now: Timestamp) -> Vec<Signature> {
        let nobody = |fault| vec![Signature { by: None, user_id: None, fault: Some(fault), sha1: said.sha1 }];
        let Some(signer) = &said.signer else {
            return nobody(said.fault.unwrap_or(SignatureFault::UnknownSigner));
        };
        let holders = self.certificates.holders(signer, said.made, now);
        if holders.is_empty() {
            return nobody(SignatureFault::UnknownSigner);
        }
        let judged = holders.into_iter().map(|holder| Signature {
            fault: worse(said.fault, holder.fault),
            sha1: said.sha1,
            ..holder
        });
        judged.collect()
    }
}

impl Engine for GpgmeEngine {
    fn is_addressed(&self, message: &[u8]) -> bool {
        framing::is_for(message, |id| self.decrypting.iter().any(|path| path.key.id() == id))
    }

    fn open(&self, message: &[u8], now: Timestamp) -> Result<Opened, Reason> {
        let addressed = Addressed::read(message).ok_or(Reason::GpgDecrypt)?;
        let may_be_ours = match addressed.hidden {
            true => !self.decrypting.is_empty(),
            false => !addressed.among(&self.decrypting).is_empty(),
        };
        if !may_be_ours {
            return Err(Reason::GpgDecrypt);
        }
        let read = self.run(message)?;
        let recipient = self.decrypting.iter().find(|path| Some(&path.key) == read.key.as_ref()).cloned();
        let signatures = read.signatures.iter().flat_map(|said| self.judge(said, now)).collect();
        Ok(Opened { plaintext: read.plaintext, recipient, signatures })
    }
}

/// Expiry is what a stanza may choose to ignore, so any other fault hides it. Keys that we have no arithmetic for are gpg's
/// to judge: it knows what binds them, and tells when they have expired or are revoked.
fn worse(gpgs: Option<SignatureFault>, ours: Option<SignatureFault>) -> Option<SignatureFault> {
    let ours = ours.filter(|fault| *fault != SignatureFault::Unsupported);
    let faults = || gpgs.into_iter().chain(ours);
    faults().find(|fault| *fault != SignatureFault::Expired).or(faults().next())
}

/// One of the runs of gpg that may be under way at once.
struct Place(Arc<AtomicUsize>);

impl Place {
    const MOST: usize = 8;

    fn take(under_way: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(under_way.clone());
        (under_way.fetch_add(1, Ordering::Relaxed) < Self::MOST).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long one may take. An agent on a loaded machine needs a second at most.
const PATIENCE: Duration = Duration::from_secs(10);

impl fmt::Debug for GpgmeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpgmeEngine({:?}, {} secret keys)", self.gpg.home, self.decrypting.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_a_stanza_may_ignore_never_hides_what_it_may_not() {
        use SignatureFault::{Expired, Revoked, Unsupported};
        assert_eq!(worse(None, None), None);
        assert_eq!(worse(Some(Expired), None), Some(Expired));
        assert_eq!(worse(Some(Expired), Some(Revoked)), Some(Revoked));
        assert_eq!(worse(Some(Revoked), Some(Expired)), Some(Revoked));
        assert_eq!(worse(None, Some(Unsupported)), None);
        assert_eq!(worse(Some(Expired), Some(Unsupported)), Some(Expired));
        assert_eq!(worse(Some(Unsupported), None), Some(Unsupported));
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// Sits before a key of the vectors, with a program of ours in the place of gpg.
    fn engine(program: &str) -> GpgmeEngine {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut keys = Keys::default();
        let file = std::fs::read(format!("{root}/keyrings/vectors/server-cv25519.sec.asc")).unwrap();
        keys.add(&file, None, NOW).unwrap();
        let decrypting = keys.decrypting().cloned().collect();
        let gpg = GnuPg { home: Some("/nonexistent".into()), program: Some(program.replace("ROOT", root).into()) };
        GpgmeEngine { patience: Duration::from_millis(100), ..GpgmeEngine::new(gpg, None, keys, decrypting) }
    }

    #[test]
    fn a_gpg_that_hangs_is_not_waited_for_and_not_started_without_end() {
        let engine = engine("ROOT/testdata/programs/gpg-that-hangs");
        let message = engine.certificates.probe(&engine.decrypting[0].key).unwrap();
        let started = Instant::now();
        for _ in 0..3 * Place::MOST {
            assert_eq!(engine.open(&message, NOW).unwrap_err(), Reason::GpgEngine);
            assert!(engine.under_way.load(Ordering::Relaxed) <= Place::MOST);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        // Each place is free again as soon as its gpg has ended.
        let patience = Instant::now() + Duration::from_secs(30);
        while engine.under_way.load(Ordering::Relaxed) > 0 && Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(engine.under_way.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_gpg_nothing_is_read_and_it_is_not_the_messages_fault() {
        let engine = engine("/nonexistent/gpg");
        let message = engine.certificates.probe(&engine.decrypting[0].key).unwrap();
        assert_eq!(engine.open(&message, NOW).unwrap_err(), Reason::GpgEngine);
        assert_eq!(engine.can_use(&engine.decrypting[0].key), None);
        // What is not for us does not even ask for it.
        assert_eq!(engine.open(b"nothing", NOW).unwrap_err(), Reason::GpgDecrypt);
    }
}
