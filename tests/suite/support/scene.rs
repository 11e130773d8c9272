//! The usual scene: a default-drop server with one service, and a daemon of ours that lets holders of a shared key in.

use std::process::Output;
use std::time::{Duration, Instant};

use super::firewalld::Firewalld;
use super::gateway::Wall;
use super::netns::{CLIENT, Road, SERVER, World};
use super::peers::{Client, Daemon, Maker, Settings, said};

pub struct Scene {
    pub world: World,
    pub settings: Settings,
    pub client: Client,
    pub wall: Wall,
    /// Where the wall is its.
    pub firewalld: Option<Firewalld>,
}

impl Scene {
    /// Grants last `lifetime` seconds.
    pub fn new(lifetime: u32) -> Self {
        let world = World::new();
        world.drop_by_nftables();
        Self::in_world(world, Wall::Nftables, None, lifetime)
    }

    /// The same with a firewall of this kind, which drops what is forwarded as well.
    pub fn behind(wall: Wall, lifetime: u32) -> Self {
        let world = World::new();
        let firewalld = wall.drop(&world.server, "accept");
        Self::in_world(world, wall, firewalld, lifetime)
    }

    fn in_world(world: World, wall: Wall, firewalld: Option<Firewalld>, lifetime: u32) -> Self {
        world.serve(&[PORT, OTHER_PORT]);
        let settings = Settings::new(&world, wall.conf(), &access(PORT, lifetime));
        let stanzas = [PORT, OTHER_PORT].map(|port| {
            let address = format!("SPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\n");
            format!("[{port}]\n{address}ACCESS tcp/{port}\nKEY key-of-{port}\nHMAC_KEY tag-of-{port}\n")
        });
        let client = Client::new(&stanzas.concat());
        Self { world, settings, client, wall, firewalld }
    }

    pub fn daemon(&self) -> Daemon {
        Daemon::start(&self.world, Maker::Ours, &self.settings)
    }

    pub fn road(&self) -> Road<'_> {
        self.world.v4()
    }

    /// A knock of the original client for this port.
    pub fn knock(&self, port: u16) -> Instant {
        self.client.knock(&self.world.client, Maker::Original, &["-n", &port.to_string()]);
        Instant::now()
    }

    /// A knock, and the proof that it was heard.
    #[track_caller]
    pub fn opens(&self, port: u16, daemon: &Daemon) -> Instant {
        let knocked = self.knock(port);
        assert!(self.road().opens(port), "port {port} stays closed; the daemon said:\n{}", daemon.logs.text());
        knocked
    }

    /// The port closes `lifetime` after `knocked`, give or take a busy machine, and not before.
    #[track_caller]
    pub fn closes_on_time(&self, port: u16, knocked: Instant, lifetime: Duration) {
        let latest = lifetime + Duration::from_secs(3);
        let closed = self.road().closes(port, latest.saturating_sub(knocked.elapsed()));
        let after = closed.unwrap_or_else(|| panic!("port {port} stays open")).saturating_duration_since(knocked);
        assert!(after + EARLY >= lifetime, "port {port} closed early, after {after:?}");
    }

    /// One of our daemon's control commands with the same files, run to its end.
    pub fn control(&self, args: &[&str]) -> (Output, String) {
        let mut command = self.settings.command(&self.world, Maker::Ours);
        command.args(args);
        let output = super::peers::bounded(command, super::PATIENCE);
        let text = said(&output);
        (output, text)
    }

    pub fn ruleset(&self) -> String {
        self.wall.rules(&self.world.server)
    }
}

/// One stanza that grants this port.
pub fn access(port: u16, lifetime: u32) -> String {
    access_to(&format!("tcp/{port}"), port, lifetime)
}

/// One stanza that grants these ports to whoever has the keys of `port`.
pub fn access_to(ports: &str, port: u16, lifetime: u32) -> String {
    format!(
        "SOURCE ANY\nOPEN_PORTS {ports}\nKEY key-of-{port}\nHMAC_KEY tag-of-{port}\n\
         FW_ACCESS_TIMEOUT {lifetime}\nREQUIRE_SOURCE_ADDRESS Y\n"
    )
}

pub const PORT: u16 = 2201;
/// Granted by no stanza at first.
pub const OTHER_PORT: u16 = 2202;

/// The knock is on its way before the clock of this test starts.
const EARLY: Duration = Duration::from_millis(500);
