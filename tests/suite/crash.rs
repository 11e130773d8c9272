//! `kill -9` with open grants: the kernel closes them on time, the next daemon knows them, and no packet works twice.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::gateway::Wall;
use crate::support::logs::Logs;
use crate::support::peers::Maker;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access, access_to};
use crate::support::{PATIENCE, within};

#[test]
fn grants_of_a_killed_daemon_end_on_time() {
    let scene = Scene::new(4);
    let before = scene.ruleset();
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    daemon.kill9();
    assert!(scene.road().connects(PORT), "the grant outlives the daemon");
    scene.closes_on_time(PORT, knocked, Duration::from_secs(4));
    assert!(!scene.ruleset().contains("10.71.0.2"), "an address stays behind:\n{}", scene.ruleset());

    // The next daemon cleans up what is left, and leaves nothing itself.
    scene.daemon().stop();
    assert_eq!(scene.ruleset(), before);
}

#[test]
fn the_next_daemon_adopts_what_is_open() {
    let scene = Scene::new(6);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    daemon.kill9();

    let daemon = scene.daemon();
    daemon.logs.expect(&["adopt", "tcp/2201"]);
    assert!(scene.road().connects(PORT), "adopted, not dropped");
    daemon.logs.expect(&["close", "tcp/2201", "reason=expired"]);
    scene.closes_on_time(PORT, knocked, Duration::from_secs(6));
    // The count goes on: no number stands for two grants.
    scene.opens(PORT, &daemon);
    daemon.logs.expect(&["open", "grant=2", "tcp/2201"]);
}

#[test]
fn a_packet_from_before_the_crash_is_refused() {
    let scene = Scene::new(2);
    scene.world.record(62201);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    // Killed right after the grant: what was remembered must be on disk already.
    daemon.kill9();
    scene.closes_on_time(PORT, knocked, Duration::from_secs(2));

    let daemon = scene.daemon();
    let packets = scene.world.recorded();
    assert_eq!(packets.len(), 1);
    scene.road().send(&packets[0]);
    daemon.logs.expect(&["refuse", "reason=replay"]);
    assert!(!scene.road().connects(PORT));
    // The store is not merely refusing everything.
    scene.opens(PORT, &daemon);
}

#[test]
fn what_was_open_is_open_in_a_new_ruleset_or_closed_when_so_configured() {
    Wall::each(|wall| {
        let scene = Scene::behind(wall, 300);
        let configure = |conf: &str| {
            let stanzas = [PORT, OTHER_PORT].map(|port| access(port, 300));
            scene.settings.rewrite(&format!("{}{conf}", wall.conf()), &stanzas.concat());
        };
        for (conf, open) in [("", true), ("FLUSH_IPT_AT_INIT Y;\n", false)] {
            configure("");
            let daemon = scene.daemon();
            [PORT, OTHER_PORT].iter().for_each(|port| _ = scene.opens(*port, &daemon));
            daemon.kill9();
            match &scene.firewalld {
                Some(firewalld) => _ = firewalld.cmd(&scene.world.server, &["--reload"]),
                None => {
                    if wall == Wall::Nftables {
                        scene.world.server.run("nft", &["flush", "ruleset"]);
                    }
                    wall.drop(&scene.world.server, "accept");
                }
            }
            configure(conf);
            let daemon = scene.daemon();
            let (road, ports) = (scene.road(), [PORT, OTHER_PORT]);
            let right = if open { road.all_open(&ports) } else { road.scan(&ports).is_empty() };
            assert!(right, "{wall:?}: {}", daemon.logs.text());
            daemon.logs.expect(&[if open { "adopt " } else { "reason=flushed" }]);
            daemon.stop();
            // What was closed stays so.
            configure("");
            let daemon = scene.daemon();
            assert!(scene.road().scan(&ports).is_empty(), "{wall:?}: {}", daemon.logs.text());
            daemon.stop();
        }
    });
}

#[test]
fn killed_at_any_moment_it_starts_again() {
    const ROUNDS: u16 = 6;
    let scene = Scene::new(2);
    // A port for each knock, so that the logs tell which packet opened, and grants that the next daemon finds.
    let ports: Vec<String> = (0..ROUNDS).map(|round| format!("tcp/{}", 2301 + round)).collect();
    scene.settings.rewrite("", &access_to(&ports.join(","), PORT, 600));
    scene.world.record(62201);
    let mut logs = Vec::new();
    for (round, port) in ports.iter().enumerate() {
        let daemon = scene.daemon();
        logs.push(daemon.logs.clone());
        scene.client.knock(&scene.world.client, Maker::Original, &["-n", &PORT.to_string(), "-A", port]);
        std::thread::sleep(Duration::from_millis(round as u64));
        daemon.kill9();
    }
    let recorded = || scene.world.recorded().len();
    assert!(within(PATIENCE, || recorded() >= ports.len()), "only {} of the knocks were recorded", recorded());
    let packets = scene.world.recorded();
    assert_eq!(packets.len(), ports.len(), "one packet per knock");

    let daemon = scene.daemon();
    logs.push(daemon.logs.clone());
    for packet in packets {
        let mark = daemon.logs.mark();
        scene.road().send(&packet);
        // One that the kill overtook may still be good; never twice.
        daemon.logs.expect_after(mark, &["src=10.71.0.2"]);
        let mark = daemon.logs.mark();
        scene.road().send(&packet);
        daemon.logs.expect_after(mark, &["refuse", "reason=replay"]);
    }
    for port in &ports {
        let grants = grants(&logs, port);
        assert!(grants.len() <= 1, "{port} was opened by the grants {grants:?}");
    }
    assert!(ports.iter().any(|port| !grants(&logs, port).is_empty()), "nothing was ever opened");
}

/// All grants for this port that any of the daemons opened, or found open because a kill came before the log line.
fn grants(logs: &[Logs], port: &str) -> BTreeSet<String> {
    let text: String = logs.iter().map(|logs| logs.text() + "\n").collect();
    let opened = |line: &&str| ["open    ", "adopt   "].iter().any(|verb| line.contains(verb));
    let ports = format!("ports={port}");
    text.lines()
        .filter(opened)
        .filter(|line| line.split_whitespace().any(|word| word == ports))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("grant=")))
        .map(str::to_owned)
        .collect()
}
