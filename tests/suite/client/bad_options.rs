//! What is wrong is said, with what to do, and nothing is sent (`spec/client.md` 18).

use super::{Home, PROGRAM, run};

/// Enough for a packet, but for what a row adds or replaces.
const GOOD: [&str; 8] = ["--no-rc-file", "-T", "-A", "tcp/22", "-a", "192.0.2.7", "--key-rijndael", "a key"];

/// Twenty ports: more than a server reads.
const MANY: &str = "tcp/10001,tcp/10002,tcp/10003,tcp/10004,tcp/10005,tcp/10006,tcp/10007,tcp/10008,tcp/10009,tcp/10010,\
    tcp/10011,tcp/10012,tcp/10013,tcp/10014,tcp/10015,tcp/10016,tcp/10017,tcp/10018,tcp/10019,tcp/10020";

#[test]
fn bad_options_are_refused_with_advice() {
    let home = Home::new();
    assert_eq!(home.run(&GOOD).code, Some(0));
    for (more, complaint, advice) in [
        (&["-a", "gate.example"][..], "option --allow-ip: 'gate.example' is not an IP address", "192.0.2.7"),
        (&["-a", "010.1.1.1"], "'010.1.1.1' is not an IP address", ""),
        (&["-A", "tcp/0"], "option --access: 'tcp/0' is not a port", "1 to 65535"),
        (&["-A", "tcp/22-25"], "'tcp/22-25' is not a port", "list each port"),
        (&["-A", "icmp/8"], "'icmp/8' is not a port", "tcp/<port>"),
        (&["-A", "sctp/8"], "'sctp/8' is not a port", "tcp/<port>"),
        (&["-A", "22", "-N", "10.0.0.1"], "'22' is not a port", "tcp/<port>"),
        (&["-A", "tcp/22,"], "an entry of the list is empty", "surplus comma"),
        (&["-N", "10.0.0.1:0"], "option --nat-access: '0' is not a port", "host:port"),
        (&["-N", "10.0.0.1:99999"], "'99999' is not a port", "host:port"),
        (&["-N", "a/b:22"], "'a/b' is not a host", "host:port"),
        (&["-N", "a_b:22"], "'a_b' is not a host", "host:port"),
        (&["-N", "10.0.0.1", "-A", "tcp/1,tcp/2", "--nat-port", "9"], "NAT for several ports", "one port"),
        (&["-N", "10.0.0.1", "-A", "tcp/1,tcp/2", "--nat-rand-port"], "NAT for several ports", "one port"),
        (&["--nat-port", "9"], "no effect without NAT", "-N"),
        (&["--nat-local"], "--nat-local needs to know the server's address", "-D"),
        (
            &["-Q", "192.0.2.1"],
            "option --spoof-source: only a raw packet can have another",
            "-P udpraw, tcpraw or icmp",
        ),
        (&["-P", "udpraw", "-Q", "2001:db8::1"], "'2001:db8::1' is not the IPv4 address of a host", "IPv4 only"),
        (&["-P", "udpraw", "-Q", "gate.example"], "'gate.example' is not the IPv4 address", "not looked up"),
        (&["-P", "udpraw", "-Q", "0.0.0.0"], "'0.0.0.0' is not the IPv4 address of a host", "192.0.2.7"),
        (&["-P", "udpraw", "-Q", "224.0.0.1"], "'224.0.0.1' is not the IPv4 address of a host", "192.0.2.7"),
        (&["-P", "icmp", "--icmp-type", "41"], "option --icmp-type: '41' is not in 0 to 40", "0 to 40"),
        (&["-P", "icmp", "--icmp-type", "echo"], "option --icmp-type: 'echo' is not a whole number", "0 to 40"),
        (&["-P", "icmp", "--icmp-code", "16"], "option --icmp-code: '16' is not in 0 to 15", "0 to 15"),
        (&["-H", "proxy:0"], "option --http-proxy: '0' is not a port", "host:port"),
        (&["-H", "proxy:65536"], "'65536' is not a port", "host:port"),
        (&["-H", "http://a_b"], "'a_b' is not a host", "host:port"),
        (&["-H", "https://proxy"], "a proxy is not spoken to with https", "host:port"),
        (&["-H", "me:secret@proxy:3128"], "a proxy that asks for a password cannot be used", "asks for no password"),
        (&["-H", "proxy", "-P", "tcp"], "option --http-proxy: a proxy carries HTTP, not tcp", "leave out the proxy"),
        (&["--resolve-url", "ftp://x"], "option --resolve-url: 'ftp://x' is not a web address", "https://"),
        (&["-p", "65536"], "option --server-port: '65536' is not in 0 to 65535", "0 to 65535"),
        (&["-p", "-1"], "option --server-port: '-1' is not a whole number", "0 to 65535"),
        (&["-S", "70000"], "option --source-port: '70000' is not in 0 to 65535", ""),
        (&["--nat-port", "70000"], "option --nat-port: '70000'", "0 to 65535"),
        (&["-A", MANY], "the request cannot be sent: the request is 209 bytes long", "ask for less"),
        (&["-f", "65537"], "option --fw-timeout: '65537' is not in 0 to 65536", ""),
        (&["-f", "soon"], "'soon' is not a whole number", "0 to 65536"),
        (&["--key-gen", "--key-len", "33"], "33 is not in 1..=32", "--help"),
        (&["--key-gen", "--hmac-key-len", "0"], "0 is not in 1..=128", "--help"),
        (&["-m", "crc32"], "option --digest-type: 'crc32'", "sha3_512"),
        (&["--hmac-digest-type", "crc32"], "option --hmac-digest-type: 'crc32'", "sha3_512"),
        (&["--gpg-engine", "pgp"], "option --gpg-engine: 'pgp'", "sequoia, gpgme"),
        (&["-M", "PCBC"], "option --encryption-mode: 'PCBC'", "CBC, ECB"),
        (&["-P", "sctp"], "option --server-proto: 'sctp'", "udp, tcp, http"),
        (&["--key-base64-rijndael", "a!b"], "option --key-base64-rijndael: is not base64", "--key-gen"),
        (&["--key-base64-hmac", "a!b"], "option --key-base64-hmac: is not base64", "--key-gen"),
        (&["--key-rijndael", ""], "option --key-rijndael: is empty", "write the key"),
        (&["--key-rijndael", "123456789012345678901234567890123"], "the encryption key is 33 bytes long", "1 to 32"),
        (&["--key-hmac", "a key"], "the encryption key and the HMAC key are the same", "two keys"),
        (&["-M", "Asymmetric"], "the mode Asymmetric needs GnuPG keys", "--gpg-recipient-key"),
        (&["-M", "legacy", "--key-hmac", "other"], "legacy mode cannot be used with an HMAC", "leave the HMAC away"),
        (&["-g"], "GnuPG encryption needs to know the server's key", "--gpg-recipient-key"),
        (&["--gpg-agent"], "GnuPG encryption needs to know the server's key", "--gpg-recipient-key"),
        (&["-U", "a:b"], "the user name 'a:b' cannot be sent", "-U"),
        (&["-U", "*"], "the user name '*' cannot be sent", "-U"),
        (&["--time-offset-plus", "soon"], "option --time-offset-plus: 'soon' is not a time", "2m"),
        (&["--time-offset-minus", "65537"], "'-65537' is too large", "65536"),
        (&["-G", "/nowhere"], "a key file can only be used with a destination", "-D"),
        (&["-D", "h", "-G", "/nowhere"], "the key file /nowhere cannot be read: No such file", ""),
        (&["-C", ""], "a command cannot be empty", ""),
        (&["--fault-injection-tag", "x"], "--fault-injection-tag is for test builds", "leave it away"),
        (&["--nosuch"], "unexpected argument '--nosuch' found", ""),
        (&["stray"], "unexpected argument 'stray' found", "--help"),
        (&["-A"], "a value is required for '--access", "--help"),
        (&["-n", "office"], "with --no-rc-file there is no stanza for --named-config", "one of the two"),
        (&["--stanza-list"], "with --no-rc-file there is no stanza for --stanza-list", ""),
        (&["--save-rc-stanza"], "with --no-rc-file there is no stanza for --save-rc-stanza", ""),
    ] {
        // The last of two equal options wins; but a key given as text beats one in another form.
        let mut args: Vec<&str> = GOOD.to_vec();
        if more.iter().any(|word| ["-G", "--key-base64-rijndael"].contains(word)) {
            args.truncate(6);
        }
        args.extend(more);
        let run = home.run(&args);
        assert_eq!(run.code, Some(1), "{more:?}: {}{}", run.out, run.err);
        let mut lines = run.err.lines().skip_while(|line| !line.contains(complaint));
        let first = lines.next().unwrap_or_else(|| panic!("{more:?}: no '{complaint}' in:\n{}", run.err));
        assert!(first.starts_with("fwknop: "), "{first}");
        let second = lines.next().unwrap_or_default();
        assert!(
            second.contains(advice) && (second.starts_with("     ") || advice.is_empty()),
            "{more:?}:\n{}",
            run.err
        );
        assert!(!run.out.contains("SPA Field Values"), "{more:?} made a packet");
    }
}

#[test]
fn what_has_no_effect_is_told() {
    let run = Home::new().run(&[&GOOD[..], &["--icmp-type", "8"]].concat());
    let warning = "option --icmp-type: warning: only ICMP has types and codes\n     send with -P icmp, or leave it out";
    assert!(run.code == Some(0) && run.err.contains(warning), "{}", run.err);
    let run = Home::new().run(&[&GOOD[..], &["-P", "icmp", "--icmp-type", "8", "--icmp-code", "0"]].concat());
    assert!(run.code == Some(0) && !run.err.contains("ICMP"), "{}", run.err);
}

#[test]
fn what_is_missing_is_named() {
    let home = Home::new();
    let missing = |args: &[&str], complaint: &str| {
        let run = home.run(&[&["--no-rc-file"], args].concat());
        assert_eq!(run.code, Some(1), "{args:?}");
        assert!(run.err.contains(complaint), "{args:?}: {}", run.err);
    };
    missing(&["-A", "tcp/22", "-s", "--key-rijndael", "k"], "no server is named");
    missing(&["-D", "h", "-A", "tcp/22", "--key-rijndael", "k"], "whom to let in is not said");
    missing(&["-T", "-A", "tcp/22", "--key-rijndael", "k"], "whom to let in is not said");
    missing(&["-T", "-s", "--key-rijndael", "k"], "nothing is asked for");
}

#[test]
fn all_mistakes_are_said_at_once() {
    let run = Home::new().run(&["--no-rc-file", "-T", "-p", "x", "-f", "y", "-m", "z", "-a", "w"]);
    for complaint in ["--server-port: 'x'", "--fw-timeout: 'y'", "--digest-type: 'z'"] {
        assert!(run.err.contains(complaint), "no {complaint} in {}", run.err);
    }
}

#[test]
fn help_and_version_succeed_and_touch_nothing() {
    let home = Home::new();
    for (args, start) in [
        (&["-h"][..], "Ask a fwknopd server"),
        (&["--help"], "Ask a fwknopd server"),
        (&["-V"], concat!("fwknop client ", env!("CARGO_PKG_VERSION"), ", FKO protocol version 3.0.0\n")),
        (&["--version", "-A", "tcp/22"], "fwknop client "),
    ] {
        let run = home.run(args);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(run.out.starts_with(start), "{args:?}: {}", run.out);
    }
    assert_eq!(std::fs::read_dir(home.0.path()).unwrap().count(), 0);
}

#[test]
fn without_a_home_the_rc_file_must_be_named() {
    let home = Home::new();
    let out = run(home.command(PROGRAM).args(["-T", "-A", "tcp/22"]).env_remove("HOME"), "");
    assert_eq!(out.code, Some(1));
    assert!(out.err.contains("HOME is not set\n     name it with --rc-file"), "{}", out.err);
    let out = home.run(&["--no-home-dir", "-T"]);
    assert!(out.err.contains("--no-home-dir is given\n     name it with --rc-file"), "{}", out.err);
    let named = [&["--no-home-dir", "--rc-file", "other.rc"], &GOOD[1..]].concat();
    assert_eq!(home.run(&named).code, Some(0));
    assert!(home.0.join("other.rc").exists() && !home.0.join(".fwknoprc").exists());
}
