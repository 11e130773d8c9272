//! The pid file: one daemon per file, told by a lock and not by a number (`spec/server.md` 3.2).
//!
//! The lock is that of the original (`lockf`), so each refuses the other. The number in the file means something only
//! while the lock is held; the file is removed at the end. Three races are closed here:
//!
//! * A file opened just before its owner removes it: whoever gets that lock looks whether the path still leads there.
//! * A left-over number read between a new daemon's lock and its writing: a number counts when two looks agree.
//! * Somebody who only asks takes a shared lock for a moment: a starting daemon tries for longer than that.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Pid, geteuid};

/// The lock, held for the life of the daemon.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("An instance of fwknopd is already running: (PID={0}).")]
    Running(i32),
    #[error("the pid file {} is locked, but holds no number: `fuser {0}` shows by whom", path.display())]
    NoNumber { path: PathBuf },
    #[error("the pid file {} is not a plain file of our own: look at it, and remove it", path.display())]
    NotOurs { path: PathBuf },
    #[error("cannot use the pid file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl PidFile {
    pub fn acquire(path: &Path) -> Result<Self, Error> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let file = open_own(path)?;
            if !lock(path, &file, FlockOperation::NonBlockingLockExclusive)? {
                std::thread::sleep(PAUSE);
            } else if leads_to(path, &file) {
                return write_number(&file).map(|()| Self { path: path.into(), file }).map_err(at(path));
            }
        }
        match confirmed(path, |_| Ok(()))? {
            Some((pid, ())) => Err(Error::Running(pid.as_raw_nonzero().get())),
            // It has just ended.
            None => Self::acquire(path),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Before the lock goes, and not when somebody has put another file there.
        if leads_to(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The daemon that holds the lock, if one does. `hold` is asked for a handle between two looks that must agree: so the
/// handle is that of the daemon, and not of a process that happens to have a left-over number.
pub fn confirmed<T>(path: &Path, hold: impl Fn(Pid) -> io::Result<T>) -> Result<Option<(Pid, T)>, Error> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let Some(first) = look(path)? else { return Ok(None) };
        let handle = first.map(&hold);
        std::thread::sleep(PAUSE);
        match (first, look(path)?) {
            (_, None) => return Ok(None),
            (Some(pid), Some(Some(again))) if pid == again => {
                let handle = handle.transpose().map_err(at(path))?;
                return Ok(handle.map(|handle| (pid, handle)));
            }
            _ => {}
        }
    }
    Err(Error::NoNumber { path: path.into() })
}

/// `None`: nobody holds the lock. Otherwise the number in the file, if there is one.
fn look(path: &Path) -> Result<Option<Option<Pid>>, Error> {
    let mut options = OpenOptions::new();
    let file = match options.read(true).custom_flags(PLAIN).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    if lock(path, &file, FlockOperation::NonBlockingLockShared)? {
        return Ok(None); // a left-over: the lock is gone when `file` is
    }
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).map_err(at(path))?;
    Ok(Some(number(&text)))
}

/// Not truncated: it may be somebody's. Not followed, and not written to when it is not ours: in a directory that
/// others can write to it may lead anywhere.
fn open_own(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(PLAIN);
    let not_ours = || Error::NotOurs { path: path.into() };
    let file = match options.open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Err(not_ours()),
        opened => opened.map_err(at(path))?,
    };
    let found = file.metadata().map_err(at(path))?;
    if !found.is_file() || found.nlink() > 1 || found.uid() != geteuid().as_raw() {
        return Err(not_ours());
    }
    Ok(file)
}

fn lock(path: &Path, file: &File, kind: FlockOperation) -> Result<bool, Error> {
    match fcntl_lock(file, kind) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(at(path)(error.into())),
    }
}

fn leads_to(path: &Path, file: &File) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let there = fs::symlink_metadata(path).map(identity);
    matches!((there, file.metadata().map(identity)), (Ok(there), Ok(ours)) if there == ours)
}

/// The number first and the length then: whoever reads meanwhile sees a whole first line.
fn write_number(mut file: &File) -> io::Result<()> {
    let text = format!("{}\n", std::process::id());
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn number(text: &str) -> Option<Pid> {
    Pid::from_raw(text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 0)?)
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { path: path.into(), source }
}

/// How long a starting daemon waits for somebody who only asks, and who asks for a daemon that is just starting.
const PATIENCE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(10);
/// `NONBLOCK`: a FIFO must not make us wait for its other end.
const PLAIN: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_our_number_and_goes_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "99999999\nleft over\n").unwrap();
        let held = PidFile::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let held = PidFile::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(held);
        assert!(path.exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("pid"), dir.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(matches!(PidFile::acquire(&path), Err(Error::NotOurs { .. })));
        fs::remove_file(&path).unwrap();
        fs::hard_link(&victim, &path).unwrap();
        assert!(matches!(PidFile::acquire(&path), Err(Error::NotOurs { .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    #[test]
    fn a_number_is_the_first_line() {
        assert_eq!(number("12\n34\n"), Pid::from_raw(12));
        for text in ["", "\n12", "-1", "0", "1x", "99999999999"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
