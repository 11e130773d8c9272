//! What a former daemon left: its grants stand in the store, and their rules in the firewall, unless it died in between.
//!
//! The store is written first, so it knows all that can be open. What the firewall was told of is taken over as it is, and what
//! it may not have been told of is told again. What the firewall holds and the store does not know, such as rules of the
//! original, ends when it says and gets a number.

use std::collections::BTreeSet;

use super::journal::{Closed, Level};
use super::lookout::Lookout;
use super::run::Daemon;
use crate::config::ServerSettings;
use crate::firewall::{self, Error, Features, Firewall, SetUp};
use crate::gate::{Opening, TakenUp};
use crate::grant::{Grant, GrantId};
use crate::time::Timestamp;

impl Daemon<'_> {
    /// The grants of the store: from now on they are ours to close. What a command should have closed already is next. Tells
    /// whether the firewall may hold any.
    pub fn take_up(&mut self, server: &ServerSettings) -> bool {
        let taken = self.gate.take_up(Timestamp::now()).unwrap_or_else(|error| {
            self.journal.trouble(&error);
            TakenUp::default()
        });
        for id in taken.unread {
            let text = format!("[*] grant {id} was left open by another version and cannot be read: close it by hand");
            self.journal.note(Level::Error, text);
        }
        let goes_on = |grant: &&Grant| grant.cycle().is_some() || !server.flush_at_init;
        let told = self.gate.grants().filter(|grant| !self.gate.is_untold(grant.id));
        told.filter(goes_on).for_each(|grant| self.journal.adopted(grant));
        taken.any_ended || self.gate.grants().any(|grant| grant.cycle().is_none())
    }

    /// Set-up, and what was left open: taken over, or closed when so configured.
    pub fn open_firewall(&mut self, server: &ServerSettings) -> Result<(), Error> {
        let mut firewall = Firewall::new(&server.firewall);
        if server.flush_at_init {
            firewall.flush()?;
            self.forget_flushed(Closed::Flushed);
        }
        let ours = self.gate.grants().filter(|grant| grant.is_in_firewall());
        firewall.expect(ours, |grant| !self.gate.is_untold(grant.id));
        let set_up = firewall.set_up()?;
        self.lookout = Lookout::new(firewall.news()?, Timestamp::now());
        firewall.claim(&mut || self.gate.new_number());
        self.firewall = Some(firewall);
        self.tell_set_up(&set_up, server.firewall.features);
        self.close_orphans();
        self.adopt()
    }

    /// What the administrator should know of it.
    pub fn tell_set_up(&mut self, set_up: &SetUp, features: Features) {
        for warning in &set_up.warnings {
            self.journal.note(Level::Warning, warning);
        }
        let around = self.firewall.as_mut().map(Firewall::surroundings).unwrap_or_default();
        for concern in around.into_iter().chain(firewall::forwarding(features)) {
            self.journal.note(Level::Warning, format!("{}: {}", concern.what, concern.advice));
        }
    }

    /// Somebody may have been shut out while no daemon ran.
    pub fn close_orphans(&mut self) {
        let orphans = self.gate.take_orphans();
        self.close(orphans, Closed::Unlisted);
    }

    fn adopt(&mut self) -> Result<(), Error> {
        let Some(firewall) = &mut self.firewall else { return Ok(()) };
        let mut there = BTreeSet::new();
        for found in firewall.adopt(Timestamp::now())? {
            if self.gate.knows(&found) {
                there.insert(found.id);
            } else {
                self.journal.adopted(self.gate.adopt(found));
            }
        }
        self.close_orphans();
        let untold: Vec<GrantId> =
            self.gate.grants().map(|grant| grant.id).filter(|id| self.gate.is_untold(*id)).collect();
        for id in untold {
            if let Some(opening) = self.gate.reopen(id) {
                self.open_left(opening, there.contains(&id));
            }
        }
        Ok(())
    }

    /// One that the former daemon may not have come to. `there`: at least a part of it is open.
    fn open_left(&mut self, opening: Opening, there: bool) {
        let now = Timestamp::now();
        if opening.grant.access.name().is_some() {
            self.look_up(Box::new(opening));
        } else if self.tell_firewall(&opening, now) {
            match there {
                true => self.journal.adopted(&opening.grant),
                false => self.journal.opened(&opening, "fwknop"),
            }
        }
    }
}
