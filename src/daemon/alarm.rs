//! The next moment at which there is something to do, as something to poll.
//!
//! It is counted from the start of the machine, sleep included: the timeout of `poll` would stand still while the machine
//! sleeps, and the wall clock may be set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Readable when its time has come.
pub struct Alarm {
    timer: OwnedFd,
    set: Option<Duration>,
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { timer, set: None })
    }

    /// As [`Clock::since_boot`](super::clock::Clock::since_boot) counts. `None` is never.
    pub fn set(&mut self, at: Option<Duration>) -> io::Result<()> {
        if at == self.set {
            return Ok(());
        }
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would be never, and what is past rings at once.
        let value = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        let value = Itimerspec { it_interval: none, it_value: Timespec::try_from(value).unwrap_or(none) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
        self.set = at;
        Ok(())
    }

    /// After it was readable: silences it.
    pub fn silence(&mut self) {
        self.set = None;
        let _ = read(&self.timer, &mut [0; 8]);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::Clock;
    use super::*;
    use crate::time::Timestamp;
    use rustix::event::{PollFd, PollFlags, poll};

    fn rings(alarm: &Alarm, within: Duration) -> bool {
        let within = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&within)).unwrap() > 0
    }

    #[test]
    fn it_rings_on_time_and_once() {
        let (mut alarm, clock) = (Alarm::new().unwrap(), Clock::new().unwrap());
        let at = Timestamp::now().plus(Duration::from_millis(50));
        let due = Some(clock.since_boot(at));
        alarm.set(due).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)));
        assert!(Timestamp::now() >= at, "early: a wake-up for nothing");
        alarm.silence();
        assert!(!rings(&alarm, Duration::ZERO));
        // The same moment again: past, so at once.
        alarm.set(due).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)));
    }

    #[test]
    fn it_can_be_taken_back() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!rings(&alarm, Duration::ZERO));
        alarm.set(Some(Duration::ZERO)).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)), "long past, not never");
        alarm.set(None).unwrap();
        assert!(!rings(&alarm, Duration::from_millis(20)));
    }
}
