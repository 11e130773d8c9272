//! The loop: receive, ask the gate, obey, write the journal. One `poll` over everything, and no wake-up when idle.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::alarm::Alarm;
use super::clock::Clock;
use super::control::socket::ControlSocket;
use super::crowd::Crowd;
use super::errands::Errands;
use super::journal::{Closed, Journal, Level};
use super::lookout::{Lookout, is_in_firewall};
use super::pool::Pool;
use super::signals::{Asked, Signals};
use super::sources::Sources;
use crate::capture::{self, Received};
use crate::firewall::Firewall;
use crate::gate::{Gate, Unsettled};
use crate::grant::Grant;
use crate::time::{Shift, Timestamp};

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

/// What did not work and is tried again, every few seconds while there is any.
#[derive(Default)]
pub struct Later {
    at: Option<Timestamp>,
    /// What has ended but could not be closed.
    pub unclosed: Vec<(Grant, Closed)>,
    /// What was left behind in the firewall could not be removed, and that was told.
    untidy: bool,
}

impl Later {
    pub fn shift(&mut self, by: Shift) {
        self.at = self.at.map(|at| at.shifted(by));
    }
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

    /// The kernel has closed these by itself where it can; but its timeouts stand still while the machine sleeps.
    fn expire(&mut self, now: Timestamp) {
        let ended = self.gate.expire(now);
        self.close(ended, Closed::Expired);
    }

    /// Closes what the gate has given up.
    pub fn close(&mut self, grants: Vec<Grant>, why: Closed) {
        self.hand_over(&grants);
        if let Some(firewall) = &mut self.firewall {
            // What fails is tried again one by one, and told then.
            let _ = firewall.close_together(&grants);
        }
        for grant in grants {
            if grant.cycle().is_some() {
                self.close_cycle(grant, why, false);
                continue;
            }
            match self.firewall.as_mut().map_or(Ok(()), |firewall| firewall.close(&grant)) {
                Ok(()) => self.journal.closed(&grant, why),
                Err(error) => {
                    self.journal.trouble(&error);
                    self.later.unclosed.push((grant, why));
                }
            }
        }
    }

    /// What others have open for the same addresses stays open.
    fn hand_over(&mut self, leaving: &[Grant]) {
        let Some(firewall) = &mut self.firewall else { return };
        let addresses: BTreeSet<IpAddr> = leaving.iter().map(|grant| grant.allow).collect();
        let others = addresses.into_iter().flat_map(|allow| self.gate.grants_for(allow));
        let mut others = others.filter(|other| is_in_firewall(other)).peekable();
        if others.peek().is_none() {
            return;
        }
        if let Err(error) = firewall.hand_over(leaving, others, Timestamp::now()) {
            self.journal.trouble(&error);
        }
    }

    fn try_again(&mut self, now: Timestamp) {
        if self.later.at.is_some_and(|at| at <= now) {
            self.later.at = None;
            self.sources.look_again(self.journal);
            self.close_again();
            // Why it had to be looked for was told.
            let _ = self.firewall.as_mut().map(Firewall::make_sure);
        }
        let unsure = self.firewall.as_ref().is_some_and(Firewall::is_unsure);
        if unsure || self.sources.any_missing() || !self.later.unclosed.is_empty() || self.aside.cycles.is_stuck() {
            self.later.at.get_or_insert(now.plus(PAUSE));
        }
    }

    /// Its failure was told the first time.
    fn close_again(&mut self) {
        for (grant, why) in std::mem::take(&mut self.later.unclosed) {
            if grant.cycle().is_some() {
                self.close_cycle(grant, why, true);
                continue;
            }
            match self.firewall.as_mut().map_or(Ok(()), |firewall| firewall.close(&grant)) {
                Ok(()) => self.journal.closed(&grant, why),
                Err(_) => self.later.unclosed.push((grant, why)),
            }
        }
    }

    /// Removes what closing left behind in the firewall. A failure is told once.
    fn tidy(&mut self, now: Timestamp) {
        let Some(firewall) = &mut self.firewall else { return };
        match firewall.tidy(now) {
            Ok(()) => self.later.untidy = false,
            Err(error) if !std::mem::replace(&mut self.later.untidy, true) => self.journal.trouble(&error),
            Err(_) => {}
        }
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
/// Between two tries of what did not work.
const PAUSE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    use crate::access::AccessTable;
    use crate::config::Facility;
    use crate::crypto::unseal::Keyrings;
    use crate::daemon::journal::Sink;
    use crate::daemon::syslog::Syslog;
    use crate::firewall::{Error, Failed, FirewallSettings, Nftables, Output, Runner, Step};
    use crate::gate::GateRules;
    use crate::grant::{Access, GrantId};
    use crate::replay::MemoryStore;
    use crate::spa::HttpRules;
    use crate::time::Lifetime;

    /// Refuses the first runs, and finds nothing then: what was open is gone.
    struct Stubborn {
        refusals: u32,
    }

    impl Runner for Stubborn {
        fn run(&mut self, _: &[Step]) -> Result<Vec<Output>, Failed> {
            if self.refusals == 0 {
                return Ok(vec![Output::Found(None)]);
            }
            self.refusals -= 1;
            Err(Failed { done: 0, error: Error::Socket(std::io::ErrorKind::TimedOut.into()) })
        }
    }

    #[test]
    fn a_grant_is_called_closed_once_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        let log = UnixDatagram::bind(&place).unwrap();
        log.set_nonblocking(true).unwrap();
        let said = || {
            let mut line = [0; 1024];
            std::iter::from_fn(|| log.recv(&mut line).ok().map(|n| String::from_utf8_lossy(&line[..n]).into_owned()))
                .collect::<String>()
        };
        let syslog = Syslog::at(vec![place.clone()], "test", Facility::Daemon);
        let mut journal = Journal::new(Sink::stderr().with_syslog(syslog), 0);
        let now = Timestamp::from_secs(1000);
        let mut daemon = daemon(&mut journal, Stubborn { refusals: 2 });
        daemon.gate.adopt(Grant {
            id: GrantId(7),
            allow: "192.0.2.1".parse().unwrap(),
            access: Access::Open("tcp/22".parse().unwrap()),
            at: None,
            lifetime: Lifetime::from_secs(30).unwrap(),
            until: now,
            certificate: None,
            knock: None,
        });
        daemon.expire(now);
        daemon.try_again(now);
        let lines = said();
        assert!(lines.contains("cannot speak to the kernel") && !lines.contains("close "), "{lines}");
        daemon.try_again(now);
        assert_eq!(daemon.later.at, Some(now.plus(PAUSE)), "not at once: that would be all it does");
        daemon.try_again(now.plus(PAUSE));
        assert_eq!(said(), "", "it was told once");
        daemon.try_again(now.plus(PAUSE * 2));
        assert!(said().contains("close   grant=7 allow=192.0.2.1 ports=tcp/22 reason=expired"));
        assert_eq!((daemon.later.at, daemon.later.unclosed.len()), (None, 0));
    }

    fn daemon(journal: &mut Journal, runner: Stubborn) -> Daemon<'_> {
        let rules = GateRules { max_age: None, http: HttpRules::default() };
        let replay = Box::new(MemoryStore::default());
        let input = Some("inet filter input".parse().unwrap());
        let backend = Nftables::new(&FirewallSettings { input, ..FirewallSettings::default() });
        Daemon {
            sources: Sources::default(),
            gate: Gate::new(rules, AccessTable::default(), Keyrings::default(), replay, GrantId(0)),
            pool: Pool::start(50).unwrap(),
            aside: Errands::new().unwrap(),
            crowd: Crowd::new(Instant::now()),
            dry_run: None,
            firewall: Some(Firewall::with(Box::new(backend), Box::new(runner))),
            lookout: None,
            journal,
            signals: Signals::install().unwrap(),
            control: None,
            alarm: Alarm::new().unwrap(),
            clock: Clock::new().unwrap(),
            later: Later::default(),
            packets_left: None,
            exit_when_down: true,
            flush_at_exit: true,
            reload: Box::new(|_| Ok(Vec::new())),
        }
    }
}
