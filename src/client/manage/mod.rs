//! `fwknop key …` and `fwknop server …`: the keys of a user, and the servers they open.
//!
//! The command lines of the original never begin with these words, so they stay as they are.

mod key;
mod server;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cli::keys::Ended;
use crate::cli::{self, EXIT_OK, EXIT_USAGE};
use crate::crypto::openpgp::gpgme::GnuPg;

/// Look after keys and servers.
#[derive(Debug, Parser)]
#[command(name = "fwknop", max_term_width = 100)]
pub struct Manage {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Your own keys, and those of servers
    #[command(subcommand)]
    Key(key::Key),
    /// Servers in the rc file: after `fwknop server add NAME …`, `fwknop -n NAME` knocks
    #[command(subcommand)]
    Server(server::Server),
}

/// Where keys and stanzas are.
#[derive(Debug, clap::Args)]
struct Places {
    /// GnuPG home [default: GnuPG's own]
    #[arg(long, value_name = "DIR")]
    gpg_home_dir: Option<PathBuf>,
    /// rc file [default: ~/.fwknoprc]
    #[arg(long, value_name = "FILE")]
    rc_file: Option<PathBuf>,
}

impl Places {
    fn gpg(&self) -> GnuPg {
        GnuPg { home: self.gpg_home_dir.clone(), program: None }
    }

    fn rc_file(&self) -> Result<PathBuf, Ended> {
        let home = || Some(PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".fwknoprc"));
        let named = self.rc_file.clone().or_else(home);
        named.ok_or_else(|| Ended::usage("the rc file is not known: HOME is not set", "name it with --rc-file"))
    }
}

/// The words of a subcommand, if that is what was typed.
pub fn asked(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == "key" || word == "server")
}

pub fn main(words: Vec<OsString>) -> ExitCode {
    let command = match Manage::try_parse_from(words) {
        Ok(manage) => manage.command,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { EXIT_OK });
        }
    };
    let done = match command {
        Command::Key(command) => key::run(command),
        Command::Server(command) => server::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            super::output::warn(&cli::describe(&ended));
            ExitCode::from(ended.code())
        }
    }
}

/// A result on standard output.
fn say(text: &str) -> Result<(), Ended> {
    super::output::print(text).map_err(|failed| Ended::Other(Box::new(failed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Manage::command().debug_assert();
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(asked(&words("fwknop key list")) && asked(&words("fwknop server list")));
        assert!(!asked(&words("fwknop -n key")) && !asked(&words("fwknop")));
    }
}
