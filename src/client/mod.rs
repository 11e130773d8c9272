//! The client program: options → message → packet → network, in the order of `spec/client.md` 1.
//!
//! [`args`] and the rc file ([`rc`]) give settings in [`layers`]; [`options`] says what they mean; [`compose`] makes the
//! message and [`keys`] fetches what seals it; [`packet`] puts it together, shows it and checks it; [`send`] sends it.
//! Making keys and saving stanzas ([`stanza`]) come before all that; the command line is stored ([`last`]) once it is clear
//! what it means.

pub mod address;
pub mod args;
pub mod compose;
pub mod gpg;
pub mod http;
pub mod keys;
mod knock;
mod last;
pub mod layers;
pub mod manage;
mod new_keys;
pub mod options;
mod output;
pub mod packet;
pub mod raw;
pub mod rc;
pub mod room;
pub mod send;
pub mod stanza;
pub mod table;
pub mod user;
pub mod values;
pub mod variables;
mod wget;
mod words;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::Args;
use layers::Layers;
use output::{complain, print, usage, warn};

use crate::cli::{self, EXIT_FAILURE, EXIT_OK};
use crate::config::Complaints;

pub fn main() -> ExitCode {
    cli::completions::answer(Args::definition);
    let words: Vec<OsString> = std::env::args_os().collect();
    let code = match Args::read(&words) {
        Ok(Args { command: Some(command), .. }) => manage::run(command),
        Ok(args) => match run(args, &words) {
            Ok(()) => EXIT_OK,
            Err(failure) => failure.report(),
        },
        Err(error) => usage(&error),
    };
    ExitCode::from(code)
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] Complaints),
    #[error("{what}\n     {advice}")]
    Refused { what: String, advice: &'static str },
    #[error(transparent)]
    Rc(#[from] rc::RcError),
    #[error(transparent)]
    Last(#[from] last::LastError),
    #[error(transparent)]
    Save(#[from] stanza::SaveError),
    #[error(transparent)]
    Address(#[from] address::AddressError),
    #[error(transparent)]
    Compose(#[from] compose::ComposeError),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    #[error(transparent)]
    Packet(#[from] packet::PacketError),
    #[error(transparent)]
    Send(#[from] send::SendError),
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    #[error("{} cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Failure {
    fn refused(what: impl Into<String>, advice: &'static str) -> Self {
        Failure::Refused { what: what.into(), advice }
    }

    fn report(&self) -> u8 {
        match self {
            Failure::Settings(complaints) => complain(complaints),
            other => warn(&cli::describe(other)),
        }
        EXIT_FAILURE
    }
}

fn run(args: Args, words: &[OsString]) -> Result<(), Failure> {
    if args.files.version {
        return print(&format!(
            "fwknop client {}, FKO protocol version {}\n",
            env!("CARGO_PKG_VERSION"),
            compose::VERSION
        ));
    }
    refuse_fault_injection(&args)?;
    if args.files.show_last || args.files.last_cmd {
        let path = last_place(&args).ok_or(last::LastError::NoPlace)?;
        return if args.files.show_last { show_last(&path) } else { run_last(&args, words, &path) };
    }
    run_now(&args, Some(words))
}

fn show_last(path: &Path) -> Result<(), Failure> {
    let line = last::load(path)?.line;
    let shown = line.without_secrets();
    if shown != line {
        warn(&format!("note: {} holds keys, which are not shown\n     remove it", path.display()));
    }
    print(&format!("Last fwknop client command line: {}\n", shown.shown()))
}

/// Only the stored options count, as in the original.
fn run_last(args: &Args, words: &[OsString], path: &Path) -> Result<(), Failure> {
    let last::Loaded { line, is_open } = last::load(path)?;
    let unusable = |what: &str| {
        let what = format!("the command line stored in {} cannot be used: {what}", path.display());
        Failure::refused(what, "give all options once")
    };
    let again = Args::read(line.words()).map_err(|error| unusable(&output::what(&error)))?;
    if again.command.is_some() || again.files.last_cmd || again.files.show_last || again.files.version {
        return Err(unusable("it is no knock"));
    }
    for option in last::others(words) {
        warn(&format!("note: {option} has no effect with --last-cmd, where only the stored options count"));
    }
    if !again.exposed_secrets().is_empty() {
        let whom = if is_open { "for others to read" } else { "in the clear" };
        warn(&format!(
            "warning: {} holds a key, {whom}\n     put the key into the rc file, and remove this file",
            path.display()
        ));
    }
    if args.is_verbose() {
        print(&format!("Executing: {}\n", line.without_secrets().shown()))?;
    }
    refuse_fault_injection(&again)?;
    run_now(&again, None)
}

/// `typed` are the words of the command line, unless they are from a file.
fn run_now(args: &Args, typed: Option<&[OsString]>) -> Result<(), Failure> {
    let rc_file = rc::locate(&args.files, std::env::var_os("HOME"))?;
    if let (true, Some(path)) = (args.files.stanza_list, &rc_file) {
        return list_stanzas(path);
    }
    let layers = settings(args, rc_file.as_deref())?;
    if typed.is_some() {
        warn_of_exposed(args);
    }
    let makes_keys = args.keys.key_gen || args.keys.key_gen_file.is_some();
    let new_keys = if makes_keys { Some(new_keys::generate(args, &layers)?) } else { None };
    let saved_in = rc_file.as_deref().filter(|_| args.files.save_rc_stanza);
    if let Some(path) = saved_in {
        new_keys::save_stanza(args, path, new_keys.as_ref())?;
    }
    if let Some(keys) = new_keys {
        return new_keys::hand_out(args, saved_in, &keys);
    }
    let options = knock::meaning(args, &layers)?;
    if let Some(words) = typed.filter(|_| !layers.flag("NO_SAVE_ARGS")) {
        store(args, words);
    }
    knock::knock(args, options)
}

fn warn_of_exposed(args: &Args) {
    for option in args.exposed_secrets() {
        warn(&format!(
            "warning: everybody on this machine can read the key after {option}\n     \
             put it into the rc file, or write it to standard input and use --stdin"
        ));
    }
}

/// Without a home there is nowhere to store anything. A knock is not given up for that, or for a full disk.
fn store(args: &Args, words: &[OsString]) {
    let stored = last_place(args).map_or(Ok(()), |path| last::store(&path, words));
    if let Err(error) = stored {
        warn(&format!("warning: this command line is not stored for --last-cmd: {error}\n     use --no-save-args"));
    }
}

fn last_place(args: &Args) -> Option<PathBuf> {
    last::place(&args.files, std::env::var_os("HOME"))
}

fn refuse_fault_injection(args: &Args) -> Result<(), Failure> {
    match args.files.fault_injection_tag {
        Some(_) => Err(Failure::refused("--fault-injection-tag is for test builds of the original", "leave it away")),
        None => Ok(()),
    }
}

fn list_stanzas(path: &Path) -> Result<(), Failure> {
    let mut text = format!("The following stanzas are configured in {} :\n", path.display());
    rc::stanza_names(path)?.iter().for_each(|name| text.push_str(&format!(" - {name}\n")));
    print(&text)
}

/// All layers, checked; what is odd but no mistake is said.
fn settings(args: &Args, rc_file: Option<&Path>) -> Result<Layers, Failure> {
    let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
    if let Some(path) = rc_file {
        let is_there = match rc::create_if_missing(path) {
            Ok(true) => print(&format!("[*] Creating initial rc file: {}.\n", path.display())).map(|()| true)?,
            Ok(false) => true,
            Err(error) if args.files.save_rc_stanza || args.files.named_config.is_some() => return Err(error.into()),
            Err(error) => {
                warn(&format!("warning: {}", cli::describe(&error)));
                false
            }
        };
        // The stanza that is about to be written is not read.
        let named = args.files.named_config.as_deref().filter(|_| !args.files.save_rc_stanza);
        if is_there {
            rc::add_layers(path, named, &mut layers, &mut complaints);
        }
    }
    layers.add_command_line(args.settings(), &mut complaints);
    values::check(&layers, &mut complaints);
    if complaints.has_errors() {
        return Err(complaints.into());
    }
    complain(&complaints);
    Ok(layers)
}
