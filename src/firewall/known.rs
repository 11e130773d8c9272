//! The firewalls we can speak to: each is a file of its own, and a line here.

use std::fmt;
use std::path::Path;

use super::backend::Backend;
use super::settings::FirewallSettings;
use super::{ipfw, iptables, nftables, pf, runner};

pub const ALL: [BackendName; 5] = [nftables::NFTABLES, iptables::IPTABLES, iptables::FIREWALLD, ipfw::IPFW, pf::PF];

/// As `FIREWALL` names them.
pub const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < ALL.len() {
        names[at] = ALL[at].0.name;
        at += 1;
    }
    names
};

/// One of them.
#[derive(Clone, Copy)]
pub struct BackendName(&'static Known);

/// What a back-end says about itself.
pub struct Known {
    pub name: &'static str,
    /// The file names of its program, in all its variants.
    pub programs: &'static [&'static str],
    /// What to do when the program is not there.
    pub missing: &'static str,
    /// The program by which it is found when no firewall is named. `None`: it has to be named.
    pub found_by: Option<&'static str>,
    pub make: fn(&FirewallSettings) -> Box<dyn Backend>,
}

impl BackendName {
    pub const fn new(known: &'static Known) -> Self {
        Self(known)
    }

    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|known| known.0.name == name)
    }

    /// By the file name of its program. Some come with helpers: `iptables-restore`.
    pub fn of_program(name: &str) -> Option<Self> {
        ALL.into_iter().find(|known| known.0.programs.contains(&name))
    }

    /// What this system has, the first of them.
    pub fn installed() -> Self {
        let is_there = |program: &str| runner::find_program(Path::new(program)).is_ok();
        ALL.into_iter().find(|known| known.0.found_by.is_some_and(is_there)).unwrap_or(nftables::NFTABLES)
    }

    /// Touches nothing yet.
    pub fn backend(self, settings: &FirewallSettings) -> Box<dyn Backend> {
        (self.0.make)(settings)
    }

    /// What its program is usually called.
    pub fn program(self) -> &'static str {
        self.0.programs.first().copied().unwrap_or(self.0.name)
    }

    pub fn advice_when_missing(self) -> &'static str {
        self.0.missing
    }
}

impl PartialEq for BackendName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for BackendName {}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Error;

    #[test]
    fn each_is_found_by_its_name_and_its_programs() {
        for known in ALL {
            assert_eq!(BackendName::named(&known.to_string()), Some(known));
            for program in known.0.programs {
                assert_eq!(BackendName::of_program(program), Some(known), "{program}");
            }
        }
        assert_eq!(BackendName::of_program("iptables-legacy"), Some(iptables::IPTABLES));
        assert_eq!((BackendName::named("ipf"), BackendName::of_program("sh")), (None, None));
    }

    #[test]
    fn a_missing_program_is_told_with_where_it_is_to_be_had() {
        for (program, advice) in [
            ("/nowhere/ipfw", "correct the path in FIREWALL_EXE"),
            ("ipfw", "ipfw belongs to FreeBSD"),
            ("pfctl", "pfctl belongs to OpenBSD and FreeBSD"),
            ("sysctl", "it belongs to the system"),
            ("iptables-legacy-restore", "install the package iptables"),
            ("firewall-cmd", "install the package firewalld"),
            ("nft", "install the package nftables"),
        ] {
            let shown = runner::missing(Path::new(program)).to_string();
            assert!(shown.starts_with(&format!("cannot find the program {program}: ")), "{shown}");
            assert!(shown.contains(advice), "{shown}");
        }
        assert!(matches!(runner::find_program(Path::new("no-such-firewall")), Err(Error::Missing { .. })));
    }
}
