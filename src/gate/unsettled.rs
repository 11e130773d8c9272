//! Verdicts between decision and deed: what they rest on is not yet on the disk.

use super::{Gate, Refusal, Verdict};
use crate::net::Origin;
use crate::reason::Reason;

/// A verdict nobody can act on before [`Gate::settle`] has made the memory of its packet durable.
#[derive(Debug)]
#[must_use]
pub struct Unsettled {
    pub(super) origin: Origin,
    pub(super) verdict: Verdict,
}

impl Gate {
    /// Makes the memory of all packets so far durable, by one write. Without that nothing is permitted: what was, is
    /// refused and taken back.
    pub fn settle(&mut self, batch: Vec<Unsettled>) -> Vec<(Origin, Verdict)> {
        if self.is_durable() {
            return batch.into_iter().map(|unsettled| (unsettled.origin, unsettled.verdict)).collect();
        }
        // The last first: it may have made an earlier one superfluous.
        let mut settled: Vec<_> = batch.into_iter().rev().map(|unsettled| self.take_back(unsettled)).collect();
        settled.reverse();
        settled
    }

    pub(super) fn settle_one(&mut self, unsettled: Unsettled) -> Verdict {
        if self.is_durable() { unsettled.verdict } else { self.take_back(unsettled).1 }
    }

    fn is_durable(&mut self) -> bool {
        match self.replay.settle() {
            Ok(()) => true,
            Err(error) => {
                // The first failure tells why.
                self.trouble.get_or_insert(error);
                self.era.losses += 1;
                false
            }
        }
    }

    fn take_back(&mut self, Unsettled { origin, verdict }: Unsettled) -> (Origin, Verdict) {
        let knock = match verdict {
            Verdict::Refuse(refusal) => return (origin, Verdict::Refuse(refusal)),
            Verdict::Open(opening) => {
                self.forget(&opening);
                opening.grant.knock
            }
            Verdict::Run(errand) => Some(errand.knock),
        };
        let (stanza, signer) = knock.map(|knock| (knock.stanza, knock.signer)).unzip();
        (origin, Verdict::Refuse(Refusal { stanza, signer, ..Reason::ReplayStore.into() }))
    }
}
