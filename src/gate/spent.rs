//! Texts that have cost us cryptography and were refused: the same text is not worth it twice.
//!
//! An old knock that somebody captured has a valid tag for ever, so the HMAC does not keep it from the decryption behind
//! it; and what is too old is not remembered as seen. Bounded, in memory only, and forgotten on reload.

use sha2::{Digest as _, Sha256};

use super::Refusal;
use super::recent::Recent;
use crate::grant::StanzaId;
use crate::reason::Reason;
use crate::replay::ReplayKey;

pub struct Spent(Recent<ReplayKey, Refusal>);

impl Default for Spent {
    fn default() -> Self {
        /// Some 200 bytes each.
        const MOST: usize = 4096;
        Self(Recent::new(MOST))
    }
}

impl Spent {
    /// A text and the stanzas it was held against: from elsewhere the same text may be meant for others.
    pub fn key(text: &ReplayKey, stanzas: impl Iterator<Item = StanzaId>) -> ReplayKey {
        let mut hash = Sha256::new();
        hash.update(text.0);
        stanzas.for_each(|stanza| hash.update(stanza.0.to_le_bytes()));
        ReplayKey(hash.finalize().into())
    }

    /// Refuses what was refused before, for the same reason as then.
    pub fn refuse_known(&self, key: &ReplayKey) -> Result<(), Refusal> {
        self.0.get(key).map_or(Ok(()), |refusal| Err(refusal.clone()))
    }

    pub fn note(&mut self, key: ReplayKey, refusal: &Refusal) {
        if cost_something(refusal) {
            self.0.note(key, refusal.clone());
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
    fn dear_refusals_are_kept_and_cheap_ones_are_not() {
        let mut spent = Spent::default();
        spent.note(ReplayKey([1; 32]), &Reason::HmacMismatch.into());
        assert!(spent.refuse_known(&ReplayKey([1; 32])).is_ok());
        spent.note(ReplayKey([1; 32]), &Reason::GpgDecrypt.into());
        assert_eq!(spent.refuse_known(&ReplayKey([1; 32])).unwrap_err().reason, Reason::GpgDecrypt);
    }
}
