//! Through the running daemon. Each vector has a source address of its own, and its stanza is for that address alone, so
//! that no stanza takes a packet meant for another; the verdict is read from the journal.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use etherparse::PacketBuilder;
use serde_json::Value;

use super::case::{self, Case, Verdict};
use crate::openpgp::vectors::receiver_files;
use crate::support::gpg::Home;
use crate::support::netns::{SPA_PORT, World};
use crate::support::peers::{Daemon, Maker, READY, Settings};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

const PLAIN: &str = "ENABLE_SPA_PACKET_AGING N;\nENABLE_SPA_OVER_HTTP Y;\nENABLE_X_FORWARDED_FOR Y;\n";
pub const CONF: &str = "ENABLE_SPA_PACKET_AGING N;\nENABLE_SPA_OVER_HTTP Y;\nENABLE_X_FORWARDED_FOR Y;\n\
                        ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\n";

/// Stanzas that our configuration refuses: they are judged by the library test, and would stop the daemon. (gpg reads the
/// first of them: see below.)
pub const NOT_LOADED: [&str; 5] = [
    "a-gpg-elg2048-signed",
    "a-gpg-unknown-signer",
    "a-gpg-unknown-signer-ignored",
    "a-gpg-server-passphrase-wrong",
    "a-gpg-server-passphrase-none",
];

#[test]
fn the_daemon_decides_alike_on_what_a_socket_brings() {
    let homes = Homes::new();
    let cases = cases();
    let keyring = |case: &Case| {
        let home = if case.passphrase.is_some() { &homes.locked } else { &homes.open };
        format!("GPG_HOME_DIR {}\n", home.path().display())
    };
    let world = World::new();
    let settings = Settings::new(&world, CONF, &access(&cases, keyring)).interface(None);
    let daemon = Daemon::launch(&world, Maker::Ours, &settings, &["--test", "-v", "--udp-server"]);
    daemon.logs.expect(&["Starting fwknopd main event loop."]);
    for (source, case) in &cases {
        world.server.send(IpAddr::V4(*source), (Ipv4Addr::LOCALHOST.into(), 62201), &case.payload);
        daemon.logs.expect(&[&format!("src={source} ")]);
    }
    assert_eq!(cases.len(), case::PACKETS - 1 - NOT_LOADED.len());
    check(&cases, &daemon.logs.text(), REPLAYS, Case::fits);
    daemon.stop();
}

#[test]
fn the_daemon_decides_alike_on_what_a_savefile_holds() {
    let cases = cases();
    // Here from files: with the same keys, the same verdicts.
    let files: Vec<String> = receiver_files().iter().map(|file| file.display().to_string()).collect();
    let keyring = |_: &Case| format!("GPG_KEY_FILES {}\n", files.join(","));
    let dir = Scratch::new();
    let conf = dir.write("fwknopd.conf", &format!("FWKNOP_RUN_DIR {};\n{CONF}", dir.join("run").display()));
    let access = dir.write("access.conf", &access(&cases, keyring));
    let capture = dir.join("all.pcap");
    fs::write(&capture, savefile(&cases)).unwrap();
    let output = Command::new(Maker::Ours.daemon())
        .args(["-f", "-t", "-v", "--pcap-filter", "udp"])
        .args([Path::new("-c"), &conf, Path::new("-a"), &access, Path::new("--pcap-file"), &capture])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(cases.len(), case::PACKETS - 1 - NOT_LOADED.len());
    check(&cases, &said, REPLAYS, Case::fits);
}

/// NAT and commands are off unless somebody switches them on: then the original refuses these vectors for the same reason
/// as we.
#[test]
fn what_is_switched_off_is_refused_by_both() {
    let mut cases = cases();
    cases.retain(|_, case| case.switch().is_some() && !case.stanza.contains("GPG_"));
    assert_eq!(cases.len(), SWITCHED_OFF);
    for case in cases.values_mut() {
        case.stanza = case.stanza.replace("ENABLE_CMD_EXEC Y\n", "");
    }
    for (maker, ready) in [(Maker::Original, "Kicking off UDP server"), (Maker::Ours, READY)] {
        let world = World::new();
        let settings = Settings::new(&world, PLAIN, &access(&cases, |_| String::new())).interface(None);
        let daemon = Daemon::launch(&world, maker, &settings, &["--udp-server", "--test", "-v"]);
        daemon.logs.expect(&[ready]);
        // The original says so before it listens.
        let socket = format!(":{:04X} ", SPA_PORT);
        let listens = || world.server.run("cat", &["/proc/net/udp", "/proc/net/udp6"]).contains(&socket);
        assert!(within(PATIENCE, listens), "{maker:?} does not listen");
        for (source, case) in &cases {
            world.server.send(IpAddr::V4(*source), (Ipv4Addr::LOCALHOST.into(), 62201), &case.payload);
            let ours = [format!("src={source} "), format!("reason={}", case.switch().unwrap())];
            let original = match case.switch() {
                Some("nat-disabled") => [format!("SPA packet from {source} requested NAT access, but"), String::new()],
                _ => [format!("[{source}]"), "SPA Command messages are not allowed".to_owned()],
            };
            // What is no NAT request at all to us is refused before.
            let expected = match maker {
                Maker::Original => original,
                Maker::Ours if case.lenient => [format!("src={source} "), "refuse".to_owned()],
                Maker::Ours => ours,
            };
            daemon.logs.expect(&[&*expected[0], &*expected[1]]);
        }
        daemon.stop();
    }
}

/// All OpenPGP vectors once more, read by gpg: it has ElGamal as well, and does not know a wrong passphrase at start.
#[test]
fn the_daemon_decides_alike_when_gpg_reads() {
    decides_alike("GPG_ENGINE gpgme;\n", &UNRESOLVED);
}

/// And with the secret keys left to gpg-agent, which has ElGamal as well.
#[test]
fn the_daemon_decides_alike_when_the_agent_decrypts() {
    // A key that the passphrase given does not unlock cannot be named in GPG_DECRYPT_ID.
    decides_alike("GPG_SECRET_KEYS agent;\n", &[&UNRESOLVED[..], &["a-gpg-server-passphrase-wrong"]].concat());
}

const UNRESOLVED: [&str; 2] = ["a-gpg-unknown-signer", "a-gpg-unknown-signer-ignored"];

fn decides_alike(conf: &str, not_loaded: &[&str]) {
    let homes = Homes::new();
    let cases = case::load("gpg").into_iter().filter(|case| !not_loaded.contains(&case.id.as_str()));
    let cases: BTreeMap<_, _> = numbered(cases).collect();
    // Passphrases are kept apart, because an agent remembers a right one.
    let locked = [receiver(true), receiver(true)];
    let keyring = |case: &Case| {
        let home = match case.id.as_str() {
            "a-gpg-server-passphrase-wrong" => &locked[0],
            "a-gpg-server-passphrase-none" => &locked[1],
            _ if case.passphrase.is_some() => &homes.locked,
            _ => &homes.open,
        };
        format!("GPG_HOME_DIR {}\n", home.path().display())
    };
    let world = World::new();
    let settings = Settings::new(&world, &format!("{CONF}{conf}"), &access(&cases, keyring)).interface(None);
    let daemon = Daemon::launch(&world, Maker::Ours, &settings, &["--test", "-v", "--udp-server"]);
    daemon.logs.expect(&["Starting fwknopd main event loop."]);
    for (source, case) in &cases {
        world.server.send(IpAddr::V4(*source), (Ipv4Addr::LOCALHOST.into(), 62201), &case.payload);
        daemon.logs.expect(&[&format!("src={source} ")]);
    }
    check(&cases, &daemon.logs.text(), GPG_REPLAYS, Case::fits_with_gpg);
    daemon.stop();
}

/// All vectors with an address each. An empty datagram is no packet to anybody.
fn cases() -> BTreeMap<Ipv4Addr, Case> {
    let cases = case::FILES.iter().flat_map(|file| case::load(file));
    let cases = cases.filter(|case| !case.payload.is_empty() && !NOT_LOADED.contains(&case.id.as_str()));
    numbered(cases).collect()
}

fn numbered(cases: impl Iterator<Item = Case>) -> impl Iterator<Item = (Ipv4Addr, Case)> {
    (0u32..).map(|n| Ipv4Addr::from(0x7f01_0001 + n)).zip(cases)
}

/// Some vectors hold the same message twice, under another frame: the second is a replay, and must be found to be one.
fn check(cases: &BTreeMap<Ipv4Addr, Case>, journal: &str, expected: usize, fits: impl Fn(&Case, Verdict) -> bool) {
    let mut wrong = Vec::new();
    let mut taken: Vec<&Value> = Vec::new();
    let mut replays = 0;
    for (source, case) in cases {
        let verdict = journal.lines().find_map(|line| verdict(line, *source));
        let is_replay = !case.fields.is_null() && taken.contains(&&case.fields);
        let right = match &verdict {
            None => false,
            Some(None) if is_replay => false,
            Some(Some(reason)) if reason == "replay" => is_replay,
            Some(refused) => fits(case, Verdict::of(refused.as_deref())),
        };
        if !right {
            wrong.push(format!("{} ({source}): {verdict:?}", case.id));
        }
        replays += usize::from(verdict == Some(Some("replay".into())));
        let understood = verdict.is_some_and(|refused| Verdict::of(refused.as_deref()) == Verdict::Accept);
        taken.extend(understood.then_some(&case.fields));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(replays, expected);
}

/// So many vectors hold a message that an earlier one holds as well.
const REPLAYS: usize = 16;
const SWITCHED_OFF: usize = 38;
const GPG_REPLAYS: usize = 11;

/// `Some(None)`: opened. `Some(Some(reason))`: refused.
fn verdict(line: &str, source: Ipv4Addr) -> Option<Option<String>> {
    let word = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key));
    let ours = word("src=") == Some(&source.to_string());
    match line.split(' ').next()? {
        "open" | "run" if ours => Some(None),
        "refuse" if ours => Some(word("reason=").map(str::to_owned)),
        _ => None,
    }
}

/// GnuPG homes with all keys of the receiver: one for each passphrase that a stanza gives.
struct Homes {
    open: Home,
    locked: Home,
}

impl Homes {
    fn new() -> Self {
        Self { open: receiver(false), locked: receiver(true) }
    }
}

fn access(cases: &BTreeMap<Ipv4Addr, Case>, keyring: impl Fn(&Case) -> String) -> String {
    let mut text = String::new();
    for (source, case) in cases {
        text.push_str(&format!("SOURCE {source}\n{}", case.stanza));
        if case.stanza.contains("GPG_") {
            text.push_str(&keyring(case));
        }
    }
    text
}

/// The protected key goes into a home of its own: where no passphrase is given its owner would be warned about it.
fn receiver(locked: bool) -> Home {
    let home = Home::new();
    for file in receiver_files() {
        let protected = file.file_name().unwrap().to_string_lossy().contains("-pw");
        if locked || !protected {
            home.import(&fs::read_to_string(file).unwrap());
        }
    }
    home
}

/// A capture of link type "raw IP".
fn savefile(cases: &BTreeMap<Ipv4Addr, Case>) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    const MAGIC: u32 = 0xa1b2_c3d4;
    let mut file = Vec::new();
    file.extend(MAGIC.to_le_bytes());
    file.extend([2u16, 4].iter().flat_map(|part| part.to_le_bytes()));
    file.extend([0u32, 0, 65535, RAW_IP].iter().flat_map(|part| part.to_le_bytes()));
    for (source, case) in cases {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ipv4(source.octets(), Ipv4Addr::LOCALHOST.octets(), 64).udp(40_000, 62201);
        builder.write(&mut frame, &case.payload).unwrap();
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([0, 0, length, length].iter().flat_map(|part| part.to_le_bytes()));
        file.extend(frame);
    }
    file
}
