//! The pid file: one daemon per file, told by a lock and not by a number (`spec/server.md` 3.2).
//!
//! The number in the file means something only while the lock is held; the file is removed at the end.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Pid, Signal, kill_process};

/// The lock, held for the life of the daemon.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    _file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("An instance of fwknopd is already running: (PID={0}).")]
    Running(i32),
    #[error("cannot use the pid file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl PidFile {
    pub fn acquire(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::File { path: path.into(), source };
        let mut options = OpenOptions::new();
        // Not truncated before the lock is ours: it may be somebody's.
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(error)?;
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::Running(read_pid(&mut file).map_or(0, |pid| pid.as_raw_nonzero().get())));
        }
        file.set_len(0).map_err(error)?;
        writeln!(file, "{}", std::process::id()).map_err(error)?;
        Ok(Self { path: path.into(), _file: file })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The lock goes with the file: a successor that opens the path meanwhile makes its own.
        let _ = fs::remove_file(&self.path);
    }
}

/// The daemon that holds the lock, if one does.
pub fn running(path: &Path) -> Result<Option<Pid>, Error> {
    let error = |source| Error::File { path: path.into(), source };
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error(e)),
    };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(None), // a left-over: the lock is gone when `file` is
        Err(_) => Ok(read_pid(&mut file)),
    }
}

pub fn signal(pid: Pid, signal: Signal) -> std::io::Result<()> {
    Ok(kill_process(pid, signal)?)
}

fn read_pid(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok().filter(|pid| *pid > 0)?)
}
