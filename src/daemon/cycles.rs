//! Commands in place of firewall rules: run beside the loop, each in its turn.
//!
//! Nothing is run for a grant before the store knows how to close it, and the store knows until the closing command has
//! ended: so after a crash a closing command is run once more rather than not at all. An opening one is not, which might open what a
//! single close does not close: the store knows that it is about to be started. Commands for the same access never run at the
//! same time, but in the order of their causes: what opens slowly is closed after that, and what is being closed is opened again
//! after that.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::aside::Aside;
use super::command::{self, Ended};
use super::journal::{Closed, Level};
use super::run::Daemon;
use crate::gate::Opening;
use crate::grant::{Errand, Grant, GrantId, Half};
use crate::time::Timestamp;

/// What is to be run, and what is running.
pub struct Cycles {
    opens: Aside<Done>,
    /// By themselves: however many hang while they open, others are closed on time.
    closes: Aside<Done>,
    waiting: VecDeque<Turn>,
    running: Vec<Grant>,
}

#[derive(Clone)]
struct Turn {
    grant: Grant,
    errand: Errand,
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Open,
    Close(Closed),
    /// It could not be run before, which has been told.
    CloseAgain(Closed),
}

type Done = (Box<Turn>, Result<Ended, command::Error>);

impl Cycles {
    pub fn new() -> io::Result<Self> {
        let (opens, closes) = (Aside::new(AT_A_TIME)?, Aside::new(AT_A_TIME)?);
        Ok(Self { opens, closes, waiting: VecDeque::new(), running: Vec::new() })
    }

    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Nothing that runs will ever give way to what waits: there was no thread to be had.
    pub fn is_stuck(&self) -> bool {
        self.running.is_empty() && !self.waiting.is_empty()
    }

    /// Readable when something has come back.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.opens.as_fd(), self.closes.as_fd()]
    }

    fn open_waiting(&self) -> usize {
        self.waiting.iter().filter(|turn| turn.part == Part::Open).count()
    }

    fn start(&mut self, turn: Turn) -> bool {
        let lane = if turn.part == Part::Open { &mut self.opens } else { &mut self.closes };
        let task = Box::new(turn.clone());
        let run = move || {
            let ended = command::run(&task.errand, &task.errand.task.words().unwrap_or_default());
            (task, ended)
        };
        match lane.start(run) {
            Ok(()) => self.running.push(turn.grant),
            Err(_) => {
                self.waiting.push_front(turn);
                return false;
            }
        }
        true
    }

    /// The first for which there is room, and nothing for the same access before it.
    fn next(&mut self) -> Option<Turn> {
        let room = [self.opens.has_room(), self.closes.has_room()];
        let has_room = |turn: &Turn| room[usize::from(turn.part != Part::Open)];
        let before = |at: usize| self.running.iter().chain(self.waiting.range(..at).map(|turn| &turn.grant));
        let mut turns = self.waiting.iter().enumerate();
        let (at, _) =
            turns.find(|(at, turn)| has_room(turn) && !before(*at).any(|other| same_access(other, &turn.grant)))?;
        self.waiting.remove(at)
    }

    fn take(&mut self) -> Option<Done> {
        let done = self.opens.take().or_else(|| self.closes.take())?;
        self.running.retain(|grant| grant.id != done.0.grant.id);
        Some(done)
    }
}

fn same_access(a: &Grant, b: &Grant) -> bool {
    a.allow == b.allow && a.access.covers(&b.access)
}

impl Daemon<'_> {
    pub fn open_cycle(&mut self, opening: &Opening) {
        if self.aside.cycles.open_waiting() >= MOST_WAITING {
            self.journal.note(Level::Warning, "too many commands that open something wait to be run already");
            return self.give_up(opening, Closed::Failed);
        }
        self.journal.opened(opening, "fwknop");
        self.add_turn(opening.grant.clone(), Part::Open);
    }

    /// Those of a former daemon whose command was never started.
    pub fn open_left_cycles(&mut self) {
        let now = Timestamp::now();
        let left =
            self.gate.grants().filter(|grant| grant.cycle().is_some_and(|cycle| !cycle.begun) && grant.until > now);
        let left: Vec<Grant> = left.cloned().collect();
        left.into_iter().for_each(|grant| self.add_turn(grant, Part::Open));
    }

    /// In its turn. `again`: it could not be run before, and that has been told.
    pub fn close_cycle(&mut self, grant: Grant, why: Closed, again: bool) {
        if self.dry_run.is_some() {
            return self.journal.closed(&grant, why);
        }
        self.add_turn(grant, if again { Part::CloseAgain(why) } else { Part::Close(why) });
    }

    fn add_turn(&mut self, grant: Grant, part: Part) {
        let half = if part == Part::Open { Half::Open } else { Half::Close };
        if let Some(errand) = grant.errand(half) {
            self.aside.cycles.waiting.push_back(Turn { grant, errand, part });
            self.run_turns();
        }
    }

    /// Takes up what has come back, and runs what waited for it.
    pub fn take_turns(&mut self) {
        let mut closed = Vec::new();
        while let Some((turn, ended)) = self.aside.cycles.take() {
            self.ended(*turn, &ended, &mut closed);
        }
        if !closed.is_empty() {
            let ids: Vec<GrantId> = closed.iter().map(|(grant, _)| grant.id).collect();
            // Should that fail, it is closed once more at the next start.
            if let Err(error) = self.gate.closed(&ids) {
                self.journal.trouble(&error);
            }
            closed.iter().for_each(|(grant, why)| self.journal.closed(grant, *why));
        }
        self.run_turns();
    }

    fn run_turns(&mut self) {
        while let Some(turn) = self.aside.cycles.next() {
            let (errand, part) = (turn.errand.clone(), turn.part);
            if part == Part::Open
                && let Err(error) = self.gate.begin(turn.grant.id)
            {
                self.journal.trouble(&error);
                self.journal
                    .note(Level::Error, format!("ended   grant={} cycle=open reason=replay-store", turn.grant.id));
                continue;
            }
            if !self.aside.cycles.start(turn) {
                break;
            }
            match part {
                Part::Open => self.journal.running(&errand),
                Part::Close(why) => self.journal.closing(&errand, why),
                Part::CloseAgain(_) => {}
            }
        }
    }

    /// What cannot even be run has closed nothing, and is tried again. Whatever else becomes of a command, it is not run twice.
    fn ended(&mut self, turn: Turn, ended: &Result<Ended, command::Error>, closed: &mut Vec<(Grant, Closed)>) {
        let Turn { grant, errand, part } = turn;
        if ended.is_ok() || !matches!(part, Part::CloseAgain(_)) {
            self.journal.ran(&errand, ended);
        }
        let (Part::Close(why) | Part::CloseAgain(why)) = part else { return };
        match ended {
            Ok(_) => closed.push((grant, why)),
            Err(_) => self.later.unclosed.push((grant, why)),
        }
    }

    /// Closes at the end of the daemon what commands close, and waits for them, but not for long.
    pub fn close_all_cycles(&mut self) {
        let open = self.gate.take(Grant::is_closed_by_command);
        self.close(open, Closed::Exit);
        let end = Instant::now() + LAST_WAIT;
        loop {
            self.take_turns();
            let left = end.saturating_duration_since(Instant::now());
            if self.aside.cycles.is_idle() || left.is_zero() {
                break;
            }
            let mut fds = self.aside.cycles.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            // A signal ends the wait for a moment only.
            let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        }
        let unclosed = self.later.unclosed.iter().filter(|(grant, _)| grant.is_closed_by_command()).count();
        let cycles = &self.aside.cycles;
        let left = cycles.waiting.len() + cycles.running.len() + unclosed;
        if left > 0 {
            let text = format!("{left} commands of cycles have not ended: what they close is closed at the next start");
            self.journal.note(Level::Warning, text);
        }
    }
}

/// So many commands of each kind at a time.
const AT_A_TIME: usize = 8;
/// So many that open wait for that; what closes is never refused.
const MOST_WAITING: usize = 64;
/// How long the daemon stays for them when it ends.
const LAST_WAIT: Duration = Duration::from_secs(20);
