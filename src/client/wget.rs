//! Address look-up by the user's own wget, with the words of the original and without a shell.

use std::io::{self, PipeReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::address::{AddressError, LONGEST, PATIENCE};

/// What it prints. It has [`PATIENCE`], and then is killed.
pub fn run(program: &Path, user_agent: Option<&str>, service: &str) -> Result<String, AddressError> {
    let failed = |source| AddressError::Start { program: program.to_owned(), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(program);
    if let Some(user_agent) = user_agent {
        command.args(["-U", user_agent]);
    }
    command.args(["--secure-protocol=auto", "--quiet", "-O", "-", service]);
    let mut child = command.stdin(Stdio::null()).stdout(writer).spawn().map_err(failed)?;
    // Our end of what it writes to goes with it.
    drop(command);
    let said = until_end(&mut child, reader);
    if !matches!(said, Ok(Ok(_))) {
        let _ = child.kill();
        let _ = child.wait();
    }
    let wrong = |what: String| AddressError::Wget { program: program.to_owned(), what };
    said.map_err(failed)?.map_err(wrong)
}

/// What it said, or why that counts for nothing.
fn until_end(child: &mut Child, mut reader: PipeReader) -> io::Result<Result<String, String>> {
    let end = Instant::now() + PATIENCE;
    let late = || Ok(Err(format!("took longer than {} seconds", PATIENCE.as_secs())));
    let (mut said, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        if !is_ready(&reader, end)? {
            return late();
        }
        match reader.read(&mut buffer)? {
            0 => break,
            length => said.extend_from_slice(&buffer[..length]),
        }
        if said.len() as u64 > LONGEST {
            return Ok(Err("says more than an address".to_owned()));
        }
    }
    // It has closed its output, which is nearly always its end.
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= end => return late(),
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Ok(Err(format!("failed ({status})")));
    }
    Ok(Ok(String::from_utf8_lossy(&said).into_owned()))
}

fn is_ready(reader: &PipeReader, end: Instant) -> io::Result<bool> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(reader, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
