//! The settings of the original's iptables and firewalld: which chains, and how rules get there.

use super::complaint::Complaints;
use super::setting::Settings;
use super::value::Checked;
use crate::firewall::{BackendName, FIREWALLD, IPTABLES, Role, TablesSettings};

pub fn resolve(settings: &Settings, backend: BackendName, complaints: &mut Complaints) -> TablesSettings {
    let comment_check = switch(settings, backend, "ENABLE_IPT_COMMENT_CHECK");
    let mut tables = TablesSettings {
        prepend: settings.flag("ENABLE_RULE_PREPEND").unwrap_or(false),
        comment_check: comment_check.unwrap_or(true),
        ..TablesSettings::default()
    };
    let own = Family::of(backend);
    for role in Role::ALL {
        let name = role.setting(own.unwrap_or(Family::Ipt).word());
        if let Some(Checked::TableChain(chain)) = settings.get(&name) {
            tables.chains.set(role, chain.clone());
        }
    }
    match own {
        Some(family) => refuse_useless(settings, family, &tables, complaints),
        None => note_useless(settings, &tables, backend, complaints),
    }
    for other in [Family::Ipt, Family::Firewd].into_iter().filter(|family| Some(*family) != own) {
        refuse_others(settings, other, backend, complaints);
    }
    tables
}

/// A setting that is for every firewall under its name for iptables, and has one of its own for firewalld.
pub fn switch(settings: &Settings, backend: BackendName, name: &str) -> Option<bool> {
    let own = settings.flag(&name.replace("IPT", "FIREWD")).filter(|_| backend == FIREWALLD);
    own.or(settings.flag(name))
}

/// Two sets of the same settings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipt,
    Firewd,
}

impl Family {
    fn of(backend: BackendName) -> Option<Self> {
        [Family::Ipt, Family::Firewd].into_iter().find(|family| family.backend() == backend)
    }

    fn word(self) -> &'static str {
        match self {
            Family::Ipt => "IPT",
            Family::Firewd => "FIREWD",
        }
    }

    fn backend(self) -> BackendName {
        match self {
            Family::Ipt => IPTABLES,
            Family::Firewd => FIREWALLD,
        }
    }
}

/// The rules need their own targets, and a chain of their own, or one kind could not be told from the other.
fn refuse_useless(settings: &Settings, family: Family, tables: &TablesSettings, complaints: &mut Complaints) {
    let chains = &tables.chains;
    for (index, role) in Role::ALL.into_iter().enumerate() {
        let (name, chain) = (role.setting(family.word()), chains.of(role));
        let Some(place) = settings.place(&name) else { continue };
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
            let what = format!("{name}: the chain {} is that of {} already", chain.to, other.setting(family.word()));
            complaints.error(place, what, "name a chain of its own as the fifth field");
        }
    }
}

fn note_useless(settings: &Settings, tables: &TablesSettings, backend: BackendName, complaints: &mut Complaints) {
    for (name, asked) in [("ENABLE_RULE_PREPEND", tables.prepend), ("ENABLE_IPT_COMMENT_CHECK", !tables.comment_check)]
    {
        if let Some(place) = settings.place(name).filter(|_| asked) {
            let why = format!("the rules of {backend} have no order and need no such module");
            complaints.note(place, format!("{name} has no effect"), why);
        }
    }
}

/// Whoever configured another firewall must not find his rules elsewhere, or none.
fn refuse_others(settings: &Settings, other: Family, backend: BackendName, complaints: &mut Complaints) {
    let usual = TablesSettings::default();
    let chains = Role::ALL.map(|role| {
        let name = role.setting(other.word());
        let unusual =
            settings.get(&name).is_some_and(|value| *value != Checked::TableChain(usual.chains.of(role).clone()));
        (name, unusual)
    });
    // The settings for iptables are those for every other firewall as well.
    let switches = FIREWD_SWITCHES.iter().filter(|_| other == Family::Firewd);
    let switches = switches.map(|(name, default)| ((*name).to_owned(), settings.flag(name) == Some(!default)));
    for (name, asked) in chains.into_iter().chain(switches) {
        if let Some(place) = settings.place(&name).filter(|_| asked) {
            let what = format!("{name} is for {}, and the firewall is {backend}", other.backend());
            complaints.error(place, what, format!("set FIREWALL to {}, or remove it", other.backend()));
        }
    }
}

/// With their defaults.
const FIREWD_SWITCHES: [(&str, bool); 7] = [
    ("FLUSH_FIREWD_AT_INIT", true),
    ("FLUSH_FIREWD_AT_EXIT", true),
    ("ENABLE_FIREWD_FORWARDING", false),
    ("ENABLE_FIREWD_LOCAL_NAT", false),
    ("ENABLE_FIREWD_SNAT", false),
    ("ENABLE_FIREWD_OUTPUT", false),
    ("ENABLE_FIREWD_COMMENT_CHECK", true),
];
