//! A bounded queue that is fair between sources: they take turns, whoever sends most.
//!
//! Addresses can be forged, so there may be any number of sources. When the lane is full, whoever holds most makes room;
//! among equals the lot decides. So one sender, or a hundred, cannot push anybody out, and against a flood in which every
//! packet has an address of its own an honest one has the same chance as each of them, at each try.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv6Addr};

pub struct Lane<T> {
    /// Never an empty queue.
    waiting: HashMap<Source, VecDeque<T>>,
    /// Each source that waits, once.
    turns: VecDeque<Source>,
    held: usize,
    bounds: Bounds,
    draws: u64,
}

/// How many may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub all: usize,
    /// Of one source.
    pub each: usize,
}

/// Who counts as one sender: an IPv4 address, or a network of IPv6, in which a host picks its addresses at will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl<T> Lane<T> {
    pub fn new(bounds: Bounds) -> Self {
        Self { waiting: HashMap::new(), turns: VecDeque::new(), held: 0, bounds, draws: 0 }
    }

    /// Gives back what has no place: the newcomer, or one that had to make room for it.
    pub fn push(&mut self, source: Source, newcomer: T) -> Option<T> {
        let own = self.waiting.get(&source).map_or(0, VecDeque::len);
        if own >= self.bounds.each {
            return Some(newcomer);
        }
        let mut evicted = None;
        if self.held >= self.bounds.all {
            let Some(victim) = self.draw_above(own) else { return Some(newcomer) };
            evicted = self.take(victim, VecDeque::pop_back);
        }
        if own == 0 {
            self.turns.push_back(source);
        }
        self.waiting.entry(source).or_default().push_back(newcomer);
        self.held += 1;
        evicted
    }

    /// The oldest of the source whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let source = *self.turns.front()?;
        let popped = self.take(source, VecDeque::pop_front);
        if self.turns.front() == Some(&source) {
            self.turns.rotate_left(1);
        }
        popped
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.bounds);
    }

    fn take(&mut self, source: Source, which: fn(&mut VecDeque<T>) -> Option<T>) -> Option<T> {
        let queue = self.waiting.get_mut(&source)?;
        let taken = which(queue)?;
        self.held -= 1;
        if queue.is_empty() {
            self.waiting.remove(&source);
            self.turns.retain(|other| *other != source);
        }
        Some(taken)
    }

    /// One of those who hold most, if that is more than `own`. The table's hash is keyed by chance, which makes it a die
    /// that nobody else can read.
    fn draw_above(&mut self, own: usize) -> Option<Source> {
        let most = self.waiting.values().map(VecDeque::len).max().filter(|most| *most > own)?;
        let holders = || self.waiting.iter().filter(|(_, queue)| queue.len() == most).map(|(source, _)| *source);
        self.draws += 1;
        let lot = self.waiting.hasher().hash_one(self.draws) % holders().count().max(1) as u64;
        holders().nth(usize::try_from(lot).unwrap_or_default())
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        const NETWORK: u128 = !0 << 64;
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & NETWORK).into(),
            address => address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { all: 64, each: 4 };

    fn source(number: u32) -> Source {
        Source::from(IpAddr::from(number.to_be_bytes()))
    }

    /// Everything in it, in the order in which it comes out.
    fn drained<T>(mut lane: Lane<T>) -> Vec<T> {
        std::iter::from_fn(|| lane.pop()).collect()
    }

    #[test]
    fn sources_take_turns() {
        let mut lane = Lane::new(BOUNDS);
        for (from, what) in [(1, "a"), (1, "b"), (1, "c"), (2, "x"), (3, "y")] {
            assert_eq!(lane.push(source(from), what), None);
        }
        assert_eq!(lane.pop(), Some("a"));
        assert_eq!(lane.push(source(2), "z"), None);
        assert_eq!(drained(lane), ["x", "y", "b", "z", "c"]);
    }

    #[test]
    fn one_source_gets_no_more_than_its_share() {
        let mut lane = Lane::new(BOUNDS);
        let refused = (0..100).filter(|n| lane.push(source(1), *n) == Some(*n)).count();
        assert_eq!(refused, 96);
        assert_eq!(drained(lane), [0, 1, 2, 3]);
    }

    #[test]
    fn many_senders_make_room_for_one_who_comes_late() {
        let mut lane = Lane::new(BOUNDS);
        for n in 0..64 {
            assert_eq!(lane.push(source(n % 16), n), None);
        }
        let evicted = lane.push(source(99), 1000).expect("it was full");
        assert!(evicted >= 48, "the newest of somebody goes, not {evicted}");
        assert!(drained(lane)[..17].contains(&1000), "it waits for one round, no longer");
    }

    #[test]
    fn the_newcomer_goes_when_nobody_holds_more() {
        let mut lane = Lane::new(BOUNDS);
        (0..64).for_each(|n| assert_eq!(lane.push(source(n), n), None));
        assert_eq!(lane.push(source(5), 1000), Some(1000));
    }

    /// A flood in which each packet has an address of its own, a hundred times what can be done: an honest sender who
    /// tries again gets in, about as often as all others do.
    #[test]
    fn forged_sources_do_not_lock_anybody_out() {
        const PER_TURN: u32 = 100;
        // So many that chance does not decide.
        const TRIES: u32 = 12_000;
        const HONEST: u32 = u32::MAX;
        let mut lane = Lane::new(BOUNDS);
        let (mut forged, mut served) = (0, 0);
        for _ in 0..TRIES {
            lane.push(source(HONEST), HONEST);
            for _ in 0..PER_TURN {
                forged += 1;
                lane.push(source(forged), forged);
                assert!(lane.held <= BOUNDS.all && lane.turns.len() <= BOUNDS.all && lane.waiting.len() <= BOUNDS.all);
            }
            served += u32::from(lane.pop() == Some(HONEST));
        }
        let fair = TRIES / PER_TURN;
        // Two thirds of it is usual, since who gives way waits for his own next try; half of that no longer is chance.
        assert!(served > fair / 3 && served < fair * 2, "{served} of {TRIES}; {fair} would be fair");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    proptest! {
        /// Whatever comes and goes: nothing is lost or doubled, and the bounds hold.
        #[test]
        fn what_goes_in_comes_out_once(steps in prop::collection::vec((0u32..40, any::<bool>()), 0..400)) {
            let mut lane = Lane::new(Bounds { all: 16, each: 3 });
            let mut out = Vec::new();
            for (at, (from, pop)) in steps.iter().enumerate() {
                out.extend(lane.push(source(*from), at));
                if *pop {
                    out.extend(lane.pop());
                }
                prop_assert!(lane.held <= 16 && lane.waiting.values().all(|queue| (1..=3).contains(&queue.len())));
                prop_assert_eq!(lane.turns.len(), lane.waiting.len());
                prop_assert_eq!(lane.held, lane.waiting.values().map(VecDeque::len).sum::<usize>());
            }
            out.extend(drained(lane));
            out.sort_unstable();
            prop_assert_eq!(out, (0..steps.len()).collect::<Vec<_>>());
        }
    }
}
