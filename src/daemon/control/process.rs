//! `-S`, `-R`, `-K`: asking about the running daemon, and telling it something (`spec/server.md` 3.3).
//!
//! Unlike the original only the holder of the lock is ever signalled: a number in a left-over file may by now be
//! anybody. It is signalled by a handle, which goes on meaning that process when the number is given out again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::daemon::pidfile::{self, Error};

/// Tells whether a daemon runs. Exit code 0 when one does, 1 when not.
pub fn status(pid_file: &Path) -> Result<ExitCode, Error> {
    match pidfile::confirmed(pid_file, |_| Ok(()))? {
        Some((pid, ())) => say(&format!("Detected fwknopd is running (pid={}).", number(pid))),
        None => none(),
    }
}

/// Lets the daemon read its files again.
pub fn restart(pid_file: &Path) -> Result<ExitCode, Error> {
    let Some((pid, process)) = pidfile::confirmed(pid_file, handle)? else { return none() };
    match pidfd_send_signal(&process, Signal::HUP) {
        Err(Errno::SRCH) => none(),
        sent => {
            sent.map_err(|error| failed(pid_file, error))?;
            say(&format!("Sent restart signal to fwknopd (pid={})", number(pid)))
        }
    }
}

/// Stops the daemon: asks, waits, and after four seconds insists.
pub fn kill(pid_file: &Path) -> Result<ExitCode, Error> {
    let Some((pid, process)) = pidfile::confirmed(pid_file, handle)? else {
        eprintln!("No running fwknopd detected.");
        return Ok(ExitCode::FAILURE);
    };
    let killed = format!("Killed fwknopd (pid={})", number(pid));
    for (signal, name, patience) in [(Signal::TERM, "SIGTERM", 4), (Signal::KILL, "SIGKILL", 1)] {
        match pidfd_send_signal(&process, signal) {
            Err(Errno::SRCH) => return say(&killed),
            sent => sent.map_err(|error| failed(pid_file, error))?,
        }
        if ends_within(&process, Duration::from_secs(patience)).map_err(|error| failed(pid_file, error))? {
            return say(&format!("{killed} via {name}"));
        }
    }
    eprintln!("fwknopd (pid={}) has been killed, but has not ended yet", number(pid));
    Ok(ExitCode::FAILURE)
}

fn handle(pid: Pid) -> io::Result<OwnedFd> {
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// The handle of a process becomes readable when it ends.
fn ends_within(process: &OwnedFd, patience: Duration) -> Result<bool, Errno> {
    let end = Instant::now() + patience;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            ready => return ready.map(|count| count > 0),
        }
    }
}

fn failed(pid_file: &Path, error: Errno) -> Error {
    Error::File { path: pid_file.into(), source: error.into() }
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
