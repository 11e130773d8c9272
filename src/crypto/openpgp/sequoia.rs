//! The Sequoia engine: decrypts and verifies in this process. No other process and no file is touched for a packet, and
//! gpg-agent only if the secret keys were left with it.
//!
//! What a stranger's message may cost is bounded before it is paid: nothing is done for a message that is not for our
//! keys, each of our keys is used at most once per message, the structure is fixed (session keys, one encrypted
//! container, at most one layer of compression, a handful of signatures, one text), and no more is unpacked than a
//! plaintext may be long.
//!
//! Limits of this engine as built (Nettle 3.8): no OCB, no brainpool curves, no ElGamal, no bzip2. Such messages are
//! refused as [`Reason::GpgDecrypt`], signatures of that kind are
//! [`SignatureFault::Unsupported`](crate::reason::SignatureFault).
//! gpg reads them (`GPG_ENGINE gpgme`).

mod about;
mod addressed;
mod bounds;
mod doubt;
mod home;
mod judge;
mod keys;
mod kind;
mod names;
mod pack;
mod probe;
mod ring;
mod sealer;
mod secret;
mod unlock;
mod with_agent;

use std::io::Read;

use sequoia_openpgp as pgp;

use pgp::crypto::SessionKey;
use pgp::packet::{PKESK, SKESK};
use pgp::parse::Parse;
use pgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper};
use pgp::policy::StandardPolicy;
use pgp::types::SymmetricAlgorithm;

pub use about::{About, AboutKey, Certificate};
pub use addressed::Addressed;
pub use bounds::Bounds;
pub use home::Candidates;
pub use judge::printable;
pub use keys::{Keys, Notice, Unreadable};
pub use names::{Found, Wanted};
pub use ring::{Own, Ring, SecretPlace};
pub use sealer::{KeyFile, SequoiaSealer};

use super::{Engine, KeyPath, News, Opened, framing};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::time::Timestamp;
use judge::Judge;
use secret::SecretKey;

impl Engine for Keys {
    fn open(&self, message: &[u8], now: Timestamp) -> Result<Opened, Reason> {
        self.open_counting(message, now).0
    }

    fn take_news(&self) -> Option<News> {
        self.secrets().iter().find_map(SecretKey::take_news)
    }

    fn is_addressed(&self, message: &[u8]) -> bool {
        framing::is_for(message, |id| self.decrypting().any(|path| path.key.id() == id))
    }
}

impl Keys {
    /// Also says how many secret-key operations were made.
    fn open_counting(&self, message: &[u8], now: Timestamp) -> (Result<Opened, Reason>, usize) {
        let policy = policy(now);
        let mut reading = Reading { keys: self, now, bounds: Bounds::new(), progress: Progress::default() };
        // Whoever hands it over has looked at its shape already; a library that panics over it must not depend on that.
        let plaintext = framing::plausible(message).then(|| reading.run(message, &policy)).flatten();
        let Progress { recipient, signatures, operations, is_out } = reading.progress;
        let (Some(plaintext), Some(recipient)) = (plaintext, recipient) else {
            return (Err(if is_out { Reason::GpgEngine } else { Reason::GpgDecrypt }), operations);
        };
        let judge = Judge { keys: self, policy: &policy, recipient: &recipient.primary, now };
        let signatures = signatures.into_iter().flat_map(|signature| match signature {
            Some(signature) => judge.judge(&signature, plaintext.expose()),
            None => vec![judge::unreadable()],
        });
        let signatures = signatures.collect();
        (Ok(Opened { plaintext, recipient: Some(recipient), signatures }), operations)
    }
}

/// Sequoia's own rules as they stand at `now`, except that old ciphers are read: what GnuPG picks for an old key must
/// not lock its owner out, and a message is too short for the attacks on 64-bit blocks.
fn policy(now: Timestamp) -> StandardPolicy<'static> {
    let mut policy = StandardPolicy::at(now.to_system_time());
    const TRIPLE_DES: u8 = 2;
    const CAST5: u8 = 3;
    for cipher in [TRIPLE_DES, CAST5] {
        policy.accept_symmetric_algo(SymmetricAlgorithm::from(cipher));
    }
    policy
}

/// Accepts whatever was good enough once: for looking at a certificate without relying on it.
fn lenient_policy() -> StandardPolicy<'static> {
    StandardPolicy::at(std::time::UNIX_EPOCH)
}

/// One message being read. Sequoia calls back for every packet, for the session key and for the signatures.
struct Reading<'a> {
    keys: &'a Keys,
    now: Timestamp,
    bounds: Bounds,
    progress: Progress,
}

/// What has come out so far.
#[derive(Default)]
struct Progress {
    recipient: Option<KeyPath>,
    /// Not judged yet. `None`: one that cannot even be parsed.
    signatures: Vec<Option<pgp::packet::Signature>>,
    operations: usize,
    /// A secret key could not be used.
    is_out: bool,
}

impl Reading<'_> {
    /// The plaintext, once everything around it has been read to the end and its integrity checked.
    fn run(&mut self, message: &[u8], policy: &StandardPolicy) -> Option<Secret<Vec<u8>>> {
        let decryptor = DecryptorBuilder::from_bytes(message).ok()?.buffer_size(Bounds::PLAINTEXT);
        let mut decryptor = decryptor.with_policy(policy, self.now.to_system_time(), &mut *self).ok()?;
        // Sequoia gives out nothing of a text that fits its buffer before it has checked the whole message. A longer
        // one is refused here, before more of it is unpacked.
        if !decryptor.message_processed() {
            return None;
        }
        let mut plaintext = Vec::with_capacity(Bounds::PLAINTEXT);
        let read = decryptor.read_to_end(&mut plaintext);
        let plaintext = Secret::new(plaintext);
        read.ok().map(|_| plaintext)
    }
}

impl DecryptionHelper for &mut Reading<'_> {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _skesks: &[SKESK],
        cipher: Option<SymmetricAlgorithm>,
        try_open: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> pgp::Result<Option<pgp::Cert>> {
        let mut used = vec![false; self.keys.secrets().len()];
        for pkesk in pkesks {
            let addressed = pkesk.recipient();
            for (secret, used) in self.keys.secrets().iter().zip(&mut used) {
                if *used || !secret.fits(addressed.as_ref(), pkesk.pk_algo()) {
                    continue;
                }
                *used = true;
                self.progress.operations += 1;
                let decrypted = secret.decrypt(pkesk, cipher);
                self.progress.is_out |= decrypted.is_err();
                let session_key = decrypted.unwrap_or_default();
                if session_key.is_some_and(|(cipher, key)| try_open(cipher, &key)) {
                    self.progress.recipient = Some(secret.path.clone());
                    return Ok(None);
                }
            }
        }
        Err(pgp::Error::MissingSessionKey("not for us".into()).into())
    }
}

impl VerificationHelper for &mut Reading<'_> {
    fn inspect(&mut self, packet: &pgp::parse::PacketParser) -> pgp::Result<()> {
        self.bounds.admit(&packet.packet)
    }

    /// None: Sequoia judges a signature as of its own date, we as of now. See [`judge`].
    fn get_certs(&mut self, _ids: &[pgp::KeyHandle]) -> pgp::Result<Vec<pgp::Cert>> {
        Ok(Vec::new())
    }

    fn check(&mut self, structure: MessageStructure) -> pgp::Result<()> {
        use pgp::parse::stream::VerificationError as Unverified;
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            self.progress.signatures.extend(results.into_iter().map(|result| match result {
                Ok(good) => Some(good.sig.clone()),
                Err(Unverified::MissingKey { sig }) => Some(sig.clone()),
                Err(_) => None,
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
