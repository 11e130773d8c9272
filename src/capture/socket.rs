//! Sockets on every address of the machine, IPv4 and IPv6 in one where the kernel has both.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// Bound to `port`; 0 takes any free one. It never blocks.
pub fn bound(kind: SocketType, port: u16) -> io::Result<OwnedFd> {
    match dual_stack(kind, port) {
        // A kernel without IPv6.
        Err(Errno::AFNOSUPPORT) => Ok(ipv4(kind, port)?),
        other => Ok(other?),
    }
}

fn dual_stack(kind: SocketType, port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET6, kind, FLAGS, None)?;
    // The system's default can be either (net.ipv6.bindv6only).
    sockopt::set_ipv6_v6only(&socket, false)?;
    reuse(&socket, kind)?;
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    Ok(socket)
}

fn ipv4(kind: SocketType, port: u16) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, kind, FLAGS, None)?;
    reuse(&socket, kind)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    Ok(socket)
}

/// Connections that ended a moment ago must not keep a daemon from starting again.
fn reuse(socket: &OwnedFd, kind: SocketType) -> rustix::io::Result<()> {
    if kind == SocketType::STREAM { sockopt::set_socket_reuseaddr(socket, true) } else { Ok(()) }
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
