//! What holds for every keyring, whatever is in it: it is read without harm, what is said about it can be printed, and
//! nobody is taken for somebody else.

use std::sync::OnceLock;

use fwknop::crypto::openpgp::Engine as _;
use fwknop::crypto::openpgp::Sealer as _;
use fwknop::crypto::openpgp::sequoia::{Found, KeyFile, Keys, SequoiaSealer, Wanted};
use fwknop::keyring::keybox;
use fwknop::time::Timestamp;

/// Certificates and secret keys as they stand in a file, armored or binary.
pub fn file(bytes: &[u8]) {
    let mut keys = Keys::default();
    let Ok(notices) = keys.add(bytes, None, NOW) else { return };
    for notice in notices {
        let shown = notice.to_string();
        assert!(shown.lines().count() <= 2 && is_printable(&shown.replace('\n', " ")), "{shown:?}");
    }
    for (primary, user_id) in keys.certificates() {
        assert!(is_printable(&user_id), "{user_id:?}");
        assert_eq!(keys.find(&primary.to_string()), Found::One(primary.clone()));
        let _ = keys.standing(&primary, NOW);
    }
    nobody_else(keys);
}

/// A keybox, and every certificate in it.
pub fn keybox(bytes: &[u8]) {
    for entry in keybox::entries(bytes).unwrap_or_default().into_iter().take(16) {
        let _ = Wanted::of("client@example.org").may_mean(&entry.fingerprints, &entry.user_ids);
        file(entry.keyblock);
    }
}

/// A message that the client signed is his, or nobody's, with whatever else in the keyring.
fn nobody_else(mut keys: Keys) {
    keys.add(SERVER, None, NOW).expect("a test key");
    let Ok(opened) = keys.open(letter(), NOW) else { return };
    assert_eq!(opened.plaintext.expose(), TEXT);
    for signature in opened.signatures.iter().filter(|signature| signature.fault.is_none()) {
        let by = signature.by.as_ref().expect("a valid signature is somebody's");
        assert_eq!(by.key.to_string(), CLIENT_KEY, "{opened:?}");
    }
}

fn letter() -> &'static [u8] {
    static LETTER: OnceLock<Vec<u8>> = OnceLock::new();
    let file = |data| KeyFile { data, wanted: None, place: "test key" };
    LETTER.get_or_init(|| {
        let sealer = SequoiaSealer::new(file(SERVER), Some((file(CLIENT), None)), NOW).expect("test keys");
        sealer.seal(TEXT).expect("good keys")
    })
}

/// Nothing that moves a terminal's cursor.
fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control())
}

const SERVER: &[u8] = include_bytes!("../../keyrings/matrix/gpg-cv25519.asc");
const CLIENT: &[u8] = include_bytes!("../../keyrings/matrix/sequoia-cv25519.asc");
const CLIENT_KEY: &str = "09995ADB6C74B0A8E3E1A49A1435FD08343EB8EC";
const NOW: Timestamp = Timestamp::from_secs(1_795_298_400);
const TEXT: &[u8] = b"1644722707182026:Ym9i:1795294448:3.0.0:1:MTkyLjAuMi43Nyx0Y3AvMjAwMDE:EngcL4beXxDvUsyjNvXS";
