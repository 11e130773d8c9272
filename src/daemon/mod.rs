//! The daemon program: start-up in order, the loop, and what it writes.

pub mod alarm;
pub mod args;
mod aside;
mod clock;
mod closing;
mod command;
pub mod control;
mod crowd;
mod cycles;
mod decide;
pub mod detach;
mod errands;
mod heritage;
pub mod journal;
mod kept;
pub mod keyrings;
mod lookout;
pub mod manage;
mod memory;
mod new_keys;
mod panics;
pub mod pidfile;
pub mod pool;
mod record;
pub mod reload;
pub mod run;
mod run_dir;
mod serve;
pub mod settings;
pub mod signals;
pub mod sources;
mod start;
pub mod state;
mod store;
pub mod syslog;
mod twins;

use std::process::ExitCode;

use clap::Parser;
use rustix::fs::Mode;

use crate::cli;
use args::Args;
use start::Failed;

/// Runs `fwknopd`. Exit codes as in the original: 0, or 1 for everything that went wrong (`-S`: 1 when none runs).
pub fn main() -> ExitCode {
    cli::completions::answer(manage::definition);
    let words: Vec<_> = std::env::args_os().collect();
    if manage::asked(&words) {
        memory::keep_to_ourselves();
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
        return manage::main(words);
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    memory::keep_to_ourselves();
    // Descriptors that somebody left open to us are not for the programs we start.
    close_fds::set_fds_cloexec(3, &[]);
    panics::tell(None);
    // Whatever is made from here on is for us alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    start::run(&args).unwrap_or_else(|failed| {
        eprintln!("{failed}");
        ExitCode::FAILURE
    })
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::Complaints(complaints) => {
                let lines: Vec<String> = complaints.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Failed::Error(error) => write!(f, "fwknopd: {}", journal::with_causes(error.as_ref())),
            Failed::Usage { what, advice } => write!(f, "fwknopd: {what}\n     {advice}"),
        }
    }
}
