//! What the operator reads: one structured line per verdict, and beside it the original's line for the same event.
//!
//! The structured line has fixed keys (`open`, `refuse`, `close`); the original's lines (`spec/server.md` 10, cited as
//! L…) are kept because logcheck, OSSEC and fail2ban rules match them. Never a key, a passphrase or a packet.
//!
//! Strangers can cause refusals at will, also signed ones by sending a captured packet again, so refusals are limited in
//! rate; with `-v` all are written.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use super::command::{self, Ended};
use crate::crypto::Signer;
use crate::crypto::openpgp::News;
use crate::gate::{Opening, Refusal};
use crate::grant::{Errand, Grant, GrantId, StanzaId, Task};
use crate::net::Origin;
use crate::reason::Reason;
use crate::time::Timestamp;

mod legacy;
mod sink;

pub use sink::Sink;

/// How much a line matters: the levels of syslog that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

/// Writes the journal.
pub struct Journal {
    sink: Sink,
    verbose: u8,
    /// For refusals that nobody signed.
    strangers: Allowance,
    /// For refusals of signed messages: these must not be lost in what strangers send.
    signed: Allowance,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Expired,
    /// The key that opened it is in no stanza any more.
    Unlisted,
    /// Through the control socket.
    Asked,
    /// A later grant covers it.
    Renewed(GrantId),
    /// The firewall did not take it: nothing of it is open.
    Failed,
    /// The name of its target leads nowhere it may go to.
    NotFound,
    /// The daemon starts, or ends, and was told to leave nothing behind.
    Flushed,
    Exit,
}

impl Journal {
    pub fn new(sink: Sink, verbose: u8) -> Self {
        Self { sink, verbose, strangers: Allowance::full(), signed: Allowance::full() }
    }

    pub fn set_verbose(&mut self, verbose: u8) {
        self.verbose = verbose;
    }

    /// From now on to syslog only: a daemon has no terminal.
    pub fn detach(&mut self) {
        self.sink.detach();
    }

    /// A line in the original's wording.
    pub fn note(&mut self, level: Level, text: impl AsRef<str>) {
        if level < Level::Debug || self.verbose > 0 {
            self.sink.write(level, text.as_ref());
        }
    }

    /// `target` is what the firewall calls the place, for the original's line.
    pub fn opened(&mut self, opening: &Opening, target: &str) {
        self.tell_suppressed();
        let grant = &opening.grant;
        let mut line = format!("open    grant={}", grant.id);
        if let Some(knock) = &grant.knock {
            let _ = write!(line, " src={} allow={}", knock.origin.src, grant.allow);
            push_stanza(&mut line, Some(knock.stanza));
            let _ = write!(line, " name={}", quoted(&knock.name));
            push_signer(&mut line, &knock.signer);
            let _ = write!(line, " user={}", quoted(&knock.user));
        }
        let _ = write!(line, " {}", grant.access);
        push_at(&mut line, grant);
        let _ = write!(line, " for={} until={}", grant.lifetime, grant.until);
        for (level, text) in legacy::opened(grant, target) {
            self.note(level, text);
        }
        self.note(Level::Info, line);
        for older in &opening.supersedes {
            self.closed(older, Closed::Renewed(grant.id));
        }
    }

    pub fn refused(&mut self, origin: &Origin, refusal: &Refusal, now: Timestamp) {
        let allowance = if refusal.signer.is_some() { &mut self.signed } else { &mut self.strangers };
        if self.verbose == 0 && !allowance.take(now) {
            return;
        }
        self.tell_suppressed();
        let mut line = format!("refuse  src={} reason={}", origin.src, refusal.reason);
        push_detail(&mut line, &refusal.reason);
        push_stanza(&mut line, refusal.stanza);
        if let Some(signer) = &refusal.signer {
            push_signer(&mut line, signer);
        }
        if let Some((level, text)) = legacy::refused(origin, refusal) {
            self.note(level, text);
        }
        self.note(Level::Warning, line);
    }

    /// How much was left out, with the next line of any kind.
    fn tell_suppressed(&mut self) {
        let count = self.strangers.suppressed() + self.signed.suppressed();
        if count > 0 {
            self.note(Level::Warning, format!("refuse  suppressed={count}"));
        }
    }

    pub fn closed(&mut self, grant: &Grant, why: Closed) {
        self.tell_suppressed();
        let mut line = format!("close   grant={} allow={} {} reason=", grant.id, grant.allow, grant.access);
        let _ = match why {
            Closed::Expired => line.write_str("expired"),
            Closed::Unlisted if grant.certificate.is_some() => line.write_str("signer-not-listed"),
            Closed::Unlisted => line.write_str("key-not-listed"),
            Closed::Asked => line.write_str("asked"),
            Closed::Renewed(by) => write!(line, "renewed by={by}"),
            Closed::Failed => line.write_str("failed"),
            Closed::NotFound => line.write_str("name-not-found"),
            Closed::Flushed => line.write_str("flushed"),
            Closed::Exit => line.write_str("exit"),
        };
        if why == Closed::Expired && grant.cycle().is_none() {
            self.note(Level::Info, legacy::expired(grant));
        }
        self.note(Level::Info, line);
    }

    /// A grant of a former daemon, or one that was found open in the firewall at start.
    pub fn adopted(&mut self, grant: &Grant) {
        let mut line = format!(
            "adopt   grant={} allow={} {} for={} until={}",
            grant.id, grant.allow, grant.access, grant.lifetime, grant.until
        );
        if let Some(knock) = &grant.knock {
            let _ = write!(line, " name={}", quoted(&knock.name));
            push_signer(&mut line, &knock.signer);
            let _ = write!(line, " user={}", quoted(&knock.user));
        }
        self.note(Level::Info, line);
    }

    /// A command is about to run, or would be in a dry run.
    pub fn running(&mut self, errand: &Errand) {
        self.tell_suppressed();
        let Errand { allow, task, run_as, knock, .. } = errand;
        let (label, src) = (label(errand), knock.origin.src);
        let mut line = format!("run     {label} src={src} allow={allow} stanza={}", knock.stanza);
        push_signer(&mut line, &knock.signer);
        let _ = write!(line, " user={}", quoted(&knock.user));
        if let Some(user) = &run_as.user {
            let _ = write!(line, " as={}", quoted(&user.name));
        }
        let _ = write!(line, " command={}", quoted(&task.command()));
        for (level, text) in legacy::running(errand) {
            self.note(level, text);
        }
        self.note(Level::Info, line);
    }

    /// A command is about to close something.
    pub fn closing(&mut self, errand: &Errand, why: Closed) {
        if why == Closed::Expired {
            self.note(Level::Info, legacy::timed_out(errand));
        }
        self.running(errand);
    }

    /// A command has ended, or could not be run. What it said comes first.
    pub fn ran(&mut self, errand: &Errand, ended: &Result<Ended, command::Error>) {
        let label = label(errand);
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.trouble(error);
                return self.note(Level::Error, format!("ended   {label} reason=failed"));
            }
        };
        let said = String::from_utf8_lossy(&ended.said);
        let mut lines = said.lines();
        for line in lines.by_ref().take(OUTPUT_LINES) {
            // It must not steer a terminal, nor look like lines of ours.
            let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
            let line: String = line.chars().take(OUTPUT_WIDTH).map(shown).collect();
            self.note(Level::Info, format!("output  {label} {line}"));
        }
        if ended.unsaid > 0 || lines.next().is_some() {
            self.note(Level::Info, format!("output  {label} (and more, which is not kept)"));
        }
        if let Some((level, text)) = legacy::ran(errand, ended) {
            self.note(level, text);
        }
        let late = if ended.late { " reason=timeout" } else { "" };
        let text = format!("ended   {label} {} after={:.1}s{late}", ended.outcome(), ended.after.as_secs_f32());
        let failed = matches!(errand.task, Task::Cycle { .. }) && !ended.status.success();
        self.note(if ended.late || failed { Level::Warning } else { Level::Info }, text);
    }

    /// What keeps a keyring from reading messages, or that it reads them again.
    pub fn key_news(&mut self, news: &News) {
        match news {
            News::Trouble(what) => self.note(Level::Error, format!("[*] {what}")),
            News::Over => self.note(Level::Info, "gpg-agent decrypts again"),
        }
    }

    /// Something the machine did to us, with its causes.
    pub fn trouble(&mut self, error: &dyn std::error::Error) {
        self.note(Level::Error, format!("[*] {}", with_causes(error)));
    }
}

/// Which command: by its own number, or by the grant it belongs to.
fn label(errand: &Errand) -> String {
    match &errand.task {
        Task::Message(_) => format!("errand={}", errand.id),
        Task::Cycle { half, .. } => format!("grant={} cycle={half}", errand.id),
    }
}

/// An error and what caused it, on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

fn push_at(line: &mut String, grant: &Grant) {
    if let Some(at) = grant.at {
        let _ = write!(line, " at={at}");
    }
}

fn push_stanza(line: &mut String, stanza: Option<StanzaId>) {
    if let Some(stanza) = stanza {
        let _ = write!(line, " stanza={stanza}");
    }
}

fn push_signer(line: &mut String, signer: &Signer) {
    let _ = write!(line, " signer={signer}");
    if let Signer::Certificate { user_id: Some(user_id), .. } = signer {
        let _ = write!(line, " signer-uid={}", quoted(user_id));
    }
}

fn push_detail(line: &mut String, reason: &Reason) {
    let _ = match reason {
        Reason::GpgBadSignature(fault) => write!(line, " fault={fault}"),
        Reason::SignerNotListed(signer) => write!(line, " by={signer}"),
        Reason::TooOld(age) => write!(line, " age={}s", age.seconds),
        Reason::UsernameMismatch(names) => write!(line, " user={}", quoted(&names.found)),
        _ => Ok(()),
    };
}

/// A value that stays one word: in quotes, and without control characters, when it has to be.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\');
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{text:?}"))
}

/// How much of what a command says is written down.
const OUTPUT_LINES: usize = 20;
const OUTPUT_WIDTH: usize = 400;

/// Tokens for lines that strangers cause.
struct Allowance {
    tokens: u32,
    since: Option<Timestamp>,
    suppressed: u64,
}

impl Allowance {
    const BURST: u32 = 50;
    const EACH: Duration = Duration::from_millis(200);

    fn full() -> Self {
        Self { tokens: Self::BURST, since: None, suppressed: 0 }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        match self.tokens.checked_sub(1) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => {
                self.suppressed += 1;
                false
            }
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        // A clock that was set back starts the count anew.
        let gained = if now < since { 1 } else { since.until(now).as_millis() / Self::EACH.as_millis() };
        if gained > 0 {
            self.tokens = u32::try_from(gained).unwrap_or(u32::MAX).saturating_add(self.tokens).min(Self::BURST);
            self.since = Some(now);
        }
    }

    /// How many lines were left out since the last one.
    fn suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_its_line() {
        assert_eq!(quoted("alice"), "alice");
        assert_eq!(quoted("Dr. No"), "\"Dr. No\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a\nrefuse src=x"), "\"a\\nrefuse src=x\"");
    }

    #[test]
    fn strangers_get_a_burst_and_then_a_trickle() {
        let mut allowance = Allowance::full();
        let now = Timestamp::from_secs(1000);
        let burst = (0..1000).filter(|_| allowance.take(now)).count();
        assert_eq!(burst, 50);
        assert_eq!(allowance.suppressed(), 950);
        let later = (0..1000).filter(|_| allowance.take(now.plus(Duration::from_secs(1)))).count();
        assert_eq!(later, 5);
        assert!((0..10).any(|_| allowance.take(Timestamp::from_secs(10))), "a clock set back silences us");
    }
}
