//! Time as the core sees it: always an argument, never read from a clock.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// Reads the clock. Only edges and programs call this; the core gets `now` handed in.
    pub fn now() -> Self {
        // A clock before 1970 is read as the epoch: every message is then refused as stale.
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    pub const fn secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Saturates at the end of time.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// The same moment by a clock that was set: it is as far away as before.
    pub fn shifted(self, by: Shift) -> Self {
        match by {
            Shift::Ahead(span) => self.plus(span),
            Shift::Back(span) => Self(self.0.saturating_sub(span)),
        }
    }

    /// By how much a clock was set for which this moment is `there` now.
    pub fn shift_to(self, there: Timestamp) -> Shift {
        match self.until(there) {
            Duration::ZERO => Shift::Back(there.until(self)),
            ahead => Shift::Ahead(ahead),
        }
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(self, later: Timestamp) -> Duration {
        later.0.saturating_sub(self.0)
    }

    /// How far behind `now` this moment lies; negative when it lies ahead.
    pub fn age_at(self, now: Timestamp) -> Age {
        let (now, then) = (now.secs(), self.secs());
        let distance = i64::try_from(now.abs_diff(then)).unwrap_or(i64::MAX);
        Age { seconds: if now >= then { distance } else { -distance } }
    }

    /// `None`: before 1970.
    pub fn of_system_time(time: SystemTime) -> Option<Self> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(Self::from_secs(since.as_secs()))
    }

    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(self.0).unwrap_or(UNIX_EPOCH)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.secs())
    }
}

/// By how much a clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    Ahead(Duration),
    Back(Duration),
}

impl Shift {
    pub fn span(self) -> Duration {
        let (Shift::Ahead(span) | Shift::Back(span)) = self;
        span
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shift::Ahead(span) => write!(f, "{}s ahead", span.as_secs()),
            Shift::Back(span) => write!(f, "{}s back", span.as_secs()),
        }
    }
}

/// How far a message's time stamp lies behind our clock. Negative: its sender's clock is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    pub seconds: i64,
}

impl Age {
    pub fn exceeds(self, window: Duration) -> bool {
        self.seconds.unsigned_abs() > window.as_secs()
    }
}

/// How long a grant lasts, in seconds. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(NonZeroU32);

impl Lifetime {
    /// `None` for zero.
    pub const fn from_secs(secs: u32) -> Option<Self> {
        match NonZeroU32::new(secs) {
            Some(secs) => Some(Self(secs)),
            None => None,
        }
    }

    pub const fn secs(self) -> u32 {
        self.0.get()
    }

    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0.get() as u64)
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_has_a_sign_and_the_window_has_none() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(Timestamp::from_secs(880).age_at(now).seconds, 120);
        assert_eq!(Timestamp::from_secs(1_121).age_at(now).seconds, -121);
        assert!(!Timestamp::from_secs(880).age_at(now).exceeds(Duration::from_secs(120)));
        assert!(Timestamp::from_secs(1_121).age_at(now).exceeds(Duration::from_secs(120)));
        assert!(Timestamp::from_secs(u64::MAX).age_at(now).exceeds(Duration::from_secs(120)));
    }
}
