//! What the loop has done beside it: looking up the names of NAT targets, and running commands.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use super::aside::Aside;
use super::command::{self, Ended};
use super::cycles::Cycles;
use super::journal::{Closed, Level};
use super::run::Daemon;
use crate::gate::Opening;
use crate::grant::Errand;

/// Each kind by itself: slow commands keep nobody from being let in.
pub struct Errands {
    lookups: Aside<(Box<Opening>, io::Result<Vec<IpAddr>>)>,
    commands: Aside<(Box<Errand>, Result<Ended, command::Error>)>,
    pub cycles: Cycles,
}

impl Errands {
    pub fn new() -> io::Result<Self> {
        Ok(Self { lookups: Aside::new(LOOKUPS)?, commands: Aside::new(COMMANDS)?, cycles: Cycles::new()? })
    }

    pub fn is_idle(&self) -> bool {
        self.lookups.is_idle() && self.commands.is_idle() && self.cycles.is_idle()
    }

    /// Readable when something has come back.
    pub fn fds(&self) -> [BorrowedFd<'_>; 4] {
        let [opens, closes] = self.cycles.fds();
        [self.lookups.as_fd(), self.commands.as_fd(), opens, closes]
    }
}

impl Daemon<'_> {
    /// Takes up what has come back.
    pub fn take_errands(&mut self) {
        while let Some((opening, found)) = self.aside.lookups.take() {
            self.found(*opening, found);
        }
        while let Some((errand, ended)) = self.aside.commands.take() {
            self.journal.ran(&errand, &ended);
        }
        self.take_turns();
    }

    /// Nothing is open before the name is known.
    pub fn look_up(&mut self, opening: Box<Opening>) {
        let Some(name) = opening.grant.access.name().map(|host| host.name.clone()) else { return };
        let task = opening.clone();
        let look = move || (task, (&*name, 0).to_socket_addrs().map(|found| found.map(|to| to.ip()).collect()));
        if self.aside.lookups.start(look).is_err() {
            self.journal.note(Level::Warning, "too many names of NAT targets are being looked up already");
            self.give_up(&opening, Closed::Failed);
        }
    }

    fn found(&mut self, mut opening: Opening, found: io::Result<Vec<IpAddr>>) {
        let grant = &mut opening.grant;
        let Some(host) = grant.access.name() else { return };
        let address = match &found {
            Ok(found) => host.choose(grant.allow, found),
            Err(_) => None,
        };
        let Some(address) = address else {
            let why = found.map_or_else(|error| error.to_string(), |_| "it has no address that may be reached".into());
            let text = format!("Unable to resolve Hostname in NAT SPA message: {}: {why}", host.name); // L47
            self.journal.note(Level::Info, text);
            return self.give_up(&opening, Closed::NotFound);
        };
        self.journal.note(Level::Info, format!("Resolved NAT IP in SPA message: {} is {address}", host.name)); // L47
        grant.access = grant.access.at_address(address);
        let now = self.now();
        self.gate.retime(&mut opening);
        match self.gate.locate(&opening) {
            Ok(true) => self.change_firewall(&opening, now),
            // What ended while the name was looked up has been told.
            Ok(false) => {}
            Err(error) => {
                self.journal.trouble(&error);
                self.give_up(&opening, Closed::Failed);
            }
        }
    }

    pub fn run_errand(&mut self, errand: Errand) {
        self.journal.running(&errand);
        let words = match errand.task.words() {
            Ok(words) => words,
            Err(why) => {
                return self
                    .journal
                    .note(Level::Error, format!("ended   errand={} reason=no-command: {why}", errand.id));
            }
        };
        if self.dry_run.is_some() {
            return self.journal.note(Level::Warning, "--test mode enabled, skipping command execution."); // L35
        }
        let id = errand.id;
        let task = move || {
            let ended = command::run(&errand, &words);
            (Box::new(errand), ended)
        };
        if self.aside.commands.start(task).is_err() {
            self.journal.note(Level::Warning, format!("ended   errand={id} reason=busy"));
        }
    }
}

/// So many names at a time.
const LOOKUPS: usize = 8;
/// So many commands at a time.
const COMMANDS: usize = 8;
