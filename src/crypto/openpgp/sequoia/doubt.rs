//! Whether a certificate is all there. The library passes over what it cannot verify, and a key whose revocation it passes
//! over would be good again.

use std::cell::OnceCell;
use std::collections::HashMap;

use sequoia_openpgp as pgp;

use pgp::cert::raw::{RawCertParser, RawPacket};
use pgp::packet::{Signature, Tag};
use pgp::parse::Parse;
use pgp::types::SignatureType::{KeyRevocation, SubkeyRevocation};
use pgp::{Cert, Fingerprint};

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// A revocation is damaged: nobody knows what it revokes.
    Revocation,
    /// Something is damaged, or somebody else's.
    Something,
}

/// Where certificates are read from, and how many revocations each of them has there, by kind alone (RFC 9580 section
/// 5.2.1).
pub struct Source<'a> {
    data: &'a [u8],
    written: OnceCell<HashMap<Fingerprint, usize>>,
}

impl<'a> Source<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, written: OnceCell::new() }
    }

    pub fn doubt(&self, cert: &Cert) -> Option<Doubt> {
        let revocation = self.written(cert) > verified(cert) || is_by_a_stranger(cert);
        let something = cert.bad_signatures().next().is_some() || cert.unknowns().next().is_some();
        match (revocation, something) {
            (true, _) => Some(Doubt::Revocation),
            (false, true) => Some(Doubt::Something),
            (false, false) => None,
        }
    }

    /// Our own secret keys are not looked at: what takes them apart here would leave copies in memory.
    fn written(&self, cert: &Cert) -> usize {
        if cert.is_tsk() {
            return 0;
        }
        let written = self.written.get_or_init(|| revocations(self.data));
        written.get(&cert.fingerprint()).copied().unwrap_or_default()
    }
}

fn revocations(data: &[u8]) -> HashMap<Fingerprint, usize> {
    let mut found = HashMap::new();
    for raw in RawCertParser::from_bytes(data).into_iter().flatten().flatten() {
        let is_one = |packet: &RawPacket<'_>| packet.tag() == Tag::Signature && is_revocation(packet.body());
        let most: &mut usize = found.entry(raw.fingerprint()).or_default();
        *most = raw.packets().filter(is_one).count().max(*most);
    }
    found
}

/// The kind stands behind the version.
fn is_revocation(body: &[u8]) -> bool {
    matches!(body, [4 | 6, 0x20 | 0x28 | 0x30, ..])
}

/// Those that the owner, or another, can have made. Others may take back what they have certified.
fn verified(cert: &Cert) -> usize {
    let keys = cert.keys().map(|key| key.self_revocations().count() + key.other_revocations().count());
    let ids = cert.userids().map(|id| id.self_revocations().count() + id.other_revocations().count());
    let attributes = cert.user_attributes().map(|id| id.self_revocations().count() + id.other_revocations().count());
    keys.chain(ids).chain(attributes).sum()
}

/// Another may revoke a key only if its owner has named him for that.
fn is_by_a_stranger(cert: &Cert) -> bool {
    let of_key = |signature: &Signature| matches!(signature.typ(), KeyRevocation | SubkeyRevocation);
    let names_revokers = || cert.primary_key().self_signatures().any(|s| s.revocation_keys().next().is_some());
    cert.keys().any(|key| key.other_revocations().any(of_key)) && !names_revokers()
}
