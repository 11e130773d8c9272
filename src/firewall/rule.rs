//! What a grant means to a firewall: one rule per service, and the tag that tells whose it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::crypto::openpgp::Fingerprint;
use crate::grant::{Grant, GrantId};
use crate::net::Service;
use crate::time::Timestamp;

/// One opening: this address may reach this service until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub address: IpAddr,
    pub service: Service,
    pub until: Timestamp,
    pub tag: Tag,
}

impl Rule {
    /// The rules of a grant, one per service, in its order. An IPv4 address in IPv6 clothes becomes plain IPv4, which
    /// is how its packets arrive.
    pub fn of(grant: &Grant) -> Vec<Rule> {
        let tag = Tag::of(grant);
        let address = grant.allow.to_canonical();
        grant.ports.iter().map(|service| Rule { address, service, until: grant.until, tag }).collect()
    }
}

/// Written into the firewall with each rule, as `fwknop:17:1748779233`, and behind that `:` and the fingerprint of the key that
/// signed for it, if one did: a restarted daemon learns from it whose rule that is, without any file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    pub grant: GrantId,
    /// Seconds since the epoch.
    pub until: u64,
    /// A fingerprint of version 4, the only one that servers know.
    pub signer: Option<[u8; 20]>,
}

impl Tag {
    fn of(grant: &Grant) -> Self {
        let signer = grant.certificate.as_ref().and_then(|key| key.as_bytes().try_into().ok());
        Self { grant: grant.id, until: grant.until.secs(), signer }
    }

    pub fn certificate(&self) -> Option<Fingerprint> {
        Fingerprint::from_bytes(self.signer.as_ref()?)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fwknop:{}:{}", self.grant, self.until)?;
        self.certificate().map_or(Ok(()), |signer| write!(f, ":{signer}"))
    }
}

/// Only what `Display` writes is a tag: a rule that merely looks like ours is not touched.
impl FromStr for Tag {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let words: Vec<&str> = text.strip_prefix("fwknop:").ok_or(NotOurs)?.split(':').collect();
        let (grant, until, signer) = match words[..] {
            [grant, until] => (grant, until, None),
            [grant, until, signer] => (grant, until, Some(signer.parse::<Fingerprint>().map_err(|_| NotOurs)?)),
            _ => return Err(NotOurs),
        };
        let tag = Self {
            grant: GrantId(grant.parse().map_err(|_| NotOurs)?),
            until: until.parse().map_err(|_| NotOurs)?,
            signer: signer.and_then(|key| key.as_bytes().try_into().ok()),
        };
        if tag.to_string() == text { Ok(tag) } else { Err(NotOurs) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tag of fwknopd")]
pub struct NotOurs;

/// What a firewall holds in a place of ours: a rule of ours, or something an administrator put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub address: IpAddr,
    pub service: Service,
    /// `None`: for ever, as nothing of ours is made: what has our tag nevertheless was restored from a file.
    pub remaining: Option<Duration>,
    pub comment: Option<String>,
}

impl Entry {
    /// `None`: not ours.
    pub fn tag(&self) -> Option<Tag> {
        self.comment.as_deref()?.parse().ok()
    }

    /// Whether it stays at least that long: then there is nothing to extend, and replacing it would shorten it.
    pub fn outlasts(&self, lasts: Duration) -> bool {
        self.remaining.map_or(self.tag().is_none(), |remaining| remaining >= lasts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_we_write_is_a_tag() {
        let tag: Tag = "fwknop:17:1748779233".parse().unwrap();
        assert_eq!(tag, Tag { grant: GrantId(17), until: 1_748_779_233, signer: None });
        for foreign in [
            "",
            "fwknop",
            "fwknop:",
            "fwknop:17",
            "fwknop:17:",
            "fwknop::1",
            "fwknop:17:1:",
            "fwknop:17:1:ABCD",
            "fwknop:17:1:abababababababababababababababababababab",
            "fwknop:17:1:ABABABABABABABABABABABABABABABABABABABAB:",
            "fwknop:+17:1",
            "fwknop:017:1",
            "fwknop:17: 1",
            "fwknop:17:1 ",
            "Fwknop:17:1",
            "fwknop:17:18446744073709551616",
            "_exp_1748779233",
        ] {
            assert!(foreign.parse::<Tag>().is_err(), "{foreign:?} was taken for ours");
        }
    }

    proptest! {
        #[test]
        fn a_tag_is_read_as_written(grant: u64, until: u64, signer: Option<[u8; 20]>) {
            let tag = Tag { grant: GrantId(grant), until, signer };
            prop_assert_eq!(tag.to_string().parse::<Tag>(), Ok(tag));
        }

        #[test]
        fn nothing_else_is_read(text in "(fwknop)?[:0-9 +-]{0,12}") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
