//! What the user sees, and files that only the user shall see.

use std::io::{self, Write};
use std::path::Path;

use clap::error::ErrorKind;

use super::args::Args;
use super::{Failure, variables};
use crate::cli::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, private_file};
use crate::config::{Complaint, Complaints, Place};

/// Writes a file that only its owner can read.
pub(super) fn write_private(path: &Path, text: &str, append: bool) -> Result<(), Failure> {
    let written = if append { private_file::append(path, text) } else { private_file::write(path, text) };
    written.map_err(|source| Failure::File { path: path.to_owned(), source })
}

pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// To people, on standard error. When that is closed, nobody listens.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "fwknop: {text}");
}

pub(super) fn complain(complaints: &Complaints) {
    let mut in_order: Vec<&Complaint> = complaints.iter().collect();
    in_order.sort_by_key(|complaint| &complaint.place);
    in_order.into_iter().for_each(|complaint| warn(&shown(complaint)));
}

/// On the command line nobody wrote the variable's name that the check puts in front.
fn shown(complaint: &Complaint) -> String {
    let mut complaint = complaint.clone();
    if let Place::Option(_) = complaint.place
        && let Some((name, what)) = complaint.what.split_once(": ")
        && variables::TABLE.variables.iter().any(|variable| variable.name == name)
    {
        complaint.what = what.to_owned();
    }
    complaint.to_string()
}

/// Help goes to standard output and is no failure. Subcommands have a code of their own for a wrong command line.
pub(super) fn usage(error: &clap::Error) -> u8 {
    let first = std::env::args().nth(1).unwrap_or_default();
    let definition = Args::definition();
    let command = definition.find_subcommand(&first).map(clap::Command::get_name);
    let failure = if command.is_some() { EXIT_USAGE } else { EXIT_FAILURE };
    match error.kind() {
        ErrorKind::DisplayHelp => return if error.print().is_ok() { EXIT_OK } else { EXIT_FAILURE },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return failure;
        }
        _ => {}
    }
    let text = error.to_string();
    let lines = || text.lines().map(str::trim);
    let what = what(error);
    if let Some(word) = misplaced(&what) {
        let advice = match definition.find_subcommand(word) {
            Some(_) => format!("'{word}' is a command as the first word only"),
            None => "see: fwknop --help".to_owned(),
        };
        warn(&format!("unexpected argument '{word}' found\n     {advice}"));
        return failure;
    }
    let see = command.map_or("see: fwknop --help".to_owned(), |command| format!("see: fwknop {command} --help"));
    let choices = lines().find_map(|line| line.strip_prefix("[possible values: ")?.strip_suffix(']'));
    let choices = choices.map(|choices| format!("write one of {choices}"));
    let tip = choices.as_deref().or_else(|| lines().find_map(|line| line.strip_prefix("tip: "))).unwrap_or(&see);
    warn(&format!("{}\n     {tip}", what));
    failure
}

/// What is wrong with a command line, in one line.
pub(super) fn what(error: &clap::Error) -> String {
    const MORE: [&str; 4] = ["tip: ", "Usage: ", "For more information", "["];
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines.take_while(|line| !MORE.iter().any(|more| line.starts_with(more)));
    let what = said.collect::<Vec<_>>().join(" ");
    what.strip_prefix("error: ").map_or(what.clone(), str::to_owned)
}

/// A word behind options, which clap takes for a command.
fn misplaced(what: &str) -> Option<&str> {
    what.strip_prefix("the subcommand '")?.split_once("' cannot be used with").map(|(word, _)| word)
}
