//! The symmetric scheme (`spec/wire.md` 4): AES-256 in the modes of the original, keyed as `openssl enc -md md5` does.
//!
//! The result is `Salted__`, eight bytes of salt, ciphertext. Padding is PKCS#7 in every mode, also the stream-like ones.

use std::fmt;
use std::str::FromStr;

use aes::Aes256;
use cipher::block_padding::Pkcs7;
use cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use md5::{Digest as _, Md5};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::hmac::{HmacAuth, HmacKey, Mark};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::spa::Digest;

/// A passphrase or key: 1 to 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RijndaelKey(Secret<Vec<u8>>);

impl RijndaelKey {
    pub const MAX: usize = 32;

    /// `None` when empty or over [`RijndaelKey::MAX`].
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let secret = Secret::new(bytes);
        (1..=Self::MAX).contains(&secret.expose().len()).then_some(Self(secret))
    }

    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The block mode. Not on the wire: both ends must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    Ecb,
    #[default]
    Cbc,
    Cfb,
    Ofb,
    Ctr,
    /// CBC with the key rule of peers before 2.5.
    Legacy,
}

impl Mode {
    pub const ALL: [Mode; 6] = [Mode::Cbc, Mode::Ecb, Mode::Cfb, Mode::Ofb, Mode::Ctr, Mode::Legacy];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Ecb => "ECB",
            Mode::Cbc => "CBC",
            Mode::Cfb => "CFB",
            Mode::Ofb => "OFB",
            Mode::Ctr => "CTR",
            Mode::Legacy => "legacy",
        }
    }

    /// The number the original's field table shows.
    pub fn number(self) -> u8 {
        match self {
            Mode::Ecb => 1,
            Mode::Cbc => 2,
            Mode::Cfb => 3,
            Mode::Ofb => 5,
            Mode::Ctr => 6,
            Mode::Legacy => 8,
        }
    }
}

/// Any case, as in the configuration.
impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|m| m.name().eq_ignore_ascii_case(text)).ok_or(UnknownMode)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of CBC ECB CFB OFB CTR legacy")]
pub struct UnknownMode;

/// What is sent instead of the first ten base64 characters: nothing. See `spec/wire.md` 4.3.
pub const PREFIX: &str = "U2FsdGVkX1";

/// Whether `body`, which stands behind [`PREFIX`], has the shape of a message: the four bits of the magic that travel,
/// and whole blocks. Costs nothing and spares other work.
pub fn fits(body: &str) -> bool {
    let bytes = (PREFIX.len() + body.len()) * 3 / 4;
    body.starts_with(['8', '9', '+', '/']) && bytes > HEADER && bytes.is_multiple_of(BLOCK)
}

/// The fewest bytes a message can have: header and one block.
const HEADER: usize = MAGIC.len() + SALT;
const MAGIC: &[u8; 8] = b"Salted__";
const SALT: usize = 8;
const BLOCK: usize = 16;

/// A key and a mode.
#[derive(Clone, Debug)]
pub struct RijndaelAuth {
    key: RijndaelKey,
    mode: Mode,
}

impl RijndaelAuth {
    pub fn new(key: RijndaelKey, mode: Mode) -> Self {
        Self { key, mode }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Tells keys apart and nothing else about them: a MAC under the key.
    pub fn mark(&self) -> Option<Mark> {
        let key = HmacKey::new(self.key.expose().to_vec())?;
        Some(HmacAuth::new(Digest::Sha256, &key).mark())
    }

    /// Encrypts under a salt from the system's random source.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut salt = [0u8; SALT];
        getrandom::fill(&mut salt)?;
        Ok(self.seal_with_salt(plaintext, salt))
    }

    /// Encrypts under a given salt: with the same salt the original makes the same bytes.
    pub fn seal_with_salt(&self, plaintext: &[u8], salt: [u8; SALT]) -> Vec<u8> {
        let derived = self.derive(salt);
        let ciphertext = derived.encrypt(self.mode, plaintext);
        [MAGIC.as_slice(), &salt, &ciphertext].concat()
    }

    /// Decrypts `Salted__`, salt, ciphertext. That the key was right shows only in what comes out.
    pub fn open(&self, message: &[u8]) -> Result<Secret<Vec<u8>>, Reason> {
        let (header, ciphertext) = message.split_at_checked(HEADER).ok_or(Reason::CiphertextLength)?;
        if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
            return Err(Reason::CiphertextLength);
        }
        let (magic, salt) = header.split_at(MAGIC.len());
        // Sixty of these bits are the prefix we put back ourselves; the last four travel and could be changed.
        if magic != MAGIC {
            return Err(Reason::CiphertextMagic);
        }
        let salt = salt.try_into().map_err(|_| Reason::CiphertextLength)?;
        self.derive(salt).decrypt(self.mode, ciphertext).map(Secret::new).ok_or(Reason::DecryptFailed)
    }

    /// `EVP_BytesToKey` with MD5 and one round.
    fn derive(&self, salt: [u8; SALT]) -> Derived {
        let mut passphrase = Secret::new(self.key.expose().to_vec());
        if self.mode == Mode::Legacy {
            let mut filled = passphrase.expose().clone();
            filled.resize(BLOCK, b'0');
            passphrase = Secret::new(filled);
        }
        let mut derived = Derived { key: [0; 32], iv: [0; 16] };
        let mut previous: Vec<u8> = Vec::new();
        for out in [0, 16, 32] {
            let mut md5 = Md5::new();
            md5.update(&previous);
            md5.update(passphrase.expose());
            md5.update(salt);
            previous.zeroize();
            previous = md5.finalize().to_vec();
            match out {
                32 => derived.iv.copy_from_slice(&previous),
                at => derived.key[at..at + 16].copy_from_slice(&previous),
            }
        }
        previous.zeroize();
        derived
    }
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Derived {
    key: [u8; 32],
    iv: [u8; 16],
}

impl Derived {
    fn encrypt(&self, mode: Mode, plaintext: &[u8]) -> Vec<u8> {
        let (key, iv) = (&self.key.into(), &self.iv.into());
        match mode {
            Mode::Cbc | Mode::Legacy => cbc::Encryptor::<Aes256>::new(key, iv).encrypt_padded_vec::<Pkcs7>(plaintext),
            Mode::Ecb => {
                use cipher::KeyInit as _;
                ecb::Encryptor::<Aes256>::new(key).encrypt_padded_vec::<Pkcs7>(plaintext)
            }
            Mode::Cfb => {
                let mut data = pad(plaintext);
                cfb_mode::Encryptor::<Aes256>::new(key, iv).encrypt(&mut data);
                data
            }
            Mode::Ofb | Mode::Ctr => {
                let mut data = pad(plaintext);
                self.key_stream(mode, &mut data);
                data
            }
        }
    }

    /// `None` when the padding is wrong, as it nearly always is under a wrong key.
    fn decrypt(&self, mode: Mode, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let (key, iv) = (&self.key.into(), &self.iv.into());
        match mode {
            Mode::Cbc | Mode::Legacy => {
                cbc::Decryptor::<Aes256>::new(key, iv).decrypt_padded_vec::<Pkcs7>(ciphertext).ok()
            }
            Mode::Ecb => {
                use cipher::KeyInit as _;
                ecb::Decryptor::<Aes256>::new(key).decrypt_padded_vec::<Pkcs7>(ciphertext).ok()
            }
            Mode::Cfb => {
                let mut data = ciphertext.to_vec();
                cfb_mode::Decryptor::<Aes256>::new(key, iv).decrypt(&mut data);
                unpad(data)
            }
            Mode::Ofb | Mode::Ctr => {
                let mut data = ciphertext.to_vec();
                self.key_stream(mode, &mut data);
                unpad(data)
            }
        }
    }

    fn key_stream(&self, mode: Mode, data: &mut [u8]) {
        let (key, iv) = (&self.key.into(), &self.iv.into());
        match mode {
            Mode::Ofb => ofb::Ofb::<Aes256>::new(key, iv).apply_keystream(data),
            _ => ctr::Ctr128BE::<Aes256>::new(key, iv).apply_keystream(data),
        }
    }
}

fn pad(plaintext: &[u8]) -> Vec<u8> {
    let fill = BLOCK - plaintext.len() % BLOCK;
    let mut data = plaintext.to_vec();
    data.resize(plaintext.len() + fill, fill as u8);
    data
}

fn unpad(mut data: Vec<u8>) -> Option<Vec<u8>> {
    let fill = usize::from(*data.last()?);
    let body = data.len().checked_sub(fill).filter(|_| (1..=BLOCK).contains(&fill))?;
    let intact = data[body..].iter().all(|byte| usize::from(*byte) == fill);
    if !intact {
        data.zeroize();
        return None;
    }
    data.truncate(body);
    Some(data)
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_and_length_survives_a_round_trip() {
        let key = RijndaelKey::new(b"a passphrase".to_vec()).unwrap();
        for mode in Mode::ALL {
            for len in 1..50 {
                let auth = RijndaelAuth::new(key.clone(), mode);
                let text = vec![b'x'; len];
                let sealed = auth.seal(&text).unwrap();
                assert_eq!(auth.open(&sealed).unwrap().expose(), &text, "{mode} {len}");
            }
        }
    }

    #[test]
    fn a_header_that_is_not_salted_is_refused() {
        let auth = RijndaelAuth::new(RijndaelKey::new(vec![1; 32]).unwrap(), Mode::Cbc);
        let mut sealed = auth.seal(b"text").unwrap();
        sealed[7] ^= 1;
        assert_eq!(auth.open(&sealed).unwrap_err(), Reason::CiphertextMagic);
        assert_eq!(auth.open(&sealed[..15]).unwrap_err(), Reason::CiphertextLength);
        assert_eq!(auth.open(&sealed[..17]).unwrap_err(), Reason::CiphertextLength);
    }
}
