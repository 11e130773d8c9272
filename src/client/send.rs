//! Sending: over UDP, TCP or HTTP, IPv4 and IPv6, and in raw packets, IPv4 only. Success means "handed to the kernel", or to a proxy; a server never sends
//! anything back.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};

use super::address::Kinds;
use super::http::{Answer, Http};
use super::options::{Proxy, Transport};
use super::raw::Shape;
use super::room;
use crate::net::Port;

/// Where and how a packet goes.
#[derive(Debug)]
pub struct Route<'a> {
    /// Host name or address.
    pub host: &'a str,
    pub port: u16,
    /// 0: the system chooses. A raw packet has the one that is named here.
    pub source_port: u16,
    pub transport: Transport,
    pub family: FamilyChoice,
    pub user_agent: &'a str,
    pub proxy: Option<&'a Proxy>,
    /// The source address of a raw packet, where it is not ours.
    pub forged: Option<Ipv4Addr>,
}

/// What became of a packet.
#[derive(Debug)]
pub struct Sent {
    pub to: SocketAddr,
    pub bytes: usize,
    /// Of a proxy, or of a web server behind it.
    pub answer: Option<Answer>,
}

/// Which addresses of a name are tried, and which first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyChoice {
    Ipv4Only,
    Ipv4First,
    Ipv6First,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the server '{host}' cannot be found: packet not sent\n     check the name given with -D")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("the proxy '{host}' cannot be found: packet not sent\n     check the name given with -H")]
    ResolveProxy {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "the proxy wants a password ({answer}): packet not sent\n     use a proxy that asks for none, or send without one"
    )]
    ProxyPassword { answer: Answer },
    #[error("the server '{host}' has no IPv4 address: packet not sent\n     leave out --server-resolve-ipv4")]
    NoIpv4 { host: String },
    #[error(
        "raw packets go over IPv4, and the server '{host}' has no IPv4 address: packet not sent\n     send with -P udp, tcp or http"
    )]
    RawNeedsIpv4 { host: String },
    #[error(
        "a raw packet cannot be sent without the right to do so: packet not sent\n     run fwknop as root, give it CAP_NET_RAW, or send with -P udp, tcp or http"
    )]
    NotPermitted(#[source] io::Error),
    #[error(
        "nothing can be sent to {to}: packet not sent\n     check the route and, for tcp and http, whether the server or the proxy listens"
    )]
    Send {
        to: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the source port {port} cannot be used: packet not sent\n     choose another with -S")]
    SourcePort {
        port: u16,
        #[source]
        source: io::Error,
    },
}

impl Route<'_> {
    /// So many characters of a packet arrive in one piece.
    pub fn room(&self) -> usize {
        room::room(self.transport, self.host, self.http().request("").len())
    }

    /// Sends `text`, trying the addresses of the server, or of the proxy, in turn.
    pub fn send(&self, text: &str) -> Result<Sent, SendError> {
        let payload = match self.transport {
            Transport::Udp | Transport::Tcp | Transport::Raw(_) => text.to_owned(),
            Transport::Http => self.http().request(text),
        };
        let mut last = None;
        for to in self.addresses()? {
            match self.send_to(to, payload.as_bytes()) {
                Ok(answer) => return Ok(Sent { to, bytes: payload.len(), answer }),
                Err(error) => last = Some(error),
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
        Err(last.unwrap_or_else(|| self.not_found(none())))
    }

    /// Of which kinds the server's addresses are. Which of them a proxy takes is not known.
    pub fn kinds(&self) -> Result<Kinds, SendError> {
        if self.proxy.is_some() {
            return Ok(Kinds { v4: true, v6: true });
        }
        let addresses = self.addresses()?;
        Ok(Kinds { v4: addresses.iter().any(SocketAddr::is_ipv4), v6: addresses.iter().any(SocketAddr::is_ipv6) })
    }

    fn http(&self) -> Http<'_> {
        Http { host: self.host, user_agent: self.user_agent, proxy: self.proxy }
    }

    /// Where connections go.
    fn peer(&self) -> (&str, u16) {
        match self.proxy {
            Some(proxy) => (&proxy.host, proxy.port.map_or(self.port, Port::get)),
            None => {
                (self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(self.host), self.port)
            }
        }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let found = self.peer().to_socket_addrs().map_err(|source| self.not_found(source))?;
        let is_raw = matches!(self.transport, Transport::Raw(_));
        let found = ordered(found.collect(), if is_raw { FamilyChoice::Ipv4Only } else { self.family });
        match (found.is_empty(), self.family) {
            (true, _) if is_raw => Err(SendError::RawNeedsIpv4 { host: self.peer().0.to_owned() }),
            (true, FamilyChoice::Ipv4Only) => Err(SendError::NoIpv4 { host: self.peer().0.to_owned() }),
            _ => Ok(found),
        }
    }

    fn not_found(&self, source: io::Error) -> SendError {
        let host = self.peer().0.to_owned();
        match self.proxy {
            Some(_) => SendError::ResolveProxy { host, source },
            None => SendError::Resolve { host, source },
        }
    }

    fn send_to(&self, to: SocketAddr, payload: &[u8]) -> Result<Option<Answer>, SendError> {
        let failed = |source| SendError::Send { to, source };
        match self.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(self.source(to)).map_err(|source| self.bind_error(to, source))?;
                socket.connect(to).and_then(|()| socket.send(payload)).map(|_| None).map_err(failed)
            }
            Transport::Tcp => self.connect(to)?.write_all(payload).map(|()| None).map_err(failed),
            Transport::Http => match self.http().send(&mut self.connect(to)?, payload).map_err(failed)? {
                Some(answer) if answer.code() == Some(PROXY_PASSWORD) => Err(SendError::ProxyPassword { answer }),
                answer => Ok(answer),
            },
            Transport::Raw(shape) => self.send_raw(shape, to, payload).map(|()| None),
        }
    }

    fn send_raw(&self, shape: Shape, to: SocketAddr, payload: &[u8]) -> Result<(), SendError> {
        let failed = |source| SendError::Send { to, source };
        let SocketAddr::V4(to_v4) = to else { return Err(SendError::RawNeedsIpv4 { host: self.host.to_owned() }) };
        let from = self.forged.map_or_else(|| source_towards(to_v4), Ok).map_err(failed)?;
        let packet = shape.encode(SocketAddrV4::new(from, self.source_port), to_v4, payload);
        let packet = packet.map_err(|error| failed(io::Error::other(error)))?;
        // Linux leaves the header to us on sockets for IPPROTO_RAW (raw(7)).
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
        let socket = socket.map_err(|errno| match errno {
            Errno::PERM | Errno::ACCESS => SendError::NotPermitted(errno.into()),
            other => failed(other.into()),
        })?;
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to).map_err(|errno| failed(errno.into()))?;
        Ok(())
    }

    fn connect(&self, to: SocketAddr) -> Result<TcpStream, SendError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let failed = |source| SendError::Send { to, source };
        if self.source_port == 0 {
            return TcpStream::connect_timeout(&to, PATIENCE).map_err(failed);
        }
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None).map_err(|errno| failed(errno.into()))?;
        let bound = rustix::net::sockopt::set_socket_reuseaddr(&socket, true)
            .and_then(|()| rustix::net::bind(&socket, &self.source(to)));
        bound.map_err(|errno| self.bind_error(to, errno.into()))?;
        rustix::net::connect(&socket, &to).map_err(|errno| failed(errno.into()))?;
        Ok(socket.into())
    }

    fn source(&self, to: SocketAddr) -> SocketAddr {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(any, self.source_port)
    }

    fn bind_error(&self, to: SocketAddr, source: io::Error) -> SendError {
        match self.source_port {
            0 => SendError::Send { to, source },
            port => SendError::SourcePort { port, source },
        }
    }
}

/// The address that the kernel would give a packet to there. Nothing is sent.
fn source_towards(to: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    match socket.local_addr()? {
        SocketAddr::V4(from) => Ok(*from.ip()),
        SocketAddr::V6(_) => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Proxy Authentication Required.
const PROXY_PASSWORD: u16 = 407;

/// The original knows IPv4 only, so its servers are found there: IPv6 comes first only for requests no such server reads.
fn ordered(mut found: Vec<SocketAddr>, family: FamilyChoice) -> Vec<SocketAddr> {
    match family {
        FamilyChoice::Ipv4Only => found.retain(SocketAddr::is_ipv4),
        FamilyChoice::Ipv4First => found.sort_by_key(SocketAddr::is_ipv6),
        FamilyChoice::Ipv6First => found.sort_by_key(SocketAddr::is_ipv4),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_tried_in_the_chosen_order() {
        let found: Vec<SocketAddr> =
            ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"].map(|a| a.parse().unwrap()).into();
        let shown =
            |family| ordered(found.clone(), family).iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(shown(FamilyChoice::Ipv4Only), "192.0.2.1 192.0.2.2");
        assert_eq!(shown(FamilyChoice::Ipv4First), "192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2");
        assert_eq!(shown(FamilyChoice::Ipv6First), "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2");
    }
}
