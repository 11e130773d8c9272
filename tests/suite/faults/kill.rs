//! `kill -9` before each single step of a grant, and of its end: what was remembered is opened as a whole by the next daemon, and its
//! packet never works twice. While no daemon runs, nftables holds all of a grant or nothing; iptables changes one table after the other,
//! firewalld one rule after the other, and what lets packets through comes first, which alone leads nowhere. strace kills the daemon before a
//! system call of our choice.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;

use super::{FORWARD, FORWARDING, held};
use crate::control::grants;
use crate::support::gateway::Wall;
use crate::support::peers::{Daemon, Maker};
use crate::support::scene::{PORT, Scene, access};
use crate::support::{PATIENCE, within};

#[test]
fn while_a_grant_is_opened() {
    Wall::each(|wall| {
        let site = Site::new(wall);
        let found = site.at_each_step(|step| {
            let mut daemon = site.scene.daemon();
            let tracer = site.kills_before(step, &daemon);
            site.knock();
            let done = within(PATIENCE, || !daemon.lives() || daemon.logs.text().contains("open    "));
            assert!(done, "{wall:?}, {step:?}: {}", daemon.logs.text());
            if survived(daemon, tracer) {
                return None;
            }
            let left = site.left_by_the_dead();
            let daemon = site.scene.daemon();
            let there = held(&site.scene);
            assert!(there == site.whole || (left, there) == (0, 0), "{wall:?}, {step:?}: {}", site.scene.ruleset());
            let (packet, mark) = (site.last_packet(), daemon.logs.mark());
            site.scene.road().send(&packet);
            let said = daemon.logs.expect_after(mark, &["src=10.71.0.2"]);
            assert!(there == 0 || said.contains("reason=replay"), "{wall:?}, {step:?}: {said}");
            assert_eq!(held(&site.scene), site.whole, "{wall:?}, {step:?}, lost: {}", daemon.logs.text());
            let mark = daemon.logs.mark();
            site.scene.road().send(&packet);
            daemon.logs.expect_after(mark, &["refuse ", "reason=replay"]);
            site.goes(daemon);
            Some((left, there))
        });
        println!("{wall:?}: open when killed before a step, and with the next daemon: {found:?}");
        for (left, there) in [(0, 0), (0, site.whole), (site.whole, site.whole)] {
            let times = found.iter().filter(|found| **found == (left, there)).count();
            assert!(times > 2, "{wall:?}: {left} and {there} came {times} times: {found:?}");
        }
    });
}

#[test]
fn while_a_grant_is_closed() {
    Wall::each(|wall| {
        let site = Site::new(wall);
        let found = site.at_each_step(|step| {
            let daemon = site.scene.daemon();
            site.knock();
            daemon.logs.expect(&["open    "]);
            let tracer = site.kills_before(step, &daemon);
            let id = daemon.logs.text().split("grant=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
            let (output, said) = grants(&site.scene, &["close", &id, "--yes"]);
            let answered = output.status.success();
            if survived(daemon, tracer) {
                assert!(answered, "{wall:?}: {said}");
                return None;
            }
            let left = site.left_by_the_dead();
            let daemon = site.scene.daemon();
            let there = held(&site.scene);
            assert!(!answered || there == 0, "{wall:?}, {step:?}: what was closed is open: {}", daemon.logs.text());
            site.goes(daemon);
            Some(left)
        });
        println!("{wall:?}: open when killed before a step of the end: {found:?}");
        assert!(found.contains(&site.whole) && found.contains(&0), "{wall:?}: {found:?}");
    });
}

struct Site {
    scene: Scene,
    /// The firewall without a daemon.
    before: String,
    /// What a grant is made of.
    whole: usize,
}

impl Site {
    fn new(wall: Wall) -> Self {
        let scene = Scene::behind(wall, 600);
        scene.settings.rewrite(&format!("{}{FORWARDING}", wall.conf()), &access(PORT, 600));
        scene.world.record(62201);
        let before = scene.ruleset();
        let mut site = Self { scene, before, whole: 0 };
        let daemon = site.scene.daemon();
        site.knock();
        daemon.logs.expect(&["open    "]);
        site.whole = held(&site.scene);
        assert!(site.whole > 2, "{}", site.scene.ruleset());
        daemon.stop();
        assert_eq!(site.scene.ruleset(), site.before);
        site
    }

    fn knock(&self) {
        self.scene.client.knock(&self.scene.world.client, Maker::Ours, FORWARD);
    }

    fn last_packet(&self) -> Vec<u8> {
        self.scene.world.recorded().pop().expect("somebody knocked")
    }

    /// What is open after each; `None` when the daemon survived, because there are no more steps of this kind.
    fn at_each_step<T>(&self, mut kill: impl FnMut(Step) -> Option<T>) -> Vec<T> {
        STEPS.iter().flat_map(|call| (1..MOST).map_while(|nth| kill((call, nth))).collect::<Vec<_>>()).collect()
    }

    /// Only the loop is watched, and ends with the returned value.
    fn kills_before(&self, (call, nth): Step, daemon: &Daemon) -> Daemon {
        let pid = daemon.pid().as_raw_nonzero().to_string();
        let mut command = self.scene.world.server.command("strace");
        command.args(["-p", &pid, "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        let tracer = Daemon::follow(command);
        tracer.logs.expect(&["attached"]);
        tracer
    }

    /// A firewall program that was just started comes to its end by itself.
    fn left_by_the_dead(&self) -> usize {
        let mut last = held(&self.scene);
        within(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(50));
            std::mem::replace(&mut last, held(&self.scene)) == last
        });
        let by_halves = self.scene.wall != Wall::Nftables;
        assert!(by_halves || [0, self.whole].contains(&last), "half of a grant is open: {}", self.scene.ruleset());
        last
    }

    /// The daemon ends, and nothing is left.
    fn goes(&self, daemon: Daemon) {
        daemon.stop();
        assert_eq!(self.scene.ruleset(), self.before);
    }
}

/// Whether the daemon came to a clean end, when nobody killed it until then.
fn survived(mut daemon: Daemon, tracer: Daemon) -> bool {
    if within(Duration::from_millis(200), || !daemon.lives()) {
        return false;
    }
    drop(tracer);
    daemon.signal(Signal::TERM);
    let status = daemon.ended();
    assert!(status.success() || status.signal() == Some(Signal::KILL.as_raw()), "{status}: {}", daemon.logs.text());
    status.success()
}

/// The how manieth call of which kind.
type Step = (&'static str, usize);

/// What can be seen from outside: the store, the kernel, firewalld's bus, other programs, the journal.
const STEPS: &[&str] = &["pwrite64", "fdatasync", "sendto", "recvfrom", "sendmsg", "clone3", "wait4", "write"];
/// More than there are.
const MOST: usize = 100;
