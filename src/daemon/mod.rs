//! The daemon program: start-up in order, the loop, and what it writes.

pub mod args;
pub mod detach;
pub mod journal;
pub mod pidfile;
pub mod signals;
pub mod state;

use std::process::ExitCode;

pub fn main() -> ExitCode {
    ExitCode::FAILURE
}
