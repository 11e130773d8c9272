//! `--key-gen` of both programs: random keys in the form in which configuration files take them (`spec/client.md` 5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::spa::Digest;

/// How many bytes each key shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLengths {
    /// 1 to 32.
    pub encryption: usize,
    /// 1 to 128.
    pub hmac: usize,
}

impl KeyLengths {
    /// The original's defaults. SHA3 has none there: here the block size of the digest, at which no key is hashed first.
    pub fn for_digest(digest: Digest) -> Self {
        let hmac = match digest {
            Digest::Md5 => 16,
            Digest::Sha1 => 20,
            Digest::Sha256 => 64,
            Digest::Sha384 | Digest::Sha512 => 128,
            Digest::Sha3_256 => 128,
            Digest::Sha3_512 => 72,
        };
        Self { encryption: 32, hmac }
    }
}

/// Two new keys as base64 text.
#[derive(Debug)]
pub struct NewKeys {
    pub encryption: Secret<String>,
    pub hmac: Secret<String>,
}

impl NewKeys {
    pub fn generate(lengths: KeyLengths) -> Result<Self, getrandom::Error> {
        Ok(Self { encryption: random_text(lengths.encryption)?, hmac: random_text(lengths.hmac)? })
    }

    /// Two lines, each ending in a newline.
    pub fn lines(&self) -> Secret<String> {
        Secret::new(format!("KEY_BASE64: {}\n{}", self.encryption.expose(), self.hmac_line().expose()))
    }

    /// All that OpenPGP needs.
    pub fn hmac_line(&self) -> Secret<String> {
        Secret::new(format!("HMAC_KEY_BASE64: {}\n", self.hmac.expose()))
    }
}

fn random_text(bytes: usize) -> Result<Secret<String>, getrandom::Error> {
    let mut key = Zeroizing::new(vec![0u8; bytes]);
    getrandom::fill(&mut key)?;
    Ok(Secret::new(STANDARD.encode(&*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_asked_length_and_differ() {
        for digest in Digest::ALL {
            let lengths = KeyLengths::for_digest(digest);
            let (a, b) = (NewKeys::generate(lengths).unwrap(), NewKeys::generate(lengths).unwrap());
            assert_eq!(STANDARD.decode(a.encryption.expose()).unwrap().len(), 32);
            assert_eq!(STANDARD.decode(a.hmac.expose()).unwrap().len(), lengths.hmac);
            assert_ne!(a.encryption, b.encryption);
            assert!(crate::crypto::hmac::HmacKey::new(STANDARD.decode(a.hmac.expose()).unwrap()).is_some());
        }
    }

    #[test]
    fn the_lines_are_those_of_the_original() {
        let keys = NewKeys::generate(KeyLengths { encryption: 1, hmac: 1 }).unwrap();
        let lines = keys.lines();
        let lines: Vec<&str> = lines.expose().lines().collect();
        assert!(lines[0].starts_with("KEY_BASE64: ") && lines[1].starts_with("HMAC_KEY_BASE64: "), "{lines:?}");
    }
}
