//! What becomes of a packet: the gate is asked, the pool works, and the verdict is obeyed and written down.

use super::journal::{Closed, Level};
use super::pool::Dropped;
use super::run::Daemon;
use crate::gate::{Examined, Opening, Refusal, Unsettled, Verdict};
use crate::reason::Reason;
use crate::spa::Datagram;
use crate::time::Timestamp;

impl Daemon<'_> {
    /// As far as a packet comes before anything is written to the disk: what is decided waits in `batch`.
    pub fn examine(&mut self, datagram: &Datagram, batch: &mut Vec<Unsettled>) {
        let now = self.now();
        let examined = self.gate.examine(datagram, now);
        self.go_on(examined, batch, now);
    }

    /// Takes the packets further whose public-key work is done.
    pub fn conclude(&mut self) {
        let mut batch = Vec::new();
        while let Some(worked) = self.pool.take() {
            let now = self.now();
            let examined = self.gate.conclude(worked, now);
            self.go_on(examined, &mut batch, now);
        }
        for news in self.gate.take_news() {
            self.journal.key_news(&news);
        }
        self.obey(batch);
    }

    fn go_on(&mut self, examined: Examined, batch: &mut Vec<Unsettled>, now: Timestamp) {
        let pending = match examined {
            Examined::Final(unsettled) => return batch.push(unsettled),
            Examined::Pending(pending) => pending,
        };
        match self.pool.submit(pending, now) {
            None => {}
            Some(Dropped::Busy(pending)) => self.journal.refused(pending.origin(), &Reason::Busy.into(), now),
            Some(Dropped::Twin(pending, first)) => {
                let refusal = Refusal { first_seen: Some(Box::new(first)), ..Reason::Replay.into() };
                self.journal.refused(pending.origin(), &refusal, now);
            }
        }
    }

    /// One write for all verdicts of a batch, and then what they say.
    pub fn obey(&mut self, batch: Vec<Unsettled>) {
        if batch.is_empty() {
            return;
        }
        let settled = self.gate.settle(batch);
        if let Some(error) = self.gate.take_trouble() {
            self.journal.trouble(&error);
        }
        for (origin, verdict) in settled {
            let now = self.now();
            match verdict {
                Verdict::Open(mut opening) => {
                    self.gate.retime(&mut opening);
                    self.open(opening, now);
                }
                Verdict::Run(errand) => self.run_errand(*errand),
                Verdict::Refuse(refusal) => self.journal.refused(&origin, &refusal, now),
            }
        }
        // Only what was authentic is ever stored, and only then is there anything to forget.
        if let Err(error) = self.gate.tidy(Timestamp::now()) {
            self.journal.trouble(&error);
        }
    }

    fn open(&mut self, opening: Box<Opening>, now: Timestamp) {
        if let Some(firewall) = &self.dry_run {
            self.journal.opened(&opening, "(test)");
            self.journal.note(Level::Warning, "--test mode enabled, skipping firewall manipulation.");
            match firewall.describe(&opening.grant) {
                Ok(steps) => steps.iter().for_each(|step| self.journal.note(Level::Info, format!("would do: {step}"))),
                Err(error) => self.journal.trouble(&error),
            }
        } else if opening.grant.cycle().is_some() {
            self.open_cycle(&opening);
        } else if opening.grant.access.name().is_some() {
            self.look_up(opening);
        } else {
            self.change_firewall(&opening, now);
        }
    }

    pub fn change_firewall(&mut self, opening: &Opening, now: Timestamp) {
        if self.tell_firewall(opening, now) {
            self.journal.opened(opening, "fwknop");
        }
    }

    /// All or nothing: when the firewall does not take a grant, it is as if it had never been given.
    pub fn tell_firewall(&mut self, opening: &Opening, now: Timestamp) -> bool {
        let Some(firewall) = &mut self.firewall else { return false };
        match firewall.renew(&opening.grant, &opening.supersedes, now) {
            Ok(()) => {
                self.gate.told(opening);
                true
            }
            Err(error) => {
                self.journal.trouble(&error);
                self.give_up(opening, Closed::Failed);
                false
            }
        }
    }

    pub fn give_up(&mut self, opening: &Opening, why: Closed) {
        if let Err(error) = self.gate.withdraw(opening) {
            self.journal.trouble(&error);
        }
        self.journal.closed(&opening.grant, why);
    }
}
