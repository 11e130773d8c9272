//! A packet that looks like SPA: canonical text, recognised but unread (`spec/wire.md` 7.1, 8.3).
//!
//! Text that is not canonical is refused here, or by the strict base64 of `crypto/unseal.rs` once it is known where the
//! tag begins: one packet has one spelling, or a replay could be respelled (`spec/wire.md` 9).

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use crate::crypto::rijndael;
use crate::reason::Reason;
use crate::replay::ReplayKey;

/// The text of an SPA packet: 140 to 1499 characters of the base64 alphabet, no padding, no prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    text: String,
    forwarded_for: Option<IpAddr>,
}

/// What is read as HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpRules {
    /// `ENABLE_SPA_OVER_HTTP`
    pub enabled: bool,
    /// `ALLOW_ANY_USER_AGENT`: otherwise `User-Agent: Fwknop…` is required.
    pub any_user_agent: bool,
    /// `ENABLE_X_FORWARDED_FOR`: believe that header for requests that ask for "my source address".
    pub forwarded_for: bool,
}

impl Envelope {
    /// The smallest packet a normal access request can give.
    pub const MIN: usize = 140;
    /// The largest text the original's library takes.
    pub const MAX: usize = 1499;
    /// A request with its headers may be longer than the text in it, but not without bound.
    const MAX_HTTP: usize = 4096;

    pub fn recognise(payload: &[u8], http: HttpRules) -> Result<Self, Reason> {
        if payload.len() < Self::MIN {
            return Err(Reason::PacketTooShort);
        }
        if http.enabled && starts_with_ignore_case(payload, b"GET /") {
            return Self::from_http(payload, http);
        }
        Self::from_text(payload.to_vec(), None)
    }

    /// The whole text as sent: body and, if there is one, tag.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whom the sender, if it is a proxy, says it speaks for. Only meant for requests that ask for "my source address".
    /// Anybody can write this header: `ENABLE_X_FORWARDED_FOR` believes it.
    pub fn forwarded_for(&self) -> Option<IpAddr> {
        self.forwarded_for
    }

    /// The original's replay digest: SHA-256 of the text as received, after HTTP translation.
    pub fn replay_key(&self) -> ReplayKey {
        ReplayKey(Sha256::digest(&self.text).into())
    }

    /// Body and tag, for a tag of `tag_len` characters.
    pub fn split_tag(&self, tag_len: usize) -> Result<(&str, &str), Reason> {
        const SHORTEST_BODY: usize = 36;
        let at = self.text.len().checked_sub(tag_len).filter(|at| *at >= SHORTEST_BODY);
        at.map(|at| self.text.split_at(at)).ok_or(Reason::HmacLength) // ASCII: every index is a boundary
    }

    fn from_text(text: Vec<u8>, forwarded_for: Option<IpAddr>) -> Result<Self, Reason> {
        match text.len() {
            0..Self::MIN => return Err(Reason::PacketTooShort),
            Self::MIN..=Self::MAX => {}
            _ => return Err(Reason::PacketTooLong),
        }
        // Also after HTTP unwrapping: the original looks before it, and can be fooled there.
        if text.starts_with(rijndael::PREFIX.as_bytes()) || (text.len() > 400 && text.starts_with(b"hQ")) {
            return Err(Reason::PrefixPresent);
        }
        if !text.iter().all(|b| matches!(b, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=')) {
            return Err(Reason::NotBase64);
        }
        if text.contains(&b'=') {
            return Err(Reason::NotCanonical);
        }
        let text = String::from_utf8(text).map_err(|_| Reason::NotBase64)?;
        Ok(Self { text, forwarded_for })
    }

    fn from_http(payload: &[u8], http: HttpRules) -> Result<Self, Reason> {
        if payload.len() > Self::MAX_HTTP {
            return Err(Reason::PacketTooLong);
        }
        if !http.any_user_agent && find(payload, b"User-Agent: Fwknop", false).is_none() {
            return Err(Reason::NotHttpSpa);
        }
        let target = payload[b"GET /".len()..].iter();
        let text = target.take_while(|b| !b.is_ascii_whitespace()).map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        });
        let forwarded_for = if http.forwarded_for { forwarded_for(payload) } else { None };
        Self::from_text(text.collect(), forwarded_for)
    }
}

/// A header with a single address; lists and anything else are ignored.
fn forwarded_for(payload: &[u8]) -> Option<IpAddr> {
    const NAME: &[u8] = b"X-Forwarded-For: ";
    let value = &payload[find(payload, NAME, true)? + NAME.len()..];
    let end = value.iter().position(u8::is_ascii_whitespace)?;
    let address: IpAddr = std::str::from_utf8(&value[..end]).ok()?.parse().ok()?;
    (!address.is_unspecified() && !address.is_multicast()).then_some(address)
}

fn find(haystack: &[u8], needle: &[u8], ignore_case: bool) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| if ignore_case { w.eq_ignore_ascii_case(needle) } else { w == needle })
}

fn starts_with_ignore_case(text: &[u8], start: &[u8]) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        vec![b'A'; len]
    }

    #[test]
    fn length_is_140_to_1499() {
        let recognise = |len| Envelope::recognise(&text(len), HttpRules::default()).map(|_| ());
        assert_eq!(recognise(139), Err(Reason::PacketTooShort));
        assert_eq!(recognise(140), Ok(()));
        assert_eq!(recognise(1499), Ok(()));
        assert_eq!(recognise(1500), Err(Reason::PacketTooLong));
    }

    #[test]
    fn anything_but_bare_base64_is_refused() {
        for (bad, reason) in [
            ("\n", Reason::NotBase64),
            ("\0", Reason::NotBase64),
            ("-", Reason::NotBase64),
            ("=", Reason::NotCanonical),
        ] {
            let payload = [&text(140)[..], bad.as_bytes()].concat();
            assert_eq!(Envelope::recognise(&payload, HttpRules::default()).unwrap_err(), reason, "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_put_back_is_refused_also_behind_http() {
        let replayed = [b"U2FsdGVkX1".as_slice(), &text(140)].concat();
        let http = HttpRules { enabled: true, ..HttpRules::default() };
        let request = [b"GET /".as_slice(), &replayed, b" HTTP/1.0\r\nUser-Agent: Fwknop/2.6.10\r\n\r\n"].concat();
        assert_eq!(Envelope::recognise(&replayed, http).unwrap_err(), Reason::PrefixPresent);
        assert_eq!(Envelope::recognise(&request, http).unwrap_err(), Reason::PrefixPresent);
    }
}
