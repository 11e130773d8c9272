//! The loop: receive, ask the gate, obey, write the journal. One `poll` over everything, and no wake-up when idle.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::journal::{Closed, Journal, Level};
use super::signals::{Asked, Signals};
use crate::capture::{self, Received, Source};
use crate::firewall::Firewall;
use crate::gate::{Gate, Opening, Verdict};
use crate::spa::Datagram;
use crate::time::Timestamp;

/// A daemon that is ready: everything is open that needs to be.
pub struct Daemon<'a> {
    pub sources: Vec<Box<dyn Source>>,
    pub gate: Gate,
    /// `None`: decide, but change nothing (`--test`).
    pub firewall: Option<Firewall>,
    pub journal: Journal,
    pub signals: Signals,
    /// `--packet-limit`: how many captured packets are still to be looked at.
    pub packets_left: Option<u64>,
    /// `EXIT_AT_INTF_DOWN`: a source that fails ends the daemon, even when there are others.
    pub exit_when_down: bool,
    /// Whether the end of the daemon closes what is open.
    pub flush_at_exit: bool,
    /// Reads the files again; the old settings stay when it fails.
    pub reload: Box<dyn FnMut(&mut Daemon<'_>) + 'a>,
}

/// Why the loop ended.
#[derive(Debug)]
pub enum End {
    Signal(&'static str),
    PacketLimit,
    /// No source will ever give anything again: the end of a savefile.
    Exhausted,
    Capture(capture::Error),
    Poll(std::io::Error),
}

impl Daemon<'_> {
    pub fn run(&mut self) -> End {
        loop {
            self.expire(Timestamp::now());
            let more = match self.receive() {
                Ok(more) => more,
                Err(end) => return end,
            };
            if let Err(error) = self.wait(more) {
                return End::Poll(error);
            }
            match self.signals.asked() {
                Some(Asked::Stop { signal }) => return End::Signal(signal),
                Some(Asked::Reload) => self.reload(),
                None => {}
            }
        }
    }

    /// Takes a bounded number of datagrams from each source, so that none starves the others. Tells whether there may be
    /// more at once.
    fn receive(&mut self) -> Result<bool, End> {
        let mut more = false;
        let mut at = 0;
        while at < self.sources.len() {
            match self.drain(at)? {
                Drained::Empty => at += 1,
                Drained::More => {
                    more = true;
                    at += 1;
                }
                Drained::Ended => drop(self.sources.remove(at)),
            }
        }
        if self.sources.is_empty() { Err(End::Exhausted) } else { Ok(more) }
    }

    fn drain(&mut self, at: usize) -> Result<Drained, End> {
        for _ in 0..BATCH {
            if self.packets_left == Some(0) {
                return Err(End::PacketLimit);
            }
            match self.sources[at].next() {
                Ok(Received::Nothing) => return Ok(Drained::Empty),
                Ok(Received::End) => return Ok(Drained::Ended),
                Ok(Received::Skipped) => {}
                Ok(Received::Datagram(datagram)) => self.handle(&datagram),
                // A source that has failed never gives anything again.
                Err(error) if self.exit_when_down || self.sources.len() == 1 => return Err(End::Capture(error)),
                Err(error) => {
                    self.journal.trouble(&error);
                    return Ok(Drained::Ended);
                }
            }
            self.packets_left = self.packets_left.map(|left| left - 1);
        }
        Ok(Drained::More)
    }

    fn handle(&mut self, datagram: &Datagram) {
        let now = Timestamp::now();
        match self.gate.handle(datagram, now) {
            Verdict::Open(opening) => self.open(&opening, now),
            Verdict::Refuse(refusal) => self.journal.refused(&datagram.origin, &refusal, now),
        }
        if let Some(error) = self.gate.take_trouble() {
            self.journal.trouble(&error);
        }
        // Only what was authentic is ever stored, and only then is there anything to forget.
        if let Err(error) = self.gate.tidy(now) {
            self.journal.trouble(&error);
        }
    }

    /// All or nothing: when the firewall does not take a grant, it is as if it had never been given.
    fn open(&mut self, opening: &Opening, now: Timestamp) {
        let Some(firewall) = &mut self.firewall else {
            self.journal.opened(opening, "(test)");
            self.journal.note(Level::Warning, "--test mode enabled, skipping firewall manipulation.");
            return;
        };
        match firewall.open(&opening.grant, now) {
            Ok(()) => self.journal.opened(opening, "fwknop"),
            Err(error) => {
                self.gate.withdraw(opening);
                self.journal.trouble(&error);
                self.journal.closed(&opening.grant, Closed::Failed);
            }
        }
    }

    /// The kernel has closed these by itself where it can; but its timeouts stand still while the machine sleeps.
    fn expire(&mut self, now: Timestamp) {
        for grant in self.gate.expire(now) {
            if let Some(firewall) = &mut self.firewall
                && let Err(error) = firewall.close(&grant)
            {
                self.journal.trouble(&error);
            }
            self.journal.closed(&grant, Closed::Expired);
        }
    }

    /// Sleeps until a packet, a signal, or the end of a grant.
    fn wait(&mut self, more: bool) -> std::io::Result<()> {
        let always_ready = self.sources.iter().any(|source| source.fd().is_none());
        let timeout = match self.gate.next_deadline() {
            _ if more || always_ready => Some(Duration::ZERO),
            // A little late rather than a little early, which would be a wake-up for nothing.
            Some(end) => Some(Timestamp::now().until(end) + Duration::from_millis(1)),
            None => None,
        };
        let timeout = timeout.map(|span| Timespec::try_from(span).unwrap_or(LONGEST));
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(
            self.sources.iter().filter_map(|source| source.fd()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn reload(&mut self) {
        self.journal.note(Level::Warning, "Got SIGHUP. Re-reading configs.");
        // Taken out for the call, which needs the rest of us.
        let mut reload = std::mem::replace(&mut self.reload, Box::new(|_| {}));
        reload(self);
        self.reload = reload;
    }
}

enum Drained {
    Empty,
    More,
    Ended,
}

/// How many packets are taken from one source before the others get their turn.
const BATCH: u32 = 64;
const LONGEST: Timespec = Timespec { tv_sec: 86_400, tv_nsec: 0 };
