//! What the user sees, and files that only the user shall see.

use std::io::{self, Write};
use std::path::Path;

use clap::error::ErrorKind;

use super::{Failure, variables};
use crate::cli::{EXIT_FAILURE, EXIT_OK, private_file};
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

/// Help goes to standard output and is no failure.
pub(super) fn usage(error: &clap::Error) -> u8 {
    if error.kind() == ErrorKind::DisplayHelp {
        return if error.print().is_ok() { EXIT_OK } else { EXIT_FAILURE };
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines.next().unwrap_or_default();
    let tip = lines.find_map(|line| line.strip_prefix("tip: ")).unwrap_or("see: fwknop --help");
    warn(&format!("{}\n     {tip}", what.strip_prefix("error: ").unwrap_or(what)));
    EXIT_FAILURE
}
