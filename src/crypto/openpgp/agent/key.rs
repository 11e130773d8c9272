//! A key whose secret is with the agent: it signs for Sequoia, and decrypts session keys.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sequoia_openpgp as pgp;

use pgp::crypto::mpi::{Ciphertext, MPI, PublicKey, Signature};
use pgp::crypto::{self, SessionKey, ecdh, mem::Protected};
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::types::{Curve, HashAlgorithm};

use super::assuan::Answer;
use super::error::{Error, Refusal};
use super::session::Session;
use super::sexp::{Sexp, encrypted};
use super::stored::{Protection, Stored};
use super::{Agent, Unlock};

/// Keeps one connection for itself.
pub struct AgentKey {
    agent: Agent,
    stored: Stored,
    public: Key<PublicParts, UnspecifiedRole>,
    /// What people read who are asked for the passphrase.
    description: String,
    /// `None`: none yet, or none any more.
    session: Mutex<Option<Session>>,
    /// A PIN that was wrong is not tried again: the third time would block the card.
    wrong_pin: AtomicBool,
}

impl AgentKey {
    /// `session` is the connection to begin with, if there is one. `description` says whose key it is, and what for.
    pub fn new(
        agent: &Agent,
        session: Option<Session>,
        stored: Stored,
        public: Key<PublicParts, UnspecifiedRole>,
        description: &str,
    ) -> Self {
        let wrong_pin = AtomicBool::new(false);
        let description = escaped(description);
        Self { agent: agent.clone(), stored, public, description, session: Mutex::new(session), wrong_pin }
    }

    pub fn protection(&self) -> &Protection {
        &self.stored.protection
    }

    /// Uses the key for nothing, to see whether that works: decrypts what nobody has encrypted.
    pub fn try_out(&self) -> Result<(), Error> {
        let two = || MPI::new(&[2]);
        let ciphertext = match self.public.mpis() {
            PublicKey::RSA { .. } => Ciphertext::RSA { c: two() },
            PublicKey::ElGamal { .. } => Ciphertext::ElGamal { e: two(), c: two() },
            // The only point at hand that certainly is on the curve.
            PublicKey::ECDH { q, .. } => Ciphertext::ECDH { e: q.clone(), key: Box::new([0; 40]) },
            _ => return Err(Error::Unsupported),
        };
        self.raw_decrypt(&ciphertext).map(drop)
    }

    pub fn decrypt(&self, ciphertext: &Ciphertext) -> Result<SessionKey, Error> {
        let answer = self.raw_decrypt(ciphertext)?;
        let sexp = Sexp::read(&answer.data).ok_or(NOT_UNDERSTOOD)?;
        let Sexp::List(elements) = &sexp else { return Err(NOT_UNDERSTOOD) };
        let [Sexp::Atom(b"value"), Sexp::Atom(value)] = elements[..] else { return Err(NOT_UNDERSTOOD) };
        match (self.public.mpis(), ciphertext) {
            (PublicKey::ECDH { curve, .. }, Ciphertext::ECDH { .. }) => {
                let shared = Protected::from(shared_secret(curve, value).ok_or(NOT_UNDERSTOOD)?);
                ecdh::decrypt_unwrap(&self.public, &shared, ciphertext, None).map_err(|_| Error::NotForUs)
            }
            // A card may have taken the padding away, and says so.
            _ if answer.status("PADDING") == Some("0") => Ok(value.into()),
            _ => Ok(without_padding(value).ok_or(Error::NotForUs)?.into()),
        }
    }

    pub fn sign(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Signature, Error> {
        let digits: String = digest.iter().map(|octet| format!("{octet:02X}")).collect();
        let answer = self.with_session(|session| {
            session.ask(&format!("SIGKEY {}", self.stored.keygrip))?;
            session.ask(&format!("SETKEYDESC {}", self.description))?;
            session.ask(&format!("SETHASH {} {digits}", u8::from(hash)))?;
            session.operate("PKSIGN", None)
        })?;
        let sexp = Sexp::read(&answer.data).ok_or(NOT_UNDERSTOOD)?;
        let value = |algorithm: &str, name: &str| {
            let value = sexp.list_named(algorithm).and_then(|list| list.value(name));
            value.map(MPI::new).ok_or(NOT_UNDERSTOOD)
        };
        Ok(match self.public.mpis() {
            PublicKey::RSA { .. } => Signature::RSA { s: value("rsa", "s")? },
            PublicKey::DSA { .. } => Signature::DSA { r: value("dsa", "r")?, s: value("dsa", "s")? },
            PublicKey::EdDSA { .. } => Signature::EdDSA { r: value("eddsa", "r")?, s: value("eddsa", "s")? },
            PublicKey::ECDSA { .. } => Signature::ECDSA { r: value("ecdsa", "r")?, s: value("ecdsa", "s")? },
            _ => return Err(Error::Unsupported),
        })
    }

    fn raw_decrypt(&self, ciphertext: &Ciphertext) -> Result<Answer, Error> {
        let text = match ciphertext {
            Ciphertext::RSA { c } => encrypted("rsa", &[("a", integer(c))]),
            Ciphertext::ElGamal { e, c } => encrypted("elg", &[("a", integer(e)), ("b", integer(c))]),
            Ciphertext::ECDH { e, key } => {
                let length = u8::try_from(key.len()).map_err(|_| Error::NotForUs)?;
                encrypted("ecdh", &[("s", [&[length], &key[..]].concat()), ("e", e.value().to_vec())])
            }
            _ => return Err(Error::Unsupported),
        };
        self.with_session(|session| {
            session.ask(&format!("SETKEY {}", self.stored.keygrip))?;
            session.ask(&format!("SETKEYDESC {}", self.description))?;
            session.operate("PKDECRYPT", Some(&text))
        })
    }

    /// Once more over a new connection, if the agent of the old one is gone.
    fn with_session<T>(&self, operation: impl Fn(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        if self.wrong_pin.load(Ordering::Relaxed) {
            return Err(Error::Refused(Refusal::BadPin));
        }
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match kept.take() {
            None => self.anew(&operation),
            Some(mut session) => match operation(&mut session) {
                Err(Error::Gone(_)) => self.anew(&operation),
                result => (result, Some(session)),
            },
        };
        let (result, session) = result;
        let result = result.map_err(|error| match self.stored.protection {
            Protection::Card { .. } => error.about_card(),
            Protection::None | Protection::Passphrase { .. } => error,
        });
        // After anything but a refusal nobody knows what the agent will say next.
        *kept = session.filter(|_| matches!(result, Ok(_) | Err(Error::Refused(_))));
        if matches!(result, Err(Error::Refused(Refusal::BadPin))) && matches!(self.agent.unlock, Unlock::Given(_)) {
            self.wrong_pin.store(true, Ordering::Relaxed);
        }
        result
    }

    fn anew<T>(&self, operation: &impl Fn(&mut Session) -> Result<T, Error>) -> (Result<T, Error>, Option<Session>) {
        match Session::open(&self.agent) {
            Ok(mut session) => (operation(&mut session), Some(session)),
            Err(error) => (Err(error), None),
        }
    }
}

impl crypto::Signer for AgentKey {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        &self.public
    }

    fn sign(&mut self, hash: HashAlgorithm, digest: &[u8]) -> pgp::Result<Signature> {
        Ok(AgentKey::sign(self, hash, digest)?)
    }
}

impl fmt::Debug for AgentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentKey({}, {:?})", self.public.fingerprint(), self.stored.protection)
    }
}

const NOT_UNDERSTOOD: Error = Error::Garbled("not the result that was asked for");

/// As GnuPG writes an integer: never with the first bit set.
fn integer(mpi: &MPI) -> Vec<u8> {
    let sign: &[u8] = if mpi.value().first().is_some_and(|octet| octet & 0x80 != 0) { &[0] } else { &[] };
    [sign, mpi.value()].concat()
}

/// The session key inside PKCS #1 padding (RFC 8017 section 7.2.2), whose leading zero the agent may have left out.
fn without_padding(value: &[u8]) -> Option<&[u8]> {
    let padded = value.strip_prefix(&[0]).unwrap_or(value).strip_prefix(&[2])?;
    let end = padded.iter().position(|octet| *octet == 0)?;
    Some(&padded[end + 1..])
}

/// The x coordinate of the point that the agent found.
fn shared_secret<'v>(curve: &Curve, point: &'v [u8]) -> Option<&'v [u8]> {
    const NATIVE: u8 = 0x40;
    const UNCOMPRESSED: u8 = 4;
    match (curve, point.first()?) {
        (Curve::Cv25519, &NATIVE) if point.len() == 33 => Some(&point[1..]),
        (Curve::Cv25519, _) => (point.len() == 32).then_some(point),
        (_, &UNCOMPRESSED) if point.len() % 2 == 1 => Some(&point[1..=point.len() / 2]),
        _ => None,
    }
}

/// As `SETKEYDESC` wants it: one word, `+` for blanks. Longer than anybody would read is cut.
fn escaped(text: &str) -> String {
    const OCTETS: usize = 300;
    let octets = text.as_bytes().iter().take(OCTETS);
    octets
        .map(|octet| match octet {
            b' ' => "+".to_owned(),
            octet if octet.is_ascii_alphanumeric() || b"-_.,@".contains(octet) => char::from(*octet).to_string(),
            octet => format!("%{octet:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_taken_away() {
        assert_eq!(without_padding(b"\x02\x09\x09\0key"), Some(&b"key"[..]));
        assert_eq!(without_padding(b"\0\x02\x09\0k\0"), Some(&b"k\0"[..]));
        for bad in [&b""[..], b"\x01\x09\0key", b"\x02\x09\x09", b"\0\0\x02\x09\0key"] {
            assert_eq!(without_padding(bad), None);
        }
    }

    #[test]
    fn the_shared_secret_is_the_x_coordinate() {
        let octets: Vec<u8> = (0..97).collect();
        let with = |first: u8, length: usize| [&[first], &octets[..length]].concat();
        assert_eq!(shared_secret(&Curve::Cv25519, &with(0x40, 32)), Some(&octets[..32]));
        assert_eq!(shared_secret(&Curve::Cv25519, &octets[..32]), Some(&octets[..32]));
        assert_eq!(shared_secret(&Curve::Cv25519, &octets[..31]), None);
        assert_eq!(shared_secret(&Curve::NistP384, &with(4, 96)), Some(&octets[..48]));
        assert_eq!(shared_secret(&Curve::NistP384, &with(2, 48)), None);
        assert_eq!(shared_secret(&Curve::NistP256, b""), None);
    }

    #[test]
    fn descriptions_are_one_word() {
        assert_eq!(escaped("To sign:\n\"Al\" <a@b>"), "To+sign%3A%0A%22Al%22+%3Ca@b%3E");
        assert!(escaped(&"\u{e9}".repeat(1000)).len() < 950);
    }
}
