//! The stored command line, against the original in both directions.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use fwknop::crypto::rijndael::Mode;
use fwknop::spa::{Digest, Request};

use super::{Home, PROGRAM, Run, read, run};
use crate::support::peers::Maker;

const RC: &str =
    "[default]\n[office]\nSPA_SERVER 192.0.2.1\nALLOW_IP 192.0.2.7\nACCESS tcp/22\nKEY a-key\nHMAC_KEY a-tag\n";

fn stored(home: &Home) -> PathBuf {
    home.0.join(".fwknop.run")
}

fn original(home: &Home, args: &[&str]) -> Run {
    run(home.command(Maker::Original.client()).args(args), "")
}

#[test]
fn both_programs_read_what_the_other_has_stored() {
    let home = Home::with_rc(RC);
    let line = ["-T", "-n", "office", "-U", "alice"];
    assert_eq!(home.run(&line).code, Some(0));
    let ours = fs::read_to_string(stored(&home)).unwrap();
    assert_eq!(ours, format!("{PROGRAM} {} \n", line.join(" ")));
    assert_eq!(fs::metadata(stored(&home)).unwrap().mode() & 0o777, 0o600);

    let shown = home.run(&["--show-last"]);
    assert_eq!((shown.code, &shown.out), (Some(0), &original(&home, &["--show-last"]).out));
    let again = original(&home, &["-l"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.contains("       Username: alice\n"), "{}", again.out);
    assert_eq!(fs::read_to_string(stored(&home)).unwrap(), ours, "nothing is stored by -l");

    assert_eq!(original(&home, &["-T", "-n", "office", "-U", "bob", "-f", "30"]).code, Some(0));
    let theirs = fs::read_to_string(stored(&home)).unwrap();
    let again = home.run(&["-lv"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    assert!(again.out.starts_with(&format!("Executing: {theirs}\nSPA Field Values")), "{}", again.out);
    assert!(
        again.out.contains("       Username: bob\n") && again.out.contains(" Client Timeout: 30\n"),
        "{}",
        again.out
    );
    assert_eq!(home.run(&["--show-last"]).out, original(&home, &["--show-last"]).out);
    assert_eq!(fs::read_to_string(stored(&home)).unwrap(), theirs);
}

#[test]
fn the_packet_of_the_last_command_line_is_made_anew() {
    let home = Home::with_rc(RC);
    let file = home.0.join("packet");
    let args = ["-T", "-n", "office", "-C", "echo 'a  b'", "-B", file.to_str().unwrap()];
    let mut commands = Vec::new();
    for args in [&args[..], &["--last-cmd"]] {
        assert_eq!(home.run(args).code, Some(0));
        let packet = fs::read_to_string(&file).unwrap();
        let message = read(packet.trim_end(), b"a-key", Mode::Cbc, Some((Digest::Sha256, b"a-tag"))).unwrap();
        let Request::Command { command, .. } = message.request else { panic!("{:?}", message.request) };
        commands.push((String::from_utf8(command).unwrap(), message.random.to_string()));
    }
    assert_eq!(commands[0].0, "echo 'a  b'");
    assert_eq!(commands[1].0, commands[0].0, "blanks stay");
    assert_ne!(commands[1].1, commands[0].1);
    assert!(home.run(&["--show-last"]).out.contains(" -C \"echo 'a  b'\" -B "));
    assert_eq!(original(&home, &["--show-last"]).code, Some(0), "the original reads the first line");
}

#[test]
fn no_key_is_stored_or_shown() {
    let home = Home::new();
    let ask = ["-T", "-A", "tcp/22", "-s", "-D", "192.0.2.1"];
    let keys = ["--key-rijn", "sesame", "--key-base64-hmac=c2V0c2Vt"];
    assert_eq!(home.run(&[&ask[..], &keys].concat()).code, Some(0));
    assert_eq!(
        fs::read_to_string(stored(&home)).unwrap(),
        format!("{PROGRAM} -T -A tcp/22 -s -D 192.0.2.1 --use-hmac \n")
    );
    // Nobody is there to be asked.
    let again = run(home.command("setsid").args(["-w", PROGRAM, "-l"]), "");
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("encryption key"), "{}", again.err);

    let theirs = ["--key-rijndael", "sesame", "--key-hmac", "open"];
    assert_eq!(original(&home, &[&ask[..], &theirs].concat()).code, Some(0));
    assert!(fs::read_to_string(stored(&home)).unwrap().contains("sesame"));
    let shown = home.run(&["--show-last"]);
    assert_eq!(
        shown.out,
        "Last fwknop client command line: /usr/bin/fwknop -T -A tcp/22 -s -D 192.0.2.1 --use-hmac \n\n"
    );
    assert!(shown.err.contains("holds keys, which are not shown\n     remove it"), "{}", shown.err);
    let again = home.run(&["-l"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("holds a key, in the clear\n     put the key into the rc file"), "{}", again.err);
    assert!(!again.out.contains("sesame") && !again.err.contains("sesame"));
}

#[test]
fn what_shall_not_be_stored_is_not() {
    let home = Home::with_rc(&format!(
        "{RC}[quiet]\nNO_SAVE_ARGS Y\nSPA_SERVER 192.0.2.1\nALLOW_IP source\nACCESS tcp/22\nKEY k\n"
    ));
    for args in [
        &["-T", "-n", "office", "--no-save-args"][..],
        &["-T", "-n", "quiet"],
        &["-V"],
        &["--stanza-list"],
        &["--key-gen"],
    ] {
        assert_eq!(home.run(args).code, Some(0), "{args:?}");
        assert!(!stored(&home).exists(), "{args:?}");
    }
    for mistaken in [&["-T", "-n", "office", "-p", "x"][..], &["-A", "tcp/22", "-s"], &["--nosuch"]] {
        assert_eq!(home.run(mistaken).code, Some(1), "{mistaken:?}");
        assert!(!stored(&home).exists(), "{mistaken:?}");
    }
    let other = home.0.join("other");
    assert_eq!(home.run(&["-T", "-n", "office", "-E", other.to_str().unwrap()]).code, Some(0));
    assert!(other.exists() && !stored(&home).exists());
    assert_eq!(home.run(&["-l", "-E", "other"]).code, Some(0));
}

#[test]
fn a_line_that_cannot_be_stored_stops_no_knock() {
    let home = Home::with_rc(RC);
    let long = format!("#{}", "x".repeat(1100));
    let file = home.0.join("kept");
    fs::write(&file, "kept").unwrap();
    symlink(&file, home.0.join("link")).unwrap();
    for (args, complaint) in [
        (&["-E", "/nowhere/run"][..], "is not stored for --last-cmd: /nowhere/run cannot be written: No such file"),
        (&["-E", "link"], "link cannot be written: it is a symbolic link"),
        (&["-u", &long], "it is longer than 1023 characters"),
    ] {
        let run = home.run(&[&["-T", "-n", "office"], args].concat());
        assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
        assert!(
            run.err.contains(complaint) && run.err.contains("\n     use --no-save-args\n"),
            "{args:?}: {}",
            run.err
        );
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "kept");
}

#[test]
fn what_cannot_be_run_again_is_said() {
    let home = Home::with_rc(RC);
    let refused = |args: &[&str], complaint: &str, advice: &str| {
        let run = home.run(args);
        assert_eq!((run.code, run.out.as_str()), (Some(1), ""), "{args:?}: {}", run.err);
        assert!(run.err.contains(complaint), "{args:?}: {}", run.err);
        assert!(run.err.contains(&format!("\n     {advice}")), "{args:?}: {}", run.err);
    };
    for option in ["-l", "--show-last"] {
        refused(&[option], ".fwknop.run\n", "knock once without --no-save-args, or name the file with -E");
        refused(&[option, "-E", "/tmp"], "/tmp is not a regular file", "name another with -E");
        refused(
            &[option, "--no-home-dir"],
            "where the last command line is stored is not known",
            "name the file with -E",
        );
    }
    for (line, complaint) in [
        ("fwknop -l \n", "it is no knock"),
        ("fwknop server remove office\n", "it is no knock"),
        ("fwknop --nosuch\n", "unexpected argument '--nosuch' found"),
    ] {
        home.0.write(".fwknop.run", line);
        refused(&["-l"], complaint, "give all options once");
    }
    home.0.write(".fwknop.run", "fwknop -T -n office\n");
    fs::set_permissions(stored(&home), Permissions::from_mode(0o620)).unwrap();
    refused(
        &["-l"],
        "can be written by others (mode 0620): what it says is not run",
        "look at it, then run: chmod 600",
    );
    fs::set_permissions(stored(&home), Permissions::from_mode(0o600)).unwrap();
    let run = home.run(&["-l", "-D", "192.0.2.9", "-n", "nosuch"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    for option in ["--destination", "--named-config"] {
        assert!(run.err.contains(&format!("note: {option} has no effect with --last-cmd")), "{}", run.err);
    }
    if crate::support::namespace::is_root() {
        std::os::unix::fs::chown(stored(&home), Some(12345), None).unwrap();
        refused(&["-l"], "belongs to user 12345: what it says is not run", "look at it, then remove");
    }
}
