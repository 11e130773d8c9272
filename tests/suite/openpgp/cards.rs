//! A server key on a card, where no card can be read: every engine says so, in words.

use fwknop::crypto::openpgp::{Engine as _, News};
use fwknop::keyring::{self, Notice, Warning};
use fwknop::reason::Reason;
use fwknop::time::Timestamp;
use sequoia_openpgp as pgp;

use pgp::crypto::mpi::PublicKey;
use pgp::parse::Parse;

use super::engines::ENGINES;
use super::matrix::{seal_here, specimens::specimen};
use crate::support::gpg::{Home, on_card};
use crate::support::scratch::Scratch;

#[test]
fn a_server_key_on_a_card_is_told_at_start_and_when_it_is_needed() {
    let server = specimen("gpg-cv25519");
    for kind in &ENGINES {
        let home = home_with_card();
        let ring = kind.open(&home, None);
        let about = |text: &&String| text.contains(&server.encrypts.to_string());
        let told: Vec<&String> = ring.warnings.iter().filter(about).collect();
        let [told] = told[..] else { panic!("{}: {:?}", kind.name, ring.warnings) };
        assert!(told.contains("on a card") && told.contains("\n     "), "{}: {told}", kind.name);
        let advice = if kind.asks_the_agent { "install scdaemon" } else { "GPG_SECRET_KEYS agent" };
        assert!(told.contains(advice), "{}: {told}", kind.name);

        let refused = ring.engine.open(&seal_here(server, None), Timestamp::now()).expect_err("no card");
        assert_eq!(refused, kind.locked, "{}", kind.name);
        let news = ring.engine.take_news();
        match refused {
            Reason::GpgEngine => {
                let Some(News::Trouble(text)) = news else { panic!("{}: {news:?}", kind.name) };
                assert!(text.contains("on a card") && text.contains("\n     "), "{text}");
                assert_eq!(ring.engine.take_news(), None, "told once");
            }
            _ => assert_eq!(news, None),
        }
    }
}

/// As gpg exports such a key: with a note in the secret's place.
#[test]
fn a_key_file_without_the_secret_is_told() {
    let server = specimen("gpg-cv25519");
    let exported = home_with_card().gpg(&["--armor", "--export-secret-keys", &server.primary.to_string()]);
    assert!(exported.contains("PRIVATE KEY"));
    let files = Scratch::new();
    let loaded = keyring::from_files(&[files.write("server.asc", &exported)], None, Timestamp::now()).expect("a file");
    let [Warning::Key(told @ Notice::Elsewhere { .. }), Warning::NothingDecrypts { .. }] = &loaded.warnings[..] else {
        panic!("{:?}", loaded.warnings)
    };
    assert!(
        told.to_string().contains("is on a card or was left out") && told.to_string().contains("\n     "),
        "{told}"
    );
    assert_eq!(
        loaded.keys.open(&seal_here(server, None), Timestamp::now()).expect_err("no secret"),
        Reason::GpgDecrypt
    );
}

/// What an agent has that was shown a card once.
fn home_with_card() -> Home {
    let server = specimen("gpg-cv25519");
    let home = Home::new();
    home.import(&server.secret);
    let cert = pgp::Cert::from_bytes(&server.public).expect("a certificate");
    let subkey = cert.keys().subkeys().find(|key| key.key().fingerprint().to_hex() == server.encrypts.to_string());
    let subkey = subkey.expect("the key that encrypts");
    let PublicKey::ECDH { q, .. } = subkey.key().mpis() else { panic!("not Curve25519") };
    home.replace_secret(&server.primary.to_string(), "sub", Some(&on_card("Curve25519", q.value())));
    home.end_agent();
    home
}
