//! `fwknop key generate`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::User;

/// Gives each passphrase that is asked for, and counts.
const PINENTRY: &str = "#!/bin/sh\n\
    echo 'OK at your service'\n\
    while read -r command rest; do\n\
        case $command in\n\
            GETPIN) echo asked >> \"$(dirname \"$0\")/asked\"; echo 'D sesame 4 all of you'; echo OK ;;\n\
            BYE) echo OK; exit ;;\n\
            *) echo OK ;;\n\
        esac\n\
    done\n";

#[test]
fn the_agent_asks_for_the_passphrase_once() {
    let user = User::new(&[], &[]);
    let pinentry = user.file("pinentry", PINENTRY);
    fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o700)).unwrap();
    let conf = format!("pinentry-program {pinentry}\ndisable-scdaemon\n");
    fs::write(user.ring.path().join("gpg-agent.conf"), conf).unwrap();
    fs::write(user.ring.path().join("gpg.conf"), "").unwrap();

    user.refused(&["key", "generate", "Alice <alice@example.org>"], 3, &["there is nobody to ask", "--yes"]);
    let line = ["key", "generate", "Alice <alice@example.org>", "--yes"];
    let done = user.run(&line);
    assert_eq!(done.code, Some(0), "{}", done.err);
    let fingerprint = done.out.trim();
    assert!(done.err.contains("with a passphrase that gpg-agent asks for"), "{}", done.err);
    assert!(!format!("{}{}", done.out, done.err).contains("sesame"));
    let asked = || fs::read_to_string(user.home.0.join("asked")).unwrap().lines().count();
    assert_eq!(asked(), 2, "new, and once more");
    // gpg writes its trust database for less than that.
    let again = user.run(&line);
    assert_eq!((again.code, asked()), (Some(1), 2), "{}", again.err);
    assert!(again.err.contains("there is a key for Alice <alice@example.org>") && again.err.contains("--beside"));

    let made = &user.json(&["key", "list", "--json"])[0];
    assert_eq!(made["fingerprint"], fingerprint);
    assert_eq!(made["secret"], "protected");
    assert_eq!(made["user_ids"][0], "Alice <alice@example.org>");
    let algorithms: Vec<&str> =
        made["keys"].as_array().unwrap().iter().map(|key| key["algorithm"].as_str().unwrap()).collect();
    assert_eq!(algorithms, ["ed25519", "cv25519"]);
    let lasts = made["expires"].as_u64().unwrap() - fwknop::time::Timestamp::now().secs();
    assert!((700 * 86400..=730 * 86400).contains(&lasts), "two years, not {lasts} seconds");

    for (number, (algorithm, subkey)) in [("rsa2048", "rsa2048"), ("nistp256", "nistp256")].into_iter().enumerate() {
        let told = user.json(&[&line[..], &["--algo", algorithm, "--beside", "--json"]].concat());
        let keys = &told["certificate"]["keys"];
        assert_eq!((&keys[0]["algorithm"], &keys[1]["algorithm"]), (&algorithm.into(), &subkey.into()), "{told}");
        assert_eq!(asked(), 4 + 2 * number, "{algorithm}");
    }
}

#[test]
fn keys_of_every_kind_are_made_without_a_passphrase_when_that_is_said() {
    let user = User::new(&[], &[]);
    for (algorithm, signs, encrypts) in
        [("curve25519", "ed25519", "cv25519"), ("rsa2048", "rsa2048", "rsa2048"), ("nistp256", "nistp256", "nistp256")]
    {
        let id = format!("{algorithm}@example.org");
        let line =
            ["key", "generate", &id, "--algo", algorithm, "--expire", "90d", "--no-passphrase", "--json", "--yes"];
        let told = user.json(&line);
        assert_eq!((&told["done"], told["steps"].as_array().unwrap().len()), (&true.into(), 2), "{told}");
        let made = &told["certificate"];
        let lasts = made["expires"].as_u64().unwrap() - fwknop::time::Timestamp::now().secs();
        assert!((89 * 86400..=90 * 86400).contains(&lasts), "{lasts}");
        let has = |what: &str, algorithm: &str| {
            let keys = made["keys"].as_array().unwrap();
            keys.iter().any(|key| key[what] == true && key["algorithm"] == algorithm && key["valid"] == true)
        };
        assert!(has("signs", signs) && has("encrypts", encrypts), "{made}");
    }
    let never = user.json(&["key", "generate", "x y", "--expire", "never", "--no-passphrase", "--json", "--yes"]);
    assert_eq!(never["certificate"]["expires"], serde_json::Value::Null);
    // Who is not named is called after the account.
    let unnamed = user.json(&["key", "generate", "--no-passphrase", "--json", "--yes"]);
    assert!(unnamed["certificate"]["user_ids"][0].as_str().unwrap().contains('@'), "{unnamed}");
}

#[test]
fn nothing_is_made_unless_the_user_agrees() {
    let user = User::new(&[], &[]);
    let before = user.tree();
    let shown = user.run(&["key", "generate", "alice@example.org", "--no-passphrase", "--dry-run"]);
    assert_eq!((shown.code, shown.out.as_str()), (Some(0), ""));
    assert!(shown.err.contains("make a curve25519 key for alice@example.org in "), "{}", shown.err);
    let told = user.json(&["key", "generate", "alice@example.org", "--no-passphrase", "--dry-run", "--json"]);
    assert_eq!((&told["done"], told["steps"].as_array().unwrap().len()), (&false.into(), 2), "{told}");
    let declined = user.typing(&["key", "generate", "alice@example.org", "--no-passphrase"], "n");
    assert_eq!(declined.code, Some(3), "{}", declined.out);
    assert!(declined.out.contains("without a passphrase") && declined.out.contains("nothing was changed"));
    assert_eq!(user.tree(), before);
    assert!(user.fingerprints().is_empty());
    let agreed = user.typing(&["key", "generate", "alice@example.org", "--no-passphrase"], "y");
    assert_eq!(agreed.code, Some(0), "{}", agreed.out);
    assert_eq!(user.fingerprints().len(), 1);
    user.refused(&["key", "generate", " ", "--yes"], 2, &["that is no user id"]);
}
