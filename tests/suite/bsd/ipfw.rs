//! The set of what ended while in use, and the numbers.

use std::time::Duration;

use crate::support::peers::Daemon;
use crate::support::scene::{PORT, access, access_to};
use crate::support::stand_in::{Kind, StandIn};
use crate::support::{PATIENCE, within};

/// What ended: `number set body`.
fn ended(wall: &StandIn) -> Vec<String> {
    wall.read("rules").lines().filter(|line| line.split(' ').nth(1) == Some("2")).map(str::to_owned).collect()
}

fn asked(wall: &StandIn) -> usize {
    wall.read("asked").lines().count()
}

/// Opened, in use, and over.
fn in_use_and_over(wall: &StandIn, daemon: &Daemon) -> String {
    wall.scene.knock(PORT);
    let rule = wall.wait_for_rules(1, &daemon.logs).remove(0);
    let number = rule.split(' ').next().unwrap_or_default().to_owned();
    wall.write("states", &format!("{number} 12 3456 (297s) STATE tcp 10.71.0.2 50022 <-> 10.71.0.1 2201 :default\n"));
    wall.wait_for_rules(0, &daemon.logs);
    assert!(ended(wall)[0].starts_with(&format!("{number} 2 ")), "{:?}", ended(wall));
    number
}

#[test]
fn what_ended_while_in_use_goes_when_nobody_uses_it_any_more() {
    let wall = StandIn::new(Kind::Ipfw, "IPFW_EXPIRE_PURGE_INTERVAL 1;\n", &access(PORT, 4));
    let daemon = wall.daemon();
    assert_eq!(wall.read("disabled"), "2\n", "the set of what ended is not in force");
    in_use_and_over(&wall, &daemon);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(ended(&wall).len(), 1, "it is in use");
    wall.write("states", "");
    assert!(within(PATIENCE, || ended(&wall).is_empty()), "no other grant was needed: {:?}", ended(&wall));
    // Nothing is left to look after: the daemon sleeps.
    std::thread::sleep(Duration::from_millis(1500));
    let before = asked(&wall);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(asked(&wall), before, "{}", wall.read("asked"));
    daemon.stop();
}

#[test]
fn a_new_daemon_looks_after_what_ended_before() {
    let conf = "IPFW_EXPIRE_PURGE_INTERVAL 1;\n";
    let wall = StandIn::new(Kind::Ipfw, conf, &access(PORT, 4));
    let daemon = wall.daemon();
    in_use_and_over(&wall, &daemon);
    daemon.stop();
    assert_eq!(ended(&wall).len(), 1, "its connections survive the daemon");
    let daemon = wall.daemon();
    wall.write("states", "");
    assert!(within(PATIENCE, || ended(&wall).is_empty()), "{:?}", ended(&wall));
    daemon.stop();
}

#[test]
fn a_look_that_fails_is_told_once_and_made_again() {
    let wall = StandIn::new(Kind::Ipfw, "IPFW_EXPIRE_PURGE_INTERVAL 1;\n", &access(PORT, 4));
    let daemon = wall.daemon();
    in_use_and_over(&wall, &daemon);
    wall.refuse("delete");
    wall.write("states", "");
    daemon.logs.expect(&["ipfw refused 'ipfw set 2 delete"]);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(daemon.logs.count(&["ipfw refused"]), 1, "{}", daemon.logs.text());
    wall.refuse_nothing();
    assert!(within(PATIENCE, || ended(&wall).is_empty()), "{:?}", ended(&wall));
    daemon.stop();
}

#[test]
fn without_a_second_set_rules_are_deleted_at_once() {
    let wall = StandIn::new(Kind::Ipfw, "IPFW_EXPIRE_SET_NUM 0;\n", &access(PORT, 4));
    let daemon = wall.daemon();
    assert_eq!(wall.read("disabled"), "");
    wall.scene.knock(PORT);
    wall.wait_for_rules(1, &daemon.logs);
    wall.wait_for_rules(0, &daemon.logs);
    assert!(ended(&wall).is_empty());
    daemon.stop();
}

#[test]
fn each_rule_has_a_number_of_its_own_until_there_are_none() {
    let ports = "tcp/2201,tcp/2202,tcp/2203";
    let wall = StandIn::new(Kind::Ipfw, "IPFW_MAX_RULES 3;\nIPFW_ADD_CHECK_STATE Y;\n", &access_to(ports, PORT, 60));
    let daemon = wall.daemon();
    wall.ask(&["-A", ports]);
    daemon.logs.expect(&["all 3 rule numbers of ours are taken; raise IPFW_MAX_RULES"]);
    daemon.logs.expect(&["reason=failed"]);
    assert!(wall.rules().is_empty(), "{:?}", wall.rules());
    wall.ask(&["-A", "tcp/2201,tcp/2202"]);
    let rules = wall.wait_for_rules(2, &daemon.logs);
    let numbers: Vec<&str> = rules.iter().filter_map(|rule| rule.split(' ').next()).collect();
    assert_eq!(numbers, ["10001", "10002"]);
    daemon.stop();
    let left = wall.read("rules");
    assert!(left.contains("10000 1 allow tcp from 192.0.2.9"), "the administrator's has the number of ours: {left}");
}
