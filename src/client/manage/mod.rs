//! `fwknop key …` and `fwknop server …`: the keys of a user, and the servers they open. `fwknop completions …`.
//!
//! The command lines of the original never begin with these words, so they stay as they are. What changes something
//! shows what it will do and asks; what cannot be done is refused before that.

mod here;
mod key;
mod known;
mod own;
mod server;
mod size;
pub mod values;

use clap::Subcommand;
use serde_json::Value;

pub use here::Places;

use super::output::{print, warn};
use crate::cli::completions::{self, Shell};
use crate::cli::keys::Ended;
use crate::cli::{self, EXIT_OK};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Your own keys, and those of servers
    #[command(subcommand)]
    Key(key::Key),
    /// Servers in the rc file: after `fwknop server add NAME …`, `fwknop -n NAME` knocks
    #[command(subcommand)]
    Server(server::Server),
    /// Print what lets a shell complete options, names of servers and fingerprints
    Completions {
        /// Load it with: source <(fwknop completions bash)
        shell: Shell,
    },
}

/// Does it, says what went wrong, and returns the exit code.
pub(super) fn run(command: Command) -> u8 {
    let done = match command {
        Command::Key(command) => command.run(),
        Command::Server(command) => command.run(),
        Command::Completions { shell } => say(&completions::script(shell, "fwknop")),
    };
    match done {
        Ok(()) => EXIT_OK,
        Err(ended) => {
            if !matches!(ended, Ended::Attention) {
                warn(&cli::describe(&ended));
            }
            ended.code()
        }
    }
}

/// A result on standard output.
fn say(text: &str) -> Result<(), Ended> {
    print(text).map_err(Ended::other)
}

/// One for programs: one line.
fn say_json(value: &Value) -> Result<(), Ended> {
    say(&format!("{value}\n"))
}
