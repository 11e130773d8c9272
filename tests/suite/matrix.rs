//! Both clients against both daemons, every scheme: done when a TCP connection works, and stops working.

use std::time::{Duration, Instant};

use crate::support::gpg::{Home, Key, keys};
use crate::support::netns::{CLIENT, NO_ANSWER, Road, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::{PATIENCE, within};

#[test]
fn ours_to_ours_rijndael() {
    prove(OURS_TO_OURS, rijndael());
}

#[test]
fn ours_to_ours_openpgp_rsa() {
    prove(OURS_TO_OURS, openpgp(&OpenPgpKeys::rsa()));
}

#[test]
fn ours_to_ours_openpgp_curve() {
    prove(OURS_TO_OURS, openpgp(&OpenPgpKeys::curve()));
}

#[test]
fn ours_to_ours_over_ipv6() {
    let both = Schemes::both(rijndael(), openpgp(&OpenPgpKeys::curve()));
    prove(Pair { road: World::v6, ..OURS_TO_OURS }, both);
}

#[test]
fn ours_to_original_rijndael() {
    prove(OURS_TO_ORIGINAL, rijndael());
}

#[test]
fn ours_to_original_openpgp_rsa() {
    prove(OURS_TO_ORIGINAL, openpgp(&OpenPgpKeys::rsa()));
}

#[test]
fn ours_to_original_openpgp_curve() {
    prove(OURS_TO_ORIGINAL, openpgp(&OpenPgpKeys::curve()));
}

#[test]
fn original_to_ours_rijndael() {
    prove(ORIGINAL_TO_OURS, rijndael());
}

#[test]
fn original_to_ours_openpgp_rsa() {
    prove(ORIGINAL_TO_OURS, openpgp(&OpenPgpKeys::rsa()));
}

#[test]
fn original_to_ours_openpgp_curve() {
    prove(ORIGINAL_TO_OURS, openpgp(&OpenPgpKeys::curve()));
}

/// That the tests are right: the original must pass them.
#[test]
fn original_to_original_rijndael() {
    prove(ORIGINAL_TO_ORIGINAL, rijndael());
}

#[test]
fn original_to_original_openpgp_rsa() {
    prove(ORIGINAL_TO_ORIGINAL, openpgp(&OpenPgpKeys::rsa()));
}

/// Who knocks at whose door, over which network.
#[derive(Clone, Copy)]
struct Pair {
    client: Maker,
    daemon: Maker,
    road: fn(&World) -> Road,
}

const OURS_TO_OURS: Pair = Pair { client: Maker::Ours, daemon: Maker::Ours, road: World::v4 };
const OURS_TO_ORIGINAL: Pair = Pair { client: Maker::Ours, daemon: Maker::Original, road: World::v4 };
const ORIGINAL_TO_OURS: Pair = Pair { client: Maker::Original, daemon: Maker::Ours, road: World::v4 };
const ORIGINAL_TO_ORIGINAL: Pair = Pair { client: Maker::Original, daemon: Maker::Original, road: World::v4 };

/// One way to knock: its own stanza on both sides and its own port, so that all can share a daemon.
struct Scheme {
    name: &'static str,
    port: u16,
    access: String,
    rc: String,
    knock: &'static [&'static str],
    lifetime: Duration,
}

fn rijndael() -> Schemes {
    let scheme = |name, port, access: &str, rc: &str| Scheme {
        name,
        port,
        access: format!("KEY key-of-{port}\n{access}FW_ACCESS_TIMEOUT {LIFETIME}\n"),
        rc: format!("KEY key-of-{port}\n{rc}"),
        knock: &[],
        lifetime: Duration::from_secs(LIFETIME),
    };
    let hmac = |name, port, digest: &str| {
        let lines = format!("HMAC_KEY tag-of-{port}\nHMAC_DIGEST_TYPE {digest}\n");
        scheme(name, port, &lines, &lines)
    };
    let asked = Scheme {
        access: "KEY key-of-2205\nFW_ACCESS_TIMEOUT 60\nMAX_FW_TIMEOUT 60\n".into(),
        knock: &["-f", "6"],
        ..scheme("timeout of the client", 2205, "", "")
    };
    Schemes {
        schemes: vec![
            scheme("rijndael", 2201, "", ""),
            hmac("hmac sha256", 2202, "SHA256"),
            hmac("hmac sha512", 2203, "SHA512"),
            hmac("hmac sha3-256", 2204, "SHA3_256"),
            asked,
        ],
        homes: Vec::new(),
    }
}

/// The keys of one OpenPGP run: a server, and two clients of which the second has a passphrase where that can be.
struct OpenPgpKeys {
    server: &'static Key,
    server_locked: Option<&'static Key>,
    client: &'static Key,
    client_locked: Option<&'static Key>,
}

impl OpenPgpKeys {
    fn rsa() -> Self {
        let keys = keys();
        Self {
            server: &keys.server_rsa,
            server_locked: Some(&keys.server_rsa_locked),
            client: &keys.client_rsa,
            client_locked: Some(&keys.client_rsa_locked),
        }
    }

    fn curve() -> Self {
        let keys = keys();
        Self {
            server: &keys.server_cv25519,
            server_locked: None,
            client: &keys.client_ed25519,
            client_locked: Some(&keys.client_ed25519_locked),
        }
    }
}

fn openpgp(keys: &OpenPgpKeys) -> Schemes {
    let client = Home::of(&[keys.client], &[keys.server]);
    let server = Home::of(&[keys.server], &[keys.client]);
    let mut schemes = vec![
        signed("signed, hmac", 2212, (&client, keys.client), (&server, keys.server)).with_hmac(),
        signed("signed", 2211, (&client, keys.client), (&server, keys.server)),
    ];
    let mut homes = vec![client, server];
    if let Some(key) = keys.client_locked {
        let server_key = keys.server_locked.unwrap_or(keys.server);
        let client = Home::of(&[keys.client, key], &[server_key]);
        let own: Vec<&Key> = [keys.server].into_iter().chain(keys.server_locked).collect();
        let server = Home::of(&own, &[key]);
        schemes.push(signed("keys with passphrases", 2213, (&client, key), (&server, server_key)).with_hmac());
        homes.extend([client, server]);
    }
    Schemes { schemes, homes }
}

/// From a client's home and key to a server's.
fn signed(name: &'static str, port: u16, (client, by): (&Home, &Key), (server, to): (&Home, &Key)) -> Scheme {
    let decrypt = to.passphrase.map_or("GPG_ALLOW_NO_PW Y".to_owned(), |word| format!("GPG_DECRYPT_PW {word}"));
    let sign = by.passphrase.map_or("GPG_NO_SIGNING_PW Y".to_owned(), |word| {
        use base64::Engine;
        format!("GPG_SIGNING_PW_BASE64 {}", base64::engine::general_purpose::STANDARD.encode(word))
    });
    let (client, server) = (client.path().display(), server.path().display());
    let (to, by) = (&to.fingerprint, &by.fingerprint);
    Scheme {
        name,
        port,
        access: format!(
            "GPG_HOME_DIR {server}\nGPG_DECRYPT_ID {to}\n{decrypt}\nGPG_FINGERPRINT_ID {by}\n\
             FW_ACCESS_TIMEOUT {LIFETIME}\n"
        ),
        rc: format!("USE_GPG Y\nGPG_HOMEDIR {client}\nGPG_RECIPIENT {to}\nGPG_SIGNER {by}\n{sign}\n"),
        knock: &[],
        lifetime: Duration::from_secs(LIFETIME),
    }
}

struct Schemes {
    schemes: Vec<Scheme>,
    /// Kept until the end of the test.
    homes: Vec<Home>,
}

impl Schemes {
    fn both(mut one: Self, other: Self) -> Self {
        one.schemes.extend(other.schemes);
        one.homes.extend(other.homes);
        one
    }
}

/// Before, after the knock, after its time, after a replay: for each scheme.
fn prove(pair: Pair, schemes: Schemes) {
    let schemes = &schemes.schemes;
    let ports: Vec<u16> = schemes.iter().map(|scheme| scheme.port).collect();
    let world = World::new();
    let road = (pair.road)(&world);
    world.serve(&ports);
    assert!(road.all_open(&ports), "the services are there");
    match pair.daemon {
        Maker::Ours => world.drop_by_nftables(),
        Maker::Original => world.drop_by_iptables(),
    }
    assert_eq!(road.scan(&ports), [0; 0], "before: everything is dropped");

    let access: String = schemes.iter().map(Scheme::stanza).collect();
    let settings = Settings::new(&world, "", &access);
    let daemon = Daemon::start(&world, pair.daemon, &settings);
    let client = Client::new(&schemes.iter().map(|scheme| scheme.section(&road)).collect::<String>());
    world.record(62201);
    // Each knock waits for its own end while the next ones are on their way.
    let knocks: Vec<Knock> = std::thread::scope(|checks| {
        let mut watched = Vec::new();
        for scheme in schemes {
            let (name, port) = (scheme.name, scheme.port);
            let begun = Instant::now();
            client.knock(&world.client, pair.client, &[&["-n", &port.to_string()], scheme.knock].concat());
            assert!(road.opens(port), "{name}: the port stays closed; the daemon said:\n{}", daemon.logs.text());
            let opened = Instant::now();
            let road = &road;
            watched.push(checks.spawn(move || {
                scheme.lasts(road, begun);
                Knock { scheme, opened }
            }));
            assert_eq!(road.neighbour_scan(&[port]), [0; 0], "{name}: the neighbour got in as well");
        }
        watched.into_iter().map(|check| check.join().expect("see above for which closed too early")).collect()
    });
    for Knock { scheme, opened } in knocks {
        let latest = scheme.lifetime + Duration::from_secs(5);
        let closes = road.closes(scheme.port, latest.saturating_sub(opened.elapsed()));
        assert!(closes.is_some(), "{}: does not close", scheme.name);
    }
    assert_eq!(road.scan(&ports), [0; 0], "after their time: everything is closed");

    assert!(within(PATIENCE, || world.recorded().len() >= schemes.len()), "not every knock was recorded");
    let packets = world.recorded();
    assert_eq!(packets.len(), schemes.len(), "one packet per knock");
    for payload in packets {
        let mark = daemon.logs.mark();
        road.send(&payload);
        daemon.logs.expect_after(mark, &pair.daemon.replay_line());
    }
    assert_eq!(road.scan(&ports), [0; 0], "a replay opens these ports");
    daemon.stop();
}

/// A knock that was heard.
struct Knock<'a> {
    scheme: &'a Scheme,
    /// The grant began before.
    opened: Instant,
}

impl Scheme {
    /// Looks shortly before the end of the grant, which began after `begun`, whether the port is still open.
    fn lasts(&self, road: &Road, begun: Instant) {
        let end = begun + self.lifetime - ROUNDING;
        std::thread::sleep((end - BEFORE_THE_END).saturating_duration_since(Instant::now()));
        let connects = road.connects(self.port);
        // On a busy machine the look may come too late to tell; when it began is known from how long it waits.
        let asked = Instant::now() - NO_ANSWER;
        assert!(connects || asked >= end, "{}: closed {:?} after the knock", self.name, asked - begun);
    }

    fn with_hmac(self) -> Self {
        let lines = format!("HMAC_KEY tag-of-{}\n", self.port);
        Self { access: format!("{}{lines}", self.access), rc: format!("{}{lines}", self.rc), ..self }
    }

    fn stanza(&self) -> String {
        format!("SOURCE ANY\nOPEN_PORTS tcp/{}\nREQUIRE_SOURCE_ADDRESS Y\n{}\n", self.port, self.access)
    }

    fn section(&self, road: &Road) -> String {
        let (port, rc) = (self.port, &self.rc);
        format!("[{port}]\nSPA_SERVER {}\nACCESS tcp/{port}\nALLOW_IP {}\n{rc}\n", road.server, road.client)
    }
}

impl Maker {
    fn replay_line(self) -> [&'static str; 2] {
        match self {
            Maker::Ours => ["refuse ", "reason=replay"],
            Maker::Original => ["Replay detected from source IP", CLIENT],
        }
    }
}

/// The original counts in whole seconds.
const ROUNDING: Duration = Duration::from_millis(1100);

/// Leaves a look some time to be taken.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// Seconds.
const LIFETIME: u64 = 6;
