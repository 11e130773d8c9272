//! The UDP server: knocks through an ordinary socket (`spec/server.md` 6.2). The kernel reassembles fragments, and no
//! capture privilege is needed; but the port is visibly open, and the destination address is not known.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::SocketType;

use super::{Error, Received, Source, socket};
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
        let failed = |source| Error::Bind { proto: Proto::Udp, port, source };
        let socket = UdpSocket::from(socket::bound(SocketType::DGRAM, port).map_err(failed)?);
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
                Err(source) => return Err(Error::Receive { proto: Proto::Udp, port: self.port, source }),
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

/// One byte more than the longest SPA payload (`spec/server.md` 6.1): a longer datagram is cut, but stays recognisably
/// too long.
const BUFFER: usize = 1501;
