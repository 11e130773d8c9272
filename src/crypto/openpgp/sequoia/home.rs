//! Personal keys: the certificates in a GnuPG home, the secrets with its agent.

use std::cmp::Reverse;

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::amalgamation::key::PrimaryKey as _;
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::types::RevocationStatus;

use super::keys::{certs, fingerprint, user_id};
use super::kind::needs_gpg;
use super::names::Wanted;
use super::sealer::{SequoiaSealer, Signing, describe, encryption_key};
use super::{lenient_policy, policy};
use crate::crypto::openpgp::agent::{Agent, AgentKey, Session, Stored};
use crate::crypto::openpgp::choice::{Problem, Search};
use crate::crypto::openpgp::{Fingerprint, Role, SealError, SignerPassphrase};
use crate::time::Timestamp;

/// A name, and the certificates of a GnuPG home that it may mean.
pub struct Candidates<'a> {
    pub wanted: &'a str,
    pub certificates: Vec<u8>,
    /// The primary keys that the home's owner has switched off.
    pub disabled: &'a [Fingerprint],
    /// The home, for messages.
    pub place: &'a str,
}

impl SequoiaSealer {
    /// The agent's connection is kept for the signature.
    pub fn from_home(
        recipient: Candidates<'_>,
        signer: Option<(Candidates<'_>, &Agent, SignerPassphrase)>,
        now: Timestamp,
    ) -> Result<Self, SealError> {
        let recipient = recipient.recipient(now)?;
        let signer = match signer {
            None => None,
            Some((candidates, agent, passphrase)) => {
                let mut session = Session::open(agent).map_err(SealError::Agent)?;
                let stored = session.stored().map_err(SealError::Agent)?;
                let Own { cert, key, stored } = candidates.signer(&stored, now)?;
                let key = AgentKey::new(agent, Some(session), stored, key, &asked_for(&cert));
                Some(Signing::new(Box::new(key), &cert, passphrase)?)
            }
        };
        Self::with(&recipient, signer, now)
    }
}

/// What stands in the window that asks for the passphrase.
fn asked_for(cert: &Cert) -> String {
    let (fingerprint, user_id) = (cert.fingerprint(), user_id(cert));
    format!(
        "fwknop signs a packet with the OpenPGP key of\n{user_id}\n{fingerprint:X}\nPlease enter the passphrase of that key."
    )
}

/// A certificate, the key of it that signs, and what the agent calls that.
struct Own {
    cert: Cert,
    key: Key<PublicParts, UnspecifiedRole>,
    stored: Stored,
}

impl Candidates<'_> {
    /// With no other key for encryption than the one that is meant.
    fn recipient(self, now: Timestamp) -> Result<Cert, SealError> {
        let (wanted, search) = (Wanted::of(self.wanted), self.search(Role::Recipient));
        let all = certs(&self.certificates).0;
        let named = wanted.choose(&all).into_iter().cloned();
        let certs = named.map(|cert| match wanted.exact_key(&cert) {
            Some(exact) => cert.retain_subkeys(|subkey| subkey.key().fingerprint() == exact),
            None => cert,
        });
        let policy = policy(now);
        let problem = |cert: &Cert| {
            self.problem(cert, Role::Recipient, now).or_else(|| {
                let valid = cert.with_policy(&policy, now.to_system_time()).ok();
                let missing = valid.and_then(|cert| encryption_key(&cert)).is_none();
                missing.then(|| unfit(cert, Role::Recipient, Problem::Unfit))
            })
        };
        search.one(certs.collect(), problem, describe)
    }

    /// Only certificates with a secret key count.
    fn signer(self, stored: &[Stored], now: Timestamp) -> Result<Own, SealError> {
        let (wanted, search) = (Wanted::of(self.wanted), self.search(Role::Signer));
        let own = |cert: &Cert| cert.keys().any(|key| stored.iter().any(|stored| stored.is(key.key().mpis())));
        let certs = certs(&self.certificates).0.into_iter().filter(own).collect::<Vec<_>>();
        let problem = |cert: &Cert| {
            self.problem(cert, Role::Signer, now).or_else(|| signing_key(cert, &wanted, stored, now).err())
        };
        let cert = search.one(wanted.choose(&certs), |cert| problem(cert), |cert| describe(cert))?.clone();
        let (key, stored) =
            signing_key(&cert, &wanted, stored, now).map_err(|problem| search.unusable(describe(&cert), problem))?;
        Ok(Own { cert, key, stored })
    }

    fn search(&self, role: Role) -> Search<'_> {
        Search { role, wanted: self.wanted, place: self.place }
    }

    /// What keeps a whole certificate from being used.
    fn problem(&self, cert: &Cert, role: Role, now: Timestamp) -> Option<Problem> {
        let (policy, lenient, now) = (policy(now), lenient_policy(), now.to_system_time());
        let valid = cert.with_policy(&policy, now);
        // What is revoked or has expired is told before how it was made.
        let judged = valid.as_ref().ok().cloned().or_else(|| cert.with_policy(&lenient, now).ok());
        if matches!(cert.revocation_status(&lenient, now), RevocationStatus::Revoked(_)) {
            Some(Problem::Revoked)
        } else if judged.is_some_and(|cert| cert.alive().is_err()) {
            Some(Problem::Expired)
        } else if fingerprint(&cert.fingerprint()).is_some_and(|primary| self.disabled.contains(&primary)) {
            Some(Problem::Disabled)
        } else {
            valid.is_err().then(|| unfit(cert, role, Problem::Weak))
        }
    }
}

/// No valid key was found; which may be for want of arithmetic.
fn unfit(cert: &Cert, role: Role, problem: Problem) -> Problem {
    if needs_gpg(cert, role) { Problem::NeedsGpg } else { problem }
}

/// As gpg chooses: of the valid keys that sign and whose secret is there the newest subkey, else the primary key; or
/// the one that was named exactly.
fn signing_key(
    cert: &Cert,
    wanted: &Wanted,
    stored: &[Stored],
    now: Timestamp,
) -> Result<(Key<PublicParts, UnspecifiedRole>, Stored), Problem> {
    let policy = policy(now);
    let exact = wanted.exact_key(cert);
    let valid =
        cert.with_policy(&policy, now.to_system_time()).map_err(|_| unfit(cert, Role::Signer, Problem::Weak))?;
    let keys = valid.keys().supported().alive().revoked(false).for_signing();
    let mut keys: Vec<_> =
        keys.filter(|key| exact.as_ref().is_none_or(|exact| key.key().fingerprint() == *exact)).collect();
    if keys.is_empty() {
        return Err(unfit(cert, Role::Signer, Problem::Unfit));
    }
    keys.sort_by_key(|key| (key.primary(), Reverse(key.key().creation_time())));
    let with_secret = keys.iter().find_map(|key| {
        let stored = stored.iter().find(|stored| stored.is(key.key().mpis()))?;
        Some((key.key().clone(), stored.clone()))
    });
    with_secret.ok_or(Problem::NoSecret)
}
