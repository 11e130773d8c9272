//! `fwknop key qr`. That a camera reads what is drawn is tested beside the code.

use crate::support::gpg::keys;

use super::{User, vector};

const RC: &str = "[office]\nSPA_SERVER gate.example.org\nACCESS tcp/22\nKEY_BASE64 c2VjcmV0IGtleQ==\n\
    HMAC_KEY_BASE64 c2VjcmV0IGhtYWM=\nGPG_EXE /usr/bin/gpg\n";

#[test]
fn a_certificate_is_shown_and_a_stanza_only_when_that_is_said() {
    let user = User::new(&[&keys().client_ed25519], &[]);
    user.file(".fwknoprc", RC);
    let shown = user.run(&["key", "qr"]);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""));
    assert!(shown.out.lines().count() > 30 && shown.out.chars().all(|c| " ▀▄█\n".contains(c)));
    let inverted = user.run(&["key", "qr", "--invert"]);
    assert!(inverted.out.starts_with("     ") && shown.out.starts_with("█████"));

    user.refused(&["key", "qr", "--stanza", "office"], 2, &["a stanza holds keys", "--reveal"]);
    assert_eq!(user.run(&["key", "qr", "--stanza", "office"]).out, "");
    let revealed = user.run(&["key", "qr", "--stanza", "office", "--reveal"]);
    assert_eq!(revealed.code, Some(0), "{}", revealed.err);
    assert!(revealed.out.chars().all(|c| " ▀▄█\n".contains(c)));
    assert!(revealed.err.contains("belongs to this machine: GPG_EXE"), "{}", revealed.err);
    assert!(!revealed.err.contains("c2VjcmV0"), "{}", revealed.err);
    user.refused(&["key", "qr", "--stanza", "home", "--reveal"], 4, &["there is no stanza 'home'"]);
    user.refused(&["key", "qr", "--reveal"], 2, &["--stanza"]);
}

#[test]
fn what_is_too_large_for_a_code_is_said() {
    let user = User::new(&[], &[]);
    user.ring.import(&vector("server-rsa4096.pub.asc"));
    user.refused(&["key", "qr", "server-rsa4096"], 1, &["but a QR code holds 2953", "Ed25519", "fwknop key export"]);
}
