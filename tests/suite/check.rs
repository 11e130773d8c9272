//! `fwknopd check`: each thing that can be wrong is told with what to do, and where all is well nothing is.

mod firewalld;
mod iptables;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::netns::SERVER_V6;
use crate::support::peers::{Daemon, Maker, bounded, said};
use crate::support::scene::{PORT, Scene, access};

/// A scene whose daemon would work, with these settings more.
fn scene(conf: &str) -> Scene {
    let scene = Scene::new(60);
    configure(&scene, conf);
    scene
}

fn configure(scene: &Scene, conf: &str) {
    scene.settings.rewrite(&format!("PCAP_INTF srv0;\n{conf}"), &access(PORT, 60));
}

/// The exit code, and everything that was said.
fn check(scene: &Scene, words: &[&str]) -> (Option<i32>, String) {
    let mut command = scene.world.server.command(Maker::Ours.daemon());
    let (conf, access) = (scene.settings.path("fwknopd.conf"), scene.settings.path("access.conf"));
    command.arg("check").args(words).arg("-c").arg(conf).arg("-a").arg(access);
    let output = bounded(command, PATIENCE);
    (output.status.code(), said(&output))
}

/// Nothing else is found, and this is told with its advice below.
#[track_caller]
fn finds(scene: &Scene, code: i32, what: &str, advice: &str) {
    tells_only(&check(scene, &[]), code, what, advice);
}

/// The exit code, and one finding in what was said.
#[track_caller]
pub fn tells_only((found, text): &(Option<i32>, String), code: i32, what: &str, advice: &str) {
    assert_eq!(*found, Some(code), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("no '{what}' in:\n{text}"));
    assert!(lines[at].starts_with("  ") && lines[at + 1].starts_with("     "), "{text}");
    assert!(lines[at + 1].contains(advice), "no '{advice}' in:\n{text}");
    let findings = lines.iter().filter(|line| line.starts_with("  ") && !line.starts_with("   ")).count();
    assert_eq!(findings, 1, "more than was wrong:\n{text}");
}

fn nft(scene: &Scene, script: &str) {
    scene.world.server.feed("nft", &["-f", "-"], script);
}

#[test]
fn where_all_is_well_nothing_is_found_and_nothing_changed() {
    let scene = scene("");
    let before = scene.ruleset();
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    let good =
        ["configuration", "daemon", "run directory", "capture", "firewall"].map(|part| format!("{part}: good\n"));
    assert_eq!(text, good.concat());
    assert_eq!(scene.ruleset(), before);
    assert!(!scene.settings.run_dir().join("control.sock").exists());
    // What it said is true.
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    scene.opens(PORT, &daemon);
}

#[test]
fn mistakes_of_the_configuration_are_told_with_file_and_line() {
    let scene = scene("FLUSH_IPT_AT_EXIT perhaps;\nPCAP_FILTERS x;\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.starts_with("configuration: will not work\n"), "{text}");
    assert!(text.contains("fwknopd.conf:3: ") && text.contains("fwknopd.conf:4: "), "{text}");
}

#[test]
fn a_wrong_stanza_does_not_hide_what_is_wrong_elsewhere() {
    let scene = scene("");
    scene.settings.rewrite("PCAP_INTF nope0;\n", "SOURCE ANY\nKEY x\nOPEN_PORTS tcp/0\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("access.conf:3: ") && text.contains("no interface nope0"), "{text}");
}

#[test]
fn a_ruleset_without_a_chain_that_drops_is_told() {
    let scene = scene("");
    nft(&scene, "flush ruleset");
    finds(&scene, 6, "there is no input chain at all", "NFT_INPUT_ACCESS inet filter input;");
}

#[test]
fn a_drop_elsewhere_is_told() {
    let scene = scene("NFT_INPUT_ACCESS inet filter input;\n");
    nft(&scene, "table ip other { chain in { type filter hook input priority 5; policy drop; }; }");
    finds(&scene, 5, "the chain 'ip other in' drops incoming packets too", "let that chain accept it as well");
}

#[test]
fn a_port_that_docker_publishes_is_told() {
    let scene = scene("");
    let publish = |port: &str| {
        let rule = format!(
            "-t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport {port} -j DNAT --to-destination 172.17.0.2:80"
        );
        scene.world.server.run("iptables-nft", &rule.split(' ').collect::<Vec<_>>());
    };
    for rule in ["-t nat -N DOCKER", "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"] {
        scene.world.server.run("iptables-nft", &rule.split(' ').collect::<Vec<_>>());
    }
    publish("8099");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "no stanza opens that port: {text}");
    publish(&PORT.to_string());
    finds(&scene, 5, &format!("packets for tcp/{PORT} are translated in 'ip nat DOCKER'"), "DOCKER-USER");
}

#[test]
fn a_missing_state_rule_is_told() {
    let scene = scene("");
    nft(
        &scene,
        "flush ruleset; table inet filter { chain input { type filter hook input priority 0; policy drop; }; }",
    );
    finds(
        &scene,
        5,
        "accepts packets of established connections",
        "nft insert rule inet filter input ct state established",
    );
}

/// Without it answers do not pass, and nothing that is opened there works.
#[test]
fn a_missing_state_rule_for_answers_is_told() {
    let scene = Scene::new(60);
    let configure = |conf: &str| {
        let stanza = access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n";
        scene.settings.rewrite(&format!("PCAP_INTF srv0;\nENABLE_IPT_FORWARDING Y;\n{conf}"), &stanza);
    };
    configure("");
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        scene.world.server.run("sysctl", &["-q", "-w", &format!("{key}=1")]);
    }
    nft(&scene, FORWARD);
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    nft(&scene, "flush chain inet filter forward");
    finds(
        &scene,
        5,
        "answers of the hosts behind are dropped",
        "nft insert rule inet filter forward ct state established",
    );
    nft(&scene, FORWARD);
    nft(&scene, "add chain inet filter output { type filter hook output priority 0; policy drop; }");
    finds(&scene, 5, "answers to whom a grant let in are dropped", "related accept, or set ENABLE_IPT_OUTPUT Y");
    configure("ENABLE_IPT_OUTPUT Y;\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
}

/// As an administrator forwards.
pub const FORWARD: &str = "add chain inet filter forward { type filter hook forward priority 0; policy drop; };
                           add rule inet filter forward ct state established,related accept";

#[test]
fn a_missing_program_is_told() {
    let scene = scene("FIREWALL_EXE /no/such/nft;\n");
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("/no/such/nft") && text.contains("FIREWALL_EXE"), "{text}");
}

#[test]
fn what_the_kernel_lacks_is_told_by_itself() {
    let scene = Scene::new(60);
    // Takes everything but what would be changed, as a kernel without the module does.
    let script = "#!/bin/sh\n[ \"$1\" != -c ] || { echo 'Error: Could not process rule: No such file' >&2; exit 1; }\n\
                  exec nft \"$@\"\n";
    let program = scene.settings.path("nft");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    configure(&scene, &format!("FIREWALL_EXE {};\n", program.display()));
    finds(&scene, 6, "Could not process rule: No such file", "modprobe");
}

#[test]
fn forwarding_that_is_switched_off_is_told_also_at_the_start() {
    let scene = Scene::new(60);
    let stanza = access(PORT, 60) + "NAT_DESTINATIONS 10.72.0.0/24\n";
    scene.settings.rewrite("PCAP_INTF srv0;\nENABLE_IPT_FORWARDING Y;\n", &stanza);
    nft(&scene, FORWARD);
    let switch = |key: &str, on: u8| scene.world.server.run("sysctl", &["-q", "-w", &format!("{key}={on}")]);
    switch("net.ipv4.ip_forward", 0);
    switch("net.ipv6.conf.all.forwarding", 1);
    finds(&scene, 5, "the kernel forwards no packets over IPv4", "sysctl -w net.ipv4.ip_forward=1");
    let daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    daemon.logs.expect(&["the kernel forwards no packets over IPv4", "sysctl -w net.ipv4.ip_forward=1"]);
    drop(daemon);
    switch("net.ipv4.ip_forward", 1);
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "{text}");
    switch("net.ipv6.conf.all.forwarding", 0);
    finds(&scene, 5, "the kernel forwards no packets over IPv6", "net.ipv6.conf.all.forwarding=1");
    scene.world.server.run("ip", &["address", "del", &format!("{SERVER_V6}/64"), "dev", "srv0"]);
    let (code, text) = check(&scene, &[]);
    assert_eq!(code, Some(0), "nobody reaches this machine over IPv6: {text}");
}

#[test]
fn a_missing_interface_is_told() {
    let scene = scene("");
    scene.settings.rewrite("PCAP_INTF nope0;\n", &access(PORT, 60));
    finds(&scene, 6, "there is no interface nope0", "ip link");
    scene.world.serve(&[62201]);
    configure(&scene, "ENABLE_TCP_SERVER Y;\n");
    finds(&scene, 6, "cannot listen on TCP port 62201", "ss -lnup, ss -lntp");
}

#[test]
fn an_unsafe_run_directory_is_told() {
    let scene = scene("");
    let dir = scene.settings.run_dir();
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    finds(&scene, 6, "others can write to the run directory", "chmod go-w");
}

#[test]
fn a_daemon_that_runs_already_is_told() {
    let scene = scene("");
    let _daemon = Daemon::start(&scene.world, Maker::Ours, &scene.settings);
    finds(&scene, 5, "a daemon is running already (PID=", "fwknopd -R");
}

#[test]
fn findings_are_told_as_json() {
    let scene = scene("");
    nft(&scene, "flush ruleset");
    let (code, text) = check(&scene, &["--json"]);
    assert_eq!(code, Some(6), "{text}");
    let parts: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let firewall = parts.as_array().unwrap().iter().find(|part| part["part"] == "firewall").unwrap();
    let finding = &firewall["findings"][0];
    assert_eq!(finding["grave"], true);
    assert!(finding["what"].as_str().unwrap().contains("no chain") && !finding["advice"].as_str().unwrap().is_empty());
}
