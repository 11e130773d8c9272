//! GnuPG's keybox, `pubring.kbx`: the certificates of a home, without running gpg for them.
//!
//! A row of blobs, each with its length in front; one kind of them holds an OpenPGP certificate as it is, and a table of
//! its fingerprints. All numbers are big-endian. (GnuPG's documentation of the format: `kbx/keybox-blob.c`.)

/// One certificate in a keybox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob<'a> {
    /// Of the primary key and the subkeys.
    fingerprints: Vec<&'a [u8]>,
    /// The packets of the certificate.
    pub certificate: &'a [u8],
}

/// All certificates, to the end or to the first thing that cannot be one of GnuPG's.
pub fn blobs(keybox: &[u8]) -> impl Iterator<Item = Blob<'_>> {
    let mut rest = keybox;
    let all = std::iter::from_fn(move || {
        let length = number(rest, 0, 4)?;
        let blob = rest.get(..length).filter(|blob| blob.len() >= 8)?;
        rest = &rest[length..];
        Some(blob)
    });
    all.filter_map(Blob::read)
}

impl<'a> Blob<'a> {
    /// `None`: deleted, a header, or X.509.
    fn read(blob: &'a [u8]) -> Option<Self> {
        const OPENPGP: u8 = 2;
        if blob[4] != OPENPGP {
            return None;
        }
        let (start, length) = (number(blob, 8, 4)?, number(blob, 12, 4)?);
        let certificate = blob.get(start..start.checked_add(length)?)?;
        // Version 2 of a blob has 32 octets for a fingerprint, of which version 4 keys use 20.
        let wide = blob[5] >= 2;
        let (keys, size) = (number(blob, 16, 2)?, number(blob, 18, 2)?);
        let entry = |at: usize| {
            let entry = blob.get(20 + at * size..20 + (at + 1) * size)?;
            let is_long = wide && entry.get(32..34).is_some_and(|flags| flags[0] & 0x80 != 0);
            entry.get(..if is_long { 32 } else { 20 })
        };
        Some(Self { fingerprints: (0..keys).map_while(entry).collect(), certificate })
    }

    /// Whether a name can mean this certificate. Never wrong about a "no", and cheap: most of a large keyring need not be
    /// parsed. `name` is a fingerprint, a key id, or a part of a user id.
    pub fn may_be(&self, name: &str) -> bool {
        let digits: String = name.chars().filter(|c| !c.is_whitespace() && *c != '!').collect();
        let digits = digits.strip_prefix("0x").or(digits.strip_prefix("0X")).unwrap_or(&digits);
        let ends_so = |fingerprint: &&[u8]| {
            let text: String = fingerprint.iter().map(|octet| format!("{octet:02X}")).collect();
            text.get(text.len().saturating_sub(digits.len())..).is_some_and(|end| end.eq_ignore_ascii_case(digits))
        };
        if digits.len() >= 8
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            && self.fingerprints.iter().any(ends_so)
        {
            return true;
        }
        let text = name.trim().trim_start_matches('<').trim_end_matches('>').as_bytes();
        // Letters beyond ASCII have cases that only the user id itself can tell.
        !name.is_ascii()
            || (!text.is_empty() && self.certificate.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text)))
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let octets = bytes.get(at..at.checked_add(length)?)?;
    Some(octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A blob of version 1 with one key.
    fn blob(kind: u8, fingerprint: u8, certificate: &[u8]) -> Vec<u8> {
        const KEYS: usize = 28;
        let start = 20 + KEYS;
        let mut bytes = vec![0, 0, 0, 0, kind, 1, 0, 0];
        bytes.extend((start as u32).to_be_bytes());
        bytes.extend((certificate.len() as u32).to_be_bytes());
        bytes.extend([0, 1, 0, KEYS as u8]);
        bytes.extend([fingerprint; 20]);
        bytes.extend([0; 8]);
        bytes.extend(certificate);
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    #[test]
    fn certificates_are_found_and_the_rest_is_passed_over() {
        let keybox = [
            blob(1, 0, b"header"),
            blob(2, 0xab, b"..Alice <alice@example.org>.."),
            blob(0, 1, b"gone"),
            blob(2, 0xcd, b"Bob"),
        ];
        let keybox = keybox.concat();
        let found: Vec<Blob> = blobs(&keybox).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].certificate, b"Bob");
        for name in
            ["ALICE@example.org", "<alice@example.org>", "lice", "abababab", "0xABABABABABABABAB", &"ab".repeat(20)]
        {
            assert!(found[0].may_be(name), "{name}");
            assert!(!found[1].may_be(name), "{name}");
        }
        assert!(found[1].may_be("Bób"), "who knows");
        assert!(!found[0].may_be(""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = blobs(&bytes).filter(|blob| blob.may_be("abababab")).count();
        }

        /// Numbers that lie, in a keybox that is otherwise sound.
        #[test]
        fn damaged_blobs_are_read_without_harm(at in 0_usize..48, byte: u8) {
            let mut bytes = [blob(2, 0xab, b"Alice"), blob(2, 0xcd, b"Bob")].concat();
            bytes[at] = byte;
            let _ = blobs(&bytes).filter(|blob| blob.may_be("Alice")).count();
        }
    }
}
