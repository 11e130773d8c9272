//! The NAT settings of a stanza, with those of the daemon (`spec/access.md` 9).

use super::Resolve;
use crate::access::NatRule;
use crate::config::value::Checked;
use crate::firewall::BackendName;
use crate::grant::{SourceNat, may_be_inside};

impl Resolve<'_, '_> {
    pub(super) fn nat(&mut self) -> NatRule {
        let server = self.context.server.nat.clone();
        let forced_source = self.forced_source();
        let rule = NatRule {
            forwarding: server.forwarding,
            local: server.local,
            names: server.names,
            destinations: self.addresses("NAT_DESTINATIONS"),
            forced: match self.settings.get("FORCE_NAT") {
                Some(Checked::Target(address, port)) => Some((address.to_canonical(), *port)),
                _ => None,
            },
            all: self.flag("FORWARD_ALL"),
            untranslated: self.flag("DISABLE_DNAT"),
            source: forced_source.or(server.source),
            source_forced: forced_source.is_some(),
        };
        self.judge_forced(&rule);
        self.judge_source(&rule);
        self.judge_destinations(&rule);
        self.judge_limits(server.limited_by);
        rule
    }

    /// An address wins over masquerading.
    fn forced_source(&self) -> Option<SourceNat> {
        match self.settings.get("FORCE_SNAT") {
            Some(Checked::Address(address)) => Some(SourceNat::To(address.to_canonical())),
            _ => self.flag("FORCE_MASQUERADE").then_some(SourceNat::Masquerade),
        }
    }

    fn judge_forced(&mut self, rule: &NatRule) {
        let Some((address, _)) = rule.forced else { return };
        let place = self.at("FORCE_NAT");
        let (enabled, by) = match address.is_loopback() {
            true => (rule.local, "ENABLE_IPT_LOCAL_NAT"),
            false => (rule.forwarding, "ENABLE_IPT_FORWARDING"),
        };
        if !enabled {
            self.complaints.error(&place, format!("FORCE_NAT needs {by}"), "set it in fwknopd.conf");
        }
        if !address.is_loopback() && !may_be_inside(address, address, None) {
            let what = format!("FORCE_NAT: {address} is not a host");
            self.complaints.error(&place, what, "write the address of the inner host, or 127.0.0.1 for this one");
        }
    }

    fn judge_source(&mut self, rule: &NatRule) {
        for name in ["FORCE_SNAT", "FORCE_MASQUERADE"] {
            let set = self.settings.get(name).is_some_and(|value| *value != Checked::Flag(false));
            if set && rule.forced.is_none() && !rule.all {
                let place = self.at(name);
                self.complaints.error(
                    &place,
                    format!("{name} needs FORCE_NAT or FORWARD_ALL"),
                    "add one, or remove it",
                );
            }
        }
        if let (Some(SourceNat::To(source)), Some((target, _))) = (rule.source, rule.forced)
            && source.is_ipv4() != target.is_ipv4()
        {
            let (place, what) =
                (self.at("FORCE_SNAT"), format!("the source {source} is of another family than {target}"));
            self.complaints.error(&place, what, "write both as IPv4, or both as IPv6");
        }
    }

    fn judge_limits(&mut self, firewall: Option<BackendName>) {
        let Some(firewall) = firewall else { return };
        for (name, advice) in [
            ("FORWARD_ALL", "remove it: the ports that are asked for are forwarded"),
            ("FORCE_MASQUERADE", "name an address with FORCE_SNAT instead"),
        ] {
            if self.flag(name) {
                let place = self.at(name);
                self.complaints.error(&place, format!("{name} cannot be had with {firewall}"), advice);
            }
        }
    }

    fn judge_destinations(&mut self, rule: &NatRule) {
        let names: &[&str] = if rule.forwarding { &[] } else { &["NAT_DESTINATIONS", "FORWARD_ALL", "DISABLE_DNAT"] };
        for name in names {
            let asks = self.settings.get(name).is_some_and(|value| *value != Checked::Flag(false));
            if asks {
                let place = self.at(name);
                let what = format!("{name} has no effect without ENABLE_IPT_FORWARDING");
                self.complaints.warn(&place, what, "set that in fwknopd.conf, or remove this");
            }
        }
        match (rule.forced.is_some(), rule.destinations.is_some()) {
            (true, true) => {
                let place = self.at("NAT_DESTINATIONS");
                self.complaints.warn(&place, "NAT_DESTINATIONS has no effect beside FORCE_NAT", "remove one of them");
            }
            (false, false) if rule.forwarding => self.complaints.warn(
                &self.place,
                "clients of the stanza may ask to be forwarded to any host",
                "name the inner hosts with NAT_DESTINATIONS, or one with FORCE_NAT",
            ),
            _ => {}
        }
    }
}
