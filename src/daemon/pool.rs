//! Public-key work, off the loop: a few threads that sleep until there is some.
//!
//! The loop hands in what is [`Pending`] and polls for what comes back; it never waits. What may wait, and in which order
//! it is worked on, is up to the [`Queue`]. A worker that never returns is one worker less, and nothing else.

mod budget;
mod lane;
mod queue;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::gate::{Pending, Worked};
use crate::replay::Seen;
use crate::time::Timestamp;
use budget::Budget;
use queue::{Next, Queue};

pub use queue::Dropped;

/// The workers. Readable when there is something to [`take`](Self::take).
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    results: Receiver<Worked>,
    /// Handed in and not yet taken.
    in_flight: usize,
}

struct Shared {
    state: Mutex<State>,
    /// There is something new for a worker.
    news: Condvar,
    /// A worker has ended.
    farewell: Condvar,
    bell: OwnedFd,
}

struct State {
    queue: Queue<Box<Pending>>,
    ending: bool,
    workers: usize,
}

impl Pool {
    /// `percent` of one processor is what strangers may cost.
    pub fn start(percent: u32) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from).clamp(FEWEST, MOST);
        let queue = Queue::new(Budget::new(percent, Instant::now()), count);
        let shared = Arc::new(Shared {
            state: Mutex::new(State { queue, ending: false, workers: 0 }),
            news: Condvar::new(),
            farewell: Condvar::new(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let (send, results) = channel();
        let mut pool = Self { shared, workers: Vec::new(), results, in_flight: 0 };
        for _ in 0..count {
            pool.hire(send.clone())?;
        }
        Ok(pool)
    }

    fn hire(&mut self, results: Sender<Worked>) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let worker = move || {
            shared.serve(&results);
            shared.lock().workers -= 1;
            shared.farewell.notify_all();
        };
        let mut state = self.shared.lock();
        self.workers.push(thread::Builder::new().name("worker".into()).spawn(worker)?);
        state.workers += 1;
        Ok(())
    }

    /// Hands in a packet. What there is no room for comes back: this one, or another.
    pub fn submit(&mut self, pending: Box<Pending>, now: Timestamp) -> Option<Dropped<Box<Pending>>> {
        let seen = Seen { origin: *pending.origin(), at: now };
        let (text, trusted) = (pending.text(), pending.trusted());
        let mut state = self.shared.lock();
        // Where strangers wait already, whoever sees to them knows, and a flood need not wake anybody.
        let news = trusted || !state.queue.strangers_wait();
        let dropped = state.queue.push(text, trusted, seen, pending);
        drop(state);
        self.in_flight += usize::from(dropped.is_none());
        if news {
            self.shared.news.notify_one();
        }
        dropped
    }

    /// What has been worked on since the last time: one after another, until there is no more.
    pub fn take(&mut self) -> Option<Worked> {
        if self.is_idle() {
            return None;
        }
        // Silenced before looking, so that whatever comes later rings again.
        let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        let worked = self.results.try_recv().ok()?;
        self.in_flight -= 1;
        Some(worked)
    }

    /// Whether there is nothing in it that will ever come back.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    pub fn set_percent(&self, percent: u32) {
        self.shared.lock().queue.set_percent(percent, Instant::now());
        self.shared.news.notify_all();
    }
}

impl AsFd for Pool {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }
}

/// Drops what nobody works on, and waits for the rest: not for ever, a worker may hang.
impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ending = true;
        state.queue.clear();
        self.shared.news.notify_all();
        let left = self.shared.farewell.wait_timeout_while(state, LAST_WORK, |state| state.workers > 0);
        drop(left);
        self.workers.drain(..).filter(JoinHandle::is_finished).for_each(|worker| drop(worker.join()));
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, results: &Sender<Worked>) {
        let mut state = self.lock();
        while !state.ending {
            let now = Instant::now();
            state = match state.queue.next(now) {
                Next::Nothing => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::In(wait) => self.news.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                Next::Work(ticket, pending) => {
                    drop(state);
                    // For what is left there is somebody else.
                    self.news.notify_one();
                    let worked = pending.work(Timestamp::now());
                    // Nobody takes it any more when the daemon ends.
                    let _ = results.send(worked);
                    let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
                    let mut state = self.lock();
                    state.queue.done(ticket, now.elapsed(), Instant::now());
                    state
                }
            };
        }
    }

    /// Nothing that could be left half done panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Strangers' work may take all of them but one.
const FEWEST: usize = 2;
const MOST: usize = 4;
/// How long the end of the daemon waits for work that has begun.
const LAST_WORK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
