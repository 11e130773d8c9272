//! Which key of a GnuPG home a name means, and why one cannot be used: the same for every engine.

use super::{Role, SealError};

/// A name that a user gave, and what for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub role: Role,
    pub wanted: &'a str,
    /// Where it is looked up, for messages.
    pub place: &'a str,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Revoked,
    Expired,
    Disabled,
    Weak,
    /// Nothing in it encrypts, or signs.
    Unfit,
    /// It may be good, but there is no arithmetic for it here.
    NeedsGpg,
    /// It would sign, but the secret part is not there.
    NoSecret,
}

impl Search<'_> {
    /// Exactly one usable key of those that have the name.
    pub fn one<K>(
        &self,
        keys: Vec<K>,
        problem: impl Fn(&K) -> Option<Problem>,
        describe: impl Fn(&K) -> String,
    ) -> Result<K, SealError> {
        let Self { role, wanted, place } = *self;
        let (wanted, place) = (wanted.to_owned(), place.to_owned());
        let (mut usable, unusable): (Vec<K>, Vec<K>) = keys.into_iter().partition(|key| problem(key).is_none());
        match usable.len() {
            1 => Ok(usable.remove(0)),
            0 => Err(match unusable.first().and_then(|key| Some((key, problem(key)?))) {
                None => SealError::NoKey {
                    role,
                    wanted,
                    place,
                    advice: match role {
                        Role::Recipient => "import the server's public key with: fwknop key import FILE",
                        Role::Signer => "your own secret key is needed; list what is there with: fwknop key list",
                    },
                },
                Some((key, problem)) => self.unusable(describe(key), problem),
            }),
            _ => {
                let found = usable.iter().map(describe).collect::<Vec<_>>().join(", ");
                Err(SealError::SeveralKeys { role, wanted, place, found })
            }
        }
    }

    pub fn unusable(&self, key: String, problem: Problem) -> SealError {
        let (problem, advice) = problem.explain(self.role);
        SealError::Unusable { role: self.role, key, problem, advice }
    }
}

impl Problem {
    /// What is wrong, and what helps.
    fn explain(self, role: Role) -> (&'static str, &'static str) {
        let ask = match role {
            Role::Recipient => "ask the server's administrator for its new key",
            Role::Signer => "make a new key, and have it listed on the server",
        };
        match (self, role) {
            (Problem::Revoked, _) => ("it is revoked", ask),
            (Problem::Expired, Role::Recipient) => {
                ("it has expired", "ask the server's administrator for the prolonged key")
            }
            (Problem::Expired, Role::Signer) => (
                "it has expired",
                "prolong it with: gpg --quick-set-expire KEY 1y, and give the server the new public key",
            ),
            (Problem::Disabled, _) => ("it is disabled", "enable it with: gpg --edit-key KEY enable"),
            (Problem::Weak, _) => ("it is made with algorithms that are no longer safe", ask),
            (Problem::Unfit, Role::Recipient) => {
                ("it has no subkey for encryption", "add one with: gpg --quick-add-key FINGERPRINT cv25519 encr")
            }
            (Problem::Unfit, Role::Signer) => {
                ("it cannot sign", "add a subkey with: gpg --quick-add-key FINGERPRINT ed25519 sign")
            }
            (Problem::NeedsGpg, _) => NEEDS_GPG,
            (Problem::NoSecret, _) => (
                "the secret part of its signing key is not here",
                "import it with: gpg --import FILE, or, if it is on a card: insert that and run gpg --card-status",
            ),
        }
    }
}

/// What is wrong, and what helps.
pub(super) const NEEDS_GPG: (&str, &str) = (
    "it is of a kind that only gpg can use here",
    "let gpg make the packet: set GPG_ENGINE gpgme, with both keys in a GnuPG home",
);
