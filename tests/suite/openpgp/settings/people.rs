//! Who knocks: each has one thing that is not as it should be. All are made anew for each run.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CertRevocationBuilder, CipherSuite};
use pgp::packet::key::{Key4, PrimaryRole, SecretParts};
use pgp::packet::signature::SignatureBuilder;
use pgp::packet::{Key, UserID};
use pgp::serialize::SerializeInto;
use pgp::types::{HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType};
use pgp::{Cert, Packet};

pub const DAY: Duration = Duration::from_secs(86_400);

pub struct People {
    pub server: Cert,
    pub other_server: Cert,
    /// Not in the keyring, neither secret nor public.
    pub foreign_server: Cert,
    pub alice: Cert,
    /// Signs with either of two subkeys, and not with the primary key.
    pub bob: Cert,
    pub expired: Cert,
    pub revoked: Cert,
    /// Superseded by another key, not stolen.
    pub retired: Cert,
    /// Made tomorrow.
    pub unborn: Cert,
    /// Bound by SHA-1 only.
    pub weakly_bound: Cert,
    /// May certify only.
    pub certifier: Cert,
    /// In the keyring, and in nobody's list.
    pub stranger: Cert,
    /// Not in the keyring.
    pub unknown: Cert,
    /// Two with the same last 8 digits.
    pub twins: [Cert; 2],
}

impl People {
    pub fn new() -> Self {
        let plain = |name| signs(name).generate().expect("a key").0;
        let revoke = |name, reason| {
            let cert: Cert = plain(name);
            let mut primary = cert.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
            let revocation = CertRevocationBuilder::new().set_reason_for_revocation(reason, b"").unwrap();
            let revocation = revocation.set_signature_creation_time(ago(DAY)).unwrap().build(&mut primary, &cert, None);
            cert.insert_packets(revocation.unwrap()).unwrap().0
        };
        let expired = signs("expired").set_creation_time(ago(9 * DAY)).set_validity_period(3 * DAY);
        let unborn = signs("unborn").set_creation_time(SystemTime::now() + DAY);
        let certifier = builder("certifier").set_primary_key_flags(KeyFlags::empty().set_certification());
        Self {
            server: plain("server"),
            other_server: plain("other-server"),
            foreign_server: plain("foreign-server"),
            alice: plain("alice"),
            bob: builder("bob").add_signing_subkey().add_signing_subkey().generate().unwrap().0,
            expired: expired.generate().unwrap().0,
            revoked: revoke("revoked", ReasonForRevocation::KeyCompromised),
            retired: revoke("retired", ReasonForRevocation::KeySuperseded),
            unborn: unborn.generate().unwrap().0,
            weakly_bound: bind(primary_key(), "weakly-bound", HashAlgorithm::SHA1),
            certifier: certifier.generate().unwrap().0,
            stranger: plain("stranger"),
            unknown: plain("unknown"),
            twins: twins(),
        }
    }

    /// What the server's keyring holds: secret keys of its own, and everybody's certificate but one.
    pub fn keyring(&self) -> String {
        let own = [&self.server, &self.other_server];
        let others = [
            &self.alice,
            &self.bob,
            &self.expired,
            &self.revoked,
            &self.retired,
            &self.unborn,
            &self.weakly_bound,
            &self.certifier,
            &self.stranger,
            &self.twins[0],
            &self.twins[1],
        ];
        let own = own.into_iter().map(|cert| cert.as_tsk().armored().to_vec().unwrap());
        let all = own.chain(others.into_iter().map(|cert| cert.armored().to_vec().unwrap()));
        all.map(|armored| String::from_utf8(armored).unwrap()).collect()
    }
}

fn ago(span: Duration) -> SystemTime {
    SystemTime::now() - span
}

fn builder(name: &str) -> CertBuilder<'static> {
    CertBuilder::new()
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_creation_time(ago(3 * DAY))
        .add_userid(format!("{name} <{name}@example.org>"))
        .add_transport_encryption_subkey()
}

fn signs(name: &str) -> CertBuilder<'static> {
    builder(name).set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
}

type PrimaryKey = Key<SecretParts, PrimaryRole>;

fn primary_key() -> PrimaryKey {
    let mut key = Key4::generate_ecc(true, pgp::types::Curve::Ed25519).unwrap();
    key.set_creation_time(ago(3 * DAY)).unwrap();
    key.into()
}

/// A certificate of nothing but a primary key that signs.
fn bind(key: PrimaryKey, name: &str, hash: HashAlgorithm) -> Cert {
    let user = UserID::from(format!("{name} <{name}@example.org>"));
    let mut pair = key.clone().into_keypair().unwrap();
    let binding = SignatureBuilder::new(SignatureType::PositiveCertification)
        .set_signature_creation_time(ago(2 * DAY))
        .unwrap()
        .set_key_flags(KeyFlags::empty().set_certification().set_signing())
        .unwrap()
        .set_hash_algo(hash)
        .sign_userid_binding(&mut pair, None, &user)
        .unwrap();
    Cert::from_packets([Packet::from(key), user.into(), binding.into()].into_iter()).unwrap()
}

/// The date of its making is a part of a key's fingerprint: among enough dates there are two with the same end.
fn twins() -> [Cert; 2] {
    let key = primary_key();
    let mut seen = HashMap::new();
    for second in 0u32.. {
        let mut other = key.clone();
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(second));
        other.set_creation_time(made).unwrap();
        let digits = other.fingerprint().to_hex()[32..].to_owned();
        if let Some(earlier) = seen.insert(digits, other.clone()) {
            return [bind(earlier, "twin-1", HashAlgorithm::SHA256), bind(other, "twin-2", HashAlgorithm::SHA256)];
        }
    }
    unreachable!("there are 2^32 ends")
}
