//! A grant that a command will have to close, as it is kept in the store: the command as it will be run, whatever the access
//! files say by then.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::grant::{Access, Account, Cycle, Grant, GrantId, RunAs, Template};
use crate::time::{Lifetime, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    allow: IpAddr,
    ports: String,
    open: Vec<String>,
    close: Vec<String>,
    user: Option<Name>,
    group: Option<Name>,
    /// Seconds.
    command_timeout: u64,
    /// Seconds since 1970.
    stamped: u64,
    lifetime: u32,
    until: u64,
    certificate: Option<String>,
    knock: Record,
}

#[derive(Debug, Serialize, Deserialize)]
struct Name {
    name: String,
    id: u32,
    gid: u32,
}

/// `None`: nothing of it has to be run.
pub fn text(grant: &Grant) -> Option<String> {
    let cycle = grant.cycle()?;
    let name = |account: &Account| Name { name: account.name.clone(), id: account.id, gid: account.gid };
    let kept = Kept {
        allow: grant.allow,
        ports: cycle.ports.to_string(),
        open: cycle.open.words().to_vec(),
        close: cycle.close.as_ref()?.words().to_vec(),
        user: cycle.run_as.user.as_ref().map(name),
        group: cycle.run_as.group.as_ref().map(name),
        command_timeout: cycle.run_as.timeout.as_secs(),
        stamped: cycle.stamped.secs(),
        lifetime: grant.lifetime.secs(),
        // The second in progress counts.
        until: grant.until.secs(),
        certificate: grant.certificate.as_ref().map(ToString::to_string),
        knock: Record::of(grant.knock.as_ref()?, None),
    };
    serde_json::to_string(&kept).ok()
}

/// `None`: written by another version.
pub fn grant(id: GrantId, text: &str) -> Option<Grant> {
    let kept: Kept = serde_json::from_str(text).ok()?;
    let account = |name: Name| Account { name: name.name, id: name.id, gid: name.gid };
    let run_as = RunAs {
        user: kept.user.map(account),
        group: kept.group.map(account),
        sudo: None,
        timeout: Duration::from_secs(kept.command_timeout),
    };
    let cycle = Cycle {
        ports: kept.ports.parse().ok()?,
        open: Template::from_words(kept.open),
        close: Some(Template::from_words(kept.close)),
        run_as,
        stamped: Timestamp::from_secs(kept.stamped),
    };
    Some(Grant {
        id,
        allow: kept.allow,
        access: Access::Cycle(Box::new(cycle)),
        at: None,
        lifetime: Lifetime::from_secs(kept.lifetime)?,
        until: Timestamp::from_secs(kept.until),
        certificate: kept.certificate.map(|text| text.parse().ok()).unwrap_or_default(),
        knock: Some(kept.knock.into_knock()?),
    })
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
        let grant = waiting(7);
        assert_eq!(super::grant(GrantId(7), &text(&grant).unwrap()), Some(grant));
        assert_eq!(super::grant(GrantId(7), "{}"), None);
    }
}
