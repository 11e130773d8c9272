//! Which keys of a GnuPG home its owner has disabled. GnuPG keeps that in `trustdb.gpg`, beside its ownertrust.

use crate::crypto::openpgp::Fingerprint;

/// The primary keys that `gpg --edit-key KEY disable` was said for.
pub fn disabled(data: &[u8]) -> Vec<Fingerprint> {
    let records = data.chunks_exact(RECORD).filter(|record| record[0] == TRUST && record[OWNERTRUST] & DISABLED != 0);
    records.filter_map(|record| Fingerprint::from_bytes(&record[2..22])).collect()
}

/// Octets of a record: type, a reserved one, fingerprint, ownertrust, and what is of no interest here.
const RECORD: usize = 40;
const OWNERTRUST: usize = 22;
const TRUST: u8 = 12;
const DISABLED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_disabled_keys_are_found() {
        let record = |kind: u8, key: u8, trust: u8| [&[kind, 0][..], &[key; 20], &[trust], &[0; 17]].concat();
        let data =
            [record(1, 1, 0xff), record(12, 2, 6), record(12, 3, 0x86), record(13, 4, 0x80), vec![12; 30]].concat();
        assert_eq!(disabled(&data), [Fingerprint::from_bytes(&[3; 20]).unwrap()]);
        assert_eq!(disabled(b""), []);
    }
}
