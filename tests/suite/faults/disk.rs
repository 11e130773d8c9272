//! No room for the replay store.

use std::fs;
use std::time::Duration;

use crate::support::gateway::Wall;
use crate::support::peers::{Daemon, READY};
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};

#[test]
fn nothing_is_opened_that_cannot_be_remembered_and_what_is_open_ends_on_time() {
    const LIFETIME: Duration = Duration::from_secs(5);
    Wall::each(|wall| {
        let scene = Scene::behind(wall, 5);
        scene.settings.rewrite(wall.conf(), &(access(PORT, 5) + &access(OTHER_PORT, 5)));
        scene.world.record(62201);
        let mut command = scene.settings.command_on_small_disk(&scene.world);
        command.arg("-f");
        let daemon = Daemon::follow(command);
        daemon.logs.expect(&[READY]);
        let knocked = scene.opens(PORT, &daemon);
        let fill = scene.settings.fill_disk(&daemon);
        for _ in 0..3 {
            let mark = daemon.logs.mark();
            scene.knock(OTHER_PORT);
            daemon.logs.expect_after(mark, &["refuse ", "reason=replay-store"]);
        }
        assert!(!scene.road().connects(OTHER_PORT), "{wall:?}");
        scene.closes_on_time(PORT, knocked, LIFETIME);

        fs::remove_file(&fill).expect("our own file");
        // It was never taken, so it is not a replay; and once it is, it is one.
        let packet = scene.world.recorded().pop().expect("somebody knocked");
        scene.road().send(&packet);
        assert!(scene.road().opens(OTHER_PORT), "{wall:?}: {}", daemon.logs.text());
        let mark = daemon.logs.mark();
        scene.road().send(&packet);
        daemon.logs.expect_after(mark, &["refuse ", "reason=replay"]);
        daemon.stop();
    });
}
