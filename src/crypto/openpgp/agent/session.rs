//! A conversation with gpg-agent.

use std::io;

use zeroize::Zeroizing;

use super::assuan::{Answer, Connection};
use super::error::{Error, Refusal};
use super::stored::{Stored, stored_keys};
use super::{Agent, Unlock, socket};

/// One connection, with everything said that holds for all of it.
pub struct Session {
    connection: Connection,
    agent: Agent,
}

impl Session {
    pub fn open(agent: &Agent) -> Result<Self, Error> {
        let mut session = Self { connection: connect(agent)?, agent: agent.clone() };
        session.set_up()?;
        Ok(session)
    }

    /// The secret keys the agent knows, and where each is.
    pub fn stored(&mut self) -> Result<Vec<Stored>, Error> {
        stored_keys(self)
    }

    pub(super) fn find_card(&mut self, serial: Option<&str>) -> Result<(), Error> {
        let demand = serial.map(|serial| format!(" --demand={serial}")).unwrap_or_default();
        self.ask(&format!("SCD SERIALNO{demand}")).map(drop).map_err(Error::about_card)
    }

    fn set_up(&mut self) -> Result<(), Error> {
        match &self.agent.unlock {
            Unlock::Ask(terminal) => {
                for option in terminal.options.clone() {
                    // What an agent does not know it can do without.
                    match self.ask(&format!("OPTION {option}")) {
                        Ok(_) | Err(Error::Refused(_)) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
            Unlock::Given(_) => self.ask("OPTION pinentry-mode=loopback").map(drop).map_err(|error| match error {
                Error::Refused(_) => Error::Refused(Refusal::NoLoopback),
                error => error,
            }),
            Unlock::Never => self.ask("OPTION pinentry-mode=error").map(drop),
        }
    }

    /// A command that the agent answers by itself.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer, Error> {
        self.connection.ask(command, self.agent.patience.machine, &mut |_| None)
    }

    /// A command for which it may have to ask for a passphrase, or for `ciphertext`.
    pub(super) fn operate(&mut self, command: &str, ciphertext: Option<&[u8]>) -> Result<Answer, Error> {
        let unlock = &self.agent.unlock;
        self.connection.ask(command, self.agent.operation(), &mut |wanted| match (wanted, unlock) {
            ("CIPHERTEXT", _) => ciphertext.map(|text| Zeroizing::new(text.to_vec())),
            ("PASSPHRASE", Unlock::Given(passphrase)) => Some(Zeroizing::new(passphrase.expose().as_bytes().to_vec())),
            // "I am asking somebody": only to be confirmed.
            ("PINENTRY_LAUNCHED", _) => Some(Zeroizing::new(Vec::new())),
            _ => None,
        })
    }
}

fn connect(agent: &Agent) -> Result<Connection, Error> {
    let mut missing = io::Error::from(io::ErrorKind::NotFound);
    for place in socket::places(&agent.home) {
        match Connection::open(&place, agent.patience.machine) {
            // Not there, or left behind by an agent that is gone.
            Err(Error::Gone(error)) => missing = error,
            other => return other,
        }
    }
    let home = agent.home.clone();
    if !agent.may_start {
        return Err(Error::NotRunning { home, source: missing });
    }
    let place = socket::start(&agent.home).map_err(|problem| Error::NotStarted { home: home.clone(), problem })?;
    Connection::open(&place, agent.patience.machine).map_err(|error| match error {
        Error::Gone(source) => Error::NotRunning { home, source },
        error => error,
    })
}

/// What a pinentry must know to appear before whoever runs us.
#[derive(Clone, Debug, Default)]
pub struct Terminal {
    /// As in `OPTION name=value`.
    options: Vec<String>,
}

impl Terminal {
    /// From the environment, as gpg does it. `tty` is the terminal of standard input, for where `GPG_TTY` is not set.
    pub fn from_environment(tty: Option<String>) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut options = Vec::new();
        let mut add = |option: &str, value: Option<String>| {
            options.extend(value.filter(|value| is_plain(value)).map(|value| format!("{option}={value}")));
        };
        add("ttyname", set("GPG_TTY").or(tty));
        add("ttytype", set("TERM"));
        add("display", set("DISPLAY"));
        add("xauthority", set("XAUTHORITY"));
        add("pinentry-user-data", set("PINENTRY_USER_DATA"));
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        add("lc-ctype", locale.clone());
        add("lc-messages", ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set));
        for name in ["WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "DBUS_SESSION_BUS_ADDRESS", "INSIDE_EMACS"] {
            add(&format!("putenv={name}"), set(name));
        }
        Self { options }
    }
}

/// Fits one line of the protocol.
fn is_plain(value: &str) -> bool {
    value.len() < 900 && !value.chars().any(char::is_control)
}
