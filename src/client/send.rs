//! Sending: over UDP, TCP or HTTP, IPv4 and IPv6. Success means "handed to the kernel"; nothing is ever received back.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::address::Kinds;
use super::options::Transport;
use super::room;

/// Where and how a packet goes.
#[derive(Debug)]
pub struct Route<'a> {
    /// Host name or address.
    pub host: &'a str,
    pub port: u16,
    /// 0: the system chooses.
    pub source_port: u16,
    pub transport: Transport,
    pub family: FamilyChoice,
    pub user_agent: &'a str,
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
    #[error("the server '{host}' has no IPv4 address: packet not sent\n     leave out --server-resolve-ipv4")]
    NoIpv4 { host: String },
    #[error(
        "nothing can be sent to {to}: packet not sent\n     check the route and, for tcp and http, whether the server listens"
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
        room::room(self.transport, self.host, self.http_request("").len())
    }

    /// Sends `text`, trying the server's addresses in turn. Returns where it went and how many bytes.
    pub fn send(&self, text: &str) -> Result<(SocketAddr, usize), SendError> {
        let payload = match self.transport {
            Transport::Udp | Transport::Tcp => text.to_owned(),
            Transport::Http => self.http_request(text),
        };
        let mut last = None;
        for to in self.addresses()? {
            match self.send_to(to, payload.as_bytes()) {
                Ok(()) => return Ok((to, payload.len())),
                Err(error) => last = Some(error),
            }
        }
        let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
        Err(last.unwrap_or_else(|| SendError::Resolve { host: self.host.to_owned(), source: none() }))
    }

    /// Of which kinds the server's addresses are.
    pub fn kinds(&self) -> Result<Kinds, SendError> {
        let addresses = self.addresses()?;
        Ok(Kinds { v4: addresses.iter().any(SocketAddr::is_ipv4), v6: addresses.iter().any(SocketAddr::is_ipv6) })
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let host = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(self.host);
        let failed = |source| SendError::Resolve { host: host.to_owned(), source };
        let found: Vec<SocketAddr> = (host, self.port).to_socket_addrs().map_err(failed)?.collect();
        let found = ordered(found, self.family);
        match (found.is_empty(), self.family) {
            (true, FamilyChoice::Ipv4Only) => Err(SendError::NoIpv4 { host: host.to_owned() }),
            _ => Ok(found),
        }
    }

    fn send_to(&self, to: SocketAddr, payload: &[u8]) -> Result<(), SendError> {
        let failed = |source| SendError::Send { to, source };
        match self.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(self.source(to)).map_err(|source| self.bind_error(to, source))?;
                socket.connect(to).and_then(|()| socket.send(payload)).map_err(failed)?;
            }
            Transport::Tcp | Transport::Http => {
                let mut stream = self.connect(to)?;
                // In one write, so in one segment: a server that captures does not reassemble.
                stream.write_all(payload).map_err(failed)?;
            }
        }
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

    /// `spec/wire.md` 8.3: byte for byte what the original sends, but for the name in `User-Agent`.
    fn http_request(&self, text: &str) -> String {
        let target = text.replace('+', "-").replace('/', "_");
        let (host, agent) = (self.host, self.user_agent);
        format!(
            "GET /{target} HTTP/1.0\r\nUser-Agent: {agent}\r\nAccept: */*\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
    }
}

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

    #[test]
    fn the_http_request_is_that_of_the_original() {
        let route = Route {
            host: "127.0.0.1",
            port: 80,
            source_port: 0,
            transport: Transport::Http,
            family: FamilyChoice::Ipv4First,
            user_agent: "Fwknop/2.6.10",
        };
        let expected = "GET /a-b_c HTTP/1.0\r\nUser-Agent: Fwknop/2.6.10\r\nAccept: */*\r\nHost: 127.0.0.1\r\n\
            Connection: close\r\n\r\n";
        assert_eq!(route.http_request("a+b/c"), expected);
    }
}
