//! A reload with files that are wrong.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::gateway::Wall;
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};

#[test]
fn what_is_open_stays_and_ends_on_time_and_who_could_knock_still_can() {
    const LIFETIME: Duration = Duration::from_secs(5);
    Wall::each(|wall| {
        let scene = Scene::behind(wall, 5);
        let good = access(PORT, 5) + &access(OTHER_PORT, 5);
        scene.settings.rewrite(wall.conf(), &good);
        let mut daemon = scene.daemon();
        let knocked = scene.opens(PORT, &daemon);
        for (conf, access, place) in [
            ("", "SOURCE ANY\nKEY abc\nOPEN_PROTS tcp/22\n", "access.conf:3:"),
            ("", "", "access.conf"),
            ("PCAP_FILTER (udp;\n", &*good, "fwknopd.conf"),
            ("MAX_SPA_PACKET_AGE 0;\n", &good, "fwknopd.conf"),
        ] {
            scene.settings.rewrite(&format!("{}{conf}", wall.conf()), access);
            let mark = daemon.logs.mark();
            daemon.signal(Signal::HUP);
            daemon.logs.expect_after(mark, &[place]);
        }
        assert!(daemon.lives() && scene.road().connects(PORT), "{wall:?}: {}", daemon.logs.text());
        scene.opens(OTHER_PORT, &daemon);
        scene.closes_on_time(PORT, knocked, LIFETIME);
        daemon.stop();
    });
}
