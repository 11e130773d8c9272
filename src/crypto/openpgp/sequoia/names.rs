//! Names of keys, as users write them: fingerprints, ids, e-mail addresses, parts of a user id.

use std::collections::{BTreeMap, BTreeSet};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};

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
pub(super) struct Wanted {
    /// 8, 16, 40 or 64 upper-case digits, if it is that.
    digits: Option<String>,
    /// In lower case.
    text: String,
}

impl Wanted {
    pub fn of(name: &str) -> Self {
        let name = name.trim().trim_end_matches('!');
        let digits = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
        let digits = digits.strip_prefix("0X").unwrap_or(&digits).to_owned();
        let is_id = matches!(digits.len(), 8 | 16 | 40 | 64) && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let text = name.trim_start_matches('<').trim_end_matches('>').to_lowercase();
        Self { digits: is_id.then_some(digits), text }
    }

    pub fn among(&self, certs: &BTreeMap<pgp::Fingerprint, Cert>) -> Found {
        let mut found: BTreeSet<Fingerprint> = certs.values().flat_map(|cert| self.keys_of(cert)).collect();
        if found.is_empty() {
            // A whole e-mail address wins over parts of others: `bob@example.org` is not `jbob@example.org`.
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

    /// Those that are meant: by the digits of a key, else by a whole e-mail address, else by a part of a user id.
    pub fn choose<'c>(&self, certs: &'c [Cert]) -> Vec<&'c Cert> {
        let by = |how: &dyn Fn(&Cert) -> bool| certs.iter().filter(|cert| how(cert)).collect::<Vec<_>>();
        let ways: [&dyn Fn(&Cert) -> bool; 3] =
            [&|cert| !self.keys_of(cert).is_empty(), &|cert| self.is_address_of(cert), &|cert| self.is_part_of(cert)];
        ways.into_iter().map(by).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// Whether its digits are those of this key.
    pub fn is_key(&self, key: &Key<PublicParts, UnspecifiedRole>) -> bool {
        let named = fingerprint(&key.fingerprint());
        self.digits.as_ref().zip(named).is_some_and(|(digits, key)| key.ends_with(digits))
    }

    /// Whether it means this certificate or a key in it.
    pub fn is(&self, cert: &Cert) -> bool {
        !self.keys_of(cert).is_empty() || self.is_part_of(cert)
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
        let has = |id: &[u8]| String::from_utf8_lossy(id).to_lowercase().contains(&self.text);
        !self.text.is_empty() && cert.userids().any(|id| has(id.userid().value()))
    }
}
