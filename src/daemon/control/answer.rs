//! What the daemon does when it is asked.

use super::protocol::{Answer, Open, PAGE, Request, Which};
use super::socket::Who;
use crate::crypto::openpgp::Fingerprint;
use crate::daemon::journal::{Closed, Level};
use crate::daemon::run::Daemon;
use crate::grant::{Grant, GrantId};

impl Daemon<'_> {
    /// Answers one request of each connection.
    pub fn serve_control(&mut self) {
        // Taken out for the time, because answering needs the rest of us.
        let Some(mut control) = self.control.take() else { return };
        for asked in control.requests() {
            let answer = match &asked.request {
                Ok(Request::Watch { seen }) if *seen == self.gate.changes() => {
                    control.hold(&asked, *seen);
                    continue;
                }
                Ok(request) => self.answer(request, asked.who),
                Err(why) => Answer::Misunderstood { why: why.clone() },
            };
            control.answer(&asked, &answer);
        }
        self.control = Some(control);
    }

    /// Answers those who wait for a change, if there was one.
    pub fn tell_watchers(&mut self) {
        if let Some(control) = &mut self.control {
            control.changed(self.gate.changes());
        }
    }

    fn answer(&mut self, request: &Request, who: Who) -> Answer {
        match request {
            // There is news already.
            Request::Watch { .. } => Answer::Changed { state: self.gate.changes() },
            Request::Reload => {
                self.journal.note(Level::Info, format!("control uid={} pid={} asks=reload", who.uid, who.pid));
                match self.reload() {
                    Ok(remarks) => Answer::Reloaded { remarks },
                    Err(complaints) => Answer::NotReloaded { complaints },
                }
            }
            Request::Grants { after } => {
                let mut open: Vec<Open> =
                    self.gate.grants_behind(GrantId(*after)).take(PAGE + 1).map(Open::from).collect();
                let more = open.len() > PAGE;
                open.truncate(PAGE);
                Answer::Grants { open, more }
            }
            Request::Close(which) => {
                let grants = match which {
                    Which::Grant(id) => self.gate.take(|grant| grant.id.0 == *id),
                    Which::Certificate(text) => match text.parse::<Fingerprint>() {
                        Ok(key) => self.gate.take(|grant| grant.is_signed_by(&key)),
                        Err(error) => return Answer::Misunderstood { why: error.to_string() },
                    },
                    Which::Stanza(name) => self.gate.take(|grant| grant.is_by_stanza(name)),
                    Which::Firewall => self.gate.take(|grant| grant.cycle().is_none()),
                };
                self.close_on_request(grants, who)
            }
        }
    }

    fn close_on_request(&mut self, grants: Vec<Grant>, who: Who) -> Answer {
        self.journal.note(Level::Info, format!("control uid={} pid={} asks=close", who.uid, who.pid));
        let ids = grants.iter().map(|grant| grant.id.0).collect();
        self.close(grants, Closed::Asked);
        Answer::Closed { grants: ids }
    }
}
