//! The line protocol of GnuPG's programs (libassuan's manual, "Assuan"): a command, then lines that end with `OK` or
//! `ERR`. Data is percent-encoded in lines of its own; in between, the other side may ask for something.
//!
//! Nothing here grows or waits without bound. What passes may be secret: buffers are zeroized, and never grown.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use zeroize::Zeroizing;

use super::error::{Error, Refusal};

/// One connection. After any error but a refusal it is of no more use.
pub(super) struct Connection {
    socket: UnixStream,
    buffer: Zeroizing<Vec<u8>>,
    /// What of the buffer has been received and not been read.
    unread: std::ops::Range<usize>,
}

/// What came before the final `OK`.
pub(super) struct Answer {
    pub data: Zeroizing<Vec<u8>>,
    /// The lines `S …`, without that.
    pub status: Vec<String>,
}

impl Answer {
    /// What a status line with this keyword says.
    pub fn status(&self, keyword: &str) -> Option<&str> {
        self.status.iter().find_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
    }
}

/// What we say when the other side asks for something. `None`: that we do not have it.
pub(super) type Inquiry<'a> = dyn FnMut(&str) -> Option<Zeroizing<Vec<u8>>> + 'a;

impl Connection {
    /// The socket must belong to root or to us, and be served by root or by us.
    pub fn open(path: &Path, within: Duration) -> Result<Self, Error> {
        let socket = connected(path, within).map_err(Error::Gone)?;
        let us = rustix::process::geteuid();
        let server = socket_peercred(&socket).map_err(|errno| Error::Gone(errno.into()))?.uid;
        let owner = std::fs::metadata(path).map_err(Error::Gone)?.uid();
        for owner in [server.as_raw(), owner] {
            if owner != us.as_raw() && owner != 0 {
                return Err(Error::Foreign { socket: path.into(), owner });
            }
        }
        let mut connection = Self { socket, buffer: Zeroizing::new(vec![0; LINE_MAX]), unread: 0..0 };
        connection.finish(within, &mut |_| None)?;
        Ok(connection)
    }

    /// One command and its answer.
    pub fn ask(&mut self, command: &str, within: Duration, inquiry: &mut Inquiry<'_>) -> Result<Answer, Error> {
        if command.len() >= LINE_SENT_MAX || command.contains(['\n', '\0']) {
            return Err(Error::Garbled("our own command is not one line"));
        }
        self.send(&[command.as_bytes(), b"\n"].concat(), within)?;
        self.finish(within, inquiry)
    }

    fn finish(&mut self, within: Duration, inquiry: &mut Inquiry<'_>) -> Result<Answer, Error> {
        let deadline = Deadline { at: Instant::now() + within, within };
        let mut answer = Answer { data: Zeroizing::new(Vec::with_capacity(DATA_MAX)), status: Vec::new() };
        for _ in 0..LINES_MAX {
            let line = self.line(&deadline)?;
            let line = &self.buffer[line];
            let (keyword, rest) = match line.iter().position(|byte| *byte == b' ') {
                Some(at) => (&line[..at], &line[at + 1..]),
                None => (line, &b""[..]),
            };
            match keyword {
                b"OK" => return Ok(answer),
                b"ERR" => {
                    let refusal = Refusal::from_line(&String::from_utf8_lossy(rest));
                    return Err(refusal.map_or(Error::Garbled("an error without a number"), Error::Refused));
                }
                b"D" => percent_decode(rest, &mut answer.data)?,
                b"S" => answer.status.push(String::from_utf8_lossy(rest).into_owned()),
                b"INQUIRE" => {
                    let asked = String::from_utf8_lossy(rest).into_owned();
                    let said = inquiry(asked.split(' ').next().unwrap_or_default());
                    self.send(&inquired(said), deadline.left()?)?;
                }
                // A comment.
                _ if keyword.first() == Some(&b'#') => {}
                _ => return Err(Error::Garbled("an unknown line")),
            }
        }
        Err(Error::Garbled("too many lines"))
    }

    /// Where the next line is in the buffer.
    fn line(&mut self, deadline: &Deadline) -> Result<std::ops::Range<usize>, Error> {
        loop {
            let unread = self.unread.clone();
            if let Some(length) = self.buffer[unread.clone()].iter().position(|byte| *byte == b'\n') {
                let end = unread.start + length;
                self.unread.start = end + 1;
                return Ok(unread.start..end);
            }
            self.buffer.copy_within(unread.clone(), 0);
            self.unread = 0..unread.len();
            if self.unread.end == self.buffer.len() {
                return Err(Error::Garbled("a line without end"));
            }
            self.socket.set_read_timeout(Some(deadline.left()?)).map_err(Error::Gone)?;
            match self.socket.read(&mut self.buffer[self.unread.end..]) {
                Ok(0) => return Err(Error::Gone(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.unread.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(deadline.explain(error)),
            }
        }
    }

    fn send(&mut self, bytes: &[u8], within: Duration) -> Result<(), Error> {
        self.socket.set_write_timeout(Some(within)).map_err(Error::Gone)?;
        self.socket.write_all(bytes).map_err(|error| Deadline { at: Instant::now(), within }.explain(error))
    }
}

struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    /// Never zero, which would mean no limit to the system.
    fn left(&self) -> Result<Duration, Error> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Error::Silent { after: self.within }) } else { Ok(left.max(Duration::from_millis(1))) }
    }

    fn explain(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Silent { after: self.within },
            _ => Error::Gone(error),
        }
    }
}

/// Connecting waits when the other side does not accept, unless the socket has a time-out already.
fn connected(path: &Path, within: Duration) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(within))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// Our answer to an inquiry, as lines.
fn inquired(said: Option<Zeroizing<Vec<u8>>>) -> Zeroizing<Vec<u8>> {
    let Some(said) = said else { return Zeroizing::new(b"CAN\n".to_vec()) };
    // Every octet may take three; a line begins with two of its own. Never grown.
    const OCTETS: usize = 300;
    let mut lines = Zeroizing::new(Vec::with_capacity(said.len() * 3 + (said.len() / OCTETS + 1) * 3 + 4));
    for part in said.chunks(OCTETS) {
        lines.extend_from_slice(b"D ");
        for byte in part {
            match byte {
                b'%' | b'\r' | b'\n' | b'\\' => lines.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                byte => lines.push(*byte),
            }
        }
        lines.push(b'\n');
    }
    lines.extend_from_slice(b"END\n");
    lines
}

fn percent_decode(text: &[u8], into: &mut Vec<u8>) -> Result<(), Error> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        if into.len() == DATA_MAX {
            return Err(Error::Garbled("too much data"));
        }
        if byte == b'%' {
            let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                return Err(Error::Garbled("data with a bad escape"));
            };
            into.push(high << 4 | low);
            at += 3;
        } else {
            into.push(byte);
            at += 1;
        }
    }
    Ok(())
}

/// Octets of a line that the protocol allows us to send, and more than it allows to be sent to us.
const LINE_SENT_MAX: usize = 1000;
const LINE_MAX: usize = 2048;

/// Octets of data in an answer: an RSA key of 16384 bits takes a quarter of it.
const DATA_MAX: usize = 8192;

/// Lines of an answer: one for each secret key, in the longest.
const LINES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const SOON: Duration = Duration::from_secs(5);

    /// A connection to somebody who says this, whatever he hears.
    fn hears(said: &'static [u8]) -> (tempfile::TempDir, Result<Connection, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("S");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let _ = peer.write_all(said);
            let _ = io::copy(&mut peer, &mut io::sink());
        });
        let connection = Connection::open(&path, SOON);
        (dir, connection)
    }

    fn asks(said: &'static [u8]) -> Result<Answer, Error> {
        hears(said).1?.ask("X", Duration::from_millis(200), &mut |_| None)
    }

    /// Somebody who never stops talking, and never says anything.
    fn drips() -> Result<Answer, Error> {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            while peer.write_all(b"#\n").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let buffer = Zeroizing::new(vec![0; LINE_MAX]);
        let mut connection = Connection { socket: ours, buffer, unread: 0..0 };
        connection.ask("X", Duration::from_millis(200), &mut |_| None)
    }

    #[test]
    fn data_is_decoded_and_status_kept() {
        let answer = asks(b"OK hello\n# words\nS PADDING 0\nD a%25%0Ab\nD c\nINQUIRE X 1\nOK\n").unwrap();
        assert_eq!(answer.data.as_slice(), b"a%\nbc");
        assert_eq!(answer.status("PADDING"), Some("0"));
        assert_eq!(answer.status("PAD"), None);
    }

    #[test]
    fn errors_are_told_apart() {
        assert!(matches!(
            asks(b"OK\nERR 67108875 Bad passphrase <GPG Agent>\n"),
            Err(Error::Refused(Refusal::BadPassphrase))
        ));
        let other = Refusal::Other { code: 60, said: "Not supported".into() };
        assert!(
            matches!(asks(b"OK\nERR 67108924 Not supported <GPG Agent>\n"), Err(Error::Refused(is)) if is == other)
        );
        for garbage in
            [&b"OK\nERR words\n"[..], b"OK\nhello\n", b"OK\nD %4\nOK\n", b"OK\nD %zz\nOK\n", b"\xff\n", b"\n"]
        {
            assert!(matches!(asks(garbage), Err(Error::Garbled(_))), "{garbage:?}");
        }
    }

    #[test]
    fn nobody_makes_us_wait_or_grow() {
        assert!(matches!(asks(b"OK\n"), Err(Error::Silent { .. })));
        assert!(matches!(asks(b"OK\nD half a li"), Err(Error::Silent { .. })));
        assert!(matches!(drips(), Err(Error::Silent { .. })), "the time is for the whole answer");
        static LONG_LINE: [u8; 5000] = [b'x'; 5000];
        assert!(matches!(asks(&LONG_LINE), Err(Error::Garbled("a line without end"))));
        let repeated =
            |line: &str, times: usize| -> &'static [u8] { format!("OK\n{}", line.repeat(times)).into_bytes().leak() };
        assert!(matches!(asks(repeated("S X\n", 5000)), Err(Error::Garbled("too many lines"))));
        let data = format!("D {}\n", "y".repeat(900));
        assert!(matches!(asks(repeated(&data, 20)), Err(Error::Garbled("too much data"))));
    }

    #[test]
    fn a_command_is_one_line() {
        let (_dir, connection) = hears(b"OK\nOK\nOK\n");
        let mut connection = connection.unwrap();
        for bad in ["A\nB", "A\0", &"x".repeat(1000)] {
            assert!(matches!(connection.ask(bad, SOON, &mut |_| None), Err(Error::Garbled(_))));
        }
        assert!(connection.ask("A", SOON, &mut |_| None).is_ok());
    }

    #[test]
    fn what_is_inquired_is_sent_in_short_lines() {
        assert_eq!(inquired(None).as_slice(), b"CAN\n");
        assert_eq!(inquired(Some(Zeroizing::new(b"a%\n".to_vec()))).as_slice(), b"D a%25%0A\nEND\n");
        let long = inquired(Some(Zeroizing::new(vec![b'%'; 1000])));
        assert!(long.split(|byte| *byte == b'\n').all(|line| line.len() < LINE_SENT_MAX));
        assert_eq!(inquired(Some(Zeroizing::new(Vec::new()))).as_slice(), b"END\n");
    }
}
