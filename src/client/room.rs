//! How much of a packet can arrive.
//!
//! A datagram longer than a network's frames comes in fragments, a long TCP text in segments: a server that captures sees
//! only parts of it, which are no packets. So what does not fit a frame of Ethernet is not sent, unless it stays on this
//! machine.

use super::options::Transport;
use crate::crypto::openpgp::size::ONE_DATAGRAM;
use crate::spa::Envelope;

/// So many characters arrive at `host`.
pub fn room(transport: Transport, host: &str, http_headers: usize) -> usize {
    const ONE_FRAME: usize = 1500;
    // With the time stamps that nearly every TCP carries.
    const ONE_SEGMENT: usize = ONE_FRAME - 20 - 32;
    const LONGER_HEADER_OF_IPV6: usize = 20;
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return Envelope::MAX;
    }
    let room = match transport {
        Transport::Udp => ONE_DATAGRAM,
        Transport::Tcp => ONE_SEGMENT,
        Transport::Raw(shape) => ONE_FRAME - shape.overhead(),
        Transport::Http => ONE_SEGMENT - http_headers.min(ONE_SEGMENT),
    };
    room - if address.is_some_and(|address| address.is_ipv6()) { LONGER_HEADER_OF_IPV6.min(room) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::raw::Shape;

    #[test]
    fn a_frame_holds_so_much() {
        assert_eq!(room(Transport::Udp, "gate.example", 0), 1472);
        assert_eq!(room(Transport::Udp, "192.0.2.1", 0), 1472);
        assert_eq!(room(Transport::Udp, "[2001:db8::1]", 0), 1452);
        assert_eq!(room(Transport::Tcp, "192.0.2.1", 0), 1448);
        assert_eq!(room(Transport::Raw(Shape::Udp), "192.0.2.1", 0), 1472);
        assert_eq!(room(Transport::Raw(Shape::Tcp), "192.0.2.1", 0), 1460);
        assert_eq!(room(Transport::Http, "192.0.2.1", 100), 1348);
        assert_eq!(room(Transport::Http, "2001:db8::1", 5000), 0);
        for here in ["127.0.0.1", "::1", "localhost"] {
            assert_eq!(room(Transport::Udp, here, 0), Envelope::MAX);
        }
    }
}
