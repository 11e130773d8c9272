//! Thousands of grants at once, also where the kernel takes no great message of iptables: as in a container, which the tests of an
//! ordinary user run in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{FORWARDING_SNAT, Scene, each_variant, stanzas};
use crate::support::clock::FakeClock;
use crate::support::many::{leave_rules, seen_after};
use crate::support::peers::{Daemon, Maker, READY};
use crate::support::scene::PORT;
use crate::support::{PATIENCE, within};

const CLOSED_IN: u64 = 40;

/// Half of them forwards, which are rules in two tables, and a thousand others stay open all the time.
#[test]
fn thousands_of_grants_are_closed_on_time() {
    each_variant(|variant| {
        let (scene, daemon, end) = left_by_a_killed_daemon(variant, CLOSED_IN, 5000, 1000, Scene::daemon);
        let theirs = "-A FWKNOP_INPUT -i lo -j ACCEPT";
        scene.iptables().run(&theirs.split(' ').collect::<Vec<_>>());
        sleep_until(end);
        let staying = format!("_exp_{}", end + LATER);
        let late = closes(&scene, end, 1000, |rules| {
            let stay = rules.iter().filter(|rule| rule.contains(&staying)).count();
            assert_eq!(stay, 1000, "shut for a moment");
            assert!(rules.iter().any(|rule| rule == theirs), "somebody else's rule is gone");
        });
        println!("{variant}: the last of 5000 was still open {late:?} after its end");
        assert!(late <= Duration::from_secs(2), "{late:?}");
        assert!(daemon.logs.count_of(5000, 0, &["close ", "reason=expired"], PATIENCE));
        daemon.stop();
    });
}

#[test]
fn thousands_of_grants_come_back_after_a_flush() {
    each_variant(|variant| {
        let (scene, daemon, _) = left_by_a_killed_daemon(variant, 300, 5000, 0, Scene::daemon);
        let mut before = scene.rules();
        before.sort();
        assert_eq!(before.len(), 7500);
        for table in ["filter", "nat"] {
            scene.iptables().run(&["-t", table, "-F"]);
        }
        let flushed = Instant::now();
        let back = || {
            let mut now = scene.rules();
            now.sort();
            now == before
        };
        assert!(within(PATIENCE, back), "{} of {}", scene.rules().len(), before.len());
        println!("{variant}: all were back after {:?}", flushed.elapsed());
        daemon.logs.expect(&["what was to be open is open again (grants=5000)"]);
        daemon.stop();
    });
}

#[test]
fn the_ends_of_many_are_told_anew_when_the_clock_is_set() {
    each_variant(|variant| {
        let clock = FakeClock::new();
        let start = |scene: &Scene| {
            let mut command = clock.rule(scene.settings.command(&scene.world, Maker::Ours));
            command.arg("-f");
            let daemon = Daemon::follow(command);
            daemon.logs.expect(&[READY]);
            daemon
        };
        let (scene, daemon, end) = left_by_a_killed_daemon(variant, 300, 2000, 0, start);
        clock.set(3600);
        // Whatever wakes it.
        scene.knock(PORT);
        daemon.logs.expect(&["the clock was set", "(grants=2000)"]);
        let ends = |end: u64| {
            let comments = [end - 1, end, end + 1].map(|end| format!("_exp_{end} "));
            scene.rules().iter().filter(|rule| comments.iter().any(|end| rule.contains(end))).count()
        };
        let told = Instant::now();
        assert!(within(PATIENCE, || ends(end + 3600) == 3000), "{} of 3000", ends(end + 3600));
        println!("{variant}: all were told anew after {:?}", told.elapsed());
        assert!(within(PATIENCE, || scene.rules().len() == 3000), "{} rules", scene.rules().len());
        daemon.stop();
    });
}

/// Of the nf_tables variant, where it matters whether the ruleset is still the one that was listed.
#[test]
fn many_are_closed_while_somebody_changes_the_ruleset_all_the_time() {
    let (scene, daemon, end) = left_by_a_killed_daemon("nft", 8, 500, 100, Scene::daemon);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut count, begun) = (0, Instant::now());
            while !over.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE * 3 {
                for verb in ["-A", "-D"] {
                    scene.iptables().run(&[verb, "OUTPUT", "-p", "50", "-j", "ACCEPT"]);
                    count += 1;
                }
            }
            println!("{count} changes by somebody else");
        });
        sleep_until(end);
        let late = closes(&scene, end, 100, |_| ());
        over.store(true, Ordering::Relaxed);
        println!("the last of 500 was still open {late:?} after its end");
        assert!(late <= Duration::from_secs(2), "{late:?}");
    });
    daemon.stop();
}

/// How late the last of the others was still seen.
fn closes(scene: &Scene, end: u64, staying: usize, look: impl Fn(&[String])) -> Duration {
    seen_after(end, || {
        let rules = scene.iptables().rules();
        look(&rules);
        rules.iter().filter(|rule| rule.contains("_exp_")).count() > staying
    })
}

/// To open them by knocks would take these tests too long. Returns when they end: the `later` ones a minute after the others.
fn left_by_a_killed_daemon(
    variant: &'static str,
    lifetime: u64,
    count: usize,
    later: usize,
    start: impl Fn(&Scene) -> Daemon,
) -> (Scene, Daemon, u64) {
    let scene = Scene::new(variant, &stanzas(60), FORWARDING_SNAT);
    scene.daemon().kill9();
    let end = now() + lifetime;
    leave_rules(&scene.world.server, variant, (count, end), (later, end + LATER));
    let daemon = start(&scene);
    assert!(now() < end, "this machine is too slow for this test");
    (scene, daemon, end)
}

fn sleep_until(end: u64) {
    std::thread::sleep(Duration::from_secs(end.saturating_sub(now())));
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs()
}

const LATER: u64 = 60;
