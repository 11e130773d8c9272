//! Addresses, protocols and ports: the words in which a request is asked and a rule is written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::IpNet;

/// A set of services a client may ask for, `tcp/22,udp/1194`. Never empty, no duplicates.
///
/// The order is kept: a NAT request applies to the first service (`spec/firewall.md` 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortSet(Vec<Service>);

impl PortSet {
    /// `None` when `services` is empty. Repeated services are kept once.
    pub fn new(services: impl IntoIterator<Item = Service>) -> Option<Self> {
        let mut unique: Vec<Service> = Vec::new();
        for service in services {
            if !unique.contains(&service) {
                unique.push(service);
            }
        }
        (!unique.is_empty()).then_some(Self(unique))
    }

    /// And these, behind its own.
    pub fn with(&self, more: &PortSet) -> Self {
        Self::new(self.iter().chain(more.iter())).unwrap_or_else(|| self.clone())
    }

    pub fn first(&self) -> Service {
        self.0[0] // never empty, see `new`
    }

    pub fn iter(&self) -> impl Iterator<Item = Service> + '_ {
        self.0.iter().copied()
    }

    pub fn contains(&self, service: Service) -> bool {
        self.0.contains(&service)
    }

    pub fn contains_all(&self, asked: &PortSet) -> bool {
        asked.iter().all(|service| self.contains(service))
    }

    pub fn contains_any(&self, asked: &PortSet) -> bool {
        asked.iter().any(|service| self.contains(service))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, service) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{service}")?;
        }
        Ok(())
    }
}

/// The strict form of the protocol (`spec/wire.md` 2.7): lower case, no blanks, no empty item.
impl FromStr for PortSet {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let services = text.split(',').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        Self::new(services).ok_or(ServiceError)
    }
}

/// One service, `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    pub proto: Proto,
    pub port: Port,
}

/// 1 to 65535.
pub type Port = NonZeroU16;

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.proto, self.port)
    }
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let (proto, port) = text.split_once('/').ok_or(ServiceError)?;
        Ok(Self { proto: proto.parse()?, port: parse_port(port).ok_or(ServiceError)? })
    }
}

/// Whether a host can have this address: one that none has must not reach a rule. An IPv4-mapped address does not exist on
/// a wire (RFC 4038 section 4.2); taken for its IPv4 address it would pass that host's stanzas.
pub fn can_be_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && v6.to_ipv4_mapped().is_none(),
    }
}

/// One to five digits, 1 to 65535; leading zeros are allowed, signs and blanks are not.
pub fn parse_port(text: &str) -> Option<Port> {
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol and port like tcp/22")]
pub struct ServiceError;

/// The transport of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    Tcp,
    Udp,
}

impl Proto {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Proto::Tcp => 6,
            Proto::Udp => 17,
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        })
    }
}

impl FromStr for Proto {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        match text {
            "tcp" => Ok(Proto::Tcp),
            "udp" => Ok(Proto::Udp),
            _ => Err(ServiceError),
        }
    }
}

/// Which addresses a stanza is for: `ANY`, or a list of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddrSet {
    Any,
    Networks(Vec<IpNet>),
}

impl AddrSet {
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            AddrSet::Any => true,
            AddrSet::Networks(networks) => {
                let address = address.to_canonical();
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

impl fmt::Display for AddrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddrSet::Any => f.write_str("ANY"),
            AddrSet::Networks(networks) => {
                let list: Vec<String> = networks.iter().map(IpNet::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

/// Where a datagram came from and where it went, as its headers said. Nothing here is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub src: IpAddr,
    /// Unknown when the packet came through a socket that does not tell.
    pub dst: Option<IpAddr>,
    /// IP protocol number: 6, 17, 1 or 58.
    pub proto: u8,
    /// 0 for ICMP.
    pub src_port: u16,
    /// 0 for ICMP.
    pub dst_port: u16,
}

impl Origin {
    /// A UDP datagram to the usual port: what tests and tools start from.
    pub fn udp(src: IpAddr) -> Self {
        Self { src, dst: None, proto: 17, src_port: 0, dst_port: DEFAULT_SPA_PORT }
    }

    /// The destination as the original writes it when it does not know (`spec/server.md` 6.2).
    pub fn dst_or_unspecified(&self) -> IpAddr {
        self.dst.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// Where SPA packets go unless told otherwise.
pub const DEFAULT_SPA_PORT: u16 = 62201;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_sets_keep_order_and_drop_repetitions() {
        let set: PortSet = "udp/53,tcp/22,udp/53".parse().unwrap();
        assert_eq!(set.to_string(), "udp/53,tcp/22");
        assert_eq!(set.first().to_string(), "udp/53");
    }

    #[test]
    fn only_the_strict_form_of_a_service_is_read() {
        for bad in [
            "",
            "tcp",
            "tcp/",
            "tcp/0",
            "tcp/65536",
            "tcp/022222",
            "TCP/22",
            "tcp/ 22",
            "tcp/+22",
            "icmp/8",
            "tcp/22,",
            ",tcp/22",
            "tcp/22-25",
        ] {
            assert!(bad.parse::<PortSet>().is_err(), "{bad:?} was read");
        }
        assert_eq!("tcp/00022".parse::<PortSet>().unwrap().to_string(), "tcp/22");
    }

    #[test]
    fn a_mapped_address_matches_its_ipv4_network() {
        let set = AddrSet::Networks(vec!["192.0.2.0/24".parse().unwrap()]);
        assert!(set.contains("192.0.2.9".parse().unwrap()));
        assert!(set.contains("::ffff:192.0.2.9".parse().unwrap()));
        assert!(!set.contains("198.51.100.1".parse().unwrap()));
    }
}
