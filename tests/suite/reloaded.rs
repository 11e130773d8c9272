//! Somebody else flushes or reloads the ruleset while grants are open: the kernel tells, set-up comes back, and so does what
//! was open, for the rest of its time and no longer.

mod iptables;

use std::time::{Duration, Instant};

use crate::support::netns::DEFAULT_DROP;
use crate::support::peers::Daemon;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};
use crate::support::{PATIENCE, within};

const BACK: &str = "it is put back, and what was to be open is open again (grants=";

fn nft(scene: &Scene, script: &str) {
    scene.world.server.feed("nft", &["-f", "-"], script);
}

fn reload(scene: &Scene) {
    nft(scene, &format!("flush ruleset;{DEFAULT_DROP}"));
}

/// How often the daemon said so.
fn times(daemon: &Daemon, line: &str) -> usize {
    daemon.logs.text().matches(line).count()
}

fn holds(scene: &Scene) -> bool {
    let ruleset = scene.ruleset();
    ruleset.contains("jump fwknop_input") && ruleset.contains("\"fwknop:1:")
}

#[test]
fn what_was_open_is_open_again_after_a_reload_and_ends_on_time() {
    let scene = Scene::new(8);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    reload(&scene);
    let reloaded = Instant::now();
    assert!(within(PATIENCE, || holds(&scene)), "{}\n{}", scene.ruleset(), daemon.logs.text());
    let took = reloaded.elapsed();
    println!("back after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    daemon.logs.expect(&[&format!("{BACK}1)")]);
    assert!(scene.road().connects(PORT));
    assert!(!scene.road().connects(OTHER_PORT));
    scene.closes_on_time(PORT, knocked, Duration::from_secs(8));
}

#[test]
fn it_waits_for_a_ruleset_that_comes_back_later_or_under_another_name() {
    let scene = Scene::new(60);
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    nft(&scene, "delete table inet filter");
    daemon.logs.expect(&["there is no input chain at all"]);
    daemon.logs.expect(&["Nothing can be opened until the firewall is as it should be."]);
    assert_eq!(times(&daemon, BACK), 0);
    // Another name for the chain: it is found as at the start.
    nft(&scene, &DEFAULT_DROP.replace("chain input", "chain incoming"));
    assert!(within(PATIENCE, || holds(&scene)), "{}\n{}", scene.ruleset(), daemon.logs.text());
    assert!(scene.road().opens(PORT));
    // Renamed in place.
    nft(&scene, "rename chain inet filter incoming arriving");
    scene.opens(PORT, &daemon);
    assert_eq!(scene.ruleset().matches("jump fwknop_input").count(), 1);
}

#[test]
fn a_knock_that_comes_before_the_look_does_not_hide_the_loss() {
    let scene = Scene::new(60);
    scene.settings.rewrite("", &(access(PORT, 60) + &access(OTHER_PORT, 60)));
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    reload(&scene);
    scene.knock(OTHER_PORT);
    assert!(scene.road().all_open(&[PORT, OTHER_PORT]), "{}", daemon.logs.text());
}

/// As where services that load rulesets are restarted one after the other, and do not stop with that.
#[test]
fn what_is_flushed_every_second_is_back_each_time_and_in_an_endless_fight_after_seconds() {
    let scene = Scene::new(60);
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    let (mut gone, mut back) = (Instant::now(), Vec::new());
    for _ in 0..18 {
        let flushed = Instant::now();
        if holds(&scene) {
            gone = flushed;
        }
        reload(&scene);
        if within(Duration::from_secs(1), || holds(&scene)) {
            back.push(gone.elapsed());
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(flushed.elapsed()));
    }
    println!("back after {back:?}");
    let first = &back[..back.len().min(8)];
    assert!(first.len() == 8 && first.iter().all(|took| *took < Duration::from_secs(2)), "{back:?}");
    assert!(back.iter().all(|took| *took < Duration::from_secs(5)), "{back:?}");
    assert!(back.len() < 18, "it gives way: {back:?}");
    assert!(within(Duration::from_secs(5), || holds(&scene)), "{}", daemon.logs.text());
    assert!(scene.road().connects(PORT));
}

#[test]
fn idle_it_sleeps_and_a_fight_over_the_ruleset_does_not_occupy_it() {
    let scene = Scene::new(60);
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    std::thread::sleep(Duration::from_secs(1));
    let before = daemon.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(daemon.status("voluntary_ctxt_switches"), before, "it woke up though nothing happened");

    let begun = Instant::now();
    for _ in 0..100 {
        reload(&scene);
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let (looks, woken) = (times(&daemon, BACK), daemon.status("voluntary_ctxt_switches") - before);
    println!("{looks} looks and {woken} wake-ups in {seconds:.1} s");
    // Ten at once, and then one every three seconds.
    assert!((1..=11 + seconds as usize / 3).contains(&looks), "{looks} in {seconds} s");
    assert!(woken < 300, "{woken} wake-ups for 100 reloads");
    // In the end it is as it should be.
    assert!(within(PATIENCE, || holds(&scene)), "{}", daemon.logs.text());
    assert!(scene.road().connects(PORT));
}
