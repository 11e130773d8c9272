//! Every OpenPGP setting of a stanza, with every engine, through the running daemon: what it lets through, and by which
//! name everything else is refused.

pub mod letters;
mod people;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::types::HashAlgorithm;

use super::engines::{ENGINES, Kind};
use super::matrix;
use crate::support::gpg::Home;
use crate::support::netns::World;
use crate::support::peers::{Daemon, Maker, READY, Settings, bounded, said};
use crate::support::{PATIENCE, scratch::Scratch};
use letters::Letter;
use people::{DAY, People};

/// A stanza, a letter to it, and what becomes of that.
struct Case {
    stanza: String,
    letter: String,
    /// Words of the journal's line.
    expected: &'static str,
}

fn case(stanza: impl Into<String>, letter: Letter<'_>, expected: &'static str) -> Case {
    Case { stanza: stanza.into(), letter: letter.sealed(), expected }
}

const MINUTE: Duration = Duration::from_secs(60);

const OPENED: &str = "open ";
const REFUSED: &str = "refuse ";
const NO_DECRYPTION: &str = "reason=gpg-decrypt";
const UNSIGNED: &str = "reason=gpg-no-signature";
const NOT_LISTED: &str = "reason=signer-not-listed";
const WRONG_RECIPIENT: &str = "reason=wrong-recipient";
const BAD: &str = "reason=gpg-bad-signature fault=bad";
const UNKNOWN: &str = "reason=gpg-bad-signature fault=unknown-signer";
const EXPIRED: &str = "reason=gpg-bad-signature fault=expired";
const REVOKED: &str = "reason=gpg-bad-signature fault=revoked";
const NOT_YET: &str = "reason=gpg-bad-signature fault=not-yet-valid";
const WEAK: &str = "reason=gpg-bad-signature fault=weak";
const WRONG_USE: &str = "reason=gpg-bad-signature fault=wrong-use";

#[test]
fn who_is_listed_and_how() {
    check(|people, _| {
        let People { server, alice, bob, stranger, unknown, twins, .. } = people;
        let to = || Letter::to(server);
        let subkeys: Vec<_> = signing_subkeys(bob);
        let digits = id(alice);
        let spaced: Vec<&str> = (0..10).map(|at| &digits[4 * at..4 * at + 4]).collect();
        vec![
            case(fingerprints(&[alice]), to().by(alice), OPENED),
            case(
                fingerprints(&[alice]).to_lowercase().replace("gpg_fingerprint_id", "GPG_FINGERPRINT_ID"),
                to().by(alice),
                OPENED,
            ),
            case(format!("GPG_FINGERPRINT_ID {}", spaced.join(" ")), to().by(alice), OPENED),
            case(format!("GPG_REMOTE_ID {}", id(alice)), to().by(alice), OPENED),
            case(format!("GPG_REMOTE_ID {}", &id(alice)[32..]), to().by(alice), OPENED),
            case(format!("GPG_REMOTE_ID 0x{}", &id(alice)[24..]), to().by(alice), OPENED),
            case(format!("GPG_REMOTE_ID {}\n{}", id(alice), fingerprints(&[alice, bob])), to().by(alice), OPENED),
            case(format!("GPG_REMOTE_ID {}\n{}", id(bob), fingerprints(&[alice])), to().by(alice), NOT_LISTED),
            // By its primary key, and by the subkey that signs: but not by the one that does not.
            case(fingerprints(&[bob]), to().by_key(bob, &subkeys[0]), OPENED),
            case(fingerprints(&[bob]), to().by_key(bob, &subkeys[1]), OPENED),
            case(format!("GPG_FINGERPRINT_ID {}", subkeys[1].to_hex()), to().by_key(bob, &subkeys[1]), OPENED),
            case(format!("GPG_FINGERPRINT_ID {}", subkeys[0].to_hex()), to().by_key(bob, &subkeys[1]), NOT_LISTED),
            case(format!("GPG_REMOTE_ID {}", &subkeys[1].to_hex()[32..]), to().by_key(bob, &subkeys[1]), OPENED),
            case(fingerprints(&[alice]), to().by(stranger), NOT_LISTED),
            case(fingerprints(&[alice, unknown]), to().by(unknown), UNKNOWN),
            // Full fingerprints tell the two apart.
            case(fingerprints(&[&twins[0]]), to().by(&twins[0]), OPENED),
            case(fingerprints(&[&twins[0]]), to().by(&twins[1]), NOT_LISTED),
            case(fingerprints(&[alice]), to(), UNSIGNED),
            case(fingerprints(&[alice]), to().by(unknown).by(alice), OPENED),
            case(fingerprints(&[alice]), to().by(stranger).by(alice), OPENED),
            case(fingerprints(&[alice]), to().by(stranger).by(unknown), REFUSED),
            case(fingerprints(&[alice]), to().by(alice).forged(), BAD),
        ]
    });
}

#[test]
fn what_is_wrong_with_a_signature_and_what_may_be_let_through() {
    check(|people, kind| {
        let People {
            server, alice, expired, revoked, retired, unborn, weakly_bound, certifier, stranger, unknown, ..
        } = people;
        let to = || Letter::to(server);
        let now = SystemTime::now();
        let listed = fingerprints(&[alice, expired, revoked, retired, unborn, weakly_bound, certifier, unknown]);
        let short = || to().by(alice).signed(now - DAY).valid_for(Duration::from_secs(3600));
        let sha1 = |by| to().by(by).hash(HashAlgorithm::SHA1);
        let mut cases = Vec::new();
        for (lines, old, weak, both) in [
            ("", EXPIRED, WEAK, EXPIRED),
            ("GPG_IGNORE_SIG_VERIFY_ERROR Y\n", OPENED, WEAK, WEAK),
            ("GPG_ALLOW_WEAK_SIG Y\n", EXPIRED, OPENED, EXPIRED),
            ("GPG_IGNORE_SIG_VERIFY_ERROR Y\nGPG_ALLOW_WEAK_SIG Y\n", OPENED, OPENED, OPENED),
            ("GPG_IGNORE_SIG_VERIFY_ERROR N\nGPG_ALLOW_WEAK_SIG N\nGPG_REQUIRE_SIG Y\n", EXPIRED, WEAK, EXPIRED),
        ] {
            let stanza = format!("{lines}{listed}");
            let case = |letter, expected| case(stanza.clone(), letter, expected);
            cases.extend([
                case(to().by(expired), old),
                case(short(), if kind.reads_expired_signatures { old } else { EXPIRED }),
                case(sha1(alice), weak),
                case(sha1(expired), both),
                // These nothing lets through.
                case(sha1(stranger), if weak == OPENED { NOT_LISTED } else { WEAK }),
                case(sha1(revoked), REVOKED),
                case(to().by(alice).hash(HashAlgorithm::MD5), WEAK),
                case(to().by(alice).hash(HashAlgorithm::RipeMD), WEAK),
                case(to().by(weakly_bound), WEAK),
                case(to().by(revoked), REVOKED),
                case(to().by(revoked).signed(now - 2 * DAY), REVOKED),
                case(to().by(retired), REVOKED),
                // gpg does not import a key of tomorrow.
                case(to().by(unborn).signed(now + DAY), UNKNOWN),
                case(to().by(alice).signed(now + DAY), NOT_YET),
                // Before her key was made.
                case(to().by(alice).signed(now - 9 * DAY), NOT_YET),
                // A client's clock may be wrong, though not by much.
                case(to().by(alice).signed(now + 20 * MINUTE), OPENED),
                case(to().by(alice).signed(now + 40 * MINUTE), NOT_YET),
                case(to().by(certifier), WRONG_USE),
                case(to().by(unknown), UNKNOWN),
                case(to().by(alice).forged(), BAD),
                case(to(), UNSIGNED),
            ]);
        }
        cases
    });
}

#[test]
fn signatures_can_be_done_without_but_not_be_wrong() {
    check(|people, _| {
        let People { server, alice, stranger, unknown, .. } = people;
        let to = || Letter::to(server);
        let both = format!("GPG_DISABLE_SIG Y\nGPG_REQUIRE_SIG Y\n{}", fingerprints(&[alice]));
        let off = format!("GPG_REQUIRE_SIG N\n{}", fingerprints(&[alice]));
        vec![
            case("GPG_DISABLE_SIG Y", to(), OPENED),
            case("GPG_DISABLE_SIG Y", to().by(unknown), OPENED),
            case("GPG_DISABLE_SIG Y", to().by(stranger), OPENED),
            case("GPG_DISABLE_SIG Y", to().by(alice).forged(), BAD),
            case(both.clone(), to(), UNSIGNED),
            case(both, to().by(alice), OPENED),
            case(off.clone(), to(), UNSIGNED),
            case(off, to().by(stranger), NOT_LISTED),
        ]
    });
}

#[test]
fn whom_a_message_is_for() {
    check(|people, kind| {
        let People { server, other_server, foreign_server, alice, .. } = people;
        let listed = fingerprints(&[alice]);
        let wants = |cert| format!("GPG_DECRYPT_ID {}\n{listed}", id(cert));
        let to = |cert| Letter::to(cert).by(alice);
        let subkey = server.keys().subkeys().next().unwrap().key().fingerprint().to_hex();
        let mut cases = vec![
            case(wants(server), to(server), OPENED),
            case(format!("GPG_DECRYPT_ID {subkey}\n{listed}"), to(server), OPENED),
            case(format!("GPG_DECRYPT_ID <server@example.org>\n{listed}"), to(server), OPENED),
            case(wants(server), to(other_server), WRONG_RECIPIENT),
            case(wants(other_server), to(other_server), OPENED),
            case(listed.clone(), to(other_server), OPENED),
            case(listed.clone(), to(foreign_server), NO_DECRYPTION),
            // For several: the first of them that is ours counts.
            case(listed.clone(), to(foreign_server).and(server), OPENED),
            case(wants(server), to(foreign_server).and(server), OPENED),
            case(wants(server), to(server).and(other_server), OPENED),
            case(wants(server), to(other_server).and(server), WRONG_RECIPIENT),
            // Not named: the key that in fact decrypts counts.
            case(listed.clone(), to(server).hidden(), OPENED),
            case(wants(server), to(server).hidden(), OPENED),
            case(wants(server), to(other_server).hidden(), WRONG_RECIPIENT),
            case(listed.clone(), to(foreign_server).hidden(), NO_DECRYPTION),
            case(listed.clone(), to(server).meant_for(server), OPENED),
            // Somebody else's server has passed a letter on. gpg does not tell.
            case(
                listed.clone(),
                to(server).meant_for(foreign_server),
                if kind.knows_the_intended { BAD } else { OPENED },
            ),
        ];
        // gpg looks at the signature first.
        cases.push(Case { stanza: listed.clone(), letter: to(server).damaged(), expected: REFUSED });
        let unsigned = Letter::to(server).damaged();
        cases.push(Case { stanza: "GPG_DISABLE_SIG Y".into(), letter: unsigned, expected: NO_DECRYPTION });
        cases.push(Case { stanza: listed, letter: without_integrity(), expected: NO_DECRYPTION });
        cases
    });
}

/// A vector in the form of old: encrypted data without a modification detection code (packet type 9).
fn without_integrity() -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/spa/gpg.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let vector = vectors["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == "a-gpg-no-mdc").unwrap();
    vector["packet"].as_str().unwrap().to_owned()
}

/// Sends each letter to its stanza with every engine, and reads the verdicts in the journal.
fn check(cases: impl Fn(&People, &Kind) -> Vec<Case>) {
    let people = People::new();
    for kind in &ENGINES {
        let cases = cases(&people, kind);
        let home = home(&people);
        let sources: Vec<Ipv4Addr> = (1u32..).map(|n| Ipv4Addr::from(0x7f01_0000 + n)).take(cases.len()).collect();
        let stanza = |(source, case): (&Ipv4Addr, &Case)| {
            let home = home.path().display();
            format!("SOURCE {source}\nGPG_ALLOW_NO_PW Y\nGPG_HOME_DIR {home}\n{}\n", case.stanza)
        };
        let access: String = sources.iter().zip(&cases).map(stanza).collect();
        let world = World::new();
        let conf = format!("ENABLE_SPA_PACKET_AGING N;\n{}", kind.conf);
        let settings = Settings::new(&world, &conf, &access).interface(None);
        let daemon = Daemon::launch(&world, Maker::Ours, &settings, &["--test", "-v", "--udp-server"]);
        daemon.logs.expect(&[READY]);
        let mut wrong = Vec::new();
        for (source, case) in sources.iter().zip(&cases) {
            let mark = daemon.logs.mark();
            world.server.send(IpAddr::V4(*source), (Ipv4Addr::LOCALHOST.into(), 62201), case.letter.as_bytes());
            let line = daemon.logs.expect_after(mark, &[&format!("src={source} ")]);
            if !line.contains(case.expected) {
                wrong.push(format!("{}\n    expected {}: {line}", case.stanza, case.expected));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", kind.name, wrong.join("\n"));
        daemon.stop();
    }
}

/// What is wrong already when the files are read.
#[test]
fn ids_that_cannot_be_meant_are_told_at_start() {
    let people = People::new();
    let home = home(&people);
    let (twin, alice) = (id(&people.twins[0]), id(&people.alice));
    assert_eq!(twin[32..], id(&people.twins[1])[32..]);
    let nobody = "00000000";
    for kind in &ENGINES {
        for (stanza, expected) in [
            (format!("GPG_REMOTE_ID {}", &twin[32..]), "means several keys: "),
            (format!("GPG_REMOTE_ID {nobody}"), "there is no key 00000000 in the keyring"),
            (format!("GPG_REMOTE_ID {}", &alice[33..]), "is no fingerprint and no key id"),
            ("GPG_FINGERPRINT_ID alice@example.org".into(), "is no fingerprint and no key id"),
            (String::new(), "the stanza does not say whose signature it takes"),
            (format!("GPG_REMOTE_ID {alice}\nGPG_DECRYPT_ID nobody"), "there is no key 'nobody' in the keyring"),
            (format!("GPG_REMOTE_ID {alice}\nGPG_DECRYPT_ID server"), "means several keys: "),
            (format!("GPG_REMOTE_ID {alice}\nGPG_DECRYPT_ID {alice}"), "nothing can be decrypted with key"),
            (format!("GPG_REMOTE_ID {alice}\nGPG_EXE /nonexistent/gpg"), "gpg cannot be used"),
        ] {
            let text = refused(kind, &format!("GPG_HOME_DIR {}\n{stanza}", home.path().display()));
            assert!(text.contains(expected), "{}, {stanza}: {text}", kind.name);
        }
    }
    for (kind, by) in [(&ENGINES[1], "GPG_SECRET_KEYS agent"), (&ENGINES[2], "GPG_ENGINE gpgme")] {
        let text = refused(kind, &format!("GPG_KEY_FILES /keys.asc\nGPG_REMOTE_ID {alice}"));
        let what = format!("GPG_KEY_FILES cannot be used with {by}");
        assert!(text.contains(&what) && text.contains("gpg --import"), "{text}");
    }
}

/// Told where it stands, and not repeated.
#[test]
fn a_passphrase_that_unlocks_nothing_is_refused_at_start() {
    const WRONG: &str = "not-the-pass-phrase";
    for kind in &ENGINES {
        let home = matrix::specimens::home(true);
        let alice = "A".repeat(40);
        let text = refused(
            kind,
            &format!("GPG_HOME_DIR {}\nGPG_DECRYPT_PW {WRONG}\nGPG_REMOTE_ID {alice}", home.path().display()),
        );
        assert!(text.contains("/access.conf:5: the passphrase given unlocks no key"), "{}: {text}", kind.name);
        assert!(text.contains("\n     correct GPG_DECRYPT_PW") && !text.contains(WRONG), "{}: {text}", kind.name);
    }
}

#[test]
fn where_secret_keys_are_is_no_matter_for_gpg_itself() {
    let dir = Scratch::new();
    let conf = dir.write("fwknopd.conf", "GPG_ENGINE gpgme;\nGPG_SECRET_KEYS agent;\n");
    let access = dir.write("access.conf", "SOURCE ANY\nKEY k\nHMAC_KEY h\n");
    let mut command = std::process::Command::new(Maker::Ours.daemon());
    command.arg("--exit-parse-config").arg("-v").arg("-c").arg(conf).arg("-a").arg(access);
    let text = said(&bounded(command, PATIENCE));
    assert!(text.contains("/fwknopd.conf:2: note: GPG_SECRET_KEYS has no effect with GPG_ENGINE gpgme"), "{text}");
    let text = refused_with("GPG_SECRET_KEYS disk;\n", "GPG_REMOTE_ID 00000000");
    assert!(
        text.contains("/fwknopd.conf:2: GPG_SECRET_KEYS") && text.contains("memory") && text.contains("agent"),
        "{text}"
    );
}

/// What is said about a stanza that must be refused.
fn refused(kind: &Kind, stanza: &str) -> String {
    refused_with(kind.conf, stanza)
}

fn refused_with(more: &str, stanza: &str) -> String {
    let dir = Scratch::new();
    let run = dir.join("run");
    let conf = dir.write("fwknopd.conf", &format!("FWKNOP_RUN_DIR {};\n{more}", run.display()));
    let access = dir.write("access.conf", &format!("SOURCE ANY\nHMAC_KEY h\nGPG_ALLOW_NO_PW Y\n{stanza}\n"));
    let mut command = std::process::Command::new(Maker::Ours.daemon());
    command.arg("--exit-parse-config").arg("-c").arg(conf).arg("-a").arg(access);
    let output = bounded(command, PATIENCE);
    let text = said(&output);
    assert!(!output.status.success(), "{stanza}: {text}");
    text
}

fn home(people: &People) -> Home {
    let home = Home::new();
    home.import(&people.keyring());
    home
}

fn id(cert: &Cert) -> String {
    cert.fingerprint().to_hex()
}

fn fingerprints(listed: &[&Cert]) -> String {
    format!("GPG_FINGERPRINT_ID {}", listed.iter().map(|cert| id(cert)).collect::<Vec<_>>().join(","))
}

fn signing_subkeys(cert: &Cert) -> Vec<pgp::Fingerprint> {
    let policy = pgp::policy::StandardPolicy::new();
    let valid = cert.with_policy(&policy, None).unwrap();
    valid.keys().subkeys().for_signing().map(|key| key.key().fingerprint()).collect()
}
