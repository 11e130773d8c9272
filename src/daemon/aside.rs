//! What takes its time, and must not keep the loop waiting: a thread each, a few at a time.
//!
//! The loop hands in a task and polls for what comes back. When too many are under way, a task is refused: whoever can hand
//! in tasks holds a key, and shall not fill the machine with it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};

/// Tasks under way, and what has become of them. Readable when there is something to [`take`](Self::take).
pub struct Aside<T> {
    most: usize,
    under_way: usize,
    done: Sender<T>,
    results: Receiver<T>,
    bell: Arc<OwnedFd>,
}

/// As many tasks are under way as may be, or there is no thread to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl<T: Send + 'static> Aside<T> {
    /// At most `most` at a time.
    pub fn new(most: usize) -> io::Result<Self> {
        let (done, results) = channel();
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { most, under_way: 0, done, results, bell })
    }

    pub fn start(&mut self, task: impl FnOnce() -> T + Send + 'static) -> Result<(), Busy> {
        if !self.has_room() {
            return Err(Busy);
        }
        let (done, bell) = (self.done.clone(), self.bell.clone());
        let run = move || {
            // Nobody takes it any more when the daemon ends.
            let _ = done.send(task());
            let _ = rustix::io::write(&*bell, &1u64.to_ne_bytes());
        };
        thread::Builder::new().name("aside".to_owned()).spawn(run).map_err(|_| Busy)?;
        self.under_way += 1;
        Ok(())
    }

    pub fn has_room(&self) -> bool {
        self.under_way < self.most
    }

    /// What has come back since the last time: one after another, until there is no more.
    pub fn take(&mut self) -> Option<T> {
        if self.is_idle() {
            return None;
        }
        // Silenced before looking, so that whatever comes later rings again.
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
        let result = self.results.try_recv().ok()?;
        self.under_way -= 1;
        Some(result)
    }

    /// Whether there is nothing that will ever come back.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }
}

impl<T> AsFd for Aside<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn tasks_come_back_and_no_more_than_allowed_are_under_way() {
        let mut aside = Aside::new(2).unwrap();
        let (go, wait) = channel::<()>();
        assert_eq!(aside.start(move || wait.recv().is_err()), Ok(()));
        assert_eq!(aside.start(|| true), Ok(()));
        assert_eq!(aside.start(|| true), Err(Busy));
        drop(go);
        let mut back = 0;
        while !aside.is_idle() {
            let limit = Timespec::try_from(Duration::from_secs(20)).unwrap();
            assert!(poll(&mut [PollFd::new(&aside, PollFlags::IN)], Some(&limit)).unwrap() > 0, "nothing came back");
            back += std::iter::from_fn(|| aside.take()).filter(|done| *done).count();
        }
        assert_eq!(back, 2);
        assert_eq!(aside.start(|| true), Ok(()));
    }
}
