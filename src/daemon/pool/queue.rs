//! What waits for a worker, and what may be worked on next.
//!
//! Packets with a valid tag go first and wait in a lane of their own: nobody without a key of ours is ever in their way.
//! Strangers share what their [`Budget`] allows, and one worker less than there are, so that there is one for a packet
//! with a tag even while strangers' work hangs.
//!
//! The same packet again, while it waits or is worked on, is no new work.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use super::budget::Budget;
use super::lane::{Bounds, Lane, Source};
use crate::replay::{ReplayKey, Seen};

pub struct Queue<T> {
    trusted: Lane<(Ticket, T)>,
    strangers: Lane<(Ticket, T)>,
    budget: Budget,
    /// All that wait or are worked on.
    known: HashMap<Ticket, Seen>,
    /// Strangers that are worked on, and how many may be at once.
    at_work: usize,
    most_at_work: usize,
}

/// What makes two packets the same work. Strangers of different sources do not count as one: else a copy that somebody
/// sends from elsewhere would keep the packet itself out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    text: ReplayKey,
    /// `None`: it carries a valid tag.
    stranger: Option<Source>,
}

/// What is not worked on, and why.
#[derive(Debug, PartialEq, Eq)]
pub enum Dropped<T> {
    /// There is too much: this packet, or another that had to make room for it.
    Busy(T),
    /// It is being worked on already, since then.
    Twin(T, Seen),
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T> {
    Work(Ticket, T),
    /// Nothing before that.
    In(Duration),
    /// Nothing until there is something new.
    Nothing,
}

impl<T> Queue<T> {
    /// A packet takes some 5 KiB here at most.
    const TRUSTED: Bounds = Bounds { all: 1024, each: 1024 };
    /// So many sources may send at the same time before the lot decides who waits. Where it does, whoever tries again and
    /// again holds one place of these, so there are no more than are worked off in a moment.
    const STRANGERS: Bounds = Bounds { all: 256, each: 8 };

    pub fn new(budget: Budget, workers: usize) -> Self {
        Self {
            trusted: Lane::new(Self::TRUSTED),
            strangers: Lane::new(Self::STRANGERS),
            budget,
            known: HashMap::new(),
            at_work: 0,
            most_at_work: workers.saturating_sub(1).max(1),
        }
    }

    pub fn push(&mut self, text: ReplayKey, trusted: bool, seen: Seen, item: T) -> Option<Dropped<T>> {
        let source = Source::from(seen.origin.src);
        let ticket = Ticket { text, stranger: (!trusted).then_some(source) };
        match self.known.entry(ticket) {
            Entry::Occupied(first) => return Some(Dropped::Twin(item, *first.get())),
            Entry::Vacant(place) => place.insert(seen),
        };
        let lane = if trusted { &mut self.trusted } else { &mut self.strangers };
        let (dropped, item) = lane.push(source, (ticket, item))?;
        self.known.remove(&dropped);
        Some(Dropped::Busy(item))
    }

    pub fn next(&mut self, now: Instant) -> Next<T> {
        if let Some((ticket, item)) = self.trusted.pop() {
            return Next::Work(ticket, item);
        }
        if !self.strangers_wait() || self.at_work >= self.most_at_work {
            return Next::Nothing;
        }
        if let Some(wait) = self.budget.wait(now) {
            return Next::In(wait);
        }
        match self.strangers.pop() {
            Some((ticket, item)) => {
                self.at_work += 1;
                Next::Work(ticket, item)
            }
            None => Next::Nothing,
        }
    }

    /// After the work that [`next`](Self::next) gave out.
    pub fn done(&mut self, ticket: Ticket, cost: Duration, now: Instant) {
        self.known.remove(&ticket);
        if ticket.stranger.is_some() {
            self.at_work -= 1;
            self.budget.charge(cost, now);
        }
    }

    pub fn strangers_wait(&self) -> bool {
        !self.strangers.is_empty()
    }

    pub fn set_percent(&mut self, percent: u32, now: Instant) {
        self.budget.set_percent(percent, now);
    }

    /// Drops all that nobody works on yet.
    pub fn clear(&mut self) {
        self.trusted.clear();
        self.strangers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Origin;
    use crate::time::Timestamp;

    const MS: Duration = Duration::from_millis(1);

    struct Test {
        queue: Queue<u32>,
        now: Instant,
    }

    impl Test {
        fn new(workers: usize) -> Self {
            let now = Instant::now();
            Self { queue: Queue::new(Budget::new(50, now), workers), now }
        }

        fn push(&mut self, from: u8, trusted: bool, item: u32) -> Option<Dropped<u32>> {
            self.queue.push(text(item), trusted, seen(from), item)
        }

        fn work(&mut self) -> (Ticket, u32) {
            match self.queue.next(self.now) {
                Next::Work(ticket, item) => (ticket, item),
                other => panic!("nothing to do: {other:?}"),
            }
        }
    }

    fn text(item: u32) -> ReplayKey {
        ReplayKey::of_plaintext(&item.to_le_bytes())
    }

    fn seen(from: u8) -> Seen {
        Seen { origin: Origin::udp([192, 0, 2, from].into()), at: Timestamp::from_secs(u64::from(from)) }
    }

    #[test]
    fn a_tag_goes_first_and_past_a_full_queue() {
        let mut test = Test::new(2);
        let dropped = (0..2000).filter(|item| test.push((item % 250) as u8, false, *item).is_some()).count();
        assert_eq!(dropped, 2000 - 256);
        assert_eq!(test.push(250, true, 5000), None);
        assert_eq!(test.work().1, 5000);
    }

    #[test]
    fn strangers_leave_a_worker_free() {
        let mut test = Test::new(2);
        (0..3).for_each(|item| assert_eq!(test.push(1, false, item), None));
        let (ticket, _) = test.work();
        assert_eq!(test.queue.next(test.now), Next::Nothing);
        assert_eq!(test.push(2, true, 7), None);
        assert_eq!(test.work().1, 7);
        test.queue.done(ticket, MS, test.now);
        assert_eq!(test.work().1, 1);
    }

    #[test]
    fn strangers_keep_to_their_budget_and_a_tag_has_none() {
        let mut test = Test::new(2);
        (0..3).for_each(|item| assert_eq!(test.push(1, false, item), None));
        for _ in 0..2 {
            let (ticket, _) = test.work();
            test.queue.done(ticket, MS * 300, test.now);
        }
        let Next::In(wait) = test.queue.next(test.now) else { panic!("more than the budget allows") };
        assert_eq!(test.push(2, true, 7), None);
        assert_eq!(test.work().1, 7);
        test.now += wait;
        assert_eq!(test.work().1, 2);
    }

    #[test]
    fn a_copy_is_no_new_work_but_one_from_elsewhere_is() {
        let mut test = Test::new(2);
        assert_eq!(test.push(1, false, 1), None);
        assert_eq!(test.push(1, false, 1), Some(Dropped::Twin(1, seen(1))));
        assert_eq!(test.push(2, false, 1), None);
        // With a tag it has nobody's flood to wait in, wherever it came from first.
        assert_eq!(test.push(3, true, 9), None);
        assert_eq!(test.push(4, true, 9), Some(Dropped::Twin(9, seen(3))));
        let (ticket, _) = test.work();
        assert_eq!(test.push(4, true, 9), Some(Dropped::Twin(9, seen(3))), "while it is worked on, too");
        test.queue.done(ticket, MS, test.now);
        assert_eq!(test.push(4, true, 9), None);
    }

    #[test]
    fn what_was_dropped_may_come_again() {
        let mut test = Test::new(2);
        (0..8).for_each(|item| assert_eq!(test.push(1, false, item), None));
        assert_eq!(test.push(1, false, 8), Some(Dropped::Busy(8)));
        let (ticket, _) = test.work();
        test.queue.done(ticket, MS, test.now);
        assert_eq!(test.push(1, false, 8), None);
    }
}
