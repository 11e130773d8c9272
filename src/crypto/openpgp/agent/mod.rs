//! Secret keys that stay with gpg-agent: on its disk, or on a card. We send it what is to be signed or decrypted, over
//! its socket, and see neither key nor, unless it is we who give it, passphrase.
//!
//! No process is started while an agent runs. An [`AgentKey`] is for Sequoia what a key in memory is; it keeps one
//! connection, and makes a new one when the agent was restarted.

mod assuan;
mod error;
mod key;
mod outage;
mod session;
mod sexp;
mod socket;
mod stored;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{Error, Refusal};
pub use key::AgentKey;
pub use outage::Outage;
pub use session::{Session, Terminal};
pub use stored::{Protection, Stored};

use crate::secret::Passphrase;

/// The agent of one GnuPG home, and how we deal with it.
#[derive(Clone, Debug)]
pub struct Agent {
    home: PathBuf,
    unlock: Unlock,
    patience: Patience,
    may_start: bool,
}

/// Where the passphrase of a protected key comes from, if the agent does not know it already.
#[derive(Clone, Debug)]
pub enum Unlock {
    /// The agent asks its user, on this terminal or its screen.
    Ask(Terminal),
    /// We give it when the agent wants it. It may be empty.
    Given(Passphrase),
    /// Nobody is asked. Keys without passphrase work, and those the agent has unlocked.
    Never,
}

/// How long the agent may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To answer by itself.
    pub machine: Duration,
    /// To ask somebody, or for a card to do its work.
    pub person: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { machine: Duration::from_secs(10), person: Duration::from_secs(300) }
    }
}

impl Agent {
    /// Started if it is not running.
    pub fn new(home: &Path, unlock: Unlock) -> Self {
        // A relative path means something else to whoever runs elsewhere.
        let home = std::path::absolute(home).unwrap_or_else(|_| home.into());
        Self { home, unlock, patience: Patience::default(), may_start: true }
    }

    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// An agent that does not run is an error, and no process is started.
    pub fn never_started(self) -> Self {
        Self { may_start: false, ..self }
    }

    /// The secret keys it has.
    pub fn stored(&self) -> Result<Vec<Stored>, Error> {
        Session::open(self)?.stored()
    }

    /// Whether a card is in a reader: the one with this serial number, if that is known. No PIN is needed for that.
    pub fn find_card(&self, serial: Option<&str>) -> Result<(), Error> {
        Session::open(self)?.find_card(serial)
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Whether it is we who know the passphrase.
    pub fn gives_passphrase(&self) -> bool {
        matches!(self.unlock, Unlock::Given(_))
    }

    /// The time for a secret-key operation.
    fn operation(&self) -> Duration {
        match self.unlock {
            Unlock::Ask(_) => self.patience.person,
            Unlock::Given(_) | Unlock::Never => self.patience.machine,
        }
    }
}
