//! Where keys come from, and that they go nowhere else.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fwknop::crypto::rijndael::Mode;
use fwknop::spa::Digest;

use super::{Home, PROGRAM, read, text_of};

const ASK: [&str; 8] = ["--no-rc-file", "-A", "tcp/22", "-s", "-U", "alice", "-D", "gate.example"];

fn opens(packet: &str, key: &[u8], hmac: Option<&[u8]>) -> bool {
    read(packet, key, Mode::Cbc, hmac.map(|key| (Digest::Sha256, key))).is_ok()
}

#[test]
fn keys_are_read_from_standard_input_one_per_line() {
    let home = Home::new();
    let file = home.0.join("packet");
    let args = [&ASK[..], &["-T", "-B", text_of(&file), "--stdin", "--use-hmac"]].concat();
    let run = home.run_with(&args, &[], "the key\nthe other key\nnot read\n");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let packet = std::fs::read_to_string(&file).unwrap();
    assert!(opens(packet.trim_end(), b"the key", Some(b"the other key")));

    for (input, complaint) in [
        ("", "standard input ended before the encryption key"),
        ("\nx\n", "the encryption key is empty"),
        ("one\n", "standard input ended before the HMAC key"),
        ("one\n\n", "the HMAC key is empty"),
        ("same\nsame\n", "the encryption key and the HMAC key are the same"),
    ] {
        let run = home.run_with(&args, &[], input);
        assert_eq!(run.code, Some(1), "{input:?}");
        assert!(run.err.contains(complaint), "{input:?}: {}", run.err);
    }
}

#[test]
fn keys_are_read_from_another_descriptor() {
    let home = Home::new();
    home.0.write("keys", "the key\nthe other key\n");
    let script = format!("exec {PROGRAM} \"$@\" 7<keys");
    let mut command = home.command("sh");
    command.args(["-c", &script, "sh"]).args(ASK).args(["-T", "-B", "packet", "--fd", "7", "--use-hmac"]);
    let run = super::run(&mut command, "");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let packet = std::fs::read_to_string(home.0.join("packet")).unwrap();
    assert!(opens(packet.trim_end(), b"the key", Some(b"the other key")));
    let run = home.run(&[&ASK[..], &["-T", "--fd", "99"]].concat());
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("cannot be read from the descriptor"), "{}", run.err);
}

#[test]
fn key_files_are_searched_by_destination() {
    let home = Home::new();
    home.0.write("keys", "# gate.example: no\nother: x\ngate.example: the key\n");
    home.0.write("hmac", "gate.example:\t= the other key");
    let args = [&ASK[..], &["-G", "keys", "--get-hmac-key", "hmac"]].concat();
    let packet = home.packet(&args).unwrap_or_else(|run| panic!("{}", run.err));
    assert!(opens(&packet, b"the key", Some(b"the other key")));

    let run = home.run(&[&args[..], &["-T", "-D", "nowhere.example"]].concat());
    assert!(run.err.contains("has no encryption key for 'nowhere.example'\n     add a line"), "{}", run.err);
    std::fs::set_permissions(home.0.join("keys"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = home.run(&[&args[..], &["-T"]].concat());
    assert_eq!(run.code, Some(0));
    assert!(run.err.contains("keys is open to others (mode 0644)\n     run: chmod 600 keys"), "{}", run.err);
}

#[test]
fn without_a_key_and_a_terminal_the_run_ends() {
    let home = Home::new();
    let mut command = home.command("setsid");
    let run = super::run(command.arg("-w").arg(PROGRAM).args(ASK).arg("-T"), "a key on standard input\n");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("the encryption key cannot be asked for: there is no terminal"), "{}", run.err);
}

/// Types each answer after its prompt, at a terminal of the program's own. What the terminal showed.
fn at_a_terminal(home: &Home, line: &str, dialogue: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = home.command("timeout");
    command.args(["20", "script", "-qefc", line, "/dev/null"]).env("SHELL", "/bin/sh").stderr(Stdio::null());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is in util-linux");
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let (mut shown, mut byte) = (Vec::new(), [0]);
    let mut from = 0;
    for (prompt, answer) in dialogue {
        while !String::from_utf8_lossy(&shown[from..]).contains(prompt) {
            assert_eq!(screen.read(&mut byte).unwrap(), 1, "no '{prompt}' in {}", String::from_utf8_lossy(&shown));
            shown.push(byte[0]);
        }
        from = shown.len();
        // The prompt is written just before the echo goes off.
        std::thread::sleep(std::time::Duration::from_millis(200));
        keyboard.write_all(answer.as_bytes()).unwrap();
    }
    screen.read_to_end(&mut shown).unwrap();
    let code = child.wait().unwrap().code();
    (code, String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn keys_are_asked_for_at_the_terminal() {
    let home = Home::new();
    let line = format!("{PROGRAM} {} -T -B packet --use-hmac </dev/null", ASK.join(" "));
    // Backspace in both spellings, and Ctrl-U.
    let dialogue =
        [("Enter encryption key: ", "wrong\x15the kex\x7fy\r"), ("Enter HMAC key: ", "the otter\x08\x08\x08her\r")];
    let (code, shown) = at_a_terminal(&home, &line, &dialogue);
    assert_eq!(code, Some(0), "{shown}");
    let packet = std::fs::read_to_string(home.0.join("packet")).unwrap();
    assert!(opens(packet.trim_end(), b"the key", Some(b"the other")));
    assert!(!shown.contains("the k") && !shown.contains("the o"), "{shown}");
}

#[test]
fn control_c_at_the_prompt_stops_and_gives_the_echo_back() {
    let home = Home::new();
    let first = "Enter encryption key: ";
    for dialogue in [&[(first, "half\x03")][..], &[(first, "\x04")], &[(first, "one\r"), ("Enter HMAC key: ", "\x03")]]
    {
        let line = format!("{PROGRAM} {} -T -B packet --use-hmac; echo code=$?; stty -a", ASK.join(" "));
        let (_, shown) = at_a_terminal(&home, &line, dialogue);
        assert!(shown.contains("code=1"), "{shown}");
        assert!(shown.contains("stopped, nothing was sent"), "{shown}");
        let modes: Vec<&str> = shown.split_whitespace().collect();
        assert!(modes.contains(&"echo") && modes.contains(&"isig"), "{shown}");
        assert!(!home.0.join("packet").exists() && !shown.contains("SPA Field"), "{shown}");
    }
}

#[test]
fn an_empty_answer_is_refused() {
    let home = Home::new();
    let line = format!("{PROGRAM} {} -T", ASK.join(" "));
    let (code, shown) = at_a_terminal(&home, &line, &[("Enter encryption key: ", "\r")]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("the encryption key is empty"), "{shown}");
}

#[test]
fn no_output_shows_a_key() {
    let home = Home::with_rc("[default]\n[x]\nKEY sesame-open\nHMAC_KEY mellon-friend\n");
    let secrets = ["sesame-open", "mellon-friend", "c2VzYW1lLW9wZW4", "bWVsbG9uLWZyaWVuZA"];
    let on_the_command_line =
        ["--key-rijndael", "sesame-open", "--key-base64-hmac", "bWVsbG9uLWZyaWVuZA==", "--no-rc-file"];
    let again = ["--key-rijndael", "sesame-open", "--key-hmac", "sesame-open", "--no-rc-file", "-p", "x"];
    for keys in [&["-n", "x"][..], &on_the_command_line, &again, &["-n", "x", "-U", "a:b"]] {
        let run = home.run(&[&["-T", "-v", "-v", "-v", "-A", "tcp/22", "-s"], keys].concat());
        for secret in secrets {
            assert!(!run.out.contains(secret) && !run.err.contains(secret), "{keys:?} shows {secret}");
        }
    }
    let run = home.run(&[&["-T", "-A", "tcp/22", "-s"][..], &on_the_command_line].concat());
    assert_eq!(run.err.matches("everybody on this machine can read the key after").count(), 2, "{}", run.err);
}

#[test]
fn keys_are_made() {
    let home = Home::new();
    for (more, lengths) in [
        (&[][..], (32, 64)),
        (&["--hmac-digest-type", "md5"], (32, 16)),
        (&["--hmac-digest-type", "sha1"], (32, 20)),
        (&["--hmac-digest-type", "sha512"], (32, 128)),
        (&["--hmac-digest-type", "sha3_256"], (32, 128)),
        (&["--hmac-digest-type", "sha3_512"], (32, 72)),
        (&["--key-len", "16", "--hmac-key-len", "40", "--use-hmac"], (16, 40)),
    ] {
        let run = home.run(&[&["--no-rc-file", "-k"], more].concat());
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{more:?}");
        assert_eq!(lengths_in(&run.out), lengths, "{more:?}");
    }
    let run = home.run(&["--no-rc-file", "-K", "keys"]);
    assert_eq!(run.out, "[+] Wrote Rijndael and HMAC keys to: keys\n");
    let file = home.0.join("keys");
    assert_eq!(lengths_in(&std::fs::read_to_string(&file).unwrap()), (32, 64));
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn no_link_is_followed_to_write_keys_or_a_packet() {
    let home = Home::new();
    let target = home.0.write("target", "kept");
    std::os::unix::fs::symlink(&target, home.0.join("link")).unwrap();
    let packet = [&ASK[..], &["-T", "--key-rijndael", "k", "-B", "link"]].concat();
    for args in [&["--no-rc-file", "-K", "link"][..], &packet, &[&packet[..], &["-b"]].concat()] {
        let run = home.run(args);
        assert_eq!(run.code, Some(1), "{args:?}");
        assert!(run.err.contains("link cannot be written: it is a symbolic link"), "{}", run.err);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
    }
    let mut daemon = home.command(env!("CARGO_BIN_EXE_fwknopd"));
    let run = super::run(daemon.args(["--key-gen-file", "link"]), "");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("the key file link cannot be written: it is a symbolic link"), "{}", run.err);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");

    let run = home.run(&["--no-rc-file", "-K", "/dev/stdout"]);
    assert!(run.out.starts_with("KEY_BASE64: "), "{} {}", run.out, run.err);
}

fn lengths_in(text: &str) -> (usize, usize) {
    let mut lines = text.lines();
    let mut length = |name: &str| STANDARD.decode(lines.next().unwrap().strip_prefix(name).unwrap()).unwrap().len();
    (length("KEY_BASE64: "), length("HMAC_KEY_BASE64: "))
}
