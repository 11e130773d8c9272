//! A command that is to be run: one that a message carries, or one of a cycle.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::words::{Unsplit, split};
use super::{GrantId, Half, Knock};
use crate::net::PortSet;
use crate::time::{Lifetime, Timestamp};

/// A decision to run a command. Plain data, like a grant, and numbered with them: what belongs to one has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    pub id: GrantId,
    /// The address the message speaks of; for a command message it is nothing but that.
    pub allow: IpAddr,
    pub task: Task,
    pub run_as: RunAs,
    /// When the message was made.
    pub stamped: Timestamp,
    pub knock: Knock,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// As a message carries it: any bytes but NUL.
    Message(Vec<u8>),
    /// One half of a cycle, cut into words.
    Cycle { half: Half, words: Vec<String>, ports: PortSet, lifetime: Lifetime, until: Timestamp },
}

impl Task {
    pub fn words(&self) -> Result<Vec<Vec<u8>>, Unsplit> {
        match self {
            Task::Message(command) => split(command),
            Task::Cycle { words, .. } => Ok(words.iter().map(|word| word.clone().into_bytes()).collect()),
        }
    }

    /// For people.
    pub fn command(&self) -> Cow<'_, str> {
        match self {
            Task::Message(command) => String::from_utf8_lossy(command),
            Task::Cycle { words, .. } => words.join(" ").into(),
        }
    }
}

/// Under whose name, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// `CMD_EXEC_USER`. `None`: the daemon's own user.
    pub user: Option<Account>,
    /// `CMD_EXEC_GROUP`. `None`: the user's own group.
    pub group: Option<Account>,
    /// `ENABLE_CMD_SUDO_EXEC`.
    pub sudo: Option<Sudo>,
    /// Then it is ended.
    pub timeout: Duration,
}

/// A user or group of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    /// Its own number.
    pub id: u32,
    /// For a user the number of its group; for a group the same as `id`.
    pub gid: u32,
}

/// How sudo is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sudo {
    pub program: PathBuf,
    pub user: Option<String>,
    pub group: Option<String>,
}
