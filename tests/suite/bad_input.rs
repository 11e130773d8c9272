//! What a stranger can send, and what an administrator can get wrong: the daemon lives, and nothing opens.

use std::time::Duration;

use crate::support::gpg::{Home, keys};
use crate::support::netns::{CLIENT, SERVER};
use crate::support::peers::{Client, Daemon, Maker};
use crate::support::random::Random;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};
use crate::support::{PATIENCE, within};

#[test]
fn ten_thousand_mutated_packets_change_nothing() {
    let scene = Scene::new(2);
    scene.world.record(62201);
    let mut daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    scene.closes_on_time(PORT, knocked, Duration::from_secs(2));
    daemon.logs.expect(&["close", "reason=expired"]);
    let model = scene.world.recorded().remove(0);
    let ruleset = scene.ruleset();
    let memory = daemon.status("VmRSS");

    let mut random = Random::new(0x5eed_cafe_f00d_d00d);
    for _ in 0..10_000 {
        scene.road().send(&mutate(&model, &mut random));
    }
    // The daemon has read them all when it has answered this one, which comes last.
    let end = Daemon::caught_up(&scene, &daemon);
    assert!(end, "the daemon does not answer any more:\n{}", daemon.logs.text());
    assert!(daemon.lives());
    let seen = daemon.refused();
    assert!(seen > 9_000, "only {seen} of 10,000 packets were seen at all:\n{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["open ", "grant="]), 2, "only genuine knocks were granted");
    let grown = daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more memory after 10,000 packets");

    let closed = daemon.logs.count(&["close", "reason=expired"]);
    assert!(closed >= 1);
    assert!(scene.road().closes(PORT, Duration::from_secs(6)).is_some());
    within(Duration::from_secs(5), || scene.ruleset() == ruleset);
    assert_eq!(scene.ruleset(), ruleset, "the firewall has changed");
    daemon.stop();
}

/// Behind no HMAC every one of these gets as far as OpenPGP.
#[test]
fn mutated_openpgp_packets_change_nothing() {
    let scene = Scene::new(2);
    let client = Home::of(&[&keys().client_rsa], &[&keys().server_rsa]);
    let server = Home::of(&[&keys().server_rsa], &[&keys().client_rsa]);
    let stanza = format!(
        "SOURCE ANY\nOPEN_PORTS tcp/{OTHER_PORT}\nGPG_HOME_DIR {}\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {}\n\
         FW_ACCESS_TIMEOUT 2\n",
        server.path().display(),
        keys().client_rsa.fingerprint
    );
    scene.settings.rewrite("VERBOSE 1;\nGPG_BUDGET 400;\n", &format!("{}{stanza}", access(PORT, 2)));
    let knocker = Client::new(&format!(
        "[gpg]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nACCESS tcp/{OTHER_PORT}\nUSE_GPG Y\nGPG_HOMEDIR {}\n\
         GPG_RECIPIENT {}\nGPG_SIGNER {}\nGPG_NO_SIGNING_PW Y\n",
        client.path().display(),
        keys().server_rsa.fingerprint,
        keys().client_rsa.fingerprint
    ));
    scene.world.record(62201);
    let mut daemon = scene.daemon();
    knocker.knock(&scene.world.client, Maker::Original, &["-n", "gpg"]);
    assert!(scene.road().opens(OTHER_PORT), "{}", daemon.logs.text());
    let model = scene.world.recorded().remove(0);
    let memory = daemon.status("VmRSS");

    let mut random = Random::new(0xdead_10cc_0bad_cafe);
    // No more at once than one source may have waiting, so that all of them are read.
    for sent in (0..1000).step_by(8) {
        for _ in 0..8 {
            scene.road().send(&flip(&model, &mut random));
        }
        assert!(within(PATIENCE, || daemon.refused() >= sent + 8), "no answer any more:\n{}", daemon.logs.text());
    }
    assert_eq!(daemon.logs.count(&["reason=busy"]), 0);
    assert!(Daemon::caught_up(&scene, &daemon), "no answer any more:\n{}", daemon.logs.text());
    assert!(daemon.lives());
    assert_eq!(daemon.logs.count(&["open ", "stanza=2"]), 1, "only the genuine knock was granted");
    let grown = daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more memory");
    daemon.stop();
}

/// One to four characters exchanged: the shape stays, and most often the session key as well.
fn flip(model: &[u8], random: &mut Random) -> Vec<u8> {
    let mut packet = model.to_vec();
    while packet == model {
        for _ in 0..=random.below(4) {
            let at = random.below(packet.len());
            packet[at] = ALPHABET[random.below(ALPHABET.len())];
        }
    }
    packet
}

impl Daemon {
    /// A genuine knock after a flood: heard when everything before it was dealt with.
    fn caught_up(scene: &Scene, daemon: &Daemon) -> bool {
        let mark = daemon.logs.mark();
        scene.knock(PORT);
        daemon.logs.wait_after(mark, &["open ", "grant="], Duration::from_secs(30)).is_some()
            && scene.road().opens(PORT)
    }

    /// Refusals written to the journal, and those it only counted.
    fn refused(&self) -> usize {
        let number = |line: &str| line.strip_prefix("refuse  suppressed=")?.parse::<usize>().ok();
        let counted: usize = self.logs.text().lines().filter_map(number).sum();
        counted + self.logs.count(&["refuse ", "src=", "reason="])
    }
}

/// Bits flipped, pieces cut, doubled, exchanged; other text, other lengths. Never the packet itself.
fn mutate(model: &[u8], random: &mut Random) -> Vec<u8> {
    let mut packet = model.to_vec();
    while packet == model {
        for _ in 0..=random.below(3) {
            let at = random.below(packet.len().max(1));
            match random.below(8) {
                0 if !packet.is_empty() => packet[at] ^= 1 << random.below(8),
                1 if !packet.is_empty() => packet[at] = ALPHABET[random.below(ALPHABET.len())],
                2 => packet.truncate(at),
                3 => packet.extend_from_within(at..),
                4 => packet.splice(at..at, b"U2FsdGVkX1".iter().copied()).for_each(drop),
                5 => packet.reverse(),
                6 => packet.splice(..0, b"GET /".iter().copied()).for_each(drop),
                _ => {
                    packet = {
                        let length = random.below(1472);
                        random.bytes(length)
                    }
                }
            }
            packet.truncate(1472);
        }
    }
    packet
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The table of all mistakes is in `config.rs`; here, that they reach the terminal before anything is changed.
#[test]
fn mistakes_are_told_on_the_terminal_with_file_and_line() {
    let scene = Scene::new(2);
    let ruleset = scene.ruleset();
    let broken = [
        ("", "SOURCE ANY\nKEY abc\nopen_ports tcp/22\n", "access.conf:3:", "open_ports"),
        ("", "SOURCE ANY\nKEY abc\nOPEN_PORTS tcp/70000\n", "access.conf:3:", "tcp/70000"),
        ("", "SOURCE 10.0.0.300\nKEY abc\n", "access.conf:1:", "10.0.0.300"),
        ("", "SOURCE ANY\nKEY __CHANGEME__\n", "access.conf:2:", "KEY"),
        ("\nMAX_SPA_PACKET_AGE 0;\n", "", "fwknopd.conf:3:", "MAX_SPA_PACKET_AGE"),
        ("ENABLE_PCAP_PROMSIC Y;\n", "", "fwknopd.conf:2:", "ENABLE_PCAP_PROMSIC"),
    ];
    for foreground in [true, false] {
        for (conf, stanza, place, word) in &broken {
            let stanza = if stanza.is_empty() { access(PORT, 2) } else { (*stanza).to_owned() };
            scene.settings.rewrite(conf, &stanza);
            let (output, said) = scene.control(if foreground { &["-f"] } else { &[] });
            assert_eq!(output.status.code(), Some(1), "{word}: {said}");
            let told = said.lines().any(|line| line.contains(place) && line.contains(word));
            assert!(told, "nothing about {word} at {place} in:\n{said}");
        }
    }
    assert_eq!(scene.ruleset(), ruleset, "nothing was changed");
    assert!(!scene.settings.pid_file().exists());
}

#[test]
fn all_mistakes_are_told_at_once() {
    let scene = Scene::new(2);
    scene
        .settings
        .rewrite("MAX_SPA_PACKET_AGE 0;\nVERBOSE loud;\n", "SOURCE ANY\nKEY abc\nOPEN_PORTS tcp/0\nFOO bar\n");
    let (output, said) = scene.control(&["-f"]);
    assert_eq!(output.status.code(), Some(1));
    for place in ["fwknopd.conf:2:", "fwknopd.conf:3:", "access.conf:3:", "access.conf:4:"] {
        assert!(said.contains(place), "nothing about {place} in:\n{said}");
    }
}
