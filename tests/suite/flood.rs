//! A hostile sender who knows the server's public key: messages that look right, by the thousand, each of which must be
//! decrypted to see that it is worthless. Whoever may come in still does.

use std::sync::OnceLock;
use std::time::Duration;

use fwknop::crypto::openpgp::Sealer;
use fwknop::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use fwknop::spa::{Digest, Message, RandomValue, Request, Username};
use fwknop::time::Timestamp;
use rustix::process::Signal;

use crate::daemon::savefile;
use crate::support::gpg::{Key, keys};
use crate::support::netns::{CLIENT, NEIGHBOUR, SERVER, SPA_PORT, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

/// The flood reaches a stanza without an HMAC; whoever has one does not notice.
#[test]
fn with_an_hmac_users_lose_nothing() {
    let siege = Siege::new(&[("", 2201), ("HMAC_KEY users\n", 2202), ("HMAC_KEY users\n", 2203)]);
    siege.flood(NEIGHBOUR, 1, 1000);
    siege.wait_for_busy(NEIGHBOUR);
    for port in [2202, 2203] {
        siege.knock(port);
        assert!(siege.world.v4().opens(port), "port {port} stays closed:\n{}", siege.daemon.logs.text());
    }
    siege.calm();
    assert_eq!(siege.count(CLIENT, &["reason=busy"]), 0, "a user was turned away");
    assert!(siege.count(NEIGHBOUR, &["reason=signer-not-listed"]) > 0, "the flood was not read at all");
}

#[test]
fn without_an_hmac_a_user_gets_a_turn_at_the_first_knock() {
    let siege = Siege::new(&[("", 2201), ("", 2202), ("", 2203)]);
    siege.flood(NEIGHBOUR, 1, 1000);
    siege.wait_for_busy(NEIGHBOUR);
    for port in [2201, 2202, 2203] {
        siege.knock(port);
        assert!(siege.world.v4().opens(port), "port {port} stays closed:\n{}", siege.daemon.logs.text());
    }
    siege.calm();
    assert_eq!(siege.count(CLIENT, &["reason=busy"]), 0, "a user was turned away");
}

/// One sends five times as much as the other, and both more than there is time for.
#[test]
fn two_senders_get_the_same_share() {
    let siege = Siege::new(&[("", 2201)]);
    siege.flood(CLIENT, 1, 300);
    siege.flood(NEIGHBOUR, 1, 1500);
    let read = |source| -> usize {
        ["reason=signer-not-listed", "reason=gpg-decrypt"].iter().map(|reason| siege.count(source, &[reason])).sum()
    };
    assert!(within(PATIENCE * 2, || read(CLIENT) + read(NEIGHBOUR) > 200), "{}", siege.daemon.logs.text());
    siege.calm();
    let (meek, greedy) = (read(CLIENT), read(NEIGHBOUR));
    assert!(greedy <= meek * 2 && meek <= greedy * 2, "{meek} of one were read, {greedy} of the other");
    assert!(siege.count(NEIGHBOUR, &["reason=busy"]) > greedy, "the flood was too small");
}

/// Each packet from another address, as whoever forges them sends it. Everybody has a chance at each try; and the daemon
/// does not grow.
#[test]
fn forged_sources_lock_nobody_out() {
    let siege = Siege::with_budget(50, &[("", 2201)]);
    let memory = siege.daemon.status("VmRSS");
    siege.world.client.run("ip", &["route", "add", "local", "100.64.0.0/15", "dev", "lo"]);
    siege.flood("100.64.0.1", 100_000, 1200);
    assert!(siege.daemon.logs.count_of(100, 0, &["src=100.", "reason=busy"], PATIENCE));
    let user = sealer(&keys().client_ed25519);
    let tries = (1..=600).find(|_| {
        siege.world.v4().send(sealed(&user).as_bytes());
        siege.daemon.logs.wait_after(0, &["open ", CLIENT], Duration::from_millis(100)).is_some()
    });
    assert!(tries.is_some(), "locked out:\n{}", siege.daemon.logs.text());
    assert!(siege.world.v4().opens(2201));
    siege.calm();
    let grown = siege.daemon.status("VmRSS").saturating_sub(memory);
    assert!(grown < 24 * 1024, "{grown} KiB more memory");
}

#[test]
fn signals_are_heard_in_a_flood() {
    let siege = Siege::new(&[("", 2201)]);
    siege.flood(NEIGHBOUR, 1, 1000);
    siege.wait_for_busy(NEIGHBOUR);
    let mark = siege.daemon.logs.mark();
    siege.daemon.signal(Signal::HUP);
    siege.daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
    siege.knock(2201);
    assert!(siege.world.v4().opens(2201), "after a reload:\n{}", siege.daemon.logs.text());
    // What waits then is dropped.
    siege.daemon.stop();
}

/// There is no hurry in reading a file: all of it is decided, in its order, and before the end.
#[test]
fn what_a_savefile_holds_is_never_too_much() {
    const HELD: usize = 300;
    let siege = Siege::with_budget(50, &[("", 2201)]);
    let mut payloads: Vec<Vec<u8>> = messages()[..HELD].iter().map(|text| text.clone().into_bytes()).collect();
    payloads.push(sealed(&sealer(&keys().client_ed25519)).into_bytes());
    let Siege { world, daemon, settings, .. } = &siege;
    daemon.signal(Signal::TERM);
    daemon.logs.expect(&["Gracefully leaving"]);
    let file = settings.path("flood.pcap");
    std::fs::write(&file, savefile(&payloads)).unwrap();
    let read = |more: &[&str]| {
        let args = [&["--test", "--pcap-file", file.to_str().expect("a plain path")], more].concat();
        let mut daemon = Daemon::launch(world, Maker::Ours, settings, &args);
        assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.logs.text());
        assert_eq!(daemon.logs.count(&["reason=busy"]), 0);
        (daemon.logs.count(&["refuse ", "reason=signer-not-listed"]), daemon.logs.count(&["open "]))
    };
    assert_eq!(read(&[]), (HELD, 1));
    assert_eq!(read(&["--packet-limit", "7"]), (7, 0));
}

/// A server whose key is known, and what somebody made for it beforehand.
struct Siege {
    world: World,
    daemon: Daemon,
    client: Client,
    settings: Settings,
    files: Scratch,
}

impl Siege {
    /// With so little time for strangers that a flood which any machine can make is far too much.
    fn new(stanzas: &[(&str, u16)]) -> Self {
        Self::with_budget(5, stanzas)
    }

    /// Stanzas for the same user, each with these settings and for one port.
    fn with_budget(percent: u32, stanzas: &[(&str, u16)]) -> Self {
        let (server, user) = (&keys().server_rsa, &keys().client_ed25519);
        let files = Scratch::new();
        let written = |name: &str, content: &str| files.write(name, content).display().to_string();
        let own = written("server.sec.asc", &server.secret);
        let (known, stranger) = (written("user.pub.asc", &user.public), written("x.pub.asc", &keys().stranger.public));
        let (recipient, signer) = (written("server.pub.asc", &server.public), written("user.sec.asc", &user.secret));
        let keyring = format!("GPG_KEY_FILES {own},{known},{stranger}\nGPG_ALLOW_NO_PW Y\n");
        let access = stanzas.iter().map(|(more, port)| {
            format!(
                "SOURCE ANY\nOPEN_PORTS tcp/{port}\n{keyring}GPG_FINGERPRINT_ID {}\n{more}FW_ACCESS_TIMEOUT 60\n",
                user.fingerprint
            )
        });
        let rc = stanzas.iter().map(|(more, port)| {
            format!(
                "[{port}]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nACCESS tcp/{port}\nUSE_GPG Y\nGPG_RECIPIENT {recipient}\n\
                 GPG_SIGNER {signer}\nGPG_NO_SIGNING_PW Y\n{more}"
            )
        });
        let client = Client::new(&rc.collect::<String>());
        files.write("messages", &messages().join("\n"));

        let world = World::new();
        world.serve(&stanzas.iter().map(|(_, port)| *port).collect::<Vec<_>>());
        world.drop_by_nftables();
        // All refusals are written.
        let conf = format!("GPG_BUDGET {percent};\nVERBOSE 1;\n");
        let settings = Settings::new(&world, &conf, &access.collect::<String>());
        let daemon = Daemon::start(&world, Maker::Ours, &settings);
        Self { world, daemon, client, settings, files }
    }

    /// So many packets a second, from this address and those after it.
    fn flood(&self, first: &str, sources: u32, rate: u32) {
        let messages = self.files.join("messages");
        self.world.client.ask(&format!("flood {first} {sources} {rate} {SERVER}:{SPA_PORT} {}", messages.display()));
    }

    fn calm(&self) {
        self.world.client.ask("calm");
    }

    fn wait_for_busy(&self, source: &str) {
        let src = format!("src={source} ");
        self.daemon.logs.expect(&["refuse", &src, "reason=busy"]);
    }

    fn knock(&self, port: u16) {
        self.client.knock(&self.world.client, Maker::Ours, &["-n", &port.to_string()]);
    }

    /// Lines about this source.
    fn count(&self, source: &str, words: &[&str]) -> usize {
        let src = format!("src={source} ");
        self.daemon.logs.count(&[&[src.as_str()], words].concat())
    }
}

/// What the hostile sender has made beforehand: each is good for one decryption and the check of one signature.
fn messages() -> &'static [String] {
    static MESSAGES: OnceLock<Vec<String>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let sealer = sealer(&keys().stranger);
        (0..1000).map(|_| sealed(&sealer)).collect()
    })
}

fn sealer(signer: &Key) -> SequoiaSealer {
    let file = |data| KeyFile { data, wanted: None, place: "keys" };
    let recipient = file(keys().server_rsa.public.as_bytes());
    SequoiaSealer::new(recipient, Some((file(signer.secret.as_bytes()), None)), Timestamp::now()).unwrap()
}

/// A request for port 2201, without an HMAC.
fn sealed(sealer: &SequoiaSealer) -> String {
    let message = Message {
        random: RandomValue::generate().unwrap(),
        user: Username::new("user").unwrap(),
        time: Timestamp::from_secs(Timestamp::now().secs()),
        version: "3.0.0".into(),
        request: Request::Access { allow: CLIENT.parse().unwrap(), ports: "tcp/2201".parse().unwrap() },
        server_auth: None,
        timeout: None,
        digest: Digest::Sha256,
    };
    let binary = sealer.seal(message.encode().unwrap().expose()).unwrap();
    fwknop::crypto::seal::openpgp(binary, None).unwrap().to_string()
}
