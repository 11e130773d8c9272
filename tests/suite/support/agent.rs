//! One helper process per namespace: it holds the namespace, listens, connects, sends and captures there.
//!
//! It is the test program itself, started again inside the namespace, so nothing else needs to be installed. It takes one
//! request per line on its standard input and ends with it: when the test dies, its namespaces vanish.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The test's end of the helper.
pub struct Agent {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    /// `enter` is the command that makes or enters a namespace and then runs what follows it.
    pub fn start(mut enter: Command) -> Self {
        let program = std::env::current_exe().expect("no path to the test program");
        let mut child = enter
            .arg(program)
            .args(["support::agent::serve_when_asked", "--exact", "--nocapture", "--test-threads=2"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", enter.get_program()));
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut agent = Self { child, requests, answers };
        agent.ask("hello").unwrap_or_else(|why| {
            panic!("cannot make a network namespace ({why}). Run as root, or allow unprivileged user namespaces.")
        });
        agent
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One request, one answer. `Err` when the helper could not do it, or is gone.
    pub fn ask(&mut self, request: &str) -> Result<String, String> {
        let requests = self.requests.as_mut().ok_or("the helper is gone")?;
        writeln!(requests, "{request}").and_then(|()| requests.flush()).map_err(|error| error.to_string())?;
        loop {
            let mut line = String::new();
            match self.answers.read_line(&mut line) {
                Ok(0) => return Err("the helper ended".into()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
            // The test harness of the helper writes lines of its own.
            if let Some(answer) = line.strip_prefix(GOOD) {
                return Ok(answer.trim().to_owned());
            }
            if let Some(answer) = line.strip_prefix(BAD) {
                return Err(answer.trim().to_owned());
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

/// The helper itself: does nothing unless it was started by [`Agent::start`].
#[test]
fn serve_when_asked() {
    serve_if_asked();
}

/// For programs without the test harness, first thing in their `main`. `true`: this was the helper, and it is done.
pub fn serve_if_asked() -> bool {
    let asked = std::env::var_os(ROLE).is_some();
    if asked {
        serve();
    }
    asked
}

fn serve() {
    let mut helper = Helper::default();
    for request in std::io::stdin().lock().lines() {
        let Ok(request) = request else { return };
        let answer = match helper.answer(&request) {
            Ok(answer) => format!("\n{GOOD}{answer}\n"),
            Err(why) => format!("\n{BAD}{}\n", why.to_string().replace('\n', " ")),
        };
        let mut out = std::io::stdout().lock();
        if out.write_all(answer.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// What a request can fail with; only ever printed.
type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Helper {
    captured: Arc<Mutex<Vec<String>>>,
    floods: Vec<std::thread::JoinHandle<Result<u64, String>>>,
    calm: Arc<AtomicBool>,
    held: Option<TcpStream>,
    /// Connections over which nothing is said.
    crowd: Vec<TcpStream>,
    asked: Option<UdpSocket>,
}

impl Helper {
    fn answer(&mut self, request: &str) -> Result<String, Failure> {
        let words: Vec<&str> = request.split(' ').collect();
        match words[..] {
            ["hello"] => Ok(String::new()),
            ["listen", port] => listen(port.parse()?),
            ["proxy", from, port, kind] => proxy(from.parse()?, port.parse()?, kind == "strict"),
            ["listen-udp", port] => listen_udp(port.parse()?),
            ["ask-udp", from, to, port, millis] => {
                let socket = UdpSocket::bind((from.parse::<IpAddr>()?, 0))?;
                socket.connect((to.parse::<IpAddr>()?, port.parse()?))?;
                self.ask_udp(socket, Duration::from_millis(millis.parse()?))
            }
            ["ask-udp-again", millis] => {
                let socket = self.asked.take().ok_or("nobody has answered")?;
                self.ask_udp(socket, Duration::from_millis(millis.parse()?))
            }
            ["scan", from, to, millis, ref ports @ ..] => {
                let ports = ports.iter().map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
                let open = scan(from.parse()?, to.parse()?, &ports, Duration::from_millis(millis.parse()?))?;
                Ok(open.iter().map(u16::to_string).collect::<Vec<_>>().join(" "))
            }
            ["greeting", from, to, port, millis] => {
                let to = SocketAddr::new(to.parse()?, port.parse()?);
                let (_, text) = greeted(from.parse()?, to, Duration::from_millis(millis.parse()?))?;
                Ok(text)
            }
            ["hold", from, to, port, millis] => {
                let to = SocketAddr::new(to.parse()?, port.parse()?);
                let (connection, text) = greeted(from.parse()?, to, Duration::from_millis(millis.parse()?))?;
                self.held = Some(connection);
                Ok(text)
            }
            ["held", millis] => {
                let held = self.held.as_ref().ok_or("nothing is held")?;
                echoes(held, Duration::from_millis(millis.parse()?)).map(|echoes| echoes.to_string())
            }
            ["send", from, to, hex] => send(from.parse()?, to.parse()?, &from_hex(hex)?),
            ["pieces", to, millis, ref pieces @ ..] => {
                let mut connection = TcpStream::connect(to.parse::<SocketAddr>()?)?;
                for piece in pieces {
                    connection.write_all(&from_hex(piece)?)?;
                    std::thread::sleep(Duration::from_millis(millis.parse()?));
                }
                Ok(String::new())
            }
            ["crowd", to, count] => {
                let to: SocketAddr = to.parse()?;
                self.crowd = (0..count.parse()?).map(|_| TcpStream::connect(to)).collect::<Result<_, _>>()?;
                Ok(String::new())
            }
            ["burst", from, to, texts] => {
                let socket = UdpSocket::bind((from.parse::<IpAddr>()?, 0))?;
                for text in std::fs::read_to_string(texts)?.lines() {
                    socket.send_to(text.as_bytes(), to)?;
                }
                Ok(String::new())
            }
            ["knock", from, to, port, millis, hex] => {
                let (from, to): (IpAddr, SocketAddr) = (from.parse()?, to.parse()?);
                let service = SocketAddr::new(to.ip(), port.parse()?);
                let limit = Duration::from_millis(millis.parse()?);
                Ok(knock(from, to, service, limit, &from_hex(hex)?)?.as_micros().to_string())
            }
            ["flood", first, sources, rate, to, texts] => {
                let flood = Flood {
                    first: first.parse()?,
                    sources: sources.parse()?,
                    rate: rate.parse()?,
                    to: to.parse()?,
                    texts: std::fs::read_to_string(texts)?.lines().map(str::to_owned).collect(),
                    calm: Arc::clone(&self.calm),
                };
                self.floods.push(std::thread::spawn(|| flood.run()));
                Ok(String::new())
            }
            ["calm"] => {
                self.calm.store(true, Ordering::Relaxed);
                let ended =
                    self.floods.drain(..).map(|flood| flood.join().unwrap_or_else(|_| Err("it panicked".into())));
                let sent = ended.collect::<Result<Vec<u64>, String>>()?;
                self.calm.store(false, Ordering::Relaxed);
                Ok(sent.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
            }
            ["capture", device, port] => self.capture(device, port),
            ["captured"] => Ok(self.captured.lock().map_err(|_| "capture failed")?.join(" ")),
            _ => Err(format!("not a request: {request}").into()),
        }
    }

    /// What the service answers, within `limit`. The socket is kept, so that it can be asked again.
    fn ask_udp(&mut self, socket: UdpSocket, limit: Duration) -> Result<String, Failure> {
        socket.set_read_timeout(Some(limit))?;
        socket.send(b"?")?;
        let mut answer = [0; 64];
        let length = socket.recv(&mut answer)?;
        self.asked = Some(socket);
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// Keeps the UDP payloads that reach `device` for `port`.
    fn capture(&mut self, device: &str, port: &str) -> Result<String, Failure> {
        let mut capture = pcap::Capture::from_device(device)?.immediate_mode(true).snaplen(65535).open()?;
        capture.filter(&format!("udp dst port {port}"), true)?;
        let captured = Arc::clone(&self.captured);
        std::thread::spawn(move || {
            while let Ok(frame) = capture.next_packet() {
                if let Some(payload) = udp_payload(frame.data) {
                    captured.lock().expect("not poisoned: nothing panics with it").push(to_hex(payload));
                }
            }
        });
        Ok(String::new())
    }
}

/// Packets without end, until there is to be calm.
struct Flood {
    /// The sources are this address and those after it, in turn.
    first: Ipv4Addr,
    sources: u32,
    /// Packets in a second.
    rate: u32,
    to: SocketAddr,
    texts: Vec<String>,
    calm: Arc<AtomicBool>,
}

impl Flood {
    /// How many were sent.
    fn run(self) -> Result<u64, String> {
        const PAUSE: Duration = Duration::from_millis(10);
        let begun = Instant::now();
        let mut sent = 0u64;
        while !self.calm.load(Ordering::Relaxed) {
            let due = begun.elapsed().as_millis() as u64 * u64::from(self.rate) / 1000;
            // After a pause of the machine's the flood goes on as before: nothing is made up for.
            for _ in 0..due.saturating_sub(sent).min(u64::from(self.rate / 20)) {
                let source = Ipv4Addr::from(u32::from(self.first) + (sent % u64::from(self.sources)) as u32);
                send(source.into(), self.to, self.text(sent).as_bytes()).map_err(|error| error.to_string())?;
                sent += 1;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(sent)
    }

    /// When all have been sent they come again, each with some characters exchanged near its end: texts that nobody has
    /// seen, and that must be decrypted to see that they are damaged.
    fn text(&self, number: u64) -> String {
        let round = number / self.texts.len() as u64;
        let mut text = self.texts[(number % self.texts.len() as u64) as usize].clone();
        if round > 0 {
            let at = text.len() - 12;
            text.replace_range(at..at + 8, &format!("{round:08}"));
        }
        text
    }
}

/// A service that greets whom it sees and then echoes, so that a connection is proven by bytes that came back through the
/// firewall.
fn listen(port: u16) -> Result<String, Failure> {
    let listener = TcpListener::bind(("::", port))?;
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let peer = connection.peer_addr().map(|peer| peer.ip().to_canonical().to_string());
            let _ = writeln!(connection, "{GREETING} {}", peer.unwrap_or_default());
            std::thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
    Ok(String::new())
}

/// An HTTP proxy, as small as it can be: it asks the server from this address of ours, with a header of its own more.
/// A strict one, as squid, asks nothing for a client that does not wait for the answer.
fn proxy(from: IpAddr, port: u16, is_strict: bool) -> Result<String, Failure> {
    let listener = TcpListener::bind(("::", port))?;
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // Who asks for what cannot be had gets no answer.
            let _ = pass_on(from, connection, is_strict);
        }
    });
    Ok(String::new())
}

fn pass_on(from: IpAddr, mut asks: TcpStream, is_strict: bool) -> Result<(), Failure> {
    let mut request = String::new();
    let mut lines = BufReader::new(asks.try_clone()?);
    while !request.ends_with("\r\n\r\n") && lines.read_line(&mut request)? > 0 {}
    let (target, headers) =
        request.strip_prefix("GET http://").and_then(|rest| rest.split_once(' ')).ok_or("no request")?;
    let (place, path) = target.split_once('/').ok_or("no path")?;
    let to: SocketAddr = place.parse().or_else(|_| format!("{place}:80").parse())?;
    let headers: String =
        headers.split_inclusive("\r\n").filter(|line| !line.starts_with("Host:") && *line != "\r\n").collect();
    let request = format!("GET /{path} {headers}Host: {place}\r\nVia: 1.0 tiny\r\n\r\n");
    let socket = connecting(from, to)?.ok_or("refused")?;
    let end = Instant::now() + Duration::from_secs(5);
    let waits = !is_strict || !ready(&asks, PollFlags::IN, Instant::now() + Duration::from_millis(100))?;
    if waits && ready(&socket, PollFlags::OUT, end)? {
        let mut server = TcpStream::from(socket);
        server.set_nonblocking(false)?;
        server.write_all(request.as_bytes())?;
        asks.write_all(b"HTTP/1.0 504 Gateway Time-out\r\n\r\n")?;
    }
    Ok(())
}

/// A service that answers each datagram with the address it came from.
fn listen_udp(port: u16) -> Result<String, Failure> {
    let socket = UdpSocket::bind(("::", port))?;
    std::thread::spawn(move || {
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
            let _ = socket.send_to(peer.ip().to_canonical().to_string().as_bytes(), peer);
        }
    });
    Ok(String::new())
}

/// Connects within `limit`, and reads what address of ours the service sees.
fn greeted(from: IpAddr, to: SocketAddr, limit: Duration) -> Result<(TcpStream, String), Failure> {
    let end = Instant::now() + limit;
    let socket = connecting(from, to)?.ok_or("refused")?;
    if !ready(&socket, PollFlags::OUT, end)? {
        return Err("no answer".into());
    }
    sockopt::socket_error(&socket)??;
    let connection = TcpStream::from(socket);
    if !ready(&connection, PollFlags::IN, end)? {
        return Err("no greeting".into());
    }
    connection.set_nonblocking(false)?;
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line)?;
    Ok((connection, line.trim().trim_start_matches(GREETING).trim().to_owned()))
}

/// Whether a byte still goes there and back.
fn echoes(mut connection: &TcpStream, limit: Duration) -> Result<bool, Failure> {
    connection.write_all(b"?")?;
    let answers = ready(connection, PollFlags::IN, Instant::now() + limit)?;
    Ok(answers && connection.read(&mut [0])? == 1)
}

/// Which ports greet within `limit`; all are tried at once.
fn scan(from: IpAddr, to: IpAddr, ports: &[u16], limit: Duration) -> Result<Vec<u16>, Failure> {
    let end = Instant::now() + limit;
    let mut waiting = Vec::new();
    for &port in ports {
        waiting.extend(connecting(from, SocketAddr::new(to, port))?.map(|socket| (port, socket)));
    }
    let mut open = Vec::new();
    for (port, socket) in waiting {
        if ready(&socket, PollFlags::OUT, end)? && sockopt::socket_error(&socket)?.is_ok() {
            let mut byte = [0; GREETING.len()];
            let connection = TcpStream::from(socket);
            if ready(&connection, PollFlags::IN, end)? && (&connection).read(&mut byte)? > 0 {
                open.push(port);
            }
        }
    }
    Ok(open)
}

/// A try does not repeat itself for a second when the firewall drops it: so a new one every half millisecond.
fn knock(
    from: IpAddr,
    to: SocketAddr,
    service: SocketAddr,
    limit: Duration,
    payload: &[u8],
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    send(from, to, payload)?;
    let mut tries = Vec::new();
    while begun.elapsed() < limit {
        tries.push(connecting(from, service)?);
        let mut waiting: Vec<PollFd> =
            tries.iter().flatten().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
        let half_a_millisecond = Duration::from_micros(500).try_into()?;
        if poll(&mut waiting, Some(&half_a_millisecond))? > 0 {
            let first = waiting.iter().position(|fd| !fd.revents().is_empty()).ok_or("nothing is ready")?;
            let connection = TcpStream::from(tries.into_iter().flatten().nth(first).ok_or("no such try")?);
            connection.set_nonblocking(false)?;
            let mut byte = [0; GREETING.len()];
            (&connection).read_exact(&mut byte)?;
            return Ok(begun.elapsed());
        }
    }
    Err("the port stays closed".into())
}

/// A connection on its way; `None` when it was refused at once.
fn connecting(from: IpAddr, to: SocketAddr) -> Result<Option<std::os::fd::OwnedFd>, Failure> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(Some(socket)),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ready(socket: &impl std::os::fd::AsFd, what: PollFlags, end: Instant) -> Result<bool, Failure> {
    let left = end.saturating_duration_since(Instant::now());
    Ok(poll(&mut [PollFd::new(socket, what)], Some(&left.try_into()?))? > 0)
}

fn send(from: IpAddr, to: SocketAddr, payload: &[u8]) -> Result<String, Failure> {
    UdpSocket::bind((from, 0))?.send_to(payload, to)?;
    Ok(String::new())
}

fn udp_payload(frame: &[u8]) -> Option<&[u8]> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    match packet.transport? {
        etherparse::TransportSlice::Udp(udp) => Some(udp.payload()),
        _ => None,
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn from_hex(text: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16)).collect()
}

const ROLE: &str = "FWKNOP_TEST_AGENT";
const GOOD: &str = "@good ";
const BAD: &str = "@bad ";
const GREETING: &str = "hello";
