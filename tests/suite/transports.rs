//! Each way a packet can go, from both clients to both daemons: done when a TCP connection works.

use crate::support::netns::{NEIGHBOUR, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};

#[test]
fn ours_to_ours() {
    prove(Maker::Ours, Maker::Ours);
}

#[test]
fn ours_to_original() {
    prove(Maker::Ours, Maker::Original);
}

#[test]
fn original_to_ours() {
    prove(Maker::Original, Maker::Ours);
}

/// That the tests are right: the original must pass them, but for what it cannot do.
#[test]
fn original_to_original() {
    prove(Maker::Original, Maker::Original);
}

/// A way, and which of the makers' clients can go it.
struct Way {
    name: &'static str,
    knock: &'static [&'static str],
    /// Whom the stanza takes it from.
    source: &'static str,
    clients: &'static [Maker],
}

const fn from_anywhere(name: &'static str, knock: &'static [&'static str]) -> Way {
    Way { name, knock, source: "ANY", clients: BOTH }
}

const fn forged(name: &'static str, knock: &'static [&'static str]) -> Way {
    Way { source: FORGED, ..from_anywhere(name, knock) }
}

/// Of the same network, and of nobody.
const FORGED: &str = "10.71.0.9";

const BOTH: &[Maker] = &[Maker::Ours, Maker::Original];

const WAYS: &[Way] = &[
    from_anywhere("tcp", &["-P", "tcp"]),
    from_anywhere("http", &["-P", "http", "-p", "62201"]),
    from_anywhere("proxy", &["-H", "10.71.0.2:3128", "-D", "10.71.0.1:62201"]),
    from_anywhere("proxy's port", &["-H", "http://10.71.0.2", "-p", "3128", "-D", "10.71.0.1:62201"]),
    // Which takes a client of the original, that does not wait, for one that has lost interest.
    Way {
        clients: &[Maker::Ours],
        ..from_anywhere("strict proxy", &["-H", "10.71.0.2:3129/", "-D", "10.71.0.1:62201"])
    },
    from_anywhere("raw UDP", &["-P", "udpraw"]),
    from_anywhere("raw UDP from a port", &["-P", "udpraw", "-S", "53"]),
    forged("forged UDP", &["-P", "udpraw", "-Q", FORGED]),
    from_anywhere("raw TCP", &["-P", "tcpraw"]),
    forged("forged TCP", &["-P", "tcpraw", "--spoof-src", FORGED, "-S", "443"]),
    from_anywhere("ICMP", &["-P", "icmp"]),
    from_anywhere("echo request", &["-P", "icmp", "--icmp-type", "8"]),
    forged("forged ICMP", &["-P", "icmp", "--icmp-type", "3", "--icmp-code", "13", "-Q", FORGED]),
];

fn prove(client: Maker, daemon: Maker) {
    let ways: Vec<(u16, &Way)> = (2301..).zip(WAYS).filter(|(_, way)| way.clients.contains(&client)).collect();
    let ports: Vec<u16> = ways.iter().map(|(port, _)| *port).collect();
    let world = World::new();
    let road = world.v4();
    world.serve(&ports);
    world.client.ask(&format!("proxy {NEIGHBOUR} 3128 lenient"));
    world.client.ask(&format!("proxy {NEIGHBOUR} 3129 strict"));
    match daemon {
        Maker::Ours => {
            world.drop_by_nftables();
            world.server.run("nft", &["add rule inet filter input tcp dport 62201 accept"]);
        }
        Maker::Original => {
            world.drop_by_iptables();
            world.server.run("iptables", &["-I", "INPUT", "-p", "tcp", "--dport", "62201", "-j", "ACCEPT"]);
        }
    }
    assert_eq!(road.scan(&ports), [0; 0], "before: everything is dropped");

    let conf = "ENABLE_TCP_SERVER Y;\nENABLE_SPA_OVER_HTTP Y;\nPCAP_FILTER port 62201 or icmp;\n";
    let stanza = |(port, way): &(u16, &Way)| {
        let who = format!("SOURCE {}\nREQUIRE_SOURCE_ADDRESS Y\nKEY key-of-{port}\n", way.source);
        format!("{who}OPEN_PORTS tcp/{port}\nFW_ACCESS_TIMEOUT 60\n\n")
    };
    let settings = Settings::new(&world, conf, &ways.iter().map(stanza).collect::<String>());
    let running = Daemon::start(&world, daemon, &settings);
    let section = |port: &u16| {
        format!(
            "[{port}]\nSPA_SERVER {}\nACCESS tcp/{port}\nALLOW_IP {}\nKEY key-of-{port}\n\n",
            road.server, road.client
        )
    };
    let home = Client::new(&ports.iter().map(section).collect::<String>());
    for (port, way) in ways {
        home.knock(&world.client, client, &[&["-n", &port.to_string()], way.knock].concat());
        assert!(road.opens(port), "{}: the port stays closed; the daemon said:\n{}", way.name, running.logs.text());
        assert_eq!(road.neighbour_scan(&[port]), [0; 0], "{}: the neighbour got in as well", way.name);
    }
    // What came over a connection was captured as well; it is no replay.
    for line in ["reason=replay", "Replay detected"] {
        assert_eq!(running.logs.count(&[line]), 0, "{}", running.logs.text());
    }
    running.stop();
}
