//! A daemon's life in order: take the lock, open state, firewall and capture, and only then say that it is ready. What
//! fails before that is told on the terminal and in the log. However it ends, it leaves nothing behind.

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use super::alarm::Alarm;
use super::args::Args;
use super::clock::Clock;
use super::closing::Later;
use super::control::socket::ControlSocket;
use super::crowd::Crowd;
use super::errands::Errands;
use super::journal::{Closed, Journal, Level, Sink, with_causes};
use super::pidfile::PidFile;
use super::pool::Pool;
use super::reload::{level_of, reload};
use super::run::{Daemon, End};
use super::settings::Settings;
use super::signals::Signals;
use super::sources::Sources;
use super::start::Failed;
use super::syslog::Syslog;
use super::{detach, panics, run_dir, store};
use crate::config::{Complaints, LoadOptions, ServerSettings};
use crate::firewall::Firewall;
use crate::gate::Gate;

/// Everything from the settings to the end. `locked` is whether memory stays out of the swap space.
pub fn serve(
    args: &Args,
    options: LoadOptions,
    settings: Settings,
    locked: io::Result<()>,
) -> Result<ExitCode, Failed> {
    if !args.foreground {
        detach::leave_session()?;
    }
    let mut journal = open_journal(args, &settings.server);
    tell_remarks(&settings.remarks, &mut journal);
    journal.note(Level::Info, "Starting fwknopd");
    if let Err(error) = locked {
        let advice = "start it as root, or allow it any amount of locked memory (LimitMEMLOCK=infinity)";
        journal.note(
            Level::Debug,
            format!("memory cannot be locked, keys may get into the swap space ({error}): {advice}"),
        );
    }
    let ended = live(args, options, settings, &mut journal);
    match &ended {
        Ok(_) => journal.note(Level::Info, "Shutting Down fwknopd."),
        Err(failed) => journal.note(Level::Error, failed.to_string()),
    }
    Ok(ended.unwrap_or(ExitCode::FAILURE))
}

fn live(args: &Args, options: LoadOptions, settings: Settings, journal: &mut Journal) -> Result<ExitCode, Failed> {
    let Settings { server, access, keyrings, .. } = settings;
    run_dir::prepare(&server.run_dir)?;
    let _lock = PidFile::acquire(&server.pid_file)?;
    let signals = Signals::install()?;
    let (replay, last) = store::open(args, &server, journal)?;
    let mut in_force = server.clone();
    let needs_firewall = access.needs_firewall();
    let mut daemon = Daemon {
        sources: Sources::default(),
        gate: Gate::new(server.gate, access, keyrings, replay, last),
        pool: Pool::start(server.gpg_budget)?,
        aside: Errands::new()?,
        crowd: Crowd::new(Instant::now()),
        dry_run: args.test.then(|| Firewall::new(&server.firewall)),
        firewall: None,
        lookout: None,
        journal,
        signals,
        control: None,
        alarm: Alarm::new()?,
        clock: Clock::new()?,
        later: Later::default(),
        packets_left: args.packet_limit,
        exit_when_down: server.capture.exit_when_down,
        flush_at_exit: server.flush_at_exit,
        reload: Box::new(move |daemon| reload(daemon, &options, &mut in_force)),
    };
    // What is opened here is cleaned up below, also when the rest fails.
    let ended = get_ready(&mut daemon, args, &server, needs_firewall).map(|()| daemon.run());
    if let Ok(end) = &ended {
        tell_end(end, daemon.journal);
    }
    daemon.sources.tell_statistics(daemon.journal);
    clean_up(&mut daemon);
    ended.map(|end| code(&end))
}

fn get_ready(
    daemon: &mut Daemon<'_>,
    args: &Args,
    server: &ServerSettings,
    needs_firewall: bool,
) -> Result<(), Failed> {
    if !args.test {
        let holds_any = daemon.take_up(server);
        if needs_firewall {
            daemon.open_firewall(server)?;
        } else if holds_any && let Err(error) = daemon.open_firewall(server) {
            // Nothing is to be opened there, and commands are run without it.
            (daemon.firewall, daemon.lookout) = (None, None);
            daemon.journal.trouble(&error);
        }
        daemon.close_orphans();
        daemon.open_left_cycles();
    }
    daemon.sources.change(&server.capture, daemon.journal)?;
    match ControlSocket::open(&server.run_dir) {
        Ok(control) => daemon.control = Some(control),
        // Ports are opened without it.
        Err(error) => daemon.journal.note(Level::Warning, with_causes(&error)),
    }
    daemon.journal.note(Level::Info, "Starting fwknopd main event loop.");
    if !args.foreground {
        detach::ready()?;
        daemon.journal.detach();
    }
    Ok(())
}

/// To the terminal until the daemon is ready, and to syslog from the start. A machine may have none, or not yet.
fn open_journal(args: &Args, server: &ServerSettings) -> Journal {
    let settings = &server.journal;
    if args.foreground && !args.syslog_enable {
        return Journal::new(Sink::stderr(), settings.verbose);
    }
    let syslog = || Syslog::new(&settings.identity, settings.facility);
    panics::tell(Some(syslog()));
    let mut syslog = syslog();
    let connected = syslog.connect();
    let mut journal = Journal::new(Sink::stderr().with_syslog(syslog), settings.verbose);
    if let Err(error) = connected {
        let text = format!("no syslog can be reached ({error}): lines are lost until there is one, it is looked for");
        journal.note(Level::Warning, text);
    }
    journal
}

fn tell_remarks(remarks: &Complaints, journal: &mut Journal) {
    remarks.iter().for_each(|remark| journal.note(level_of(remark.severity), remark.to_string()));
}

fn tell_end(end: &End, journal: &mut Journal) {
    let (level, text) = match end {
        End::Signal(name) => (Level::Warning, format!("Got {name}. Exiting...")),
        End::PacketLimit => (Level::Info, "Packet count limit reached. Exiting...".into()),
        End::Exhausted => (Level::Info, "All packets were read. Exiting...".into()),
        End::Capture(error) => (Level::Error, format!("[*] {}", with_causes(error))),
        End::Poll(error) => (Level::Error, format!("[*] cannot wait for packets: {error}")),
    };
    journal.note(level, text);
    journal.note(Level::Info, "Gracefully leaving the fwknopd event loop.");
}

fn code(end: &End) -> ExitCode {
    match end {
        End::Signal(_) | End::PacketLimit | End::Exhausted => ExitCode::SUCCESS,
        End::Capture(_) | End::Poll(_) => ExitCode::FAILURE,
    }
}

/// Leaves nothing of ours behind, when so configured.
fn clean_up(daemon: &mut Daemon<'_>) {
    if !daemon.flush_at_exit {
        if let Err(error) = daemon.gate.rest() {
            daemon.journal.trouble(&error);
        }
        return;
    }
    // First what needs no patience.
    if let Some(firewall) = &mut daemon.firewall {
        match firewall.flush() {
            Ok(()) => {
                daemon.forget_flushed(Closed::Exit);
            }
            Err(error) => daemon.journal.trouble(&error),
        }
    }
    daemon.close_all_cycles();
}
