//! Values that must not be seen: zeroized when dropped, never printed, compared in constant time.
//!
//! `expose` is the one word to grep for. A newtype per role stands on top (an HMAC key cannot be passed where an
//! encryption key belongs).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A secret value.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.0.as_ref(), other.0.as_ref())
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

/// Compares without telling, by its time, where two byte strings of equal length differ.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// What unlocks an OpenPGP secret key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passphrase(Secret<String>);

impl Passphrase {
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Passphrase::new("correct horse".into());
        assert!(!format!("{secret:?}").contains("horse"));
    }

    #[test]
    fn secrets_compare_by_content() {
        assert_eq!(Secret::new(vec![1u8, 2]), Secret::new(vec![1u8, 2]));
        assert_ne!(Secret::new(vec![1u8, 2]), Secret::new(vec![1u8]));
    }
}
