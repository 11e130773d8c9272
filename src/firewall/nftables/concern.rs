//! What in an nftables ruleset would keep grants from working, or makes them pointless.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::firewall::Concern;
use crate::firewall::concern::{self, MAX_TOLD};
use crate::firewall::ruleset::{Chain, ChainRule, Ruleset};
use crate::firewall::settings::{ChainPlace, Hook};
use crate::net::{Port, Proto, Service};

/// No rule on the way through this chain lets pass what is established.
pub fn stateless(ruleset: &Ruleset, hook: Hook, access: &ChainPlace) -> Option<Concern> {
    let chain = ruleset.chain(&access.family.to_string(), access.table.as_str(), access.chain.as_str())?;
    let bases = ruleset.entrances(chain);
    let passes = |rule: &&ChainRule| rule.passes_established() && enters(ruleset, rule, &bases);
    let rule = || format!("nft insert rule {access} ct state established,related accept");
    ruleset.rules.iter().find(passes).is_none().then(|| concern::stateless(hook, &access.to_string(), rule()))
}

fn enters(ruleset: &Ruleset, rule: &ChainRule, bases: &[&Chain]) -> bool {
    let chain = ruleset.chain(&rule.family, &rule.table, &rule.chain);
    chain.is_some_and(|chain| ruleset.entrances(chain).iter().any(|base| bases.contains(base)))
}

/// Services that grants would open, but whose packets are led elsewhere.
pub fn diverted(ruleset: &Ruleset, opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
    let mut seen = BTreeSet::new();
    for rule in ruleset.rules.iter().filter(|rule| rule.translates()) {
        let asked = rule.destinations().into_iter().filter(|service| opens(*service));
        seen.extend(asked.map(|service| (service, format!("{} {} {}", rule.family, rule.table, rule.chain))));
    }
    seen.iter().take(MAX_TOLD).map(|(service, chain)| concern::diverted(*service, chain)).collect()
}

impl ChainRule {
    fn passes_established(&self) -> bool {
        let state = self.mentions("established") || self.mentions("conntrack");
        state && (self.does("accept") || self.does("vmap"))
    }

    fn translates(&self) -> bool {
        self.does("dnat") || self.statements().any(|statement| statement.pointer("/xt/name") == Some(&"DNAT".into()))
    }

    /// The services it is limited to: none, if to none.
    fn destinations(&self) -> Vec<Service> {
        let matches: Vec<&Value> = self.statements().filter_map(|statement| statement.get("match")).collect();
        let field = |wanted: &str| {
            let fits =
                move |found: &&&Value| found.pointer("/left/payload/field").and_then(Value::as_str) == Some(wanted);
            matches.iter().find(fits).copied()
        };
        if field("daddr").and_then(|found| found.get("right")?.as_str()).is_some_and(is_loopback) {
            return Vec::new();
        }
        let Some(found) = field("dport") else { return Vec::new() };
        let protos = match found.pointer("/left/payload/protocol").and_then(Value::as_str) {
            Some("tcp") => vec![Proto::Tcp],
            Some("udp") => vec![Proto::Udp],
            _ => vec![Proto::Tcp, Proto::Udp],
        };
        let ports = found.get("right").map(ports).unwrap_or_default();
        protos.into_iter().flat_map(|proto| ports.iter().map(move |port| Service { proto, port: *port })).collect()
    }
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("127.") || address == "::1"
}

/// Of a number, a range, or a set of these.
fn ports(value: &Value) -> Vec<Port> {
    let number = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    if let Some(many) = value.get("set").and_then(Value::as_array) {
        return many.iter().flat_map(ports).collect();
    }
    if let Some([first, last]) = value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        let (Some(first), Some(last)) = (number(first), number(last)) else { return Vec::new() };
        return (first..=last).filter_map(Port::new).collect();
    }
    number(value).and_then(Port::new).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(exprs: &[(&str, &str)]) -> Ruleset {
        let chain = |name: &str, rest: &str| {
            format!(r#"{{"chain":{{"family":"inet","table":"filter","name":"{name}","handle":1{rest}}}}}"#)
        };
        let mut all = vec![
            chain("input", r#","type":"filter","hook":"input","prio":0,"policy":"drop""#),
            chain("forward", r#","type":"filter","hook":"forward","prio":0,"policy":"drop""#),
            chain("states", ""),
        ];
        all.extend(exprs.iter().map(|(chain, expr)| {
            format!(r#"{{"rule":{{"family":"inet","table":"filter","chain":"{chain}","handle":2,"expr":{expr}}}}}"#)
        }));
        Ruleset::read(&format!(r#"{{"nftables":[{}]}}"#, all.join(","))).unwrap()
    }

    const STATE: &str = r#"[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}},
        {"accept":null}]"#;

    #[test]
    fn the_state_rule_may_stand_in_any_chain_that_input_enters() {
        let at = |hook, exprs: &[(&str, &str)]| {
            stateless(&rules(exprs), hook, &format!("inet filter {hook}").parse().unwrap()).is_some()
        };
        let missing = |exprs: &[(&str, &str)]| at(Hook::Input, exprs);
        let jump = r#"[{"jump":{"target":"states"}}]"#;
        assert!(!missing(&[("input", STATE)]));
        assert!(!missing(&[("input", jump), ("states", STATE)]));
        let map = r#"[{"vmap":{"key":{"ct":{"key":"state"}},"data":{"set":[["established",{"accept":null}]]}}}]"#;
        assert!(!missing(&[("input", map)]));
        assert!(missing(&[]));
        assert!(missing(&[("states", STATE)]), "nobody enters it");
        assert!(missing(&[("forward", STATE)]) && !at(Hook::Forward, &[("forward", STATE)]));
        assert!(at(Hook::Forward, &[("input", STATE)]));
        let drop = r#"[{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":"invalid"}},{"drop":null}]"#;
        assert!(missing(&[("input", drop)]));
    }

    #[test]
    fn translated_ports_are_told_when_a_stanza_opens_them() {
        let translated = |matches: &str| {
            let expr = format!(r#"[{matches},{{"dnat":{{"addr":"172.17.0.2","port":80}}}}]"#);
            let found = diverted(&rules(&[("forward", &expr)]), &|service| service.port.get() < 9000);
            found.into_iter().map(|concern| concern.what.split(' ').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
        };
        let port = |proto: &str, right: &str| {
            format!(
                r#"{{"match":{{"op":"==","left":{{"payload":{{"protocol":"{proto}","field":"dport"}}}},"right":{right}}}}}"#
            )
        };
        assert_eq!(translated(&port("tcp", "8080")), ["tcp/8080"]);
        assert_eq!(translated(&port("th", "53")), ["tcp/53", "udp/53"]);
        assert_eq!(
            translated(&port("udp", r#"{"set":[53,{"range":[8998,9002]}]}"#)),
            ["udp/53", "udp/8998", "udp/8999"]
        );
        assert!(translated(&port("tcp", "9000")).is_empty());
        assert_eq!(translated(&port("tcp", r#"{"range":[1,60000]}"#)).len(), MAX_TOLD);
        let local = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"daddr"}},"right":"127.0.0.1"}}"#;
        assert!(translated(&format!("{local},{}", port("tcp", "8080"))).is_empty());
        assert!(translated(r#"{"counter":null}"#).is_empty());
    }
}
