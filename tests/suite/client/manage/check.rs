//! `fwknop key check`: each thing that needs attention, and what to do about it.

use serde_json::Value;

use crate::support::gpg::keys;

use super::{PROGRAM, User, run, vector};

/// What was found about the only thing that needs attention.
#[track_caller]
fn only_finding(user: &User, line: &[&str]) -> (String, String) {
    let done = user.run(&[&["key", "check", "--json"], line].concat());
    assert_eq!(done.code, Some(5), "{}{}", done.out, done.err);
    let all: Value = serde_json::from_str(&done.out).unwrap();
    let findings: Vec<&Value> =
        all.as_array().unwrap().iter().flat_map(|of| of["findings"].as_array().unwrap()).collect();
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    let shown = user.run(&[&["key", "check"], line].concat());
    assert_eq!((shown.code, shown.err.as_str()), (Some(5), ""));
    assert!(shown.out.contains(": needs attention\n"), "{}", shown.out);
    assert!(shown.out.contains(&format!("  {}\n     {}\n", text("what"), text("advice"))), "{}", shown.out);
    (text("what"), text("advice"))
}

#[test]
fn what_is_good_needs_no_attention() {
    let user = User::new(&[&keys().client_ed25519], &[&keys().server_cv25519]);
    let done = user.run(&["key", "check"]);
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{}", done.out);
    assert!(done.out.ends_with(": good\n"), "{}", done.out);
    let by_key = user.run(&["key", "check", "--server", &keys().server_cv25519.fingerprint]);
    assert_eq!((by_key.code, by_key.out.lines().count()), (Some(0), 2), "{}", by_key.out);
    user.refused(&["key", "check", "nobody"], 4, &["there is no key 'nobody'"]);
}

#[test]
fn expiry_is_told_two_weeks_before() {
    let user = User::new(&[], &[]);
    for (id, days, told) in [("soon", 13, true), ("later", 16, false)] {
        let line = ["--passphrase", "", "--quick-gen-key", id, "ed25519", "sign", &format!("{days}d")];
        user.ring.gpg(&line);
        if told {
            let (what, advice) = only_finding(&user, &[id]);
            assert!(what.starts_with("it expires on 20") && advice.contains("--quick-set-expire"), "{what} {advice}");
        } else {
            assert_eq!(user.run(&["key", "check", id]).code, Some(0));
        }
    }
}

#[test]
fn keys_that_can_no_longer_sign_are_told() {
    for (file, what, advice) in [
        ("client-expired.sec.asc", "it has expired", "prolong it with: gpg --quick-set-expire"),
        ("client-revoked.sec.asc", "it is revoked", "make a new key"),
        ("server-rsa1024.sec.asc", "rsa1024 ", "make a new key"),
    ] {
        let user = User::new(&[], &[]);
        user.ring.import(&vector(file));
        // Where the revocation is.
        user.ring.import(&vector(&file.replace(".sec.", ".pub.")));
        let done = user.run(&["key", "check"]);
        assert_eq!(done.code, Some(5), "{file}: {}", done.out);
        assert!(done.out.contains(&format!("  {what}")) && done.out.contains(advice), "{file}: {}", done.out);
    }
    let user = User::new(&[], &[]);
    user.ring.gpg(&["--passphrase", "", "--quick-gen-key", "certifies", "ed25519", "cert", "0"]);
    let (what, advice) = only_finding(&user, &[]);
    assert_eq!(what, "it has no key that signs");
    assert!(advice.starts_with("add one with: gpg --quick-add-key ") && advice.ends_with(" ed25519 sign"), "{advice}");

    // Certified with SHA-1 only.
    let user = User::new(&[], &[]);
    let old = ["--cert-digest-algo", "SHA1", "--weak-digest", "MD5", "--passphrase", ""];
    user.ring.gpg(&[&old[..], &["--quick-gen-key", "old", "rsa2048", "sign,cert", "0"]].concat());
    let (what, _) = only_finding(&user, &[]);
    assert_eq!(what, "it is bound by weak signatures, such as SHA-1");
}

#[test]
fn no_key_and_no_agent_are_told() {
    let user = User::new(&[], &[]);
    let (what, advice) = only_finding(&user, &[]);
    assert!(what.starts_with("there is no key of yours in ") && advice.contains("fwknop key generate"), "{what}");

    let user = User::new(&[&keys().client_ed25519], &[]);
    user.ring.forget();
    let mut command = user.command(PROGRAM);
    let done = run(command.env("PATH", "/nowhere").args(["key", "check"]), "");
    assert_eq!(done.code, Some(5), "{}{}", done.out, done.err);
    let told = ["gpg-agent: needs attention\n  gpg-agent of ", "cannot be started"];
    assert!(told.iter().all(|part| done.out.contains(part)), "{}", done.out);
    let mut command = user.command(PROGRAM);
    let listed = run(command.env("PATH", "/nowhere").args(["key", "list"]), "");
    assert_eq!(listed.code, Some(1), "a list that cannot be right is none: {}", listed.out);
}

#[test]
fn servers_are_looked_at_too() {
    let keys = keys();
    let user = User::new(&[&keys.client_rsa], &[]);
    let stanza = |name: &str, key: &str, more: &str| {
        format!("[{name}]\nSPA_SERVER 192.0.2.1\nUSE_GPG Y\nGPG_RECIPIENT {key}\nSPOOF_USER alice\n{more}\n")
    };
    user.ring.import(&vector("server-rsa4096.pub.asc"));
    user.ring.import(&vector("client-expired.pub.asc"));
    let fingerprint = |part: &str| {
        user.json(&["key", "list", "--json"]);
        let listed = user.ring.gpg(&["--with-colons", "--list-keys", part]);
        listed.lines().find_map(|line| line.strip_prefix("fpr:::::::::")?.strip_suffix(':')).unwrap().to_owned()
    };
    let rc = [
        stanza("large", &fingerprint("server-rsa4096"), "HMAC_KEY_BASE64 c2VjcmV0\nHMAC_DIGEST_TYPE sha512"),
        stanza("old", &fingerprint("client-expired"), ""),
        stanza("unknown", &"0".repeat(40), ""),
        stanza("broken", &"0".repeat(40), "ACCESS tcp/xyz"),
    ];
    user.file(".fwknoprc", &rc.concat());
    let done = user.run(&["key", "check"]);
    assert_eq!(done.code, Some(5));
    for said in [
        "  knocks at large have 1",
        "     sign with an Ed25519 subkey (",
        "[old] ",
        "  it has expired\n",
        "[unknown]: needs attention\n  there is no key '0000000000000000000000000000000000000000' in ",
        "[broken]: needs attention\n  ",
        ".fwknoprc:25: ACCESS: ",
    ] {
        assert!(done.out.contains(said), "no '{said}' in:\n{}", done.out);
    }
    let one = user.run(&["key", "check", "--server", "old"]);
    assert!(one.out.contains("it has expired") && !one.out.contains("broken"), "{}{}", one.out, one.err);
    assert!(!done.out.contains("c2VjcmV0"));
}
