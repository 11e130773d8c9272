//! gpg-agent: signs and decrypts with keys that never leave it, on disk or on a card. A small synchronous client of its
//! socket, because GPGME would start a gpg for each operation (ten times the cost).
//!
//! Sequoia does all the rest of a message: an [`AgentKey`] is a signer and a decryptor to it. Which of the agent's keys is
//! which is found by asking it for its public keys, not by computing keygrips.

mod assuan;
mod key;
mod sexp;
mod socket;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

pub use key::AgentKey;
pub use socket::AgentHome;

use crate::secret::Passphrase;
use assuan::{Answer, Connection, Inquiry};
use sexp::Sexp;

/// An agent, connected when it is first needed and again when it was gone. Clones share the connection.
#[derive(Clone)]
pub struct Agent(Arc<Shared>);

struct Shared {
    home: AgentHome,
    asking: Asking,
    patience: Option<Duration>,
    connection: Mutex<Option<Connection<UnixStream>>>,
}

/// Where the agent gets a passphrase that it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It asks the user, with a pinentry on this terminal or display.
    User,
    /// It asks nobody: what it does not know is an error.
    Nobody,
    /// From us.
    Given(Passphrase),
}

/// A secret key that the agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    keygrip: String,
    pub place: HeldOn,
    /// It has a passphrase. Not known for cards, which have a PIN.
    pub protected: bool,
    /// The agent knows the passphrase at present.
    pub cached: bool,
    /// What tells it from all others: the modulus or the public point.
    public: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldOn {
    Disk,
    Card,
}

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("gpg-agent cannot be reached at {}", socket.display())]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("gpg-agent cannot be started\n     install the package gpg-agent")]
    NotStarted(#[source] io::Error),
    #[error("gpg-agent did not answer in time")]
    TimedOut,
    #[error("the connection to gpg-agent broke")]
    Broken(#[source] io::Error),
    #[error("gpg-agent's answer makes no sense: {0}")]
    Protocol(&'static str),
    #[error("gpg-agent refused: {said}")]
    Refused { code: gpgme::Error, said: String },
    #[error("gpg-agent does not do this with keys of this kind")]
    Unsupported,
}

impl AgentError {
    fn of_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AgentError::TimedOut,
            _ => AgentError::Broken(error),
        }
    }

    /// Worth a second try with a new connection.
    fn is_broken(&self) -> bool {
        matches!(self, AgentError::Broken(_))
    }
}

impl Agent {
    /// Nothing is done yet. `patience` bounds each wait for an answer; `None`: a user may take his time.
    pub fn new(home: AgentHome, asking: Asking, patience: Option<Duration>) -> Self {
        Self(Arc::new(Shared { home, asking, patience, connection: Mutex::new(None) }))
    }

    /// All secret keys it has.
    pub fn held(&self) -> Result<Vec<Held>, AgentError> {
        let listed = self.with(|connection| connection.ask("KEYINFO --list"))?;
        let mut held = Vec::new();
        for line in &listed.status {
            let Some(known) = Held::read(line) else { continue };
            // A key file that cannot be read is as if it were not there.
            match self.with(|connection| connection.ask(&format!("READKEY {}", known.keygrip))) {
                Ok(answer) => held.extend(Sexp::read(&answer.data).and_then(|key| known.identified_by(&key))),
                Err(AgentError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(held)
    }

    /// One conversation: `RESET`, then these commands. The last one's answer.
    fn run(&self, commands: &[String], inquiry: &mut Inquiry<'_>) -> Result<Answer, AgentError> {
        let passphrase = match &self.0.asking {
            Asking::Given(passphrase) => Some(passphrase.clone()),
            Asking::User | Asking::Nobody => None,
        };
        let mut reply = |keyword: &str| match keyword {
            "PASSPHRASE" => passphrase.as_ref().map(|known| Zeroizing::new(known.expose().as_bytes().to_vec())),
            "PINENTRY_LAUNCHED" => Some(Zeroizing::default()),
            other => inquiry(other),
        };
        self.with(|connection| {
            let mut answer = connection.ask("RESET")?;
            for command in commands {
                answer = connection.ask_with(command, &mut reply)?;
            }
            Ok(answer)
        })
    }

    /// A connection that broke since it was last used is made anew, once.
    fn with<T>(
        &self,
        mut action: impl FnMut(&mut Connection<UnixStream>) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let mut kept = self.lock();
        if let Some(mut connection) = kept.take() {
            match action(&mut connection) {
                Err(error) if error.is_broken() => {}
                done => return self.keep(&mut kept, connection, done),
            }
        }
        let mut connection = self.connect()?;
        let done = action(&mut connection);
        self.keep(&mut kept, connection, done)
    }

    /// After a time-out the answer may still come, as if it were one to the next question.
    fn keep<T>(
        &self,
        kept: &mut Option<Connection<UnixStream>>,
        connection: Connection<UnixStream>,
        done: Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        if matches!(done, Ok(_) | Err(AgentError::Refused { .. })) {
            *kept = Some(connection);
        }
        done
    }

    fn connect(&self) -> Result<Connection<UnixStream>, AgentError> {
        let stream = self.0.home.connect()?;
        let patience = self.0.patience;
        stream
            .set_read_timeout(patience)
            .and_then(|()| stream.set_write_timeout(patience))
            .map_err(AgentError::of_io)?;
        let mut connection = Connection::open(stream)?;
        match &self.0.asking {
            Asking::User => {
                for option in socket::terminal_options() {
                    // An agent that does not know one of them asks as best it can.
                    match connection.ask(&option) {
                        Err(AgentError::Refused { .. }) => {}
                        other => other.map(|_| ())?,
                    }
                }
            }
            Asking::Nobody => connection.ask("OPTION pinentry-mode=cancel").map(|_| ())?,
            Asking::Given(_) => connection.ask("OPTION pinentry-mode=loopback").map(|_| ())?,
        }
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection<UnixStream>>> {
        self.0.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// `KEYINFO <keygrip> <type> <serial> <id> <cached> <protection> …`
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let ["KEYINFO", keygrip, kind, _, _, cached, protection, ..] = words[..] else { return None };
        let is_grip = keygrip.len() == 40 && keygrip.bytes().all(|byte| byte.is_ascii_hexdigit());
        let place = match kind {
            "D" => HeldOn::Disk,
            "T" => HeldOn::Card,
            _ => return None,
        };
        is_grip.then(|| Self {
            keygrip: keygrip.to_owned(),
            place,
            protected: protection != "C" && place == HeldOn::Disk,
            cached: cached == "1",
            public: Vec::new(),
        })
    }

    fn identified_by(self, key: &Sexp<'_>) -> Option<Self> {
        let public = ["q", "n", "y"].into_iter().find_map(|name| key.value(name))?;
        Some(Self { public: without_zeros(public).to_vec(), ..self })
    }
}

/// Whether zeros stand in front of a number depends on who writes it.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|octet| **octet == 0).count();
    &number[zeros..]
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({:?})", self.0.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_agent_lists_is_read() {
        let grip = "C7CCC2B718872E0BB1B7D474C7EDFC5A5649DE6A";
        let read = |rest: &str| Held::read(&format!("KEYINFO {grip} {rest}"));
        let open = read("D - - - C - - -").unwrap();
        assert_eq!((open.place, open.protected, open.cached), (HeldOn::Disk, false, false));
        let cached = read("D - - 1 P - - -").unwrap();
        assert_eq!((cached.protected, cached.cached), (true, true));
        let card = read("T D276000124 OPENPGP.1 - - - - -").unwrap();
        assert_eq!((card.place, card.protected), (HeldOn::Card, false));
        assert_eq!(read("X - - - - - - -"), None);
        assert_eq!(Held::read("KEYINFO C7CC D - - - C"), None);
        assert_eq!(Held::read("PROGRESS x"), None);
    }
}
