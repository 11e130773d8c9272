//! The rc file: made, read, layered, complained about, written.

use std::os::unix::fs::PermissionsExt;

use fwknop::crypto::rijndael::Mode;
use fwknop::spa::{Digest, Message, Request};

use super::{Home, read};

const KEYS: &str = "KEY key\nHMAC_KEY mac\n";

fn message(home: &Home, args: &[&str]) -> Message {
    let packet = home.packet(args).unwrap_or_else(|run| panic!("{args:?}: {}", run.err));
    read(&packet, b"key", Mode::Cbc, Some((Digest::Sha256, b"mac"))).unwrap()
}

fn asked(message: &Message) -> String {
    String::from_utf8(message.request_text()).unwrap()
}

#[test]
fn the_file_is_made_on_first_use_for_the_user_alone() {
    let home = Home::new();
    let run = home.run(&["-T", "-A", "tcp/22", "-s", "--key-rijndael", "k"]);
    assert_eq!(run.code, Some(0));
    let rc = home.0.join(".fwknoprc");
    assert!(run.out.starts_with(&format!("[*] Creating initial rc file: {}.\n", rc.display())), "{}", run.out);
    assert_eq!(std::fs::metadata(&rc).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(home.rc().contains("[default]"));
    let run = home.run(&["--stanza-list"]);
    assert_eq!(run.out, format!("The following stanzas are configured in {} :\n", rc.display()));
}

#[test]
fn a_file_that_cannot_be_made_is_missed_only_by_whoever_needs_it() {
    let home = Home::new();
    let args = ["-T", "-A", "tcp/22", "-s", "--rc-file", "/proc/nowhere/rc", "--key-rijndael", "k"];
    let run = home.run(&args);
    assert_eq!(run.code, Some(0));
    assert!(run.err.contains("warning: the rc file /proc/nowhere/rc cannot be created: "), "{}", run.err);
    assert_eq!(home.run(&[&args[..], &["-n", "office"]].concat()).code, Some(1));
}

#[test]
fn stanzas_are_listed_in_order() {
    let home = Home::with_rc("[default]\n[one]\n[Default]\n[two]\nBROKEN\n[one]\n");
    let run = home.run(&["--stanza-list"]);
    assert_eq!(run.code, Some(0));
    assert!(run.out.ends_with(" :\n - one\n - two\n - one\n"), "{}", run.out);
    let run = home.run(&["--stanza-list", "--rc-file", "/nowhere/rc"]);
    assert_eq!(run.code, Some(1));
}

#[test]
fn the_stronger_layer_wins() {
    let rc = format!(
        "[default]\n{KEYS}ALLOW_IP 192.0.2.1\nACCESS tcp/1\nFW_TIMEOUT 10\nNAT_LOCAL Y\nSPA_SERVER gate\nVERBOSE 2\n\
         RESOLVE_URL https://127.0.0.1:1/\n[office]\nACCESS tcp/2\nNAT_LOCAL N\nVERBOSE N\n[office]\nACCESS tcp/3\n[nat]\nNAT_ACCESS 10.0.0.5:99\n\
         [resolving]\nALLOW_IP resolve\n[address]\nRESOLVE_IP_HTTPS Y\nALLOW_IP 192.0.2.9\n\
         [plain]\nUSE_HMAC N\n[other]\nKEY_BASE64 b3RoZXI=\n"
    );
    let home = Home::with_rc(&rc);
    let plain = message(&home, &["-n", "office"]);
    assert_eq!((asked(&plain).as_str(), plain.type_number()), ("192.0.2.1,tcp/3", 3));
    assert_eq!(asked(&message(&home, &["-n", "OFFICE", "-A", "udp/9", "-s"])), "0.0.0.0,udp/9");
    assert_eq!(message(&home, &["-n", "office", "-f", "0"]).timeout, None);
    assert_eq!(message(&home, &[]).type_number(), 6);
    let nat = message(&home, &["-n", "nat"]);
    assert!(matches!(nat.request, Request::Nat { ref target, local: true, .. } if target.to_string() == "10.0.0.5,99"));
    assert_eq!(asked(&message(&home, &["-n", "address"])), "192.0.2.9,tcp/1");

    // -R on the command line beats an address in the file, and the other way round.
    let run = home.run(&["-T", "-n", "address", "-R"]);
    assert!(run.err.contains("127.0.0.1:1/ cannot be asked for our address"), "{}", run.err);
    assert!(home.run(&["-T", "-n", "resolving"]).err.contains("cannot be asked"));
    assert_eq!(asked(&message(&home, &["-n", "resolving", "-a", "192.0.2.3"])), "192.0.2.3,tcp/1");

    // The same for output, keys and HMAC.
    assert!(home.run(&["-T"]).out.contains("Generating SPA packet"));
    assert!(!home.run(&["-T", "-n", "office"]).out.contains("Generating SPA packet"));
    assert!(home.run(&["-T", "-n", "office", "-v"]).out.contains("Generating SPA packet"));
    let packet = home.packet(&["-n", "plain"]).unwrap_or_else(|run| panic!("{}", run.err));
    assert!(read(&packet, b"key", Mode::Cbc, None).is_ok());
    let packet = home.packet(&["-n", "other"]).unwrap_or_else(|run| panic!("{}", run.err));
    assert!(read(&packet, b"other", Mode::Cbc, Some((Digest::Sha256, b"mac"))).is_ok());
    let packet = home.packet(&["-n", "other", "--key-rijndael", "mine"]).unwrap_or_else(|run| panic!("{}", run.err));
    assert!(read(&packet, b"mine", Mode::Cbc, Some((Digest::Sha256, b"mac"))).is_ok());
}

#[test]
fn a_key_from_standard_input_beats_one_in_the_file() {
    let home = Home::with_rc(&format!("[default]\n{KEYS}ALLOW_IP source\nACCESS tcp/1\n"));
    let run = home.run_with(&["-T", "-B", "packet", "--stdin"], &[], "typed\n");
    assert_eq!(run.code, Some(0), "{}", run.err);
    let packet = std::fs::read_to_string(home.0.join("packet")).unwrap();
    assert!(read(packet.trim_end(), b"typed", Mode::Cbc, Some((Digest::Sha256, b"mac"))).is_ok());
}

#[test]
fn a_key_file_of_the_stanza_is_used_for_its_own_key() {
    let home =
        Home::with_rc("[default]\n[x]\nSPA_SERVER gate\nACCESS tcp/1\nALLOW_IP source\nKEY_FILE k\nHMAC_KEY_FILE h\n");
    home.0.write("k", "gate: key\n");
    home.0.write("h", "gate: mac\n");
    assert_eq!(asked(&message(&home, &["-n", "x"])), "0.0.0.0,tcp/1");
}

#[test]
fn both_syntaxes_mean_the_same() {
    let home = Home::new();
    home.0.write(
        "rc.toml",
        "[default]\nkey = \"key\"\nhmac_key = \"mac\"\nspa_server = \"gate\"\n[x]\naccess = [\"tcp/1\", \"udp/2\"]\n\
         allow_ip = \"192.0.2.1\"\nfw_timeout = 7\nnat_local = true\nverbose = \"2\"\n",
    );
    let made = message(&home, &["--rc-file", "rc.toml", "-n", "x"]);
    assert_eq!(asked(&made), "192.0.2.1,tcp/1,udp/2");
    assert_eq!((made.type_number(), made.timeout.unwrap().secs()), (6, 7));
}

#[test]
fn every_mistake_is_named_with_its_line() {
    let rc = "[default]\n# comment\n  # indented\nSPA_SERVER_PORT 70000\nFW_TIMEOUT x\nNOSUCH 1\nHMAC_KEY_BASE64 se!cret\n\
        USE_HMAC=Y\n   \nALLOW_IP gate\nTIME_OFFSET m5\nSPOOF_SOURCE_IP ::1\nspa_server x\nKEY\nUSE_GPG maybe\n\
        [other]\nNOSUCH 2\n[x]\nNAT_ACCESS a/b\nACCESS tcp/0\n";
    let home = Home::with_rc(rc);
    let run = home.run(&["-T", "-n", "x", "-a", "192.0.2.1", "-A", "tcp/22", "-N", "10.0.0.1", "--key-rijndael", "k"]);
    assert_eq!(run.code, Some(1));
    let file = home.0.join(".fwknoprc");
    for (line, complaint, advice) in [
        (4, "SPA_SERVER_PORT: '70000' is not in 0 to 65535", "0 to 65535"),
        (5, "FW_TIMEOUT: 'x' is not a whole number", "0 to 65536"),
        (6, "NOSUCH is not a setting of the rc file", "correct or remove it; docs/client.md lists all settings"),
        (7, "HMAC_KEY_BASE64: is not base64", "--key-gen"),
        (8, "USE_HMAC: name and value are joined by '='", "put a blank"),
        (10, "ALLOW_IP: 'gate' is not an IP address", "192.0.2.7"),
        (11, "TIME_OFFSET: 'm5' is not a time", "2m"),
        (12, "SPOOF_SOURCE_IP: '::1' is not the IPv4 address of a host", "write an address like 192.0.2.7"),
        (13, "spa_server is written in the wrong case", "SPA_SERVER"),
        (14, "KEY has no value", "write a value"),
        (15, "USE_GPG: 'maybe' is neither yes nor no", "Y or N"),
        (19, "NAT_ACCESS: 'a/b' is not a host", "host:port"),
        (20, "ACCESS: 'tcp/0' is not a port", "1 to 65535"),
    ] {
        let start = format!("fwknop: {}:{line}: {complaint}\n     ", file.display());
        let at = run.err.find(&start).unwrap_or_else(|| panic!("no '{start}' in:\n{}", run.err));
        assert!(run.err[at + start.len()..].lines().next().unwrap().contains(advice), "{complaint}: {}", run.err);
    }
    assert_eq!(run.err.matches("\nfwknop: ").count() + 1, 13, "{}", run.err);
    assert!(!run.err.contains("se!cret"), "{}", run.err);
}

#[test]
fn an_unknown_stanza_and_an_unreadable_file_are_errors() {
    let home = Home::with_rc("[default]\n");
    let run = home.run(&["-T", "-n", "office"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.err.contains("there is no stanza [office]\n     list the stanzas with: fwknop --stanza-list"),
        "{}",
        run.err
    );
    std::fs::remove_file(home.0.join(".fwknoprc")).unwrap();
    std::fs::create_dir(home.0.join(".fwknoprc")).unwrap();
    assert_eq!(home.run(&["-T", "-A", "tcp/22", "-s", "--key-rijndael", "k"]).code, Some(1));
}

#[test]
fn a_file_open_to_others_draws_a_complaint() {
    let home = Home::with_rc(&format!("[default]\n{KEYS}ALLOW_IP source\nACCESS tcp/1\n"));
    std::fs::set_permissions(home.0.join(".fwknoprc"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = home.run(&["-T"]);
    assert_eq!(run.code, Some(0));
    assert!(run.err.contains("is open to others (mode 0644)\n     run: chmod 600 "), "{}", run.err);
}

#[test]
fn values_with_blanks_are_quoted_or_warned_about() {
    let home = Home::with_rc("[default]\nALLOW_IP source\nACCESS tcp/1\nKEY \"two words\"\n[cut]\nKEY two words\n");
    let packet = home.packet(&[]).unwrap_or_else(|run| panic!("{}", run.err));
    assert!(read(&packet, b"two words", Mode::Cbc, None).is_ok());
    let run = home.run(&["-T", "-n", "cut"]);
    assert!(run.err.contains("KEY: only the first word of the value is used"), "{}", run.err);
}

#[test]
fn a_stanza_is_saved_and_used() {
    let home = Home::with_rc("# mine\n[default]\n\n[office]\n# my key\nKEY old\n\n# the end\n[last]\nKEY x");
    let save = ["-n", "office", "--save-rc-stanza", "-T", "-A", "TCP/22", "-a", "192.0.2.1", "-D", "gate", "-f", "30"];
    let keys = ["--key-rijndael", "key", "--key-hmac", "mac", "--time-offset-minus", "0m", "-v", "-m", "sha1"];
    let run = home.run_with(&[&save[..], &keys].concat(), &[], "y\n");
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("Variable 'KEY' found in stanza 'office'. Overwrite [N/y] ? "), "{}", run.out);
    assert_eq!(
        home.rc(),
        "# mine\n[default]\n\n[office]\n# my key\nKEY                         key\n\
         DIGEST_TYPE                 SHA1\nFW_TIMEOUT                  30\nALLOW_IP                    192.0.2.1\n\
         TIME_OFFSET                 0\nACCESS                      TCP/22\nSPA_SERVER                  gate\n\
         HMAC_KEY                    mac\nUSE_HMAC                    Y\nVERBOSE                     Y\n\n\
         # the end\n[last]\nKEY x"
    );
    assert_eq!(asked(&message(&home, &["-n", "office"])), "192.0.2.1,tcp/22");
    let mode = std::fs::metadata(home.0.join(".fwknoprc")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(std::fs::read_dir(home.0.path()).unwrap().count(), 2, "nothing is left but the last command line");
}

#[test]
fn new_keys_are_saved_or_nothing_is() {
    let home = Home::with_rc("[default]\n");
    let make = ["-n", "office", "--key-gen", "--save-rc-stanza", "-A", "tcp/22", "-s"];
    let run = home.run(&make);
    let rc = home.0.join(".fwknoprc");
    assert_eq!(run.out, format!("[+] Wrote Rijndael and HMAC keys to rc file: {}\n", rc.display()));
    let first = home.rc();
    assert!(first.contains("\n[office]\nALLOW_IP                    source\nACCESS "), "{first}");
    assert!(first.contains("\nKEY_BASE64 ") && first.contains("\nHMAC_KEY_BASE64 "), "{first}");

    for answer in ["", "n\nn\n", "y\nn\n"] {
        let run = home.run_with(&make, &[], answer);
        assert_eq!(run.code, Some(1), "{answer:?}");
        assert!(run.err.contains("nothing was saved: the stanza office keeps its"), "{}", run.err);
        assert_eq!(home.rc(), first);
    }
    let run = home.run(&[&make[..], &["--force-stanza"]].concat());
    assert_eq!(run.code, Some(0));
    let second = home.rc();
    assert!(second != first && second.lines().count() == first.lines().count(), "{second}");
    assert!(home.packet(&["-n", "office"]).is_ok());
}

/// An encryption key there would be taken for the passphrase of the signing key.
#[test]
fn in_a_stanza_for_gnupg_only_the_hmac_key_is_new() {
    let home = Home::with_rc("[default]\n[old]\nUSE_GPG Y\nGPG_RECIPIENT server\n");
    let rc = home.0.join(".fwknoprc");
    let make = |name: &'static str| ["--key-gen", "--save-rc-stanza", "-A", "tcp/22", "-s", "-n", name];
    for args in [&make("old")[..], &[&make("new")[..], &["--gpg-recipient-key", "server"]].concat()] {
        let run = home.run(args);
        let said = "[+] Wrote the HMAC key (GnuPG needs no Rijndael key) to rc file: ";
        assert_eq!(run.out, format!("{said}{}\n", rc.display()), "{}", run.err);
    }
    assert_eq!(home.rc().matches("HMAC_KEY_BASE64 ").count(), 2, "{}", home.rc());
    assert!(!home.rc().contains("\nKEY_BASE64"), "{}", home.rc());

    let run = home.run(&[&make("file")[..], &["-g", "--gpg-recipient-key", "server", "-K", "keys"]].concat());
    assert_eq!(run.out, "[+] Wrote the HMAC key (GnuPG needs no Rijndael key) to: keys\n");
    let keys = std::fs::read_to_string(home.0.join("keys")).unwrap();
    assert!(keys.starts_with("HMAC_KEY_BASE64: ") && keys.lines().count() == 1, "{keys}");
}

#[test]
fn a_timeout_that_a_command_cannot_carry_is_mentioned() {
    let home = Home::with_rc(&format!("[default]\n{KEYS}ALLOW_IP source\n"));
    let run = home.run(&["-T", "-C", "id", "-f", "30"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("note: a command is sent without a timeout"), "{}", run.err);
    assert_eq!(home.run(&["-T", "-C", "id"]).err, "");
}

#[test]
fn a_stanza_needs_a_name_and_lines() {
    let home = Home::with_rc("[default]\n");
    for (args, complaint) in [
        (&["-k", "--save-rc-stanza"][..], "the stanza has no name\n     name it with -n"),
        (&["-k", "--save-rc-stanza", "-n", "a]b"], "'a]b' cannot be the name of a stanza"),
        (&["-k", "--save-rc-stanza", "-n", "a", "-U", "say \"x y\""], "the value of SPOOF_USER cannot be written"),
    ] {
        let run = home.run(args);
        assert_eq!(run.code, Some(1), "{args:?}");
        assert!(run.err.contains(complaint), "{args:?}: {}", run.err);
        assert_eq!(home.rc(), "[default]\n");
    }
}
