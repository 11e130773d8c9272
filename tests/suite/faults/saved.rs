//! A ruleset of nftables that somebody saved while the daemon ran, and loads again: it has our chains, and elements of then or
//! none.

use std::time::Duration;

use super::held;
use crate::support::peers::Daemon;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};
use crate::support::{PATIENCE, within};

const LIFETIME: u64 = 8;

#[test]
fn without_elements_what_is_open_is_opened_again() {
    let scene = scene();
    let daemon = scene.daemon();
    let saved = scene.world.server.run("nft", &["list", "ruleset"]);
    let knocked = scene.opens(PORT, &daemon);
    load(&scene, &saved);
    assert!(within(PATIENCE, || held(&scene) == 1), "{}", daemon.logs.text());
    assert!(scene.road().connects(PORT), "{}", daemon.logs.text());
    scene.closes_on_time(PORT, knocked, Duration::from_secs(LIFETIME));
    daemon.stop();
}

#[test]
fn with_elements_of_then_nothing_is_open_that_has_ended() {
    let scene = scene();
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    // With the time they had left, as `nft list ruleset` writes it, and without.
    let saved = [scene.world.server.run("nft", &["list", "ruleset"]), scene.ruleset()];
    scene.closes_on_time(PORT, knocked, Duration::from_secs(LIFETIME));
    let other = scene.opens(OTHER_PORT, &daemon);
    for saved in &saved {
        load(&scene, saved);
        let only_other = || scene.road().scan(&[PORT, OTHER_PORT]) == [OTHER_PORT];
        assert!(within(PATIENCE, only_other), "{}\n{}", scene.ruleset(), daemon.logs.text());
    }
    scene.closes_on_time(OTHER_PORT, other, Duration::from_secs(LIFETIME));
    none_left(&scene, daemon);
}

#[test]
fn the_same_elements_end_when_they_should() {
    let scene = scene();
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    for saved in [scene.world.server.run("nft", &["list", "ruleset"]), scene.ruleset()] {
        load(&scene, &saved);
        std::thread::sleep(Duration::from_millis(600));
    }
    assert!(scene.road().connects(PORT));
    scene.closes_on_time(PORT, knocked, Duration::from_secs(LIFETIME));
    none_left(&scene, daemon);
}

fn scene() -> Scene {
    let scene = Scene::new(LIFETIME as u32);
    scene.settings.rewrite("", &(access(PORT, LIFETIME as u32) + &access(OTHER_PORT, LIFETIME as u32)));
    scene
}

/// As `/etc/nftables.conf` does.
fn load(scene: &Scene, saved: &str) {
    scene.world.server.feed("nft", &["-f", "-"], &format!("flush ruleset\n{saved}"));
}

fn none_left(scene: &Scene, daemon: Daemon) {
    assert!(within(PATIENCE, || held(scene) == 0), "{}", scene.ruleset());
    daemon.stop();
}
