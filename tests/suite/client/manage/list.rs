//! `fwknop key list`.

use std::fs;

use crate::support::gpg::keys;

use super::{User, text_of};

#[test]
fn each_key_is_listed_with_its_place_and_the_length_of_knocks() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519, &keys.client_rsa_locked], &[&keys.server_cv25519]);
    user.file(
        ".fwknoprc",
        &format!(
            "[gate]\nSPA_SERVER 192.0.2.1\nACCESS tcp/22\nALLOW_IP source\nSPOOF_USER alice\nUSE_GPG Y\n\
             GPG_RECIPIENT {}\nHMAC_KEY_BASE64 c2VjcmV0\n[shared]\nSPA_SERVER 192.0.2.2\nKEY secret\n",
            keys.server_cv25519.fingerprint
        ),
    );
    let listed = user.json(&["key", "list", "--json"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2, "the server's key is not ours: {listed:?}");
    for (key, secret, algorithm) in
        [(&keys.client_ed25519, "open", "ed25519"), (&keys.client_rsa_locked, "protected", "rsa2048")]
    {
        let found = listed.iter().find(|found| found["fingerprint"] == key.fingerprint).unwrap();
        assert_eq!(found["signs_with"], key.fingerprint);
        assert_eq!(found["secret"], secret);
        assert_eq!(found["state"], "valid");
        assert_eq!(found["expires"], serde_json::Value::Null);
        assert_eq!(found["keys"][0]["algorithm"], algorithm);
        assert_eq!(found["knocks"][0]["server"], "gate");
        assert_eq!(found["knocks"][0]["fits"], true);
        assert_eq!(found["knocks"].as_array().unwrap().len(), 1, "the other server shares a key");
    }

    // A knock is no longer than foretold.
    let signer = format!("--gpg-signer-key={}", keys.client_ed25519.fingerprint);
    let file = user.home.0.join("packet");
    let mut knock = user.command(super::PROGRAM);
    let done = super::run(knock.args(["-n", "gate", "-T", &signer, "-B", text_of(&file)]), "");
    assert_eq!(done.code, Some(0), "{}", done.err);
    let length = fs::read_to_string(file).unwrap().trim_end().len();
    let ed25519 = listed.iter().find(|found| found["fingerprint"] == keys.client_ed25519.fingerprint).unwrap();
    let foretold = ed25519["knocks"][0]["characters"].as_u64().unwrap() as usize;
    assert!((foretold - 6..=foretold).contains(&length), "{foretold} foretold, {length} sent");

    let shown = user.run(&["key", "list", "--server", "gate"]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(shown.out.contains(&format!("signs with {}: on disk, without", keys.client_ed25519.fingerprint)));
    assert!(shown.out.contains(&format!("signs with {}: on disk, with a", keys.client_rsa_locked.fingerprint)));
    assert!(shown.out.contains(&format!("knocks at gate: {foretold} characters\n")), "{}", shown.out);

    // A server that is not in the rc file, by its key: without the HMAC, whose tag has 43 characters.
    let by_key = user.json(&["key", "list", "--json", "--server", &keys.server_cv25519.fingerprint]);
    let knocks: Vec<u64> =
        by_key.as_array().unwrap().iter().filter_map(|found| found["knocks"][0]["characters"].as_u64()).collect();
    assert_eq!(knocks.len(), 2);
    user.refused(&["key", "list", "--server", "nobody"], 4, &["there is no server 'nobody'"]);
    user.refused(&["key", "list", "--server", "shared"], 2, &["[shared] shares a key with its server"]);
}

#[test]
fn the_newest_subkey_that_is_here_signs_also_from_a_card() {
    let user = User::new(&[&keys().client_rsa], &[]);
    let primary = &keys().client_rsa.fingerprint;
    let listed = || user.json(&["key", "list", "--json"])[0].clone();
    assert_eq!(listed()["signs_with"], **primary);
    // A second later, so that it is newer.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    user.ring.gpg(&["--passphrase", "", "--quick-add-key", primary, "ed25519", "sign", "0"]);
    let subkey = listed()["signs_with"].as_str().unwrap().to_owned();
    assert_ne!(subkey, **primary);

    let grips = user.ring.gpg(&["--with-colons", "--with-keygrip", "--list-keys", &subkey]);
    let mut lines = grips.lines().skip_while(|line| !(line.starts_with("fpr:") && line.contains(&subkey)));
    let grip = lines.nth(1).and_then(|line| line.split(':').nth(9)).unwrap();
    let file = user.ring.path().join(format!("private-keys-v1.d/{grip}.key"));
    let key = fs::read_to_string(&file).unwrap();
    // What gpg-agent keeps of a key that was moved to a card: where it is in place of the secret number.
    let (public, _) = key.split_once("(d ").expect("an elliptic curve key without a passphrase");
    let stub = public.replace("(private-key", "(shadowed-private-key");
    let stub = format!("{} (shadowed t1-v1 (#D2760001240103040006123456780000# OPENPGP.1))))\n", stub.trim_end());
    fs::write(&file, stub).unwrap();
    user.ring.forget();
    let found = listed();
    assert_eq!((found["signs_with"].as_str(), found["secret"].as_str()), (Some(subkey.as_str()), Some("card")));
    assert!(user.run(&["key", "list"]).out.contains(&format!("signs with {subkey}: on a card\n")));

    // Without it the other key signs.
    fs::remove_file(&file).unwrap();
    user.ring.forget();
    assert_eq!(listed()["signs_with"], **primary);
}

#[test]
fn nothing_is_made_only_to_look() {
    let user = User::new(&[], &[]);
    let empty = user.home.0.join(".gnupg");
    let mut command = user.home.command(super::PROGRAM);
    let done = super::run(command.args(["key", "list"]), "");
    assert_eq!((done.code, done.out.as_str()), (Some(0), ""), "{}", done.err);
    assert!(
        done.err.contains("there is no key of yours in") && done.err.contains("fwknop key generate"),
        "{}",
        done.err
    );
    assert!(!empty.exists() && !user.home.0.join(".fwknoprc").exists());
    assert_eq!(user.json(&["key", "list", "--json"]), serde_json::json!([]));
    assert_eq!(user.json(&["server", "list", "--json"]), serde_json::json!([]));
    user.refused(&["key", "list", "--gpg-home-dir", "/nowhere/at/all"], 4, &["there is no GnuPG home /nowhere/at/all"]);
}
