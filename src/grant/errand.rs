//! A command that a message carries and a stanza lets run.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{GrantId, Knock};
use crate::time::Timestamp;

/// A decision to run a command, once. Plain data, like a grant, and numbered with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    pub id: GrantId,
    /// The address the message speaks of; for a command it is nothing but that.
    pub allow: IpAddr,
    /// As it came: any bytes but NUL.
    pub command: Vec<u8>,
    pub run_as: RunAs,
    /// When the message was made.
    pub stamped: Timestamp,
    pub knock: Knock,
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
