//! What is said through the control socket: one JSON value per line, a request and then its answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::crypto::Signer;
use crate::grant::Grant;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Read all files again.
    Reload,
    /// What is open, in the order of the numbers, from the one behind `after` on: not all at once.
    Grants {
        after: u64,
    },
    Close(Which),
    /// Answered when what is open is no longer as it was in the state `seen`.
    Watch {
        seen: u64,
    },
}

/// What is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Which {
    Grant(u64),
    /// All that was opened by signatures of this certificate: the full fingerprint.
    Certificate(String),
    /// All that this stanza opened, by its name.
    Stanza(String),
    /// All that is open in the firewall: not what commands opened.
    Firewall,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The new files are in force; there may be something to say about them.
    Reloaded {
        remarks: Vec<String>,
    },
    /// The old ones stay in force.
    NotReloaded {
        complaints: Vec<String>,
    },
    Grants {
        open: Vec<Open>,
        more: bool,
    },
    /// These were closed.
    Closed {
        grants: Vec<u64>,
    },
    /// Something came or went since the state that was seen.
    Changed {
        state: u64,
    },
    /// What was asked could not be understood, and the connection ends.
    Misunderstood {
        why: String,
    },
}

/// One grant. What a former daemon left open is known only as far as the firewall tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub grant: u64,
    pub allow: IpAddr,
    /// The services, or `all`.
    pub ports: String,
    /// Where they lead, when that is not to this host's own ports: `10.1.2.3:22`.
    pub to: Option<String>,
    /// In whose name packets are sent on: an address, or `masquerade`.
    pub source_nat: Option<String>,
    /// Seconds since 1970.
    pub until: u64,
    pub stanza: Option<String>,
    pub user: Option<String>,
    /// The fingerprint of the certificate, or `shared-key`, or `none`.
    pub signer: Option<String>,
    pub user_id: Option<String>,
    /// Where the knock came from.
    pub source: Option<IpAddr>,
}

impl From<&Grant> for Open {
    fn from(grant: &Grant) -> Self {
        let knock = grant.knock.as_ref();
        let certificate = || grant.certificate.as_ref().map(ToString::to_string);
        Self {
            grant: grant.id.0,
            allow: grant.allow,
            ports: grant.access.ports().map_or("all".to_owned(), ToString::to_string),
            to: grant.access.leads_to(),
            source_nat: grant.access.source().map(|source| source.to_string()),
            until: grant.until.secs(),
            stanza: knock.map(|knock| knock.name.to_string()),
            user: knock.map(|knock| knock.user.clone()),
            signer: knock.map(|knock| knock.signer.to_string()).or_else(certificate),
            user_id: knock.and_then(|knock| match &knock.signer {
                Signer::Certificate { user_id, .. } => user_id.clone(),
                _ => None,
            }),
            source: knock.map(|knock| knock.origin.src),
        }
    }
}

/// Bytes of a request.
pub const LONGEST_REQUEST: usize = 4096;
/// How many grants one answer tells.
pub const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_written_so() {
        for (request, text) in [
            (Request::Reload, r#""reload""#),
            (Request::Grants { after: 0 }, r#"{"grants":{"after":0}}"#),
            (Request::Watch { seen: 3 }, r#"{"watch":{"seen":3}}"#),
            (Request::Close(Which::Grant(17)), r#"{"close":{"grant":17}}"#),
            (Request::Close(Which::Certificate("AB".into())), r#"{"close":{"certificate":"AB"}}"#),
            (Request::Close(Which::Stanza("ann".into())), r#"{"close":{"stanza":"ann"}}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        for bad in ["", "reload", r#"{"grants":{}}"#, r#"{"close":{}}"#, r#"{"grants":{"after":0,"x":1}}"#, "[]"] {
            assert!(serde_json::from_str::<Request>(bad).is_err(), "{bad}");
        }
    }
}
