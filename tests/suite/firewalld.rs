//! The real firewalld, over either of the kernel's interfaces: what was granted is open and nothing else, whatever firewalld
//! does in the meantime. What grants can lead to is in `nat.rs`.

use std::time::{Duration, Instant};

use crate::support::firewalld::Firewalld;
use crate::support::gateway::Wall;
use crate::support::peers::Daemon;
use crate::support::scene::{OTHER_PORT, PORT, Scene};

#[test]
fn what_was_open_is_open_again_after_a_reload_and_ends_on_time() {
    each(|wall| {
        let scene = Scene::behind(wall, 12);
        let before = scene.ruleset();
        let daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        firewalld(&scene).cmd(&scene.world.server, &["--reload"]);
        is_back(&scene, &daemon);
        assert!(!scene.road().connects(OTHER_PORT));
        scene.closes_on_time(PORT, knocked, Duration::from_secs(12));
        daemon.stop();
        assert_eq!(scene.ruleset(), before, "something of ours is left");
    });
}

#[test]
fn what_was_open_is_open_again_after_a_restart_and_ends_on_time() {
    each(|wall| {
        let mut scene = Scene::behind(wall, 20);
        let daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        restart(&mut scene, Firewalld::stop, Duration::from_secs(1));
        is_back(&scene, &daemon);
        assert!(!scene.road().connects(OTHER_PORT));
        scene.closes_on_time(PORT, knocked, Duration::from_secs(20));
        daemon.stop();
    });
}

/// It left its rules and ours where they were, and makes its own anew.
#[test]
fn a_firewalld_that_was_killed_and_started_again_loses_nothing() {
    each(|wall| {
        let mut scene = Scene::behind(wall, 20);
        let daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        restart(&mut scene, Firewalld::kill9, Duration::from_secs(1));
        assert!(scene.road().opens(PORT), "{wall:?}: {}", daemon.logs.text());
        // Nor later: somebody may still be cleaning up.
        std::thread::sleep(Duration::from_secs(3));
        assert!(scene.road().connects(PORT), "{wall:?}: {}", daemon.logs.text());
        scene.closes_on_time(PORT, knocked, Duration::from_secs(20));
        daemon.stop();
    });
}

#[test]
fn while_firewalld_is_stopped_a_knock_is_told_to_have_failed_and_the_next_after_its_return_opens() {
    let mut scene = Scene::behind(Wall::Firewalld, 60);
    let daemon = scene.daemon();
    scene.firewalld.as_mut().expect("it is its wall").stop();
    scene.knock(PORT);
    daemon.logs.expect(&["firewalld is not running"]);
    daemon.logs.expect(&["reason=failed"]);
    scene.firewalld.as_mut().expect("it is its wall").run(&scene.world.server);
    assert!(!scene.road().connects(PORT));
    scene.opens(PORT, &daemon);
    daemon.stop();
}

/// As somebody would who is not in a hurry.
fn restart(scene: &mut Scene, end: fn(&mut Firewalld), pause: Duration) {
    let firewalld = scene.firewalld.as_mut().expect("it is its wall");
    end(firewalld);
    std::thread::sleep(pause);
    firewalld.run(&scene.world.server);
}

/// Within the time that was promised (`docs/configuration.md`).
fn is_back(scene: &Scene, daemon: &Daemon) {
    let since = Instant::now();
    assert!(scene.road().opens(PORT), "{:?}: {}", scene.wall, daemon.logs.text());
    println!("{:?}: open again after {:?}", scene.wall, since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}: {}", scene.wall, daemon.logs.text());
    daemon.logs.expect(&["it is put back, and what was to be open is open again (grants=1)"]);
}

fn firewalld(scene: &Scene) -> &Firewalld {
    scene.firewalld.as_ref().expect("it is its wall")
}

fn each(prove: impl Fn(Wall) + Sync) {
    Wall::each_of(&[Wall::Firewalld, Wall::FirewalldNft], prove);
}
