//! The loop: receive, ask the gate, obey, write the journal. One `poll` over everything, and no wake-up when idle.

use std::os::fd::AsFd as _;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::alarm::Alarm;
use super::clock::Clock;
use super::closing::Later;
use super::control::socket::ControlSocket;
use super::crowd::Crowd;
use super::errands::Errands;
use super::journal::{Journal, Level};
use super::lookout::Lookout;
use super::pool::Pool;
use super::signals::{Asked, Signals};
use super::sources::Sources;
use crate::capture::{self, Received};
use crate::firewall::Firewall;
use crate::gate::{Gate, Unsettled};
use crate::time::Timestamp;

/// All that runs. Sources and firewall come last when it starts.
pub struct Daemon<'a> {
    pub sources: Sources,
    pub gate: Gate,
    pub pool: Pool,
    pub aside: Errands,
    pub crowd: Crowd,
    /// `--test`: decide, but change nothing. What this one would do is only told.
    pub dry_run: Option<Firewall>,
    /// `None`: no stanza needs one, or none is to be changed.
    pub firewall: Option<Firewall>,
    /// `None`: changes of others are noticed by the next grant.
    pub lookout: Option<Lookout>,
    pub journal: &'a mut Journal,
    pub signals: Signals,
    /// `None`: it could not be made, and that has been said.
    pub control: Option<ControlSocket>,
    pub alarm: Alarm,
    pub clock: Clock,
    pub later: Later,
    /// `--packet-limit`: how many captured packets are still to be looked at.
    pub packets_left: Option<u64>,
    /// `EXIT_AT_INTF_DOWN`: an interface that fails ends the daemon, even when there are others. Otherwise it is opened
    /// again when it is back.
    pub exit_when_down: bool,
    /// Whether the end of the daemon closes what is open.
    pub flush_at_exit: bool,
    /// Reads the files again; the old settings stay when it fails.
    pub reload: Box<dyn FnMut(&mut Daemon<'_>) -> Reloaded + 'a>,
}

/// What is to be said about the new settings, or why the old ones stay.
pub type Reloaded = Result<Vec<String>, Vec<String>>;

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
            let now = self.now();
            self.expire(now);
            self.conclude();
            self.take_errands();
            let more = match self.receive() {
                Ok(more) => more,
                Err(end) => return end,
            };
            self.try_again(Timestamp::now());
            self.look_after(Timestamp::now());
            self.tidy(Timestamp::now());
            self.tell_watchers();
            let signalled = match self.wait(more) {
                Ok(signalled) => signalled,
                Err(error) => return End::Poll(error),
            };
            match signalled.then(|| self.signals.asked()).flatten() {
                Some(Asked::Stop { signal }) => return End::Signal(signal),
                Some(Asked::Reload) => {
                    self.journal.note(Level::Warning, "Got SIGHUP. Re-reading configs.");
                    // It has told the journal.
                    let _ = self.reload();
                }
                None => {}
            }
            self.serve_control();
        }
    }

    /// Takes a bounded number of datagrams from each source, so that none starves the others. Tells whether there may be
    /// more at once.
    fn receive(&mut self) -> Result<bool, End> {
        let mut more = false;
        let mut at = 0;
        while at < self.sources.count() {
            match self.drain(at)? {
                Drained::Empty => at += 1,
                Drained::More => {
                    more = true;
                    at += 1;
                }
                Drained::Ended => self.sources.remove(at),
                Drained::Lost => self.sources.lose(at),
            }
        }
        // What was received before the end is decided before the end.
        match (self.is_idle(), self.sources.exhausted(), self.packets_left) {
            (true, _, Some(0)) => Err(End::PacketLimit),
            (true, true, _) => Err(End::Exhausted),
            _ => Ok(more),
        }
    }

    fn is_idle(&self) -> bool {
        self.pool.is_idle() && self.aside.is_idle()
    }

    /// Whether nothing is to be read there now. A savefile can wait until the packets before are decided; nothing that is
    /// heard live can.
    fn rests(&self, at: usize) -> bool {
        self.packets_left == Some(0) || (self.sources.can_wait(at) && !self.is_idle())
    }

    /// What was taken is decided, whatever happens to the source.
    fn drain(&mut self, at: usize) -> Result<Drained, End> {
        let mut batch = Vec::new();
        let drained = self.take(at, &mut batch);
        self.obey(batch);
        drained
    }

    fn take(&mut self, at: usize, batch: &mut Vec<Unsettled>) -> Result<Drained, End> {
        for _ in 0..BATCH {
            if self.rests(at) {
                return Ok(Drained::Empty);
            }
            match self.sources.next(at) {
                Ok(Received::Nothing) => return Ok(Drained::Empty),
                Ok(Received::End) => return Ok(Drained::Ended),
                Ok(Received::Skipped) => {}
                Ok(Received::Datagram(datagram)) => {
                    self.crowd.count();
                    self.examine(&datagram, batch);
                }
                // A source that has failed never gives anything again.
                Err(error) if self.exit_when_down || !self.sources.may_return(at) => return Err(End::Capture(error)),
                Err(error) => {
                    self.journal.trouble(&error);
                    return Ok(Drained::Lost);
                }
            }
            self.packets_left = self.packets_left.map(|left| left - 1);
        }
        Ok(Drained::More)
    }

    /// Sleeps until a packet, a signal, or the alarm: the end of a grant, or another try. Tells whether a signal may have
    /// come.
    fn wait(&mut self, more: bool) -> std::io::Result<bool> {
        if let (false, Some(rest)) = (more, self.crowd.gathers(Instant::now())) {
            std::thread::sleep(rest);
        }
        let look = self.lookout.as_ref().and_then(Lookout::due);
        let tidy = self.firewall.as_ref().and_then(Firewall::next_tidy);
        let next = self.later.at.into_iter().chain(look).chain(tidy).chain(self.gate.next_deadline()).min();
        self.alarm.set(next.map(|at| self.clock.since_boot(at)))?;
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let file = self.sources.always_ready() && self.is_idle();
        let asked = self.control.as_ref().is_some_and(ControlSocket::is_busy);
        let timeout = (more || file || asked).then_some(at_once);
        let aside = self.aside.fds();
        let ours = [self.signals.as_fd(), self.alarm.as_fd(), self.clock.as_fd(), self.pool.as_fd()];
        let ours = ours.into_iter().chain(aside);
        let deaf = self.packets_left == Some(0);
        let sources = self.sources.fds().filter(|_| !deaf);
        let watched = self.lookout.as_ref().and_then(Lookout::fd);
        let is_watched = watched.is_some();
        let fds = ours.chain(watched).chain(sources);
        let fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let control = self.control.iter().flat_map(ControlSocket::fds);
        let mut fds: Vec<PollFd> = fds.chain(control.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags))).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            polled => polled?,
        };
        let said: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let mut said = said.into_iter();
        let signalled = said.next().is_some_and(|flags| !flags.is_empty());
        let rang = said.next().is_some_and(|flags| !flags.is_empty());
        let clock_rang = said.next().is_some_and(|flags| !flags.is_empty());
        // The pool and what is done aside are looked at anyway.
        let mut said = said.skip(1 + aside.len());
        let heard = is_watched && said.next().is_some_and(|flags| !flags.is_empty());
        let sources = self.sources.fds().filter(|_| !deaf).count();
        self.sources.polled(said.by_ref().take(sources));
        if let Some(control) = &mut self.control {
            control.polled(said);
        }
        if rang {
            self.alarm.silence();
        }
        if clock_rang {
            self.clock.silence()?;
        }
        // Also when nothing was said: whatever is done next goes by the clock.
        let now = self.now();
        if let (true, Some(lookout)) = (heard, &mut self.lookout) {
            lookout.heard(now);
        }
        Ok(signalled)
    }

    pub fn reload(&mut self) -> Reloaded {
        // Taken out for the call, which needs the rest of us.
        let mut reload = std::mem::replace(&mut self.reload, Box::new(|_| Ok(Vec::new())));
        let reloaded = reload(self);
        self.reload = reload;
        reloaded
    }
}

enum Drained {
    Empty,
    More,
    Ended,
    /// It may come back.
    Lost,
}

/// How many packets are taken from one source before the others get their turn.
const BATCH: u32 = 64;
