//! The daemon's end of the control socket. Only root and the daemon's own user may speak; still nobody who connects can
//! make the daemon wait, grow or wake up for nothing: connections, requests and answers are bounded, a connection has one
//! request at a time, and where there are too many of them the one that has been silent longest gives way.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::protocol::{Answer, LONGEST_REQUEST, Request};

/// In the run directory.
pub const NAME: &str = "control.sock";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there can be no control socket {}: `fwknopd grants` will not work", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is in the way of the control socket: look at it, and remove it", path.display())]
    InTheWay { path: PathBuf },
}

/// The socket and whoever is connected. Removed on drop.
pub struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
    knocked: bool,
    /// It cannot be accepted just now: polling for it would return at once, again and again.
    deaf: bool,
    peers: Vec<Peer>,
    /// Counts what happens, to tell who has been silent longest.
    moment: u64,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    pub uid: u32,
    pub pid: i32,
}

impl Who {
    /// A daemon of `us` listens to its own user, and to root.
    fn may_ask(self, us: u32) -> bool {
        self.uid == 0 || self.uid == us
    }
}

/// A request, and to whom its answer goes.
pub struct Asked {
    pub who: Who,
    pub request: Result<Request, String>,
    peer: usize,
}

impl ControlSocket {
    /// Whoever opens it holds the lock of the daemon: a socket that is there already is one that a killed daemon left.
    pub fn open(run_dir: &Path) -> Result<Self, Error> {
        let path = run_dir.join(NAME);
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() && found.uid() == geteuid().as_raw() => {
                fs::remove_file(&path).map_err(unusable)?;
            }
            Ok(_) => return Err(Error::InTheWay { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unusable(error)),
        }
        // The umask keeps others out from the beginning.
        let listener = UnixListener::bind(&path).map_err(unusable)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        Ok(Self { path, listener, knocked: false, deaf: false, peers: Vec::new(), moment: 0 })
    }

    /// What is to be polled, and for what. The order is that of [`polled`](Self::polled).
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let peers = self.peers.iter().map(|peer| (peer.stream.as_fd(), peer.waits_for()));
        let news = if self.deaf { PollFlags::empty() } else { PollFlags::IN };
        std::iter::once((self.listener.as_fd(), news)).chain(peers)
    }

    /// What polling said.
    pub fn polled(&mut self, flags: impl IntoIterator<Item = PollFlags>) {
        let mut flags = flags.into_iter();
        self.knocked = flags.next().is_some_and(|flags| !flags.is_empty());
        for (peer, flags) in self.peers.iter_mut().zip(flags) {
            peer.ready |= !flags.is_empty();
        }
    }

    /// Whether there is something to do that nothing else will wake us for.
    pub fn is_busy(&self) -> bool {
        self.peers.iter().any(|peer| peer.gone || peer.has_request())
    }

    /// Takes new connections, reads and writes as far as that goes at once, and hands over one request of each.
    pub fn requests(&mut self) -> Vec<Asked> {
        for peer in self.peers.iter_mut().filter(|peer| peer.ready) {
            self.moment += 1;
            (peer.ready, peer.last) = (false, self.moment);
            peer.go_on();
        }
        self.peers.retain(|peer| !peer.gone);
        self.deaf = false;
        if std::mem::take(&mut self.knocked) {
            self.accept();
        }
        let asked = self.peers.iter_mut().enumerate().filter_map(|(at, peer)| {
            let request = peer.request()?;
            Some(Asked { who: peer.who, request, peer: at })
        });
        asked.collect()
    }

    /// No connection comes or goes between [`requests`](Self::requests) and this.
    pub fn answer(&mut self, asked: &Asked, answer: &Answer) {
        if let Some(peer) = self.peers.get_mut(asked.peer) {
            peer.say(answer);
        }
    }

    /// Instead of an answer: it comes with the first change after the state `seen`.
    pub fn hold(&mut self, asked: &Asked, seen: u64) {
        if let Some(peer) = self.peers.get_mut(asked.peer) {
            peer.watches = Some(seen);
        }
    }

    /// Tells those who watch and do not know this state. However many changes there are, and however slowly they are
    /// read, each is told once, and asks for what it wants to know.
    pub fn changed(&mut self, state: u64) {
        for peer in self.peers.iter_mut().filter(|peer| peer.watches.is_some_and(|seen| seen != state)) {
            peer.watches = None;
            peer.say(&Answer::Changed { state });
        }
    }

    fn accept(&mut self) {
        for _ in 0..MOST_PEERS {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.deaf = !self.drop_silent();
                    return;
                }
            };
            if self.peers.len() >= MOST_PEERS {
                self.drop_silent();
            }
            self.moment += 1;
            self.peers.extend(Peer::new(stream, self.moment));
        }
    }

    /// Whether there was one.
    fn drop_silent(&mut self) -> bool {
        let silent = (0..self.peers.len()).min_by_key(|at| self.peers[*at].last);
        silent.map(|at| self.peers.swap_remove(at)).is_some()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

struct Peer {
    stream: UnixStream,
    who: Who,
    /// What has come and is not yet a request: never more than [`LONGEST_REQUEST`].
    heard: Vec<u8>,
    /// What is still to be said.
    answer: Vec<u8>,
    last_answer: bool,
    /// The state of the grants that it knows, while it waits for another.
    watches: Option<u64>,
    ended: bool,
    gone: bool,
    ready: bool,
    last: u64,
}

impl Peer {
    /// `None`: not one of us.
    fn new(stream: UnixStream, moment: u64) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let from = socket_peercred(&stream).ok()?;
        let who = Who { uid: from.uid.as_raw(), pid: from.pid.as_raw_nonzero().get() };
        who.may_ask(geteuid().as_raw()).then(|| Self {
            stream,
            who,
            heard: Vec::new(),
            answer: Vec::new(),
            last_answer: false,
            watches: None,
            ended: false,
            gone: false,
            ready: true,
            last: moment,
        })
    }

    fn waits_for(&self) -> PollFlags {
        if self.answer.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    fn say(&mut self, answer: &Answer) {
        let mut line = serde_json::to_vec(answer).unwrap_or_default(); // plain data is always written
        line.push(b'\n');
        self.answer = line;
        self.last_answer |= matches!(answer, Answer::Misunderstood { .. });
        self.go_on();
    }

    fn go_on(&mut self) {
        let before = self.heard.len();
        let done = if self.answer.is_empty() { self.hear() } else { self.speak() };
        let again = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        self.gone |= done.is_err_and(|error| !again(&error));
        let silent = self.answer.is_empty() && (self.last_answer || (self.ended && self.line_end().is_none()));
        self.gone |= silent;
        // Whoever watches has said all: nothing more of it is kept, and a poll for it may not return at once for ever.
        self.gone |= self.watches.is_some() && (self.ended || self.heard.len() > before);
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut buffer = [0; LONGEST_REQUEST];
        let room = LONGEST_REQUEST - self.heard.len();
        let count = self.stream.read(&mut buffer[..room])?;
        self.ended |= count == 0 && room > 0;
        self.heard.extend_from_slice(&buffer[..count]);
        Ok(())
    }

    fn speak(&mut self) -> io::Result<()> {
        let count = self.stream.write(&self.answer)?;
        self.answer.drain(..count);
        Ok(())
    }

    fn line_end(&self) -> Option<usize> {
        self.heard.iter().position(|byte| *byte == b'\n')
    }

    fn has_request(&self) -> bool {
        self.answer.is_empty() && self.watches.is_none() && self.line_end().is_some()
    }

    /// The next one, once the last has been answered.
    fn request(&mut self) -> Option<Result<Request, String>> {
        if !self.answer.is_empty() || self.gone || self.last_answer || self.watches.is_some() {
            return None;
        }
        let Some(end) = self.line_end() else {
            let too_long = self.heard.len() >= LONGEST_REQUEST;
            return too_long.then(|| Err(format!("a request has at most {LONGEST_REQUEST} bytes")));
        };
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        Some(serde_json::from_slice(&line).map_err(|error| error.to_string()))
    }
}

/// Enough for people, and few enough to be looked at in no time.
const MOST_PEERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::control::protocol::Which;

    fn turn(socket: &mut ControlSocket) -> Vec<Asked> {
        let count = socket.fds().count();
        socket.polled(vec![PollFlags::IN; count]);
        let asked = socket.requests();
        if !asked.is_empty() {
            return asked;
        }
        // What was just accepted is read in the next round.
        socket.polled(vec![PollFlags::IN; socket.fds().count()]);
        socket.requests()
    }

    fn heard(stream: &mut UnixStream) -> String {
        stream.set_nonblocking(true).unwrap();
        let mut text = [0; 4096];
        match stream.read(&mut text) {
            Ok(0) => "(the end)".into(),
            Ok(count) => String::from_utf8_lossy(&text[..count]).into_owned(),
            Err(error) => error.kind().to_string(),
        }
    }

    fn bad() -> Answer {
        Answer::Misunderstood { why: "x".into() }
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_what_is_none_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        drop(UnixListener::bind(&path).unwrap());
        let socket = ControlSocket::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(UnixStream::connect(&path).is_ok());
        drop(socket);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(ControlSocket::open(dir.path()), Err(Error::InTheWay { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = dir.path().join("x".repeat(120));
        fs::create_dir(&long).unwrap();
        assert!(matches!(ControlSocket::open(&long), Err(Error::Unusable { .. })));
    }

    #[test]
    fn root_and_the_daemon_s_own_user_may_ask_and_nobody_else() {
        let may_ask = |uid, us| Who { uid, pid: 1 }.may_ask(us);
        assert!(may_ask(0, 0) && may_ask(0, 1000) && may_ask(1000, 1000));
        // The last is whoever has no number in the daemon's user namespace.
        for uid in [1, 999, 1001, 65534] {
            assert!(!may_ask(uid, 0) && !may_ask(uid, 1000), "{uid}");
        }
    }

    #[test]
    fn requests_come_in_pieces_and_are_answered_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(dir.path()).unwrap();
        let mut peer = UnixStream::connect(dir.path().join(NAME)).unwrap();
        peer.write_all(b"\"rel").unwrap();
        assert!(turn(&mut socket).is_empty() && !socket.is_busy());
        peer.write_all(b"oad\"\n{\"close\":{\"grant\":1}}\n").unwrap();
        let asked = turn(&mut socket);
        assert_eq!((asked.len(), &asked[0].request), (1, &Ok(Request::Reload)));
        assert_eq!(asked[0].who.uid, geteuid().as_raw());
        socket.answer(&asked[0], &Answer::Reloaded { remarks: Vec::new() });
        assert_eq!(heard(&mut peer), "{\"reloaded\":{\"remarks\":[]}}\n");
        assert!(socket.is_busy(), "nothing else would wake the daemon for the second request");
        let asked = socket.requests();
        assert_eq!(asked[0].request, Ok(Request::Close(Which::Grant(1))));
        socket.answer(&asked[0], &bad());
        assert!(turn(&mut socket).is_empty());
        assert!(heard(&mut peer).contains("misunderstood"));
        assert_eq!(heard(&mut peer), "(the end)");
    }

    #[test]
    fn whoever_watches_is_told_once_and_says_nothing_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(dir.path()).unwrap();
        let watch = |socket: &mut ControlSocket, more: &[u8]| {
            let mut peer = UnixStream::connect(dir.path().join(NAME)).unwrap();
            peer.write_all(&[b"{\"watch\":{\"seen\":7}}\n", more].concat()).unwrap();
            let asked = turn(socket);
            assert_eq!(asked[0].request, Ok(Request::Watch { seen: 7 }));
            socket.hold(&asked[0], 7);
            peer
        };
        let mut peer = watch(&mut socket, b"\"reload\"\n");
        assert!(!socket.is_busy(), "the next request waits for its turn");
        socket.changed(7);
        assert_eq!(heard(&mut peer), "operation would block");
        (8..50).for_each(|state| socket.changed(state));
        assert_eq!(heard(&mut peer), "{\"changed\":{\"state\":8}}\n");
        assert!(socket.is_busy());
        assert_eq!(socket.requests()[0].request, Ok(Request::Reload));
        drop(peer);
        turn(&mut socket);
        // One that goes on talking, and one that has hung up.
        let mut talks = watch(&mut socket, b"");
        talks.write_all(b"x").unwrap();
        turn(&mut socket);
        assert_eq!((heard(&mut talks).as_str(), socket.peers.len()), ("(the end)", 0));
        drop(watch(&mut socket, b"\"reload\"\n"));
        turn(&mut socket);
        assert_eq!(socket.peers.len(), 0);
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(dir.path()).unwrap();
        for said in [b"garbage\n".to_vec(), b"\xff\n".to_vec(), vec![b'x'; 100_000]] {
            let mut peer = UnixStream::connect(dir.path().join(NAME)).unwrap();
            peer.set_nonblocking(true).unwrap();
            let _ = peer.write(&said).unwrap();
            let asked = turn(&mut socket);
            assert!(asked[0].request.is_err(), "{}", said.len());
            socket.answer(&asked[0], &bad());
            turn(&mut socket);
            assert_eq!(socket.peers.len(), 0);
        }
        let _silent = UnixStream::connect(dir.path().join(NAME)).unwrap();
        turn(&mut socket);
        assert_eq!(socket.peers.len(), 1);
        drop(_silent);
        turn(&mut socket);
        assert_eq!(socket.peers.len(), 0);
    }

    #[test]
    fn the_silent_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let mut socket = ControlSocket::open(dir.path()).unwrap();
        let connect = || UnixStream::connect(dir.path().join(NAME)).unwrap();
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(connect());
            turn(&mut socket);
        }
        assert_eq!(socket.peers.len(), MOST_PEERS);
        let mut peer = connect();
        peer.write_all(b"\"reload\"\n").unwrap();
        assert_eq!(turn(&mut socket).len(), 1);
        assert_eq!(heard(&mut idle[0]), "(the end)");
    }
}
