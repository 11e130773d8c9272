//! Keyrings from real GnuPG homes and from files.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fwknop::keyring::{self, Error, Gpg, Keys, Loaded, Notice, Warning};
use fwknop::secret::Passphrase;

use super::vectors::{NOW, Reader, WithAgent, check_all, receiver_files, vector_keys};
use crate::support::gpg::Home;
use crate::support::scratch::Scratch;

const PASSPHRASE: &str = "alpha server passphrase";
const PROTECTED: &str = "15A36644D15C95E79ABB03B0DF764970AEB78C11";
const ELGAMAL: &str = "2D05A7B3C5C3543705ACEDF36DD82E596E5A0A40";

#[test]
fn every_vector_gets_its_verdict_from_a_gnupg_home() {
    let home = receiver();
    check_all(|passphrase| load(&home, passphrase).keys);
}

#[test]
fn every_vector_gets_its_verdict_from_gpg_itself() {
    check_with_homes(|gpg, passphrase| keyring::left_to_gpg(gpg, passphrase, NOW).expect("a keyring"));
}

#[test]
fn every_vector_gets_its_verdict_with_the_keys_left_to_the_agent() {
    check_with_homes(|gpg, passphrase| {
        let loaded = keyring::left_to_agent(gpg, passphrase, NOW).expect("a keyring");
        (WithAgent(loaded.keys), loaded.warnings)
    });
}

/// With one home for each passphrase, because an agent remembers a right one.
fn check_with_homes<R: Reader>(open: impl Fn(&Gpg, Option<&Passphrase>) -> (R, Vec<Warning>)) {
    let homes = RefCell::new(Vec::new());
    check_all(|passphrase| {
        let home = receiver();
        let gpg = Gpg { home: home.path().into(), program: None };
        homes.borrow_mut().push(home);
        let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
        let (engine, warnings) = open(&gpg, passphrase.as_ref());
        let locked: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        match passphrase.as_ref().map(Passphrase::expose) {
            Some(PASSPHRASE) => assert_eq!(locked, [""; 0]),
            Some(_) => assert!(locked[0].contains("does not unlock") && locked.len() == 1, "{locked:?}"),
            None => assert!(locked[0].contains("none is given") && locked.len() == 1, "{locked:?}"),
        }
        engine
    });
}

#[test]
fn one_locked_key_does_not_keep_the_others_from_working() {
    let home = receiver();
    let cases = [(None, "none is given"), (Some("wrong"), "does not unlock"), (Some(PASSPHRASE), "")];
    for (passphrase, said) in cases {
        let loaded = load(&home, passphrase);
        let usable = loaded.keys.decrypting().count();
        let about = |key: &str| {
            let mut notices = loaded.warnings.iter().filter_map(|warning| match warning {
                Warning::Key(notice) if notice.key().is_some_and(|named| named.to_string() == key) => Some(notice),
                _ => None,
            });
            let first = notices.next().map(Notice::to_string);
            assert!(notices.next().is_none(), "said twice: {:?}", loaded.warnings);
            first
        };
        assert!(about(ELGAMAL).is_some_and(|text| text.contains("cannot decrypt here")));
        match about(PROTECTED) {
            None => assert_eq!((usable, passphrase), (7, Some(PASSPHRASE))),
            Some(text) => {
                assert_eq!(usable, 6);
                assert!(!said.is_empty() && text.contains(said), "{text}");
            }
        }
    }
}

#[test]
fn a_home_that_cannot_be_used_says_why_and_what_to_do() {
    let scratch = Scratch::new();
    let error = |home: &Path| from_home(home, None).expect_err("must be refused").to_string();

    assert!(error(&scratch.join("none")).contains("there is no GnuPG home directory"));
    assert!(error(&scratch.write("file", "")).contains("not a directory"));

    let empty = Home::new();
    assert!(error(empty.path()).contains("--import"));

    let home = receiver();
    for mode in [0o777, 0o770, 0o1777] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(error(home.path()).contains("chmod go-w"), "{mode:o}");
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    // gpg runs as the daemon does, and obeys these.
    for name in ["pubring.kbx", "gpg.conf", "gpg-agent.conf", "common.conf", "trustdb.gpg", "private-keys-v1.d/x.key"] {
        let path = home.path().join(name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(error(home.path()).contains(&format!("{name} can be changed by other users")), "{name}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    let no_gpg = Gpg { home: home.path().into(), program: Some("/nonexistent/gpg".into()) };
    assert!(matches!(keyring::from_home(&no_gpg, None, NOW), Err(Error::NoGpg { .. })));
}

#[test]
fn a_home_that_others_may_read_is_used_with_a_warning() {
    let home = receiver();
    let warns = |mode| {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        load(&home, None).warnings.iter().any(|warning| matches!(warning, Warning::ReadableByOthers { .. }))
    };
    assert!(warns(0o755));
    assert!(!warns(0o700));
}

#[test]
fn key_files_may_hold_several_armored_blocks_or_binary_keys() {
    let scratch = Scratch::new();
    let read = |name: &str| fs::read_to_string(vector_keys().join(name)).unwrap();
    let both = [read("server-rsa2048.sec.asc"), read("client-rsa2048.pub.asc")].join("\nsome words between\n");
    let both = scratch.write("both.asc", &both);
    let loaded = keyring::from_files(&[both], None, NOW).unwrap();
    assert_eq!((loaded.keys.certificates().count(), loaded.keys.decrypting().count()), (2, 1));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let home = receiver();
    let binary = scratch.join("binary.gpg");
    home.gpg(&["--output", &binary.to_string_lossy(), "--export", "client-ed25519", "client-subkey"]);
    let loaded = keyring::from_files(&[binary], None, NOW).unwrap();
    assert_eq!(loaded.keys.certificates().count(), 2);
    assert!(matches!(loaded.warnings[..], [Warning::NothingDecrypts { .. }]));
}

#[test]
fn a_key_file_that_cannot_be_used_says_why_and_what_to_do() {
    let scratch = Scratch::new();
    let error = |path: &Path| keyring::from_files(&[path.into()], None, NOW).expect_err("must be refused").to_string();
    assert!(error(&scratch.join("none.asc")).contains("there is no key file"));
    assert!(error(&scratch.write("words.asc", "not a key\n")).contains("no OpenPGP certificate"));
    assert!(error(&scratch.write("empty.asc", "")).contains("no OpenPGP certificate"));
    assert!(error(scratch.path()).contains("no OpenPGP certificate"));

    let key = scratch.write("key.asc", &fs::read_to_string(vector_keys().join("server-rsa2048.sec.asc")).unwrap());
    for mode in [0o606, 0o660] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        assert!(error(&key).contains("chmod go-w"), "{mode:o}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = keyring::from_files(&[key], None, NOW).unwrap();
    assert!(matches!(loaded.warnings[..], [Warning::ReadableByOthers { .. }]), "{:?}", loaded.warnings);
}

/// A home with the receiver's keys, imported as `testdata/spa/README.md` says.
fn receiver() -> Home {
    let home = Home::new();
    for file in receiver_files() {
        let unlock = if file.to_string_lossy().contains("-pw") { PASSPHRASE } else { "" };
        let armored = fs::read_to_string(&file).expect("a key file");
        home.feed(&["--passphrase", unlock, "--import-options", "import-local-sigs", "--import"], &armored);
    }
    home
}

fn load(home: &Home, passphrase: Option<&str>) -> Loaded {
    from_home(home.path(), passphrase).unwrap_or_else(|error| panic!("{error}"))
}

fn from_home(home: &Path, passphrase: Option<&str>) -> Result<Loaded, Error> {
    let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
    keyring::from_home(&Gpg { home: home.into(), program: None }, passphrase.as_ref(), NOW)
}

#[test]
fn a_keyring_prints_no_secret() {
    assert_eq!(format!("{:?}", Keys::default()), "Keys(0 certificates, 0 secret keys)");
}
