//! What a grant lets its address reach.

use std::fmt;
use std::net::IpAddr;

use super::Cycle;
use crate::net::{AddrSet, Port, PortSet, Service};

/// Where a grant leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// To these services of this host.
    Open(PortSet),
    /// To one port of this host, by way of others: the local NAT of the original.
    Local { ports: PortSet, to: Port },
    /// Through this host, to what is behind it.
    Forward(Box<Forward>),
    /// To whatever commands of the administrator make of it.
    Cycle(Box<Cycle>),
}

/// A way through this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What the address connects to. `None`: whatever it likes (`FORWARD_ALL`).
    pub ports: Option<PortSet>,
    /// Where that ends. `None`: where the packets say, as on a gateway.
    pub to: Option<Target>,
    /// Packets are addressed to us and sent on. Otherwise (`DISABLE_DNAT`) they must be addressed to the target.
    pub translated: bool,
    pub source: Option<SourceNat>,
}

/// One service of a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Through {
    /// As the client asks for it. `None`: all.
    pub outer: Option<Service>,
    /// As the inner host has it.
    pub inner: Option<Service>,
    /// `None`: where the packets say.
    pub to: Option<(IpAddr, Port)>,
}

/// The inner end of a forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub host: Host,
    pub port: Port,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    /// Nothing can be opened before it has been looked up.
    Name(HostName),
}

/// A host a client has named, and where it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    pub name: String,
    pub within: Option<AddrSet>,
}

/// Whose packets the inner host sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceNat {
    /// Those of this host, under the address it has there.
    Masquerade,
    To(IpAddr),
}

impl Access {
    /// What was asked for. `None`: everything.
    pub fn ports(&self) -> Option<&PortSet> {
        match self {
            Access::Open(ports) | Access::Local { ports, .. } => Some(ports),
            Access::Forward(forward) => forward.ports.as_ref(),
            Access::Cycle(cycle) => Some(&cycle.ports),
        }
    }

    /// Where it leads, when that is not where packets are addressed to: `10.1.2.3:22`, `local:22`, `any`, `command`.
    pub fn leads_to(&self) -> Option<String> {
        match self {
            Access::Open(_) => None,
            Access::Local { to, .. } => Some(format!("local:{to}")),
            Access::Forward(forward) => Some(match &forward.to {
                Some(to) if forward.ports.is_some() => to.to_string(),
                Some(to) => to.host.to_string(),
                None => "any".to_owned(),
            }),
            Access::Cycle(_) => Some("command".to_owned()),
        }
    }

    /// In whose name packets are sent on. `None`: as they came.
    pub fn source(&self) -> Option<SourceNat> {
        match self {
            Access::Forward(forward) => forward.source,
            _ => None,
        }
    }

    /// Whether this lets through all that `older` does, by the same way. Of commands nobody knows what they let through: what
    /// counts is that the same one closes both.
    pub fn covers(&self, older: &Access) -> bool {
        let ports = match (self.ports(), older.ports()) {
            (None, None) => true,
            (Some(ports), Some(older)) => ports.contains_all(older),
            _ => false,
        };
        match (self, older) {
            (Access::Open(_), Access::Open(_)) => ports,
            (Access::Local { to, .. }, Access::Local { to: older, .. }) => ports && to == older,
            (Access::Forward(forward), Access::Forward(older)) => ports && forward.same_way(older),
            (Access::Cycle(cycle), Access::Cycle(older)) => cycle.undoes(older),
            _ => false,
        }
    }

    /// The name that must be looked up before anything can be opened.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Access::Forward(forward) => match &forward.to.as_ref()?.host {
                Host::Name(name) => Some(name),
                Host::Address(_) => None,
            },
            _ => None,
        }
    }

    /// The same with the name looked up.
    pub fn at_address(&self, address: IpAddr) -> Access {
        match self {
            Access::Forward(forward) => {
                let mut forward = forward.clone();
                forward.to = forward.to.map(|to| Target { host: Host::Address(address), ..to });
                Access::Forward(forward)
            }
            other => other.clone(),
        }
    }
}

impl Forward {
    /// Each service on its way. None as long as a name is not looked up.
    pub fn through(&self) -> Vec<Through> {
        let to = match &self.to {
            Some(Target { host: Host::Address(address), port }) => Some((*address, *port)),
            Some(Target { host: Host::Name(_), .. }) => return Vec::new(),
            None => None,
        };
        let outer: Vec<Option<Service>> = match &self.ports {
            Some(ports) => ports.iter().map(Some).collect(),
            None => vec![None],
        };
        let inner = |outer: Service| Service { port: to.map_or(outer.port, |(_, port)| port), ..outer };
        outer.into_iter().map(|outer| Through { outer, inner: outer.map(inner), to }).collect()
    }

    fn same_way(&self, other: &Forward) -> bool {
        (&self.to, self.translated, self.source) == (&other.to, other.translated, other.source)
    }
}

impl HostName {
    /// The first address a packet of `from` can be sent on to.
    pub fn choose(&self, from: IpAddr, found: &[IpAddr]) -> Option<IpAddr> {
        let fits = |address: &&IpAddr| may_be_inside(**address, from, self.within.as_ref());
        found.iter().find(fits).copied()
    }
}

/// Whether packets from `from` may be forwarded there: to a host other than this one, of the same family, and within the
/// networks that are named for that.
pub fn may_be_inside(target: IpAddr, from: IpAddr, within: Option<&AddrSet>) -> bool {
    let broadcast = matches!(target, IpAddr::V4(v4) if v4.is_broadcast());
    let host = !(target.is_unspecified() || target.is_loopback() || target.is_multicast() || broadcast);
    host && target.is_ipv4() == from.is_ipv4() && within.is_none_or(|within| within.contains(target))
}

/// As the journal writes it: `ports=tcp/5555 to=10.1.2.3:22 source=masquerade`.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ports() {
            Some(ports) => write!(f, "ports={ports}")?,
            None => f.write_str("ports=all")?,
        }
        if let Some(to) = self.leads_to() {
            write!(f, " to={to}")?;
        }
        match self.source() {
            Some(source) => write!(f, " source={source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(address) => address.fmt(f),
            Host::Name(host) => f.write_str(&host.name),
        }
    }
}

impl fmt::Display for SourceNat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceNat::Masquerade => f.write_str("masquerade"),
            SourceNat::To(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(ports: Option<&str>, to: &str) -> Access {
        let to = Target { host: Host::Address(to.parse().unwrap()), port: Port::new(22).unwrap() };
        let ports = ports.map(|ports| ports.parse().unwrap());
        Access::Forward(Box::new(Forward { ports, to: Some(to), translated: true, source: None }))
    }

    #[test]
    fn only_the_same_way_is_covered() {
        let open = Access::Open("tcp/22,tcp/80".parse().unwrap());
        assert!(open.covers(&Access::Open("tcp/80".parse().unwrap())));
        assert!(!open.covers(&forward(Some("tcp/80"), "10.0.0.1")));
        assert!(forward(Some("tcp/1,tcp/2"), "10.0.0.1").covers(&forward(Some("tcp/2"), "10.0.0.1")));
        assert!(!forward(Some("tcp/1,tcp/2"), "10.0.0.1").covers(&forward(Some("tcp/2"), "10.0.0.2")));
        assert!(!forward(None, "10.0.0.1").covers(&forward(Some("tcp/2"), "10.0.0.1")), "other rules");
    }

    #[test]
    fn names_lead_only_where_they_may() {
        let within = Some(AddrSet::Networks(vec!["10.0.0.0/8".parse().unwrap()]));
        let name = HostName { name: "inner.example".to_owned(), within };
        let from = "198.51.100.7".parse().unwrap();
        let found = ["127.0.0.1", "fd00::1", "192.0.2.1", "10.1.2.3"].map(|text| text.parse().unwrap());
        assert_eq!(name.choose(from, &found), Some("10.1.2.3".parse().unwrap()));
        assert_eq!(name.choose(from, &found[..3]), None);
        let anywhere = HostName { within: None, ..name };
        assert_eq!(anywhere.choose(from, &found), Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn each_way_is_shown() {
        let shown = |access: Access| access.to_string();
        assert_eq!(shown(Access::Open("tcp/22".parse().unwrap())), "ports=tcp/22");
        let local = Access::Local { ports: "tcp/5555".parse().unwrap(), to: Port::new(22).unwrap() };
        assert_eq!(shown(local), "ports=tcp/5555 to=local:22");
        assert_eq!(shown(forward(Some("tcp/5555"), "10.0.0.1")), "ports=tcp/5555 to=10.0.0.1:22");
        assert_eq!(shown(forward(Some("tcp/5555"), "fd00::1")), "ports=tcp/5555 to=[fd00::1]:22");
        assert_eq!(shown(forward(None, "10.0.0.1")), "ports=all to=10.0.0.1");
    }
}
