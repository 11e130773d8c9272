//! Ours against the original, side by side in one run: `make bench-vs-original`.
//!
//! Each daemon sits in its own pair of namespaces behind a default-drop firewall, with its defaults, and gets packets of
//! the same kind. They are made beforehand, so that no client is measured.

#[path = "../../tests/suite/support/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

mod cpu;
mod firewall;
mod openpgp;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use fwknop::crypto::seal;
use fwknop::spa::{Digest, Message, Plaintext, RandomValue, Request, Username};
use fwknop::time::Timestamp;

use support::agent;
use support::gpg::{Home, Key, keys};
use support::netns::{CLIENT, SPA_PORT, World};
use support::peers::{Daemon, Maker, Settings};
use support::within;

fn main() {
    if agent::serve_if_asked() {
        return;
    }
    cpu::adopt_orphans();
    // Flags are cargo's.
    let only: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut rows = Vec::new();
    let mut part = |name: &str, measure: fn() -> Vec<Row>| {
        if only.is_empty() || only.iter().any(|word| word == name) {
            rows.extend(measure());
        }
    };
    part("common", common);
    part("firewall", firewall::rows);
    part("openpgp", openpgp::rows);
    println!("{:<40}{:>14}{:>14}{:>12}", "", "ours", "original", "ours/orig.");
    for row in rows {
        println!("{row}");
    }
}

fn common() -> Vec<Row> {
    vec![
        Row::of("knock to connection, Rijndael+HMAC", ms, latency),
        Row::of("Rijndael+HMAC knocks per second", per_second, |maker| rijndael_throughput(maker, 200)),
        Row::of("wake-ups per second, idle", per_second, wake_ups),
        Row::of("resident memory, after 20 knocks", kib, memory),
    ]
}

/// From the moment a packet is sent until a connection through the firewall has brought its first byte; the median.
fn latency(maker: Maker) -> f64 {
    const ROUNDS: u16 = 21;
    let bench = Bench::new(maker, Kind::Rijndael);
    let ports = FIRST_PORT..FIRST_PORT + ROUNDS;
    bench.world.serve(&ports.clone().collect::<Vec<_>>());
    let mut taken: Vec<f64> = ports
        .map(|port| {
            let packet = bench.packet(port, &format!("tcp/{port}"));
            // Off the beat of a daemon that looks ten times a second.
            std::thread::sleep(Duration::from_millis(u64::from(port) * 37 % 100));
            bench.knock(&packet, port).as_secs_f64() * 1000.0
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[taken.len() / 2]
}

fn rijndael_throughput(maker: Maker, count: u16) -> f64 {
    Bench::new(maker, Kind::Rijndael).knocks(count).per_second
}

/// What many knocks at once took.
struct Taken {
    per_second: f64,
    /// Milliseconds of processor time.
    cpu_each: f64,
}

fn wake_ups(maker: Maker) -> f64 {
    const SECONDS: u32 = 10;
    let bench = Bench::new(maker, Kind::Rijndael);
    std::thread::sleep(Duration::from_secs(1));
    let before = bench.daemon.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(SECONDS.into()));
    let woken = u32::try_from(bench.daemon.status("voluntary_ctxt_switches") - before).expect("few");
    f64::from(woken) / f64::from(SECONDS)
}

fn memory(maker: Maker) -> f64 {
    let bench = Bench::new(maker, Kind::Rsa);
    for i in 0..20 {
        let packet = bench.packet(i, &format!("tcp/{}", FIRST_PORT + i));
        bench.world.v4().send(packet.as_bytes());
    }
    let granted = || bench.daemon.logs.count(&["Added access rule"]) == 20;
    assert!(within(Duration::from_secs(60), granted), "{maker:?}:\n{}", bench.daemon.logs.text());
    f64::from(u32::try_from(bench.daemon.status("VmRSS")).expect("a size"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rijndael,
    Rsa,
    Curve,
}

impl Kind {
    /// Server and client.
    fn keys(self) -> Option<(&'static Key, &'static Key)> {
        match self {
            Kind::Rijndael => None,
            Kind::Rsa => Some((&keys().server_rsa, &keys().client_rsa)),
            Kind::Curve => Some((&keys().server_cv25519, &keys().client_ed25519)),
        }
    }
}

/// A daemon, ready, and what makes packets for it. The order is that of ending.
struct Bench {
    daemon: Daemon,
    world: World,
    kind: Kind,
    _settings: Settings,
    home: Option<Home>,
}

impl Bench {
    fn new(maker: Maker, kind: Kind) -> Self {
        Self::lasting(maker, kind, 60)
    }

    /// With grants of so many seconds.
    fn lasting(maker: Maker, kind: Kind, seconds: u32) -> Self {
        let world = World::new();
        match maker {
            Maker::Ours => world.drop_by_nftables(),
            Maker::Original => world.drop_by_iptables(),
        }
        let home = kind.keys().map(|(server, client)| Home::of(&[server], &[client]));
        let access = match (&home, kind.keys()) {
            (Some(home), Some((_, client))) => openpgp::stanza(home, client) + "HMAC_KEY " + HMAC_KEY + "\n",
            _ => {
                format!("SOURCE ANY\nKEY {KEY}\nHMAC_KEY {HMAC_KEY}\nFW_ACCESS_TIMEOUT {seconds}\nMAX_FW_TIMEOUT 600\n")
            }
        };
        let settings = Settings::new(&world, "", &access);
        let daemon = Daemon::start(&world, maker, &settings);
        Self { daemon, world, kind, _settings: settings, home }
    }

    /// Many knocks at once, for another service each, until the last one is granted.
    fn knocks(&self, count: u16) -> Taken {
        let packets: Vec<String> = (0..count).map(|i| self.packet(i, &format!("tcp/{}", FIRST_PORT + i))).collect();
        let (begun, before, mark) = (Instant::now(), self.cpu(), self.daemon.logs.mark());
        for packet in packets {
            self.world.v4().send(packet.as_bytes());
        }
        let granted = self.daemon.logs.count_of(count.into(), mark, &["Added access rule"], Duration::from_secs(120));
        assert!(granted, "{:?}:\n{}", self.kind, self.daemon.logs.text());
        let (count, seconds) = (f64::from(count), begun.elapsed().as_secs_f64());
        Taken { per_second: count / seconds, cpu_each: millis(self.cpu() - before) / count }
    }

    /// Of the daemon, the gpg processes it has started, and their agent.
    fn cpu(&self) -> Duration {
        cpu::of_daemon(self.daemon.pid(), self.home.as_ref().map(Home::path))
    }

    /// Sends a packet and tries the port until it answers: how long that took.
    fn knock(&self, packet: &str, port: u16) -> Duration {
        let road = self.world.v4();
        let to = SocketAddr::from((road.server, SPA_PORT));
        let millis = support::PATIENCE.as_millis();
        let hex = agent::to_hex(packet.as_bytes());
        let answer = self.world.client.ask(&format!("knock {} {to} {port} {millis} {hex}", road.client));
        Duration::from_micros(answer.parse().expect("a number"))
    }

    /// Asks for `ports`; `number` makes it unlike any other.
    fn packet(&self, number: u16, ports: &str) -> String {
        self.sealed(number.into(), access(ports))
    }

    fn sealed(&self, number: u32, request: Request) -> String {
        let plaintext = plaintext(number, request);
        let hmac = HmacAuth::new(Digest::Sha256, &HmacKey::new(HMAC_KEY.into()).expect("a key"));
        let text = match self.kind.keys() {
            None => {
                let key = RijndaelAuth::new(RijndaelKey::new(KEY.into()).expect("a key"), Mode::Cbc);
                seal::rijndael(&plaintext, &key, Some(&hmac))
            }
            Some((server, client)) => {
                return openpgp::sealed(server, client, &plaintext, Some(&hmac));
            }
        };
        text.expect("a packet").to_string()
    }
}

/// A request of the client's for these ports.
fn access(ports: &str) -> Request {
    Request::Access { allow: CLIENT.parse().expect("an address"), ports: ports.parse().expect("ports") }
}

fn plaintext(number: u32, request: Request) -> Plaintext {
    let message = Message {
        random: RandomValue::new(format!("{number:016}").as_bytes()).expect("digits"),
        user: Username::new("bench").expect("a name"),
        time: Timestamp::from_secs(Timestamp::now().secs()),
        version: "3.0.0".into(),
        request,
        server_auth: None,
        timeout: None,
        digest: Digest::Sha256,
    };
    message.encode().expect("a message")
}

/// How a figure is written.
type Unit = fn(f64) -> String;

/// One line of the table.
struct Row {
    what: &'static str,
    unit: Unit,
    ours: f64,
    original: f64,
}

impl Row {
    /// Two figures of one measurement.
    fn two(what: [(&'static str, Unit); 2], measure: impl Fn(Maker) -> [f64; 2]) -> [Self; 2] {
        eprintln!("measuring: {}", what[0].0);
        let (ours, original) = (measure(Maker::Ours), measure(Maker::Original));
        [0, 1].map(|at| Self { what: what[at].0, unit: what[at].1, ours: ours[at], original: original[at] })
    }

    /// Two figures of ours, before and after; what the original has no figure for.
    fn ours(what: &'static str, unit: Unit, measure: impl Fn() -> [f64; 2]) -> Self {
        eprintln!("measuring: {what}");
        let [ours, original] = measure();
        Self { what, unit, ours, original }
    }

    fn of(what: &'static str, unit: Unit, measure: impl Fn(Maker) -> f64) -> Self {
        eprintln!("measuring: {what}");
        Self { what, unit, ours: measure(Maker::Ours), original: measure(Maker::Original) }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ours, original) = ((self.unit)(self.ours), (self.unit)(self.original));
        write!(f, "{:<40}{ours:>14}{original:>14}{:>12.4}", self.what, self.ours / self.original)
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

fn ms(value: f64) -> String {
    if value < 0.1 { format!("{:.1} µs", value * 1000.0) } else { format!("{value:.2} ms") }
}

fn per_second(value: f64) -> String {
    format!("{value:.1} /s")
}

fn kib(value: f64) -> String {
    format!("{:.1} MiB", value / 1024.0)
}

const FIRST_PORT: u16 = 3000;
const KEY: &str = "an encryption key";
const HMAC_KEY: &str = "a tag key";
