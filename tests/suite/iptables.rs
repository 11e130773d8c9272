//! iptables and ip6tables, in both variants: the rules are those of the original, action by action, which runs beside ours
//! here; and what the engine promises holds without a kernel that closes anything by itself.

mod many;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::netns::{CLIENT, NEIGHBOUR, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::scene::{PORT, access};
use crate::support::{PATIENCE, within};

/// One action: settings, lines of the stanza, what is knocked for, and what of the original's rules is left out on purpose.
struct Action {
    name: &'static str,
    conf: &'static str,
    stanza: &'static str,
    knock: &'static [&'static str],
    without: &'static str,
}

const ACTIONS: &[Action] = &[
    action("ports", "", "", &["-A", "tcp/22,udp/53"]),
    action("output", "ENABLE_IPT_OUTPUT Y;", "", &["-A", "tcp/22,udp/53"]),
    action("prepend", "ENABLE_RULE_PREPEND Y;", "", &["-A", "tcp/22,udp/53"]),
    action("forward", FORWARDING, "", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("masquerade", SNAT, "", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("snat", SNAT_TO, "", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("local nat", LOCAL, "", &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"]),
    action("force nat", FORWARDING, "FORCE_NAT 10.1.2.3 22", &["-A", "tcp/5555"]),
    action("force snat", SNAT, "FORCE_NAT 10.1.2.3 22\nFORCE_SNAT 10.9.9.9", &["-A", "tcp/5555"]),
    action("force masquerade", SNAT_TO, "FORCE_NAT 10.1.2.3 22\nFORCE_MASQUERADE Y", &["-A", "tcp/5555"]),
    action("no dnat", FORWARDING, "FORCE_NAT 10.1.2.3 22\nDISABLE_DNAT Y", &["-A", "tcp/5555"]),
    action("forward all", FORWARDING, "FORCE_NAT 10.1.2.3 22\nFORWARD_ALL Y", &["-A", "tcp/5555"]),
    action("gateway, snat", SNAT, "FORWARD_ALL Y\nFORCE_SNAT 10.9.9.9\nDISABLE_DNAT Y", &["-A", "tcp/22"]),
    Action {
        // It would lead nowhere.
        without: " -j DNAT --to-destination 0.0.0.0",
        ..action("gateway, masquerade", SNAT, "FORWARD_ALL Y\nFORCE_MASQUERADE Y", &["-A", "tcp/22"])
    },
    action("destination", "ENABLE_DESTINATION_RULE Y;\nENABLE_IPT_OUTPUT Y;", "", &["-A", "tcp/22"]),
    action(
        "destination, nat",
        "ENABLE_DESTINATION_RULE Y;\nENABLE_IPT_FORWARDING Y;",
        "",
        &["-A", "tcp/5555", "-N", "10.1.2.3:22"],
    ),
    action("chains", CHAINS, "", &["-A", "tcp/22"]),
    // Only what is on its way to another host meets these, and here none is.
    Action {
        without: " -j MASQUERADE --to-ports 5555",
        ..action("local nat, masquerade", LOCAL_SNAT, "", &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"])
    },
    Action {
        without: " -j SNAT --to-source 10.9.9.9",
        ..action("local nat, snat", LOCAL_SNAT_TO, "", &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"])
    },
    action("local nat, output", LOCAL_OUTPUT, "", &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"]),
    action("forward all, masquerade", SNAT, "FORWARD_ALL Y", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("forward all, snat", SNAT_TO, "FORWARD_ALL Y", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("prepend, nat", PREPEND_SNAT, "", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("udp nat", SNAT, "", &["-A", "udp/5555", "-N", "10.1.2.3:53"]),
    action("output, nat", FORWARDING_OUTPUT, "", &["-A", "tcp/5555", "-N", "10.1.2.3:22"]),
    action("force nat, nat asked for", FORWARDING, "FORCE_NAT 10.1.2.3 22", &["-A", "tcp/5555", "-N", "10.1.2.4:23"]),
    action("address of the packet", "", "", &["-s", "-A", "tcp/22"]),
];

const fn action(
    name: &'static str,
    conf: &'static str,
    stanza: &'static str,
    knock: &'static [&'static str],
) -> Action {
    Action { name, conf, stanza, knock, without: "\n" }
}

const PREPEND_SNAT: &str = "ENABLE_RULE_PREPEND Y;\nENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
const FORWARDING_OUTPUT: &str = "ENABLE_IPT_OUTPUT Y;\nENABLE_IPT_FORWARDING Y;";
const FORWARDING: &str = "ENABLE_IPT_FORWARDING Y;";
const SNAT: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
const SNAT_TO: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.9.9.9;";
const LOCAL_SNAT: &str = "ENABLE_IPT_LOCAL_NAT Y;\nENABLE_IPT_SNAT Y;";
const LOCAL_SNAT_TO: &str = "ENABLE_IPT_LOCAL_NAT Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.9.9.9;";
const LOCAL_OUTPUT: &str = "ENABLE_IPT_LOCAL_NAT Y;\nENABLE_IPT_OUTPUT Y;";
const LOCAL: &str = "ENABLE_IPT_LOCAL_NAT Y;";
const CHAINS: &str = "IPT_INPUT_ACCESS ACCEPT, filter, INPUT, 2, MY_INPUT, 1;";

#[test]
fn every_action_makes_the_rules_of_the_original() {
    std::thread::scope(|scope| {
        for variant in VARIANTS {
            for some in ACTIONS.chunks(10) {
                scope.spawn(move || some.iter().for_each(|action| compare(variant, action)));
            }
        }
    });
}

fn compare(variant: &str, action: &Action) {
    let [theirs, ours] = [Maker::Original, Maker::Ours].map(|maker| rules_of(maker, variant, action));
    let name = action.name;
    let theirs: Vec<&String> = theirs.iter().filter(|rule| !rule.ends_with(action.without)).collect();
    assert_eq!(ours.iter().collect::<Vec<_>>(), theirs, "{variant}, {name}");
    assert!(ours.iter().any(|rule| rule.contains("_exp_E")), "{variant}, {name}: {ours:#?}");
}

/// All chains and rules of IPv4, with each moment of expiry masked.
fn rules_of(maker: Maker, variant: &str, action: &Action) -> Vec<String> {
    let world = World::new();
    let iptables = Iptables { world: &world, variant };
    iptables.run(&["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
    let access = format!("SOURCE ANY\nKEY key\nHMAC_KEY tag\nFW_ACCESS_TIMEOUT 60\n{}\n", action.stanza);
    let conf = format!("FIREWALL_EXE /usr/sbin/iptables-{variant};\n{}\n", action.conf);
    let settings = Settings::new(&world, &conf, &access);
    let daemon = Daemon::start(&world, maker, &settings);
    let client = Client::new(&format!("[gate]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nKEY key\nHMAC_KEY tag\n"));
    let args = [&["-n", "gate"], action.knock].concat();
    client.knock(&world.client, Maker::Original, &args);
    let count = || iptables.rules().iter().filter(|rule| rule.contains("_exp_")).count();
    assert!(within(PATIENCE, || count() > 0), "{maker:?}, {}: {}", action.name, daemon.logs.text());
    // The original makes one after the other.
    let mut before = 0;
    within(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(200));
        std::mem::replace(&mut before, count()) == count()
    });
    let rules = iptables.rules().iter().map(|rule| masked(rule)).collect();
    daemon.stop();
    assert_eq!(iptables.rules(), ["-A INPUT -i lo -j ACCEPT"], "{maker:?}, {}: left behind", action.name);
    assert_eq!(iptables.own_chains(), Vec::<String>::new(), "{maker:?}, {}: left behind", action.name);
    rules
}

fn masked(rule: &str) -> String {
    let Some((before, after)) = rule.split_once("_exp_") else { return rule.to_owned() };
    format!("{before}_exp_E{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[test]
fn a_repeated_knock_replaces_the_rule_and_a_shorter_one_changes_nothing() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "");
        let daemon = scene.daemon();
        scene.knock(PORT);
        let first = scene.wait_for_rules(1);
        std::thread::sleep(Duration::from_millis(1100));
        scene.knock(PORT);
        assert!(within(PATIENCE, || scene.rules() != first), "{}", daemon.logs.text());
        assert_eq!(scene.rules().len(), 1, "replaced, not added: {:?}", scene.rules());
        daemon.stop();
    });
}

#[test]
fn a_new_daemon_takes_over_what_a_killed_one_left_open_and_closes_it_on_time() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(8), "");
        let daemon = scene.daemon();
        scene.knock(PORT);
        let knocked = Instant::now();
        let open = scene.wait_for_rules(1);
        daemon.kill9();
        // What was over while nobody looked, what somebody made, and what only looks like ours.
        let own = "-s 192.0.2.1 -p tcp --dport 22 -j ACCEPT";
        let over = "-s 192.0.2.2 -p tcp --dport 22 -m comment --comment _exp_1000 -j ACCEPT";
        let other = "-i lo -m comment --comment _exp_1000 -j ACCEPT";
        for rule in [own, over, other] {
            scene.iptables().run(&[&["-A", "FWKNOP_INPUT"], &*rule.split(' ').collect::<Vec<_>>()].concat());
        }
        let daemon = scene.daemon();
        daemon.logs.expect(&["adopt ", &format!("allow={CLIENT} ports=tcp/{PORT}")]);
        let rules = scene.iptables().rules();
        assert!(rules.contains(&open[0]), "{rules:?}");
        assert!(!rules.iter().any(|rule| rule.contains("192.0.2.2")), "{rules:?}");
        assert!(rules.iter().any(|rule| rule.contains("192.0.2.1")) && rules.iter().any(|rule| rule.contains("-i lo")));
        assert!(within(Duration::from_secs(11), || !scene.iptables().rules().contains(&open[0])), "not closed");
        let after = knocked.elapsed();
        assert!(after >= Duration::from_millis(7000) && after <= Duration::from_secs(11), "{after:?}");
        daemon.stop();
    });
}

#[test]
fn the_original_s_rules_are_taken_over() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "ENABLE_IPT_OUTPUT Y;\nFLUSH_IPT_AT_EXIT N;\n");
        let original = Daemon::start(&scene.world, Maker::Original, &scene.settings);
        scene.knock(PORT);
        scene.wait_for_rules(2);
        original.stop();
        let daemon = scene.daemon();
        daemon.logs.expect(&["adopt ", &format!("allow={CLIENT} ports=tcp/{PORT}")]);
        assert_eq!(scene.rules().len(), 2, "{:?}", scene.rules());
        scene.knock(PORT);
        daemon.logs.expect(&["open "]);
        assert_eq!(scene.rules().len(), 2, "replaced: {:?}", scene.rules());
        daemon.stop();
    });
}

/// The number of a grant is in no rule: it comes from the store, and with it who knocked.
#[test]
fn a_key_that_is_gone_after_a_crash_closes_what_it_had_opened() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), FORWARDING_SNAT);
        let daemon = scene.daemon();
        scene.knock(PORT);
        scene.wait_for_rules(1);
        let forward = ["-n", &PORT.to_string(), "-N", "10.1.2.3:22"];
        scene.client.knock(&scene.world.client, Maker::Ours, &forward);
        scene.wait_for_rules(4);
        scene.client.knock(&scene.world.client, Maker::Original, &["-n", "other"]);
        scene.wait_for_rules(5);
        daemon.kill9();
        scene.settings.rewrite(&scene.conf, &access(OTHER, 60));
        let daemon = scene.daemon();
        let rules = scene.rules();
        assert!(matches!(&rules[..], [only] if only.contains(NEIGHBOUR)), "{rules:?}\n{}", daemon.logs.text());
        daemon.stop();
    });
}

#[test]
fn what_somebody_flushed_is_put_back_at_the_next_grant() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "");
        let daemon = scene.daemon();
        scene.knock(PORT);
        scene.wait_for_rules(1);
        for flush in [&["-F"][..], &["-D", "INPUT", "-j", "FWKNOP_INPUT"], &["-F", "FWKNOP_INPUT"]] {
            scene.iptables().run(flush);
            if flush.len() == 1 {
                scene.iptables().run(&["-X"]);
            }
            scene.client.knock(&scene.world.client, Maker::Original, &["-n", "other"]);
            daemon.logs.expect(&["open "]);
            let restored = || {
                let rules = scene.iptables().rules();
                let ours = rules.iter().filter(|rule| rule.contains("_exp_")).count();
                ours == 2 && rules.contains(&"-A INPUT -j FWKNOP_INPUT".to_owned())
            };
            // The first try after somebody's change only shows that there was one when it touches it.
            assert!(within(PATIENCE, restored), "{flush:?}: {:?}\n{}", scene.iptables().rules(), daemon.logs.text());
        }
        daemon.stop();
    });
}

#[test]
fn a_grant_that_fails_half_way_leaves_nothing() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "");
        // Programs of the same names that do the same, but refuse to translate for anybody.
        let programs = scene.settings.path("bin");
        std::fs::create_dir(&programs).unwrap();
        for (name, body) in [
            ("iptables", REAL),
            ("iptables-save", REAL),
            ("ip6tables-save", REAL),
            ("ip6tables-restore", REAL),
            ("iptables-restore", REFUSES_NAT),
        ] {
            let real = name.replacen("tables", &format!("tables-{variant}"), 1);
            let body = body.replace("REAL", &format!("/usr/sbin/{real}"));
            let path = programs.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let conf = format!("FIREWALL_EXE {};\n{FORWARDING_SNAT}", programs.join("iptables").display());
        scene.settings.rewrite(&conf, &stanzas(60));
        let daemon = scene.daemon();
        let port = PORT.to_string();
        let forward = ["-n", &port, "-N", "10.1.2.3:22"];
        scene.client.knock(&scene.world.client, Maker::Ours, &forward);
        daemon.logs.expect(&["iptables-restore refused '-A FWKNOP_MASQUERADE", "out of order"]);
        daemon.logs.expect(&["reason=failed"]);
        assert!(scene.rules().is_empty(), "{:?}", scene.rules());
        scene.knock(PORT);
        assert_eq!(scene.wait_for_rules(1).len(), 1, "{}", daemon.logs.text());
        daemon.stop();
    });
}

#[test]
fn a_jump_further_down_than_the_chain_is_long_is_its_last_rule_and_said() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "IPT_INPUT_ACCESS ACCEPT, filter, INPUT, 9, FWKNOP_INPUT, 1;\n");
        let daemon = scene.daemon();
        assert!(daemon.logs.text().contains("position 2 instead of 9"), "{}", daemon.logs.text());
        assert_eq!(scene.iptables().rules(), ["-A INPUT -i lo -j ACCEPT", "-A INPUT -j FWKNOP_INPUT"]);
        daemon.stop();
    });
}

/// Before what an administrator has put into our chain.
#[test]
fn new_rules_go_first_only_where_that_is_asked_for() {
    each_variant(|variant| {
        for (conf, opens) in [("", false), ("ENABLE_RULE_PREPEND Y;\n", true)] {
            let scene = Scene::new(variant, &stanzas(5), conf);
            let drop = scene.iptables().run(&["-P", "INPUT", "DROP"]);
            assert_eq!(drop, "");
            scene.world.serve(&[PORT]);
            let daemon = scene.daemon();
            scene.iptables().run(&["-A", "FWKNOP_INPUT", "-p", "tcp", "--dport", &PORT.to_string(), "-j", "DROP"]);
            scene.knock(PORT);
            scene.wait_for_rules(1);
            assert_eq!(scene.world.v4().connects(PORT), opens, "{conf}: {:?}", scene.iptables().rules());
            assert!(within(PATIENCE, || scene.rules().is_empty()), "{conf}: {:?}", scene.rules());
            assert!(!scene.world.v4().connects(PORT));
            daemon.stop();
        }
    });
}

#[test]
fn listing_and_flushing_find_what_is_open() {
    let scene = Scene::new("nft", &stanzas(60), "");
    let daemon = scene.daemon();
    scene.knock(PORT);
    scene.wait_for_rules(1);
    let control = |option: &str| {
        let mut command = scene.settings.command(&scene.world, Maker::Ours);
        command.arg(option);
        let output = crate::support::peers::bounded(command, PATIENCE);
        assert!(output.status.success(), "{output:?}");
        crate::support::peers::said(&output)
    };
    let listed = control("--fw-list");
    assert!(
        listed.contains(CLIENT) && listed.contains(&format!("tcp/{PORT}")) && listed.contains("1 open"),
        "{listed}"
    );
    assert!(control("--fw-list-all").contains("Chain FWKNOP_INPUT"));
    control("--fw-flush");
    daemon.logs.expect(&["close ", "reason=asked"]);
    // The running daemon builds again what it needs, but opens nothing by itself.
    let jump = "-A INPUT -j FWKNOP_INPUT".to_owned();
    assert!(within(PATIENCE, || scene.iptables().rules().contains(&jump)));
    assert!(scene.rules().is_empty(), "{:?}", scene.rules());
    daemon.stop();
}

#[test]
fn a_rule_outlives_a_reload() {
    each_variant(|variant| {
        let scene = Scene::new(variant, &stanzas(60), "");
        let daemon = scene.daemon();
        scene.knock(PORT);
        let open = scene.wait_for_rules(1);
        daemon.signal(Signal::HUP);
        daemon.logs.expect(&["Re-starting fwknopd"]);
        assert_eq!(scene.rules(), open);
        daemon.stop();
    });
}

struct Scene {
    world: World,
    settings: Settings,
    client: Client,
    variant: &'static str,
    conf: String,
}

impl Scene {
    fn new(variant: &'static str, access: &str, conf: &str) -> Self {
        let world = World::new();
        let conf = format!("FIREWALL_EXE /usr/sbin/iptables-{variant};\n{conf}");
        let settings = Settings::new(&world, &conf, access);
        let rc = |name: &str, key: u16, allow: &str, port: u16| {
            format!(
                "[{name}]\nSPA_SERVER {SERVER}\nALLOW_IP {allow}\nACCESS tcp/{port}\nKEY key-of-{key}\nHMAC_KEY tag-of-{key}\n"
            )
        };
        let client = Client::new(&(rc(&PORT.to_string(), PORT, CLIENT, PORT) + &rc("other", OTHER, NEIGHBOUR, OTHER)));
        let scene = Self { world, settings, client, variant, conf };
        scene.iptables().run(&["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"]);
        scene
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.world, Maker::Ours, &self.settings)
    }

    fn knock(&self, port: u16) {
        self.client.knock(&self.world.client, Maker::Original, &["-n", &port.to_string()]);
    }

    fn iptables(&self) -> Iptables<'_> {
        Iptables { world: &self.world, variant: self.variant }
    }

    /// Those that are open for somebody.
    fn rules(&self) -> Vec<String> {
        let mut rules = self.iptables().rules();
        rules.retain(|rule| rule.contains("_exp_"));
        rules
    }

    fn wait_for_rules(&self, count: usize) -> Vec<String> {
        assert!(within(PATIENCE, || self.rules().len() == count), "{:?}", self.rules());
        self.rules()
    }
}

struct Iptables<'a> {
    world: &'a World,
    variant: &'a str,
}

impl Iptables<'_> {
    fn run(&self, args: &[&str]) -> String {
        self.world.server.run(&format!("iptables-{}", self.variant), args)
    }

    fn rules(&self) -> Vec<String> {
        self.saved(|line| line.starts_with("-A"))
    }

    /// Those that do not belong to the kernel, which have no policy.
    fn own_chains(&self) -> Vec<String> {
        self.saved(|line| line.starts_with(':') && line.contains(" - "))
    }

    fn saved(&self, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for table in ["filter", "nat"] {
            let saved = self.world.server.run(&format!("iptables-{}-save", self.variant), &["-t", table]);
            lines.extend(saved.lines().filter(|line| is_meant(line)).map(str::to_owned));
        }
        lines
    }
}

fn stanzas(lifetime: u32) -> String {
    access(PORT, lifetime) + &access(OTHER, lifetime)
}

fn each_variant(prove: fn(&'static str)) {
    std::thread::scope(|scope| {
        for variant in VARIANTS {
            scope.spawn(move || prove(variant));
        }
    });
}

const VARIANTS: [&str; 2] = ["nft", "legacy"];
const OTHER: u16 = 2203;
const REAL: &str = "exec REAL \"$@\"";
const REFUSES_NAT: &str = "\
lines=$(cat)
case $lines in
*'*nat'*_exp_*) echo 'iptables-restore: line 4 failed: out of order' >&2; exit 1;;
esac
printf '%s\\n' \"$lines\" | REAL \"$@\"";
const FORWARDING_SNAT: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\n";
