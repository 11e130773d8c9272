//! Where datagrams come from: a device, a savefile, a socket.

pub mod frame;
pub mod pcap;
pub mod udp;

use std::os::fd::BorrowedFd;

use crate::spa::Datagram;

/// One source of datagrams. The daemon's loop polls its descriptor and then drains it.
pub trait Source {
    /// What to poll for reading. `None`: always ready (a savefile).
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// The next datagram that could be an SPA packet; never blocks.
    fn next(&mut self) -> Result<Received, Error>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Datagram(Datagram),
    /// A frame was there, but it carries nothing for us. Counted by `--packet-limit`.
    Skipped,
    /// Nothing more for now: poll again.
    Nothing,
    /// There will never be more: the end of a savefile.
    End,
}

/// What capturing can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot capture on {device}: {said}")]
    Device { device: String, said: String },
}
