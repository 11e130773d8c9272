//! What holds for every configuration file, whatever is in it.

use std::path::{Path, PathBuf};

use fwknop::access::Stanza;
use fwknop::config::{
    Complaints, KeyringPlace, Keyrings, OpenedKeyring, ServerSettings, parse_access, parse_sections, parse_server,
};
use fwknop::crypto::openpgp::sequoia::Found;
use fwknop::crypto::openpgp::{Fingerprint, KeyringId, SignerRule};
use fwknop::keyring;
use fwknop::reason::SignatureFault;
use fwknop::time::Timestamp;

pub fn file(kind: u8, text: &str, extension: &str) {
    // Includes read other files: those on the fuzzer's machine are none of its business.
    if text.contains("include") || text.contains('\\') {
        return;
    }
    let path = PathBuf::from(format!("/fuzz.{extension}"));
    match kind % 3 {
        0 => judge(parse_server(&path, text).map(|(settings, _)| server(&settings))),
        1 => {
            let (settings, _) = parse_server(Path::new("/fwknopd.conf"), "").expect("the defaults are right");
            let stanzas = parse_access(&path, text, &settings, &mut AnyKey, Timestamp::from_secs(1_800_000_000));
            judge(stanzas.map(|(stanzas, _)| access(&stanzas)));
        }
        _ => judge(parse_sections(&path, text).map(|_| ())),
    }
}

/// A refusal names a mistake, and each mistake says what to do, in two printable lines.
fn judge(result: Result<(), Complaints>) {
    let Err(said) = result else { return };
    assert!(said.has_errors());
    for complaint in said.iter() {
        let shown = complaint.to_string();
        assert!(shown.lines().count() <= 2 && !complaint.what.is_empty() && !complaint.advice.is_empty(), "{shown}");
        assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    }
}

fn server(settings: &ServerSettings) {
    for path in [&settings.run_dir, &settings.pid_file, &settings.digest_file, &settings.gpg_home] {
        assert!(path.is_absolute());
    }
}

/// What is taken can be used: a stanza has a key, and says who may sign.
fn access(stanzas: &[Stanza]) {
    assert!(!stanzas.is_empty());
    for stanza in stanzas {
        assert!(stanza.rijndael.is_some() || stanza.openpgp.is_some());
        assert!(stanza.timeout <= stanza.max_timeout);
        if let Some(SignerRule::Listed { lists, .. }) = stanza.openpgp.as_ref().map(|openpgp| &openpgp.signer) {
            assert!(!lists.is_empty() && lists.iter().all(|list| !list.is_empty()));
        }
    }
}

/// A keyring in which every id means the same key.
struct AnyKey;

impl Keyrings for AnyKey {
    fn open(&mut self, _: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error> {
        Ok(OpenedKeyring { id: KeyringId(0), warnings: Vec::new() })
    }

    fn find(&self, _: KeyringId, name: &str) -> Found {
        let key = || Fingerprint::from_bytes(&[0xab; 20]).expect("20 bytes are a fingerprint");
        match name.len() % 3 {
            0 => Found::None,
            1 => Found::Several(vec![key(), key()]),
            _ => Found::One(key()),
        }
    }

    fn decrypts(&self, _: KeyringId, _: &Fingerprint) -> bool {
        true
    }

    fn standing(&self, _: KeyringId, _: &Fingerprint) -> Option<SignatureFault> {
        Some(SignatureFault::Expired)
    }
}
