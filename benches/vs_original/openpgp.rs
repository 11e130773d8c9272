//! Signed knocks, junk at a server that takes nothing else, a team, and the client.

use std::cell::Cell;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fwknop::crypto::hmac::HmacAuth;
use fwknop::crypto::openpgp::Sealer;
use fwknop::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use fwknop::crypto::seal;
use fwknop::spa::Plaintext;
use fwknop::time::Timestamp;
use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CipherSuite};
use pgp::serialize::SerializeInto as _;

use crate::support::gpg::{Home, Key, keys};
use crate::support::netns::{SPA_PORT, World};
use crate::support::peers::{Daemon, Maker, Settings};
use crate::support::scratch::Scratch;
use crate::support::within;
use crate::{Bench, Kind, Row, Unit, access, cpu, millis, ms, per_second, plaintext};

pub fn rows() -> Vec<Row> {
    let both = |kind, count| {
        move |maker| {
            let count = if maker == Maker::Ours { count * 10 } else { count };
            let taken = Bench::new(maker, kind).knocks(count);
            [taken.per_second, taken.cpu_each]
        }
    };
    let rsa = [("OpenPGP RSA-2048 knocks per second", per_second as Unit), ("  CPU per knock", ms)];
    let curve = [("OpenPGP Curve25519 knocks per second", per_second as Unit), ("  CPU per knock", ms)];
    let users = [("CPU per knock, 1 user", ms as Unit), ("CPU per knock, the last of 200 users", ms)];
    let mut rows = Vec::new();
    rows.extend(Row::two(rsa, both(Kind::Rsa, 60)));
    rows.extend(Row::two(curve, both(Kind::Curve, 60)));
    rows.extend(Row::two(users, |maker| [1, USERS].map(|users| among(maker, users))));
    rows.push(Row::of("CPU per junk packet, OpenPGP only", ms, |maker| junk(maker, Junk::Random)));
    rows.push(Row::of("  shaped as OpenPGP for another key", ms, |maker| junk(maker, Junk::Foreign)));
    rows.push(Row::of("run of the client, key in gpg-agent", ms, client));
    rows
}

/// For whoever signs with this key, without an HMAC.
pub fn stanza(home: &Home, client: &Key) -> String {
    stanza_for(home, &client.fingerprint)
}

fn stanza_for(home: &Home, fingerprint: &str) -> String {
    format!(
        "SOURCE ANY\nGPG_HOME_DIR {}\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {fingerprint}\nFW_ACCESS_TIMEOUT 60\n",
        home.path().display()
    )
}

pub fn sealed(server: &Key, client: &Key, plaintext: &Plaintext, hmac: Option<&HmacAuth>) -> String {
    let server = KeyFile { data: server.public.as_bytes(), wanted: None, place: "the server's key" };
    let client = KeyFile { data: client.secret.as_bytes(), wanted: None, place: "the client's key" };
    let sealer = SequoiaSealer::new(server, Some((client, None)), Timestamp::now()).expect("usable keys");
    let message = sealer.seal(plaintext.expose()).expect("a message");
    seal::openpgp(message, hmac).expect("a packet").to_string()
}

const USERS: usize = 200;

/// A stanza for each user; the last of them knocks. Without HMAC keys, so that the original gets as far as gpg each time.
fn among(maker: Maker, users: usize) -> f64 {
    let (server, client) = (&keys().server_cv25519, &keys().client_ed25519);
    let home = Home::of(&[server], &[client]);
    let mut others = Vec::new();
    let mut access = String::new();
    for number in 1..users {
        let user = format!("user{number} <user{number}@example.org>");
        let cert = CertBuilder::general_purpose([user]).set_cipher_suite(CipherSuite::Cv25519).generate();
        let cert = cert.expect("a certificate").0;
        access.push_str(&stanza_for(&home, &cert.fingerprint().to_hex()));
        others.extend(cert.armored().to_vec().expect("armor"));
    }
    if !others.is_empty() {
        home.import(&String::from_utf8(others).expect("armor is text"));
    }
    access.push_str(&stanza(&home, client));
    let running = Running::new(maker, &access, home);
    let count: u16 = if maker == Maker::Original && users > 1 { 2 } else { 40 };
    running.cpu_of(count.into(), &|| {
        for number in 0..count {
            running.knock(number);
        }
    })
}

#[derive(Clone, Copy)]
enum Junk {
    Random,
    Foreign,
}

/// What strangers' packets cost a server that takes OpenPGP without HMAC.
fn junk(maker: Maker, kind: Junk) -> f64 {
    let home = Home::of(&[&keys().server_cv25519], &[&keys().client_ed25519]);
    let access = stanza(&home, &keys().client_ed25519);
    let running = Running::new(maker, &access, home);
    let packets: Vec<String> = (0..200).map(|number| kind.packet(number)).collect();
    let rate = if maker == Maker::Original { 100 } else { 10_000 };
    // The knock behind them tells when they have been dealt with; its own cost is taken off.
    let one = running.cpu_of(1, &|| running.knock(0));
    let sent = Cell::new(0);
    let all = running.cpu_of(1, &|| {
        sent.set(running.flood(&packets, rate));
        running.knock(1);
    });
    (all - one) / f64::from(sent.get())
}

impl Junk {
    /// Each unlike the others, or it would be refused as known.
    fn packet(self, number: u16) -> String {
        match self {
            Junk::Random => {
                let mut state = u64::from(number) + 1;
                let mut next = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    char::from(
                        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 58) as usize],
                    )
                };
                (0..600).map(|_| next()).collect()
            }
            Junk::Foreign => {
                let plaintext = plaintext(number.into(), access("tcp/22"));
                sealed(&keys().stranger, &keys().client_ed25519, &plaintext, None)
            }
        }
    }
}

/// A daemon with stanzas of its own. The order is that of ending.
struct Running {
    daemon: Daemon,
    world: World,
    home: Home,
    _settings: Settings,
}

impl Running {
    fn new(maker: Maker, access: &str, home: Home) -> Self {
        let world = World::new();
        match maker {
            Maker::Ours => world.drop_by_nftables(),
            Maker::Original => world.drop_by_iptables(),
        }
        let settings = Settings::new(&world, "", access);
        let daemon = Daemon::start(&world, maker, &settings);
        Self { daemon, world, home, _settings: settings }
    }

    /// Until it is granted.
    fn knock(&self, number: u16) {
        let plaintext = plaintext(number.into(), access(&format!("tcp/{}", crate::FIRST_PORT + number)));
        let packet = sealed(&keys().server_cv25519, &keys().client_ed25519, &plaintext, None);
        let granted = || self.daemon.logs.count(&["Added access rule"]);
        let before = granted();
        self.world.v4().send(packet.as_bytes());
        let patience = Duration::from_secs(60);
        assert!(within(patience, || granted() > before), "no grant; the daemon said:\n{}", self.daemon.logs.text());
    }

    /// For a second, so many in each. How many were sent.
    fn flood(&self, packets: &[String], rate: u32) -> u32 {
        let texts = Scratch::new();
        texts.write("texts", &packets.join("\n"));
        let road = self.world.v4();
        let to = SocketAddr::from((road.server, SPA_PORT));
        self.world.client.ask(&format!("flood {} 1 {rate} {to} {}", road.client, texts.join("texts").display()));
        std::thread::sleep(Duration::from_secs(1));
        self.world.client.ask("calm").parse().expect("a number")
    }

    /// Milliseconds of processor time for each of so many.
    fn cpu_of(&self, count: u32, work: &dyn Fn()) -> f64 {
        let cpu = || cpu::of_daemon(self.daemon.pid(), Some(self.home.path()));
        let before = cpu();
        work();
        millis(cpu() - before) / f64::from(count)
    }
}

/// From start to exit, sending over the loopback; the median.
fn client(maker: Maker) -> f64 {
    const ROUNDS: usize = 15;
    let (server, own) = (&keys().server_cv25519, &keys().client_ed25519);
    let home = Home::of(&[own], &[server]);
    let rc = Scratch::new();
    rc.write(
        ".fwknoprc",
        &format!(
            "[server]\nSPA_SERVER 127.0.0.1\nACCESS tcp/22\nALLOW_IP 192.0.2.1\nUSE_GPG Y\nGPG_HOMEDIR {}\n\
             GPG_RECIPIENT {}\nGPG_SIGNER {}\nGPG_NO_SIGNING_PW Y\n",
            home.path().display(),
            server.fingerprint,
            own.fingerprint
        ),
    );
    let mut taken: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let mut command = Command::new(maker.client());
            command.arg("--rc-file").arg(rc.join(".fwknoprc")).args(["--no-save-args", "-n", "server"]);
            command.env("HOME", rc.path()).env_remove("GNUPGHOME").stdin(Stdio::null()).stdout(Stdio::null());
            let begun = Instant::now();
            assert!(command.status().expect("it starts").success(), "{maker:?}: the client failed");
            millis(begun.elapsed())
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[ROUNDS / 2]
}
