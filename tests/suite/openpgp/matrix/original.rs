//! Our packets and the daemon of the original: every kind of key on either side, and every kind of message.

use fwknop::crypto::openpgp::Fingerprint;

use super::specimens::{home, specimen, specimens};
use crate::support::gpg::{Home, keys};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

/// Each key as the server's with one client, and as the client's with one server, as in the matrix of engines.
#[test]
fn what_we_seal_the_original_opens() {
    let open = || specimens().iter().filter(|specimen| !specimen.is_locked());
    let (server, client) = (specimen("sequoia-cv25519"), specimen("gpg-cv25519"));
    let to_each = open().map(|to| (to, client));
    let by_each = open().map(|by| (server, by));
    let pairs: Vec<_> = to_each.chain(by_each).zip(2301u16..).collect();
    assert_eq!(pairs.len(), 38);

    let home = home(false);
    // The original wants keys that are certified, or trusted without.
    let trust: String = open().map(|specimen| format!("{}:6:\n", specimen.primary)).collect();
    home.feed(&["--import-ownertrust"], &trust);
    let files = Scratch::new();
    let (mut access, mut rc) = (String::new(), String::new());
    for ((to, by), port) in &pairs {
        let signers: Vec<String> = by.sign.iter().map(Fingerprint::to_string).collect();
        access.push_str(&stanza(*port, &home, &signers.join(",")));
        rc.push_str(&section(*port));
        // Where this process lacks the arithmetic, gpg makes the packet.
        if to.is_beyond_nettle() || by.cannot_sign_here() {
            rc.push_str(&in_home(&home, &to.primary.to_string(), &by.primary.to_string(), "gpgme"));
        } else {
            let [to, by] = [(&to.name, &to.public), (&by.name, &by.secret)]
                .map(|(name, armored)| files.write(&format!("{name}-{port}.asc"), armored).display().to_string());
            rc.push_str(&format!("GPG_RECIPIENT {to}\nGPG_SIGNER {by}\n"));
        }
    }
    let world = World::new();
    let settings = Settings::new(&world, "", &access);
    let daemon = Daemon::start(&world, Maker::Original, &settings);
    let client = Client::new(&rc);
    for ((to, by), port) in &pairs {
        client.knock(&world.client, Maker::Ours, &["-n", &port.to_string()]);
        let added = format!("Added access rule to FWKNOP_INPUT for {CLIENT} -> 0.0.0.0/0 tcp/{port}, expires at");
        let granted = daemon.logs.wait_after(0, &[&added], PATIENCE);
        assert!(granted.is_some(), "{} to {}; the daemon said:\n{}", by.name, to.name, daemon.logs.text());
    }
    daemon.stop();
}

/// Access, with and without a timeout, NAT, local NAT and commands; by each of the ways to sign; with HMACs of each kind and
/// without.
#[test]
fn whatever_we_ask_for_the_original_understands() {
    const WAYS: [(&str, &str, &str); 4] = [
        ("sequoia", "tag", "HMAC_DIGEST_TYPE SHA512\n"),
        ("gpgme", "tag", "HMAC_DIGEST_TYPE SHA3_256\n"),
        ("file", "tag", "HMAC_DIGEST_TYPE SHA384\n"),
        ("file", "", ""),
    ];
    let (server, user) = (&keys().server_rsa, &keys().client_ed25519);
    let home = Home::of(&[server, user], &[]);
    let files = Scratch::new();
    let touched = files.path().join("touched");
    let [recipient, signer] = [("server.asc", &server.public), ("user.asc", &user.secret)]
        .map(|(name, armored)| files.write(name, armored).display().to_string());
    let (mut access, mut rc) = (String::new(), String::new());
    for ((engine, tag, digest), port) in WAYS.into_iter().zip(2401u16..) {
        let hmac = if tag.is_empty() { String::new() } else { format!("HMAC_KEY {tag}-of-{port}\n{digest}") };
        let tagless = |text: String| text.replace(&format!("HMAC_KEY tag-of-{port}\n"), &hmac);
        // An address of its own, or the original would try the stanza without an HMAC for all packets.
        let stanza = stanza(port, &home, &user.fingerprint);
        access.push_str(&tagless(stanza).replace("OPEN_PORTS", "ENABLE_CMD_EXEC Y\n#"));
        rc.push_str(&tagless(section(port)));
        rc.push_str(&match engine {
            "file" => format!("GPG_RECIPIENT {recipient}\nGPG_SIGNER {signer}\n"),
            _ => in_home(&home, &server.fingerprint, &user.fingerprint, engine),
        });
    }
    let world = World::new();
    let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\n";
    let settings = Settings::new(&world, conf, &access);
    let daemon = Daemon::start(&world, Maker::Original, &settings);
    let client = Client::new(&rc);
    for (way, port) in WAYS.into_iter().zip(2401u16..) {
        let name = port.to_string();
        let command = format!("/usr/bin/touch {}-{port}", touched.display());
        let [own, nat, local] = [port, port + 100, port + 200].map(|port| format!("tcp/{port}"));
        let timed = format!("udp/{port}");
        let messages: [(&[&str], String); 5] = [
            (&["-A", &own], format!("Added access rule to FWKNOP_INPUT for {CLIENT} -> 0.0.0.0/0 {own}")),
            (
                &["-A", &timed, "-f", "77"],
                format!("Added access rule to FWKNOP_INPUT for {CLIENT} -> 0.0.0.0/0 {timed}"),
            ),
            (
                &["-A", &nat, "-N", "10.1.2.3:22"],
                format!("Added DNAT rule to FWKNOP_PREROUTING for {CLIENT} -> 0.0.0.0/0 {nat}"),
            ),
            (
                &["-A", "tcp/22", "--nat-local", "--nat-port", &local[4..]],
                format!("Added DNAT rule to FWKNOP_PREROUTING for {CLIENT} -> 0.0.0.0/0 {local}"),
            ),
            (&["--server-cmd", &command], "Processing SPA Command message".into()),
        ];
        for (args, expected) in messages {
            let mark = daemon.logs.mark();
            client.knock(&world.client, Maker::Ours, &[&["-n", &name], args].concat());
            let understood = daemon.logs.wait_after(mark, &[&expected], PATIENCE);
            assert!(understood.is_some(), "{way:?} {args:?}; the daemon said:\n{}", daemon.logs.text());
        }
        let file = format!("{}-{port}", touched.display());
        assert!(within(PATIENCE, || std::path::Path::new(&file).exists()), "{way:?}: the command was not run");
    }
    daemon.stop();
}

fn stanza(port: u16, home: &Home, signers: &str) -> String {
    format!(
        "SOURCE ANY\nOPEN_PORTS tcp/{port}\nREQUIRE_SOURCE_ADDRESS Y\nHMAC_KEY tag-of-{port}\nGPG_HOME_DIR {}\n\
         GPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {signers}\n",
        home.path().display(),
    )
}

fn section(port: u16) -> String {
    format!(
        "[{port}]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nACCESS tcp/{port}\nHMAC_KEY tag-of-{port}\nUSE_GPG Y\n\
         GPG_NO_SIGNING_PW Y\n"
    )
}

fn in_home(home: &Home, to: &str, by: &str, engine: &str) -> String {
    format!("GPG_RECIPIENT {to}\nGPG_SIGNER {by}\nGPG_HOMEDIR {}\nGPG_ENGINE {engine}\n", home.path().display())
}
