//! Syslog: one datagram per line to the machine's own socket, as the C library writes them (RFC 3164, without a host).
//!
//! Never waits: a log that is full or gone must not stop a knock. The connection is made anew when it breaks, because
//! a restarted rsyslog makes a new socket; lines lost meanwhile are counted, and the count is told.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::journal::Level;
use crate::config::Facility;

/// Who speaks, and where to.
#[derive(Debug)]
pub struct Syslog {
    places: Vec<PathBuf>,
    identity: String,
    facility: u8,
    socket: Option<UnixDatagram>,
    lost: u64,
}

impl Syslog {
    /// Connects to nothing yet.
    pub fn new(identity: &str, facility: Facility) -> Self {
        Self::at(PLACES.iter().map(PathBuf::from).collect(), identity, facility)
    }

    pub(super) fn at(places: Vec<PathBuf>, identity: &str, facility: Facility) -> Self {
        Self { places, identity: identity.to_owned(), facility: code(facility), socket: None, lost: 0 }
    }

    /// Whether anybody listens. Lines can be sent either way: each tries again.
    pub fn connect(&mut self) -> io::Result<()> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for place in &self.places {
            result = connected(place).map(|socket| self.socket = Some(socket));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Sends a line, or counts it as lost.
    pub fn write(&mut self, level: Level, text: &str) {
        if self.lost > 0 {
            let lost = format!("{} lines were lost while syslog did not take them", self.lost);
            if self.send(Level::Warning, &lost).is_err() {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if self.send(level, text).is_err() {
            self.lost += 1;
        }
    }

    fn send(&mut self, level: Level, text: &str) -> io::Result<()> {
        let line = self.line(level, text, SystemTime::now());
        if let Some(socket) = &self.socket {
            match socket.send(line.as_bytes()) {
                // Full, not gone: connecting again would find it as full.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.socket = None,
                Ok(_) => return Ok(()),
            }
        }
        self.connect()?;
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.send(line.as_bytes()).map(|_| ())
    }

    fn line(&self, level: Level, text: &str, now: SystemTime) -> String {
        let severity = match level {
            Level::Error => 3,
            Level::Warning => 4,
            Level::Info => 6,
            Level::Debug => 7,
        };
        let priority = self.facility * 8 + severity;
        format!("<{priority}>{} {}[{}]: {text}", stamp(now), self.identity, std::process::id())
    }
}

fn connected(place: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(place)?;
    Ok(socket)
}

/// `Nov  3 09:05:01`, local time.
fn stamp(now: SystemTime) -> String {
    let moment = jiff::Timestamp::try_from(now).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%b %e %H:%M:%S").to_string()
}

fn code(facility: Facility) -> u8 {
    match facility {
        Facility::Daemon => 3,
        Facility::Local(number) => 16 + number.min(7),
    }
}

/// Linux, and the BSDs.
const PLACES: [&str; 3] = ["/dev/log", "/var/run/log", "/var/run/syslog"];

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn listen(place: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(place).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn syslog(place: &Path) -> Syslog {
        Syslog::at(vec![place.with_extension("none"), place.into()], "knocks", Facility::Local(2))
    }

    #[test]
    fn a_line_has_priority_time_name_and_pid() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        let socket = listen(&place);
        let mut syslog = syslog(&place);
        syslog.connect().unwrap();
        syslog.write(Level::Warning, "refuse  src=192.0.2.1");
        let line = heard(&socket);
        // local2 is 18; RFC 3164 4.1.1.
        let rest = line.strip_prefix("<148>").unwrap();
        let (stamp, rest) = rest.split_at(15);
        assert!(stamp.is_ascii() && &stamp[3..4] == " " && &stamp[9..10] == ":", "{stamp}");
        assert_eq!(rest, format!(" knocks[{}]: refuse  src=192.0.2.1", std::process::id()));
    }

    #[test]
    fn a_restarted_log_is_found_again_and_hears_what_was_lost() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        let first = listen(&place);
        let mut syslog = syslog(&place);
        syslog.write(Level::Info, "one");
        assert!(heard(&first).ends_with(": one"));
        drop(first);
        std::fs::remove_file(&place).unwrap();
        assert!(syslog.connect().is_err());
        syslog.write(Level::Info, "two");
        syslog.write(Level::Info, "three");
        let second = listen(&place);
        syslog.write(Level::Info, "four");
        assert!(heard(&second).ends_with(": 2 lines were lost while syslog did not take them"));
        assert!(heard(&second).ends_with(": four"));
        // And without a loss when it is quick.
        drop(second);
        std::fs::remove_file(&place).unwrap();
        let third = listen(&place);
        syslog.write(Level::Info, "five");
        assert!(heard(&third).ends_with(": five"));
    }

    #[test]
    fn a_full_log_does_not_stop_us() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        let socket = listen(&place);
        let mut syslog = syslog(&place);
        for number in 0..10_000 {
            syslog.write(Level::Info, &format!("line {number}"));
        }
        assert!(syslog.lost > 0, "the queue of a socket is not that long");
        heard(&socket);
        heard(&socket);
        syslog.write(Level::Info, "after");
        assert_eq!(syslog.lost, 0);
    }
}
