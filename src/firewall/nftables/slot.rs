//! The sets and maps that hold what was granted: one slot for each kind of rule and each shape of key, under one name for
//! IPv4 (`fwknop4`) and one for IPv6.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use crate::firewall::ruleset::{Listed, Ruleset};
use crate::firewall::{Entry, Family, Features, Hook, Kind, Spot, Value};
use crate::net::{Port, Proto, Service};

/// A set or map, for both families.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    name: &'static str,
    kind: Kind,
    /// What its keys have besides the address.
    peer: bool,
    service: bool,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

/// Our chains, in the order in which packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Entered by a jump from the administrator's own.
    Jump(Hook),
    /// Called by the kernel itself: whoever translates first, wins.
    Prerouting,
    Postrouting,
}

const fn slot(name: &'static str, kind: Kind, peer: bool, service: bool) -> Slot {
    Slot { name, kind, peer, service }
}

/// Narrow keys stand before wide ones: the first that fits decides.
static SLOTS: [Slot; 22] = [
    slot("fwknop", Kind::Input, false, true),
    slot("fwknop_at", Kind::Input, true, true),
    slot("fwknop_local", Kind::Local, false, true),
    slot("fwknop_out", Kind::Output, false, true),
    slot("fwknop_out_at", Kind::Output, true, true),
    slot("fwknop_forward", Kind::Forward, true, true),
    slot("fwknop_forward_host", Kind::Forward, true, false),
    slot("fwknop_forward_all", Kind::Forward, false, false),
    slot("fwknop_redirect", Kind::Redirect, false, true),
    slot("fwknop_redirect_at", Kind::Redirect, true, true),
    slot("fwknop_dnat_port", Kind::DnatPort, false, true),
    slot("fwknop_dnat_port_at", Kind::DnatPort, true, true),
    slot("fwknop_dnat", Kind::DnatAddress, false, true),
    slot("fwknop_dnat_at", Kind::DnatAddress, true, true),
    slot("fwknop_dnat_all", Kind::DnatAddress, false, false),
    slot("fwknop_dnat_all_at", Kind::DnatAddress, true, false),
    slot("fwknop_snat", Kind::Snat, true, true),
    slot("fwknop_snat_host", Kind::Snat, true, false),
    slot("fwknop_snat_all", Kind::Snat, false, false),
    slot("fwknop_masquerade", Kind::Masquerade, true, true),
    slot("fwknop_masquerade_host", Kind::Masquerade, true, false),
    slot("fwknop_masquerade_all", Kind::Masquerade, false, false),
];

pub fn all() -> impl Iterator<Item = &'static Slot> {
    SLOTS.iter()
}

/// What these features need.
pub fn wanted(features: Features) -> impl Iterator<Item = &'static Slot> {
    all().filter(move |slot| {
        let at = slot.peer == features.destination;
        match slot.kind {
            Kind::Input => at,
            Kind::Output => features.output && at,
            Kind::Local => features.local_nat,
            Kind::Redirect => features.local_nat && at,
            Kind::DnatAddress | Kind::DnatPort => features.forwarding && at,
            Kind::Forward | Kind::Snat | Kind::Masquerade => features.forwarding,
        }
    })
}

impl Slot {
    /// Where such a rule goes. `None`: nothing makes such a rule.
    pub fn of(spot: &Spot) -> Option<&'static Slot> {
        let shape = (spot.kind, spot.peer.is_some(), spot.service.is_some());
        all().find(|slot| (slot.kind, slot.peer, slot.service) == shape)
    }

    pub fn name(&self, version: Version) -> String {
        format!("{}{}", self.name, if version == Version::V4 { 4 } else { 6 })
    }

    pub fn chain(&self) -> Chain {
        match self.kind {
            Kind::Input | Kind::Local => Chain::Jump(Hook::Input),
            Kind::Output => Chain::Jump(Hook::Output),
            Kind::Forward => Chain::Jump(Hook::Forward),
            Kind::Redirect | Kind::DnatAddress | Kind::DnatPort => Chain::Prerouting,
            Kind::Snat | Kind::Masquerade => Chain::Postrouting,
        }
    }

    /// The types of its key: one in a plain set, several in a concatenation.
    fn types(&self, version: Version) -> Vec<&'static str> {
        let addresses = std::iter::repeat_n(version.address(), 1 + usize::from(self.peer));
        addresses.chain(self.service.then_some(["inet_proto", "inet_service"]).into_iter().flatten()).collect()
    }

    /// What it maps to. `None`: it is a set.
    fn leads_to(&self, version: Version) -> Option<&'static str> {
        match self.kind {
            Kind::DnatAddress | Kind::Snat => Some(version.address()),
            Kind::DnatPort | Kind::Redirect => Some("inet_service"),
            _ => None,
        }
    }

    /// Makes it.
    pub fn addition(&self, version: Version, family: &str, table: &str) -> Json {
        let (name, kind) = (self.name(version), self.types(version));
        match self.leads_to(version) {
            None => json!({"add": {"set": {
                "family": family, "table": table, "name": name, "type": kind, "flags": ["timeout"]}}}),
            Some(to) => json!({"add": {"map": {
                "family": family, "table": table, "name": name, "type": kind, "map": to, "flags": ["timeout"]}}}),
        }
    }

    /// `delete` or `flush` it.
    pub fn change(&self, verb: &str, version: Version, family: &str, table: &str) -> Json {
        let object = if self.leads_to(version).is_some() { "map" } else { "set" };
        json!({verb: {object: {"family": family, "table": table, "name": self.name(version)}}})
    }

    /// Whether it is there. `Err`: something else of its name is.
    pub fn is_in(&self, ruleset: &Ruleset, version: Version, family: &str, table: &str) -> Result<bool, String> {
        let name = self.name(version);
        let fits = |kind: &[String], flags: &[String]| {
            kind == self.types(version)
                && flags.iter().any(|f| f == "timeout")
                && !flags.iter().any(|f| f == "constant")
        };
        let found = (ruleset.set(family, table, &name), ruleset.map(family, table, &name));
        match (found, self.leads_to(version)) {
            ((None, None), _) => Ok(false),
            ((Some(set), None), None) if fits(&set.kind, &set.flags) => Ok(true),
            ((None, Some(map)), Some(to)) if fits(&map.kind, &map.flags) && map.leads_to(to) => Ok(true),
            ((Some(_), _), _) => Err(format!("set {name}")),
            ((_, Some(_)), _) => Err(format!("map {name}")),
        }
    }

    /// What it holds in this table.
    pub fn entries(&self, ruleset: &Ruleset, version: Version, family: &str, table: &str) -> Vec<Entry> {
        let name = self.name(version);
        let set = ruleset.set(family, table, &name).into_iter().flat_map(|set| set.items());
        let map = ruleset.map(family, table, &name).into_iter().flat_map(|map| map.items());
        set.chain(map).filter_map(|item| self.entry(item)).collect()
    }

    fn entry(&self, item: Listed<'_>) -> Option<Entry> {
        let address = |value: &Json| value.as_str()?.parse::<IpAddr>().ok();
        let mut key = item.key.iter();
        let spot = Spot {
            kind: self.kind,
            address: address(key.next()?)?,
            peer: if self.peer { Some(address(key.next()?)?) } else { None },
            service: if self.service {
                Some(Service { proto: proto(key.next()?)?, port: port(key.next()?)? })
            } else {
                None
            },
        };
        let to = match (self.leads_to(Version::V4), item.to) {
            (None, _) => None,
            (Some("inet_service"), Some(to)) => Some(Value::Port(port(to)?)),
            (Some(_), Some(to)) => Some(Value::Address(address(to)?)),
            (Some(_), None) => return None,
        };
        let rest = key.next();
        rest.is_none().then_some(Entry { spot, to, remaining: item.remaining, comment: item.comment })
    }

    /// What is done about packets that are in it; `None` when another slot's rule does it.
    pub fn rule(&self, version: Version) -> Option<Vec<Json>> {
        let matches = json!({"match": {"op": "==", "left": self.key(version), "right": self.reference(version)}});
        let map = |slot: &Slot| json!({"map": {"key": slot.key(version), "data": slot.reference(version)}});
        Some(match self.kind {
            Kind::Input | Kind::Output | Kind::Forward => vec![matches, json!({"accept": null})],
            Kind::Local => {
                let translated = json!({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}});
                vec![translated, matches, json!({"accept": null})]
            }
            Kind::Masquerade => vec![matches, json!({"masquerade": null})],
            Kind::Snat => vec![json!({"snat": {"family": version.protocol(), "addr": map(self)}})],
            Kind::DnatPort => return None,
            Kind::DnatAddress => {
                let ports = all()
                    .find(|other| (other.kind, other.peer, other.service) == (Kind::DnatPort, self.peer, self.service));
                let dnat = match ports {
                    Some(ports) => {
                        json!({"dnat": {"family": version.protocol(), "addr": map(self), "port": map(ports)}})
                    }
                    None => json!({"dnat": {"family": version.protocol(), "addr": map(self)}}),
                };
                vec![for_us(), dnat]
            }
            Kind::Redirect => {
                let left = json!({"meta": {"key": "l4proto"}});
                let ported = json!({"match": {"op": "==", "left": left, "right": {"set": ["tcp", "udp"]}}});
                vec![for_us(), ported, json!({"redirect": {"port": map(self)}})]
            }
        })
    }

    /// What its rule does, by nft's name.
    pub fn verb(&self) -> &'static str {
        match self.kind {
            Kind::Input | Kind::Output | Kind::Forward | Kind::Local => "accept",
            Kind::Masquerade => "masquerade",
            Kind::Snat => "snat",
            Kind::DnatAddress | Kind::DnatPort => "dnat",
            Kind::Redirect => "redirect",
        }
    }

    fn reference(&self, version: Version) -> String {
        format!("@{}", self.name(version))
    }

    /// `ip saddr . ip daddr . meta l4proto . th dport`, from the side of whoever was let in.
    fn key(&self, version: Version) -> Json {
        let protocol = version.protocol();
        let (near, far, port) = match self.kind {
            Kind::Output => ("daddr", "saddr", "sport"),
            _ => ("saddr", "daddr", "dport"),
        };
        let field = |field: &str| json!({"payload": {"protocol": protocol, "field": field}});
        let mut parts = vec![field(near)];
        parts.extend(self.peer.then(|| field(far)));
        if self.service {
            parts.push(json!({"meta": {"key": "l4proto"}}));
            parts.push(json!({"payload": {"protocol": "th", "field": port}}));
        }
        if parts.len() == 1 { parts.remove(0) } else { json!({"concat": parts}) }
    }
}

impl Version {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Version::V4 } else { Version::V6 }
    }

    /// Those a table sees.
    pub fn in_table(family: Family) -> &'static [Version] {
        match family {
            Family::Inet => &[Version::V4, Version::V6],
            Family::Ip => &[Version::V4],
            Family::Ip6 => &[Version::V6],
        }
    }

    fn address(self) -> &'static str {
        match self {
            Version::V4 => "ipv4_addr",
            Version::V6 => "ipv6_addr",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Version::V4 => "ip",
            Version::V6 => "ip6",
        }
    }
}

impl Chain {
    pub const ALL: [Chain; 5] = [
        Chain::Jump(Hook::Input),
        Chain::Jump(Hook::Forward),
        Chain::Jump(Hook::Output),
        Chain::Prerouting,
        Chain::Postrouting,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Chain::Jump(Hook::Input) => "fwknop_input",
            Chain::Jump(Hook::Forward) => "fwknop_forward",
            Chain::Jump(Hook::Output) => "fwknop_output",
            Chain::Prerouting => "fwknop_prerouting",
            Chain::Postrouting => "fwknop_postrouting",
        }
    }

    /// What makes it a base chain: hook and priority, just before the administrator's own translations.
    pub fn base(self) -> Option<(&'static str, i32)> {
        match self {
            Chain::Jump(_) => None,
            Chain::Prerouting => Some(("prerouting", -101)),
            Chain::Postrouting => Some(("postrouting", 99)),
        }
    }
}

/// `fib daddr type local`: what merely passes through us is not ours to translate.
fn for_us() -> Json {
    json!({"match": {"op": "==", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local"}})
}

/// By name or, where `/etc/protocols` is missing, by number.
fn proto(value: &Json) -> Option<Proto> {
    match (value.as_str(), value.as_u64()) {
        (Some(name), _) => name.parse().ok(),
        (_, Some(6)) => Some(Proto::Tcp),
        (_, Some(17)) => Some(Proto::Udp),
        _ => None,
    }
}

fn port(value: &Json) -> Option<Port> {
    Port::new(u16::try_from(value.as_u64()?).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn listed(text: &str) -> Vec<Entry> {
        let ruleset = Ruleset::read(text).unwrap();
        all().flat_map(|slot| slot.entries(&ruleset, Version::V4, "ip", "filter")).collect()
    }

    #[test]
    fn elements_are_read_in_every_form_nft_prints() {
        let entries = listed(
            r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "ip", "name": "fwknop4",
            "table": "filter", "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 3, "flags": ["timeout"],
            "elem": [{"elem": {"val": {"concat": ["198.51.100.7", "tcp", 22]}, "timeout": 30, "expires": 29,
            "comment": "fwknop:17:1748779233"}}, {"concat": ["198.51.100.8", 17, 53]},
            {"elem": {"val": {"concat": ["198.51.100.9", "tcp", 22]}, "timeout": 30}},
            {"concat": ["198.51.100.0/24", "tcp", 22]}, {"concat": ["198.51.100.9", "icmp", 22]},
            {"concat": ["198.51.100.9", "tcp", 22, 1]}, "198.51.100.9"]}}]}"#,
        );
        assert_eq!(entries.len(), 3, "{entries:?}");
        assert_eq!(entries[0].remaining, Some(Duration::from_secs(29)));
        assert_eq!(entries[0].tag().unwrap().to_string(), "fwknop:17:1748779233");
        let service = entries[1].spot.service.map(|service| service.to_string());
        assert_eq!((service.as_deref(), entries[1].remaining), (Some("udp/53"), None));
        assert_eq!(entries[2].remaining, Some(Duration::ZERO));
    }

    #[test]
    fn maps_are_read_with_what_they_lead_to() {
        let entries = listed(
            r#"{"nftables":[{"map":{"family":"ip","name":"fwknop_dnat4","table":"filter","map":"ipv4_addr",
            "type":["ipv4_addr","inet_proto","inet_service"],"flags":["timeout"],
            "elem":[[{"elem":{"val":{"concat":["1.2.3.4","tcp",5555]},"timeout":30,"expires":29,"comment":"x"}},"10.0.0.1"]]}},
            {"map":{"family":"ip","name":"fwknop_dnat_all4","table":"filter","map":"ipv4_addr","type":"ipv4_addr",
            "flags":["timeout"],"elem":[["1.2.3.5","10.0.0.2"],["1.2.3.6",7]]}},
            {"map":{"family":"ip","name":"fwknop_redirect4","table":"filter","map":"inet_service",
            "elem":[[{"concat":["1.2.3.4","tcp",5555]},22]]}}]}"#,
        );
        let to: Vec<_> = entries.iter().map(|entry| (entry.spot.kind, entry.to)).collect();
        let address = |text: &str| Some(Value::Address(text.parse().unwrap()));
        assert_eq!(
            to,
            [
                (Kind::Redirect, Some(Value::Port(Port::new(22).unwrap()))),
                (Kind::DnatAddress, address("10.0.0.1")),
                (Kind::DnatAddress, address("10.0.0.2"))
            ]
        );
    }

    #[test]
    fn every_shape_that_is_made_has_a_place_of_its_own() {
        let mut names: Vec<&str> = all().map(|slot| slot.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SLOTS.len());
        let shapes = all().map(|slot| (slot.kind, slot.peer, slot.service));
        assert!(all().zip(shapes).all(|(slot, shape)| {
            all().filter(|other| (other.kind, other.peer, other.service) == shape).eq([slot])
        }));
    }

    proptest! {
        #[test]
        fn any_element_is_read_without_harm(address in ".{0,8}", proto: u16, port: i64, seconds: i64) {
            let element = json!({"elem": {"val": {"concat": [address, proto, port]}, "expires": seconds}});
            let listing = json!({"nftables": [{"set": {
                "family": "ip", "table": "filter", "name": "fwknop4", "elem": [element]}}]});
            let _ = listed(&listing.to_string());
        }
    }
}
