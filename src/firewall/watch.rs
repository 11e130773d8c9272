//! The kernel's word that somebody has changed the ruleset: its multicast group of nf_tables, whose rules those of
//! iptables are as well, but for its legacy variant.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use super::error::Error;

/// How one learns that others have changed the firewall.
pub enum News {
    Told(Watch),
    /// Nobody tells: one has to look.
    Sought,
    Never,
}

/// Readable once something was changed, by whomever.
pub struct Watch(OwnedFd);

impl Watch {
    pub fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER));
        let socket = socket.map_err(|errno| Error::Socket(errno.into()))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP)).map_err(|errno| Error::Socket(errno.into()))?;
        Ok(Self(socket))
    }

    /// Forgets what was said so far. What it was does not matter: whoever hears something looks. The kernel saying that
    /// it had to drop messages (`ENOBUFS`) is heard as well. What is still unread after a while is heard again.
    pub fn silence(&self) {
        let mut buffer = [0_u8; 4096];
        for _ in 0..MOST_AT_ONCE {
            match recvfrom(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `NFNLGRP_NFTABLES` is group 7 (`linux/netfilter/nfnetlink.h`): its bit.
const GROUP: u32 = 1 << 6;
/// More than its buffer holds by default.
const MOST_AT_ONCE: usize = 10_000;
