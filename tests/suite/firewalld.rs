//! The real firewalld, over either of the kernel's interfaces: what was granted is open and nothing else, whatever firewalld
//! does in the meantime. What grants can lead to is in `nat.rs`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::firewalld::Firewalld;
use crate::support::gateway::Wall;
use crate::support::many::leave_rules;
use crate::support::peers::Daemon;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};
use crate::support::{PATIENCE, within};

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

/// What ends is closed without it.
#[test]
fn a_firewalld_that_died_or_hangs_keeps_nothing_open() {
    for fault in [Firewalld::kill9 as fn(&mut Firewalld), |firewalld| firewalld.hang(true)] {
        let mut scene = Scene::behind(Wall::Firewalld, 6);
        let daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        fault(scene.firewalld.as_mut().expect("it is its wall"));
        scene.closes_on_time(PORT, knocked, Duration::from_secs(6));
        daemon.logs.expect(&["close ", "reason=expired"]);
        assert!(!scene.ruleset().contains("_exp_"));
    }
}

#[test]
fn thousands_of_grants_come_back_after_a_reload_and_are_closed_on_time() {
    let scene = Scene::behind(Wall::Firewalld, 60);
    scene.settings.rewrite(&format!("{}ENABLE_FIREWD_FORWARDING Y;\n", scene.wall.conf()), &access(PORT, 60));
    let before = scene.ruleset();
    scene.daemon().kill9();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    let end = now().as_secs() + 35;
    leave_rules(&scene.world.server, "nft", (5000, end), (1000, end + 600));
    let daemon = scene.daemon();
    let held = || scene.world.server.run("iptables-nft-save", &[]).matches("_exp_").count();
    assert_eq!(held(), 9000);
    let begun = Instant::now();
    firewalld(&scene).cmd(&scene.world.server, &["--reload"]);
    let reloaded = Instant::now();
    assert!(within(PATIENCE, || held() == 9000), "{} are back\n{}", held(), daemon.logs.text());
    println!("a reload of {:?}, and all were back {:?} later", reloaded - begun, reloaded.elapsed());
    daemon.logs.expect(&["what was to be open is open again (grants=6000)"]);
    // A rule ends with the second that it names.
    let due = Duration::from_secs(end + 1);
    assert!(now() < due, "this machine is too slow for this test");
    std::thread::sleep(due - now());
    assert!(within(PATIENCE, || held() == 1000), "{} are left", held());
    let late = now() - due;
    println!("the last of 5000 was closed {late:?} late");
    assert!(late <= Duration::from_secs(2), "the last was closed {late:?} late");
    assert!(daemon.logs.count_of(5000, 0, &["close ", "reason=expired"], PATIENCE));
    daemon.stop();
    assert_eq!(scene.ruleset(), before, "something of ours is left");
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
