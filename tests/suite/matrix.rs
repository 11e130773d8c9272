//! Both clients against both daemons, every scheme: done when a TCP connection works, and stops working.

use std::time::{Duration, Instant};

use crate::support::gpg::{Home, Key, keys};
use crate::support::netns::{CLIENT, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::within;

#[test]
fn original_client_and_original_daemon_rijndael() {
    prove(Maker::Original, Maker::Original, rijndael());
}

#[test]
fn original_client_and_original_daemon_openpgp() {
    prove(Maker::Original, Maker::Original, openpgp(&OpenPgpKeys::rsa()));
}

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
        knock: &["-f", "3"],
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
}

fn openpgp(keys: &OpenPgpKeys) -> Schemes {
    let client = Home::of(&[keys.client], &[keys.server]);
    let server = Home::of(&[keys.server], &[keys.client]);
    let scheme = |name, port, server: &Home, client: &Home, to: &Key, by: &Key| {
        let decrypt = to.passphrase.map_or("GPG_ALLOW_NO_PW Y".to_owned(), |word| format!("GPG_DECRYPT_PW {word}"));
        let sign = by.passphrase.map_or("GPG_NO_SIGNING_PW Y".to_owned(), |word| {
            use base64::Engine;
            format!("GPG_SIGNING_PW_BASE64 {}", base64::engine::general_purpose::STANDARD.encode(word))
        });
        Scheme {
            name,
            port,
            access: format!(
                "GPG_HOME_DIR {}\nGPG_DECRYPT_ID {}\n{decrypt}\nGPG_FINGERPRINT_ID {}\nFW_ACCESS_TIMEOUT {LIFETIME}\n",
                server.path().display(),
                to.fingerprint,
                by.fingerprint,
            ),
            rc: format!(
                "USE_GPG Y\nGPG_HOMEDIR {}\nGPG_RECIPIENT {}\nGPG_SIGNER {}\n{sign}\n",
                client.path().display(),
                to.fingerprint,
                by.fingerprint,
            ),
            knock: &[],
            lifetime: Duration::from_secs(LIFETIME),
        }
    };
    let with_hmac = |scheme: Scheme| {
        let lines = format!("HMAC_KEY tag-of-{}\n", scheme.port);
        Scheme { access: format!("{}{lines}", scheme.access), rc: format!("{}{lines}", scheme.rc), ..scheme }
    };
    let mut schemes = vec![
        with_hmac(scheme("signed, hmac", 2212, &server, &client, keys.server, keys.client)),
        scheme("signed", 2211, &server, &client, keys.server, keys.client),
    ];
    let mut homes = vec![client, server];
    if let (Some(server_key), Some(client_key)) = (keys.server_locked, keys.client_locked) {
        let client = Home::of(&[keys.client, client_key], &[server_key]);
        let server = Home::of(&[keys.server, server_key], &[client_key]);
        let locked = scheme("signed, both keys with a passphrase", 2213, &server, &client, server_key, client_key);
        schemes.push(with_hmac(locked));
        homes.extend([client, server]);
    }
    Schemes { schemes, homes }
}

struct Schemes {
    schemes: Vec<Scheme>,
    /// Kept until the end of the test.
    #[expect(dead_code, reason = "held for its drop")]
    homes: Vec<Home>,
}

/// Before, after the knock, after its time, after a replay: for each scheme.
fn prove(client_maker: Maker, daemon_maker: Maker, schemes: Schemes) {
    let schemes = &schemes.schemes;
    let ports: Vec<u16> = schemes.iter().map(|scheme| scheme.port).collect();
    let world = World::new();
    world.serve(&ports);
    assert_eq!(world.scan(&ports), ports, "the services are there");
    match daemon_maker {
        Maker::Ours => world.drop_by_nftables(),
        Maker::Original => world.drop_by_iptables(),
    }
    assert_eq!(world.scan(&ports), [0; 0], "before: everything is dropped");

    let access: String = schemes.iter().map(Scheme::stanza).collect();
    let settings = Settings::new(&world, "", &access);
    let daemon = Daemon::start(&world, daemon_maker, &settings);
    let client = Client::new(&schemes.iter().map(|scheme| scheme.section(&world)).collect::<String>());
    world.record(62201);
    let mut knocks = Vec::new();
    for scheme in schemes {
        let name = scheme.name;
        client.knock(&world.client, client_maker, &[&["-n", &scheme.port.to_string()], scheme.knock].concat());
        let knocked = Instant::now();
        assert!(world.opens(scheme.port), "{name}: the port stays closed; the daemon said:\n{}", daemon.logs.text());
        let neighbour = world.neighbour_reaches(&[scheme.port]);
        assert!(neighbour.is_empty(), "{name}: the neighbour got in as well");
        assert!(within(Duration::from_secs(5), || world.recorded().len() > knocks.len()), "{name}: not recorded");
        knocks.push(knocked);
    }

    for (scheme, knocked) in schemes.iter().zip(&knocks).rev() {
        let early = !world.connects(scheme.port) && knocked.elapsed() + ROUNDING < scheme.lifetime;
        assert!(!early, "{}: closed {:?} after the knock", scheme.name, knocked.elapsed());
    }
    for (scheme, knocked) in schemes.iter().zip(knocks) {
        let name = scheme.name;
        let latest = scheme.lifetime + Duration::from_secs(5);
        assert!(world.closes(scheme.port, latest.saturating_sub(knocked.elapsed())), "{name}: does not close");
    }
    assert_eq!(world.scan(&ports), [0; 0], "after their time: everything is closed");

    for (scheme, payload) in schemes.iter().zip(world.recorded()) {
        let name = scheme.name;
        let mark = daemon.logs.mark();
        world.send(&payload);
        daemon.logs.expect_after(mark, &daemon_maker.replay_line());
        assert!(!world.connects(scheme.port), "{name}: a replay opens the port");
    }
    daemon.stop();
}

impl Scheme {
    fn stanza(&self) -> String {
        format!("SOURCE ANY\nOPEN_PORTS tcp/{}\nREQUIRE_SOURCE_ADDRESS Y\n{}\n", self.port, self.access)
    }

    fn section(&self, world: &World) -> String {
        let (port, server) = (self.port, world.server.v4);
        format!("[{port}]\nSPA_SERVER {server}\nACCESS tcp/{port}\nALLOW_IP {CLIENT}\n{}\n", self.rc)
    }
}

impl Maker {
    fn replay_line(self) -> [&'static str; 2] {
        match self {
            Maker::Ours => ["refuse", "reason=replay"],
            Maker::Original => ["Replay detected from source IP", CLIENT],
        }
    }
}

/// The original counts in whole seconds.
const ROUNDING: Duration = Duration::from_millis(1100);

/// Seconds.
const LIFETIME: u64 = 3;
