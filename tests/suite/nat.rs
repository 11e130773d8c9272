//! What a grant can lead to, with real connections between three hosts: impossible before the knock, possible after it, for
//! nobody else and to nothing else, impossible when its time is over, and unaffected where they exist already.

use std::time::{Duration, Instant};

use crate::support::gateway::{
    Gateway, INNER_SIDE, INNER_SIDE_V6, INNER_V6, OTHER_INNER, Wall, Way, to_gateway, to_gateway_v6, to_inner,
};
use crate::support::netns::{CLIENT, CLIENT_V6, NEIGHBOUR, NEIGHBOUR_V6, SERVER, SERVER_V6};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::within;

#[test]
fn ports_of_this_host() {
    each(|wall| {
        let gateway = Gateway::new(wall);
        Case { ports: &[22, 80], ..Case::new(&["-A", "tcp/22,tcp/80"], to_gateway(22), CLIENT) }.prove(wall, gateway);
    });
}

#[test]
fn ports_of_this_host_over_ipv6() {
    each(|wall| {
        Case::new(&["-A", "tcp/22"], to_gateway_v6(22), CLIENT_V6).prove(wall, Gateway::new(wall));
    });
}

#[test]
fn the_way_back_where_replies_are_dropped() {
    // With firewalld in nftables nobody can drop them in the chain that ours would go to.
    Wall::each(|wall| {
        let way = Case::new(&["-A", "tcp/22"], to_gateway(22), CLIENT);
        // Nothing lets the replies of a held connection out once the grant is over.
        let way = Case { conf: "ENABLE_IPT_OUTPUT Y;", survives: false, ..way };
        way.prove(wall, Gateway::new(wall).with_output_dropped(wall));
    });
}

#[test]
fn only_the_address_the_packet_was_sent_to() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_in();
        let elsewhere = Way { from: CLIENT, to: (INNER_SIDE, 22) };
        let way = Case::new(&["-A", "tcp/22"], to_gateway(22), CLIENT);
        Case { conf: "ENABLE_DESTINATION_RULE Y;", shut: vec![elsewhere], ..way }.prove(wall, gateway);
    });
}

/// A connection is whatever has the same two ends.
#[test]
fn datagrams_as_well() {
    each(|wall| {
        let knocks = [("udp/53", to_gateway(53), CLIENT), ("udp/5353", to_gateway(5353), INNER_SIDE)];
        for (ports, way, seen) in knocks {
            let gateway = Gateway::new(wall);
            gateway.world.server.ask("listen-udp 53");
            gateway.inner.ask("listen-udp 53");
            let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
            let (client, daemon, _settings) = Case { conf, ..Case::new(&[], way, "") }.start(wall, &gateway);
            assert_eq!(gateway.answers(way), None, "{wall:?}: open before the knock");
            let inner: &[&str] = if seen == CLIENT { &[] } else { &["-N", "10.72.0.2:53"] };
            client.knock(&gateway.world.client, Maker::Ours, &[&["-n", "gate", "-A", ports], inner].concat());
            let knocked = Instant::now();
            assert_eq!(gateway.answers_at_last(way).as_deref(), Some(seen), "{wall:?}: {}", daemon.logs.text());
            assert_eq!(gateway.connects(way), None, "{wall:?}: TCP as well");
            assert_eq!(gateway.answers(Way { from: NEIGHBOUR, ..way }), None, "{wall:?}: open for somebody else");
            assert!(gateway.answers_again() && knocked.elapsed() < LIFETIME, "this machine is too slow for this test");
            daemon.logs.expect(&["close ", "reason=expired"]);
            assert!(gateway.answers_again(), "{wall:?}: what was under way");
            assert_eq!(gateway.answers(way), None, "{wall:?}: open after the end");
            daemon.stop();
        }
    });
}

#[test]
fn the_way_back_over_ipv6() {
    Wall::each(|wall| {
        let way = Case::new(&["-A", "tcp/22"], to_gateway_v6(22), CLIENT_V6);
        let way = Case { conf: "ENABLE_IPT_OUTPUT Y;", survives: false, ..way };
        way.prove(wall, Gateway::new(wall).with_output_dropped(wall));
    });
}

#[test]
fn only_the_address_the_packet_was_sent_to_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_in();
        let elsewhere = Way { from: CLIENT_V6, to: (INNER_SIDE_V6, 22) };
        let way = Case::new(&["-A", "tcp/22"], to_gateway_v6(22), CLIENT_V6);
        Case { conf: "ENABLE_DESTINATION_RULE Y;", shut: vec![elsewhere], ..way }.prove(wall, gateway);
    });
}

#[test]
fn forwarding_only_from_the_address_the_packet_was_sent_to() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back().with_way_in();
        let elsewhere = Way { from: CLIENT, to: (INNER_SIDE, 5555) };
        let way = Case::new(&["-A", "tcp/5555", "-N", "10.72.0.2:22"], to_gateway(5555), CLIENT);
        let conf = "ENABLE_DESTINATION_RULE Y;\nENABLE_IPT_FORWARDING Y;";
        Case { conf, shut: vec![elsewhere], ..way }.prove(wall, gateway);
    });
}

#[test]
fn forwarding_to_an_inner_host() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back().with_way_in();
        let other = Way { from: CLIENT, to: (OTHER_INNER, 22) };
        let knock = &["-A", "tcp/5555", "-N", "10.72.0.2:22"];
        let way = Case::new(knock, to_gateway(5555), CLIENT);
        let (shut, shut_if_narrow) = (vec![to_gateway(22), to_inner(80)], vec![other]);
        Case { conf: FORWARDING, shut, shut_if_narrow, ..way }.prove(wall, gateway);
    });
}

#[test]
fn forwarding_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let knock = &["-A", "tcp/5555", "-N", "[fd72::2]:22"];
        let way = Case::new(knock, to_gateway_v6(5555), CLIENT_V6);
        Case { conf: FORWARDING, ..way }.prove(wall, gateway);
    });
}

#[test]
fn all_ports_of_a_request_are_forwarded() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let knock = &["-A", "tcp/5555,tcp/6666", "-N", "10.72.0.2:22"];
        let way = Case::new(knock, to_gateway(5555), CLIENT);
        Case { conf: FORWARDING, ports: &[5555, 6666], ..way }.prove(wall, gateway);
    });
}

#[test]
fn forwarding_in_the_name_of_this_host() {
    each(|wall| {
        let knock = &["-A", "tcp/5555", "-N", "10.72.0.2:22"];
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
        let way = Case::new(knock, to_gateway(5555), INNER_SIDE);
        Case { conf, one_only: true, ..way }.prove(wall, Gateway::new(wall));
    });
}

#[test]
fn forwarding_over_ipv6_in_the_name_of_this_host() {
    each(|wall| {
        let knock = &["-A", "tcp/5555", "-N", "[fd72::2]:22"];
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
        let way = Case::new(knock, to_gateway_v6(5555), INNER_SIDE_V6);
        Case { conf, one_only: true, ..way }.prove(wall, Gateway::new(wall));
    });
}

#[test]
fn forwarding_in_the_name_of_an_address() {
    each(|wall| {
        let gateway = Gateway::new(wall);
        gateway.world.server.run("ip", &["address", "add", "10.72.0.9/24", "dev", "srv1"]);
        let knock = &["-A", "tcp/5555", "-N", "10.72.0.2:22"];
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.72.0.9;";
        let way = Case::new(knock, to_gateway(5555), "10.72.0.9");
        Case { conf, ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_target_that_the_stanza_forces() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let way = Case::new(&["-A", "tcp/5555"], to_gateway(5555), CLIENT);
        Case { conf: FORWARDING, stanza: "FORCE_NAT 10.72.0.2 22", ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_target_and_a_source_that_the_stanza_forces() {
    each(|wall| {
        let gateway = Gateway::new(wall);
        gateway.world.server.run("ip", &["address", "add", "10.72.0.9/24", "dev", "srv1"]);
        let stanza = "FORCE_NAT 10.72.0.2 22\nFORCE_SNAT 10.72.0.9";
        let way = Case::new(&["-A", "tcp/5555", "-N", "10.72.0.3:80"], to_gateway(5555), "10.72.0.9");
        Case { conf: "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;", stanza, ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_target_and_the_name_of_this_host_that_the_stanza_forces() {
    each(|wall| {
        let stanza = "FORCE_NAT 10.72.0.2 22\nFORCE_MASQUERADE Y";
        let way = Case::new(&["-A", "tcp/5555"], to_gateway(5555), INNER_SIDE);
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.72.0.9;";
        Case { conf, stanza, one_only: true, ..way }.prove(wall, Gateway::new(wall));
    });
}

#[test]
fn a_target_and_a_source_that_the_stanza_forces_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall);
        gateway.world.server.run("ip", &["address", "add", "fd72::9/64", "dev", "srv1", "nodad"]);
        let stanza = "FORCE_NAT fd72::2 22\nFORCE_SNAT fd72::9";
        let way = Case::new(&["-A", "tcp/5555"], to_gateway_v6(5555), "fd72::9");
        Case { conf: "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;", stanza, ..way }.prove(wall, gateway);
    });
}

#[test]
fn another_port_of_this_host() {
    each(|wall| {
        let knock = &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"];
        let way = Case::new(knock, to_gateway(5555), CLIENT);
        let (shut, shut_if_narrow) = (vec![to_gateway(80)], vec![to_gateway(22)]);
        Case { conf: "ENABLE_IPT_LOCAL_NAT Y;", shut, shut_if_narrow, ..way }.prove(wall, Gateway::new(wall));
    });
}

/// The rules of the original have no way back for it.
#[test]
fn another_port_where_replies_are_dropped() {
    let gateway = Gateway::new(Wall::Nftables).with_output_dropped(Wall::Nftables).with_way_in();
    let stanza = "FORCE_NAT 127.0.0.1 22";
    let conf = "ENABLE_IPT_LOCAL_NAT Y;\nENABLE_IPT_OUTPUT Y;\nENABLE_DESTINATION_RULE Y;";
    let elsewhere = [22, 5555].map(|port| Way { from: CLIENT, to: (INNER_SIDE, port) });
    let way = Case::new(&["-A", "tcp/22,tcp/5555"], to_gateway(22), CLIENT);
    let case = Case { conf, stanza, ports: &[22, 5555], shut: elsewhere.to_vec(), survives: false, ..way };
    case.prove(Wall::Nftables, gateway);
}

/// Also under its own number, when that is asked for.
#[test]
fn a_port_of_this_host_that_the_stanza_forces() {
    Wall::each(|wall| {
        let way = Case::new(&["-A", "tcp/22,tcp/5555"], to_gateway(22), CLIENT);
        let (conf, stanza) = ("ENABLE_IPT_LOCAL_NAT Y;", "FORCE_NAT 127.0.0.1 22");
        Case { conf, stanza, ports: &[22, 5555], shut: vec![to_gateway(80)], ..way }.prove(wall, Gateway::new(wall));
    });
}

#[test]
fn another_port_of_this_host_over_ipv6() {
    each(|wall| {
        let knock = &["-A", "tcp/22", "--nat-local", "--nat-port", "5555"];
        let way = Case::new(knock, to_gateway_v6(5555), CLIENT_V6);
        let shut_if_narrow = vec![to_gateway_v6(22)];
        Case { conf: "ENABLE_IPT_LOCAL_NAT Y;", shut_if_narrow, ..way }.prove(wall, Gateway::new(wall));
    });
}

#[test]
fn all_ports_of_an_inner_host() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let way = Case::new(&["-A", "tcp/22", "-N", "10.72.0.2:22"], to_gateway(22), CLIENT);
        Case { conf: FORWARDING, stanza: "FORWARD_ALL Y", ports: &[22, 80], ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_gateway_for_whatever_the_client_sends() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_in();
        let stanza = "FORWARD_ALL Y\nFORCE_MASQUERADE Y\nDISABLE_DNAT Y";
        let way = Case::new(&["-A", "tcp/22"], to_inner(80), INNER_SIDE);
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
        Case { conf, stanza, shut: vec![to_gateway(22)], ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_gateway_in_the_name_of_an_address() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_in();
        gateway.world.server.run("ip", &["address", "add", "10.72.0.9/24", "dev", "srv1"]);
        let stanza = "FORWARD_ALL Y\nFORCE_SNAT 10.72.0.9\nDISABLE_DNAT Y";
        let way = Case::new(&["-A", "tcp/22"], to_inner(80), "10.72.0.9");
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
        Case { conf, stanza, ports: &[22, 80], shut: vec![to_gateway(22)], ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_gateway_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_in();
        let stanza = "FORWARD_ALL Y\nFORCE_MASQUERADE Y\nDISABLE_DNAT Y";
        let way = Way { from: CLIENT_V6, to: (INNER_V6, 80) };
        let conf = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;";
        let case = Case::new(&["-A", "tcp/22"], way, INNER_SIDE_V6);
        Case { conf, stanza, shut: vec![to_gateway_v6(22)], ..case }.prove(wall, gateway);
    });
}

#[test]
fn all_ports_of_an_inner_host_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let way = Case::new(&["-A", "tcp/22", "-N", "[fd72::2]:22"], to_gateway_v6(22), CLIENT_V6);
        Case { conf: FORWARDING, stanza: "FORWARD_ALL Y", ports: &[22, 80], ..way }.prove(wall, gateway);
    });
}

#[test]
fn an_inner_host_under_its_own_address() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back().with_way_in();
        let way = Case::new(&["-A", "tcp/22", "-N", "10.72.0.2:22"], to_inner(22), CLIENT);
        let shut = vec![to_gateway(22), to_inner(80)];
        Case { conf: FORWARDING, stanza: "DISABLE_DNAT Y", shut, ..way }.prove(wall, gateway);
    });
}

#[test]
fn an_inner_host_under_its_own_address_over_ipv6() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back().with_way_in();
        let way = Way { from: CLIENT_V6, to: (INNER_V6, 22) };
        let shut = vec![to_gateway_v6(22), Way { to: (INNER_V6, 80), ..way }];
        let case = Case::new(&["-A", "tcp/22", "-N", "[fd72::2]:22"], way, CLIENT_V6);
        Case { conf: FORWARDING, stanza: "DISABLE_DNAT Y", shut, ..case }.prove(wall, gateway);
    });
}

#[test]
fn a_target_by_name() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back();
        let knock = &["-A", "tcp/5555", "-N", "inner.example:22"];
        let way = Case::new(knock, to_gateway(5555), CLIENT);
        let hosts = "127.0.0.1 inner.example\n10.72.0.3 inner.example\n10.72.0.2 inner.example\n";
        let stanza = "NAT_DESTINATIONS 10.72.0.2";
        Case { conf: FORWARDING, stanza, hosts, ..way }.prove(wall, gateway);
    });
}

#[test]
fn a_name_server_that_is_silent_delays_nobody() {
    let gateway = Gateway::new(Wall::Nftables);
    gateway.world.server.ask("listen 22");
    gateway.world.client.feed("nft", &["-f", "-"], SILENT);
    let settings = Settings::new(&gateway.world, FORWARDING, "SOURCE ANY\nKEY key\nHMAC_KEY tag\n");
    let servers = format!("nameserver {CLIENT}\noptions timeout:5 attempts:1\n");
    let mut command = settings.command_with_file(&gateway.world, "/etc/resolv.conf", &servers);
    command.arg("-f");
    let daemon = Daemon::follow(command);
    daemon.logs.expect(&[crate::support::peers::READY]);
    let client = Client::new(&format!("[gate]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nKEY key\nHMAC_KEY tag\n"));
    let knock = |words: &[&str]| client.knock(&gateway.world.client, Maker::Ours, &[&["-n", "gate"], words].concat());
    for n in 1..=9 {
        knock(&["-A", "tcp/5555", "-N", &format!("slow-{n}.example.:22")]);
    }
    daemon.logs.expect(&["too many names of NAT targets are being looked up already"]);
    daemon.logs.expect(&["close ", "grant=9 ", "reason=failed"]);
    knock(&["-A", "tcp/22"]);
    assert!(gateway.opens(to_gateway(22)).is_some(), "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["reason=name-not-found"]), 0, "it came after the names:\n{}", daemon.logs.text());
    assert!(
        daemon.logs.count_of(8, 0, &["reason=name-not-found"], 2 * crate::support::PATIENCE),
        "{}",
        daemon.logs.text()
    );
    daemon.stop();
}

/// Questions get no answer, not even that nobody listens.
const SILENT: &str = "table inet silent { chain in { type filter hook input priority 0; udp dport 53 drop; }; }";

#[test]
fn what_a_stanza_does_not_allow_is_refused_and_opens_nothing() {
    each(|wall| {
        let gateway = Gateway::new(wall).with_way_back().with_way_in();
        let case =
            Case { conf: FORWARDING, stanza: "NAT_DESTINATIONS 10.72.0.2", ..Case::new(&[], to_gateway(22), "") };
        let (client, daemon, _settings) = case.start(wall, &gateway);
        for (target, why) in [
            ("10.72.0.3:22", "reason=nat-target"),
            ("127.0.0.1:22", "reason=nat-target"),
            ("0.0.0.0:22", "reason=nat-target"),
            ("no-such-host.invalid:22", "reason=name-not-found"),
        ] {
            client.knock(&gateway.world.client, Maker::Ours, &["-n", "gate", "-A", "tcp/5555", "-N", target]);
            daemon.logs.expect(&[why]);
        }
        let local = ["-n", "gate", "-A", "tcp/22", "--nat-local", "--nat-port", "5555"];
        client.knock(&gateway.world.client, Maker::Ours, &local);
        daemon.logs.expect(&["reason=nat-disabled"]);
        for way in [to_gateway(5555), to_gateway(22), Way { from: CLIENT, to: (OTHER_INNER, 22) }] {
            assert_eq!(gateway.connects(way), None, "{way:?}");
        }
        daemon.stop();
    });
}

#[test]
fn what_a_reload_permits_works_at_once_and_what_is_open_stays() {
    Wall::each(|wall| {
        let gateway = Gateway::new(wall);
        let before = wall.rules(&gateway.world.server);
        let access = format!("SOURCE ANY\nKEY key\nHMAC_KEY tag\nFW_ACCESS_TIMEOUT {}\n", 3 * LIFETIME.as_secs());
        let (client, daemon, settings) = Case::new(&[], to_gateway(22), "").start(wall, &gateway);
        let reload = |conf: &str, stanza: &str| {
            settings.rewrite(&format!("{}{conf}", wall.conf()), &format!("{access}{stanza}"));
            let mark = daemon.logs.mark();
            daemon.signal(rustix::process::Signal::HUP);
            daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
        };
        let knock =
            |words: &[&str]| client.knock(&gateway.world.client, Maker::Ours, &[&["-n", "gate"], words].concat());
        let said = || daemon.logs.text();
        reload("", "");
        knock(&["-A", "tcp/80"]);
        assert!(gateway.opens(to_gateway(80)).is_some(), "{wall:?}: {}", said());
        knock(&["-A", "tcp/5555", "-N", "10.72.0.2:22"]);
        daemon.logs.expect(&["reason=nat-disabled"]);

        reload(FORWARDING, "FORCE_MASQUERADE Y\nFORCE_NAT 10.72.0.2 22\n");
        knock(&["-A", "tcp/5555"]);
        assert_eq!(gateway.opens(to_gateway(5555)).as_deref(), Some(INNER_SIDE), "{wall:?}: {}", said());
        reload("ENABLE_IPT_LOCAL_NAT Y;\nENABLE_DESTINATION_RULE Y;", "");
        knock(&["-A", "tcp/22", "--nat-local", "--nat-port", "6666"]);
        assert_eq!(gateway.opens(to_gateway(6666)).as_deref(), Some(CLIENT), "{wall:?}: {}", said());
        knock(&["-A", "tcp/22"]);
        assert_eq!(gateway.opens(to_gateway(22)).as_deref(), Some(CLIENT), "{wall:?}: {}", said());
        knock(&["-A", "tcp/7777", "-N", "10.72.0.2:22"]);
        daemon.logs.expect(&["reason=nat-disabled"]);

        reload("", "");
        for port in [80, 6666, 22] {
            assert!(gateway.connects(to_gateway(port)).is_some(), "{wall:?}, {port}: {}", said());
        }
        if wall == Wall::Nftables {
            // What has no place keeps everything as it is.
            let conf = "PCAP_FILTER udp port 1;\nENABLE_IPT_OUTPUT Y;\nENABLE_IPT_FORWARDING Y;";
            settings.rewrite(conf, &access);
            daemon.signal(rustix::process::Signal::HUP);
            daemon.logs.expect(&["NFT_OUTPUT_ACCESS"]);
            daemon.logs.expect(&["The firewall cannot be set up: the old configuration stays in force."]);
            knock(&["-A", "tcp/8888", "-N", "10.72.0.2:22"]);
            assert!(daemon.logs.count_of(3, 0, &["reason=nat-disabled"], crate::support::PATIENCE), "{}", said());
        }
        assert!(daemon.logs.count(&["somebody undid"]) == 0, "{wall:?}: {}", said());
        daemon.stop();
        assert_eq!(wall.rules(&gateway.world.server), before);
    });
}

/// A request, and what it must make possible.
struct Case {
    conf: &'static str,
    /// Lines of the stanza.
    stanza: &'static str,
    /// Of `/etc/hosts`.
    hosts: &'static str,
    knock: &'static [&'static str],
    way: Way,
    /// The ports of the way's end that are open.
    ports: &'static [u16],
    /// Whom the service sees.
    seen: &'static str,
    /// What stays shut meanwhile.
    shut: Vec<Way>,
    /// What does so where rules say no more than is asked for.
    shut_if_narrow: Vec<Way>,
    /// The rules of the original let one connection through at a time: all would have the same source port.
    one_only: bool,
    /// A connection goes on after the grant.
    survives: bool,
}

impl Case {
    fn new(knock: &'static [&'static str], way: Way, seen: &'static str) -> Self {
        let ports = &[];
        let (shut, shut_if_narrow) = (Vec::new(), Vec::new());
        Case {
            conf: "",
            stanza: "",
            hosts: "",
            knock,
            way,
            ports,
            seen,
            shut,
            shut_if_narrow,
            one_only: false,
            survives: true,
        }
    }

    fn start(&self, wall: Wall, gateway: &Gateway) -> (Client, Daemon, Settings) {
        for host in [&gateway.world.server, &gateway.inner] {
            for port in SERVICES {
                host.ask(&format!("listen {port}"));
            }
        }
        let access =
            format!("SOURCE ANY\nKEY key\nHMAC_KEY tag\nFW_ACCESS_TIMEOUT {}\n{}\n", LIFETIME.as_secs(), self.stanza);
        let settings = Settings::new(&gateway.world, &format!("{}{}", wall.conf(), self.conf), &access);
        let (from, to) = if self.way.is_v6() { (CLIENT_V6, SERVER_V6) } else { (CLIENT, SERVER) };
        let client = Client::new(&format!("[gate]\nSPA_SERVER {to}\nALLOW_IP {from}\nKEY key\nHMAC_KEY tag\n"));
        let mut command = settings.command_with_file(&gateway.world, "/etc/hosts", self.hosts);
        command.arg("-f");
        let daemon = Daemon::follow(command);
        daemon.logs.expect(&[crate::support::peers::READY]);
        (client, daemon, settings)
    }

    fn prove(self, wall: Wall, gateway: Gateway) {
        let (client, daemon, settings) = self.start(wall, &gateway);
        let ports = if self.ports.is_empty() { &[self.way.to.1] } else { self.ports };
        let ways = || ports.iter().map(|port| Way { to: (self.way.to.0, *port), ..self.way });
        for way in ways() {
            assert_eq!(gateway.connects(way), None, "{wall:?}: open before the knock: {way:?}");
        }

        let args = [&["-n", "gate"], self.knock].concat();
        client.knock(&gateway.world.client, Maker::Ours, &args);
        let knocked = Instant::now();
        let one_only = self.one_only && !wall.is_narrow();
        for way in ways() {
            let seen = if one_only { gateway.opens_and_holds(way) } else { gateway.opens(way) };
            assert_eq!(seen.as_deref(), Some(self.seen), "{wall:?}: {way:?}; the daemon said:\n{}", daemon.logs.text());
        }
        assert!(one_only || gateway.hold(self.way).is_some());
        let stranger = Way { from: if self.way.is_v6() { NEIGHBOUR_V6 } else { NEIGHBOUR }, ..self.way };
        assert_eq!(gateway.connects(stranger), None, "{wall:?}: open for somebody else");
        let narrow = self.shut_if_narrow.iter().filter(|_| wall.is_narrow());
        for way in self.shut.iter().chain(narrow) {
            assert_eq!(gateway.connects(*way), None, "{wall:?}: open as well: {way:?}");
        }
        assert!(gateway.holds() && knocked.elapsed() < LIFETIME, "this machine is too slow for this test");

        let nothing_listed = || settings.list(&gateway.world).contains("nothing is open");
        let closed = || if one_only { nothing_listed() } else { ways().all(|way| gateway.connects(way).is_none()) };
        assert!(within(LIFETIME + LATE, closed), "{wall:?}: still open after {:?}", knocked.elapsed());
        assert!(knocked.elapsed() >= LIFETIME, "{wall:?}: closed early");
        assert_eq!(gateway.holds(), self.survives, "{wall:?}: the connection that was there before");
        let listed = settings.list(&gateway.world);
        assert!(listed.contains("nothing is open"), "{wall:?}: {listed}");
        daemon.stop();
    }
}

/// Side by side: each has hosts of its own, and most of the time is waiting.
fn each(prove: impl Fn(Wall) + Sync) {
    Wall::each_of(&[&Wall::ALL[..], &[Wall::FirewalldNft]].concat(), prove);
}

const FORWARDING: &str = "ENABLE_IPT_FORWARDING Y;";
const SERVICES: [u16; 2] = [22, 80];
const LIFETIME: Duration = Duration::from_secs(6);
/// Two seconds at most, and a try takes one.
const LATE: Duration = Duration::from_secs(3);
