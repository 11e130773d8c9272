//! Start-up in order (`spec/server.md` 1): read everything, take the lock, open state, firewall and capture, and only
//! then say that the daemon is ready. What fails before that is told on the terminal, and leaves nothing behind.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

use super::args::Args;
use super::journal::{Closed, Journal, Level, Sink};
use super::pidfile::PidFile;
use super::reload::{level_of, reload};
use super::run::{Daemon, End};
use super::settings::{self, Settings};
use super::signals::Signals;
use super::state::{self, State};
use super::syslog::Syslog;
use super::{control, detach, new_keys, sources};
use crate::config::{Complaints, LoadOptions, ServerSettings, load_server};
use crate::firewall::Firewall;
use crate::gate::Gate;
use crate::grant::GrantId;
use crate::replay::{MemoryStore, ReplayStore};
use crate::time::Timestamp;

/// Why the daemon did not start, or ended early.
pub enum Failed {
    Complaints(Complaints),
    Error(Box<dyn std::error::Error>),
    Usage { what: String, advice: String },
}

impl<E: std::error::Error + 'static> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Error(Box::new(error))
    }
}

/// Does what the command line asks for.
pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    if args.version {
        println!("fwknopd server {}, compiled for firewall bin: nft", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some((name, advice)) = args.not_supported() {
        return Err(Failed::Usage { what: format!("{name} is not supported yet"), advice: advice.into() });
    }
    if args.key_gen || args.key_gen_file.is_some() {
        return new_keys::generate(args);
    }
    let asked = [args.dump_config, args.kill, args.status, args.restart].into_iter().filter(|asked| *asked).count();
    if asked > 1 {
        let (what, advice) = ("-D, -K, -R and -S exclude each other", "give one of them");
        return Err(Failed::Usage { what: what.into(), advice: advice.into() });
    }
    let options = LoadOptions::from_args(args, std::env::current_dir()?);
    if args.kill || args.status || args.restart || args.fw_list || args.fw_list_all || args.fw_flush {
        let (server, _) = load_server(&options).map_err(Failed::Complaints)?;
        return without_access(args, &server);
    }
    let settings = settings::load(&options, Timestamp::now()).map_err(Failed::Complaints)?;
    if args.dump_config {
        print!("{}", dump(&settings));
        return Ok(ExitCode::SUCCESS);
    }
    if args.exit_parse_config {
        tell_remarks(&settings.remarks);
        eprintln!("Configs parsed, exiting.");
        return Ok(ExitCode::SUCCESS);
    }
    if args.exit_parse_digest_cache {
        return parse_digest_cache(&settings);
    }
    if !args.foreground && !detach::is_child() {
        return Ok(detach::start()?);
    }
    serve(args, options, settings)
}

/// Requests that need no access file.
fn without_access(args: &Args, server: &ServerSettings) -> Result<ExitCode, Failed> {
    let firewall = || Firewall::new(&server.firewall);
    Ok(match args {
        Args { status: true, .. } => control::status(&server.pid_file)?,
        Args { restart: true, .. } => control::restart(&server.pid_file)?,
        Args { kill: true, .. } => control::kill(&server.pid_file)?,
        Args { fw_flush: true, .. } => firewall().flush().map(|()| ExitCode::SUCCESS)?,
        Args { fw_list_all: all, .. } => {
            print!("{}", firewall().list(*all)?);
            ExitCode::SUCCESS
        }
    })
}

fn parse_digest_cache(settings: &Settings) -> Result<ExitCode, Failed> {
    tell_remarks(&settings.remarks);
    let (mut state, imported) = open_state(&settings.server, false)?;
    state.forget(Timestamp::now())?;
    eprintln!(
        "Using replay store: '{}' (entry count = {}, taken over = {imported})",
        settings.server.run_dir.join(state::FILE).display(),
        state.count()?
    );
    eprintln!("Digest cache parsed, exiting.");
    Ok(ExitCode::SUCCESS)
}

/// Everything from the lock to the end.
fn serve(args: &Args, options: LoadOptions, settings: Settings) -> Result<ExitCode, Failed> {
    let server = settings.server;
    let in_background = !args.foreground;
    if in_background {
        detach::leave_session()?;
    }
    let mut journal = open_journal(args, &server);
    for remark in settings.remarks.iter() {
        journal.note(level_of(remark.severity), remark.to_string());
    }
    journal.note(Level::Info, "Starting fwknopd");

    make_run_dir(&server.run_dir)?;
    let _lock = PidFile::acquire(&server.pid_file)?;
    let signals = Signals::install()?;
    let now = Timestamp::now();
    let (replay, last) = open_replay(args, &server, &mut journal)?;
    let mut gate = Gate::new(server.gate, settings.access, settings.keyrings, replay, last);
    let firewall = match args.test {
        true => None,
        false => Some(open_firewall(&server, &mut gate, &mut journal, now)?),
    };
    // From here on something may be open: it is cleaned up whatever happens.
    let sources = match sources::open(&server.capture, &mut journal) {
        Ok(sources) => sources,
        Err(error) => {
            clean_up(firewall, &gate, &mut journal, server.flush_at_exit);
            return Err(error.into());
        }
    };
    let mut in_force = server.clone();
    let mut daemon = Daemon {
        sources,
        gate,
        firewall,
        journal,
        signals,
        packets_left: args.packet_limit,
        exit_when_down: server.capture.exit_when_down,
        flush_at_exit: server.flush_at_exit,
        reload: Box::new(move |daemon| reload(daemon, &options, &mut in_force)),
    };
    daemon.journal.note(Level::Info, "Starting fwknopd main event loop.");
    if in_background {
        detach::ready()?;
        daemon.journal.detach();
    }
    let end = daemon.run();
    let Daemon { firewall, gate, mut journal, flush_at_exit, .. } = daemon;
    let code = tell_end(&end, &mut journal);
    clean_up(firewall, &gate, &mut journal, flush_at_exit);
    journal.note(Level::Info, "Shutting Down fwknopd.");
    Ok(code)
}

/// To the terminal until the daemon is ready, and to syslog from the start. A machine may have none, or not yet.
fn open_journal(args: &Args, server: &ServerSettings) -> Journal {
    let settings = &server.journal;
    if args.foreground && !args.syslog_enable {
        return Journal::new(Sink::stderr(), settings.verbose);
    }
    let mut syslog = Syslog::new(&settings.identity, settings.facility);
    let connected = syslog.connect();
    let mut journal = Journal::new(Sink::stderr().with_syslog(syslog), settings.verbose);
    if let Err(error) = connected {
        let text = format!("no syslog can be reached ({error}): lines are lost until there is one, it is looked for");
        journal.note(Level::Warning, text);
    }
    journal
}

fn open_replay(
    args: &Args,
    server: &ServerSettings,
    journal: &mut Journal,
) -> Result<(Box<dyn ReplayStore + Send>, GrantId), Failed> {
    if args.test {
        return Ok((Box::new(MemoryStore::default()), GrantId::default()));
    }
    let (mut state, imported) = open_state(server, args.rotate_digest_cache)?;
    if imported > 0 {
        journal.note(Level::Info, format!("Took over {imported} entries of {}", server.digest_file.display()));
    }
    let last = state.last_grant()?;
    Ok((Box::new(state), last))
}

fn open_state(server: &ServerSettings, rotate: bool) -> Result<(State, usize), Failed> {
    make_run_dir(&server.run_dir)?;
    if rotate {
        for file in [&server.run_dir.join(state::FILE), &server.digest_file] {
            rename_to_old(file)?;
        }
    }
    let max_age = server.gate.max_age;
    let mut state = State::open(&server.run_dir, Timestamp::now(), max_age)?;
    let imported = state.import_digest_cache(&server.digest_file, max_age, Timestamp::now())?;
    Ok((state, imported))
}

fn rename_to_old(file: &Path) -> std::io::Result<()> {
    let mut old = file.as_os_str().to_owned();
    old.push("-old");
    match std::fs::rename(file, old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_run_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Set-up, and what a former daemon left open: taken over, or closed when so configured.
fn open_firewall(
    server: &ServerSettings,
    gate: &mut Gate,
    journal: &mut Journal,
    now: Timestamp,
) -> Result<Firewall, crate::firewall::Error> {
    let mut firewall = Firewall::new(&server.firewall);
    if server.flush_at_init {
        firewall.flush()?;
    }
    for warning in firewall.set_up()?.warnings {
        journal.note(Level::Warning, warning);
    }
    for grant in firewall.adopt(now)? {
        journal.adopted(&grant);
        gate.adopt(grant);
    }
    Ok(firewall)
}

fn tell_end(end: &End, journal: &mut Journal) -> ExitCode {
    let (level, text, code) = match end {
        End::Signal(name) => (Level::Warning, format!("Got {name}. Exiting..."), ExitCode::SUCCESS),
        End::PacketLimit => (Level::Info, "Packet count limit reached. Exiting...".into(), ExitCode::SUCCESS),
        End::Exhausted => (Level::Info, "All packets were read. Exiting...".into(), ExitCode::SUCCESS),
        End::Capture(error) => (Level::Error, format!("[*] {error}"), ExitCode::FAILURE),
        End::Poll(error) => (Level::Error, format!("[*] cannot wait for packets: {error}"), ExitCode::FAILURE),
    };
    journal.note(level, text);
    journal.note(Level::Info, "Gracefully leaving the fwknopd event loop.");
    code
}

/// Leaves nothing of ours behind, when so configured.
fn clean_up(firewall: Option<Firewall>, gate: &Gate, journal: &mut Journal, flush: bool) {
    let Some(mut firewall) = firewall.filter(|_| flush) else { return };
    match firewall.flush() {
        Ok(()) => gate.grants().for_each(|grant| journal.closed(grant, Closed::Exit)),
        Err(error) => journal.trouble(&error),
    }
}

fn tell_remarks(remarks: &Complaints) {
    remarks.iter().for_each(|remark| eprintln!("{remark}"));
}

/// The settings as they were understood, for `-D`. Secrets are not shown: their types do not print.
fn dump(settings: &Settings) -> String {
    let mut text = format!("{:#?}\n", settings.server);
    for stanza in settings.access.iter() {
        text.push_str(&format!("{stanza:#?}\n"));
    }
    text
}
