//! Damaged messages, key files and keyrings, for every engine: each is refused or means what it meant, and what is said
//! about it can be understood. The numbers are small; `tests/fuzz` goes on from here.

#[path = "../../fuzz/keys_check.rs"]
mod keys_check;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use fwknop::crypto::openpgp::sequoia::{KeyFile, Keys, SequoiaSealer};
use fwknop::crypto::openpgp::{Sealer as _, SignerRule, Tolerance};
use fwknop::keyring::{self, Gpg};
use fwknop::reason::SignatureFault;
use fwknop::time::Timestamp;
use sequoia_openpgp::armor;

use super::engines::ENGINES;
use super::matrix::specimens::{specimen, specimens};
use crate::support::gpg::Home;
use crate::support::random::Random;
use crate::support::scratch::Scratch;

const TEXT: &[u8] = b"1644722707182026:Ym9i:1795294448:3.0.0:1:MTkyLjAuMi43Nyx0Y3AvMjAwMDE:EngcL4beXxDvUsyjNvXS";

#[test]
fn damaged_messages_say_what_they_said_or_nothing() {
    let (server, client) = (specimen("gpg-cv25519"), specimen("sequoia-cv25519"));
    let file = |data| KeyFile { data, wanted: None, place: "matrix" };
    let signer = Some((file(client.secret.as_bytes()), None));
    let sealer = SequoiaSealer::new(file(server.public.as_bytes()), signer, Timestamp::now()).expect("good keys");
    let good = sealer.seal(TEXT).expect("good keys");
    let home = Home::new();
    home.import(&[server.secret.as_str(), &client.public].concat());
    let listed = SignerRule::Listed { lists: vec![vec![client.primary.clone()]], tolerance: Tolerance::default() };

    for kind in &ENGINES {
        let ring = kind.open(&home, None);
        let mut random = Random::new(0x0bad_5eed);
        let (mut refused, started) = (0, Instant::now());
        for round in 0..kind.affords {
            let message = match round % 4 {
                0 => good[..random.below(good.len())].to_vec(),
                1 => [&good, &random.bytes(40)[..]].concat(),
                _ => random.damage(&good),
            };
            match ring.read(&message) {
                Ok(opened) if listed.judge(&opened).is_ok() => assert_eq!(opened.plaintext.expose(), TEXT),
                _ => refused += 1,
            }
        }
        assert!(refused > kind.affords * 3 / 4, "{}: only {refused}", kind.name);
        assert!(started.elapsed() < Duration::from_secs(60), "{}: {:?}", kind.name, started.elapsed());
        assert!(listed.judge(&ring.read(&good).expect("still there")).is_ok());
    }
}

#[test]
fn damaged_key_files_do_no_harm() {
    let mut random = Random::new(0xca5c_ade5);
    for specimen in specimens() {
        let mut binary = Vec::new();
        armor::Reader::from_bytes(specimen.secret.as_bytes(), None).read_to_end(&mut binary).expect("armor");
        for round in 0..24 {
            let model = if round % 3 == 0 { specimen.secret.as_bytes() } else { &binary };
            let cut = random.below(model.len());
            keys_check::file(&if round % 4 == 0 { model[..cut].to_vec() } else { random.damage(model) });
        }
    }
}

/// A revocation must not get lost: with any bit turned over, the key is still revoked or not there, or the operator is told that
/// something is wrong with it.
#[test]
fn a_damaged_revocation_does_not_get_lost_in_silence() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyrings/vectors");
    let armored = fs::read(vectors.join("client-revoked.pub.asc")).expect("a test key");
    let mut good = Vec::new();
    armor::Reader::from_bytes(&armored, None).read_to_end(&mut good).expect("armor");
    let read = |data: &[u8]| {
        let mut keys = Keys::default();
        let said = keys.add(data, None, Timestamp::now());
        (keys, said.map(|notices| notices.iter().map(ToString::to_string).collect::<String>()).unwrap_or_default())
    };
    let (keys, _) = read(&good);
    let (key, _) = keys.certificates().next().expect("one certificate");
    assert_eq!(keys.standing(&key, Timestamp::now()), Some(SignatureFault::Revoked));
    let (mut left_out, mut doubted) = (0, 0);
    // A signature of a version that nobody knows is to be passed over (RFC 9580 section 5.2.5).
    let version = good.windows(3).position(|octets| octets == [4, 0x20, 1]).expect("a revocation of a key");
    for at in (0..good.len()).filter(|at| *at != version) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        let (keys, said) = read(&damaged);
        let standing = keys.standing(&key, Timestamp::now());
        let lost = said.contains("if it was a revocation, it is lost");
        assert!(standing.is_some() || lost, "octet {at}: the revocation is gone, and all that was said is '{said}'");
        left_out += usize::from(said.contains("has a revocation that is damaged"));
        doubted += usize::from(standing.is_none());
    }
    // Where not even the kind of a signature can be trusted, it is only told.
    assert!(left_out > 100 && doubted < 10, "{left_out} left out, {doubted} doubted");
}

/// gpg itself reads these, as the daemon would have it at start.
#[test]
fn damaged_homes_are_refused_or_read_in_part() {
    let keybox = |home: &Home| home.path().join("pubring.kbx");
    let model = Home::new();
    model.import(
        &["gpg-cv25519", "gpg-nistp256", "sequoia-cv25519"].map(|name| specimen(name).secret.as_str()).concat(),
    );
    let good = fs::read(keybox(&model)).expect("GnuPG 2.1 and later have one");
    keys_check::keybox(&good);
    let mut random = Random::new(0x0dd_ba11);
    for round in 0..8 {
        let damaged = match round {
            0 => Vec::new(),
            1 => good[..good.len() / 2].to_vec(),
            2 => random.bytes(600),
            _ => random.damage(&good),
        };
        keys_check::keybox(&damaged);
        fs::write(keybox(&model), &damaged).expect("our own home");
        let gpg = Gpg { home: model.path().into(), program: None };
        let in_memory = keyring::from_home(&gpg, None, Timestamp::now()).map(|loaded| loaded.warnings);
        let by_gpg = keyring::left_to_gpg(&gpg, None, Timestamp::now()).map(|(_, warnings)| warnings);
        for opened in [in_memory, by_gpg] {
            let said = match opened {
                Ok(warnings) => warnings.iter().map(ToString::to_string).collect(),
                Err(error) => vec![error.to_string()],
            };
            said.iter().for_each(|text| assert!(text.lines().count() == 2, "no advice: {text}"));
        }
    }
}

/// As root nothing is unreadable for its mode; a link to itself is for everybody.
#[test]
fn what_cannot_be_read_is_told_with_advice() {
    let scratch = Scratch::new();
    let link = scratch.join("itself");
    std::os::unix::fs::symlink(&link, &link).expect("our own directory");
    let refused = |error: Option<keyring::Error>| {
        let text = error.expect("must be refused").to_string();
        assert!(text.contains("cannot read") && text.lines().count() == 2, "{text}");
    };
    refused(keyring::from_files(std::slice::from_ref(&link), None, Timestamp::now()).err());
    let gpg = |home: &Path| Gpg { home: home.into(), program: None };
    refused(keyring::from_home(&gpg(&link), None, Timestamp::now()).err());
    refused(keyring::left_to_gpg(&gpg(&link), None, Timestamp::now()).err());

    let file = scratch.write("file", "");
    let text = keyring::left_to_gpg(&gpg(&file), None, Timestamp::now()).expect_err("must be refused").to_string();
    assert!(text.contains("is not a directory") && text.lines().count() == 2, "{text}");
}
