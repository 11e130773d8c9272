//! What a stanza makes of requests that lead elsewhere than to this host's own port (`spec/access.md` 9,
//! `spec/firewall.md` 3).
//!
//! Unlike in the original every requested port is translated, not only the first, and a target must be a host that packets
//! can be forwarded to.

use std::net::IpAddr;

use crate::grant::{Access, Forward, Host, HostName, SourceNat, Target, may_be_inside};
use crate::net::{AddrSet, Port, PortSet};
use crate::reason::Reason;
use crate::spa::NatTarget;

/// The NAT settings of a stanza, and those of the daemon that hold for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatRule {
    /// `ENABLE_IPT_FORWARDING`
    pub forwarding: bool,
    /// `ENABLE_IPT_LOCAL_NAT`
    pub local: bool,
    /// `ENABLE_NAT_DNS`: a target may be a name.
    pub names: bool,
    /// `NAT_DESTINATIONS`: where clients may point. `None`: anywhere.
    pub destinations: Option<AddrSet>,
    /// `FORCE_NAT`: where everything goes, whatever is asked for.
    pub forced: Option<(IpAddr, Port)>,
    /// `FORWARD_ALL`
    pub all: bool,
    /// `DISABLE_DNAT`
    pub untranslated: bool,
    /// `FORCE_SNAT`, `FORCE_MASQUERADE`, or what `ENABLE_IPT_SNAT` says.
    pub source: Option<SourceNat>,
    /// `FORCE_SNAT` or `FORCE_MASQUERADE` is set: with `FORWARD_ALL` the stanza is for a gateway's clients.
    pub source_forced: bool,
}

/// What a message asks for, as far as NAT is concerned.
pub struct Asked<'a> {
    pub allow: IpAddr,
    pub ports: &'a PortSet,
    /// `None`: it asks for services of this host.
    pub nat: Option<(&'a NatTarget, Way)>,
}

/// The two kinds of NAT requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Forward,
    Local,
}

impl NatRule {
    /// Whether some of what is forwarded is sent on in this host's name, port by port.
    pub fn masquerades(&self) -> bool {
        self.forwarding && !self.all && self.source == Some(SourceNat::Masquerade)
    }

    /// Where the request leads.
    pub fn lead(&self, asked: &Asked<'_>) -> Result<Access, Reason> {
        if let Some((address, port)) = self.forced {
            return self.forced(asked, address, port);
        }
        match asked.nat {
            None if self.all && self.source_forced => self.forward(asked, None),
            None => Ok(Access::Open(asked.ports.clone())),
            Some((target, Way::Local)) => self.to_this_host(asked, target.port),
            Some((target, Way::Forward)) => {
                self.refuse_disabled(self.forwarding)?;
                let host = self.host(asked, target)?;
                self.forward(asked, Some(Target { host, port: target.port }))
            }
        }
    }

    /// A loopback address stands for this host itself.
    fn forced(&self, asked: &Asked<'_>, address: IpAddr, port: Port) -> Result<Access, Reason> {
        if address.is_loopback() {
            return self.to_this_host(asked, port);
        }
        if !may_be_inside(address, asked.allow, None) {
            return Err(Reason::NatTarget);
        }
        self.forward(asked, Some(Target { host: Host::Address(address), port }))
    }

    /// The address a client names is not looked at: it knows us by one that our packets may never carry.
    fn to_this_host(&self, asked: &Asked<'_>, to: Port) -> Result<Access, Reason> {
        self.refuse_disabled(self.local)?;
        Ok(Access::Local { ports: asked.ports.clone(), to })
    }

    fn forward(&self, asked: &Asked<'_>, to: Option<Target>) -> Result<Access, Reason> {
        self.refuse_disabled(self.forwarding)?;
        if let Some(SourceNat::To(source)) = self.source
            && source.is_ipv4() != asked.allow.is_ipv4()
        {
            return Err(Reason::NatTarget);
        }
        let ports = (!self.all).then(|| asked.ports.clone());
        let translated = !self.untranslated && to.is_some();
        Ok(Access::Forward(Box::new(Forward { ports, to, translated, source: self.source })))
    }

    fn host(&self, asked: &Asked<'_>, target: &NatTarget) -> Result<Host, Reason> {
        let within = self.destinations.as_ref();
        match target.host().parse::<IpAddr>() {
            Ok(address) if may_be_inside(address, asked.allow, within) => Ok(Host::Address(address)),
            Ok(_) => Err(Reason::NatTarget),
            Err(_) if self.names => {
                Ok(Host::Name(HostName { name: target.host().to_owned(), within: self.destinations.clone() }))
            }
            Err(_) => Err(Reason::NatName),
        }
    }

    fn refuse_disabled(&self, enabled: bool) -> Result<(), Reason> {
        if enabled { Ok(()) } else { Err(Reason::NatDisabled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(rule: &NatRule, nat: Option<(&str, Way)>) -> Result<String, &'static str> {
        let ports: PortSet = "tcp/5555,udp/53".parse().unwrap();
        let target = nat.map(|(host, way)| (NatTarget::new(host, Port::new(22).unwrap()).unwrap(), way));
        let nat = target.as_ref().map(|(target, way)| (target, *way));
        let asked = Asked { allow: "198.51.100.7".parse().unwrap(), ports: &ports, nat };
        rule.lead(&asked).map(|access| access.to_string()).map_err(|reason| reason.class())
    }

    fn enabled() -> NatRule {
        NatRule { forwarding: true, local: true, names: true, ..NatRule::default() }
    }

    fn forced(address: &str) -> NatRule {
        NatRule { forced: Some((address.parse().unwrap(), Port::new(80).unwrap())), ..enabled() }
    }

    const INNER: Option<(&str, Way)> = Some(("10.1.2.3", Way::Forward));
    const LOCAL: Option<(&str, Way)> = Some(("192.0.2.1", Way::Local));

    #[test]
    fn each_kind_must_be_enabled() {
        let off = NatRule::default();
        assert_eq!(lead(&off, None).as_deref(), Ok("ports=tcp/5555,udp/53"));
        assert_eq!(lead(&off, INNER), Err("nat-disabled"));
        assert_eq!(lead(&off, LOCAL), Err("nat-disabled"));
        let local = NatRule { local: true, ..NatRule::default() };
        assert_eq!(lead(&local, INNER), Err("nat-disabled"));
        assert_eq!(lead(&enabled(), INNER).as_deref(), Ok("ports=tcp/5555,udp/53 to=10.1.2.3:22"));
        assert_eq!(lead(&enabled(), LOCAL).as_deref(), Ok("ports=tcp/5555,udp/53 to=local:22"));
        for rule in [forced("10.9.9.9"), forced("127.0.0.1")] {
            let off = NatRule { forwarding: false, local: false, ..rule };
            assert_eq!(lead(&off, None), Err("nat-disabled"));
        }
    }

    #[test]
    fn a_target_is_a_host_that_may_be_reached() {
        for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fd00::1"] {
            assert_eq!(lead(&enabled(), Some((bad, Way::Forward))), Err("nat-target"), "{bad}");
        }
        let within = AddrSet::Networks(vec!["10.1.0.0/16".parse().unwrap()]);
        let limited = NatRule { destinations: Some(within), ..enabled() };
        assert!(lead(&limited, INNER).is_ok());
        assert_eq!(lead(&limited, Some(("10.2.0.1", Way::Forward))), Err("nat-target"));
        let name = Some(("inner.example", Way::Forward));
        assert_eq!(lead(&limited, name).as_deref(), Ok("ports=tcp/5555,udp/53 to=inner.example:22"));
        assert_eq!(lead(&NatRule { names: false, ..enabled() }, name), Err("nat-name"));
    }

    #[test]
    fn a_forced_target_is_the_target_of_everything() {
        for asked in [None, INNER, LOCAL, Some(("inner.example", Way::Forward))] {
            assert_eq!(lead(&forced("10.9.9.9"), asked).as_deref(), Ok("ports=tcp/5555,udp/53 to=10.9.9.9:80"));
            assert_eq!(lead(&forced("127.0.0.1"), asked).as_deref(), Ok("ports=tcp/5555,udp/53 to=local:80"));
        }
        assert_eq!(lead(&forced("fd00::1"), None), Err("nat-target"));
    }

    #[test]
    fn forward_all_knows_no_ports_and_changes_nat_requests_only() {
        let all = NatRule { all: true, ..enabled() };
        assert_eq!(lead(&all, None).as_deref(), Ok("ports=tcp/5555,udp/53"));
        assert_eq!(lead(&all, INNER).as_deref(), Ok("ports=all to=10.1.2.3"));
        // A gateway lets its clients out: there is nothing to translate to.
        let source = Some(SourceNat::Masquerade);
        let gateway = NatRule { source, source_forced: true, ..all };
        assert_eq!(lead(&gateway, None).as_deref(), Ok("ports=all to=any source=masquerade"));
    }

    #[test]
    fn the_source_is_rewritten_within_its_family() {
        let to = |text: &str| NatRule { source: Some(SourceNat::To(text.parse().unwrap())), ..enabled() };
        assert_eq!(lead(&to("10.0.0.1"), INNER).as_deref(), Ok("ports=tcp/5555,udp/53 to=10.1.2.3:22 source=10.0.0.1"));
        assert_eq!(lead(&to("fd00::9"), INNER), Err("nat-target"));
    }
}
