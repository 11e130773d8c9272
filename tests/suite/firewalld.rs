//! The real firewalld, over either of the kernel's interfaces: what was granted is open and nothing else, whatever firewalld
//! does in the meantime.

use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::firewalld::{By, Firewalld};
use crate::support::netns::{CLIENT, CLIENT_V6, Road, SERVER, SERVER_V6, World};
use crate::support::peers::{Client, Daemon, Maker, READY, Settings, bounded, said};
use crate::support::scene::{OTHER_PORT, PORT, access};

#[test]
fn a_grant_opens_its_port_and_closes_it_on_time() {
    each(|by| {
        for (address, road) in [(SERVER, World::v4 as fn(&World) -> Road<'_>), (SERVER_V6, World::v6)] {
            let scene = Scene::new(by, 8, "");
            let daemon = scene.daemon();
            let road = road(&scene.world);
            assert!(road.scan(&[PORT, OTHER_PORT]).is_empty(), "open before the knock");
            let knocked = scene.knock(address);
            assert!(road.opens(PORT), "{by:?}: {}", daemon.logs.text());
            assert!(
                road.neighbour_scan(&[PORT]).is_empty() && !road.connects(OTHER_PORT),
                "open for others, or for more"
            );
            scene.closes(&road, knocked, Duration::from_secs(8));
            assert!(scene.listed().contains("nothing is open"));
            daemon.stop();
            let left = scene.world.server.run("nft", &["list", "ruleset"]);
            assert!(!left.to_lowercase().contains("fwknop"), "{left}");
        }
    });
}

#[test]
fn what_was_open_is_open_again_after_a_reload_and_ends_on_time() {
    each(|by| {
        let scene = Scene::new(by, 12, "");
        let daemon = scene.daemon();
        let road = scene.world.v4();
        let knocked = scene.knock(SERVER);
        assert!(road.opens(PORT), "{}", daemon.logs.text());
        scene.firewalld.cmd(&scene.world.server, &["--reload"]);
        daemon.logs.expect(&["it is put back, and what was to be open is open again (grants=1)"]);
        // The rules of a firewall that is told one command after the other come with the last of them.
        assert!(road.opens(PORT) && !road.connects(OTHER_PORT), "{}", daemon.logs.text());
        scene.closes(&road, knocked, Duration::from_secs(12));
        daemon.stop();
    });
}

#[test]
fn while_firewalld_is_stopped_a_knock_is_told_to_have_failed_and_the_next_after_its_return_opens() {
    let mut scene = Scene::new(By::Iptables, 60, "");
    let daemon = scene.daemon();
    scene.firewalld.stop();
    scene.knock(SERVER);
    daemon.logs.expect(&["firewalld is not running"]);
    daemon.logs.expect(&["reason=failed"]);
    scene.firewalld.run(&scene.world.server);
    let road = scene.world.v4();
    assert!(!road.connects(PORT));
    scene.knock(SERVER);
    assert!(road.opens(PORT), "{}", daemon.logs.text());
    daemon.stop();
}

struct Scene {
    world: World,
    firewalld: Firewalld,
    settings: Settings,
    client: Client,
}

impl Scene {
    fn new(by: By, lifetime: u32, conf: &str) -> Self {
        let world = World::new();
        world.serve(&[PORT, OTHER_PORT]);
        let firewalld = Firewalld::start(&world.server, by);
        let settings = Settings::new(&world, &format!("{}{conf}", firewalld.conf()), &access(PORT, lifetime));
        let rc = |server: &str, allow: &str| {
            let keys = format!("KEY key-of-{PORT}\nHMAC_KEY tag-of-{PORT}\n");
            format!("[{server}]\nSPA_SERVER {server}\nALLOW_IP {allow}\nACCESS tcp/{PORT}\n{keys}")
        };
        let client = Client::new(&(rc(SERVER, CLIENT) + &rc(SERVER_V6, CLIENT_V6)));
        Self { world, firewalld, settings, client }
    }

    fn daemon(&self) -> Daemon {
        let mut command = self.settings.command(&self.world, Maker::Ours);
        command.arg("-f").envs([self.firewalld.bus()]);
        let daemon = Daemon::follow(command);
        daemon.logs.expect(&[READY]);
        daemon
    }

    fn knock(&self, server: &str) -> Instant {
        self.client.knock(&self.world.client, Maker::Ours, &["-n", server]);
        Instant::now()
    }

    #[track_caller]
    fn closes(&self, road: &Road<'_>, knocked: Instant, lifetime: Duration) {
        let latest = lifetime + Duration::from_secs(3);
        let closed = road.closes(PORT, latest.saturating_sub(knocked.elapsed())).expect("still open");
        assert!(closed.saturating_duration_since(knocked) + Duration::from_millis(500) >= lifetime, "closed early");
    }

    fn listed(&self) -> String {
        let mut command = self.settings.command(&self.world, Maker::Ours);
        command.arg("--fw-list").envs([self.firewalld.bus()]);
        said(&bounded(command, PATIENCE))
    }
}

fn each(prove: fn(By)) {
    std::thread::scope(|scope| {
        for by in [By::Iptables, By::Nftables] {
            scope.spawn(move || prove(by));
        }
    });
}
