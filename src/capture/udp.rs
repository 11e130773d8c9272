//! The UDP server: knocks through an ordinary socket (`spec/server.md` 6.2). The kernel reassembles fragments, and no
//! capture privilege is needed; but the port is visibly open, and the destination address is not known.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::{Error, Received, Source};
use crate::net::{Origin, Proto};
use crate::spa::Datagram;

/// A UDP socket on every address of the machine, IPv4 and IPv6.
pub struct UdpSource {
    socket: UdpSocket,
    port: u16,
}

impl UdpSource {
    /// Listens on `port`; 0 takes any free one.
    pub fn bind(port: u16) -> Result<Self, Error> {
        let failed = |source| Error::Bind { port, source };
        let socket = match dual_stack(port) {
            // A kernel without IPv6.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => ipv4(port),
            other => other,
        }
        .map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        Ok(Self { socket, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Source for UdpSource {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn next(&mut self) -> Result<Received, Error> {
        let mut buffer = [0; BUFFER];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((0, _)) => return Ok(Received::Skipped),
                Ok((length, peer)) => return Ok(Received::Datagram(self.datagram(&buffer[..length], peer))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(source) => return Err(Error::Receive { port: self.port, source }),
            }
        }
    }
}

impl UdpSource {
    /// An IPv4 peer of a dual-stack socket shows up as a mapped IPv6 address.
    fn datagram(&self, payload: &[u8], peer: SocketAddr) -> Datagram {
        let origin = Origin {
            src: peer.ip().to_canonical(),
            dst: None,
            proto: Proto::Udp.number(),
            src_port: peer.port(),
            dst_port: self.port,
        };
        Datagram { payload: payload.to_vec(), origin }
    }
}

fn dual_stack(port: u16) -> io::Result<UdpSocket> {
    let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, FLAGS, None)?;
    // The system's default can be either (net.ipv6.bindv6only).
    sockopt::set_ipv6_v6only(&socket, false)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    Ok(socket.into())
}

fn ipv4(port: u16) -> io::Result<UdpSocket> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, FLAGS, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    Ok(socket.into())
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// One byte more than the longest SPA payload (`spec/server.md` 6.1): a longer datagram is cut, but stays recognisably
/// too long.
const BUFFER: usize = 1501;
