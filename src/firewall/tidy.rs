//! What closing leaves behind is looked at from time to time, as long as there is any: rules that connections still use.

use super::backend::Remains;
use super::{Error, Firewall};
use crate::time::Timestamp;

/// When to look next.
#[derive(Debug, Default)]
pub struct Tidy {
    /// Something may have been left since the last look.
    expected: bool,
    at: Option<Timestamp>,
}

impl Tidy {
    pub fn expect(&mut self) {
        self.expected = true;
    }

    pub fn found(&mut self, remains: &Remains) {
        self.expected |= remains.in_use || !remains.unused.is_empty();
    }
}

impl Firewall {
    /// Removes what nobody uses any more, when it is time to look. What fails is tried again at the next time.
    pub fn tidy(&mut self, now: Timestamp) -> Result<(), Error> {
        let Some(every) = self.backend.tidies_every() else { return Ok(()) };
        let latest = now.plus(every);
        if std::mem::take(&mut self.tidy.expected) {
            self.tidy.at.get_or_insert(latest);
        }
        // The clock may have been set back.
        self.tidy.at = self.tidy.at.map(|at| at.min(latest));
        if self.tidy.at.is_none_or(|at| at > now) {
            return Ok(());
        }
        self.tidy.at = Some(latest);
        let survey = self.run(&self.backend.survey())?;
        let remains = self.backend.remains(&survey);
        self.run(&remains.unused)?;
        self.tidy.at = remains.in_use.then_some(latest);
        Ok(())
    }

    /// When [`tidy`](Self::tidy) has something to do. `None`: not before something is closed.
    pub fn next_tidy(&self) -> Option<Timestamp> {
        self.tidy.at
    }
}
