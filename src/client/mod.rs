//! The client program: options → message → packet → network, in the order of `spec/client.md` 1.
//!
//! [`args`] and the rc file ([`rc`]) give settings in [`layers`]; [`options`] says what they mean; [`compose`] makes the
//! message and [`keys`] fetches what seals it; [`packet`] puts it together, shows it and checks it; [`send`] sends it.
//! Making keys and saving stanzas ([`stanza`]) come before all that.

pub mod args;
pub mod compose;
pub mod gpg;
pub mod keys;
mod knock;
pub mod layers;
pub mod manage;
mod new_keys;
pub mod options;
mod output;
pub mod packet;
pub mod rc;
pub mod room;
pub mod send;
pub mod stanza;
pub mod table;
pub mod user;
pub mod values;
pub mod variables;

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
    let code = match Args::read(std::env::args_os()) {
        Ok(Args { command: Some(command), .. }) => manage::run(command),
        Ok(args) => match run(args) {
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
    Save(#[from] stanza::SaveError),
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

fn run(args: Args) -> Result<(), Failure> {
    if args.files.version {
        return print(&format!(
            "fwknop client {}, FKO protocol version {}\n",
            env!("CARGO_PKG_VERSION"),
            compose::VERSION
        ));
    }
    refuse_unbuilt(&args)?;
    let rc_file = rc::locate(&args.files, std::env::var_os("HOME"))?;
    if let (true, Some(path)) = (args.files.stanza_list, &rc_file) {
        return list_stanzas(path);
    }
    let layers = settings(&args, rc_file.as_deref())?;
    let makes_keys = args.keys.key_gen || args.keys.key_gen_file.is_some();
    let new_keys = if makes_keys { Some(new_keys::generate(&args, &layers)?) } else { None };
    let saved_in = rc_file.as_deref().filter(|_| args.files.save_rc_stanza);
    if let Some(path) = saved_in {
        new_keys::save_stanza(&args, path, new_keys.as_ref())?;
    }
    match new_keys {
        Some(keys) => new_keys::hand_out(&args, saved_in, &keys),
        None => knock::knock(&args, &layers),
    }
}

/// Options whose effect is missing are refused, never ignored.
fn refuse_unbuilt(args: &Args) -> Result<(), Failure> {
    let unbuilt = [
        (args.files.last_cmd, "--last-cmd", "put the options into a stanza, with --save-rc-stanza, and use -n"),
        (args.files.show_last, "--show-last", "the command line is never stored, as it may hold keys"),
        (args.send.http_proxy.is_some(), "--http-proxy", "send with -P udp, tcp or http"),
        (args.send.icmp_type.is_some(), "--icmp-type", "send with -P udp, tcp or http"),
        (args.send.icmp_code.is_some(), "--icmp-code", "send with -P udp, tcp or http"),
    ];
    if args.files.fault_injection_tag.is_some() {
        return Err(Failure::refused("--fault-injection-tag is for test builds of the original", "leave it away"));
    }
    match unbuilt.into_iter().find(|(given, ..)| *given) {
        Some((_, option, advice)) => Err(Failure::refused(format!("{option} is not supported yet"), advice)),
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
    for option in args.exposed_secrets() {
        warn(&format!(
            "warning: everybody on this machine can read the key after {option}\n     \
             put it into the rc file, or write it to standard input and use --stdin"
        ));
    }
    Ok(layers)
}
