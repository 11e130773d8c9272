//! The same for iptables and ip6tables. In the nf_tables variant the kernel tells of every change; in the legacy variant
//! nobody does, and the daemon looks every few seconds while something is open.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{BACK, times};
use crate::support::gateway::{Gateway, Wall, to_gateway};
use crate::support::netns::{CLIENT, CLIENT_V6, Road, SERVER, SERVER_V6, World};
use crate::support::peers::{Client, Daemon, Maker, Settings, bounded};
use crate::support::scene::{OTHER_PORT, PORT, access};
use crate::support::{PATIENCE, within};

const PROGRAMS: [&str; 2] = ["iptables", "ip6tables"];
const VARIANTS: [Wall; 2] = [Wall::IptablesNft, Wall::IptablesLegacy];

/// What somebody does to the rules, by each of the two programs: `{}` is ours, a chain's name or a file to be restored.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// These commands.
    Runs(&'static [&'static str]),
    /// What was saved while the daemon ran, before anybody knocked.
    RestoresOldSave,
    /// What was there before the daemon was started.
    RestoresOwnRules,
}

const DEEDS: &[Deed] = &[
    Deed::Runs(&["-F", "-A INPUT -p ICMP -j ACCEPT"]),
    Deed::Runs(&["-F", "-X", "-A INPUT -p ICMP -j ACCEPT"]),
    Deed::Runs(&["-D INPUT -j FWKNOP_INPUT"]),
    Deed::Runs(&["-F FWKNOP_INPUT"]),
    Deed::Runs(&["-E FWKNOP_INPUT LET_IN"]),
    Deed::RestoresOldSave,
    Deed::RestoresOwnRules,
];

#[test]
fn what_was_open_is_open_again_whatever_somebody_did() {
    std::thread::scope(|scope| {
        for wall in VARIANTS {
            for deed in DEEDS {
                scope.spawn(move || comes_back(wall, *deed));
            }
        }
    });
}

fn comes_back(wall: Wall, deed: Deed) {
    let scene = Scene::new(wall, 60);
    let daemon = scene.daemon();
    let saved = scene.save();
    scene.opens("v4", &daemon);
    scene.opens("v6", &daemon);
    let before = scene.rules();
    assert_eq!(before.iter().filter(|rule| rule.contains("_exp_")).count(), 2, "{before:?}");
    match deed {
        Deed::Runs(commands) => commands.iter().for_each(|command| scene.both(command)),
        Deed::RestoresOldSave => scene.restore(&saved),
        Deed::RestoresOwnRules => drop(wall.drop(&scene.world.server, "accept")),
    }
    let done = Instant::now();
    let ours =
        |rules: Vec<String>| -> Vec<String> { rules.into_iter().filter(|rule| rule.contains("FWKNOP")).collect() };
    let back = within(PATIENCE, || ours(scene.rules()) == ours(before.clone()));
    let took = done.elapsed();
    println!("{wall:?}, {deed:?}: back after {took:?}");
    assert!(back, "{wall:?}, {deed:?}: {:#?}\n{}", scene.rules(), daemon.logs.text());
    let limit = if wall == Wall::IptablesNft { Duration::from_secs(2) } else { Duration::from_secs(5) };
    assert!(took < limit, "{wall:?}, {deed:?}: {took:?}");
    daemon.logs.expect(&[&format!("{BACK}2)")]);
    assert!(scene.world.v4().connects(PORT) && scene.world.v6().connects(PORT), "{wall:?}, {deed:?}");
    assert!(!scene.world.v4().connects(OTHER_PORT), "{wall:?}, {deed:?}");
    assert!(!scene.rules().iter().any(|rule| rule.contains("LET_IN")), "{:?}", scene.rules());
    daemon.stop();
    assert!(ours(scene.rules()).is_empty(), "{wall:?}, {deed:?}: {:?}", scene.rules());
}

#[test]
fn it_ends_when_it_would_have_ended() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 9);
        let daemon = scene.daemon();
        let knocked = scene.opens("v4", &daemon);
        scene.both("-F FWKNOP_INPUT");
        daemon.logs.expect(&[&format!("{BACK}1)")]);
        let closed = scene.world.v4().closes(PORT, Duration::from_secs(14));
        let after = closed.expect("it closes").saturating_duration_since(knocked);
        assert!((8_500..=11_500).contains(&after.as_millis()), "{wall:?}: {after:?}");
    });
}

#[test]
fn what_leads_to_an_inner_host_leads_there_again() {
    each_variant(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        gateway.inner.ask("listen 22");
        let stanza = access(PORT, 60).replace(&format!("OPEN_PORTS tcp/{PORT}"), "OPEN_PORTS tcp/5555");
        let conf = conf(wall) + "ENABLE_IPT_FORWARDING Y;\n";
        let settings = Settings::new(&gateway.world, &conf, &(stanza + "NAT_DESTINATIONS 10.72.0.2\n"));
        let daemon = Daemon::start(&gateway.world, Maker::Ours, &settings);
        let rc = format!("[gate]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nKEY key-of-{PORT}\nHMAC_KEY tag-of-{PORT}\n");
        let knock = ["-n", "gate", "-A", "tcp/5555", "-N", "10.72.0.2:22"];
        Client::new(&rc).knock(&gateway.world.client, Maker::Ours, &knock);
        assert!(gateway.opens(to_gateway(5555)).is_some(), "{wall:?}: {}", daemon.logs.text());
        for (count, command) in ["-t nat -F", "-t filter -F FWKNOP_FORWARD"].iter().enumerate() {
            let program = format!("iptables-{}", wall.variant());
            gateway.world.server.run(&program, &command.split(' ').collect::<Vec<_>>());
            assert!(within(PATIENCE, || times(&daemon, BACK) > count), "{wall:?}: {command}: {}", daemon.logs.text());
            assert!(gateway.opens(to_gateway(5555)).is_some(), "{wall:?}, {command}: {}", daemon.logs.text());
        }
        daemon.stop();
    });
}

/// All of them in a few transactions, not one by one.
#[test]
fn a_thousand_are_back_as_soon_as_one() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 60);
        scene.daemon().kill9();
        let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 60;
        let line = |n: u32| {
            let address = format!("10.1.{}.{}", n / 250, n % 250);
            format!("-A FWKNOP_INPUT -s {address} -p 6 --dport 22 -m comment --comment _exp_{end} -j ACCEPT\n")
        };
        for part in 0..10 {
            let lines: String = (part * 100..(part + 1) * 100).map(line).collect();
            let restore = scene.of_variant("iptables-restore");
            scene.world.server.feed(&restore, &["--noflush"], &format!("*filter\n{lines}COMMIT\n"));
        }
        let daemon = scene.daemon();
        let open = || scene.rules().iter().filter(|rule| rule.contains("_exp_")).count();
        assert_eq!(open(), 1000);
        scene.both("-F FWKNOP_INPUT");
        let flushed = Instant::now();
        assert!(within(PATIENCE, || open() == 1000), "{wall:?}: {} are back", open());
        let took = flushed.elapsed();
        println!("{wall:?}: a thousand are back after {took:?}");
        assert!(took < Duration::from_secs(6), "{wall:?}: {took:?}");
        daemon.logs.expect(&[&format!("{BACK}1000)")]);
        daemon.stop();
    });
}

#[test]
fn one_rule_among_others_stays_deleted() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 60);
        let daemon = scene.daemon();
        scene.opens("v4", &daemon);
        scene.opens("other", &daemon);
        // So that both have been seen in the firewall by a look.
        std::thread::sleep(settled(wall));
        let rule = scene.rules().into_iter().find(|rule| rule.contains(&format!("--dport {PORT} "))).expect("a rule");
        scene.one("iptables", &rule.replacen("-A", "-D", 1));
        std::thread::sleep(settled(wall));
        assert!(!scene.world.v4().connects(PORT), "{wall:?}: {}", daemon.logs.text());
        assert!(scene.world.v4().connects(OTHER_PORT), "{wall:?}");
        assert_eq!(times(&daemon, BACK), 0);
        // Whom it was deleted for may knock again.
        scene.opens("v4", &daemon);
    });
}

/// A ruleset from before holds what has been closed since.
#[test]
fn what_was_closed_does_not_come_back_with_an_old_save() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 60);
        let daemon = scene.daemon();
        scene.opens("v4", &daemon);
        let saved = scene.save();
        let mut close = scene.world.server.command(Maker::Ours.daemon());
        close.args(["grants", "close", "1", "--yes", "-c"]).arg(scene.settings.path("fwknopd.conf"));
        assert!(bounded(close, PATIENCE).status.success());
        scene.opens("other", &daemon);
        assert!(!scene.world.v4().connects(PORT));
        scene.restore(&saved);
        let gone = || !scene.rules().iter().any(|rule| rule.contains(&format!("--dport {PORT} ")));
        assert!(within(Duration::from_secs(6), gone), "{wall:?}: {:?}\n{}", scene.rules(), daemon.logs.text());
        assert!(scene.world.v4().opens(OTHER_PORT), "{wall:?}: {}", daemon.logs.text());
        assert!(!scene.world.v4().connects(PORT));
    });
}

/// A ruleset from before may hold some of what is open, and not the rest.
#[test]
fn what_an_old_save_lacks_is_put_back() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 60);
        let daemon = scene.daemon();
        scene.opens("v4", &daemon);
        let (saved, with_counts) = (scene.save(), scene.save_as(&["-c"]));
        scene.opens("other", &daemon);
        let before = scene.rules();
        for (options, saved) in [(&[][..], saved), (&["-c"], with_counts)] {
            std::thread::sleep(settled(wall));
            scene.restore_as(options, &saved);
            let back = || scene.rules() == before;
            assert!(within(settled(wall), back), "{wall:?}, {options:?}: {:?}\n{}", scene.rules(), daemon.logs.text());
            assert!(scene.world.v4().all_open(&[PORT, OTHER_PORT]));
        }
    });
}

#[test]
fn a_knock_that_comes_before_the_look_does_not_hide_the_loss() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 60);
        let daemon = scene.daemon();
        scene.opens("v4", &daemon);
        std::thread::sleep(settled(wall));
        scene.both("-F FWKNOP_INPUT");
        scene.knock("other");
        assert!(
            scene.world.v4().all_open(&[PORT, OTHER_PORT]),
            "{wall:?}: {:?}\n{}",
            scene.rules(),
            daemon.logs.text()
        );
    });
}

#[test]
fn while_nothing_is_open_it_sleeps() {
    each_variant(|wall| {
        let scene = Scene::new(wall, 2);
        let daemon = scene.daemon();
        scene.opens("v4", &daemon);
        daemon.logs.expect(&["close ", "reason=expired"]);
        std::thread::sleep(Duration::from_secs(1));
        let before = daemon.status("voluntary_ctxt_switches");
        std::thread::sleep(Duration::from_secs(5));
        let woken = daemon.status("voluntary_ctxt_switches") - before;
        assert_eq!(woken, 0, "{wall:?}: it woke up though nothing was open");
    });
}

#[test]
fn it_lists_nothing_because_of_its_own_changes() {
    let scene = Scene::new(Wall::IptablesNft, 60);
    let count = scene.count_saves();
    let daemon = scene.daemon();
    scene.opens("v4", &daemon);
    std::thread::sleep(settled(Wall::IptablesNft));
    let saves = || fs::read_to_string(&count).map_or(0, |text| text.lines().count());
    let before = saves();
    assert!(before > 0, "it is counted");
    for _ in 0..10 {
        scene.knock("v4");
        scene.knock("other");
        std::thread::sleep(Duration::from_millis(150));
    }
    scene.opens("other", &daemon);
    std::thread::sleep(settled(Wall::IptablesNft));
    assert_eq!(saves(), before, "{}", daemon.logs.text());
    scene.both("-A INPUT -p 50 -j ACCEPT");
    assert!(within(PATIENCE, || saves() > before), "somebody else's change is looked at");
}

/// Longer than it takes until a change was looked at.
fn settled(wall: Wall) -> Duration {
    if wall == Wall::IptablesNft { Duration::from_millis(1500) } else { Duration::from_millis(4500) }
}

fn each_variant(prove: fn(Wall)) {
    std::thread::scope(|scope| {
        for wall in VARIANTS {
            scope.spawn(move || prove(wall));
        }
    });
}

struct Scene {
    world: World,
    settings: Settings,
    client: Client,
    wall: Wall,
    lifetime: u32,
}

impl Scene {
    fn new(wall: Wall, lifetime: u32) -> Self {
        let world = World::new();
        world.serve(&[PORT, OTHER_PORT]);
        wall.drop(&world.server, "accept");
        let stanzas = access(PORT, lifetime) + &access(OTHER_PORT, lifetime);
        let settings = Settings::new(&world, &conf(wall), &stanzas);
        let rc = |name: &str, server: &str, allow: &str, port: u16| {
            format!(
                "[{name}]\nSPA_SERVER {server}\nALLOW_IP {allow}\nACCESS tcp/{port}\nKEY key-of-{port}\nHMAC_KEY tag-of-{port}\n"
            )
        };
        let ways =
            [("v4", SERVER, CLIENT, PORT), ("v6", SERVER_V6, CLIENT_V6, PORT), ("other", SERVER, CLIENT, OTHER_PORT)];
        let client = Client::new(&ways.map(|(name, server, allow, port)| rc(name, server, allow, port)).concat());
        Self { world, settings, client, wall, lifetime }
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.world, Maker::Ours, &self.settings)
    }

    fn knock(&self, name: &str) {
        self.client.knock(&self.world.client, Maker::Ours, &["-n", name]);
    }

    #[track_caller]
    fn opens(&self, name: &str, daemon: &Daemon) -> Instant {
        self.knock(name);
        let knocked = Instant::now();
        let port = if name == "other" { OTHER_PORT } else { PORT };
        assert!(self.road(name).opens(port), "{name}, {:?}: {}", self.wall, daemon.logs.text());
        knocked
    }

    fn road(&self, name: &str) -> Road<'_> {
        if name == "v6" { self.world.v6() } else { self.world.v4() }
    }

    /// The same command by both programs.
    fn both(&self, command: &str) {
        for program in PROGRAMS {
            let icmp = if program == "iptables" { "icmp" } else { "ipv6-icmp" };
            self.one(program, &command.replace("ICMP", icmp));
        }
    }

    fn one(&self, program: &str, command: &str) {
        if command == "-X" {
            // The daemon may have been quicker and be using its chain again.
            self.world.server.try_run(&self.of_variant(program), &[command]);
            return;
        }
        self.world.server.run(&self.of_variant(program), &command.split(' ').collect::<Vec<_>>());
    }

    fn of_variant(&self, program: &str) -> String {
        let (family, verb) = program.split_once('-').map_or((program, String::new()), |(f, v)| (f, format!("-{v}")));
        format!("{family}-{}{verb}", self.wall.variant())
    }

    fn save(&self) -> [String; 2] {
        self.save_as(&[])
    }

    fn save_as(&self, options: &[&str]) -> [String; 2] {
        let options = [&["-t", "filter"], options].concat();
        PROGRAMS.map(|program| self.world.server.run(&self.of_variant(&format!("{program}-save")), &options))
    }

    fn restore(&self, saved: &[String; 2]) {
        self.restore_as(&[], saved);
    }

    fn restore_as(&self, options: &[&str], saved: &[String; 2]) {
        for (program, text) in PROGRAMS.iter().zip(saved) {
            self.world.server.feed(&self.of_variant(&format!("{program}-restore")), options, text);
        }
    }

    /// Of both programs.
    fn rules(&self) -> Vec<String> {
        self.save()
            .iter()
            .flat_map(|text| text.lines())
            .filter(|line| line.starts_with("-A"))
            .map(str::to_owned)
            .collect()
    }

    /// Lets the daemon's listings be counted: each is a line in this file.
    fn count_saves(&self) -> std::path::PathBuf {
        let (programs, count) = (self.settings.path("bin"), self.settings.path("count"));
        fs::create_dir(&programs).expect("a directory");
        for program in ["iptables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"] {
            let counting =
                if program.ends_with("-save") { format!("echo >> {}\n", count.display()) } else { String::new() };
            let path = programs.join(program);
            let script = format!("#!/bin/sh\n{counting}exec /usr/sbin/{} \"$@\"\n", self.of_variant(program));
            fs::write(&path, script).expect("a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
        }
        let conf = format!("FIREWALL_EXE {};\n", programs.join("iptables").display());
        self.settings.rewrite(&conf, &(access(PORT, self.lifetime) + &access(OTHER_PORT, self.lifetime)));
        count
    }
}

fn conf(wall: Wall) -> String {
    format!("FIREWALL_EXE /usr/sbin/iptables-{};\n", wall.variant())
}
