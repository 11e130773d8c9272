//! GnuPG's keybox, `pubring.kbx` (`kbx/keybox-blob.c` of GnuPG describes the format): certificates, each in a blob with
//! an index of its fingerprints and user ids.
//!
//! All integers are big-endian, all offsets count from the beginning of a blob. Only reading; nothing is copied.

/// What is not, or no longer, a keybox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or of a newer kind")]
pub struct Malformed;

/// One OpenPGP certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'k> {
    /// Its packets, as `gpg --export` writes them, and a few that are of interest to GnuPG only.
    pub keyblock: &'k [u8],
    /// Of the primary key and all subkeys. Only for finding: the certificate has the last word.
    pub fingerprints: Vec<&'k [u8]>,
    pub user_ids: Vec<&'k [u8]>,
}

/// Whether it is a keybox that GnuPG uses for OpenPGP, and not only for S/MIME.
pub fn is_for_openpgp(data: &[u8]) -> bool {
    const USED_FOR_OPENPGP: u8 = 2;
    let Ok((header, _)) = split_blob(data) else { return false };
    header.get(4) == Some(&HEADER) && header.get(8..12) == Some(b"KBXf") && header[7] & USED_FOR_OPENPGP != 0
}

/// The certificates, in the order of the file.
pub fn entries(data: &[u8]) -> Result<Vec<Entry<'_>>, Malformed> {
    let mut entries = Vec::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (blob, after) = split_blob(rest)?;
        rest = after;
        // What is deleted, or of S/MIME, is of other types.
        if blob.get(4) == Some(&OPENPGP)
            && let Some(entry) = entry(blob)?
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// A blob begins with its own length.
fn split_blob(data: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    const SHORTEST: usize = 5;
    let length = number(data, 0, 4)?;
    if length < SHORTEST {
        return Err(Malformed);
    }
    data.split_at_checked(length).ok_or(Malformed)
}

/// `None`: GnuPG keeps it only for a while, and does not count it among its keys.
fn entry(blob: &[u8]) -> Result<Option<Entry<'_>>, Malformed> {
    const EPHEMERAL: usize = 2;
    if number(blob, 6, 2)? & EPHEMERAL != 0 {
        return Ok(None);
    }
    let keyblock = part(blob, number(blob, 8, 4)?, number(blob, 12, 4)?)?;
    let (keys, after_keys) = table(blob, 16)?;
    let serial = number(blob, after_keys, 2)?;
    let (user_ids, _) = table(blob, after_keys + 2 + serial)?;
    Ok(Some(Entry {
        keyblock,
        fingerprints: keys.map(|row| fingerprint(blob, row)).collect::<Result<_, _>>()?,
        user_ids: user_ids.map(|row| part(blob, number(row, 0, 4)?, number(row, 4, 4)?)).collect::<Result<_, _>>()?,
    }))
}

/// Version 1 has room for 20 octets; version 2 for 32, and a flag says whether all are used.
fn fingerprint<'k>(blob: &'k [u8], row: &'k [u8]) -> Result<&'k [u8], Malformed> {
    const LONG: usize = 0x80;
    let is_long = blob.get(5) == Some(&2) && number(row, 32, 2)? & LONG != 0;
    part(row, 0, if is_long { 32 } else { 20 })
}

/// The number of rows, the size of each, and the rows. Also where it ends.
fn table(blob: &[u8], at: usize) -> Result<(impl Iterator<Item = &[u8]>, usize), Malformed> {
    let (rows, size) = (number(blob, at, 2)?, number(blob, at + 2, 2)?);
    if size == 0 && rows > 0 {
        return Err(Malformed);
    }
    let octets = part(blob, at + 4, rows * size)?;
    Ok((octets.chunks_exact(size.max(1)), at + 4 + octets.len()))
}

fn number(data: &[u8], at: usize, octets: usize) -> Result<usize, Malformed> {
    let octets = part(data, at, octets)?;
    Ok(octets.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
}

fn part(data: &[u8], at: usize, length: usize) -> Result<&[u8], Malformed> {
    data.get(at..at.checked_add(length).ok_or(Malformed)?).ok_or(Malformed)
}

const HEADER: u8 = 1;
const OPENPGP: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINGERPRINT: [u8; 20] = [7; 20];

    fn header() -> Vec<u8> {
        [&[0, 0, 0, 32, HEADER, 1, 0, 2][..], b"KBXf", &[0; 20]].concat()
    }

    /// A blob with one key, one user id and, at its end, both texts.
    fn blob(kind: u8, flags: u8, keyblock: &[u8], user_id: &[u8]) -> Vec<u8> {
        const FIXED: usize = 16 + 4 + 28 + 2 + 4 + 12;
        let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let length = FIXED + keyblock.len() + user_id.len();
        [
            &number(length)[..],
            &[kind, 1, 0, flags],
            &number(FIXED),
            &number(keyblock.len()),
            &[0, 1, 0, 28],
            &FINGERPRINT,
            &[0; 8],
            &[0, 0],
            &[0, 1, 0, 12],
            &number(FIXED + keyblock.len()),
            &number(user_id.len()),
            &[0; 4],
            keyblock,
            user_id,
        ]
        .concat()
    }

    #[test]
    fn certificates_are_found_and_what_is_none_is_left_out() {
        let deleted = blob(0, 0, b"gone", b"");
        let ephemeral = blob(OPENPGP, 2, b"tmp", b"");
        let smime = blob(3, 0, b"x509", b"");
        let data =
            [header(), deleted, blob(OPENPGP, 0, b"one", b"Alice"), ephemeral, smime, blob(OPENPGP, 0, b"two", b"")]
                .concat();
        assert!(is_for_openpgp(&data));
        let entries = entries(&data).unwrap();
        let keyblocks: Vec<_> = entries.iter().map(|entry| entry.keyblock).collect();
        assert_eq!(keyblocks, [b"one", b"two"]);
        assert_eq!(
            (&entries[0].fingerprints[..], &entries[0].user_ids[..]),
            (&[&FINGERPRINT[..]][..], &[&b"Alice"[..]][..])
        );
    }

    #[test]
    fn what_is_no_keybox_is_told() {
        assert!(!is_for_openpgp(b""));
        assert!(!is_for_openpgp(b"\x99\x01\x0d\x04 packets of a key, as pubring.gpg has them"));
        let mut smime_only = header();
        smime_only[7] = 0;
        assert!(!is_for_openpgp(&smime_only));
        for bad in [&b"\0\0\0\x04"[..], b"\0\0\0\0\x02", b"\0\0\0\x09\x02\x01", b"\xff\xff\xff\xff\x02\x01"] {
            assert_eq!(entries(bad), Err(Malformed), "{bad:?}");
        }
        let whole = blob(OPENPGP, 0, b"one", b"Alice");
        for cut in 1..whole.len() {
            assert_eq!(entries(&whole[..cut]), Err(Malformed), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_octets_are_too_much(data: Vec<u8>, at in 0usize..70, octet: u8) {
            let _ = entries(&data);
            let mut changed = [header(), blob(OPENPGP, 0, b"one", b"Alice")].concat();
            changed[32 + at] = octet;
            let _ = entries(&changed);
            let _ = is_for_openpgp(&data);
        }
    }
}
