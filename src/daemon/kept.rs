//! A grant as it is kept in the store until it ends: so that the next daemon knows whose is what it finds open, opens what
//! this one had no time for, and closes what only a command can close, whatever the access files say by then.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::crypto::openpgp::Fingerprint;
use crate::grant::{
    Access, Account, Cycle, Forward, Grant, GrantId, Host, HostName, RunAs, SourceNat, Target, Template,
};
use crate::net::{AddrSet, Port, PortSet};
use crate::time::{Lifetime, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    allow: IpAddr,
    at: Option<IpAddr>,
    way: Way,
    /// Seconds.
    lifetime: u32,
    until: Moment,
    certificate: Option<String>,
    knock: Record,
}

/// Seconds since 1970, and nanoseconds of the next.
#[derive(Debug, Serialize, Deserialize)]
struct Moment(u64, u32);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    Open(String),
    Local { ports: String, to: Port },
    Forward { ports: Option<String>, to: Option<Inner>, translated: bool, source: Option<Source> },
    Cycle(Commands),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Inner {
    Address(IpAddr, Port),
    /// Only within these networks; none is anywhere.
    Name(String, Port, Option<Vec<String>>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    Masquerade,
    To(IpAddr),
}

#[derive(Debug, Serialize, Deserialize)]
struct Commands {
    ports: String,
    open: Vec<String>,
    close: Option<Vec<String>>,
    user: Option<Name>,
    group: Option<Name>,
    /// Seconds.
    timeout: u64,
    /// Seconds since 1970.
    stamped: u64,
    begun: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Name {
    name: String,
    id: u32,
    gid: u32,
}

/// `None`: nobody knocked for it, so it was found open, and will be again.
pub fn text(grant: &Grant) -> Option<String> {
    let kept = Kept {
        allow: grant.allow,
        at: grant.at,
        way: Way::of(&grant.access),
        lifetime: grant.lifetime.secs(),
        until: Moment::of(grant.until),
        certificate: grant.certificate.as_ref().map(ToString::to_string),
        knock: Record::of(grant.knock.as_ref()?),
    };
    serde_json::to_string(&kept).ok()
}

/// `None`: written by another version.
pub fn grant(id: GrantId, text: &str) -> Option<Grant> {
    let Kept { allow, at, way, lifetime, until, certificate, knock } = serde_json::from_str(text).ok()?;
    let certificate: Option<Option<Fingerprint>> = certificate.map(|text| text.parse().ok());
    Some(Grant {
        id,
        allow,
        access: way.access()?,
        at,
        lifetime: Lifetime::from_secs(lifetime)?,
        until: until.timestamp(),
        certificate: match certificate {
            Some(certificate) => Some(certificate?),
            None => None,
        },
        knock: Some(knock.into_knock()?),
    })
}

impl Moment {
    fn of(at: Timestamp) -> Self {
        let since = Timestamp::from_secs(at.secs()).until(at);
        Self(at.secs(), since.subsec_nanos())
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_secs(self.0).plus(Duration::from_nanos(self.1.into()))
    }
}

impl Way {
    fn of(access: &Access) -> Self {
        match access {
            Access::Open(ports) => Way::Open(ports.to_string()),
            Access::Local { ports, to } => Way::Local { ports: ports.to_string(), to: *to },
            Access::Forward(forward) => Way::Forward {
                ports: forward.ports.as_ref().map(PortSet::to_string),
                to: forward.to.as_ref().map(Inner::of),
                translated: forward.translated,
                source: forward.source.map(|source| match source {
                    SourceNat::Masquerade => Source::Masquerade,
                    SourceNat::To(address) => Source::To(address),
                }),
            },
            Access::Cycle(cycle) => Way::Cycle(Commands::of(cycle)),
        }
    }

    fn access(self) -> Option<Access> {
        Some(match self {
            Way::Open(ports) => Access::Open(ports.parse().ok()?),
            Way::Local { ports, to } => Access::Local { ports: ports.parse().ok()?, to },
            Way::Forward { ports, to, translated, source } => {
                let ports = ports.map(|ports| ports.parse()).transpose().ok()?;
                let to = match to {
                    Some(to) => Some(to.target()?),
                    None => None,
                };
                let source = source.map(|source| match source {
                    Source::Masquerade => SourceNat::Masquerade,
                    Source::To(address) => SourceNat::To(address),
                });
                Access::Forward(Box::new(Forward { ports, to, translated, source }))
            }
            Way::Cycle(commands) => Access::Cycle(Box::new(commands.cycle()?)),
        })
    }
}

impl Inner {
    fn of(target: &Target) -> Self {
        match &target.host {
            Host::Address(address) => Inner::Address(*address, target.port),
            Host::Name(HostName { name, within }) => {
                let within = match within {
                    None | Some(AddrSet::Any) => None,
                    Some(AddrSet::Networks(networks)) => Some(networks.iter().map(ToString::to_string).collect()),
                };
                Inner::Name(name.clone(), target.port, within)
            }
        }
    }

    fn target(self) -> Option<Target> {
        let (host, port) = match self {
            Inner::Address(address, port) => (Host::Address(address), port),
            Inner::Name(name, port, within) => {
                let networks = within.map(|within| within.iter().map(|network| network.parse()).collect());
                let within = networks.transpose().ok()?.map(AddrSet::Networks);
                (Host::Name(HostName { name, within }), port)
            }
        };
        Some(Target { host, port })
    }
}

impl Commands {
    fn of(cycle: &Cycle) -> Self {
        let name = |account: &Account| Name { name: account.name.clone(), id: account.id, gid: account.gid };
        Self {
            ports: cycle.ports.to_string(),
            open: cycle.open.words().to_vec(),
            close: cycle.close.as_ref().map(|close| close.words().to_vec()),
            user: cycle.run_as.user.as_ref().map(name),
            group: cycle.run_as.group.as_ref().map(name),
            timeout: cycle.run_as.timeout.as_secs(),
            stamped: cycle.stamped.secs(),
            begun: cycle.begun,
        }
    }

    fn cycle(self) -> Option<Cycle> {
        let account = |name: Name| Account { name: name.name, id: name.id, gid: name.gid };
        Some(Cycle {
            ports: self.ports.parse().ok()?,
            open: Template::from_words(self.open),
            close: self.close.map(Template::from_words),
            run_as: RunAs {
                user: self.user.map(account),
                group: self.group.map(account),
                sudo: None,
                timeout: Duration::from_secs(self.timeout),
            },
            stamped: Timestamp::from_secs(self.stamped),
            begun: self.begun,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::crypto::Signer;
    use crate::grant::{Knock, StanzaId};
    use crate::net::Origin;

    pub fn waiting(id: u64) -> Grant {
        let user = Account { name: "nobody".into(), id: 65534, gid: 65534 };
        let template = |text| Template::parse(text).unwrap();
        let cycle = Cycle {
            ports: "udp/53,tcp/22".parse().unwrap(),
            open: template("/bin/open 'a b' $TIMEOUT"),
            close: Some(template("/bin/close \"\"")),
            run_as: RunAs { user: Some(user), group: None, sudo: None, timeout: Duration::from_secs(30) },
            stamped: Timestamp::from_secs(1000),
            begun: true,
        };
        Grant {
            id: GrantId(id),
            allow: "2001:db8::7".parse().unwrap(),
            access: Access::Cycle(Box::new(cycle)),
            at: None,
            lifetime: Lifetime::from_secs(30).unwrap(),
            until: Timestamp::from_secs(1030),
            certificate: None,
            knock: Some(Knock {
                stanza: StanzaId(1),
                name: "access".into(),
                mark: None,
                user: "alice".into(),
                signer: Signer::SharedKey,
                origin: Origin::udp("192.0.2.1".parse().unwrap()),
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let (port, ports) = (Port::new(22).unwrap(), || "tcp/22,udp/53".parse().unwrap());
        let address = |text: &str| Host::Address(text.parse().unwrap());
        let name = |within: Option<&str>| {
            let within = within.map(|network| AddrSet::Networks(vec![network.parse().unwrap()]));
            Host::Name(HostName { name: "inner.example".into(), within })
        };
        let forward = |ports, host: Option<Host>, translated, source| {
            let to = host.map(|host| Target { host, port });
            Access::Forward(Box::new(Forward { ports, to, translated, source }))
        };
        let to = Some(SourceNat::To("192.0.2.9".parse().unwrap()));
        let ways = [
            waiting(7).access,
            Access::Open(ports()),
            Access::Local { ports: ports(), to: port },
            forward(None, None, false, None),
            forward(Some(ports()), Some(address("2001:db8::9")), true, Some(SourceNat::Masquerade)),
            forward(Some(ports()), Some(name(None)), true, to),
            forward(Some(ports()), Some(name(Some("10.0.0.0/8"))), false, None),
        ];
        let key = Fingerprint::from_bytes(&[7; 20]).unwrap();
        for access in ways {
            for (at, certificate) in [(None, None), (Some("192.0.2.8".parse().unwrap()), Some(key.clone()))] {
                let until = Timestamp::from_secs(1030).plus(Duration::from_nanos(999_999_999));
                let grant = Grant { access: access.clone(), at, certificate, until, ..waiting(7) };
                assert_eq!(super::grant(GrantId(7), &text(&grant).unwrap()), Some(grant));
            }
        }
    }

    #[test]
    fn what_another_version_wrote_is_not_guessed() {
        let text = text(&waiting(7)).unwrap();
        let key = text.replace("\"certificate\":null", "\"certificate\":\"7\"");
        assert_ne!(text, key);
        for text in ["", "{}", &key, &text.replace("tcp/22", "sctp/22"), &text[1..]] {
            assert_eq!(super::grant(GrantId(7), text), None, "{text}");
        }
    }
}
