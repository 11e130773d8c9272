//! Sealing and unsealing: the only place where a value becomes [`Authenticated`].

pub mod hmac;
pub mod openpgp;
pub mod rijndael;
pub mod seal;
pub mod unseal;

use std::fmt;

use openpgp::Fingerprint;

/// A value whose MAC or signature has been checked, and by whose key.
///
/// Only this module can make one, so a check cannot be skipped. How much the check is worth is up to the stanza: without
/// an HMAC, a Rijndael message is protected by the unkeyed digest that `Message::decode` checks, and
/// [`Signer::Unsigned`] says that no signature was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated<T> {
    value: T,
    by: Signer,
}

impl<T> Authenticated<T> {
    pub fn value(&self) -> &T {
        &self.value
    }

    pub fn by(&self) -> &Signer {
        &self.by
    }

    pub fn try_map<U, E>(self, f: impl FnOnce(T) -> Result<U, E>) -> Result<Authenticated<U>, E> {
        Ok(Authenticated { value: f(self.value)?, by: self.by })
    }
}

/// Whose key vouches for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Whoever knows the stanza's Rijndael key (and its HMAC key, if it has one).
    SharedKey,
    /// The holder of this certificate.
    Certificate {
        /// The certificate's primary key: its name.
        primary: Fingerprint,
        /// The key that made the signature: the primary key or one of its signing subkeys.
        signing: Fingerprint,
        /// Its first user id, for people to read.
        user_id: Option<String>,
    },
    /// Encrypted to us, but the stanza asks for no signature: whoever knows our public key (and the HMAC key, if any).
    Unsigned,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Signer::SharedKey => f.write_str("shared-key"),
            Signer::Certificate { primary, .. } => primary.fmt(f),
            Signer::Unsigned => f.write_str("none"),
        }
    }
}
