//! Whose packets would still be taken: what decides which grants outlive a change of the access files.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use super::{AccessTable, Stanza};
use crate::crypto::Signer;
use crate::crypto::openpgp::{Fingerprint, SignerRule};
use crate::grant::{Grant, KeyMark};

/// The keys of all stanzas.
pub struct Known<'a> {
    listed: HashSet<&'a Fingerprint>,
    shared: HashSet<KeyMark>,
}

impl AccessTable {
    pub fn known(&self) -> Known<'_> {
        let shared = |stanza: &Stanza| [Signer::SharedKey, Signer::Unsigned].map(|signer| stanza.mark(&signer));
        Known {
            listed: self.iter().flat_map(Stanza::listed).collect(),
            shared: self.iter().flat_map(shared).flatten().collect(),
        }
    }
}

impl Known<'_> {
    /// Whether a stanza takes the key that opened it: a certificate that is listed, wherever that is; else the very same
    /// shared keys, wherever they are. Of what a former daemon left open that may not be known; it ends on time.
    pub fn takes(&self, grant: &Grant) -> bool {
        match (&grant.certificate, &grant.knock) {
            (Some(key), _) => self.listed.contains(key),
            (None, Some(knock)) => knock.mark.is_none_or(|mark| self.shared.contains(&mark)),
            (None, None) => true,
        }
    }

    /// Which key of a certificate is listed; the certificate itself when none is any more.
    pub fn listed_key(&self, signer: &Signer) -> Option<Fingerprint> {
        let Signer::Certificate { primary, signing, .. } = signer else { return None };
        let listed = [signing, primary].into_iter().find(|key| self.listed.contains(key));
        Some(listed.unwrap_or(primary).clone())
    }
}

impl Stanza {
    fn listed(&self) -> impl Iterator<Item = &Fingerprint> {
        let lists = match self.openpgp.as_ref().map(|openpgp| &openpgp.signer) {
            Some(SignerRule::Listed { lists, .. }) => lists.as_slice(),
            _ => &[],
        };
        lists.iter().flatten()
    }

    /// Which of the stanza's keys have to be known for a packet that nobody signed.
    pub fn mark(&self, signer: &Signer) -> Option<KeyMark> {
        let encryption = match signer {
            Signer::SharedKey => self.rijndael.as_ref().map(|rijndael| rijndael.mark())??.octets().to_vec(),
            Signer::Unsigned => {
                self.openpgp.as_ref().filter(|openpgp| openpgp.signer == SignerRule::Disabled).map(|_| Vec::new())?
            }
            Signer::Certificate { .. } => return None,
        };
        let mut digest = Sha256::new();
        digest.update(encryption);
        digest.update([u8::from(self.hmac.is_some())]);
        if let Some(hmac) = &self.hmac {
            digest.update(hmac.mark().octets());
        }
        let mut mark = [0; 16];
        mark.copy_from_slice(&digest.finalize()[..16]);
        Some(KeyMark(mark))
    }
}
