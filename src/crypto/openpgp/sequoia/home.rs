//! Choosing keys by name among the certificates of a GnuPG home, and signing with the agent that has their secrets.

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::cert::ValidCert;
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};

use super::keys::certs;
use super::names::Wanted;
use super::policy;
use super::sealer::{ASK_ADMIN, NEW_KEY, SequoiaSealer, Signing, describe, encryption_key, unusable, usable};
use crate::crypto::openpgp::agent::{Agent, AgentKey, Held};
use crate::crypto::openpgp::{Role, SealError, SignerPassphrase};
use crate::time::Timestamp;

/// The certificates of a GnuPG home.
pub struct HomeKeys<'a> {
    /// Binary, one after the other.
    pub certificates: &'a [u8],
    /// For messages to the user.
    pub place: String,
}

/// Who signs.
pub struct HomeSigner<'a> {
    /// A fingerprint, a key id or a part of a user id. A `!` behind a fingerprint or id: exactly that key.
    pub name: &'a str,
    pub agent: Agent,
    pub passphrase: SignerPassphrase,
}

impl SequoiaSealer {
    /// Each name must mean exactly one usable key, as with gpg. The recipient needs no certification: naming it is
    /// trusting it.
    pub fn from_home(
        keys: &HomeKeys<'_>,
        recipient: &str,
        signer: Option<HomeSigner<'_>>,
        now: Timestamp,
    ) -> Result<Self, SealError> {
        let (certs, _) = certs(keys.certificates);
        let policy = policy(now);
        let choice = Choice { certs: &certs, place: &keys.place };
        let recipient = choice.one(Role::Recipient, recipient, |cert| {
            let valid = usable(cert, Role::Recipient, &policy, now)?;
            encryption_key(&valid)
                .map(|_| ())
                .ok_or_else(|| unusable(cert, Role::Recipient, "it has no valid key for encryption", ASK_ADMIN))
        })?;
        let signer = match signer {
            None => None,
            Some(HomeSigner { name, agent, passphrase }) => {
                let held = agent.held().map_err(SealError::Agent)?;
                let find = |cert: &Cert| {
                    let valid = usable(cert, Role::Signer, &policy, now)?;
                    signing_key(&valid, name, &held)
                };
                let cert = choice.one(Role::Signer, name, |cert| find(cert).map(|_| ()))?;
                let (public, held) = find(cert)?;
                let key = AgentKey::new(&agent, &held, public, &describe(cert));
                let key = key.ok_or_else(|| unusable(cert, Role::Signer, "gpg-agent has no such key", NEW_KEY))?;
                Some(Signing::new(Box::new(key), cert, passphrase)?)
            }
        };
        Self::with(recipient, signer, now)
    }
}

struct Choice<'a> {
    certs: &'a [Cert],
    place: &'a str,
}

impl<'a> Choice<'a> {
    /// The one certificate that is meant and can be used.
    fn one(
        &self,
        role: Role,
        name: &str,
        check: impl Fn(&Cert) -> Result<(), SealError>,
    ) -> Result<&'a Cert, SealError> {
        let meant = Wanted::of(name).choose(self.certs);
        let (mut usable, mut unusable) = (Vec::new(), Vec::new());
        for cert in meant {
            match check(cert) {
                Ok(()) => usable.push(cert),
                Err(error) => unusable.push(error),
            }
        }
        match (usable.as_slice(), unusable.is_empty()) {
            ([cert], _) => Ok(cert),
            ([], false) => Err(unusable.remove(0)),
            ([], true) => Err(SealError::NoKey {
                role,
                wanted: name.to_owned(),
                place: self.place.to_owned(),
                advice: match role {
                    Role::Recipient => "import the server's public key with: fwknop key import FILE",
                    Role::Signer => "your own secret key is needed; list what is there with: fwknop key list",
                },
            }),
            (several, _) => Err(SealError::SeveralKeys {
                role,
                wanted: name.to_owned(),
                place: self.place.to_owned(),
                found: several.iter().map(|cert| describe(cert)).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// The key that signs: the one named with a `!`, else the newest that the agent has.
fn signing_key(
    cert: &ValidCert<'_>,
    name: &str,
    held: &[Held],
) -> Result<(Key<PublicParts, UnspecifiedRole>, Held), SealError> {
    let no = |problem, advice| unusable(cert.cert(), Role::Signer, problem, advice);
    let exactly = name.trim().ends_with('!').then(|| Wanted::of(name));
    let named = |key: &Key<PublicParts, UnspecifiedRole>| exactly.as_ref().is_none_or(|wanted| wanted.is_key(key));
    let mut keys: Vec<_> = cert.keys().supported().alive().revoked(false).for_signing().collect();
    keys.retain(|key| named(key.key()));
    if keys.is_empty() {
        return Err(no("it cannot sign", "add a subkey with: gpg --quick-add-key FINGERPRINT ed25519 sign"));
    }
    keys.sort_by_key(|key| std::cmp::Reverse(key.key().creation_time()));
    let here = keys.into_iter().find_map(|key| {
        let secret = held.iter().find(|held| held.is(key.key()))?;
        Some((key.key().clone(), secret.clone()))
    });
    here.ok_or_else(|| {
        no(
            "its secret part is not here: gpg-agent does not have it",
            "import the secret key with gpg --import, or insert the card and run: gpg --card-status",
        )
    })
}
