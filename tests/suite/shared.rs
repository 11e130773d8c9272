//! Several users behind one address, as in an office: what one of them has open is his until it ends, whatever becomes of what
//! the others have open there.

use std::time::{Duration, Instant};

use crate::control::grants;
use crate::support::gateway::{Gateway, Wall, to_gateway};
use crate::support::netns::{CLIENT, SERVER};
use crate::support::peers::{Client, Daemon, Maker, READY, Settings};
use crate::support::scene::{OTHER_PORT, PORT, Scene, access_to};
use crate::support::within;

/// Two users, each with keys of his own, who may open the same port for so many seconds.
struct Office {
    scene: Scene,
    daemon: Daemon,
}

impl Office {
    fn new(wall: Wall, seconds: [u32; 2]) -> Self {
        let scene = Scene::behind(wall, 60);
        let ports = format!("tcp/{PORT},tcp/{OTHER_PORT}");
        let [anna, ben] =
            [(PORT, seconds[0]), (OTHER_PORT, seconds[1])].map(|(key, time)| access_to(&ports, key, time));
        scene.settings.rewrite(wall.conf(), &(anna + &ben));
        let daemon = scene.daemon();
        Self { scene, daemon }
    }

    /// A knock with the keys of this port for these.
    fn knock(&self, key: u16, ports: &str, grant: u64) -> Instant {
        let args = ["-n", &key.to_string(), "-A", ports];
        self.scene.client.knock(&self.scene.world.client, Maker::Ours, &args);
        self.daemon.logs.expect(&["open ", &format!("grant={grant} ")]);
        Instant::now()
    }

    fn close(&self, grant: u64) {
        let (output, text) = grants(&self.scene, &["close", &grant.to_string(), "--yes"]);
        assert!(output.status.success(), "{text}");
    }

    #[track_caller]
    fn is_open(&self, ports: &[u16]) {
        let found = self.scene.road().scan(&[PORT, OTHER_PORT]);
        assert_eq!(found, ports, "{:?}:\n{}{}", self.scene.wall, self.scene.ruleset(), self.daemon.logs.text());
    }
}

#[test]
fn a_port_stays_open_for_the_one_when_the_other_is_closed() {
    Wall::each(|wall| {
        // Whoever came first has it for longer, or for less long.
        for (first, second, closed, lasts) in [(60, 8, 1, 8), (8, 60, 2, 8)] {
            let office = Office::new(wall, [first, second]);
            let port = format!("tcp/{PORT}");
            let knocks = [office.knock(PORT, &port, 1), office.knock(OTHER_PORT, &port, 2)];
            office.is_open(&[PORT]);
            office.close(closed);
            office.is_open(&[PORT]);
            let knocked = if closed == 1 { knocks[1] } else { knocks[0] };
            office.scene.closes_on_time(PORT, knocked, Duration::from_secs(lasts));
            office.daemon.logs.expect(&["close ", &format!("grant={} ", 3 - closed), "reason=expired"]);
            office.daemon.stop();
        }
    });
}

#[test]
fn only_what_nobody_else_has_open_is_closed() {
    Wall::each(|wall| {
        let office = Office::new(wall, [60, 60]);
        office.knock(PORT, &format!("tcp/{PORT},tcp/{OTHER_PORT}"), 1);
        office.knock(OTHER_PORT, &format!("tcp/{OTHER_PORT}"), 2);
        office.close(1);
        office.is_open(&[OTHER_PORT]);
        office.close(2);
        office.is_open(&[]);
        office.daemon.stop();
    });
}

#[test]
fn who_is_taken_off_the_list_takes_nothing_from_the_others() {
    Wall::each(|wall| {
        let office = Office::new(wall, [60, 60]);
        let port = format!("tcp/{PORT}");
        office.knock(PORT, &port, 1);
        office.knock(OTHER_PORT, &port, 2);
        office.scene.settings.rewrite(wall.conf(), &access_to(&port, PORT, 60));
        office.daemon.signal(rustix::process::Signal::HUP);
        office.daemon.logs.expect(&["close ", "grant=2 ", "reason=key-not-listed"]);
        office.is_open(&[PORT]);
        office.close(1);
        office.is_open(&[]);
        office.daemon.stop();
    });
}

#[test]
fn after_a_crash_as_well() {
    Wall::each(|wall| {
        for first in [1, 2] {
            let office = Office::new(wall, [60, 50]);
            let port = format!("tcp/{PORT}");
            office.knock(PORT, &port, 1);
            office.knock(OTHER_PORT, &port, 2);
            let Office { scene, daemon } = office;
            daemon.kill9();
            let office = Office { daemon: scene.daemon(), scene };
            office.close(first);
            office.is_open(&[PORT]);
            office.close(3 - first);
            office.is_open(&[]);
            office.daemon.stop();
        }
    });
}

/// One way in at a time: whoever comes later has it, and gives it back.
#[test]
fn a_way_that_leads_elsewhere_for_a_while_leads_back() {
    let gateway = Gateway::new(Wall::Nftables);
    for port in [22, 80] {
        gateway.world.server.ask(&format!("listen {port}"));
    }
    gateway.inner.ask("listen 22");
    let access = |key: &str, seconds: u32| {
        format!("SOURCE ANY\nKEY key-{key}\nHMAC_KEY tag-{key}\nFW_ACCESS_TIMEOUT {seconds}\n")
    };
    let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nENABLE_IPT_LOCAL_NAT Y;\n";
    let settings = Settings::new(&gateway.world, conf, &(access("anna", 60) + &access("ben", 8)));
    let stanza =
        |name: &str| format!("[{name}]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nKEY key-{name}\nHMAC_KEY tag-{name}\n");
    let client = Client::new(&(stanza("anna") + &stanza("ben")));
    let daemon = Daemon::launch(&gateway.world, Maker::Ours, &settings, &[]);
    daemon.logs.expect(&[READY]);
    let knock = |words: &[&str]| client.knock(&gateway.world.client, Maker::Ours, words);
    let inside = crate::support::gateway::INNER_SIDE;
    let seen = |way| gateway.connects(way);

    knock(&["-n", "anna", "-A", "tcp/5555", "-N", "10.72.0.2:22"]);
    assert_eq!(gateway.opens(to_gateway(5555)).as_deref(), Some(inside));
    knock(&["-n", "ben", "-A", "tcp/5555", "-N", "10.72.0.3:22"]);
    daemon.logs.expect(&["open ", "grant=2 "]);
    let leads_to = |host: &str| gateway.world.server.run("nft", &["list", "ruleset"]).contains(&format!(": {host}"));
    assert!(leads_to("10.72.0.3") && !leads_to("10.72.0.2"));
    assert!(within(Duration::from_secs(12), || leads_to("10.72.0.2") && !leads_to("10.72.0.3")), "not given back");
    assert_eq!(seen(to_gateway(5555)).as_deref(), Some(inside), "{}", daemon.logs.text());
    daemon.stop();
}
