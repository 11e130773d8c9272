//! firewalld, over the system's bus: what `firewall-cmd --direct --passthrough` would do, which starts an interpreter for
//! each command and takes forty times as long.
//!
//! A connection lasts as long as the steps that are done one after the other: none is ever found stale.

mod message;

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::backend::Pass;
use super::error::Error;
use message::{Call, HEAD, Reply};

/// A connection to the bus on which firewalld is, if it runs.
pub struct Firewalld {
    bus: UnixStream,
    /// Of the last call.
    serial: u32,
    patience: Duration,
}

impl Firewalld {
    pub fn connect(patience: Duration) -> Result<Self, Error> {
        let place = place()?;
        let unreachable = |source| Error::NoBus { place: place.display().to_string(), source };
        let bus = UnixStream::connect(&place).map_err(unreachable)?;
        let mut firewalld = Self { bus, serial: 0, patience };
        firewalld.introduce().map_err(unreachable)?;
        Ok(firewalld)
    }

    /// Lets firewalld run iptables with these words; what it printed.
    pub fn pass(&mut self, pass: &Pass) -> Result<String, Error> {
        let step = || pass.to_string();
        let call = Call {
            destination: "org.fedoraproject.FirewallD1",
            path: "/org/fedoraproject/FirewallD1",
            interface: "org.fedoraproject.FirewallD1.direct",
            member: "passthrough",
            words: Some((pass.protocol, &pass.args)),
        };
        match self.call(&call) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err((name, said))) => Err(refusal(&name, said, step())),
            Err(late) if matches!(late.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                Err(Error::Stuck { program: "firewalld", step: step(), seconds: self.patience.as_secs() })
            }
            Err(source) => Err(Error::Hung { step: step(), source }),
        }
    }

    /// Who we are the kernel tells the bus; it wants to hear it from us as well.
    fn introduce(&mut self) -> io::Result<()> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        let end = Instant::now() + self.patience;
        self.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), end)?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < LONGEST_LINE {
            let [byte] = self.receive(end)?;
            line.push(byte);
        }
        if !line.starts_with(b"OK ") {
            let said = String::from_utf8_lossy(&line).trim_end().to_owned();
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("it said '{said}'")));
        }
        self.send(b"BEGIN\r\n", end)?;
        let hello = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            words: None,
        };
        self.call(&hello)?.map(drop).map_err(|(_, said)| io::Error::new(io::ErrorKind::PermissionDenied, said))
    }

    /// The answer of whom was called, or the name of an error and its text.
    fn call(&mut self, call: &Call<'_>) -> io::Result<Result<String, (String, String)>> {
        self.serial += 1;
        let end = Instant::now() + self.patience;
        self.send(&call.encode(self.serial), end)?;
        loop {
            let head: [u8; HEAD] = self.receive(end)?;
            let rest = message::rest(&head).filter(|rest| *rest <= LARGEST).ok_or(io::ErrorKind::InvalidData)?;
            let mut message = head.to_vec();
            message.resize(HEAD + rest, 0);
            self.fill(&mut message[HEAD..], end)?;
            let reply = message::reply(&message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if let Some(Reply { to, said }) = reply
                && to == self.serial
            {
                return Ok(said);
            }
        }
    }

    fn send(&mut self, bytes: &[u8], end: Instant) -> io::Result<()> {
        self.bus.set_write_timeout(Some(left(end)?))?;
        self.bus.write_all(bytes)
    }

    fn receive<const COUNT: usize>(&mut self, end: Instant) -> io::Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        self.fill(&mut bytes, end)?;
        Ok(bytes)
    }

    fn fill(&mut self, mut bytes: &mut [u8], end: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.bus.set_read_timeout(Some(left(end)?))?;
            match self.bus.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => bytes = &mut bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Where other programs look for it as well.
fn place() -> Result<PathBuf, Error> {
    let Some(address) = env::var_os("DBUS_SYSTEM_BUS_ADDRESS") else { return Ok(PathBuf::from(SYSTEM_BUS)) };
    let address = address.to_string_lossy().into_owned();
    let path = address.split(';').find_map(|one| one.strip_prefix("unix:path=")?.split(',').next());
    path.map(PathBuf::from).ok_or(Error::BusAddress { address })
}

fn refusal(name: &str, said: String, step: String) -> Error {
    match name.strip_prefix("org.freedesktop.DBus.Error.").unwrap_or_default() {
        "ServiceUnknown" | "NameHasNoOwner" => Error::NotRunning,
        "UnknownMethod" | "UnknownInterface" | "UnknownObject" => Error::NoDirect,
        _ => Error::Refused { program: "firewalld", step, said: super::runner::shorten(&said) },
    }
}

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// A listing of 100,000 rules.
const LARGEST: usize = 16 << 20;
const LONGEST_LINE: usize = 512;
