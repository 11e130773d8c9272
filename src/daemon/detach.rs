//! Becoming a daemon without `fork`: the program starts itself again, and waits until that one is ready.
//!
//! The child has its own session, and a pipe as standard output on which it says when capture and firewall are ready.
//! Only then does the parent report success; until then mistakes go to the terminal, where they are read.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

/// Tells the second process what it is. Holds nothing secret.
const ROLE: &str = "FWKNOPD_DETACHED";
const READY: &[u8] = b"ready\n";

/// Whether this process is the one that stays.
pub fn is_child() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Starts this program again with the same arguments; returns once that one is ready, or has failed.
pub fn start() -> io::Result<ExitCode> {
    let mut arguments = std::env::args_os();
    let mut child = Command::new(std::env::current_exe()?);
    child.arg0(arguments.next().unwrap_or_else(|| "fwknopd".into()));
    child.args(arguments).env(ROLE, "1").stdin(Stdio::null()).stdout(Stdio::piped());
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
    let mut stdout = io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")
}
