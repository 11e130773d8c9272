//! Set-up and a rule of each kind, for `iptables-restore` to judge and not to carry out: it says what the kernel lacks.

use std::net::IpAddr;

use super::text::{Version, rule_text};
use super::{Iptables, restore};
use crate::firewall::{Kind, Line, Spot, Step, Value};
use crate::net::{Port, Proto, Service};

/// A transaction for each protocol and table.
pub fn steps(iptables: &Iptables, set_up: &[Step]) -> Vec<Step> {
    let mut steps = Vec::new();
    for version in &iptables.versions {
        for table in iptables.table_names() {
            let made = set_up.iter().filter_map(|step| match step {
                Step::Line(line) if line.program == version.restore() && line.table == table => Some(line.clone()),
                _ => None,
            });
            let lines: Vec<Line> = made.chain(examples(iptables, *version, &table)).collect();
            if !lines.is_empty() {
                let mut command = restore::transaction(&lines.iter().collect::<Vec<_>>());
                command.args.insert(0, "--test".to_owned());
                steps.push(Step::Command(command));
            }
        }
    }
    steps
}

/// A rule for each chain of ours in that table, as a grant would make it.
fn examples(iptables: &Iptables, version: Version, table: &str) -> Vec<Line> {
    let address = match version {
        Version::V4 => IpAddr::from([192, 0, 2, 1]),
        Version::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
    };
    let port = Port::MIN;
    let here = iptables.roles().filter(|(_, chain)| chain.table == table);
    let example = |(role, chain): (super::Role, &super::TableChain)| {
        let kind = role.kind();
        let to = match kind {
            Kind::DnatAddress => Some(Value::Socket(address, port)),
            Kind::Snat => Some(Value::Address(address)),
            Kind::Masquerade => Some(Value::Port(port)),
            _ => None,
        };
        let renamed = matches!(kind, Kind::Snat | Kind::Masquerade);
        let spot = Spot {
            kind,
            address,
            peer: renamed.then_some(address),
            service: Some(Service { proto: Proto::Tcp, port }),
        };
        let text = format!("-A {} {}", chain.to, rule_text(&spot, to, "_exp_0", &chain.target));
        Line { program: version.restore(), table: table.to_owned(), jump: None, text, bounded: true }
    };
    here.map(example).collect()
}
