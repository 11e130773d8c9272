//! Texts that have cost us cryptography and were refused: the same text is not worth it twice.
//!
//! An old knock that somebody captured has a valid tag for ever, so the HMAC does not keep it from the decryption behind
//! it; and what is too old is not remembered as seen. Bounded, in memory only, and forgotten on reload.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

use super::Refusal;
use crate::grant::StanzaId;
use crate::reason::Reason;
use crate::replay::ReplayKey;

#[derive(Default)]
pub struct Spent {
    refusals: HashMap<ReplayKey, Refusal>,
    order: VecDeque<ReplayKey>,
}

impl Spent {
    /// Some 200 bytes each.
    const MOST: usize = 4096;

    /// A text and the stanzas it was held against: from elsewhere the same text may be meant for others.
    pub fn key(text: &ReplayKey, stanzas: impl Iterator<Item = StanzaId>) -> ReplayKey {
        let mut hash = Sha256::new();
        hash.update(text.0);
        stanzas.for_each(|stanza| hash.update(stanza.0.to_le_bytes()));
        ReplayKey(hash.finalize().into())
    }

    /// Refuses what was refused before, for the same reason as then.
    pub fn refuse_known(&self, key: &ReplayKey) -> Result<(), Refusal> {
        self.refusals.get(key).map_or(Ok(()), |refusal| Err(refusal.clone()))
    }

    pub fn note(&mut self, key: ReplayKey, refusal: &Refusal) {
        if !cost_something(refusal) || self.refusals.insert(key, refusal.clone()).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.refusals.remove(&oldest);
        }
    }
}

/// More than a hash. What is remembered as seen needs no second memory, and a store that failed may work again.
fn cost_something(refusal: &Refusal) -> bool {
    !matches!(
        refusal.reason,
        Reason::NoKey
            | Reason::StanzaExpired
            | Reason::HmacLength
            | Reason::HmacMismatch
            | Reason::Replay
            | Reason::ReplayStore
            | Reason::GpgEngine
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_oldest_and_never_grows_beyond_its_bound() {
        let mut spent = Spent::default();
        let key = |n: usize| ReplayKey::of_plaintext(&n.to_le_bytes());
        let refusal = Refusal::from(Reason::GpgDecrypt);
        (0..Spent::MOST + 10).for_each(|n| spent.note(key(n), &refusal));
        assert_eq!((spent.refusals.len(), spent.order.len()), (Spent::MOST, Spent::MOST));
        assert!(spent.refuse_known(&key(9)).is_ok());
        assert_eq!(spent.refuse_known(&key(10)).unwrap_err().reason, Reason::GpgDecrypt);
    }

    #[test]
    fn cheap_refusals_are_not_kept() {
        let mut spent = Spent::default();
        spent.note(ReplayKey([1; 32]), &Reason::HmacMismatch.into());
        assert!(spent.refuse_known(&ReplayKey([1; 32])).is_ok());
    }
}
