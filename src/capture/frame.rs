//! From a captured frame to its payload: link header, tags, IP, transport. Pure, and fuzzed: every byte here is a
//! stranger's.
//!
//! What a real client can send is taken, however odd (`spec/wire.md` 8.2: SYN segments with data, checksums of zero,
//! any ICMP type). What our own kernel would never deliver to a socket is refused: a wrong IP version, a foreign
//! EtherType, lengths that do not fit the captured bytes, a source that cannot be a host. Fragments are refused, not
//! reassembled: that needs memory a stranger decides about. Checksums are not verified: the original client's raw
//! modes send wrong ones, and the message has a better one inside.

use std::net::IpAddr;

use etherparse::{IpPayloadSlice, Ipv4Slice, Ipv6Slice, LenSource, TcpSlice, UdpSlice, err, ip_number};

use crate::net::{Origin, can_be_host};
use crate::spa::Datagram;

/// The payload of one frame of `link`, with what its headers say.
///
/// `frame` is what was captured, which can be less than what was sent: such a packet is refused as truncated. Bytes
/// after the end of the IP packet (Ethernet trailers) do no harm. `origin.dst` is always known here.
pub fn decode(link: Link, frame: &[u8]) -> Result<Datagram, Unfit> {
    let packet = Packet::read(strip_link(link, frame)?)?;
    let segment = Segment::read(&packet)?;
    if segment.payload.is_empty() {
        return Err(Unfit::Empty);
    }
    let origin = Origin {
        src: packet.src,
        dst: Some(packet.dst),
        proto: packet.payload.ip_number.0,
        src_port: segment.src_port,
        dst_port: segment.dst_port,
    };
    Ok(Datagram { payload: segment.payload.to_vec(), origin })
}

/// How the frames of a capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet II or 802.3 with SNAP, up to two VLAN tags.
    Ethernet,
    /// Linux "cooked" v1, what `any` gives by default.
    Cooked1,
    /// Linux "cooked" v2, the default of current `tcpdump -i any`.
    Cooked2,
    /// Four bytes of address family, in either byte order: BSD's DLT_NULL and DLT_LOOP.
    Loopback,
    /// PPPoE without its Ethernet header.
    PppOverEthernet,
    /// Begins with an IP header of either version.
    Ip,
    Ipv4,
    Ipv6,
}

impl Link {
    pub const ALL: [Link; 8] = [
        Link::Ethernet,
        Link::Cooked1,
        Link::Cooked2,
        Link::Loopback,
        Link::PppOverEthernet,
        Link::Ip,
        Link::Ipv4,
        Link::Ipv6,
    ];

    /// The link of a `pcap_datalink` number (<https://www.tcpdump.org/linktypes.html>); `None` if we cannot read it.
    pub fn from_datalink(number: i32) -> Option<Self> {
        match number {
            0 | 108 => Some(Link::Loopback),
            1 => Some(Link::Ethernet),
            12 | 101 => Some(Link::Ip), // DLT_RAW on Linux, LINKTYPE_RAW in files
            51 => Some(Link::PppOverEthernet),
            113 => Some(Link::Cooked1),
            228 => Some(Link::Ipv4),
            229 => Some(Link::Ipv6),
            276 => Some(Link::Cooked2),
            _ => None,
        }
    }
}

/// Why a frame is not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The link header does not announce IP.
    NotIp,
    /// The IP header is of another version than the link announced, or of none.
    Version,
    /// The packet goes on behind the captured bytes.
    Truncated,
    /// A header contradicts itself.
    Malformed,
    /// A part of a larger packet.
    Fragment,
    /// Neither TCP, UDP nor ICMP.
    Protocol,
    /// The source address cannot be that of a host.
    Source,
    /// No payload.
    Empty,
}

/// What comes after the link header, and what that header said it is.
struct Network<'a> {
    version: Version,
    bytes: &'a [u8],
}

enum Version {
    V4,
    V6,
    /// The link does not say: the first nibble decides.
    Either,
}

fn strip_link(link: Link, frame: &[u8]) -> Result<Network<'_>, Unfit> {
    match link {
        Link::Ethernet => by_ether_type(split::<12>(frame)?.1, 0),
        Link::Cooked1 => by_ether_type(split::<14>(frame)?.1, 0),
        Link::Cooked2 => {
            let (header, bytes) = split::<20>(frame)?;
            network(be16(header), bytes, 0)
        }
        Link::Loopback => by_family(frame),
        Link::PppOverEthernet => pppoe(frame),
        Link::Ip => Ok(Network { version: Version::Either, bytes: frame }),
        Link::Ipv4 => Ok(Network { version: Version::V4, bytes: frame }),
        Link::Ipv6 => Ok(Network { version: Version::V6, bytes: frame }),
    }
}

/// `bytes` starts with an EtherType.
fn by_ether_type(bytes: &[u8], tags: u8) -> Result<Network<'_>, Unfit> {
    let (kind, rest) = split::<2>(bytes)?;
    network(be16(kind), rest, tags)
}

fn network(ether_type: u16, bytes: &[u8], tags: u8) -> Result<Network<'_>, Unfit> {
    match ether_type {
        0x0800 => Ok(Network { version: Version::V4, bytes }),
        0x86dd => Ok(Network { version: Version::V6, bytes }),
        // 802.1Q, 802.1ad, and the number used for double tags before 802.1ad.
        0x8100 | 0x88a8 | 0x9100 if tags < MAX_TAGS => by_ether_type(split::<2>(bytes)?.1, tags + 1),
        0x8864 => pppoe(bytes),
        // An 802.3 length: LLC follows, and only SNAP with an EtherType can carry IP.
        0..=1500 => match split::<6>(bytes)? {
            ([0xaa, 0xaa, 0x03, 0, 0, 0], rest) => match split::<2>(rest)? {
                ([0x08, 0x00], bytes) => Ok(Network { version: Version::V4, bytes }),
                ([0x86, 0xdd], bytes) => Ok(Network { version: Version::V6, bytes }),
                _ => Err(Unfit::NotIp),
            },
            _ => Err(Unfit::NotIp),
        },
        _ => Err(Unfit::NotIp),
    }
}

/// A PPPoE session frame (RFC 2516 section 4), holding IP.
fn pppoe(bytes: &[u8]) -> Result<Network<'_>, Unfit> {
    let (header, rest) = split::<6>(bytes)?;
    let [0x11, 0, _, _, length @ ..] = header else { return Err(Unfit::NotIp) };
    let bytes = rest.get(..be16(length).into()).ok_or(Unfit::Truncated)?;
    match split::<2>(bytes)? {
        ([0x00, 0x21], bytes) => Ok(Network { version: Version::V4, bytes }),
        ([0x00, 0x57], bytes) => Ok(Network { version: Version::V6, bytes }),
        _ => Err(Unfit::NotIp),
    }
}

/// The family is in the byte order of the machine that captured, or in network order (DLT_LOOP).
fn by_family(frame: &[u8]) -> Result<Network<'_>, Unfit> {
    let (family, bytes) = split::<4>(frame)?;
    let version = match u32::from_le_bytes(*family).min(u32::from_be_bytes(*family)) {
        2 => Version::V4,
        // AF_INET6 of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
        10 | 24 | 28 | 30 => Version::V6,
        _ => return Err(Unfit::NotIp),
    };
    Ok(Network { version, bytes })
}

/// A whole IP packet: nothing of it lies outside the captured bytes.
struct Packet<'a> {
    src: IpAddr,
    dst: IpAddr,
    payload: IpPayloadSlice<'a>,
}

impl<'a> Packet<'a> {
    fn read(network: Network<'a>) -> Result<Self, Unfit> {
        let nibble = network.bytes.first().ok_or(Unfit::Truncated)? >> 4;
        let packet = match (network.version, nibble) {
            (Version::V4 | Version::Either, 4) => Self::v4(network.bytes)?,
            (Version::V6 | Version::Either, 6) => Self::v6(network.bytes)?,
            _ => return Err(Unfit::Version),
        };
        if packet.payload.fragmented {
            return Err(Unfit::Fragment);
        }
        if !can_be_host(packet.src) {
            return Err(Unfit::Source);
        }
        Ok(packet)
    }

    fn v4(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let slice = Ipv4Slice::from_slice(bytes).map_err(|error| match error {
            err::ipv4::SliceError::Len(len) => short(&len),
            _ => Unfit::Malformed,
        })?;
        Ok(Self {
            src: slice.header().source_addr().into(),
            dst: slice.header().destination_addr().into(),
            payload: slice.payload().clone(),
        })
    }

    fn v6(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let slice = Ipv6Slice::from_slice(bytes).map_err(|error| match error {
            err::ipv6::SliceError::Len(len) => short(&len),
            _ => Unfit::Malformed,
        })?;
        // A length of zero announces a jumbogram; the parser then takes all that is there, trailers and all.
        if slice.header().payload_length() == 0 {
            return Err(Unfit::Malformed);
        }
        Ok(Self {
            src: slice.header().source_addr().into(),
            dst: slice.header().destination_addr().into(),
            payload: slice.payload().clone(),
        })
    }
}

/// What the transport header says. The ports are 0 for ICMP.
struct Segment<'a> {
    src_port: u16,
    dst_port: u16,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    fn read(packet: &Packet<'a>) -> Result<Self, Unfit> {
        let bytes = packet.payload.payload;
        match packet.payload.ip_number {
            ip_number::UDP => Self::udp(bytes),
            ip_number::TCP => {
                let tcp = TcpSlice::from_slice(bytes).map_err(|_| Unfit::Malformed)?;
                Ok(Self { src_port: tcp.source_port(), dst_port: tcp.destination_port(), payload: tcp.payload() })
            }
            ip_number::ICMP if packet.src.is_ipv4() => Self::icmp(bytes),
            ip_number::IPV6_ICMP if packet.src.is_ipv6() => Self::icmp(bytes),
            _ => Err(Unfit::Protocol),
        }
    }

    /// The payload ends where the UDP length says, as every kernel would hand it out. The original goes on to the end
    /// of the IP packet; no client sends two different lengths.
    fn udp(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let udp = UdpSlice::from_slice(bytes).map_err(|_| Unfit::Malformed)?;
        if udp.length() == 0 {
            return Err(Unfit::Malformed); // a jumbogram's, which the parser reads as "all there is"
        }
        Ok(Self { src_port: udp.source_port(), dst_port: udp.destination_port(), payload: udp.payload() })
    }

    /// Any type and code; the four bytes after the checksum belong to the header, whatever the type makes of them.
    fn icmp(bytes: &'a [u8]) -> Result<Self, Unfit> {
        let (_, payload) = bytes.split_at_checked(8).ok_or(Unfit::Malformed)?;
        Ok(Self { src_port: 0, dst_port: 0, payload })
    }
}

/// A length that points behind the captured bytes is a truncated capture; any other wrong length is a lie.
fn short(len: &err::LenError) -> Unfit {
    if len.len_source == LenSource::Slice { Unfit::Truncated } else { Unfit::Malformed }
}

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Unfit> {
    bytes.split_first_chunk().ok_or(Unfit::Truncated)
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

const MAX_TAGS: u8 = 2;

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4Options, LinuxSllPacketType, PacketBuilder, PacketBuilderStep};
    use proptest::prelude::*;

    use super::*;

    const SRC4: [u8; 4] = [192, 0, 2, 7];
    const DST4: [u8; 4] = [198, 51, 100, 1];
    const SRC6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    const DST6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    fn udp4(payload: &[u8]) -> Vec<u8> {
        written(PacketBuilder::ipv4(SRC4, DST4, 64).udp(40000, 62201), payload)
    }

    fn udp6(payload: &[u8]) -> Vec<u8> {
        written(PacketBuilder::ipv6(SRC6, DST6, 64).udp(40000, 62201), payload)
    }

    fn written(builder: PacketBuilderStep<impl Written>, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Written::write(builder, &mut bytes, payload);
        bytes
    }

    /// etherparse gives each of its last steps a `write` of its own.
    trait Written: Sized {
        fn write(step: PacketBuilderStep<Self>, bytes: &mut Vec<u8>, payload: &[u8]);
    }

    macro_rules! written {
        ($($header:ty),*) => {$(impl Written for $header {
            fn write(step: PacketBuilderStep<Self>, bytes: &mut Vec<u8>, payload: &[u8]) {
                step.write(bytes, payload).unwrap();
            }
        })*};
    }
    written!(etherparse::UdpHeader, etherparse::TcpHeader, etherparse::Icmpv4Header, etherparse::Icmpv6Header);

    fn ethernet(ether_types: &[u8], packet: &[u8]) -> Vec<u8> {
        [&[0x02; 12], ether_types, packet].concat()
    }

    fn payload(link: Link, frame: &[u8]) -> Result<Vec<u8>, Unfit> {
        decode(link, frame).map(|datagram| datagram.payload)
    }

    #[test]
    fn the_origin_is_what_the_headers_say() {
        let seen = decode(Link::Ip, &udp4(b"knock")).unwrap();
        let origin = Origin { src: SRC4.into(), dst: Some(DST4.into()), proto: 17, src_port: 40000, dst_port: 62201 };
        assert_eq!(seen, Datagram { payload: b"knock".to_vec(), origin });

        let ping = written(PacketBuilder::ipv6(SRC6, DST6, 64).icmpv6_echo_request(1, 2), b"knock");
        let origin = Origin { src: SRC6.into(), dst: Some(DST6.into()), proto: 58, src_port: 0, dst_port: 0 };
        assert_eq!(decode(Link::Ipv6, &ping).unwrap(), Datagram { payload: b"knock".to_vec(), origin });
    }

    #[test]
    fn every_link_header_is_taken_off() {
        let packets =
            [(udp4(b"knock"), [0x08, 0x00], [0x00, 0x21], 2u32), (udp6(b"knock"), [0x86, 0xdd], [0x00, 0x57], 10)];
        for (packet, kind, ppp, family) in packets {
            let pppoe_length = (packet.len() as u16 + 2).to_be_bytes();
            let pppoe = [&[0x11, 0, 0, 9][..], &pppoe_length, &ppp, &packet].concat();
            let snap = [&[0x01, 0x00, 0xaa, 0xaa, 0x03, 0, 0, 0][..], &kind].concat();
            let frames = [
                (Link::Ethernet, ethernet(&kind, &packet)),
                (Link::Ethernet, ethernet(&[&[0x81, 0x00, 0x60, 0x2a][..], &kind].concat(), &packet)),
                (Link::Ethernet, ethernet(&[&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42][..], &kind].concat(), &packet)),
                (Link::Ethernet, ethernet(&[&[0x81, 0, 0, 7, 0x81, 0, 0, 42][..], &kind].concat(), &packet)),
                (Link::Ethernet, ethernet(&snap, &packet)),
                (Link::Ethernet, ethernet(&[0x88, 0x64], &pppoe)),
                (Link::PppOverEthernet, pppoe),
                (Link::Cooked1, [&[0; 14][..], &kind, &packet].concat()),
                (Link::Cooked2, [&kind[..], &[0; 18], &packet].concat()),
                (Link::Loopback, [&family.to_le_bytes()[..], &packet].concat()),
                (Link::Loopback, [&family.to_be_bytes()[..], &packet].concat()),
                (Link::Ip, packet.clone()),
            ];
            for (link, frame) in frames {
                assert_eq!(payload(link, &frame).unwrap(), b"knock", "{link:?} {frame:02x?}");
            }
        }
    }

    #[test]
    fn three_tags_and_foreign_kinds_are_not_ip() {
        let packet = udp4(b"knock");
        let three = [0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x08, 0x00];
        let llc = [0x00, 0x80, 0x42, 0x42, 0x03, 0, 0, 0, 0x08, 0x00];
        for kind in [&three[..], &llc, &[0x12, 0x34], &[0x08, 0x06], &[0x88, 0xe5]] {
            assert_eq!(payload(Link::Ethernet, &ethernet(kind, &packet)), Err(Unfit::NotIp), "{kind:02x?}");
        }
        assert_eq!(payload(Link::Loopback, &[&[7, 0, 0, 0][..], &packet].concat()), Err(Unfit::NotIp));
    }

    #[test]
    fn the_version_must_be_the_announced_one() {
        assert_eq!(payload(Link::Ipv4, &udp6(b"knock")), Err(Unfit::Version));
        assert_eq!(payload(Link::Ipv6, &udp4(b"knock")), Err(Unfit::Version));
        assert_eq!(payload(Link::Ethernet, &ethernet(&[0x86, 0xdd], &udp4(b"knock"))), Err(Unfit::Version));
        let mut five = udp4(b"knock");
        five[0] = 0x55;
        assert_eq!(payload(Link::Ip, &five), Err(Unfit::Version));
    }

    #[test]
    fn ip_options_and_extension_headers_are_skipped() {
        let mut header = etherparse::Ipv4Header::new(13, 64, ip_number::UDP, SRC4, DST4).unwrap();
        header.options = Ipv4Options::try_from(&[1, 1, 1, 1][..]).unwrap();
        let with_options =
            written(PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, Default::default())).udp(1, 2), b"knock");
        assert_eq!(with_options[0], 0x46);
        assert_eq!(payload(Link::Ip, &with_options).unwrap(), b"knock");

        let udp = &udp6(b"knock")[40..];
        let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
        let destination = [17, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(payload(Link::Ip, &ipv6(0, &[&hop_by_hop[..], &destination, udp].concat())).unwrap(), b"knock");
    }

    fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16).to_be_bytes();
        [&[0x60, 0, 0, 0][..], &length, &[next_header, 64], &SRC6, &DST6, payload].concat()
    }

    #[test]
    fn fragments_are_refused_and_atomic_ones_are_not() {
        for flags in [0x20, 0x00] {
            let mut part = udp4(b"knock");
            (part[6], part[7]) = (flags, if flags == 0 { 3 } else { 0 });
            assert_eq!(payload(Link::Ip, &part), Err(Unfit::Fragment));
        }
        let udp = &udp6(b"knock")[40..];
        let first = [17, 0, 0, 1, 0, 0, 0, 9];
        let atomic = [17, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(payload(Link::Ip, &ipv6(44, &[&first[..], udp].concat())), Err(Unfit::Fragment));
        assert_eq!(payload(Link::Ip, &ipv6(44, &[&atomic[..], udp].concat())).unwrap(), b"knock");
    }

    #[test]
    fn what_is_cut_is_refused_and_trailers_are_cut_off() {
        for packet in [udp4(b"knock"), udp6(b"knock")] {
            for length in 0..packet.len() {
                assert_eq!(payload(Link::Ip, &packet[..length]), Err(Unfit::Truncated), "{length} bytes");
            }
            assert_eq!(payload(Link::Ip, &[&packet[..], b"trailer"].concat()).unwrap(), b"knock");
        }
    }

    #[test]
    fn the_udp_length_rules_and_its_checksum_does_not() {
        let with_length = |length: u16| {
            let mut packet = udp4(b"knock");
            packet[24..26].copy_from_slice(&length.to_be_bytes());
            packet[26..28].fill(0);
            packet
        };
        assert_eq!(payload(Link::Ip, &with_length(13)).unwrap(), b"knock");
        assert_eq!(payload(Link::Ip, &with_length(11)).unwrap(), b"kno");
        assert_eq!(payload(Link::Ip, &with_length(8)), Err(Unfit::Empty));
        for lie in [0, 7, 14, u16::MAX] {
            assert_eq!(payload(Link::Ip, &with_length(lie)), Err(Unfit::Malformed), "length {lie}");
        }
    }

    #[test]
    fn a_syn_segment_with_data_and_a_wrong_checksum_is_taken() {
        let mut packet = written(PacketBuilder::ipv4(SRC4, DST4, 255).tcp(10000, 62201, 1, 32767).syn(), b"knock");
        packet[36..38].fill(0);
        let seen = decode(Link::Ip, &packet).unwrap();
        assert_eq!((seen.payload.as_slice(), seen.origin.proto, seen.origin.src_port), (&b"knock"[..], 6, 10000));
        packet[32] = 0xf0; // a header longer than the segment
        assert_eq!(payload(Link::Ip, &packet), Err(Unfit::Malformed));
    }

    #[test]
    fn icmp_is_of_the_version_of_its_ip() {
        let ping4 = written(PacketBuilder::ipv4(SRC4, DST4, 64).icmpv4_echo_request(1, 2), b"knock");
        assert_eq!(payload(Link::Ip, &ping4).unwrap(), b"knock");
        let mut crossed = ping4;
        crossed[9] = 58;
        assert_eq!(payload(Link::Ip, &crossed), Err(Unfit::Protocol));
        assert_eq!(payload(Link::Ip, &ipv6(1, &[0; 20])), Err(Unfit::Protocol));
        assert_eq!(payload(Link::Ip, &ipv6(58, &[0; 7])), Err(Unfit::Malformed));
    }

    #[test]
    fn a_source_that_is_no_host_is_refused() {
        for source in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
            let packet = written(PacketBuilder::ipv4(source, DST4, 64).udp(1, 2), b"knock");
            assert_eq!(payload(Link::Ip, &packet), Err(Unfit::Source), "{source:?}");
        }
        for source in ["::", "ff02::1", "::ffff:192.0.2.7"] {
            let source: std::net::Ipv6Addr = source.parse().unwrap();
            let packet = written(PacketBuilder::ipv6(source.octets(), DST6, 64).udp(1, 2), b"knock");
            assert_eq!(payload(Link::Ip, &packet), Err(Unfit::Source), "{source}");
        }
    }

    #[test]
    fn an_ipv6_packet_without_length_is_refused() {
        let mut packet = udp6(b"knock");
        packet[4..6].fill(0);
        assert_eq!(payload(Link::Ip, &packet), Err(Unfit::Malformed));
    }

    fn link() -> impl Strategy<Value = Link> {
        prop::sample::select(&Link::ALL[..])
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(link in link(), frame in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(link, &frame);
        }

        /// Mutations of a frame that works reach further than noise does.
        #[test]
        fn a_mutated_frame_is_decoded_or_refused(
            link in link(),
            version6: bool,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let packet = if version6 { udp6(&[b'A'; 150]) } else { udp4(&[b'A'; 150]) };
            let mut frame = ethernet(if version6 { &[0x86, 0xdd] } else { &[0x08, 0x00] }, &packet);
            for (index, value) in changes {
                let at = index.index(frame.len());
                frame[at] = value;
            }
            let end = cut.index(frame.len() + 1);
            for frame in [&frame[..], &frame[14..], &frame[..end]] {
                if let Ok(datagram) = decode(link, frame) {
                    prop_assert!(!datagram.payload.is_empty() && datagram.payload.len() < frame.len());
                }
            }
        }

        #[test]
        fn what_was_wrapped_comes_out_again(
            payload in prop::collection::vec(any::<u8>(), 1..1400),
            (src, dst) in any::<(u32, u32)>(),
            (src_port, dst_port) in any::<(u16, u16)>(),
            tcp: bool,
            cooked: bool,
        ) {
            let (src, dst) = (std::net::Ipv4Addr::from(src), std::net::Ipv4Addr::from(dst));
            let start = if cooked {
                PacketBuilder::linux_sll(LinuxSllPacketType::HOST, 6, [2; 8]).ipv4(src.octets(), dst.octets(), 64)
            } else {
                PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(src.octets(), dst.octets(), 64)
            };
            let frame = if tcp {
                written(start.tcp(src_port, dst_port, 1, 2), &payload)
            } else {
                written(start.udp(src_port, dst_port), &payload)
            };
            let link = if cooked { Link::Cooked1 } else { Link::Ethernet };
            let proto = if tcp { 6 } else { 17 };
            let origin = Origin { src: src.into(), dst: Some(dst.into()), proto, src_port, dst_port };
            let expected = if can_be_host(src.into()) { Ok(Datagram { payload, origin }) } else { Err(Unfit::Source) };
            prop_assert_eq!(decode(link, &frame), expected);
        }
    }
}
