//! Which secret keys an agent has. It knows them by keygrips; we find ours by comparing the public keys.

use sequoia_openpgp::crypto::mpi::PublicKey;

use super::error::{Error, Refusal};
use super::session::Session;
use super::sexp::Sexp;

/// A secret key that the agent has, or whose card it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// 40 upper-case digits.
    pub(super) keygrip: String,
    pub protection: Protection,
    /// What distinguishes it from all other keys: the modulus, the point or the power.
    public: Vec<u8>,
}

/// What stands between the agent and its use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    None,
    /// A passphrase. `cached`: the agent knows it at present.
    Passphrase {
        cached: bool,
    },
    /// It is on a card with this serial number, if that is known.
    Card {
        serial: Option<String>,
    },
}

impl Stored {
    pub fn is(&self, key: &PublicKey) -> bool {
        let value = match key {
            PublicKey::RSA { n, .. } => n,
            PublicKey::DSA { y, .. } | PublicKey::ElGamal { y, .. } => y,
            PublicKey::EdDSA { q, .. } | PublicKey::ECDSA { q, .. } | PublicKey::ECDH { q, .. } => q,
            _ => return false,
        };
        self.public == value.value()
    }
}

pub(super) fn stored_keys(session: &mut Session) -> Result<Vec<Stored>, Error> {
    let listed = match session.ask("KEYINFO --list") {
        Ok(answer) => answer.status,
        // An empty home may have no directory for them.
        Err(Error::Refused(Refusal::NoSuchKey)) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut stored = Vec::new();
    for (keygrip, protection) in listed.iter().filter_map(|line| key_info(line)) {
        let public = match session.ask(&format!("READKEY {keygrip}")) {
            Ok(answer) => Sexp::read(&answer.data).as_ref().and_then(distinctive),
            // Removed meanwhile, or of a kind this agent does not know itself.
            Err(Error::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        stored.extend(public.map(|public| Stored { keygrip, protection, public }));
    }
    Ok(stored)
}

/// `KEYINFO <keygrip> <type> <serial number> <id> <cached> <protection> …`
fn key_info(line: &str) -> Option<(String, Protection)> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["KEYINFO", keygrip, kind, serial, _, cached, protected, ..] = words[..] else { return None };
    if keygrip.len() != 40 || !keygrip.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let protection = match (kind, protected) {
        ("T", _) => Protection::Card { serial: (serial != "-").then(|| serial.to_owned()) },
        ("D", "C") => Protection::None,
        ("D", _) => Protection::Passphrase { cached: cached == "1" },
        _ => return None,
    };
    Some((keygrip.to_owned(), protection))
}

/// `(public-key(rsa(n ..)(e ..)))` and the like.
fn distinctive(sexp: &Sexp<'_>) -> Option<Vec<u8>> {
    let value = |algorithm: &str, name: &str| sexp.list_named(algorithm)?.value(name);
    let value =
        value("rsa", "n").or_else(|| value("ecc", "q")).or_else(|| value("elg", "y")).or_else(|| value("dsa", "y"))?;
    // Integers are written with a zero octet where they would look negative.
    let zeros = value.iter().take_while(|octet| **octet == 0).count();
    Some(value[zeros..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_key_is_told() {
        let grip = "060EF5D3A3CC8E0C1B84316DF0548648F84070EB";
        let info = |rest: &str| key_info(&format!("KEYINFO {grip} {rest}")).map(|(_, protection)| protection);
        assert_eq!(info("D - - - C - - -"), Some(Protection::None));
        assert_eq!(info("D - - - P - - -"), Some(Protection::Passphrase { cached: false }));
        assert_eq!(info("D - - 1 P - - -"), Some(Protection::Passphrase { cached: true }));
        let serial = Some("D2760001240103040006".to_owned());
        assert_eq!(info("T D2760001240103040006 OPENPGP.1 - - - - -"), Some(Protection::Card { serial }));
        assert_eq!(info("X - - - - - - -"), None);
        assert_eq!(info("D -"), None);
        assert_eq!(key_info("KEYINFO 060E D - - - C - - -"), None);
    }

    #[test]
    fn integers_lose_their_leading_zeros() {
        let sexp = Sexp::read(b"(10:public-key(3:rsa(1:n3:\0\x81\x02)(1:e1:\x03)))").unwrap();
        assert_eq!(distinctive(&sexp), Some(vec![0x81, 2]));
        let sexp = Sexp::read(b"(10:public-key(3:ecc(5:curve7:Ed25519)(5:flags5:eddsa)(1:q2:@\x01)))").unwrap();
        assert_eq!(distinctive(&sexp), Some(b"@\x01".to_vec()));
        assert_eq!(distinctive(&Sexp::read(b"(10:public-key(3:xyz(1:q1:@)))").unwrap()), None);
    }
}
