//! Packets by the thousand: taken in several at a time, because to be woken for each costs more than to refuse it.

use std::time::{Duration, Instant};

/// Counts packets, and says when it is time to let some gather.
pub struct Crowd {
    since: Instant,
    packets: u32,
    /// There were many in the last tick.
    is_there: bool,
}

impl Crowd {
    pub fn new(now: Instant) -> Self {
        Self { since: now, packets: 0, is_there: false }
    }

    /// One more.
    pub fn count(&mut self) {
        self.packets = self.packets.saturating_add(1);
    }

    /// How long to let packets gather before the next look. `None`: whoever knocks is served at once.
    pub fn gathers(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.since);
        if passed >= TICK {
            // What came in a long tick was no crowd.
            self.is_there = self.packets >= MANY && passed < TICK * 2;
            (self.since, self.packets) = (now, 0);
        }
        self.is_there.then_some(REST)
    }
}

const TICK: Duration = Duration::from_millis(10);
/// In a tick: some two thousand in a second.
const MANY: u32 = 20;
/// What a knock among them waits longer.
const REST: Duration = Duration::from_micros(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_has_to_wait() {
        let mut now = Instant::now();
        let mut crowd = Crowd::new(now);
        let mut come = |packets: u32, passed: Duration| {
            (0..packets).for_each(|_| crowd.count());
            now += passed;
            crowd.gathers(now)
        };
        assert_eq!(come(5, TICK), None);
        assert_eq!(come(100, TICK / 2), None, "not known before the tick is over");
        assert_eq!(come(0, TICK / 2), Some(REST));
        assert_eq!(come(1, TICK / 2), Some(REST));
        assert_eq!(come(3, TICK), None);
        assert_eq!(come(100, TICK * 50), None, "a busy second is no crowd");
    }
}
