//! A secret key that decrypts, wherever it is.

use std::sync::{Arc, Mutex, PoisonError};

use sequoia_openpgp as pgp;

use pgp::KeyHandle;
use pgp::crypto::{self, KeyPair, SessionKey, mpi};
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::packet::{Key, PKESK};
use pgp::types::{PublicKeyAlgorithm, SymmetricAlgorithm};

use crate::crypto::openpgp::agent::{self, AgentKey, Outage};
use crate::crypto::openpgp::{KeyPath, News};

pub(super) struct SecretKey {
    pub path: KeyPath,
    handle: KeyHandle,
    algorithm: PublicKeyAlgorithm,
    holder: Holder,
}

/// Who does the arithmetic.
pub(super) enum Holder {
    /// We, with a key unlocked in memory.
    Memory(Box<KeyPair>),
    Agent(Box<Held>),
}

/// A key that gpg-agent has, and what keeps it from working.
pub(super) struct Held {
    key: AgentKey,
    /// Of the agent, with all its keys: told once, and waited for once.
    outage: Arc<Outage>,
    /// Of this key alone: its card, its passphrase.
    own: Outage,
    /// One message after the other, so that those behind it need not find out for themselves that the agent is silent.
    turn: Mutex<()>,
}

impl Held {
    pub fn new(key: AgentKey, outage: Arc<Outage>) -> Self {
        Self { key, outage, own: Outage::default(), turn: Mutex::default() }
    }

    /// Whether the message is for us is not known when this fails.
    fn decrypt(&self, message: &PKESK, cipher: Option<SymmetricAlgorithm>) -> Result<Decrypted, Unavailable> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.outage.rests() {
            return Err(Unavailable);
        }
        let mut asking = Asking { key: &self.key, trouble: None };
        let decrypted = message.decrypt(&mut asking, cipher);
        match asking.trouble {
            None => {
                self.outage.is_over();
                self.own.is_over();
                Ok(decrypted)
            }
            Some(trouble) if trouble.is_about_agent() => {
                self.outage.begins(&trouble);
                Err(Unavailable)
            }
            Some(trouble) => {
                self.outage.is_over();
                self.own.begins(&trouble);
                Err(Unavailable)
            }
        }
    }

    fn take_news(&self) -> Option<News> {
        self.outage.take_news().or_else(|| self.own.take_news())
    }
}

/// The secret key cannot be used at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unavailable;

/// A session key, and the cipher it is for. `None`: it was not for this key.
pub(super) type Decrypted = Option<(Option<SymmetricAlgorithm>, SessionKey)>;

impl SecretKey {
    pub fn new(path: KeyPath, handle: KeyHandle, algorithm: PublicKeyAlgorithm, holder: Holder) -> Self {
        Self { path, handle, algorithm, holder }
    }

    /// Whether a session key addressed so (`None`: to nobody in particular) can be for this key.
    pub fn fits(&self, addressed: Option<&KeyHandle>, algorithm: PublicKeyAlgorithm) -> bool {
        algorithm == self.algorithm && addressed.is_none_or(|id| id.aliases(&self.handle))
    }

    pub fn decrypt(&self, message: &PKESK, cipher: Option<SymmetricAlgorithm>) -> Result<Decrypted, Unavailable> {
        match &self.holder {
            Holder::Memory(pair) => Ok(message.decrypt(&mut (**pair).clone(), cipher)),
            Holder::Agent(held) => held.decrypt(message, cipher),
        }
    }

    pub fn take_news(&self) -> Option<News> {
        match &self.holder {
            Holder::Memory(_) => None,
            Holder::Agent(held) => held.take_news(),
        }
    }
}

/// Sequoia says only that it did not work. This remembers why.
struct Asking<'a> {
    key: &'a AgentKey,
    trouble: Option<agent::Error>,
}

impl crypto::Decryptor for Asking<'_> {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        crypto::Signer::public(self.key)
    }

    fn decrypt(&mut self, ciphertext: &mpi::Ciphertext, _length: Option<usize>) -> pgp::Result<SessionKey> {
        self.key.decrypt(ciphertext).map_err(|error| {
            let text = error.to_string();
            self.trouble = Some(error).filter(agent::Error::is_trouble);
            pgp::Error::InvalidOperation(text).into()
        })
    }
}
