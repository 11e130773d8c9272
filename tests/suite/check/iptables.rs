//! The same for iptables and ip6tables, in both variants, and for what decides beside them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{check, configure, finds, nft};
use crate::support::gateway::Wall;
use crate::support::netns::SERVER_V6;
use crate::support::peers::{Daemon, Maker};
use crate::support::scene::{PORT, Scene, access};

const VARIANTS: [Wall; 2] = [Wall::IptablesNft, Wall::IptablesLegacy];

/// A scene in which a daemon with iptables would work, with these settings more.
fn scene(wall: Wall, conf: &str) -> Scene {
    let scene = Scene::new(60);
    nft(&scene, "flush ruleset");
    wall.drop(&scene.world.server, "accept");
    configure(&scene, &format!("{}{conf}", exe(wall)));
    scene
}

fn exe(wall: Wall) -> String {
    format!("FIREWALL_EXE /usr/sbin/iptables-{};\n", wall.variant())
}

/// A command of iptables or ip6tables, in the scene's variant.
fn run(scene: &Scene, wall: Wall, command: &str) {
    let mut words = command.split(' ');
    let program = words.next().expect("a program");
    scene.world.server.run(&format!("{program}-{}", wall.variant()), &words.collect::<Vec<_>>());
}

#[test]
fn where_all_is_well_nothing_is_found_and_nothing_changed() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        let (before, other) = (scene.ruleset(), |program: &str| scene.world.server.run(program, &[]));
        let (code, text) = check(&scene, &[]);
        assert_eq!(code, Some(0), "{wall:?}: {text}");
        assert_eq!(scene.ruleset(), before);
        if wall == Wall::IptablesNft {
            assert_eq!(other("iptables-legacy-save"), "", "a look makes no tables");
        }
    }
}

#[test]
fn each_protocol_is_judged() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        for program in ["iptables", "ip6tables"] {
            run(&scene, wall, &format!("{program} -P INPUT ACCEPT"));
            let what = format!("the chain INPUT of {program} accepts by default");
            finds(&scene, 5, &what, &format!("{program} -P INPUT DROP"));
            run(&scene, wall, &format!("{program} -P INPUT DROP"));

            // That of the forward chain says nothing about incoming packets.
            run(&scene, wall, &format!("{program} -D INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
            let what = format!("no rule of '{program} INPUT' accepts packets of established connections");
            finds(&scene, 5, &what, &format!("{program} -I INPUT -m conntrack --ctstate ESTABLISHED,RELATED"));
            run(&scene, wall, &format!("{program} -I INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"));
        }
        for program in ["iptables", "ip6tables"] {
            run(&scene, wall, &format!("{program} -P INPUT ACCEPT"));
        }
        scene.world.server.run("ip", &["address", "del", &format!("{SERVER_V6}/64"), "dev", "srv0"]);
        // Nobody reaches this machine over IPv6.
        finds(&scene, 5, "the chain INPUT of iptables accepts by default", "iptables -P INPUT DROP");
    }
}

#[test]
fn a_missing_state_rule_for_answers_is_told() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        let state = "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT";
        run(&scene, wall, "iptables -P OUTPUT DROP");
        finds(&scene, 5, "answers to whom a grant let in are dropped", "RELATED -j ACCEPT, or set ENABLE_IPT_OUTPUT Y");
        configure(&scene, &format!("{}ENABLE_IPT_OUTPUT Y;\n", exe(wall)));
        let (code, text) = check(&scene, &[]);
        assert_eq!(code, Some(0), "{wall:?}: {text}");
        configure(&scene, &exe(wall));
        run(&scene, wall, &format!("iptables -A OUTPUT {state}"));
        run(&scene, wall, &format!("ip6tables -D FORWARD {state}"));
        let (code, text) = check(&scene, &[]);
        assert_eq!(code, Some(0), "{wall:?}, nothing is forwarded: {text}");
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            scene.world.server.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
        }
        let stanza = access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n";
        scene.settings.rewrite(&format!("PCAP_INTF srv0;\n{}ENABLE_IPT_FORWARDING Y;\n", exe(wall)), &stanza);
        finds(&scene, 5, "answers of the hosts behind are dropped", &format!("ip6tables -I FORWARD {state}"));
    }
}

#[test]
fn a_drop_of_nftables_is_told_also_at_the_start() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        nft(&scene, "table inet other { chain in { type filter hook input priority 5; policy drop; }; }");
        // Not where grants matter.
        nft(&scene, "table inet other { chain out { type filter hook forward priority 5; policy drop; }; }");
        let what = "the chain 'inet other in' drops incoming packets too";
        finds(&scene, 5, what, "NFT_INPUT_ACCESS inet other in;");
        let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
        daemon.logs.expect(&[what]);
        // It is true.
        scene.knock(PORT);
        daemon.logs.expect(&["open "]);
        assert!(!scene.road().connects(PORT));
        daemon.stop();
        nft(&scene, "delete table inet other");
        let (code, text) = check(&scene, &[]);
        assert_eq!(code, Some(0), "{text}");
    }
}

#[test]
fn a_drop_of_the_other_variant_is_told() {
    let of_nft = scene(Wall::IptablesNft, "");
    for program in ["iptables", "ip6tables"] {
        run(&of_nft, Wall::IptablesLegacy, &format!("{program} -P INPUT DROP"));
        let what = format!("the chain INPUT of {program}-legacy drops incoming packets too");
        finds(&of_nft, 5, &what, &format!("{program}-legacy -t filter -P INPUT ACCEPT"));
        run(&of_nft, Wall::IptablesLegacy, &format!("{program} -P INPUT ACCEPT"));
    }
    let of_legacy = scene(Wall::IptablesLegacy, "");
    run(&of_legacy, Wall::IptablesNft, "ip6tables -P INPUT DROP");
    finds(&of_legacy, 5, "the chain 'ip6 filter INPUT' drops incoming packets too", "drop in one place only");
    run(&of_legacy, Wall::IptablesNft, "ip6tables -P INPUT ACCEPT");
    let (code, text) = check(&of_legacy, &[]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_port_that_docker_publishes_is_told_until_it_is_dropped() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        for (program, to) in [("iptables", "172.17.0.2:80"), ("ip6tables", "[fd17::2]:80")] {
            let publish = format!(
                "{program} -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport {PORT} -j DNAT --to-destination {to}"
            );
            for command in [
                &format!("{program} -t nat -N DOCKER"),
                &format!("{program} -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"),
                &publish,
                &format!("{program} -N DOCKER-USER"),
                &format!("{program} -A FORWARD -j DOCKER-USER"),
            ] {
                run(&scene, wall, command);
            }
            let what = format!("packets for tcp/{PORT} are translated in '{program} -t nat DOCKER'");
            finds(&scene, 5, &what, "DOCKER-USER");
            run(&scene, wall, &format!("{program} -I DOCKER-USER -i srv0 -p tcp --dport 80 -j DROP"));
            let (code, text) = check(&scene, &[]);
            assert_eq!(code, Some(0), "{wall:?}: {text}");
        }
    }
}

#[test]
fn forwarding_that_is_switched_off_is_told_for_each_protocol() {
    for wall in VARIANTS {
        let scene = scene(wall, "");
        let stanza = access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n";
        scene.settings.rewrite(&format!("PCAP_INTF srv0;\n{}ENABLE_IPT_FORWARDING Y;\n", exe(wall)), &stanza);
        let switch = |key: &str, on: u8| scene.world.server.run("sysctl", &["-q", "-w", &format!("{key}={on}")]);
        switch("net.ipv4.ip_forward", 1);
        switch("net.ipv6.conf.all.forwarding", 0);
        finds(&scene, 5, "the kernel forwards no packets over IPv6", "sysctl -w net.ipv6.conf.all.forwarding=1");
        switch("net.ipv4.ip_forward", 0);
        switch("net.ipv6.conf.all.forwarding", 1);
        finds(&scene, 5, "the kernel forwards no packets over IPv4", "sysctl -w net.ipv4.ip_forward=1");
        switch("net.ipv4.ip_forward", 1);
        nft(&scene, "table inet other { chain fw { type filter hook forward priority 5; policy drop; }; }");
        finds(&scene, 5, "the chain 'inet other fw' drops forwarded packets too", "NFT_FORWARD_ACCESS inet other fw;");
    }
}

#[test]
fn masquerading_that_lets_one_connection_through_is_told() {
    let scene = scene(Wall::IptablesNft, "");
    let configure = |firewall: &str, more: &str| {
        let conf = format!("PCAP_INTF srv0;\n{firewall}ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\n{more}");
        scene.settings.rewrite(&conf, &(access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n"));
    };
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        scene.world.server.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
    }
    let iptables = exe(Wall::IptablesNft);
    configure(&iptables, "");
    finds(&scene, 5, "masquerading lets one connection of each grant through at a time", "SNAT_TRANSLATE_IP");
    configure(&iptables, "SNAT_TRANSLATE_IP 10.72.0.1;\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn what_the_kernel_lacks_is_told_by_itself() {
    let scene = scene(Wall::IptablesNft, "");
    let programs = scene.settings.path("bin");
    fs::create_dir(&programs).expect("a directory");
    for program in ["iptables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"] {
        // As where the module for translation is missing.
        let refusal = "case $(cat) in *MASQUERADE*) echo 'Extension MASQUERADE revision 0 not supported, missing kernel \
                       module?' >&2; exit 1;; esac; exit 0";
        let body =
            if program == "iptables-restore" { refusal.to_owned() } else { format!("exec /usr/sbin/{program} \"$@\"") };
        let path = programs.join(program);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }
    let exe = format!("FIREWALL_EXE {};\n", programs.join("iptables").display());
    configure(&scene, &exe);
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "nobody asks for that: {text}");
    scene.world.server.run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    let conf =
        format!("PCAP_INTF srv0;\n{exe}ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.72.0.1;\n");
    scene.settings.rewrite(&conf, &(access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n"));
    finds(&scene, 6, "missing kernel module", "modprobe");
}
