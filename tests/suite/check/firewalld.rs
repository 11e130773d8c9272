//! The same for firewalld: what it is, and what keeps us from it.

use super::{check, configure, finds, nft, tells_only};
use crate::support::PATIENCE;
use crate::support::firewalld::Firewalld;
use crate::support::gateway::Wall;
use crate::support::namespace;
use crate::support::peers::{Daemon, Maker, bounded, said};
use crate::support::scene::{PORT, Scene};

/// A scene in which a daemon would work through firewalld, if that filters as `wall` says.
fn scene(wall: Wall) -> Scene {
    let scene = Scene::behind(wall, 60);
    configure(&scene, "FIREWALL firewalld;\n");
    scene
}

fn firewalld(scene: &mut Scene) -> &mut Firewalld {
    scene.firewalld.as_mut().expect("it is its wall")
}

#[test]
fn where_all_is_well_nothing_is_found_and_nothing_changed() {
    let scene = scene(Wall::Firewalld);
    let before = scene.ruleset();
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(scene.ruleset(), before);
    // Where firewalld filters with nftables ours does as well, and finds its chain by itself.
    let scene = Scene::behind(Wall::FirewalldNft, 60);
    configure(&scene, "FIREWALL nftables;\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_firewalld_that_filters_elsewhere_is_told_also_at_the_start() {
    let scene = scene(Wall::FirewalldNft);
    finds(&scene, 5, "firewalld filters with nftables", "write FIREWALL nftables, or FirewallBackend=iptables");
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    daemon.logs.expect(&["firewalld filters with nftables", "write FIREWALL nftables"]);
    // It is true.
    scene.knock(PORT);
    daemon.logs.expect(&["open "]);
    assert!(!scene.road().connects(PORT));
    daemon.stop();
}

#[test]
fn a_firewalld_that_filters_with_iptables_is_told_where_nftables_was_to_open() {
    let scene = Scene::behind(Wall::Firewalld, 60);
    configure(&scene, "FIREWALL nftables;\n");
    finds(&scene, 6, "'ip filter INPUT' is kept by iptables", "write FIREWALL firewalld, whose rules these are");
}

#[test]
fn a_drop_of_another_table_is_told_also_at_the_start() {
    let scene = scene(Wall::Firewalld);
    nft(&scene, "table inet other { chain in { type filter hook input priority 5; policy drop; }; }");
    let what = "the chain 'inet other in' drops incoming packets too";
    finds(&scene, 5, what, "drop in one place only");
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    daemon.logs.expect(&[what]);
    daemon.stop();
}

/// What keeps us from firewalld is told by the check, at the start and at a knock.
fn keeps_us_away(break_it: fn(&mut Scene), what: &str, advice: &str) {
    let mut scene = scene(Wall::Firewalld);
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    break_it(&mut scene);
    scene.knock(PORT);
    daemon.logs.expect(&[what, advice]);
    daemon.logs.expect(&["reason=failed"]);
    daemon.kill9();
    finds(&scene, 6, what, advice);
    let mut refused = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-f"]);
    refused.logs.expect(&[what, advice]);
    assert!(!refused.ended().success());
}

#[test]
fn a_firewalld_that_does_not_run_is_told() {
    keeps_us_away(|scene| firewalld(scene).stop(), "firewalld is not running", "systemctl start firewalld");
}

#[test]
fn a_bus_that_does_not_run_is_told() {
    let what = "cannot reach the system bus at unix:path=/run/dbus/system_bus_socket";
    keeps_us_away(|scene| firewalld(scene).end_bus(), what, "start dbus");
}

#[test]
fn a_bus_that_keeps_us_away_is_told() {
    let deny =
        |scene: &mut Scene| scene.firewalld.as_ref().expect("it is its wall").deny_direct_rules(&scene.world.server);
    keeps_us_away(deny, "the system bus keeps us from firewalld (", "in /etc/dbus-1/system.d");
}

#[test]
fn a_firewalld_without_direct_rules_is_told() {
    let replace = |scene: &mut Scene| {
        let Scene { firewalld, world, .. } = scene;
        firewalld.as_mut().expect("it is its wall").give_way_to_one_without_direct_rules(&world.server);
    };
    keeps_us_away(replace, "this firewalld has no direct rules any more", "FIREWALL nftables");
}

#[test]
fn a_firewalld_that_is_locked_down_is_told() {
    let lock = |scene: &mut Scene| {
        scene.firewalld.as_ref().expect("it is its wall").cmd(&scene.world.server, &["--lockdown-on"]);
    };
    keeps_us_away(lock, "firewalld is locked down", "--add-lockdown-whitelist-command=/usr/sbin/fwknopd*");
    // The advice is good.
    let mut scene = scene(Wall::Firewalld);
    let listed = format!("--add-lockdown-whitelist-command={}*", Maker::Ours.daemon());
    scene.firewalld.as_ref().expect("it is its wall").cmd(&scene.world.server, &[&listed]);
    lock(&mut scene);
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    scene.opens(PORT, &daemon);
    daemon.stop();
}

/// Root's right to change the kernel's rules is not enough.
#[test]
fn a_user_from_whom_firewalld_takes_nothing_is_told() {
    if !namespace::has_other_users() {
        return;
    }
    let scene = scene(Wall::Firewalld);
    let (conf, access) = (scene.settings.path("fwknopd.conf"), scene.settings.path("access.conf"));
    let open = conf.parent().expect("a directory").display().to_string();
    scene.world.server.run("chmod", &["-R", "a+rX", &open]);
    let mut command = scene.world.server.command("setpriv");
    command.args([
        "--reuid=1",
        "--clear-groups",
        "--inh-caps=+net_admin,+net_raw",
        "--ambient-caps=+net_admin,+net_raw",
    ]);
    command.arg(Maker::Ours.daemon()).arg("check").arg("-c").arg(conf).arg("-a").arg(access);
    let output = bounded(command, PATIENCE);
    let text = said(&output);
    let part = text.split_once("firewall: ").expect("it was looked at").1;
    let found = (output.status.code(), format!("firewall: {part}"));
    tells_only(&found, 6, "firewalld takes no changes from this user (", "org.fedoraproject.FirewallD1.direct");
}

/// It does without, as on a machine without that package.
#[test]
fn a_firewalld_without_ip6tables_is_told() {
    let mut scene = scene(Wall::Firewalld);
    firewalld(&mut scene).stop();
    let script = "mkdir /run/sbin && cp -dR --preserve=mode /usr/sbin/. /run/sbin/ && rm /run/sbin/ip6tables* && mount --bind /run/sbin /usr/sbin";
    scene.world.server.run("sh", &["-ec", script]);
    let Scene { firewalld, world, .. } = &mut scene;
    firewalld.as_mut().expect("it is its wall").run(&world.server);
    finds(&scene, 6, "firewalld found no iptables for its ipv6 rules", "install the package iptables");
}
