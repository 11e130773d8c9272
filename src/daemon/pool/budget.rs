//! How much time strangers may cost: a share of one processor over time, and a little more after a quiet while.
//!
//! Time is what passed while a piece of work was done, since that may have been in another process. On a busy machine that
//! is more than was used, and so strangers get less: the machine has other things to do.

use std::time::{Duration, Instant};

pub struct Budget {
    /// Of one processor.
    percent: u32,
    /// In nanoseconds. What is owed is below zero.
    credit: i64,
    counted: Instant,
}

impl Budget {
    pub fn new(percent: u32, now: Instant) -> Self {
        let mut budget = Self { percent, credit: 0, counted: now };
        budget.credit = budget.most();
        budget
    }

    pub fn set_percent(&mut self, percent: u32, now: Instant) {
        self.count(now);
        self.percent = percent;
        self.credit = self.credit.min(self.most());
    }

    /// How long there is nothing to spend. `None`: there is.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        self.count(now);
        if self.credit > 0 {
            return None;
        }
        let owed = self.credit.unsigned_abs() + 1;
        Some(Duration::from_nanos(owed.saturating_mul(100).div_ceil(self.percent.max(1).into())))
    }

    /// Nobody owes more than the work of a second: what hangs must not keep all others waiting for long afterwards.
    pub fn charge(&mut self, cost: Duration, now: Instant) {
        self.count(now);
        self.credit = self.credit.saturating_sub(nanos(cost)).max(-self.most());
    }

    fn count(&mut self, now: Instant) {
        let passed = nanos(now.saturating_duration_since(self.counted));
        self.counted = self.counted.max(now);
        let earned = passed.saturating_mul(self.percent.into()) / 100;
        self.credit = self.credit.saturating_add(earned).min(self.most());
    }

    /// The work of a second.
    fn most(&self) -> i64 {
        i64::from(self.percent) * 10_000_000
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How much work of this length is done in `span`, when there is always more of it.
    fn worked(budget: &mut Budget, start: Instant, cost: Duration, span: Duration) -> Duration {
        let (mut now, mut worked) = (start, Duration::ZERO);
        while now < start + span {
            match budget.wait(now) {
                Some(wait) => now += wait,
                None => {
                    now += cost;
                    worked += cost;
                    budget.charge(cost, now);
                }
            }
        }
        worked
    }

    #[test]
    fn over_time_the_share_is_kept() {
        for percent in [1, 10, 50, 100] {
            let start = Instant::now();
            let mut budget = Budget::new(percent, start);
            let worked = worked(&mut budget, start, MS, MS * 100_000);
            // A hundred seconds, and what was saved for one.
            let share = MS * 1000 * percent;
            assert!(worked >= share - MS * 20 && worked <= share + share / 50 + MS * 20, "{percent} %: {worked:?}");
        }
    }

    #[test]
    fn what_is_not_used_is_saved_for_a_second_only() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        let later = start + MS * 1_000_000;
        budget.charge(MS * 500, later);
        assert!(budget.wait(later).is_some());
        assert!(budget.wait(later + MS).is_none());
    }

    #[test]
    fn what_hangs_is_paid_for_within_bounds() {
        let start = Instant::now();
        let mut budget = Budget::new(50, start);
        budget.charge(MS * 1_000_000, start);
        let wait = budget.wait(start).expect("it owes");
        assert!(wait <= MS * 1001, "{wait:?}");
        assert!(budget.wait(start + wait).is_none(), "told to wait too short");
    }

    #[test]
    fn a_new_share_counts_at_once() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        budget.set_percent(1, start);
        budget.charge(MS * 10, start);
        assert_eq!(budget.wait(start).map(|wait| wait.as_millis()), Some(0));
        budget.charge(MS * 10, start);
        assert!(budget.wait(start).expect("it owes") >= MS * 1000);
    }
}
