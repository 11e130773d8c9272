//! Where datagrams come from: a device, a savefile, a socket, connections.

pub mod filter;
pub mod frame;
pub mod pcap;
mod socket;
pub mod tcp;
pub mod udp;

use std::os::fd::BorrowedFd;

use crate::net::Proto;
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

/// What capturing can fail with. After any of these a source that was running gives nothing more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no interface {device}: `ip link` lists those there are")]
    NoDevice { device: String },
    #[error("capturing on {device} is not permitted: it needs root, or the capability CAP_NET_RAW")]
    NotPermitted { device: String },
    /// Not up when opened, or taken down later. Linux's libpcap 1.10 does not report the latter: such a device falls
    /// silent, and works again when it is up.
    #[error("interface {device} is down: bring it up with `ip link set {device} up`")]
    Down { device: String },
    #[error("interface {device} has disappeared")]
    Vanished { device: String },
    #[error("cannot capture on {device}: {said}")]
    Device { device: String, said: String },
    #[error("cannot read frames of link type {link} from {name}: capture on an Ethernet or IP interface, or on any")]
    LinkType { name: String, link: String },
    #[error("cannot read {path}: {said}")]
    Savefile { path: String, said: String },
    #[error("the capture filter '{filter}' is wrong: {said}")]
    Filter { filter: String, said: String },
    #[error(
        "the capture filter '{filter}' has the word '{word}', which is no word of pcap-filter(7): names of hosts are \
         not looked up, write the address"
    )]
    FilterWord { filter: String, word: String },
    #[error("cannot listen on {} port {port}", upper(proto))]
    Bind { proto: Proto, port: u16, source: std::io::Error },
    #[error("cannot receive on {} port {port}", upper(proto))]
    Receive { proto: Proto, port: u16, source: std::io::Error },
}

fn upper(proto: &Proto) -> String {
    proto.to_string().to_uppercase()
}
