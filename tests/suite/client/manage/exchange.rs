//! `fwknop key export`, `import` and `remove`.

use crate::support::gpg::keys;

use super::{User, vector};

#[test]
fn a_certificate_goes_from_one_home_to_another() {
    let keys = keys();
    let (alice, gate) = (User::new(&[&keys.client_ed25519], &[]), User::new(&[&keys.server_cv25519], &[]));
    let exported = gate.run(&["key", "export"]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    assert!(exported.out.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----") && !exported.out.contains("PRIVATE"));
    let file = alice.file("gate.asc", &exported.out);
    let fingerprint = &keys.server_cv25519.fingerprint;

    alice.refused(&["key", "import", &file], 3, &["there is nobody to ask", fingerprint, "compare the fingerprint"]);
    let before = alice.tree();
    let dry = alice.run(&["key", "import", &file, "--dry-run"]);
    assert_eq!((dry.code, dry.out.as_str()), (Some(0), ""));
    assert!(dry.err.contains(fingerprint) && dry.err.contains("cv25519") && dry.err.contains("server-cv25519"));
    let declined = alice.typing(&["key", "import", &file], "no");
    assert_eq!(declined.code, Some(3), "{}", declined.out);
    assert!(declined.out.contains(fingerprint), "{}", declined.out);
    assert_eq!(alice.tree(), before, "neither a dry run nor a no changes anything");

    let agreed = alice.typing(&["key", "import", &file], "yes");
    assert_eq!(agreed.code, Some(0), "{}", agreed.out);
    assert!(alice.fingerprints().contains(fingerprint));
    // From standard input, while the question goes to the terminal; here nobody asks, for the fingerprint is known.
    let bob = User::new(&[], &[]);
    let imported = bob.input(&["key", "import", "-", "--fingerprint", fingerprint], &exported.out);
    assert_eq!((imported.code, imported.out.trim()), (Some(0), fingerprint.as_str()), "{}", imported.err);
    assert_eq!(bob.fingerprints(), [fingerprint.as_str()]);

    let removed = alice.run(&["key", "remove", fingerprint, "--yes"]);
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    assert_eq!(alice.fingerprints(), [keys.client_ed25519.fingerprint.as_str()]);
}

#[test]
fn what_must_not_be_imported_is_not() {
    let keys = keys();
    let user = User::new(&[], &[]);
    let (server, other) = (&keys.server_cv25519, &keys.server_rsa);
    let one = user.file("one.asc", &server.public);
    let two = user.file("two.asc", &format!("{}{}", server.public, other.public));
    let secret = user.file("secret.asc", &server.secret);
    let junk = user.file("junk.asc", "no key at all\n");
    let expired = user.file("expired.asc", &vector("client-expired.pub.asc"));
    let wrong = ["--fingerprint", &other.fingerprint];
    for (file, options, said) in [
        (&one, &wrong[..], &["does not hold the key", &other.fingerprint, "but", &server.fingerprint][..]),
        (&two, &["--yes"], &["holds several certificates", "--fingerprint"]),
        (&secret, &["--yes"], &["holds a secret key", "fwknop key export"]),
        (&junk, &["--yes"], &["there is no OpenPGP certificate in"]),
        (&expired, &["--yes"], &["it has expired"]),
    ] {
        user.refused(&[&["key", "import", file], options].concat(), 1, said);
    }
    user.refused_input(&["key", "import", "-", "--yes"], &"x".repeat((1 << 20) + 1), 1, &["the input is longer than"]);
    let gone = user.run(&["key", "import", "gone.asc", "--yes"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.contains("gone.asc cannot be read: No such file"), "{}", gone.err);
    assert!(user.fingerprints().is_empty());

    // Of two certificates the chosen one comes, and nothing else.
    let chosen = user.run(&["key", "import", &two, "--fingerprint", &other.fingerprint]);
    assert_eq!(chosen.code, Some(0), "{}", chosen.err);
    assert_eq!(user.fingerprints(), [other.fingerprint.as_str()]);
}

#[test]
fn an_own_key_is_not_removed_and_a_server_that_needs_one_is_named() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519], &[&keys.server_cv25519]);
    let (own, server) = (&keys.client_ed25519.fingerprint, &keys.server_cv25519.fingerprint);
    user.refused(&["key", "remove", own, "--yes"], 1, &["is a key of your own", "gpg --delete-secret-and-public-keys"]);
    user.refused(&["key", "remove", &"0".repeat(40), "--yes"], 4, &["there is no key"]);
    user.file(".fwknoprc", &format!("[gate]\nSPA_SERVER x\nUSE_GPG Y\nGPG_RECIPIENT {server}\n"));
    user.refused(&["key", "remove", server], 3, &["[gate] needs it", "there is nobody to ask"]);
    let dry = user.run(&["key", "remove", server, "--dry-run"]);
    assert_eq!(dry.code, Some(0));
    assert_eq!(user.fingerprints().len(), 2);
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_that_is_wanted() {
    let user = User::new(&[&keys().client_ed25519, &keys().client_rsa], &[]);
    user.refused(&["key", "export"], 2, &["there are several keys", "full fingerprint"]);
    user.refused(&["key", "export", "nobody"], 4, &["there is no key 'nobody'"]);
    let fingerprint = &keys().client_rsa.fingerprint;
    let done = user.run(&["key", "export", "client-rsa@example.org", "-o", "alice.asc"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""), "{}", done.err);
    assert_eq!(user.mode("alice.asc"), 0o600);
    let written = std::fs::read_to_string(user.home.0.join("alice.asc")).unwrap();
    assert_eq!(written, user.run(&["key", "export", fingerprint]).out);
    user.refused(&["key", "export", fingerprint, "-o", "alice.asc"], 3, &["replace alice.asc", "nobody to ask"]);
    assert_eq!(user.run(&["key", "export", fingerprint, "-o", "alice.asc", "--yes"]).code, Some(0));
}
