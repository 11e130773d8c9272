//! Our packets and the daemon of the original: every kind of key on either side, and every kind of message.

use std::fs;

use fwknop::crypto::openpgp::sequoia::About;
use fwknop::crypto::openpgp::size::{ONE_DATAGRAM, Pair};
use fwknop::crypto::openpgp::{Fingerprint, Role};
use fwknop::time::Timestamp;

use super::running;
use super::specimens::{PASSPHRASE, Specimen, home, specimen, specimens};
use crate::openpgp::settings::letters::knock;
use crate::support::gpg::{Home, keys};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, Settings, said};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

/// Each key as the server's with one client, and as the client's with one server, as in the matrix of engines.
#[test]
fn what_we_seal_the_original_opens() {
    let (server, client) = (specimen("sequoia-cv25519"), specimen("gpg-cv25519"));
    let to_each = specimens().iter().map(|to| (to, client));
    let by_each = open().map(|by| (server, by));
    let pairs: Vec<_> = to_each.chain(by_each).zip(2301u16..).collect();
    assert_eq!(pairs.len(), 22 + 19);

    let (home, locked) = (trusting(false), trusting(true));
    // Or gpg would not take the passphrase from the original.
    fs::write(locked.path().join("gpg.conf"), "pinentry-mode loopback\n").expect("our own home");
    let files = Scratch::new();
    let (mut access, mut rc) = (String::new(), String::new());
    for ((to, by), port) in &pairs {
        let signers = signing(by);
        let given = format!("GPG_DECRYPT_PW {PASSPHRASE}");
        access.push_str(&match to.is_locked() {
            true => stanza(*port, &locked, &signers).replace("GPG_ALLOW_NO_PW Y", &given),
            false => stanza(*port, &home, &signers),
        });
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

/// Of two large keys: the longest packet of each pair, without an HMAC.
const TOO_LONG: [(&str, &[&str]); 5] = [
    ("gpg-dsa2048-elg2048", &["gpg-rsa3072", "gpg-rsa4096", "sequoia-rsa3072", "sequoia-rsa4096"]),
    ("gpg-rsa3072", &["gpg-rsa4096", "sequoia-rsa4096"]),
    ("gpg-rsa4096", &["gpg-rsa3072", "gpg-rsa4096", "sequoia-rsa3072", "sequoia-rsa4096"]),
    ("sequoia-rsa3072", &["gpg-rsa4096", "sequoia-rsa4096"]),
    ("sequoia-rsa4096", &["gpg-rsa3072", "gpg-rsa4096", "sequoia-rsa3072", "sequoia-rsa4096"]),
];

/// A packet that comes in pieces, or has 1500 characters, is lost on the original: our client knows that, and so do we
/// that nothing else is refused.
#[test]
fn what_is_too_long_for_the_original_is_not_sent() {
    let too_long: Vec<(&Specimen, Vec<&Specimen>)> = open()
        .map(|to| (to, open().filter(|by| characters(to, by) > ONE_DATAGRAM).collect()))
        .filter(|(_, by): &(_, Vec<_>)| !by.is_empty())
        .collect();
    let name = |by: &&Specimen| by.name.clone();
    let names: Vec<_> = too_long.iter().map(|(to, by)| (&*to.name, by.iter().map(name).collect::<Vec<_>>())).collect();
    assert_eq!(names, TOO_LONG.map(|(to, by)| (to, by.iter().map(|name| (*name).to_owned()).collect())));

    let home = trusting(false);
    let signers: Vec<String> = open().map(signing).collect();
    let (access, tag) = (stanza(22, &home, &signers.join(",")), "HMAC_KEY tag-of-22\n");
    let access = access.replace(tag, "").replace("OPEN_PORTS tcp/22\nREQUIRE_SOURCE_ADDRESS Y\n", "");
    let world = World::new();
    let settings = Settings::new(&world, "ENABLE_SPA_PACKET_AGING N;\n", &access);
    let daemon = Daemon::start(&world, Maker::Original, &settings);
    let pairs = too_long.iter().flat_map(|(to, by)| by.iter().map(|by| (*to, *by)));
    for (to, by) in pairs {
        let in_home = in_home(&home, &to.primary.to_string(), &by.primary.to_string(), "gpgme");
        let client = Client::new(&(section(22).replace(tag, "") + &in_home));
        let refused = client.try_knock(&world.client, Maker::Ours, &["-n", "22"]);
        let told = said(&refused);
        assert!(
            !refused.status.success() && told.contains("arrive in one piece\n     "),
            "{} to {}: {told}",
            by.name,
            to.name
        );
        world.v4().send(running::packet(&home, to, by).as_bytes());
    }
    // The daemon takes one after the other, so this one comes last; and the stanza is a good one.
    let (to, by) = (specimen("gpg-rsa4096"), specimen("gpg-rsa2048"));
    world.v4().send(running::packet(&home, to, by).as_bytes());
    let taken = ["Added access rule to FWKNOP_INPUT for "];
    assert!(daemon.logs.wait_after(0, &taken, PATIENCE).is_some(), "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&taken), 1, "{}", daemon.logs.text());
    daemon.stop();
}

/// What our client says of a packet with the shortest request.
fn characters(to: &Specimen, by: &Specimen) -> usize {
    let kind = |specimen: &Specimen, role| {
        let about = About::read(specimen.public.as_bytes(), Timestamp::now()).remove(0);
        let kind =
            |key: &Fingerprint| about.keys.iter().find(|about| about.fingerprint == *key).and_then(|key| key.kind);
        match role {
            Role::Recipient => kind(&specimen.encrypts),
            Role::Signer => specimen.sign.iter().filter_map(kind).next_back(),
        }
    };
    let recipient = kind(to, Role::Recipient).expect("a kind with a size");
    Pair { recipient, signer: kind(by, Role::Signer) }.characters(knock().len(), None)
}

fn open() -> impl Iterator<Item = &'static Specimen> {
    specimens().iter().filter(|specimen| !specimen.is_locked())
}

/// A home that knows everybody. The original wants keys that are certified, or trusted without.
fn trusting(locked: bool) -> Home {
    let home = home(locked);
    home.import(&specimens().iter().map(|specimen| specimen.public.as_str()).collect::<String>());
    let trust: String = specimens().iter().map(|specimen| format!("{}:6:\n", specimen.primary)).collect();
    home.feed(&["--import-ownertrust"], &trust);
    home
}

/// The original compares with the key that signed, not with its certificate.
fn signing(by: &Specimen) -> String {
    by.sign.iter().map(Fingerprint::to_string).collect::<Vec<_>>().join(",")
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
