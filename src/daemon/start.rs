//! What the command line asks for (`spec/server.md` 1): to answer something and end, or to be a daemon.

use std::process::ExitCode;

use super::args::Args;
use super::control::protocol::{Request, Which};
use super::control::{ask, process};
use super::pidfile::{self, PidFile};
use super::serve::serve;
use super::settings::{self, Settings};
use super::{detach, memory, new_keys, run_dir, state, store};
use crate::cli::private_file;
use crate::config::{Complaints, LoadOptions, ServerSettings, load_server};
use crate::firewall::Firewall;
use crate::reason::Reason;
use crate::replay::ReplayStore;
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
    if let Some((what, advice)) = args.not_supported() {
        return Err(Failed::Usage { what: what.into(), advice: advice.into() });
    }
    if args.dump_serv_err_codes {
        Reason::CLASSES.iter().for_each(|class| println!("{class}"));
        return Ok(ExitCode::SUCCESS);
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
    // Before there are any keys.
    let locked = memory::lock();
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
    if args.exit_parse_digest_cache || args.export_digest_cache.is_some() {
        return parse_digest_cache(&settings, args);
    }
    if !args.foreground && !detach::is_child() {
        return Ok(detach::start()?);
    }
    serve(args, options, settings, locked)
}

/// Requests that need no access file.
fn without_access(args: &Args, server: &ServerSettings) -> Result<ExitCode, Failed> {
    let firewall = || Firewall::new(&server.firewall);
    Ok(match args {
        Args { status: true, .. } => process::status(&server.pid_file)?,
        Args { restart: true, .. } => process::restart(&server.pid_file)?,
        Args { kill: true, .. } => process::kill(&server.pid_file)?,
        Args { fw_flush: true, .. } => flush(server).map(|()| ExitCode::SUCCESS)?,
        Args { fw_list_all: all, .. } => {
            print!("{}", firewall().list(*all)?);
            ExitCode::SUCCESS
        }
    })
}

/// A daemon that runs gives up first what is open: else it would put it back. So would the next one, if none runs. Without an
/// answer the firewall is flushed all the same.
fn flush(server: &ServerSettings) -> Result<(), Failed> {
    let told = match ask::connect(&server.run_dir) {
        Ok(Some(mut daemon)) => daemon.ask(&Request::Close(Which::Firewall)).map(|_| ()).map_err(Failed::from),
        Ok(None) => store::forget_grants(server),
        Err(error) => Err(error.into()),
    };
    Firewall::new(&server.firewall).flush()?;
    told
}

fn parse_digest_cache(settings: &Settings, args: &Args) -> Result<ExitCode, Failed> {
    tell_remarks(&settings.remarks);
    let server = &settings.server;
    run_dir::prepare(&server.run_dir)?;
    let _lock = PidFile::acquire(&server.pid_file).map_err(|error| match error {
        pidfile::Error::Running(pid) => Failed::Usage {
            what: format!("the replay store is in use: a daemon has it open (PID={pid})"),
            advice: "stop it first with fwknopd -K".into(),
        },
        error => error.into(),
    })?;
    let (mut state, imported) = store::open_state(server, args.rotate_digest_cache)?;
    state.forget(Timestamp::now())?;
    eprintln!(
        "Using replay store: '{}' (entry count = {}, taken over = {imported})",
        server.run_dir.join(state::FILE).display(),
        state.count()?
    );
    if let Some(file) = &args.export_digest_cache {
        private_file::write(file, &state.digest_cache()?)?;
    }
    eprintln!("Digest cache parsed, exiting.");
    Ok(ExitCode::SUCCESS)
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
