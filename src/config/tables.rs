//! The settings of the original's iptables: which chains, and how rules get there.

use super::complaint::Complaints;
use super::setting::Settings;
use super::value::Checked;
use crate::firewall::{BackendName, Role, TablesSettings};

pub fn resolve(settings: &Settings, backend: BackendName, complaints: &mut Complaints) -> TablesSettings {
    let mut tables = TablesSettings {
        prepend: settings.flag("ENABLE_RULE_PREPEND").unwrap_or(false),
        comment_check: settings.flag("ENABLE_IPT_COMMENT_CHECK").unwrap_or(true),
        ..TablesSettings::default()
    };
    for role in Role::ALL {
        if let Some(Checked::TableChain(chain)) = settings.get(role.setting()) {
            tables.chains.set(role, chain.clone());
        }
    }
    if backend == BackendName::Iptables {
        refuse_useless(settings, &tables, complaints);
    } else {
        refuse_chains(settings, &tables, backend, complaints);
    }
    tables
}

/// The rules need their own targets, and a chain of their own, or one kind could not be told from the other.
fn refuse_useless(settings: &Settings, tables: &TablesSettings, complaints: &mut Complaints) {
    let chains = &tables.chains;
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let (name, chain) = (role.setting(), chains.of(role));
        let Some(place) = settings.place(name) else { continue };
        if let Some(target) = role.target().filter(|target| *target != chain.target) {
            let what = format!("{name}: the target '{}' does not translate", chain.target);
            complaints.error(place, what, format!("write {target} as the first field"));
        }
        if chain.from == chain.to {
            complaints.error(place, format!("{name}: {} would jump to itself", chain.to), "name a chain of its own");
        }
        let mut before = Role::ALL.into_iter().take(index);
        let same = before.find(|other| (&chains.of(*other).table, &chains.of(*other).to) == (&chain.table, &chain.to));
        if let Some(other) = same {
            let what = format!("{name}: the chain {} is that of {} already", chain.to, other.setting());
            complaints.error(place, what, "name a chain of its own as the fifth field");
        }
    }
}

/// Whoever moved the rules elsewhere must not find them where nftables has them.
fn refuse_chains(settings: &Settings, tables: &TablesSettings, backend: BackendName, complaints: &mut Complaints) {
    let usual = TablesSettings::default();
    for role in Role::ALL {
        let name = role.setting();
        if let Some(place) = settings.place(name).filter(|_| tables.chains.of(role) != usual.chains.of(role)) {
            let what = format!("{name} is for iptables, and the firewall is {backend}");
            complaints.error(place, what, "set FIREWALL to iptables, or remove it");
        }
    }
    for (name, asked) in [("ENABLE_RULE_PREPEND", tables.prepend), ("ENABLE_IPT_COMMENT_CHECK", !tables.comment_check)]
    {
        if let Some(place) = settings.place(name).filter(|_| asked) {
            let why = format!("the rules of {backend} have no order and need no such module");
            complaints.note(place, format!("{name} has no effect"), why);
        }
    }
}
