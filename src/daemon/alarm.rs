//! The next moment at which there is something to do, as something to poll.
//!
//! It goes by the wall clock, as the ends of grants do. The timeout of `poll` would not do: it stands still while the
//! machine sleeps, and knows nothing of a clock that is set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::time::Timestamp;

/// Readable when its time has come, and when the clock was set.
pub struct Alarm {
    timer: OwnedFd,
    set: Option<Timestamp>,
}

/// Why it was readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rang {
    OnTime,
    /// Whatever was due at some moment may be due now.
    ClockWasSet,
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self { timer, set: None })
    }

    /// `None` is never.
    pub fn set(&mut self, at: Option<Timestamp>) -> io::Result<()> {
        if at == self.set {
            return Ok(());
        }
        let value = at.map_or(Duration::ZERO, |at| {
            // Zero would be never, and what is past rings at once.
            at.to_system_time().duration_since(UNIX_EPOCH).unwrap_or_default().max(Duration::from_nanos(1))
        });
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: none, it_value: Timespec::try_from(value).unwrap_or(none) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &value)?;
        self.set = at;
        Ok(())
    }

    /// After it was readable: silences it.
    pub fn silence(&mut self) -> Rang {
        self.set = None;
        match read(&self.timer, &mut [0; 8]) {
            Err(Errno::CANCELED) => Rang::ClockWasSet,
            _ => Rang::OnTime,
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn rings(alarm: &Alarm, within: Duration) -> bool {
        let within = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(alarm, PollFlags::IN)], Some(&within)).unwrap() > 0
    }

    #[test]
    fn it_rings_on_time_and_once() {
        let mut alarm = Alarm::new().unwrap();
        let at = Timestamp::now().plus(Duration::from_millis(50));
        alarm.set(Some(at)).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)));
        assert!(Timestamp::now() >= at, "early: a wake-up for nothing");
        assert_eq!(alarm.silence(), Rang::OnTime);
        assert!(!rings(&alarm, Duration::ZERO));
        // The same moment again: past, so at once.
        alarm.set(Some(at)).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)));
    }

    #[test]
    fn it_can_be_taken_back() {
        let mut alarm = Alarm::new().unwrap();
        assert!(!rings(&alarm, Duration::ZERO));
        alarm.set(Some(Timestamp::from_secs(0))).unwrap();
        assert!(rings(&alarm, Duration::from_secs(10)), "the epoch is past, not never");
        alarm.set(None).unwrap();
        assert!(!rings(&alarm, Duration::from_millis(20)));
    }
}
