//! The end of grants, each for its reason: what the gate has given up is closed in the firewall, or by its command, and only then
//! called closed. What does not work is tried again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::journal::Closed;
use super::run::Daemon;
use crate::firewall::{self, Firewall};
use crate::grant::{Grant, GrantId};
use crate::time::{Shift, Timestamp};

/// What did not work and is tried again, every few seconds while there is any.
#[derive(Default)]
pub struct Later {
    pub at: Option<Timestamp>,
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

impl Daemon<'_> {
    /// The kernel has closed these by itself where it can; but its timeouts stand still while the machine sleeps.
    pub fn expire(&mut self, now: Timestamp) {
        let ended = self.gate.expire(now);
        self.close(ended, Closed::Expired);
    }

    /// Closes what the gate has given up.
    pub fn close(&mut self, grants: Vec<Grant>, why: Closed) {
        self.shut(grants.into_iter().map(|grant| (grant, why)).collect(), false);
    }

    /// `again`: its failure was told the first time.
    fn shut(&mut self, grants: Vec<(Grant, Closed)>, again: bool) {
        let (cycles, in_firewall): (Vec<_>, Vec<_>) =
            grants.into_iter().partition(|(grant, _)| grant.cycle().is_some());
        cycles.into_iter().for_each(|(grant, why)| self.close_cycle(grant, why, again));
        if in_firewall.is_empty() {
            return;
        }
        let leaving: Vec<Grant> = in_firewall.iter().map(|(grant, _)| grant.clone()).collect();
        if let Err(error) = self.hand_over(&leaving) {
            if !again {
                self.journal.trouble(&error);
            }
            // Once more, for the sake of the others, but what is to be closed does not wait for them for ever.
            let (ended, early): (Vec<_>, Vec<_>) =
                in_firewall.into_iter().partition(|(_, why)| again || *why == Closed::Expired);
            self.later.unclosed.extend(early);
            return self.close_in_firewall(ended, again);
        }
        self.close_in_firewall(in_firewall, again);
    }

    fn close_in_firewall(&mut self, grants: Vec<(Grant, Closed)>, again: bool) {
        if let Some(firewall) = &mut self.firewall {
            let all: Vec<Grant> = grants.iter().map(|(grant, _)| grant.clone()).collect();
            // What fails is tried again one by one, and told then.
            let _ = firewall.close_together(&all);
        }
        let (mut closed, mut hangs) = (Vec::new(), false);
        for (grant, why) in grants {
            // Nor is it asked for each of thousands when it does not answer.
            if hangs {
                self.later.unclosed.push((grant, why));
                continue;
            }
            match self.firewall.as_mut().map_or(Ok(()), |firewall| firewall.close(&grant)) {
                Ok(()) => closed.push((grant, why)),
                Err(error) => {
                    if !again {
                        self.journal.trouble(&error);
                    }
                    hangs = error.is_unknown();
                    self.later.unclosed.push((grant, why));
                }
            }
        }
        let early = closed.iter().filter(|(_, why)| *why != Closed::Expired);
        self.note_closed(early.map(|(grant, _)| grant.id).collect());
        closed.iter().for_each(|(grant, why)| self.journal.closed(grant, *why));
    }

    /// What others have open for the same addresses stays open.
    fn hand_over(&mut self, leaving: &[Grant]) -> Result<(), firewall::Error> {
        let Some(firewall) = &mut self.firewall else { return Ok(()) };
        let addresses: BTreeSet<IpAddr> = leaving.iter().map(|grant| grant.allow).collect();
        let others = addresses.into_iter().flat_map(|allow| self.gate.grants_for(allow));
        let mut others = others.filter(|other| other.is_in_firewall()).peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        firewall.hand_over(leaving, others, Timestamp::now())
    }

    pub fn try_again(&mut self, now: Timestamp) {
        if self.later.at.is_some_and(|at| at <= now) {
            self.later.at = None;
            self.sources.look_again(self.journal);
            let unclosed = std::mem::take(&mut self.later.unclosed);
            self.shut(unclosed, true);
            // Why it had to be looked for was told.
            let _ = self.firewall.as_mut().map(Firewall::make_sure);
        }
        let unsure = self.firewall.as_ref().is_some_and(Firewall::is_unsure);
        if unsure || self.sources.any_missing() || !self.later.unclosed.is_empty() || self.aside.cycles.is_stuck() {
            self.later.at.get_or_insert(now.plus(PAUSE));
        }
    }

    /// Removes what closing left behind in the firewall. A failure is told once.
    pub fn tidy(&mut self, now: Timestamp) {
        let Some(firewall) = &mut self.firewall else { return };
        match firewall.tidy(now) {
            Ok(()) => self.later.untidy = false,
            Err(error) if !std::mem::replace(&mut self.later.untidy, true) => self.journal.trouble(&error),
            Err(_) => {}
        }
    }

    /// The firewall was emptied: all that was open there is closed.
    pub fn forget_flushed(&mut self, why: Closed) {
        let unclosed = std::mem::take(&mut self.later.unclosed);
        let (cycles, unclosed): (Vec<_>, Vec<_>) = unclosed.into_iter().partition(|(grant, _)| grant.cycle().is_some());
        self.later.unclosed = cycles;
        let mut flushed = self.gate.take(|grant| grant.cycle().is_none());
        flushed.extend(unclosed.into_iter().map(|(grant, _)| grant));
        self.note_closed(flushed.iter().map(|grant| grant.id).collect());
        flushed.iter().for_each(|grant| self.journal.closed(grant, why));
    }

    /// These shall stay closed should we die now.
    fn note_closed(&mut self, ids: Vec<GrantId>) {
        if ids.is_empty() {
            return;
        }
        if let Err(error) = self.gate.closed(&ids) {
            self.journal.trouble(&error);
        }
    }
}

/// Between two tries of what did not work.
const PAUSE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::time::Instant;

    use crate::access::AccessTable;
    use crate::config::Facility;
    use crate::crypto::unseal::Keyrings;
    use crate::daemon::alarm::Alarm;
    use crate::daemon::clock::Clock;
    use crate::daemon::crowd::Crowd;
    use crate::daemon::errands::Errands;
    use crate::daemon::journal::{Journal, Sink};
    use crate::daemon::pool::Pool;
    use crate::daemon::signals::Signals;
    use crate::daemon::sources::Sources;
    use crate::daemon::syslog::Syslog;
    use crate::firewall::{Error, Failed, FirewallSettings, Nftables, Output, Runner, Step};
    use crate::gate::{Gate, GateRules};
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
