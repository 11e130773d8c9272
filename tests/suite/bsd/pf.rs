//! NAT in both languages.

use super::each_of;
use crate::support::netns::{CLIENT, CLIENT_V6};
use crate::support::scene::{PORT, access_to};
use crate::support::stand_in::{Kind, StandIn};

const NAT: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\n";
const SNAT: &str = "ENABLE_IPT_SNAT Y;\nSNAT_TRANSLATE_IP 10.9.9.9;\n";

fn wall(kind: Kind, more: &str, lifetime: u32) -> StandIn {
    let stanza = access_to("tcp/5555,tcp/5556", PORT, lifetime) + "NAT_DESTINATIONS 10.1.2.0/24, fd00::/64\n";
    StandIn::new(kind, &format!("{NAT}{more}"), &stanza)
}

fn masked(rules: &[String]) -> Vec<String> {
    let mask = |rule: &String| {
        let (before, after) = rule.split_once("_exp_").expect("a rule of ours");
        format!("{before}_exp_E{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
    };
    rules.iter().map(mask).collect()
}

/// Each at its place: FreeBSD's file has what is rewritten first, OpenBSD's who is sent on in another name.
#[test]
fn a_way_to_another_host_is_opened_and_closed() {
    each_of(&BOTH, |kind| {
        let wall = wall(kind, "", 6);
        let before = wall.all_rules();
        let daemon = wall.daemon();
        wall.ask(&["-A", "tcp/5555", "-N", "10.1.2.3:22"]);
        let rules = masked(&wall.wait_for_rules(2, &daemon.logs));
        let through = format!("pass quick inet proto tcp from {CLIENT} to 10.1.2.3 port = 22 flags S/SA");
        match kind {
            Kind::PfOfOpenBsd => assert_eq!(
                rules,
                [
                    format!("{through} label \"_exp_E\""),
                    format!(
                        "pass in quick inet proto tcp from {CLIENT} to any port = 5555 flags S/SA label \"_exp_E\" \
                         rdr-to 10.1.2.3 port 22"
                    ),
                ]
            ),
            _ => assert_eq!(
                rules,
                [
                    format!("rdr pass inet proto tcp from {CLIENT} to any port = 5555 tag _exp_E -> 10.1.2.3 port 22"),
                    format!("{through} keep state label \"_exp_E\""),
                ]
            ),
        }
        daemon.logs.expect(&["open ", "to=10.1.2.3:22"]);
        wall.wait_for_rules(0, &daemon.logs);
        assert_eq!(wall.all_rules(), before, "{kind:?}");
        daemon.stop();
    });
}

#[test]
fn several_ways_in_another_name_are_all_there_and_taken_over() {
    each_of(&BOTH, |kind| {
        let wall = wall(kind, SNAT, 12);
        let daemon = wall.daemon();
        wall.ask(&["-A", "tcp/5555,tcp/5556", "-N", "10.1.2.3:22"]);
        let rules = wall.wait_for_rules(4, &daemon.logs);
        let count = |words: &[&str]| rules.iter().filter(|rule| words.iter().all(|word| rule.contains(word))).count();
        let (rewrite, name) = match kind {
            Kind::PfOfOpenBsd => ("rdr-to 10.1.2.3 port 22", "nat-to 10.9.9.9"),
            _ => ("-> 10.1.2.3 port 22", "-> 10.9.9.9"),
        };
        assert_eq!((count(&[rewrite]), count(&[name]), count(&["pass quick"])), (2, 1, 1), "{kind:?}: {rules:#?}");
        daemon.kill9();
        let daemon = wall.daemon();
        daemon.logs.expect(&["adopt ", "ports=tcp/5555,tcp/5556 to=10.1.2.3:22 source=10.9.9.9"]);
        assert_eq!(wall.rules(), rules, "{kind:?}");
        wall.wait_for_rules(0, &daemon.logs);
        daemon.stop();
    });
}

/// Only who knocked on the other port gets in: the real one stays closed.
#[test]
fn another_port_of_this_host_is_opened_over_both_versions_of_ip() {
    each_of(&BOTH, |kind| {
        let wall = wall(kind, "", 60);
        let daemon = wall.daemon();
        for (address, here) in [(CLIENT, "127.0.0.1"), (CLIENT_V6, "::1")] {
            let before = wall.rules().len();
            wall.ask(&["-A", "tcp/22", "--nat-local", "--nat-port", "5555", "-a", address]);
            let rules = wall.wait_for_rules(before + 1, &daemon.logs);
            let rule = rules.iter().find(|rule| rule.contains(address)).expect("it is there");
            assert!(rule.contains("port = 5555") && rule.ends_with(&format!("{here} port 22")), "{kind:?}: {rule}");
        }
        daemon.stop();
        assert!(wall.rules().is_empty(), "{kind:?}");
    });
}

#[test]
fn a_way_that_is_refused_half_way_is_not_there_at_all() {
    each_of(&BOTH, |kind| {
        let wall = wall(kind, SNAT, 60);
        let before = wall.all_rules();
        let daemon = wall.daemon();
        for part in ["10.9.9.9", "pass quick", "5555"] {
            wall.refuse(part);
            let mark = daemon.logs.mark();
            wall.ask(&["-A", "tcp/5555", "-N", "10.1.2.3:22"]);
            daemon.logs.expect_after(mark, &["pfctl refused"]);
            daemon.logs.expect_after(mark, &["reason=failed"]);
            assert_eq!(wall.all_rules(), before, "{kind:?}: {part}");
        }
        daemon.stop();
    });
}

#[test]
fn an_anchor_that_is_not_there_keeps_the_daemon_from_starting() {
    each_of(&BOTH, |kind| {
        let wall = wall(kind, "", 60);
        wall.write("anchors", "others\n");
        let mut daemon = wall.launch();
        assert!(!daemon.ended().success());
        daemon.logs.expect(&["PF has no anchor 'fwknop'", "write 'anchor \"fwknop\"' to pf.conf"]);
    });
}

const BOTH: [Kind; 2] = [Kind::PfOfOpenBsd, Kind::PfOfFreeBsd];
