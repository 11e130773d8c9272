//! Somebody sets the clock while something is open.

use std::time::{Duration, Instant};

use crate::control::grants;
use crate::support::clock::FakeClock;
use crate::support::gateway::Wall;
use crate::support::peers::{Daemon, Maker, READY};
use crate::support::scene::{PORT, Scene};

const HOUR: i64 = 3600;
const LIFETIME: u64 = 6;

#[test]
fn what_is_open_ends_after_its_time_and_not_before() {
    each_way(|wall, ahead| {
        let site = Site::new(wall);
        let daemon = site.daemon();
        let knocked = site.scene.opens(PORT, &daemon);
        site.clock.set(ahead);
        // Nobody wakes it up.
        std::thread::sleep(Duration::from_secs(2));
        assert!(site.scene.road().connects(PORT), "{wall:?} {ahead}: {}", daemon.logs.text());
        site.closes(knocked);
        daemon.logs.expect(&["the clock was set", if ahead > 0 { "ahead" } else { "back" }, "(grants=1)"]);
        daemon.logs.expect(&["close ", "reason=expired"]);
        // And who comes after that gets in, for as long as ever.
        let knocked = site.knock_by(ahead);
        assert!(site.scene.road().opens(PORT), "{wall:?} {ahead}: {}", daemon.logs.text());
        site.closes(knocked);
        daemon.stop();
    });
}

#[test]
fn the_next_daemon_closes_on_time_too() {
    each_way(|wall, ahead| {
        let site = Site::new(wall);
        let daemon = site.daemon();
        let knocked = site.scene.opens(PORT, &daemon);
        site.clock.set(ahead);
        site.wake();
        daemon.logs.expect(&["the clock was set"]);
        daemon.kill9();
        let daemon = site.daemon();
        daemon.logs.expect(&["adopt ", "grant=1 "]);
        // Whose it is, is known as well.
        let (_, grants) = site.grants();
        assert!(grants.contains("shared-key"), "{wall:?}: {grants}");
        assert!(site.scene.road().connects(PORT), "{wall:?} {ahead}: {}", daemon.logs.text());
        site.closes(knocked);
        daemon.stop();
    });
}

#[test]
fn no_packet_works_twice_whatever_the_clock_says() {
    let site = Site::new(Wall::Nftables);
    site.scene.world.record(62201);
    let daemon = site.daemon();
    let knocked = site.scene.opens(PORT, &daemon);
    site.closes(knocked);
    // So far ahead, the first packet is forgotten.
    site.clock.set(HOUR);
    let knocked = site.knock_by(HOUR);
    assert!(site.scene.road().opens(PORT), "{}", daemon.logs.text());
    site.closes(knocked);
    let packets = site.scene.world.recorded();
    assert_eq!(packets.len(), 2);
    for clock in [0, HOUR, -HOUR, 0] {
        site.clock.set(clock);
        for packet in &packets {
            let mark = daemon.logs.mark();
            site.scene.road().send(packet);
            daemon.logs.expect_after(mark, &["refuse "]);
        }
    }
    assert!(!site.scene.road().connects(PORT));
    // Nobody is locked out.
    site.scene.opens(PORT, &daemon);
    daemon.stop();
}

/// As on a machine whose own clock is wrong until it has asked for the time.
#[test]
fn a_daemon_that_started_with_a_wrong_clock_takes_what_came_after_its_start_and_nothing_from_before() {
    for ahead in [HOUR, -HOUR] {
        let site = Site::new(Wall::Nftables);
        site.scene.world.record(62201);
        site.scene.knock(PORT);
        assert!(crate::support::within(crate::support::PATIENCE, || site.scene.world.recorded().len() == 1));
        // Time stamps are whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
        site.clock.set(ahead);
        let daemon = site.daemon();
        site.scene.knock(PORT);
        daemon.logs.expect(&["refuse ", "reason="]);
        site.clock.set(0);
        site.wake();
        daemon.logs.expect(&["the clock was set"]);
        let mark = daemon.logs.mark();
        site.scene.road().send(&site.scene.world.recorded()[0]);
        daemon.logs.expect_after(mark, &["refuse "]);
        assert!(!site.scene.road().connects(PORT), "{ahead}: a packet from before the start opened something");
        site.scene.opens(PORT, &daemon);
        daemon.stop();
    }
}

/// With each firewall, ahead and back.
fn each_way(prove: impl Fn(Wall, i64) + Sync) {
    std::thread::scope(|scope| {
        for ahead in [HOUR, -HOUR] {
            let prove = &prove;
            scope.spawn(move || Wall::each(|wall| prove(wall, ahead)));
        }
    });
}

struct Site {
    scene: Scene,
    clock: FakeClock,
}

impl Site {
    fn new(wall: Wall) -> Self {
        Self { scene: Scene::behind(wall, LIFETIME as u32), clock: FakeClock::new() }
    }

    fn daemon(&self) -> Daemon {
        let mut command = self.clock.rule(self.scene.settings.command(&self.scene.world, Maker::Ours));
        command.arg("-f");
        let daemon = Daemon::follow(command);
        daemon.logs.expect(&[READY]);
        daemon
    }

    /// From somebody whose clock is as wrong.
    fn knock_by(&self, ahead: i64) -> Instant {
        let option = if ahead < 0 { "--time-offset-minus" } else { "--time-offset-plus" };
        let args = ["-n", &PORT.to_string(), option, &ahead.unsigned_abs().to_string()];
        self.scene.client.knock(&self.scene.world.client, Maker::Ours, &args);
        Instant::now()
    }

    fn closes(&self, knocked: Instant) {
        self.scene.closes_on_time(PORT, knocked, Duration::from_secs(LIFETIME));
    }

    /// The kernel would, if it was the machine's clock.
    fn wake(&self) {
        let (output, said) = self.grants();
        assert!(output.status.success(), "{said}");
    }

    fn grants(&self) -> (std::process::Output, String) {
        grants(&self.scene, &["--json"])
    }
}
