//! One of the agent's keys, as Sequoia sees it: a signer and a decryptor.

use sequoia_openpgp as pgp;

use pgp::crypto::mpi::{self, Ciphertext, MPI, PublicKey};
use pgp::crypto::{Decryptor, SessionKey, Signer, ecdh};
use pgp::packet::Key;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::types::{Curve, HashAlgorithm};
use zeroize::Zeroizing;

use super::{Agent, AgentError, Held, sexp, without_zeros};

/// A secret key in the agent.
#[derive(Clone)]
pub struct AgentKey {
    agent: Agent,
    keygrip: String,
    public: Key<PublicParts, UnspecifiedRole>,
    /// Whose key it is and what for, in the window that asks for a passphrase.
    description: String,
}

impl AgentKey {
    /// `None`: it is not the key that is held.
    pub fn new(agent: &Agent, held: &Held, public: Key<PublicParts, UnspecifiedRole>, owner: &str) -> Option<Self> {
        held.is(&public).then(|| Self {
            agent: agent.clone(),
            keygrip: held.keygrip.clone(),
            description: format!("Please unlock the OpenPGP key {:X}\nof {owner}", public.fingerprint()),
            public,
        })
    }

    fn select(&self, verb: &str) -> Vec<String> {
        vec![format!("{verb} {}", self.keygrip), format!("SETKEYDESC {}", escaped(&self.description))]
    }
}

impl Held {
    /// Whether this is the secret half of a public key.
    pub fn is(&self, key: &Key<PublicParts, UnspecifiedRole>) -> bool {
        let public = match key.mpis() {
            PublicKey::RSA { n, .. } => n.value(),
            PublicKey::ElGamal { y, .. } | PublicKey::DSA { y, .. } => y.value(),
            PublicKey::EdDSA { q, .. } | PublicKey::ECDSA { q, .. } | PublicKey::ECDH { q, .. } => q.value(),
            _ => return false,
        };
        without_zeros(public) == self.public
    }
}

impl Signer for AgentKey {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        &self.public
    }

    fn sign(&mut self, hash: HashAlgorithm, digest: &[u8]) -> pgp::Result<mpi::Signature> {
        let digits: String = digest.iter().map(|octet| format!("{octet:02X}")).collect();
        let mut commands = self.select("SIGKEY");
        commands.push(format!("SETHASH {} {digits}", u8::from(hash)));
        commands.push("PKSIGN".to_owned());
        let answer = self.agent.run(&commands, &mut |_| None)?;
        let signature = sexp::Sexp::read(&answer.data).ok_or(AgentError::Protocol("no signature"))?;
        let number = |name| signature.value(name).map(MPI::new).ok_or(AgentError::Protocol("no signature"));
        Ok(match self.public.mpis() {
            PublicKey::RSA { .. } => mpi::Signature::RSA { s: number("s")? },
            PublicKey::EdDSA { .. } => mpi::Signature::EdDSA { r: number("r")?, s: number("s")? },
            PublicKey::ECDSA { .. } => mpi::Signature::ECDSA { r: number("r")?, s: number("s")? },
            PublicKey::DSA { .. } => mpi::Signature::DSA { r: number("r")?, s: number("s")? },
            _ => return Err(AgentError::Unsupported.into()),
        })
    }
}

impl Decryptor for AgentKey {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        &self.public
    }

    fn decrypt(&mut self, ciphertext: &Ciphertext, length: Option<usize>) -> pgp::Result<SessionKey> {
        let text = match ciphertext {
            Ciphertext::RSA { c } => sexp::ciphertext("rsa", &[("a", c.value())]),
            Ciphertext::ElGamal { e, c } => sexp::ciphertext("elg", &[("a", e.value()), ("b", c.value())]),
            Ciphertext::ECDH { e, key } => sexp::ciphertext("ecdh", &[("s", key), ("e", e.value())]),
            _ => return Err(AgentError::Unsupported.into()),
        };
        let mut commands = self.select("SETKEY");
        commands.push("PKDECRYPT".to_owned());
        let mut inquiry = |keyword: &str| (keyword == "CIPHERTEXT").then(|| Zeroizing::new(text.clone()));
        let answer = self.agent.run(&commands, &mut inquiry)?;
        let value = sexp::Sexp::read(&answer.data).and_then(|value| value.value("value"));
        let value = value.ok_or(AgentError::Protocol("no session key"))?;
        match self.public.mpis() {
            PublicKey::ECDH { curve, .. } => {
                let shared = shared_point(curve, value).ok_or(AgentError::Protocol("no point of the curve"))?;
                ecdh::decrypt_unwrap(&self.public, &shared.into(), ciphertext, length)
            }
            _ => Ok(unpadded(value, length).ok_or(AgentError::Protocol("no session key"))?.into()),
        }
    }
}

/// The x coordinate, which is all that counts.
fn shared_point(curve: &Curve, value: &[u8]) -> Option<Vec<u8>> {
    let size = curve.bits().ok()?.div_ceil(8);
    match (curve, value) {
        (Curve::Cv25519, [0x40, x @ ..]) if x.len() == size => Some(x.to_vec()),
        (Curve::Cv25519, x) if x.len() == size => Some(x.to_vec()),
        (_, [0x04, point @ ..]) if point.len() == 2 * size => Some(point[..size].to_vec()),
        _ => None,
    }
}

/// An agent leaves the padding of PKCS#1 (RFC 8017 section 7.2.1), a card takes it away.
fn unpadded(value: &[u8], length: Option<usize>) -> Option<Vec<u8>> {
    if Some(value.len()) == length {
        return Some(value.to_vec());
    }
    let [0x02, padded @ ..] = without_zeros(value) else { return Some(value.to_vec()) };
    let end = padded.iter().position(|octet| *octet == 0)?;
    (end >= 8).then(|| padded[end + 1..].to_vec())
}

/// As Assuan writes text: blanks are plus signs.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b' ' => escaped.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'@' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_goes_and_nothing_else() {
        let padded = [&[2][..], &[7; 8], &[0, 9, 1, 2]].concat();
        assert_eq!(unpadded(&padded, None), Some(vec![9, 1, 2]));
        assert_eq!(unpadded(&[&[0][..], &padded].concat(), None), Some(vec![9, 1, 2]));
        assert_eq!(unpadded(&[2, 7, 0, 9], None), None, "too short a padding");
        assert_eq!(unpadded(&[2; 20], None), None, "without an end");
        assert_eq!(unpadded(&[9, 1, 2], Some(3)), Some(vec![9, 1, 2]));
    }

    #[test]
    fn only_the_coordinate_counts() {
        let x = [5; 32];
        assert_eq!(shared_point(&Curve::Cv25519, &[&[0x40][..], &x].concat()), Some(x.to_vec()));
        assert_eq!(shared_point(&Curve::NistP256, &[&[4][..], &x, &[6; 32]].concat()), Some(x.to_vec()));
        assert_eq!(shared_point(&Curve::NistP256, &x), None);
    }

    #[test]
    fn a_user_id_cannot_end_the_line() {
        assert_eq!(escaped("a b\n%@x.y"), "a+b%0A%25@x.y");
    }
}
