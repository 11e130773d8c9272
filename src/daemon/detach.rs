//! Becoming a daemon without `fork`: the program starts itself again, and waits until that one is ready.
//!
//! The child has its own session, and a pipe as standard output on which it says when capture and firewall are ready.
//! Only then does the parent report success; until then mistakes go to the terminal, where they are read. A parent that
//! is gone by then cannot report anything: the child notices by the broken pipe, cleans up and ends.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{FileType, fstat};
use rustix::process::{Pid, getppid};

/// Tells the second process what it is, and who says so: the parent's number. Holds nothing secret.
const ROLE: &str = "FWKNOPD_DETACHED";
const READY: &[u8] = b"ready\n";

/// Whether this process is the one that stays. The variable alone is not believed: it may come from anywhere.
pub fn is_child() -> bool {
    let named = std::env::var(ROLE).ok().and_then(|value| Pid::from_raw(value.parse().ok().filter(|pid| *pid > 0)?));
    let piped = fstat(io::stdout()).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
    piped && named.is_some() && named == getppid()
}

/// Starts this program again with the same arguments; returns once that one is ready, or has failed.
pub fn start() -> io::Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let mut child = Command::new(std::env::current_exe()?);
    child.arg0(arguments.next().unwrap_or_else(|| "fwknopd".into()));
    child.args(arguments).env(ROLE, std::process::id().to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = child.spawn()?;
    let mut said = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(READY.len() as u64).read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In the child, first thing: a session of its own, so that no terminal can end it.
pub fn leave_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// In the child, last thing before the loop: the parent may go, and the terminal is let go.
pub fn ready() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    std::env::set_current_dir("/")?;
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
