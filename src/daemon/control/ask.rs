//! The other end of the control socket: how a command speaks to the running daemon.

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

use super::protocol::{Answer, Open, Request};
use super::socket::NAME;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the daemon cannot be asked through {}\n     see whether it still answers: fwknopd -S", path.display())]
    Unreachable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} belongs to user {uid}, who is not to be believed\n     look at who may write to its directory", path.display())]
    Foreign { path: PathBuf, uid: u32 },
    #[error(
        "the daemon has hung up: it has ended, or there are too many who ask it\n     see whether it runs: fwknopd -S"
    )]
    HungUp,
    #[error("the daemon did not understand: {why}\n     it may be of another version: restart it")]
    Misunderstood { why: String },
}

/// A running daemon.
pub struct Connection {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// `None`: nobody is there.
pub fn connect(run_dir: &Path) -> Result<Option<Connection>, Error> {
    let path = run_dir.join(NAME);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(source) => return Err(Error::Unreachable { path, source }),
    };
    let failed = |source| Error::Unreachable { path: path.clone(), source };
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let uid = socket_peercred(&stream).map_err(|error| failed(error.into()))?.uid.as_raw();
    if uid != 0 && uid != geteuid().as_raw() {
        return Err(Error::Foreign { path, uid });
    }
    Ok(Some(Connection { path, stream: BufReader::new(stream) }))
}

impl Connection {
    pub fn ask(&mut self, request: &Request) -> Result<Answer, Error> {
        match self.exchange(request) {
            Ok(Answer::Misunderstood { why }) => Err(Error::Misunderstood { why }),
            Ok(answer) => Ok(answer),
            Err(source) => Err(Error::Unreachable { path: self.path.clone(), source }),
        }
    }

    /// Everything that is open, in the order of the numbers.
    pub fn grants(&mut self) -> Result<Vec<Open>, Error> {
        let mut all: Vec<Open> = Vec::new();
        loop {
            let after = all.last().map_or(0, |open| open.grant);
            match self.ask(&Request::Grants { after })? {
                Answer::Grants { open, more } => {
                    let go_on = more && open.last().is_some_and(|last| last.grant > after);
                    all.extend(open);
                    if !go_on {
                        return Ok(all);
                    }
                }
                other => return Err(Error::unexpected(&other)),
            }
        }
    }

    /// Waits, as long as it takes, for another state than the one that was seen.
    pub fn watch(&mut self, seen: u64) -> Result<u64, Error> {
        self.be_patient(None)?;
        let answer = self.ask(&Request::Watch { seen });
        self.be_patient(Some(PATIENCE))?;
        match answer {
            Ok(Answer::Changed { state }) => Ok(state),
            Ok(other) => Err(Error::unexpected(&other)),
            Err(Error::Unreachable { .. }) => Err(Error::HungUp),
            Err(error) => Err(error),
        }
    }

    fn be_patient(&mut self, how_long: Option<Duration>) -> Result<(), Error> {
        let set = self.stream.get_ref().set_read_timeout(how_long);
        set.map_err(|source| Error::Unreachable { path: self.path.clone(), source })
    }

    fn exchange(&mut self, request: &Request) -> io::Result<Answer> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = Vec::new();
        (&mut self.stream).take(LONGEST_ANSWER).read_until(b'\n', &mut answer)?;
        if answer.last() != Some(&b'\n') {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it gave no answer"));
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Error {
    pub fn unexpected(answer: &Answer) -> Self {
        Error::Misunderstood { why: format!("it answered {answer:?}") }
    }
}

/// A reload may have many keys to read.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes.
const LONGEST_ANSWER: u64 = 4 << 20;
