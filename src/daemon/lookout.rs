//! Somebody else flushes or reloads the ruleset: set-up is put back, and what is still to be open is opened again.
//!
//! The kernel tells of every change, ours included; a look that finds the ruleset's number as we left it costs next to
//! nothing. Of the tables of iptables' legacy variant nobody tells: there it is looked every few seconds, and only while
//! something is open. Between two looks there is a pause in which nothing is listened to. Whoever undoes set-up a few times in a row, as
//! services do that are restarted one after the other, finds it put back at once each time. When that does not end there is a longer pause
//! before each look: two programs that fight over the ruleset must not occupy the machine.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use super::journal::Level;
use super::run::Daemon;
use crate::firewall::{News, Watch};
use crate::grant::Grant;
use crate::time::{Shift, Timestamp};

pub struct Lookout {
    /// `None`: nobody tells.
    watch: Option<Watch>,
    /// When to look next, if there is a reason to.
    due: Option<Timestamp>,
    /// Not before.
    rests_until: Timestamp,
    /// Grows by [`EACH`] with each look that had something to do: what lies ahead is what was done lately.
    busy_until: Timestamp,
    /// Its failure has been told.
    failed: bool,
    /// Not everything could be opened again.
    owing: bool,
}

impl Lookout {
    /// After set-up. `None`: there is no way to notice anything.
    pub fn new(news: News, now: Timestamp) -> Option<Self> {
        // What is changed before one listens is not told.
        let (watch, due) = match news {
            News::Told(watch) => (Some(watch), Some(now)),
            News::Sought => (None, None),
            News::Never => return None,
        };
        let long_ago = Timestamp::from_secs(0);
        Some(Self { watch, due, rests_until: long_ago, busy_until: long_ago, failed: false, owing: false })
    }

    /// What to poll. `None`: it will be looked anyway, or nobody tells.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().filter(|_| self.due.is_none()).map(|watch| watch.as_fd())
    }

    /// Where nobody tells: nothing can be lost while nothing is open.
    fn seek(&mut self, anything_open: bool, now: Timestamp) {
        if self.watch.is_some() {
            return;
        }
        match anything_open {
            true => self.due = self.due.or(Some(self.rests_until.max(now.plus(SEEKING)))),
            false => self.due = None,
        }
    }

    /// The kernel told of a change.
    pub fn heard(&mut self, now: Timestamp) {
        self.due.get_or_insert(self.rests_until.max(now));
    }

    pub fn clock_was_set(&mut self, by: Shift) {
        self.rests_until = self.rests_until.shifted(by);
        self.busy_until = self.busy_until.shifted(by);
        self.due = self.due.map(|due| due.shifted(by));
    }

    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// After a look, which `took` so long. `undone`: it had something to do.
    fn rest(&mut self, now: Timestamp, took: Duration, undone: bool) {
        if undone {
            self.busy_until = self.busy_until.max(now).plus(EACH);
        }
        let too_much = now.plus(EACH * AT_ONCE).until(self.busy_until);
        self.rests_until = now.plus(PAUSE.max(took * 2).max(too_much));
    }
}

impl Daemon<'_> {
    /// Looks after the firewall when it is time.
    pub fn look_after(&mut self, now: Timestamp) {
        self.look_if_due(now);
        let anything_open = self.gate.grants().any(Grant::is_in_firewall);
        if let Some(lookout) = &mut self.lookout {
            lookout.seek(anything_open, now);
        }
    }

    fn look_if_due(&mut self, now: Timestamp) {
        let (Some(lookout), Some(firewall)) = (&mut self.lookout, &mut self.firewall) else { return };
        if lookout.due.is_none_or(|due| due > now) {
            return;
        }
        lookout.due = None;
        // Before the look: what comes after is heard again.
        if let Some(watch) = &lookout.watch {
            watch.silence();
        }
        let begun = Instant::now();
        let undone = match firewall.look(now) {
            Ok(undone) => undone || lookout.owing,
            Err(error) => {
                if !std::mem::replace(&mut lookout.failed, true) {
                    self.journal.trouble(&error);
                    self.journal.note(Level::Error, "Nothing can be opened until the firewall is as it should be.");
                }
                lookout.rest(now, begun.elapsed(), true);
                lookout.due = Some(lookout.rests_until);
                return;
            }
        };
        (lookout.failed, lookout.owing) = (false, false);
        lookout.rest(now, begun.elapsed(), undone);
        if undone {
            self.open_again(now);
        }
    }

    fn open_again(&mut self, now: Timestamp) {
        let (Some(lookout), Some(firewall)) = (&mut self.lookout, &mut self.firewall) else { return };
        let are_open = self.gate.grants().map(|grant| grant.id).collect();
        let (mut count, mut failure) = (0_usize, firewall.close_others(&are_open).err());
        for grant in self.gate.grants().filter(|grant| grant.is_in_firewall() && grant.until > now) {
            match firewall.open(grant, now) {
                Ok(()) => count += 1,
                Err(error) => failure = Some(error),
            }
        }
        let text = format!(
            "somebody undid the firewall's set-up: it is put back, and what was to be open is open again (grants={count})"
        );
        self.journal.note(Level::Warning, text);
        if let Some(error) = failure {
            self.journal.trouble(&error);
            lookout.owing = true;
            lookout.due = Some(lookout.rests_until);
        }
    }
}

/// Between two looks: short enough for whoever reloads the ruleset, and long enough for a busy day.
const PAUSE: Duration = Duration::from_millis(400);
/// Where nobody tells: long enough for the rules of thousands of grants to be listed now and then.
const SEEKING: Duration = Duration::from_secs(3);
/// Set-up may be undone so often before the pauses get longer, …
const AT_ONCE: u32 = 10;
/// … and it may again once it was left alone for so long. It is also the pause then.
const EACH: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn lookout() -> Lookout {
        Lookout::new(News::Sought, NOW).expect("it looks")
    }

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const QUICK: Duration = Duration::from_millis(10);

    #[test]
    fn whoever_undoes_set_up_a_few_times_finds_it_put_back_at_once() {
        let mut lookout = lookout();
        let mut now = NOW;
        for time in 0..AT_ONCE {
            lookout.rest(now, QUICK, true);
            assert_eq!(now.until(lookout.rests_until), PAUSE, "{time}");
            now = now.plus(Duration::from_millis(500));
        }
        // And a while later again.
        now = now.plus(EACH * AT_ONCE);
        lookout.rest(now, QUICK, true);
        assert_eq!(now.until(lookout.rests_until), PAUSE);
    }

    #[test]
    fn a_fight_does_not_occupy_it_and_the_pauses_are_bounded() {
        let mut lookout = lookout();
        let (mut now, mut looks, end) = (NOW, 0, NOW.plus(Duration::from_secs(600)));
        while now < end {
            lookout.rest(now, QUICK, true);
            looks += 1;
            let pause = now.until(lookout.rests_until);
            assert!(pause >= PAUSE && pause <= EACH, "{pause:?}");
            now = lookout.rests_until;
        }
        assert!((200..=212).contains(&looks), "{looks} in ten minutes");
    }

    #[test]
    fn looks_that_take_long_are_few() {
        let mut lookout = lookout();
        for undone in [false, true] {
            lookout.rest(NOW, Duration::from_secs(4), undone);
            assert_eq!(NOW.until(lookout.rests_until), Duration::from_secs(8));
        }
    }

    #[test]
    fn looks_that_find_nothing_do_not_count() {
        let mut lookout = lookout();
        for _ in 0..100 {
            lookout.rest(NOW, QUICK, false);
        }
        assert_eq!(NOW.until(lookout.rests_until), PAUSE);
    }
}
