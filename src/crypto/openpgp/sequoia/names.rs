//! Names of keys, as users write them: fingerprints, ids, e-mail addresses, parts of a user id.

use std::collections::{BTreeMap, BTreeSet};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::amalgamation::key::PrimaryKey as _;

use super::keys::fingerprint;
use crate::crypto::openpgp::Fingerprint;

/// What a name from a configuration stands for. The fingerprints are those of the keys that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    None,
    One(Fingerprint),
    Several(Vec<Fingerprint>),
}

/// A name for a key, as users write them.
pub struct Wanted {
    /// 8, 16, 40 or 64 upper-case digits, if it is that.
    digits: Option<String>,
    /// In lower case.
    text: String,
    /// This key, and no other of its certificate: a `!` behind the digits.
    exactly: bool,
}

impl Wanted {
    pub fn of(name: &str) -> Self {
        let exactly = name.trim().ends_with('!');
        let name = name.trim().trim_end_matches('!');
        let digits = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
        let digits = digits.strip_prefix("0X").unwrap_or(&digits).to_owned();
        let is_id = matches!(digits.len(), 8 | 16 | 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let text = name.trim_start_matches('<').trim_end_matches('>').to_lowercase();
        Self { digits: is_id.then_some(digits), text, exactly }
    }

    /// Whether a certificate with these fingerprints and user ids may be meant: most of a large keyring is left unread.
    pub fn may_mean(&self, fingerprints: &[&[u8]], user_ids: &[&[u8]]) -> bool {
        let of_key = |octets: &&[u8]| {
            let digits = self.digits.as_ref();
            digits.is_some_and(|digits| Fingerprint::from_bytes(octets).is_some_and(|key| key.ends_with(digits)))
        };
        fingerprints.iter().any(of_key) || user_ids.iter().any(|id| self.is_in(id))
    }

    /// The certificates that are meant.
    pub(super) fn choose<'c>(&self, certs: &'c [Cert]) -> Vec<&'c Cert> {
        let how: fn(&Self, &Cert) -> bool = match () {
            () if certs.iter().any(|cert| self.is_key_of(cert)) => Self::is_key_of,
            // A whole e-mail address wins over parts of others: `bob@example.org` is not `jbob@example.org`.
            () if certs.iter().any(|cert| self.is_address_of(cert)) => Self::is_address_of,
            () => Self::is_part_of,
        };
        certs.iter().filter(|cert| how(self, cert)).collect()
    }

    /// The one key of a certificate that is meant: named with `!`, or a subkey by its whole fingerprint.
    pub(super) fn exact_key(&self, cert: &Cert) -> Option<pgp::Fingerprint> {
        let digits = self.digits.as_ref()?;
        let keys = cert.keys().map(|key| (key.primary(), key.key().fingerprint()));
        let mut named = keys.filter(|(_, key)| fingerprint(key).is_some_and(|key| key.ends_with(digits)));
        let (is_primary, key) = named.next()?;
        (self.exactly || (!is_primary && digits.len() >= 40)).then_some(key)
    }

    pub(super) fn among(&self, certs: &BTreeMap<pgp::Fingerprint, Cert>) -> Found {
        let mut found: BTreeSet<Fingerprint> = certs.values().flat_map(|cert| self.keys_of(cert)).collect();
        if found.is_empty() {
            let named = |how: fn(&Wanted, &Cert) -> bool| {
                let certs = certs.values().filter(|cert| how(self, cert));
                certs.filter_map(|cert| fingerprint(&cert.fingerprint())).collect()
            };
            found = named(Wanted::is_address_of);
            if found.is_empty() {
                found = named(Wanted::is_part_of);
            }
        }
        match found.len() {
            0 => Found::None,
            1 => found.pop_first().map_or(Found::None, Found::One),
            _ => Found::Several(found.into_iter().collect()),
        }
    }

    /// Whether it means this certificate or a key in it.
    pub(super) fn is(&self, cert: &Cert) -> bool {
        self.is_key_of(cert) || self.is_part_of(cert)
    }

    fn is_key_of(&self, cert: &Cert) -> bool {
        !self.keys_of(cert).is_empty()
    }

    fn keys_of(&self, cert: &Cert) -> Vec<Fingerprint> {
        let Some(digits) = &self.digits else { return Vec::new() };
        let keys = cert.keys().filter_map(|key| fingerprint(&key.key().fingerprint()));
        keys.filter(|key| key.ends_with(digits)).collect()
    }

    fn is_address_of(&self, cert: &Cert) -> bool {
        cert.userids().any(|id| matches!(id.userid().email(), Ok(Some(email)) if email.to_lowercase() == self.text))
    }

    fn is_part_of(&self, cert: &Cert) -> bool {
        cert.userids().any(|id| self.is_in(id.userid().value()))
    }

    fn is_in(&self, user_id: &[u8]) -> bool {
        !self.text.is_empty() && String::from_utf8_lossy(user_id).to_lowercase().contains(&self.text)
    }
}
