//! Tells when somebody sets the clock, and by how much.
//!
//! What is open stays open for so many seconds, but the moment it ends is told by the wall clock: people, firewalls and the
//! next daemon have no other. The machine also counts the time since it was started, which nobody sets. Where the two drift
//! apart, the wall clock was set, and every end has to be told anew.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::read;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

use super::journal::Level;
use super::run::Daemon;
use crate::grant::Grant;
use crate::time::{Shift, Timestamp};

/// Readable when the clock was set.
pub struct Clock {
    bell: OwnedFd,
    /// Both clocks at one moment.
    known: Reading,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: Timestamp,
    since_boot: Duration,
}

impl Clock {
    pub fn new() -> io::Result<Self> {
        let bell = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let clock = Self { bell, known: Reading::now() };
        clock.arm()?;
        Ok(clock)
    }

    /// A moment of the wall clock, counted from the start of the machine; never too early, and in the past when it has
    /// passed.
    pub fn since_boot(&self, at: Timestamp) -> Duration {
        self.known.since_boot + self.known.wall.until(at) + JITTER
    }

    /// The time, and by how much the clock was set since the last call. Less than a second changes nothing.
    pub fn look(&mut self) -> (Timestamp, Option<Shift>) {
        let now = Reading::now();
        let shift = self.known.shift_to(now);
        if shift.span() > JITTER {
            self.known = now;
        }
        (now.wall, Some(shift).filter(|shift| shift.span() >= WORTHWHILE))
    }

    /// After it was readable: silences it.
    pub fn silence(&self) -> io::Result<()> {
        // An error is what it says when the clock was set.
        let _ = read(&self.bell, &mut [0; 8]);
        self.arm()
    }

    /// For a moment that never comes: what counts is that the kernel takes it back when the clock is set.
    fn arm(&self) -> io::Result<()> {
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let never = Itimerspec { it_interval: none, it_value: Timespec { tv_sec: i64::MAX, tv_nsec: 0 } };
        timerfd_settime(&self.bell, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
        Ok(())
    }
}

impl Reading {
    fn now() -> Self {
        loop {
            let (before, wall, after) = (since_boot(), Timestamp::now(), since_boot());
            // Else we were interrupted, and the two do not belong together.
            if after.saturating_sub(before) < JITTER {
                return Self { wall, since_boot: after };
            }
        }
    }

    fn shift_to(self, now: Reading) -> Shift {
        let expected = self.wall.plus(now.since_boot.saturating_sub(self.since_boot));
        expected.shift_to(now.wall)
    }
}

impl Daemon<'_> {
    /// The time, once what is open goes by it: nothing ends because somebody has just set the clock.
    pub fn now(&mut self) -> Timestamp {
        let (now, shift) = self.clock.look();
        if let Some(shift) = shift {
            self.clock_was_set(shift, now);
        }
        now
    }

    /// What is open, and what is to be done later, stays as far away as it was.
    fn clock_was_set(&mut self, by: Shift, now: Timestamp) {
        self.later.shift(by);
        if let Some(lookout) = &mut self.lookout {
            lookout.clock_was_set(by);
        }
        let grants = self.gate.grants().count();
        self.journal
            .note(Level::Warning, format!("the clock was set {by}: what is open keeps its time (grants={grants})"));
        if let Err(error) = self.gate.clock_was_set(by) {
            self.journal.trouble(&error);
        }
        let open: Vec<Grant> = self.gate.grants().filter(|grant| grant.until > now).cloned().collect();
        if let Some(firewall) = &mut self.firewall
            && let Err(error) = firewall.tell_ends(&open, now)
        {
            self.journal.trouble(&error);
        }
    }
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// It goes on while the machine sleeps.
fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// Both clocks go at the same rate. How far two readings of them may be apart nevertheless.
const JITTER: Duration = Duration::from_millis(2);
const WORTHWHILE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn reading(wall: u64, since_boot: u64) -> Reading {
        Reading { wall: Timestamp::from_secs(wall), since_boot: Duration::from_secs(since_boot) }
    }

    #[test]
    fn how_far_the_clocks_drifted_apart() {
        let known = reading(1000, 50);
        let (none, hour) = (Duration::ZERO, Duration::from_secs(3600));
        assert_eq!(known.shift_to(reading(1010, 60)), Shift::Back(none));
        assert_eq!(known.shift_to(reading(4610, 60)), Shift::Ahead(hour));
        assert_eq!(known.shift_to(reading(1010, 3660)), Shift::Back(hour));
        // Before the epoch there is nothing.
        assert_eq!(known.shift_to(reading(0, 50)), Shift::Back(Duration::from_secs(1000)));
    }

    #[test]
    fn what_is_told_is_told_once_and_is_at_least_a_second() {
        let mut clock = Clock::new().unwrap();
        let now = Reading::now();
        clock.known.wall = now.wall.shifted(Shift::Ahead(Duration::from_millis(900)));
        assert_eq!(clock.look().1, None);
        clock.known.wall = now.wall.shifted(Shift::Ahead(Duration::from_secs(90)));
        assert!(matches!(clock.look().1, Some(Shift::Back(span)) if span.as_secs().abs_diff(90) <= 1));
        assert_eq!(clock.look().1, None);
    }

    #[test]
    fn a_moment_is_counted_from_the_start_of_the_machine() {
        let clock = Clock { known: reading(1000, 50), ..Clock::new().unwrap() };
        assert_eq!(clock.since_boot(Timestamp::from_secs(1030)), Duration::from_secs(80) + JITTER);
        assert_eq!(clock.since_boot(Timestamp::from_secs(10)), Duration::from_secs(50) + JITTER);
    }

    #[test]
    fn nobody_has_set_the_clock_of_this_machine() {
        let mut clock = Clock::new().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(clock.look().1, None);
        clock.silence().unwrap();
    }
}
