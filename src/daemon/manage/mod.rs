//! `fwknopd key …`, `fwknopd user …`, `fwknopd grants` and `fwknopd check`: the server's keys, who may knock, what is open,
//! and whether the daemon would work.
//!
//! A user is a file in a folder of access files and a certificate in the server's keyring. Every change is shown before it is
//! made; the whole configuration is checked before a running daemon is told to read it.

mod check;
mod grants;
mod health;
mod key;
mod user;
mod values;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use super::args::Args;
use super::control::ask::{self, Connection};
use super::control::process;
use super::control::protocol::{Answer, Request, Which};
use super::keyrings::Keyrings;
use super::{pidfile, settings};
use crate::cli::completions::{self, Shell};
use crate::cli::keys::Ended;
use crate::cli::{EXIT_OK, EXIT_USAGE, describe};
use crate::config::{Complaints, LoadOptions, ServerSettings, load_server, parse_access};
use crate::crypto::openpgp::gpgme::GnuPg;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Look after the server's keys and its users.
#[derive(Debug, Parser)]
#[command(name = "fwknopd", max_term_width = 100)]
pub struct Manage {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    places: Places,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The server's own keys
    #[command(subcommand)]
    Key(key::Key),
    /// Who may knock: one file and one certificate each
    #[command(subcommand)]
    User(user::User),
    /// What is open now
    Grants(grants::Grants),
    /// Tell what would keep the daemon from working, before it is started
    Check(check::Check),
    /// Print what lets a shell complete options, names of users and fingerprints
    Completions {
        /// Load it with: source <(fwknopd completions bash)
        shell: Shell,
    },
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
struct Places {
    /// Configuration file
    #[arg(short, long, global = true, value_name = "FILE", default_value = "/etc/fwknop/fwknopd.conf")]
    config_file: PathBuf,
    /// Further configuration files, later ones win
    #[arg(short = 'O', long, global = true, value_name = "FILES", value_delimiter = ',')]
    override_config: Vec<PathBuf>,
    /// Access file
    #[arg(short, long, global = true, value_name = "FILE")]
    access_file: Option<PathBuf>,
    /// Folder of access files, instead of the access file
    #[arg(long, global = true, value_name = "DIR")]
    access_folder: Option<PathBuf>,
    /// Keyring, where the configuration names another
    #[arg(long, global = true, value_name = "DIR")]
    gpg_home_dir: Option<PathBuf>,
}

/// The words of a subcommand, if that is what was typed.
pub fn asked(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| ["key", "user", "grants", "check", "completions"].iter().any(|known| word == known))
}

/// All of the program's command line, for a shell that completes it.
pub fn definition() -> clap::Command {
    Manage::command().get_subcommands().fold(Args::command(), |all, command| all.subcommand(command.clone()))
}

pub fn main(words: Vec<OsString>) -> ExitCode {
    let Manage { command, places } = match Manage::try_parse_from(words) {
        Ok(manage) => manage,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { EXIT_OK });
        }
    };
    let done = match command {
        Command::Key(command) => key::run(command, &places),
        Command::User(command) => user::run(command, &places),
        Command::Grants(command) => grants::run(command, &places),
        Command::Check(command) => command.run(&places),
        Command::Completions { shell } => say(&completions::script(shell, "fwknopd")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            eprintln!("fwknopd: {}", describe(&ended));
            ExitCode::from(ended.code())
        }
    }
}

impl Places {
    fn options(&self) -> Result<LoadOptions, Ended> {
        let mut words: Vec<OsString> = vec!["fwknopd".into(), "-c".into(), self.config_file.clone().into()];
        let named = [
            ("-a", &self.access_file),
            ("--access-folder", &self.access_folder),
            ("--gpg-home-dir", &self.gpg_home_dir),
        ];
        for (option, path) in named {
            if let Some(path) = path {
                words.extend([option.into(), path.clone().into()]);
            }
        }
        if !self.override_config.is_empty() {
            let files: Vec<&OsStr> = self.override_config.iter().map(|path| path.as_os_str()).collect();
            words.extend(["-O".into(), files.join(OsStr::new(","))]);
        }
        let args = Args::try_parse_from(words).map_err(|error| Ended::Other(Box::new(error)))?;
        let directory = std::env::current_dir().map_err(|error| Ended::Other(Box::new(error)))?;
        Ok(LoadOptions::from_args(&args, directory))
    }

    fn server(&self) -> Result<ServerSettings, Ended> {
        let (server, _) = load_server(&self.options()?).map_err(|complaints| Ended::Other(Box::new(complaints)))?;
        Ok(server)
    }

    /// The server's keyring: as configured, or as named as long as there is no configuration that could be used.
    fn gpg(&self) -> Result<GnuPg, Ended> {
        match (self.server(), &self.gpg_home_dir) {
            (Ok(server), _) => Ok(GnuPg { home: Some(server.gpg_home), program: server.gpg_program }),
            (Err(_), Some(home)) => Ok(GnuPg { home: Some(home.clone()), program: None }),
            (Err(error), None) => Err(error),
        }
    }

    /// Whether a file with this text could be used beside those that are there.
    fn check_file(&self, path: &Path, text: &Secret<String>, now: Timestamp) -> Result<(), Complaints> {
        let (server, _) = load_server(&self.options().map_err(|_| Complaints::default())?)?;
        let mut keyrings = Keyrings::new(now);
        parse_access(path, text.expose(), &server, &mut keyrings, now).map(|_| ())
    }

    /// Whether all of the configuration can be used as it stands now. `Err`: what is wrong.
    fn check(&self) -> Result<(), String> {
        let options = self.options().map_err(|error| error.to_string())?;
        match settings::load(&options, Timestamp::now()) {
            Ok(_) => Ok(()),
            Err(complaints) => Err(complaints.to_string()),
        }
    }

    /// A running daemon reads its files again; without one there is nothing to tell.
    fn tell_daemon(&self) -> Result<(), Ended> {
        self.tell_daemon_and(|_| Ok(()))
    }

    /// The same, and what this stanza opened is closed, also where its certificate may still open something else.
    fn tell_daemon_to_close(&self, stanza: &str) -> Result<(), Ended> {
        self.tell_daemon_and(|daemon| match daemon.ask(&Request::Close(Which::Stanza(stanza.to_owned()))) {
            Ok(Answer::Closed { .. }) => Ok(()),
            Ok(other) => Err(Ended::other(ask::Error::unexpected(&other))),
            Err(error) => Err(Ended::other(error)),
        })
    }

    fn tell_daemon_and(&self, then: impl FnOnce(&mut Connection) -> Result<(), Ended>) -> Result<(), Ended> {
        let server = self.server()?;
        if let Some(mut daemon) = ask::connect(&server.run_dir).map_err(Ended::other)? {
            reload(&mut daemon)?;
            then(&mut daemon)?;
            eprintln!("fwknopd: the running daemon has taken it");
            return Ok(());
        }
        let runs = pidfile::confirmed(&server.pid_file, |_| Ok(())).map_err(Ended::other)?;
        if runs.is_none() {
            eprintln!("fwknopd: no daemon is running: it takes effect when it is started");
            return Ok(());
        }
        // One that could not make its socket, and has said so.
        process::restart(&server.pid_file).map(|_| ()).map_err(Ended::other)
    }
}

fn reload(daemon: &mut Connection) -> Result<(), Ended> {
    match daemon.ask(&Request::Reload) {
        Ok(Answer::Reloaded { .. }) => Ok(()),
        Ok(Answer::NotReloaded { complaints }) => Err(Ended::refused(
            format!("the running daemon keeps its old configuration:\n{}", complaints.join("\n")),
            "mend that, and let it read its files again with: fwknopd -R",
        )),
        Ok(other) => Err(Ended::other(ask::Error::unexpected(&other))),
        Err(error) => Err(Ended::other(error)),
    }
}

/// A result on standard output.
fn say(text: &str) -> Result<(), Ended> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Ended::Other(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Manage::command().debug_assert();
        definition().debug_assert();
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(asked(&words("fwknopd user list -c x")) && !asked(&words("fwknopd -c user")));
    }
}
