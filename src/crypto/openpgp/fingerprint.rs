//! The name of an OpenPGP key.

use std::fmt;
use std::str::FromStr;

/// A full fingerprint: 20 bytes (version 4) or 32 (version 6). Shown as upper-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(Box<[u8]>);

impl Fingerprint {
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.len(), 20 | 32).then(|| Self(bytes.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key id: the last eight octets, or in version 6 the first.
    pub fn id(&self) -> [u8; 8] {
        let octets = if self.0.len() == 20 { &self.0[12..] } else { &self.0[..8] };
        octets.try_into().unwrap_or_default()
    }

    /// Whether its last digits, in upper case, are these.
    pub fn ends_with(&self, digits: &str) -> bool {
        self.to_string().ends_with(digits)
    }

    /// The last 8 hexadecimal digits, as the original's log lines show them. Says nothing about identity.
    pub fn short_id(&self) -> String {
        let text = self.to_string();
        text[text.len() - 8..].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Any case, blanks between the digits, `0x` in front.
impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let digits = digits.strip_prefix(b"0x").or(digits.strip_prefix(b"0X")).unwrap_or(&digits);
        let pairs = digits.chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
            (text.len() == 2).then(|| u8::from_str_radix(text, 16).ok())?
        });
        let bytes: Option<Vec<u8>> = pairs.collect();
        bytes.and_then(|bytes| Self::from_bytes(&bytes)).ok_or(NotAFingerprint)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a full fingerprint of 40 or 64 hexadecimal digits")]
pub struct NotAFingerprint;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_paste_them() {
        let canonical = "D3939AEF57059512C5F71C54EC7D9871B128A32E";
        for form in [
            canonical,
            "0xd3939aef57059512c5f71c54ec7d9871b128a32e",
            "D393 9AEF 5705 9512 C5F7  1C54 EC7D 9871 B128 A32E",
        ] {
            assert_eq!(form.parse::<Fingerprint>().unwrap().to_string(), canonical);
        }
        assert_eq!(canonical.parse::<Fingerprint>().unwrap().short_id(), "B128A32E");
        for bad in
            ["", "B128A32E", "D3939AEF57059512C5F71C54EC7D9871B128A32", "G3939AEF57059512C5F71C54EC7D9871B128A32E"]
        {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad:?}");
        }
    }
}
