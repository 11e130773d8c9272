//! `fwknop server add`, `list` and `remove`.

use std::fs;

use serde_json::json;

use super::{User, text_of, vector};
use crate::support::gpg::{Key, keys};

const HMAC: &str = "c2l4dHkgYnl0ZXMgb2YgcmFuZG9tbmVzcyB3b3VsZCBiZSBiZXR0ZXI=";

fn user() -> User {
    User::new(&[&keys().client_ed25519], &[&keys().server_cv25519])
}

fn server() -> &'static Key {
    &keys().server_cv25519
}

impl User {
    fn rc(&self) -> String {
        fs::read_to_string(self.home.0.join(".fwknoprc")).unwrap()
    }

    /// Whether the name is all that a knock needs.
    #[track_caller]
    fn knocks(&self, name: &str) -> String {
        let file = self.home.0.join("packet");
        let done = self.run(&["-n", name, "-T", "-v", "-B", text_of(&file)]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        fs::remove_file(file).unwrap();
        done.out
    }
}

/// What an administrator hands out.
fn handout(certificate: &str) -> String {
    format!(
        "[gate.example.org]\nSPA_SERVER gate.example.org\nACCESS tcp/22,tcp/443\nALLOW_IP source\nUSE_GPG Y\n\
         GPG_RECIPIENT {}\nUSE_HMAC Y\nHMAC_KEY_BASE64 {HMAC}\n\n{certificate}",
        server().fingerprint
    )
}

#[test]
fn a_name_is_all_that_is_typed_afterwards() {
    let user = user();
    let hmac = user.file("hmac", &format!("KEY_BASE64: bm90IHRoaXM=\nHMAC_KEY_BASE64: {HMAC}\n"));
    let address = "server-cv25519@example.org";
    let line = ["server", "add", "gate", "192.0.2.1", "--key", address, "--hmac-key-file", &hmac, "--proto", "tcp"];
    let before = user.tree();
    let dry = user.run(&[&line[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, dry.out.as_str()), (Some(0), ""), "{}", dry.err);
    user.refused(&line, 3, &["there is nobody to ask"]);
    let declined = user.typing(&line, "n");
    assert_eq!(declined.code, Some(3), "{}", declined.out);
    assert_eq!(user.tree(), before, "the rc file is not even made");

    let done = user.typing(&[&line[..], &["--access", "tcp/2222", "--port", "6000"]].concat(), "y");
    assert_eq!(done.code, Some(0), "{}", done.out);
    for output in [&dry.err, &declined.out, &done.out] {
        assert!(output.contains("HMAC_KEY_BASE64 (not shown)") && !output.contains(HMAC), "{output}");
        assert!(output.contains(&format!("GPG_RECIPIENT {}", server().fingerprint)), "{output}");
        assert!(output.contains(&format!("knocks are signed with {}", keys().client_ed25519.fingerprint)), "{output}");
    }
    assert_eq!(user.mode(".fwknoprc"), 0o600);
    let shown = user.knocks("gate");
    for said in ["0.0.0.0,tcp/2222", "protocol: tcp", "destination port: 6000", "IP/host: 192.0.2.1", "HMAC Type: 3"] {
        assert!(shown.contains(said), "no '{said}' in {shown}");
    }

    let listed = user.json(&["server", "list", "--json"]);
    assert_eq!(
        listed,
        json!([{
            "name": "gate", "host": "192.0.2.1", "transport": "tcp", "port": 6000, "access": "tcp/2222",
            "encryption": "openpgp", "recipient": server().fingerprint,
            "signer": keys().client_ed25519.fingerprint, "hmac": "SHA256",
        }])
    );
    let text = user.run(&["server", "list"]).out;
    assert!(text.starts_with("gate  192.0.2.1 tcp/6000  opens tcp/2222  HMAC SHA256\n"), "{text}");
    assert!(text.contains(&server().fingerprint) && !text.contains(HMAC), "{text}");
}

#[test]
fn what_an_administrator_hands_out_is_taken_whole() {
    let user = User::new(&[&keys().client_ed25519], &[]);
    let file = user.file("gate.stanza", &handout(&server().public));
    user.refused(
        &["server", "add", "gate", "--stanza", &file],
        3,
        &["there is nobody to ask", "compare the fingerprint"],
    );
    let wrong = ["server", "add", "gate", "--stanza", &file, "--fingerprint", &keys().client_rsa.fingerprint];
    user.refused(&wrong, 1, &["does not hold the key", &server().fingerprint, "nothing was changed"]);
    let right = ["server", "add", "gate", "--stanza", "-", "--fingerprint", &server().fingerprint];
    let done = user.input(&right, &handout(&server().public));
    assert_eq!((done.code, done.out.as_str()), (Some(0), "knock with: fwknop -n gate\n"), "{}", done.err);
    assert!(!done.err.contains(HMAC) && done.err.contains(&server().fingerprint), "{}", done.err);
    assert!(user.fingerprints().contains(&server().fingerprint));
    assert!(user.knocks("gate").contains("0.0.0.0,tcp/22,tcp/443"));

    // The user's own words win.
    let other = ["server", "add", "inner", "192.0.2.9", "--stanza", &file, "--access", "udp/53", "--yes"];
    assert_eq!(user.run(&other).code, Some(0));
    let shown = user.knocks("inner");
    assert!(shown.contains("0.0.0.0,udp/53") && shown.contains("IP/host: 192.0.2.9"), "{shown}");
    assert!(user.rc().contains("GPG_SIGNER"), "our key is named although nobody said which");
}

#[test]
fn a_handout_decides_about_its_server_only() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519], &[]);
    let add = |text: &str| (user.file("x.stanza", text), ["server", "add", "gate", "--yes", "--stanza"]);
    let named = handout("");
    for (text, code, said) in [
        (handout(&keys.server_rsa.public), 4, &["there is no key", &server().fingerprint][..]),
        (named.clone(), 4, &["there is no key", &server().fingerprint]),
        (format!("{named}GPG_EXE /tmp/evil\n"), 1, &["x.stanza:10: GPG_EXE is not for others to say"]),
        (handout(&server().secret.replace("PRIVATE", "PUBLIC")), 1, &["x.stanza holds a secret key"]),
        ("no stanza\n".to_owned(), 1, &["x.stanza: there is no stanza in it"]),
        (format!("{named}[b]\nSPA_SERVER y\n"), 1, &["there are several stanzas in it"]),
        (format!("{named}GPG_SIGNER {}\n", server().fingerprint), 4, &["there is no key"]),
    ] {
        let (file, line) = add(&text);
        user.refused(&[&line[..], &[&file]].concat(), code, said);
    }
    user.ring.import(&server().public);
    let (file, line) = add(&named.replace("tcp/22", "tcp/0"));
    user.refused(&[&line[..], &[&file]].concat(), 1, &["x.stanza:3: ACCESS"]);
    let (file, line) = add(&handout(&keys.server_rsa.public));
    user.refused(
        &[&line[..], &[&file]].concat(),
        1,
        &["the stanza names the key", "but comes with", "nothing was changed"],
    );
    let (file, line) = add(&format!("{named}GPG_SIGNER {}\n", server().fingerprint));
    user.refused(&[&line[..], &[&file]].concat(), 4, &["the secret key of", "is not here"]);
}

#[test]
fn nothing_is_written_that_would_not_work() {
    let keys = keys();
    let user = user();
    let key = ["--key", "server-cv25519"];
    let hmac = user.file("hmac", "not base64!\n");
    let expired = user.file("expired.asc", &vector("client-expired.pub.asc"));
    let add = |more: &[&'static str]| [&["server", "add", "gate", "192.0.2.1", "--yes"], more].concat();
    for (line, code, said) in [
        (add(&[]), 2, &["which key the server has is not said", "--import or --stanza"][..]),
        (add(&["--key", "nobody"]), 4, &["there is no key 'nobody'"]),
        (add(&["--key", "server-cv25519", "--sign-with", "server-cv25519"]), 4, &["the secret key of", "is not here"]),
        (add(&["--key", "server-cv25519", "--access", "tcp/22-25"]), 1, &["option --access"]),
        (add(&["--key", "server-cv25519", "--port", "65536"]), 1, &["option --port"]),
        (add(&["--key", "server-cv25519", "--proto", "sctp"]), 1, &["option --proto", "udpraw"]),
        (add(&["--key", "server-cv25519", "--allow-ip", "me"]), 1, &["option --allow-ip"]),
        (add(&["--key", "x", "--import", "y"]), 2, &["cannot be used with"]),
        (add(&["--import", "-", "--hmac-key-file", "-"]), 2, &["two files are to come from standard input"]),
    ] {
        user.refused(&line, code, said);
    }
    user.refused(&[&["server", "add", "gate", "--yes"], &key[..]].concat(), 2, &["no host is named"]);
    user.refused(&[&["server", "add", "a]b", "x", "--yes"], &key[..]].concat(), 1, &["'a]b' cannot be the name"]);
    user.refused(&[&["server", "add", "Default", "x", "--yes"], &key[..]].concat(), 2, &["[default] is no server"]);
    let with_hmac = ["server", "add", "gate", "x", "--yes", "--hmac-key-file", &hmac];
    user.refused(&[&with_hmac[..], &key].concat(), 1, &["there is no HMAC key in"]);
    let imports = ["server", "add", "gate", "x", "--yes", "--import", &expired];
    user.refused(&imports, 1, &["it has expired", "ask the server's administrator"]);
    let other = ["--fingerprint", &keys.client_rsa.fingerprint];
    user.refused(
        &[&["server", "add", "gate", "x"], &key[..], &other].concat(),
        1,
        &["is not the one of --fingerprint"],
    );

    // Nobody here can sign, or several can.
    let nobody = User::new(&[], &[server()]);
    nobody.refused(&[&["server", "add", "gate", "x", "--yes"], &key[..]].concat(), 4, &["there is no key of yours"]);
    let several = User::new(&[&keys.client_ed25519, &keys.client_rsa], &[server()]);
    several.refused(&[&["server", "add", "gate", "x", "--yes"], &key[..]].concat(), 2, &["there are several keys"]);
    // What cannot arrive is refused, with what would.
    let large = User::new(&[], &[]);
    large.ring.import(&vector("client-rsa4096.sec.asc"));
    large.ring.import(&vector("server-rsa4096.pub.asc"));
    let line =
        ["server", "add", "gate", "192.0.2.1", "--yes", "--key", "server-rsa4096", "--sign-with", "client-rsa4096"];
    large.refused(&line, 1, &["characters long, but only 1472 arrive in one piece", "sign with an Ed25519 subkey"]);
}

#[test]
fn only_the_lines_of_that_stanza_change() {
    let user = user();
    let old = "# mine\n[default]\nFW_TIMEOUT 20 # short\n\n[home]\nSPA_SERVER h\nKEY hidden\n\n# to the office\n\
        [office]\n# by hand\nSPA_SERVER old.example.org\nACCESS tcp/80\nKEY_BASE64 c2hhcmVk\nHMAC_KEY first\n\n[last]\nKEY x\n";
    user.file(".fwknoprc", old);
    let line = ["server", "add", "Office", "new.example.org", "--key", &server().fingerprint, "--yes"];
    user.refused(&line, 1, &["there is a stanza [Office] already", "--replace"]);
    let done = user.run(&[&line[..], &["--replace"]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("change the stanza [Office]") && !done.err.contains("first"), "{}", done.err);
    let rc = user.rc();
    let (before, rest) = rc.split_once("[office]\n").unwrap();
    assert_eq!(before, old.split_once("[office]\n").unwrap().0);
    assert!(rest.ends_with("\n\n[last]\nKEY x\n"), "{rest}");
    let stanza = rest.split_once("\n\n").unwrap().0;
    let has = |line: &str| stanza.lines().any(|other| other.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    assert!(has("# by hand") && has("SPA_SERVER new.example.org") && has("ACCESS tcp/80"), "{stanza}");
    assert!(has("HMAC_KEY first"), "what is not said anew stays: {stanza}");
    assert!(!stanza.contains("c2hhcmVk"), "a shared key would be taken for a passphrase: {stanza}");
    assert_eq!(stanza.matches("SPA_SERVER").count(), 1);

    assert!(user.knocks("office").contains("Client Timeout: 20"));
    user.refused(&["server", "remove", "offices", "--yes"], 4, &["there is no server 'offices'"]);
    user.refused(&["server", "remove", "office"], 3, &["remove the stanza [office], with the keys in it"]);
    assert_eq!(user.run(&["server", "remove", "OFFICE", "--dry-run"]).code, Some(0));
    assert_eq!(user.rc(), rc);
    let removed = user.run(&["server", "remove", "OFFICE", "--yes"]);
    assert_eq!(removed.code, Some(0), "{}", removed.err);
    let names: Vec<String> =
        user.json(&["server", "list", "--json"]).as_array().unwrap().iter().map(|s| s["name"].to_string()).collect();
    assert_eq!(names, ["\"home\"", "\"last\""]);
    assert_eq!(user.rc(), format!("{}# by hand\n\n[last]\nKEY x\n", before));
}

#[test]
fn a_server_with_a_shared_key_can_be_handed_out_too() {
    let user = User::new(&[], &[]);
    let text = format!("[gate]\nSPA_SERVER gate.example.org\nKEY_BASE64 c2hhcmVk\nHMAC_KEY_BASE64 {HMAC}\n");
    let done = user.input(&["server", "add", "gate", "--stanza", "-", "--yes"], &text);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("KEY_BASE64 (not shown)") && !done.err.contains("c2hhcmVk"), "{}", done.err);
    assert!(user.knocks("gate").contains("Encryption Type: 1 (Rijndael)"));
    let listed = user.json(&["server", "list", "--json"]);
    assert_eq!(listed[0]["encryption"], "rijndael");
    assert!(!listed.to_string().contains("c2hhcmVk"));
    // A stanza that is broken is listed as such, without what is in it.
    user.file(".fwknoprc", "[gate]\nACCESS tcp/xyz\nKEY c2hhcmVk\n");
    let listed = user.run(&["server", "list"]);
    assert_eq!(listed.code, Some(0));
    assert!(
        listed.out.starts_with("gate  cannot be used:\n") && listed.out.contains(".fwknoprc:2: ACCESS"),
        "{}",
        listed.out
    );
    assert!(user.json(&["server", "list", "--json"])[0]["error"].as_str().unwrap().contains("ACCESS"));
}
