//! SPA over HTTP: the request (`spec/wire.md` 8.3), and what a proxy says to it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::options::Proxy;

/// What a request says besides the packet.
#[derive(Debug)]
pub struct Http<'a> {
    /// The server, as the user wrote it.
    pub host: &'a str,
    pub user_agent: &'a str,
    pub proxy: Option<&'a Proxy>,
}

/// The first line of an answer, without the version: `407 Proxy Authentication Required`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(String);

impl Http<'_> {
    /// Byte for byte what the original sends, but for the name in `User-Agent`. A proxy has to put the server's name in the
    /// place of its own in `Host` (RFC 9112 section 3.2.2).
    pub fn request(&self, text: &str) -> String {
        let packet = text.replace('+', "-").replace('/', "_");
        let (target, host) = match self.proxy {
            None => (format!("/{packet}"), self.host),
            Some(proxy) => (format!("http://{}/{packet}", self.authority()), proxy.host.as_str()),
        };
        let agent = self.user_agent;
        format!(
            "GET {target} HTTP/1.0\r\nUser-Agent: {agent}\r\nAccept: */*\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
    }

    /// In one write, so in one segment: a server that captures does not reassemble. A proxy may give a request up whose
    /// sender is gone (squid does), so it is given time to pass it on, and what it says is told.
    pub fn send(&self, stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Option<Answer>> {
        stream.write_all(request)?;
        Ok(self.proxy.and_then(|_| Answer::of(stream)))
    }

    /// An IPv6 address needs brackets in front of a slash.
    fn authority(&self) -> String {
        match self.host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => self.host.to_owned(),
        }
    }
}

impl Answer {
    /// `None`: there was none in time, or nothing that looks like one.
    fn of(stream: &mut TcpStream) -> Option<Self> {
        const PATIENCE: Duration = Duration::from_secs(5);
        const LINE_MAX: usize = 256;
        let end = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        let mut buffer = [0; LINE_MAX];
        while line.len() < LINE_MAX && !line.contains(&b'\n') {
            let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            stream.set_read_timeout(Some(left)).ok()?;
            match stream.read(&mut buffer).ok()? {
                0 => break,
                length => line.extend_from_slice(&buffer[..length]),
            }
        }
        Self::read(&line)
    }

    fn read(line: &[u8]) -> Option<Self> {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let (version, rest) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
        let is_answer = version.starts_with("HTTP/") && Self(rest.to_owned()).code().is_some();
        is_answer.then(|| Self(rest.chars().filter(|c| !c.is_control()).collect()))
    }

    pub fn code(&self) -> Option<u16> {
        self.0.split(' ').next().filter(|code| code.len() == 3)?.parse().ok()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AGENT: &str = "Fwknop/2.6.10";

    #[test]
    fn the_request_is_that_of_the_original() {
        let http = Http { host: "127.0.0.1", user_agent: AGENT, proxy: None };
        let expected = "GET /a-b_c HTTP/1.0\r\nUser-Agent: Fwknop/2.6.10\r\nAccept: */*\r\nHost: 127.0.0.1\r\n\
            Connection: close\r\n\r\n";
        assert_eq!(http.request("a+b/c"), expected);
    }

    #[test]
    fn so_is_the_request_to_a_proxy() {
        let proxy = Proxy { host: "127.0.0.1".into(), port: None };
        let request = |host| Http { host, user_agent: AGENT, proxy: Some(&proxy) }.request("a+b/c");
        let expected = "GET http://gate.example:8080/a-b_c HTTP/1.0\r\nUser-Agent: Fwknop/2.6.10\r\nAccept: */*\r\n\
            Host: 127.0.0.1\r\nConnection: close\r\n\r\n";
        assert_eq!(request("gate.example:8080"), expected);
        assert!(request("2001:db8::1").starts_with("GET http://[2001:db8::1]/a-b_c "));
        assert!(request("[2001:db8::1]:8080").starts_with("GET http://[2001:db8::1]:8080/a-b_c "));
    }

    #[test]
    fn answers_are_read_to_the_end_of_their_first_line() {
        let read =
            |text: &str| Answer::read(text.as_bytes()).map(|answer| (answer.code().unwrap(), answer.to_string()));
        assert_eq!(read("HTTP/1.1 502 Bad Gateway\r\nVia: x"), Some((502, "502 Bad Gateway".into())));
        assert_eq!(read("HTTP/1.0 200"), Some((200, "200".into())));
        for other in ["", "\n", "HTTP/1.1", "HTTP/1.1 2000 no", "SSH-2.0-OpenSSH 999", "HTTP/1.1 abc"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic_or_reaches_the_terminal_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = [b"HTTP/1.1 404 ".to_vec(), bytes].concat();
            if let Some(answer) = Answer::read(&line) {
                prop_assert!(!answer.to_string().contains(|c: char| c.is_control()));
            }
        }
    }
}
