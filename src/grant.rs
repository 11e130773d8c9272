//! What was decided, and what is open because of it.

use std::fmt;
use std::net::IpAddr;

use crate::crypto::Signer;
use crate::net::{Origin, PortSet};
use crate::time::{Lifetime, Timestamp};

/// A decision to let one address reach some services for a while. Plain data: it can cross a process boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub allow: IpAddr,
    pub ports: PortSet,
    pub lifetime: Lifetime,
    pub until: Timestamp,
    pub stanza: StanzaId,
    pub user: String,
    pub signer: Signer,
    pub origin: Origin,
}

/// Counts grants since the daemon was first started, so that a number is not used twice in one journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub u64);

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stanza's place in the access files, counted from 1 as the original's log lines do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StanzaId(pub u32);

impl fmt::Display for StanzaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
