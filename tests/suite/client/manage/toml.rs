//! The same servers in an rc file in TOML, which stays what it is but for the lines that are asked for.

use std::fs;

use serde_json::json;

use super::{User, text_of};
use crate::support::gpg::keys;

/// As somebody writes it by hand: a list over lines, remarks, a name in quotes, and who is to stay.
const OLD: &str = "# mine\n[default]\nfw_timeout = 20 # short\n\n[home]\nspa_server = 'h'\nkey = 'hidden'\n\n# to the office\n\
    [\"Office\"] # by hand\nspa_server = 'old.example.org'\naccess = [\n  'tcp/80', # web\n  'tcp/443',\n]\n# the keys\n\
    key_base64 = 'c2hhcmVk'\nhmac_key = '''first'''\nuse_hmac = true\n\n[last]\nkey = \"x\"\n";

#[test]
fn servers_are_added_changed_listed_and_removed() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519], &[&keys.server_cv25519]);
    let (server, client) = (&keys.server_cv25519.fingerprint, &keys.client_ed25519.fingerprint);
    let rc = user.file("rc.toml", OLD);
    let with_rc = |line: &[&'static str]| [line, &["--rc-file", "rc.toml"]].concat();
    let text = || fs::read_to_string(&rc).unwrap();
    let names = || -> Vec<String> {
        let listed = user.json(&with_rc(&["server", "list", "--json"]));
        listed.as_array().unwrap().iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(), ["home", "Office", "last"]);

    // A new one goes to the end.
    let add = with_rc(&["server", "add", "gate.example.org", "192.0.2.1", "--port", "6000", "--yes"]);
    let done = user.run(&[&add[..], &["--key", server]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let new = format!(
        "\n[\"gate.example.org\"]\nspa_server_port = 6000\nallow_ip = \"source\"\nuse_gpg = true\ngpg_recipient = \"{server}\"\n\
         gpg_signer = \"{client}\"\naccess = \"tcp/22\"\nspa_server = \"192.0.2.1\"\n"
    );
    assert_eq!(text(), format!("{OLD}{new}"));
    assert_eq!(user.mode("rc.toml"), 0o600);
    assert_eq!(names(), ["home", "Office", "last", "gate.example.org"]);
    let knock = user.run(&with_rc(&["-n", "gate.example.org", "-T", "-v", "--no-save-args"]));
    assert!(knock.code == Some(0) && knock.out.contains("destination port: 6000"), "{}{}", knock.out, knock.err);

    // What is not said anew stays, whatever form it had.
    let change = with_rc(&["server", "add", "office", "new.example.org", "--yes"]);
    user.refused(&[&change[..], &["--key", server]].concat(), 1, &["there is a stanza [office] already"]);
    let done = user.run(&[&change[..], &["--replace", "--key", server]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    let (before, after) = (OLD.split_once("spa_server = 'old").unwrap().0, "\n\n[last]\nkey = \"x\"\n");
    let changed = text();
    let stanza = changed.strip_prefix(before).and_then(|rest| rest.strip_suffix(&format!("{after}{new}"))).unwrap();
    for line in [
        "# the keys",
        "spa_server = \"new.example.org\"",
        "access = \"tcp/80,tcp/443\"",
        "hmac_key = \"first\"",
        "use_hmac = true",
        "use_gpg = true",
    ] {
        assert!(stanza.lines().any(|other| other == line), "no {line} in {stanza}");
    }
    assert!(!stanza.contains("c2hhcmVk") && !stanza.contains("# web"), "{stanza}");
    let listed = user.json(&with_rc(&["server", "list", "--json"]));
    assert_eq!(
        listed[1],
        json!({
            "name": "Office", "host": "new.example.org", "transport": "udp", "port": 62201, "access": "tcp/80,tcp/443",
            "encryption": "openpgp", "recipient": server, "signer": client, "hmac": "SHA256",
        })
    );

    // What is removed is gone, and nothing else.
    user.refused(&with_rc(&["server", "remove", "office"]), 3, &["remove the stanza [Office], with the keys in it"]);
    assert_eq!(text(), changed);
    for name in ["gate.example.org", "OFFICE"] {
        let line = ["server", "remove", name, "--yes", "--rc-file", "rc.toml"];
        let removed = user.run(&line);
        assert_eq!(removed.code, Some(0), "{}", removed.err);
    }
    assert_eq!(names(), ["home", "last"]);
    let remarks = "# the keys\n\n[last]\nkey = \"x\"\n\n";
    assert_eq!(text(), format!("{}{remarks}", OLD.split_once("[\"Office\"]").unwrap().0));
}

#[test]
fn the_first_server_makes_the_file() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519], &[&keys.server_cv25519]);
    let line = ["server", "add", "gate", "192.0.2.1", "--yes", "--rc-file", "rc.toml", "--key"];
    let done = user.run(&[&line[..], &[&keys.server_cv25519.fingerprint]].concat());
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(user.mode("rc.toml"), 0o600);
    let text = fs::read_to_string(user.home.0.join("rc.toml")).unwrap();
    assert!(text.starts_with("# Settings of fwknop") && text.contains("\n\n[gate]\nallow_ip = \"source\"\n"), "{text}");
    assert_eq!(user.run(&["-n", "gate", "-T", "--rc-file", "rc.toml", "--no-save-args"]).code, Some(0));
}

#[test]
fn other_forms_of_toml_are_left_to_people() {
    let keys = keys();
    let user = User::new(&[&keys.client_ed25519], &[&keys.server_cv25519]);
    let key = ["--key", keys.server_cv25519.fingerprint.as_str()];
    for (text, said) in [
        ("gate = { spa_server = 'h', access = 'tcp/22', key = 'k' }\n", "the stanza gate is not written with a line"),
        ("gate.spa_server = 'h'\ngate.key = 'k'\n", "the stanza gate is not written with a line"),
        ("[[gate]]\nspa_server = 'h'\n", "the stanza gate is not written with a line"),
        ("[gate\n", "rc.toml:1: this is not valid TOML"),
    ] {
        let rc = user.file("rc.toml", text);
        for line in [
            &[&["server", "add", "gate", "h", "--replace", "--yes"], &key[..]].concat()[..],
            &["-n", "gate", "--save-rc-stanza", "-A", "tcp/1", "-s", "-D", "h", "-T", "--key-rijndael", "new"],
        ] {
            user.refused(&[line, &["--rc-file", "rc.toml"]].concat(), 1, &[said]);
            assert_eq!(fs::read_to_string(&rc).unwrap(), text, "{line:?}");
        }
    }
}

#[test]
fn keys_are_made_and_options_saved_as_in_the_other_syntax() {
    let user = User::new(&[], &[]);
    let rc = user.file("rc.toml", OLD);
    let text = || fs::read_to_string(&rc).unwrap();
    let file = ["--rc-file", "rc.toml", "-n", "office", "--no-save-args"];
    let make = [&file[..], &["--key-gen", "--save-rc-stanza", "-A", "tcp/22", "-a", "192.0.2.1", "-v"]].concat();
    let declined = user.input(&make, "n\n");
    assert!(declined.code == Some(1) && declined.err.contains("keeps its KEY_BASE64"), "{}", declined.err);
    assert_eq!(text(), OLD);
    let done = user.run(&[&make[..], &["--force-stanza", "-f", "30"]].concat());
    assert_eq!(done.out, "[+] Wrote Rijndael and HMAC keys to rc file: rc.toml\n", "{}", done.err);
    let new = text();
    let lines: Vec<&str> = new.lines().collect();
    for line in ["access = \"tcp/22\"", "allow_ip = \"192.0.2.1\"", "fw_timeout = 30", "verbose = \"Y\"", "# mine"] {
        assert!(lines.contains(&line), "no {line} in {new}");
    }
    assert!(!new.contains("c2hhcmVk") && !new.contains("'''first'''"), "{new}");
    assert_eq!(new.matches("\nkey_base64 = ").count() + new.matches("\nhmac_key_base64 = ").count(), 2, "{new}");
    assert_eq!(user.mode("rc.toml"), 0o600);
    let packet = user.home.0.join("packet");
    let knock = user.run(&[&file[..], &["-T", "-B", text_of(&packet)]].concat());
    assert!(knock.code == Some(0) && knock.out.contains("HMAC Type: 3"), "{}{}", knock.out, knock.err);

    // A text that the other syntax cannot write.
    let save = [&file[..], &["--save-rc-stanza", "-T", "-u", "say \"so\" \\ or not", "-A", "tcp/22"]].concat();
    let done = user.run(&save);
    assert!(text().contains("\nhttp_user_agent = \"say \\\"so\\\" \\\\ or not\"\n"), "{}{}", done.err, text());
}

#[test]
fn a_code_shows_the_same_whatever_the_syntax() {
    let user = User::new(&[], &[]);
    user.file("rc.toml", "[gate]\nspa_server = 'h'\naccess = ['tcp/1', 'udp/2']\nuse_hmac = true\nfw_timeout = 30\n");
    user.file("rc", "[gate]\nSPA_SERVER h\nACCESS tcp/1,udp/2\nUSE_HMAC Y\nFW_TIMEOUT 30\n");
    let shown = ["rc.toml", "rc"].map(|rc| {
        let done = user.run(&["key", "qr", "--stanza", "gate", "--reveal", "--rc-file", rc]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.out
    });
    assert_eq!(shown[0], shown[1]);
}
