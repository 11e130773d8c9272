//! The TCP server (`spec/server.md` 6.3): knocks that come over a connection, raw or as an HTTP request, read from the
//! connection itself, so that they may come in several segments. It answers nothing, and closes when it has read what it
//! came for. Whoever connects costs a bounded amount of memory for a bounded time: the longest there makes room.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::{Error, Received, Source, socket};
use crate::net::{Origin, Proto};
use crate::spa::Datagram;

pub struct TcpSource {
    port: u16,
    listener: TcpListener,
    /// Whether it is listened to: without a descriptor to spare nobody can be let in for a while.
    listens: bool,
    /// Readable when anything below, or the listener, is.
    poll: OwnedFd,
    /// Rings when the first of them has been there for long enough.
    alarm: OwnedFd,
    /// By their number: the oldest is the first.
    visitors: BTreeMap<u64, Visitor>,
    count: u64,
    heard: VecDeque<Datagram>,
}

/// One connection, and what came over it so far.
struct Visitor {
    stream: TcpStream,
    origin: Origin,
    text: Vec<u8>,
    until: Instant,
}

impl TcpSource {
    /// Listens on `port`; 0 takes any free one.
    pub fn bind(port: u16) -> Result<Self, Error> {
        Self::listen(port).map_err(|source| Error::Bind { proto: Proto::Tcp, port, source })
    }

    fn listen(port: u16) -> io::Result<Self> {
        let socket = socket::bound(SocketType::STREAM, port)?;
        rustix::net::listen(&socket, MOST as i32)?;
        let listener = TcpListener::from(socket);
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        watch(&poll, &alarm, ALARM)?;
        watch(&poll, &listener, LISTENER)?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            listener,
            listens: true,
            poll,
            alarm,
            visitors: BTreeMap::new(),
            count: 0,
            heard: VecDeque::new(),
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whatever can be done without waiting.
    fn work(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.poll, spare_capacity(&mut events), Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) | Err(Errno::INTR) => return Ok(()),
            other => other?,
        };
        for event in events {
            match event.data.u64() {
                ALARM => self.look_at_the_clock(),
                LISTENER => self.welcome()?,
                visitor => self.hear(visitor),
            }
        }
        self.set_alarm()
    }

    /// A bounded number, so that a flood of them does not keep the others from being heard.
    fn welcome(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_about_one(&error) => {}
                // No descriptor is left: it would be told again and again. The alarm listens again.
                Err(_) => {
                    epoll::delete(&self.poll, &self.listener)?;
                    self.listens = false;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Who cannot be heard is let go.
    fn admit(&mut self, stream: TcpStream) {
        let Ok(visitor) = Visitor::new(stream) else { return };
        while self.visitors.len() >= MOST {
            self.visitors.pop_first();
        }
        self.count += 1;
        if watch(&self.poll, &visitor.stream, self.count).is_ok() {
            self.visitors.insert(self.count, visitor);
        }
    }

    fn hear(&mut self, number: u64) {
        // It may have made room in the same round.
        let Some(visitor) = self.visitors.get_mut(&number) else { return };
        if !visitor.goes_on() {
            self.dismiss(number);
        }
    }

    fn look_at_the_clock(&mut self) {
        let _ = rustix::io::read(&self.alarm, &mut [0; 8]);
        let now = Instant::now();
        while let Some((&oldest, visitor)) = self.visitors.first_key_value()
            && visitor.until <= now
        {
            self.dismiss(oldest);
        }
        if !self.listens {
            self.listens = watch(&self.poll, &self.listener, LISTENER).is_ok();
        }
    }

    /// The connection is closed; what came over it is heard.
    fn dismiss(&mut self, number: u64) {
        if let Some(Visitor { origin, text, .. }) = self.visitors.remove(&number)
            && !text.is_empty()
        {
            self.heard.push_back(Datagram { payload: text, origin });
        }
    }

    /// Rings for the oldest, or to listen again; not at all when there is nobody.
    fn set_alarm(&self) -> io::Result<()> {
        let oldest = self.visitors.first_key_value().map(|(_, visitor)| visitor.until);
        let next = oldest.or((!self.listens).then(|| Instant::now() + PATIENCE));
        // Zero would be never.
        let soon = |at: Instant| at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let left = next.map_or(Duration::ZERO, soon);
        let value = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: never, it_value: value };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl Source for TcpSource {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.poll.as_fd())
    }

    fn next(&mut self) -> Result<Received, Error> {
        if self.heard.is_empty() {
            self.work().map_err(|source| Error::Receive { proto: Proto::Tcp, port: self.port, source })?;
        }
        Ok(self.heard.pop_front().map_or(Received::Nothing, Received::Datagram))
    }
}

impl Visitor {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let (peer, here) = (stream.peer_addr()?, stream.local_addr()?);
        // An IPv4 peer of a dual-stack socket shows up as a mapped IPv6 address.
        let origin = Origin {
            src: peer.ip().to_canonical(),
            dst: Some(here.ip().to_canonical()),
            proto: Proto::Tcp.number(),
            src_port: peer.port(),
            dst_port: here.port(),
        };
        Ok(Self { stream, origin, text: Vec::new(), until: Instant::now() + PATIENCE })
    }

    /// Reads what is there. Whether more is to come.
    fn goes_on(&mut self) -> bool {
        let mut buffer = [0; LONGEST];
        while !self.is_whole() {
            let room = LONGEST - self.text.len();
            match self.stream.read(&mut buffer[..room]) {
                Ok(0) => return false,
                Ok(length) => self.text.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// A request ends with an empty line; a raw text with the connection.
    fn is_whole(&self) -> bool {
        self.text.len() >= LONGEST || self.text.ends_with(b"\r\n\r\n")
    }
}

fn watch(poll: &OwnedFd, what: &impl AsFd, number: u64) -> rustix::io::Result<()> {
    epoll::add(poll, what, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
}

/// What happened to one connection before it was accepted (accept(2)).
fn is_about_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NetworkDown | NetworkUnreachable)
}

/// At most so many at a time, each for so long.
const MOST: usize = 64;
const PATIENCE: Duration = Duration::from_secs(3);

/// Longer than any request that is read (`spa::Envelope`), so that what is too long is seen to be.
const LONGEST: usize = 4097;

/// Events in a round.
const BATCH: usize = 32;

/// Numbers that no visitor gets.
const ALARM: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::Shutdown;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn server() -> TcpSource {
        TcpSource::bind(0).unwrap()
    }

    fn connect(server: &TcpSource) -> TcpStream {
        TcpStream::connect(("127.0.0.1", server.port())).unwrap()
    }

    /// The next text, as the daemon's loop waits for it. `None`: nothing within this time.
    fn next_within(server: &mut TcpSource, limit: Duration) -> Option<Datagram> {
        let end = Instant::now() + limit;
        loop {
            if let Received::Datagram(datagram) = server.next().unwrap() {
                return Some(datagram);
            }
            let left = end.checked_duration_since(Instant::now())?;
            poll(&mut [PollFd::from_borrowed_fd(server.fd().unwrap(), PollFlags::IN)], Some(&left.try_into().unwrap()))
                .unwrap();
        }
    }

    fn next(server: &mut TcpSource) -> Datagram {
        next_within(server, Duration::from_secs(20)).expect("nothing was heard")
    }

    #[test]
    fn a_text_may_come_in_pieces_and_ends_with_the_connection() {
        let mut server = server();
        let mut client = connect(&server);
        for piece in ["one ", "and ", "another"] {
            client.write_all(piece.as_bytes()).unwrap();
            assert_eq!(next_within(&mut server, Duration::from_millis(20)), None);
        }
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        drop(client);
        let Datagram { payload, origin } = next(&mut server);
        assert_eq!(payload, b"one and another");
        let expected =
            Origin { src: from.ip(), dst: Some(to.ip()), proto: 6, src_port: from.port(), dst_port: server.port() };
        assert_eq!(origin, expected);
        assert!(server.visitors.is_empty());
    }

    #[test]
    fn a_request_ends_with_its_headers_and_what_is_too_long_at_once() {
        let mut server = server();
        let mut client = connect(&server);
        client.write_all(b"GET /x HTTP/1.0\r\nHost: y\r\n").unwrap();
        assert_eq!(next_within(&mut server, Duration::from_millis(20)), None);
        client.write_all(b"\r\n").unwrap();
        assert!(next(&mut server).payload.ends_with(b"y\r\n\r\n"));
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "and nothing is answered");

        let mut client = connect(&server);
        client.write_all(&[b'x'; 2 * LONGEST]).unwrap();
        assert_eq!(next(&mut server).payload.len(), LONGEST);

        let v6 = TcpStream::connect(("::1", server.port()));
        if let Ok(mut client) = v6 {
            client.write_all(b"text").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(next(&mut server).origin.src, client.local_addr().unwrap().ip());
        }
    }

    #[test]
    fn who_says_nothing_more_is_let_go_in_time() {
        let mut server = server();
        let (mut silent, mut slow) = (connect(&server), connect(&server));
        slow.write_all(b"text").unwrap();
        let begun = Instant::now();
        assert_eq!(next(&mut server).payload, b"text");
        assert!(begun.elapsed() + Duration::from_millis(500) > PATIENCE && begun.elapsed() < 3 * PATIENCE);
        assert!(server.visitors.is_empty());
        for client in [&mut silent, &mut slow] {
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        }
    }

    #[test]
    fn those_who_have_been_there_longest_make_room() {
        let mut server = server();
        let crowd: Vec<TcpStream> = (0..2 * MOST)
            .map(|_| {
                let client = connect(&server);
                assert_eq!(server.next().unwrap(), Received::Nothing);
                client
            })
            .collect();
        assert!(server.visitors.len() <= MOST);
        let mut client = connect(&server);
        client.write_all(b"text").unwrap();
        drop(client);
        assert_eq!(next(&mut server).payload, b"text");
        drop(crowd);
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let server = server();
        let Err(error) = TcpSource::bind(server.port()) else { panic!("the port is free") };
        assert_eq!(error.to_string(), format!("cannot listen on TCP port {}", server.port()));
    }

    #[test]
    fn without_descriptors_it_waits_and_listens_again() {
        let mut server = server();
        server.listens = false;
        epoll::delete(&server.poll, &server.listener).unwrap();
        let mut client = connect(&server);
        client.write_all(b"text").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(server.next().unwrap(), Received::Nothing);
        server.set_alarm().unwrap();
        assert_eq!(next(&mut server).payload, b"text");
    }
}
