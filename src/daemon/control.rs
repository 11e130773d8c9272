//! `-S`, `-R`, `-K`: asking about the running daemon, and telling it something (`spec/server.md` 3.3).
//!
//! Unlike the original only the holder of the lock is ever signalled: a number in a left-over file may by now be anybody.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::pidfile::{self, Error};

/// Tells whether a daemon runs. Exit code 0 when one does, 1 when not.
pub fn status(pid_file: &Path) -> Result<ExitCode, Error> {
    match pidfile::running(pid_file)? {
        Some(pid) => say(&format!("Detected fwknopd is running (pid={}).", number(pid))),
        None => none(),
    }
}

/// Lets the daemon read its files again.
pub fn restart(pid_file: &Path) -> Result<ExitCode, Error> {
    let Some(pid) = pidfile::running(pid_file)? else { return none() };
    signal(pid_file, pid, Signal::HUP)?;
    say(&format!("Sent restart signal to fwknopd (pid={})", number(pid)))
}

/// Stops the daemon: asks, waits, and after four seconds insists.
pub fn kill(pid_file: &Path) -> Result<ExitCode, Error> {
    let Some(pid) = pidfile::running(pid_file)? else {
        eprintln!("No running fwknopd detected.");
        return Ok(ExitCode::FAILURE);
    };
    signal(pid_file, pid, Signal::TERM)?;
    if ends_within(pid_file, pid, Duration::from_secs(4))? {
        return say(&format!("Killed fwknopd (pid={}) via SIGTERM", number(pid)));
    }
    signal(pid_file, pid, Signal::KILL)?;
    ends_within(pid_file, pid, Duration::from_secs(1))?;
    say(&format!("Killed fwknopd (pid={}) via SIGKILL", number(pid)))
}

fn ends_within(pid_file: &Path, pid: Pid, patience: Duration) -> Result<bool, Error> {
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if pidfile::running(pid_file)? != Some(pid) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

fn signal(pid_file: &Path, pid: Pid, signal: Signal) -> Result<(), Error> {
    pidfile::signal(pid, signal).map_err(|source| Error::File { path: pid_file.into(), source })
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

fn none() -> Result<ExitCode, Error> {
    println!("No running fwknopd detected.");
    Ok(ExitCode::FAILURE)
}

fn say(text: &str) -> Result<ExitCode, Error> {
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}
