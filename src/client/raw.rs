//! Raw packets (`spec/wire.md` 8.2): IPv4 packets with headers of our own, so that their source address and what they look
//! like can be chosen. They are as the original makes them, but with correct checksums (RFC 768, 792, 9293): routers drop
//! others.
//!
//! Only the encoding is here; nothing is sent.

use std::net::SocketAddrV4;

use etherparse::err::packet::BuildVecWriteError;
use etherparse::{IpHeaders, Ipv4Header, PacketBuilder, TcpHeader};

/// What a raw packet looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Udp,
    /// The first packet of a connection that never comes about.
    Tcp,
    Icmp(Icmp),
}

/// An echo reply, unless something else is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    pub kind: u8,
    pub code: u8,
}

impl Icmp {
    const ECHO_REQUEST: Self = Self { kind: 8, code: 0 };
}

impl Shape {
    /// Of the headers.
    pub const fn overhead(self) -> usize {
        const IP: usize = 20;
        match self {
            Shape::Udp | Shape::Icmp(_) => IP + 8,
            Shape::Tcp => IP + 20,
        }
    }

    /// The packet. Its identification is left to the kernel.
    pub fn encode(self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Result<Vec<u8>, BuildVecWriteError> {
        const TTL: u8 = 255;
        let header = Ipv4Header {
            dont_fragment: false,
            time_to_live: TTL,
            source: from.ip().octets(),
            destination: to.ip().octets(),
            ..Ipv4Header::default()
        };
        let ip = PacketBuilder::ip(IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()));
        let mut packet = Vec::with_capacity(self.overhead() + payload.len());
        match self {
            Shape::Udp => ip.udp(from.port(), to.port()).write_to_vec(&mut packet, payload)?,
            Shape::Tcp => {
                let header = TcpHeader { syn: true, ..TcpHeader::new(from.port(), to.port(), 1, 32767) };
                ip.tcp_header(header).write_to_vec(&mut packet, payload)?;
            }
            Shape::Icmp(icmp) => {
                // Only an echo request tells which it is, and of whom: as with ping, the port says that.
                let [high, low] = from.port().to_be_bytes();
                let rest = if icmp == Icmp::ECHO_REQUEST { [high, low, 0, 1] } else { [0; 4] };
                ip.icmpv4_raw(icmp.kind, icmp.code, rest).write_to_vec(&mut packet, payload)?;
            }
        }
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    /// RFC 1071: a sum over its own checksum is all ones.
    fn sums_up(parts: &[&[u8]]) -> bool {
        let bytes = parts.concat();
        let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    /// What UDP and TCP sum up besides themselves.
    fn pseudo_header(packet: &[u8]) -> Vec<u8> {
        let length = (packet.len() - 20) as u16;
        [&packet[12..20], &[0, packet[9]], &length.to_be_bytes()].concat()
    }

    fn address() -> impl Strategy<Value = SocketAddrV4> {
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddrV4::new(ip.into(), port))
    }

    fn shape() -> impl Strategy<Value = Shape> {
        let icmp = (0..=40u8, 0..=15u8).prop_map(|(kind, code)| Shape::Icmp(Icmp { kind, code }));
        prop_oneof![Just(Shape::Udp), Just(Shape::Tcp), Just(Shape::Icmp(Icmp::ECHO_REQUEST)), icmp]
    }

    proptest! {
        #[test]
        fn every_packet_says_what_it_is_to_and_sums_up(
            shape in shape(), from in address(), to in address(), payload in proptest::collection::vec(any::<u8>(), 0..1500)
        ) {
            let packet = shape.encode(from, to, &payload).unwrap();
            prop_assert_eq!(packet.len(), shape.overhead() + payload.len());
            let (header, rest) = packet.split_at(20);
            prop_assert!(sums_up(&[header]));
            let protocol = match shape { Shape::Udp => 17, Shape::Tcp => 6, Shape::Icmp(_) => 1 };
            let length = (packet.len() as u16).to_be_bytes();
            // Version and length of the header, no service, the length; no identification, no flags; 255 hops.
            prop_assert_eq!(&header[..10], &[0x45, 0, length[0], length[1], 0, 0, 0, 0, 255, protocol]);
            prop_assert_eq!(&header[12..], &[from.ip().octets(), to.ip().octets()].concat());
            prop_assert!(packet.ends_with(&payload));
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            match shape {
                Shape::Udp => {
                    prop_assert_eq!(&rest[..4], &ports);
                    prop_assert!(sums_up(&[&pseudo_header(&packet), rest]) && rest[6..8] != [0, 0]);
                }
                Shape::Tcp => {
                    // Sequence 1, no acknowledgement, five words of header, SYN, window, nothing urgent.
                    let expected = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x7f, 0xff]].concat();
                    prop_assert!(rest.starts_with(&expected) && rest[18..20] == [0, 0]);
                    prop_assert!(sums_up(&[&pseudo_header(&packet), rest]));
                }
                Shape::Icmp(icmp) => {
                    let id = if icmp == Icmp::ECHO_REQUEST { [ports[0], ports[1], 0, 1] } else { [0; 4] };
                    prop_assert_eq!((&rest[..2], &rest[4..8]), (&[icmp.kind, icmp.code][..], &id[..]));
                    prop_assert!(sums_up(&[rest]));
                }
            }
        }

        /// What is read by another hand.
        #[test]
        fn every_packet_is_read_again(shape in shape(), from in address(), to in address(), payload in ".{0,99}") {
            // A request for the time, or the answer, has a length of its own for that hand.
            prop_assume!(!matches!(shape, Shape::Icmp(Icmp { kind: 13 | 14, .. })));
            let packet = shape.encode(from, to, payload.as_bytes()).unwrap();
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            match (shape, sliced.transport.unwrap()) {
                (Shape::Udp, TransportSlice::Udp(udp)) => prop_assert_eq!(udp.payload(), payload.as_bytes()),
                (Shape::Tcp, TransportSlice::Tcp(tcp)) => prop_assert!(tcp.syn() && tcp.payload() == payload.as_bytes()),
                (Shape::Icmp(_), TransportSlice::Icmpv4(icmp)) => prop_assert!(icmp.slice().ends_with(payload.as_bytes())),
                (shape, other) => prop_assert!(false, "{shape:?} was read as {other:?}"),
            }
        }
    }

    #[test]
    fn what_does_not_fit_a_packet_is_refused() {
        let address = SocketAddrV4::new([192, 0, 2, 1].into(), 1);
        for shape in [Shape::Udp, Shape::Tcp, Shape::Icmp(Icmp::default())] {
            assert!(shape.encode(address, address, &vec![0; 65536]).is_err(), "{shape:?}");
        }
    }
}
