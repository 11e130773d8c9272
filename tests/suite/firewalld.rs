//! The real firewalld, over either of the kernel's interfaces: what was granted is open and nothing else, whatever firewalld
//! does in the meantime. What grants can lead to is in `nat.rs`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::support::firewalld::Firewalld;
use crate::support::gateway::Wall;
use crate::support::many::{leave_rules, seen_after};
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};
use crate::support::{PATIENCE, within};

#[test]
fn what_was_open_is_open_again_after_a_reload_and_ends_on_time() {
    comes_back(|scene| {
        scene.firewalld.as_ref().expect("it is its wall").cmd(&scene.world.server, &["--reload"]);
    });
}

#[test]
fn what_was_open_is_open_again_after_a_restart_and_ends_on_time() {
    comes_back(|scene| restart(scene, Firewalld::stop, Duration::from_secs(1)));
}

/// Within the time that was promised (`docs/configuration.md`), and for the rest of its own.
fn comes_back(deed: impl Fn(&mut Scene) + Sync) {
    each(|wall| {
        let mut scene = Scene::behind(wall, 20);
        let before = scene.ruleset();
        let daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        deed(&mut scene);
        let since = Instant::now();
        assert!(scene.road().opens(PORT), "{wall:?}: {}", daemon.logs.text());
        println!("{wall:?}: open again after {:?}", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(5), "{wall:?}: {}", daemon.logs.text());
        daemon.logs.expect(&["it is put back, and what was to be open is open again (grants=1)"]);
        assert!(!scene.road().connects(OTHER_PORT));
        scene.closes_on_time(PORT, knocked, Duration::from_secs(20));
        daemon.stop();
        assert_eq!(scene.ruleset(), before, "something of ours is left");
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
        // Nor is anything else of ours left.
        daemon.stop();
        assert!(!scene.ruleset().contains("FWKNOP"));
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
    let due = Duration::from_secs(end);
    assert!(now() < due, "this machine is too slow for this test");
    std::thread::sleep(due - now());
    let late = seen_after(end, || held() > 1000);
    println!("the last of 5000 was seen {late:?} after the end");
    assert!(late <= Duration::from_secs(2) && held() == 1000, "{late:?}, {} are left", held());
    assert!(daemon.logs.count_of(5000, 0, &["close ", "reason=expired"], PATIENCE));
    daemon.stop();
    assert_eq!(scene.ruleset(), before, "something of ours is left");
}

/// It took all rules away, ours as well.
#[test]
fn what_ends_while_firewalld_is_stopped_does_not_come_back_with_it() {
    let mut scene = Scene::behind(Wall::Firewalld, 4);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    scene.firewalld.as_mut().expect("it is its wall").stop();
    std::thread::sleep(Duration::from_secs(6).saturating_sub(knocked.elapsed()));
    scene.firewalld.as_mut().expect("it is its wall").run(&scene.world.server);
    daemon.logs.expect(&["close ", "reason=expired"]);
    assert!(!scene.road().connects(PORT), "{}", daemon.logs.text());
    scene.opens(PORT, &daemon);
    // There is nothing to clean up, and that is no failure.
    scene.firewalld.as_mut().expect("it is its wall").stop();
    let mark = daemon.logs.mark();
    daemon.signal(Signal::TERM);
    daemon.logs.expect_after(mark, &["close ", "reason=exit"]);
    daemon.stop();
}

/// As somebody would who is not in a hurry.
fn restart(scene: &mut Scene, end: fn(&mut Firewalld), pause: Duration) {
    let firewalld = scene.firewalld.as_mut().expect("it is its wall");
    end(firewalld);
    std::thread::sleep(pause);
    firewalld.run(&scene.world.server);
}

fn firewalld(scene: &Scene) -> &Firewalld {
    scene.firewalld.as_ref().expect("it is its wall")
}

fn each(prove: impl Fn(Wall) + Sync) {
    Wall::each_of(&[Wall::Firewalld, Wall::FirewalldNft], prove);
}
