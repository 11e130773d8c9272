//! A payload as captured, with what its headers said.

use crate::net::Origin;

/// One captured payload. Nothing in it has been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub payload: Vec<u8>,
    pub origin: Origin,
}
