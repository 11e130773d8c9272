//! The rules for keys, signers and recipients, with a keyring that is a list.

use std::path::{Path, PathBuf};

use super::TABLE;
use crate::access::Stanza;
use crate::config::{
    Complaints, KeyringPlace, KeyringSource, Keyrings, OpenedKeyring, Severity, parse_access, parse_server,
};
use crate::crypto::openpgp::sequoia::Found;
use crate::crypto::openpgp::{Fingerprint, KeyringId, RecipientRule, SignerRule, Tolerance};
use crate::keyring;
use crate::reason::SignatureFault;
use crate::time::Timestamp;

const SERVER: &str = "1111111111111111111111111111111111111111";
const ALICE: &str = "AAAAAAAAAAAAAAAAAAAAAAAA00000000745E3332";
const BOB: &str = "BBBBBBBBBBBBBBBBBBBBBBBB000000008AB7EEB9";
/// Ends like Bob's.
const TWIN: &str = "CCCCCCCCCCCCCCCCCCCCCCCC1111111199999999";
const OTHER_TWIN: &str = "DDDDDDDDDDDDDDDDDDDDDDDD2222222299999999";

#[derive(Default)]
struct ListedKeys {
    opened: Vec<KeyringPlace>,
    /// Keys that cannot be used.
    faults: Vec<(&'static str, SignatureFault)>,
}

impl Keyrings for ListedKeys {
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error> {
        if let KeyringSource::Home { directory: home, .. } = &place.source
            && home == Path::new("/missing")
        {
            return Err(keyring::Error::NoHome { home: home.clone() });
        }
        self.opened.push(place.clone());
        Ok(OpenedKeyring { id: KeyringId(self.opened.len() - 1), warnings: Vec::new() })
    }

    fn find(&self, _: KeyringId, name: &str) -> Found {
        if name == "server@example.org" {
            return Found::One(SERVER.parse().unwrap());
        }
        let keys = [SERVER, ALICE, BOB, TWIN, OTHER_TWIN];
        let found = keys.into_iter().filter(|key| key.ends_with(&name.to_uppercase()));
        let mut found: Vec<Fingerprint> = found.map(|key| key.parse().unwrap()).collect();
        match found.len() {
            0 => Found::None,
            1 => Found::One(found.remove(0)),
            _ => Found::Several(found),
        }
    }

    fn decrypts(&self, _: KeyringId, key: &Fingerprint) -> bool {
        key.to_string() == SERVER
    }

    fn standing(&self, _: KeyringId, key: &Fingerprint) -> Option<SignatureFault> {
        self.faults.iter().find(|(faulty, _)| key.to_string() == *faulty).map(|(_, fault)| *fault)
    }
}

fn read_with(keyrings: &mut ListedKeys, stanzas: &str) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    let (server, _) = parse_server(Path::new("fwknopd.conf"), "").unwrap();
    parse_access(Path::new("access.conf"), stanzas, &server, keyrings, Timestamp::from_secs(1_800_000_000))
}

fn read(stanzas: &str) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    read_with(&mut ListedKeys::default(), stanzas)
}

/// An OpenPGP stanza with these lines, and what was said about it beside the missing HMAC key.
fn openpgp(lines: &str) -> (SignerRule, RecipientRule, Vec<String>) {
    let (stanzas, complaints) = read(&format!("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nHMAC_KEY h\n{lines}\n")).unwrap();
    let openpgp = stanzas[0].openpgp.clone().unwrap();
    (openpgp.signer, openpgp.recipient, complaints.iter().map(|c| c.what.clone()).collect())
}

/// The errors of an OpenPGP stanza with these lines.
fn refused(lines: &str) -> Vec<String> {
    let complaints = read(&format!("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nHMAC_KEY h\n{lines}\n")).expect_err(lines);
    complaints.iter().filter(|c| c.severity == Severity::Error).map(|c| format!("{}: {}", c.place, c.what)).collect()
}

fn listed(lists: &[&[&str]], expired: bool) -> SignerRule {
    let lists = lists.iter().map(|list| list.iter().map(|key| key.parse().unwrap()).collect()).collect();
    SignerRule::Listed { lists, tolerance: Tolerance { expired, sha1: false } }
}

#[test]
fn full_fingerprints_are_taken_as_people_paste_them() {
    let spaced = "AAAA AAAA AAAA AAAA AAAA  AAAA 0000 0000 745e 3332";
    let (signer, recipient, said) = openpgp(&format!("GPG_FINGERPRINT_ID {spaced}, 0x{BOB}"));
    assert_eq!(signer, listed(&[&[ALICE, BOB]], false));
    assert_eq!(recipient, RecipientRule::Any);
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn short_ids_are_resolved_with_a_warning() {
    let (signer, _, said) = openpgp("GPG_REMOTE_ID 745e3332, 000000008AB7EEB9");
    assert_eq!(signer, listed(&[&[ALICE, BOB]], false));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|what| what.contains("only the end of a fingerprint")), "{said:?}");
}

#[test]
fn both_lists_are_obeyed() {
    let (signer, ..) = openpgp(&format!("GPG_REMOTE_ID 745E3332\nGPG_FINGERPRINT_ID {ALICE},{BOB}"));
    assert_eq!(signer, listed(&[&[ALICE], &[ALICE, BOB]], false));
}

#[test]
fn an_unknown_id_is_an_error_only_when_nothing_else_is_listed() {
    let (signer, _, said) = openpgp("GPG_REMOTE_ID 00000000, 8AB7EEB9");
    assert_eq!(signer, listed(&[&[BOB]], false));
    assert!(said.iter().any(|what| what.contains("there is no key 00000000")), "{said:?}");
    assert_eq!(
        refused("GPG_REMOTE_ID 00000000"),
        ["access.conf:4: GPG_REMOTE_ID: there is no key 00000000 in the keyring"]
    );
}

#[test]
fn ambiguous_and_malformed_ids_are_errors() {
    let what = refused("GPG_REMOTE_ID 99999999, 745E3332");
    assert_eq!(what, [format!("access.conf:4: GPG_REMOTE_ID: 99999999 means several keys: {TWIN}, {OTHER_TWIN}")]);
    for id in ["alice@example.org", "745E333", "745E3332A", "0x", "GGGGGGGG"] {
        let what = refused(&format!("GPG_FINGERPRINT_ID {id}"));
        assert_eq!(what, [format!("access.conf:4: GPG_FINGERPRINT_ID: '{id}' is no fingerprint and no key id")]);
    }
}

#[test]
fn a_fingerprint_that_is_not_there_yet_is_kept() {
    let absent = "EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE";
    let (signer, _, said) = openpgp(&format!("GPG_FINGERPRINT_ID {absent}"));
    assert_eq!(signer, listed(&[&[absent]], false));
    assert_eq!(said, [format!("GPG_FINGERPRINT_ID: the key {absent} is not in the keyring")]);
}

#[test]
fn signatures_are_required_unless_they_are_disabled() {
    assert_eq!(refused(""), ["access.conf:1: the stanza does not say whose signature it takes"]);
    assert_eq!(refused("GPG_REQUIRE_SIG N"), ["access.conf:1: the stanza does not say whose signature it takes"]);

    let (signer, _, said) = openpgp("GPG_DISABLE_SIG Y\nGPG_REMOTE_ID 745E3332");
    assert_eq!(signer, SignerRule::Disabled);
    assert!(said[0].contains("whoever has the HMAC key and the server's public key is let in"), "{said:?}");
    let (_, complaints) = read("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_DISABLE_SIG Y\n").unwrap();
    assert!(complaints.to_string().contains("need neither signature nor HMAC: everybody who has"), "{complaints}");

    let (signer, _, said) = openpgp("GPG_DISABLE_SIG Y\nGPG_REQUIRE_SIG Y\nGPG_REMOTE_ID 745E3332");
    assert_eq!(signer, listed(&[&[ALICE]], false));
    assert!(said.iter().any(|what| what.contains("has no effect beside GPG_REQUIRE_SIG")), "{said:?}");

    let (signer, _, said) = openpgp("GPG_IGNORE_SIG_VERIFY_ERROR Y\nGPG_REMOTE_ID 745E3332");
    assert_eq!(signer, listed(&[&[ALICE]], true));
    assert!(said.iter().any(|what| what.contains("have expired are taken")), "{said:?}");

    let (signer, _, said) = openpgp("GPG_ALLOW_WEAK_SIG Y\nGPG_REMOTE_ID 745E3332");
    let SignerRule::Listed { tolerance, .. } = signer else { panic!("{signer:?}") };
    assert_eq!(tolerance, Tolerance { expired: false, sha1: true });
    assert!(said.iter().any(|what| what.contains("signatures over SHA-1 are taken")), "{said:?}");
}

#[test]
fn the_recipient_is_one_of_our_secret_keys() {
    for name in [SERVER, "11111111", "server@example.org"] {
        let (_, recipient, _) = openpgp(&format!("GPG_DECRYPT_ID {name}\nGPG_REMOTE_ID 745E3332"));
        assert_eq!(recipient, RecipientRule::Key(SERVER.parse().unwrap()));
    }
    for (name, what) in
        [("nobody", "there is no key"), ("99999999", "several keys"), (ALICE, "nothing can be decrypted")]
    {
        let said = refused(&format!("GPG_DECRYPT_ID {name}\nGPG_REMOTE_ID 745E3332"));
        assert!(said[0].starts_with("access.conf:4: ") && said[0].contains(what), "{said:?}");
    }
}

#[test]
fn each_keyring_is_opened_once() {
    let mut keyrings = ListedKeys::default();
    let text = "\
        SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 745E3332\n\
        SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 8AB7EEB9\n\
        SOURCE ANY\nGPG_DECRYPT_PW pass\nGPG_REMOTE_ID 8AB7EEB9\n\
        SOURCE ANY\nGPG_HOME_DIR /keys\nGPG_EXE /usr/bin/gpg2\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 8AB7EEB9\n";
    let (stanzas, _) = read_with(&mut keyrings, text).unwrap();
    let ids: Vec<usize> = stanzas.iter().map(|s| s.openpgp.as_ref().unwrap().keyring.0).collect();
    assert_eq!(ids, [0, 0, 1, 2]);
    let home = |directory: &str, program: Option<&str>| KeyringSource::Home {
        directory: directory.into(),
        program: program.map(PathBuf::from),
    };
    assert_eq!(keyrings.opened[0].source, home("/root/.gnupg", None));
    assert_eq!(keyrings.opened[1].passphrase.as_ref().unwrap().expose(), "pass");
    assert_eq!(keyrings.opened[2].source, home("/keys", Some("/usr/bin/gpg2")));
}

#[test]
fn key_files_take_the_place_of_a_home() {
    let mut keyrings = ListedKeys::default();
    let text = "SOURCE ANY\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 745E3332\nHMAC_KEY h\n\
                GPG_HOME_DIR /keys\nGPG_KEY_FILES server.asc, /keys/alice.asc\n";
    let (_, complaints) = read_with(&mut keyrings, text).unwrap();
    let files = ["/server.asc", "/keys/alice.asc"].map(PathBuf::from).to_vec();
    assert_eq!(keyrings.opened[0].source, KeyringSource::Files(files));
    assert!(complaints.to_string().contains("GPG_HOME_DIR has no effect beside GPG_KEY_FILES"), "{complaints}");
}

#[test]
fn a_keyring_that_cannot_be_opened_is_reported_once() {
    let stanza = "SOURCE ANY\nGPG_HOME_DIR /missing\nGPG_ALLOW_NO_PW Y\nGPG_REMOTE_ID 8AB7EEB9\nHMAC_KEY h\n";
    let complaints = read(&stanza.repeat(2)).unwrap_err();
    assert_eq!(complaints.iter().count(), 1, "{complaints}");
    let text = complaints.to_string();
    assert!(
        text.starts_with("access.conf:2: there is no GnuPG home directory /missing\n     set GPG_HOME_DIR"),
        "{text}"
    );
}

#[test]
fn gpg_lists_without_a_way_to_decrypt_are_mentioned() {
    let (stanzas, complaints) = read("SOURCE ANY\nKEY a\nHMAC_KEY h\nGPG_REMOTE_ID 745E3332\n").unwrap();
    assert!(stanzas[0].openpgp.is_none());
    assert!(complaints.to_string().contains("GPG_REMOTE_ID has no effect"), "{complaints}");
}

/// Not one of them is ignored without a word.
#[test]
fn every_gpg_setting_of_a_stanza_without_openpgp_is_mentioned() {
    let settings = [
        "GPG_REMOTE_ID 745E3332",
        "GPG_FINGERPRINT_ID 745E3332",
        "GPG_DECRYPT_ID 745E3332",
        "GPG_REQUIRE_SIG Y",
        "GPG_DISABLE_SIG Y",
        "GPG_IGNORE_SIG_VERIFY_ERROR Y",
        "GPG_ALLOW_WEAK_SIG Y",
        "GPG_HOME_DIR /keys",
        "GPG_KEY_FILES /key.asc",
        "GPG_EXE /usr/bin/gpg",
    ];
    let known = TABLE.variables.iter().map(|variable| variable.name).filter(|name| name.starts_with("GPG_"));
    // These two are what takes OpenPGP packets.
    let known = known.filter(|name| !["GPG_ALLOW_NO_PW", "GPG_DECRYPT_PW"].contains(name)).count();
    assert_eq!(known, settings.len());
    for setting in settings {
        let (_, complaints) = read(&format!("SOURCE ANY\nKEY a\nHMAC_KEY h\n{setting}\n")).unwrap();
        let name = setting.split_once(' ').unwrap().0;
        let what: Vec<&str> = complaints.iter().map(|complaint| complaint.what.as_str()).collect();
        assert_eq!(what, [format!("{name} has no effect: the stanza takes no OpenPGP packets")]);
    }
}

#[test]
fn listed_keys_that_cannot_sign_are_mentioned() {
    let said = |fault, more: &str| {
        let mut keyrings = ListedKeys { faults: vec![(ALICE, fault)], ..ListedKeys::default() };
        let text = format!("SOURCE ANY\nGPG_ALLOW_NO_PW Y\nHMAC_KEY h\nGPG_FINGERPRINT_ID {ALICE}, {BOB}\n{more}");
        let (stanzas, complaints) = read_with(&mut keyrings, &text).unwrap();
        let SignerRule::Listed { lists, .. } = &stanzas[0].openpgp.as_ref().unwrap().signer else { panic!() };
        assert_eq!(lists[0].len(), 2, "it may be renewed before the next packet");
        let said: Vec<String> = complaints.iter().map(|c| format!("{}: {}", c.place, c.what)).collect();
        said.into_iter().filter(|what| what.contains("nobody gets in")).collect::<Vec<_>>()
    };
    for (fault, why) in [
        (SignatureFault::Expired, "it has expired"),
        (SignatureFault::Revoked, "it has been revoked"),
        (SignatureFault::Weak, "it is bound by weak signatures, such as SHA-1"),
        (SignatureFault::Unsupported, "it is of a kind that cannot be verified here"),
        (SignatureFault::WrongUse, "it may not sign"),
    ] {
        let expected = format!("access.conf:4: GPG_FINGERPRINT_ID: nobody gets in with the key {ALICE}: {why}");
        assert_eq!(said(fault, ""), [expected]);
    }
    let ignoring = "GPG_IGNORE_SIG_VERIFY_ERROR Y\n";
    assert_eq!(said(SignatureFault::Expired, ignoring), [""; 0]);
    assert_eq!(said(SignatureFault::Revoked, ignoring).len(), 1);
}

#[test]
fn of_two_keys_the_later_counts() {
    let tag = |lines: &str| {
        let (stanzas, complaints) = read(&format!("SOURCE ANY\nKEY k\n{lines}")).unwrap();
        (stanzas[0].hmac.as_ref().unwrap().tag("", "text"), complaints.iter().count())
    };
    let plain = tag("HMAC_KEY second\n").0;
    assert_eq!(tag("HMAC_KEY_BASE64 Zmlyc3Q=\nHMAC_KEY second\n"), (plain.clone(), 1));
    assert_eq!(tag("HMAC_KEY first\nHMAC_KEY_BASE64 c2Vjb25k\n"), (plain.clone(), 1));
    assert_eq!(tag("HMAC_KEY first\nHMAC_KEY second\n"), (plain, 1));
}

#[test]
fn legacy_keys_are_cut_and_others_limited() {
    let sealed = |lines: &str| {
        let (stanzas, _) = read(&format!("SOURCE ANY\nENCRYPTION_MODE legacy\n{lines}")).unwrap();
        stanzas[0].rijndael.as_ref().unwrap().seal_with_salt(b"text", [0; 8])
    };
    assert_eq!(sealed("KEY 0123456789abcdefXYZ\n"), sealed("KEY 0123456789abcdef\n"));
    let long = "k".repeat(33);
    let said = read(&format!("SOURCE ANY\nKEY {long}\n")).unwrap_err().to_string();
    assert!(said.starts_with("access.conf:2: KEY is longer than 32 bytes\n") && !said.contains(&long), "{said}");
}

#[test]
fn tabs_are_blanks() {
    let (stanzas, _) = read("SOURCE\tANY\t\nKEY\tk\nHMAC_KEY h\nOPEN_PORTS tcp/22,\ttcp/80\t;\n").unwrap();
    assert_eq!(stanzas[0].open_ports.as_ref().unwrap().to_string(), "tcp/22,tcp/80");
}

#[test]
fn the_maximum_limits_the_default_too() {
    let times = |lines: &str| {
        let (stanzas, _) = read(&format!("SOURCE ANY\nKEY k\n{lines}")).unwrap();
        (stanzas[0].timeout.secs(), stanzas[0].max_timeout.secs())
    };
    assert_eq!(times(""), (30, 300));
    assert_eq!(times("FW_ACCESS_TIMEOUT 0\nMAX_FW_TIMEOUT 0\n"), (30, 300));
    assert_eq!(times("MAX_FW_TIMEOUT 10\n"), (10, 10));
    assert_eq!(times("FW_ACCESS_TIMEOUT 600\n"), (300, 300));
    assert_eq!(times("FW_ACCESS_TIMEOUT 600\nMAX_FW_TIMEOUT 900\n"), (600, 900));
}
