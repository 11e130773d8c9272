//! What keeps an agent from working: told once and not for every packet, and no reason to wait for it with every packet.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use crate::crypto::openpgp::News;

/// Told when it begins, when it changes, and when it is over.
#[derive(Debug, Default)]
pub struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What is wrong at present.
    present: Option<String>,
    /// What the operator knows of that.
    told: Option<String>,
    /// An agent that took its time before it failed is left alone so long.
    rests_until: Option<Instant>,
}

impl Outage {
    pub fn begins(&self, error: &Error) {
        let mut state = self.lock();
        state.present = Some(error.to_string());
        state.rests_until = matches!(error, Error::Silent { .. }).then(|| Instant::now() + REST);
    }

    pub fn is_over(&self) {
        let mut state = self.lock();
        (state.present, state.rests_until) = (None, None);
    }

    /// Whether to ask would only be to wait.
    pub fn rests(&self) -> bool {
        self.lock().rests_until.is_some_and(|end| Instant::now() < end)
    }

    pub fn take_news(&self) -> Option<News> {
        let mut state = self.lock();
        if state.present == state.told {
            return None;
        }
        state.told = state.present.clone();
        Some(state.present.clone().map_or(News::Over, News::Trouble))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const REST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_its_end_as_well() {
        let outage = Outage::default();
        assert_eq!(outage.take_news(), None);
        for _ in 0..3 {
            outage.begins(&Error::Unsupported);
        }
        assert_eq!(outage.take_news(), Some(News::Trouble(Error::Unsupported.to_string())));
        outage.begins(&Error::Unsupported);
        assert_eq!(outage.take_news(), None);
        outage.begins(&Error::NotForUs);
        assert_eq!(outage.take_news(), Some(News::Trouble(Error::NotForUs.to_string())));
        outage.is_over();
        assert_eq!(outage.take_news(), Some(News::Over));
        outage.begins(&Error::NotForUs);
        outage.is_over();
        assert_eq!(outage.take_news(), None, "nobody has noticed");
    }

    #[test]
    fn only_a_silent_agent_is_left_alone() {
        let outage = Outage::default();
        outage.begins(&Error::Unsupported);
        assert!(!outage.rests());
        outage.begins(&Error::Silent { after: Duration::from_secs(5) });
        assert!(outage.rests());
        outage.is_over();
        assert!(!outage.rests());
    }
}
