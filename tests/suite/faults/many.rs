//! Thousands of grants at once.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::held;
use crate::support::gateway::Wall;
use crate::support::scene::{PORT, Scene};

/// For iptables see `iptables.rs`.
#[test]
fn all_of_them_end_on_time_for_the_kernel_and_for_the_daemon() {
    const GRANTS: u32 = 5000;
    let scene = Scene::behind(Wall::Nftables, 60);
    // As a killed daemon leaves them: to open them by knocks would take this test too long.
    scene.daemon().kill9();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_secs();
    let lifetime = 10;
    let end = now() + lifetime;
    let elements: Vec<String> = (0..GRANTS)
        .map(|n| {
            let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + n);
            format!("{address} . tcp . {PORT} timeout {lifetime}s comment \"fwknop:{}:{end}\"", n + 1)
        })
        .collect();
    for part in elements.chunks(500) {
        let script = format!("add element inet filter fwknop4 {{ {} }}", part.join(", "));
        scene.world.server.feed("nft", &["-f", "-"], &script);
    }
    assert_eq!(held(&scene), GRANTS as usize);
    let daemon = scene.daemon();
    assert!(now() < end, "this machine is too slow for this test");
    // The kernel's end is as late as the element was made.
    let late = Duration::from_secs((end + 2).saturating_sub(now()));
    let closed = |line: &[&str]| daemon.logs.count(line);
    std::thread::sleep(Duration::from_secs(end.saturating_sub(now() + 2)));
    assert_eq!(closed(&["close ", "reason=expired"]), 0, "closed early");
    assert!(
        daemon.logs.count_of(GRANTS as usize, 0, &["close ", "reason=expired"], late),
        "{} were closed",
        closed(&["close "])
    );
    assert_eq!(held(&scene), 0);
    daemon.stop();
}
