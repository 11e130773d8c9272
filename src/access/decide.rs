//! Stanza × Message → Decision: the policy, once a message is authentic and fresh (`spec/access.md` 4 to 6).

use std::net::IpAddr;

use crate::access::Stanza;
use crate::access::nat::{Asked, Way};
use crate::crypto::Signer;
use crate::crypto::openpgp::{Fingerprint, SignerRule};
use crate::grant::{Access, RunAs};
use crate::net::{Origin, PortSet};
use crate::reason::{Reason, UserMismatch};
use crate::spa::{Message, Request};
use crate::time::{Lifetime, Timestamp};

/// What a stanza permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Grant(Permit),
    Run { allow: IpAddr, command: Vec<u8>, run_as: RunAs },
}

/// To whom, to what, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    pub allow: IpAddr,
    pub access: Access,
    /// Only under this address of ours.
    pub at: Option<IpAddr>,
    pub lifetime: Lifetime,
}

impl Stanza {
    /// Whether the stanza is for packets from there to there.
    pub fn is_for(&self, origin: &Origin) -> bool {
        // A destination we do not know matches only a stanza that does not care.
        let destination = match origin.dst {
            Some(dst) => self.destination.contains(dst),
            None => self.destination == crate::net::AddrSet::Any,
        };
        destination && self.source.contains(origin.src)
    }

    /// The key by which the stanza lists a signer: the primary key of the certificate, or the one that signed.
    pub fn listed_key(&self, signer: &Signer) -> Option<Fingerprint> {
        let Signer::Certificate { primary, signing, .. } = signer else { return None };
        [primary, signing].into_iter().find(|key| self.lists(key)).cloned()
    }

    pub fn lists(&self, key: &Fingerprint) -> bool {
        let rule = self.openpgp.as_ref().map(|openpgp| &openpgp.signer);
        matches!(rule, Some(SignerRule::Listed { lists, .. }) if lists.iter().any(|list| list.contains(key)))
    }

    pub fn refuse_expired(&self, now: Timestamp) -> Result<(), Reason> {
        match self.expires {
            Some(end) if end <= now => Err(Reason::StanzaExpired),
            _ => Ok(()),
        }
    }

    /// `source` is the address the packet speaks for: its own, or the one a proxy names.
    pub fn decide(&self, message: &Message, source: IpAddr, origin: &Origin) -> Result<Decision, Reason> {
        let allow = self.address(message.request.allow(), source)?;
        self.check_user(message)?;
        let (ports, nat) = match &message.request {
            Request::Access { ports, .. } => (ports, None),
            Request::Nat { ports, target, local, .. } => {
                (ports, Some((target, if *local { Way::Local } else { Way::Forward })))
            }
            Request::Command { command, .. } => return self.run(allow, command),
        };
        let access = self.nat.lead(&Asked { allow, ports, nat })?;
        self.check_ports(ports)?;
        let (access, at) = match &self.cycle {
            Some(cycle) => (Access::Cycle(Box::new(cycle.of(allow, ports, origin, message.time))), None),
            None => (access, self.at(allow, origin)?),
        };
        Ok(Decision::Grant(Permit { allow, access, at, lifetime: self.lifetime(message) }))
    }

    fn run(&self, allow: IpAddr, command: &[u8]) -> Result<Decision, Reason> {
        let run_as = self.commands.clone().ok_or(Reason::CommandDisabled)?;
        Ok(Decision::Run { allow, command: command.to_owned(), run_as })
    }

    /// `ENABLE_DESTINATION_RULE`: the address the packet was sent to.
    fn at(&self, allow: IpAddr, origin: &Origin) -> Result<Option<IpAddr>, Reason> {
        match origin.dst.map(|dst| dst.to_canonical()) {
            _ if !self.only_destination => Ok(None),
            Some(dst) if dst.is_ipv4() == allow.is_ipv4() => Ok(Some(dst)),
            _ => Err(Reason::DestinationUnknown),
        }
    }

    /// `0.0.0.0` and `::` mean "the address I come from".
    fn address(&self, asked: IpAddr, source: IpAddr) -> Result<IpAddr, Reason> {
        match asked.to_canonical() {
            asked if !asked.is_unspecified() => Ok(asked),
            // A source that is no host's: the capture refuses them, and so do we.
            _ if self.require_source_address || source.is_unspecified() || source.is_multicast() => {
                Err(Reason::SourceAddressRequired)
            }
            _ => Ok(source.to_canonical()),
        }
    }

    fn check_user(&self, message: &Message) -> Result<(), Reason> {
        match &self.require_username {
            Some(required) if required != message.user.as_str() => {
                Err(Reason::UsernameMismatch(Box::new(UserMismatch {
                    found: message.user.to_string(),
                    required: required.clone(),
                })))
            }
            _ => Ok(()),
        }
    }

    /// One restricted port refuses all; then each must be among those that may be asked for.
    fn check_ports(&self, asked: &PortSet) -> Result<(), Reason> {
        let restricted = self.restrict_ports.as_ref().is_some_and(|ports| ports.contains_any(asked));
        let open = self.open_ports.as_ref().is_none_or(|ports| ports.contains_all(asked));
        if restricted || !open { Err(Reason::PortDenied) } else { Ok(()) }
    }

    /// What the client asks for, or the default; never more than the stanza's maximum.
    fn lifetime(&self, message: &Message) -> Lifetime {
        let asked = message.timeout.and_then(|timeout| Lifetime::from_secs(timeout.secs()));
        asked.unwrap_or(self.timeout).min(self.max_timeout)
    }
}
