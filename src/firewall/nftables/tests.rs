use serde_json::Value;

use super::*;
use crate::firewall::rule::{Kind, Tag};
use crate::grant::GrantId;
use crate::time::Timestamp;

const ADMIN: &str = r#"
    {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"table": {"family": "inet", "name": "filter", "handle": 1}},
    {"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input",
               "prio": 0, "policy": "drop"}},
    {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 3, "comment": "fwknop",
              "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}]}}"#;

/// What nft 1.0.6 lists after our set-up.
const OURS: &str = r#"
    {"set": {"family": "inet", "name": "fwknop4", "table": "filter",
             "type": ["ipv4_addr", "inet_proto", "inet_service"], "handle": 5, "flags": ["timeout"]}},
    {"set": {"family": "inet", "name": "fwknop6", "table": "filter",
             "type": ["ipv6_addr", "inet_proto", "inet_service"], "handle": 6, "flags": ["timeout"]}},
    {"chain": {"family": "inet", "table": "filter", "name": "fwknop_input", "handle": 7}},
    {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 10, "comment": "fwknop",
              "expr": [{"jump": {"target": "fwknop_input"}}]}},
    {"rule": {"family": "inet", "table": "filter", "chain": "fwknop_input", "handle": 8, "comment": "fwknop",
              "expr": [{"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}},
                        {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]},
                        "right": "@fwknop4"}}, {"counter": {"packets": 7, "bytes": 512}}, {"accept": null}]}},
    {"rule": {"family": "inet", "table": "filter", "chain": "fwknop_input", "handle": 9, "comment": "fwknop",
              "expr": [{"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip6", "field": "saddr"}},
                        {"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]},
                        "right": "@fwknop6"}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}]}}"#;

fn listing(parts: &[&str]) -> Output {
    Output::Text(format!("{{\"nftables\": [{}]}}", parts.join(",")))
}

/// The one script of a transaction, change by change.
fn script(steps: &[Step]) -> Vec<String> {
    let [Step::Command(command)] = steps else { panic!("{steps:?}") };
    assert_eq!((command.program, command.args.join(" ")), ("nft", "-j -f -".to_owned()));
    let script: Value = serde_json::from_str(command.stdin.as_deref().unwrap()).unwrap();
    script["nftables"].as_array().unwrap().iter().map(Value::to_string).collect()
}

fn nftables(input: Option<&str>) -> Nftables {
    let input = input.map(|place| place.parse().unwrap());
    Nftables::new(&FirewallSettings { input, ..FirewallSettings::default() })
}

fn set_up(parts: &[&str]) -> (Nftables, SetUp) {
    let mut nftables = nftables(None);
    let set_up = nftables.set_up(&[listing(parts)]).unwrap();
    (nftables, set_up)
}

fn rule(address: &str, service: &str) -> Rule {
    Rule {
        spot: Spot {
            kind: Kind::Input,
            address: address.parse().unwrap(),
            peer: None,
            service: Some(service.parse().unwrap()),
        },
        to: None,
        until: Timestamp::from_secs(1_748_779_233),
        tag: Tag { grant: GrantId(17), until: 1_748_779_233, signer: None },
    }
}

fn texts(changes: &[Change]) -> Vec<[String; 2]> {
    changes.iter().map(|change| [change.step.to_string(), change.undo.as_ref().unwrap().to_string()]).collect()
}

#[test]
fn set_up_is_one_transaction() {
    let (_, set_up) = set_up(&[ADMIN]);
    assert_eq!(set_up.place, "inet filter input");
    assert_eq!(
        script(&set_up.steps),
        [
            r#"{"add":{"set":{"family":"inet","flags":["timeout"],"name":"fwknop4","table":"filter","type":["ipv4_addr","inet_proto","inet_service"]}}}"#,
            r#"{"add":{"set":{"family":"inet","flags":["timeout"],"name":"fwknop6","table":"filter","type":["ipv6_addr","inet_proto","inet_service"]}}}"#,
            r#"{"add":{"chain":{"family":"inet","name":"fwknop_input","table":"filter"}}}"#,
            r#"{"add":{"rule":{"chain":"fwknop_input","comment":"fwknop","expr":[{"match":{"left":{"concat":[{"payload":{"field":"saddr","protocol":"ip"}},{"meta":{"key":"l4proto"}},{"payload":{"field":"dport","protocol":"th"}}]},"op":"==","right":"@fwknop4"}},{"counter":null},{"accept":null}],"family":"inet","table":"filter"}}}"#,
            r#"{"add":{"rule":{"chain":"fwknop_input","comment":"fwknop","expr":[{"match":{"left":{"concat":[{"payload":{"field":"saddr","protocol":"ip6"}},{"meta":{"key":"l4proto"}},{"payload":{"field":"dport","protocol":"th"}}]},"op":"==","right":"@fwknop6"}},{"counter":null},{"accept":null}],"family":"inet","table":"filter"}}}"#,
            r#"{"insert":{"rule":{"chain":"input","comment":"fwknop","expr":[{"jump":{"target":"fwknop_input"}}],"family":"inet","table":"filter"}}}"#,
        ]
    );
}

#[test]
fn what_is_there_is_not_made_again() {
    let (nftables, set_up) = set_up(&[ADMIN, OURS]);
    assert!(set_up.steps.is_empty(), "{:?}", set_up.steps);
    assert!(nftables.in_place(&listing(&[ADMIN, OURS])));
    assert!(!nftables.in_place(&listing(&[ADMIN])));
    assert!(!nftables.in_place(&listing(&[])));
    assert!(!nftables.in_place(&Output::Text("nft printed something else".to_owned())));
    assert_eq!(nftables.check().unwrap().to_string(), "nft -j -t list table inet filter");
}

#[test]
fn what_was_made_anew_is_told_from_what_was_there() {
    let table = |handle: u32| format!(r#"{{"table": {{"family": "inet", "name": "filter", "handle": {handle}}}}}"#);
    let there = listing(&[&table(3), ADMIN, OURS]);
    let (mut nftables, _) = set_up(&[&table(3), ADMIN, OURS]);
    let recognise = |nftables: &mut Nftables, marks: &Output| nftables.recognise(&[], std::slice::from_ref(marks));
    assert!(!recognise(&mut nftables, &there), "it is seen for the first time");
    assert!(nftables.in_place(&there));
    let others = OURS.replace(r#""handle": 6"#, r#""handle": 16"#);
    for anew in [listing(&[&table(4), ADMIN, OURS]), listing(&[&table(3), ADMIN, &others])] {
        assert!(!nftables.in_place(&anew));
        assert!(recognise(&mut nftables, &anew) && nftables.in_place(&anew) && !recognise(&mut nftables, &anew));
        assert!(recognise(&mut nftables, &there));
    }
}

#[test]
fn a_listing_in_another_form_does_not_double_our_rules() {
    let other = OURS.replace(r#"{"meta": {"key": "l4proto"}}"#, r#"{"meta": "l4proto"}"#);
    assert!(set_up(&[ADMIN, &other]).1.steps.is_empty());
    let disarmed = OURS.replace(r#"{"accept": null}"#, r#"{"drop": null}"#);
    assert_eq!(script(&set_up(&[ADMIN, &disarmed]).1.steps).len(), 2);
}

#[test]
fn only_what_is_missing_is_made() {
    let without_jump = OURS.replace(r#""chain": "input", "handle": 10"#, r#""chain": "old", "handle": 10"#);
    let (_, set_up) = set_up(&[ADMIN, &without_jump]);
    let script = script(&set_up.steps);
    assert_eq!(script.len(), 2, "{script:?}");
    assert!(script[0].starts_with(r#"{"insert":{"rule":{"chain":"input""#), "{script:?}");
    // The jump an earlier configuration left in another chain.
    assert_eq!(script[1], r#"{"delete":{"rule":{"chain":"old","family":"inet","handle":10,"table":"filter"}}}"#);
}

#[test]
fn an_administrators_own_jump_is_used_and_kept() {
    let own = OURS.replace(r#""handle": 10, "comment": "fwknop""#, r#""handle": 10, "comment": "after the blacklist""#);
    let (nftables, set_up) = set_up(&[ADMIN, &own]);
    assert!(set_up.steps.is_empty(), "{:?}", set_up.steps);
    let removed = script(&nftables.tear_down(&[listing(&[ADMIN, &own])]).unwrap());
    assert!(!removed.iter().any(|change| change.contains("\"handle\":10")), "{removed:?}");
    assert!(!removed.iter().any(|change| change.contains(r#"{"delete":{"chain""#)), "his jump needs it: {removed:?}");
}

#[test]
fn tear_down_takes_ours_by_handle_and_nothing_else() {
    // The rule with handle 3 has our comment, but does nothing of ours.
    let removed = script(&nftables(None).tear_down(&[listing(&[ADMIN, OURS])]).unwrap());
    assert_eq!(
        removed,
        [
            r#"{"delete":{"rule":{"chain":"input","family":"inet","handle":10,"table":"filter"}}}"#,
            r#"{"delete":{"rule":{"chain":"fwknop_input","family":"inet","handle":8,"table":"filter"}}}"#,
            r#"{"delete":{"rule":{"chain":"fwknop_input","family":"inet","handle":9,"table":"filter"}}}"#,
            r#"{"delete":{"chain":{"family":"inet","name":"fwknop_input","table":"filter"}}}"#,
            r#"{"delete":{"set":{"family":"inet","name":"fwknop4","table":"filter"}}}"#,
            r#"{"delete":{"set":{"family":"inet","name":"fwknop6","table":"filter"}}}"#,
        ]
    );
    assert!(nftables(None).tear_down(&[listing(&[ADMIN])]).unwrap().is_empty());
    let elsewhere = nftables(Some("inet other input"));
    assert!(elsewhere.tear_down(&[listing(&[ADMIN, OURS])]).unwrap().is_empty());
}

#[test]
fn a_rule_is_an_element_and_its_undo() {
    let (nftables, _) = set_up(&[ADMIN]);
    let ssh = rule("198.51.100.7", "tcp/22");
    assert_eq!(nftables.find(&ssh).unwrap().to_string(), "get element inet filter fwknop4 { 198.51.100.7 . tcp . 22 }");
    let opened = nftables.open(&ssh, None, Duration::from_secs(30)).unwrap();
    assert_eq!(
        texts(&opened),
        [[
            "add element inet filter fwknop4 { 198.51.100.7 . tcp . 22 timeout 30s comment \"fwknop:17:1748779233\" }",
            "delete element inet filter fwknop4 { 198.51.100.7 . tcp . 22 }"
        ]]
    );

    let found = Entry {
        spot: ssh.spot,
        to: None,
        remaining: Some(Duration::from_secs(5)),
        comment: Some("fwknop:16:1748779208".to_owned()),
    };
    let refreshed = texts(&nftables.open(&ssh, Some(&found), Duration::from_secs(30)).unwrap());
    assert_eq!(
        refreshed[0],
        [
            "delete element inet filter fwknop4 { 198.51.100.7 . tcp . 22 }",
            "add element inet filter fwknop4 { 198.51.100.7 . tcp . 22 timeout 5s comment \"fwknop:16:1748779208\" }"
        ]
    );
    assert_eq!(refreshed[1][0], opened[0].step.to_string());

    let dns6 = texts(&nftables.open(&rule("2001:db8::7", "udp/53"), None, Duration::from_secs(30)).unwrap());
    assert!(dns6[0][0].starts_with("add element inet filter fwknop6 { 2001:db8::7 . udp . 53 timeout 30s"), "{dns6:?}");
}

#[test]
fn a_table_of_one_family_has_one_set() {
    let ip6 = ADMIN.replace("inet", "ip6");
    let (nftables, set_up) = set_up(&[&ip6]);
    let script = script(&set_up.steps);
    assert_eq!(script.len(), 4, "{script:?}");
    assert!(!script.iter().any(|change| change.contains("fwknop4")), "{script:?}");
    let error = nftables.find(&rule("198.51.100.7", "tcp/22")).unwrap_err().to_string();
    assert!(error.contains("that table sees only IPv6"), "{error}");
}

#[test]
fn a_name_that_is_taken_stops_set_up() {
    for taken in [
        OURS.replace(r#""type": ["ipv4_addr", "inet_proto", "inet_service"]"#, r#""type": "ipv4_addr""#),
        OURS.replace(r#""flags": ["timeout"]"#, r#""flags": ["constant"]"#),
        OURS.replace(r#""name": "fwknop_input", "handle": 7"#, r#""name": "fwknop_input", "hook": "input""#),
    ] {
        let error = nftables(None).set_up(&[listing(&[ADMIN, &taken])]).unwrap_err();
        assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    }
}

#[test]
fn before_set_up_a_dry_run_shows_the_usual_place_or_the_named_one() {
    let open = |named: Option<&str>| {
        let nftables = nftables(named);
        texts(&nftables.open(&rule("198.51.100.7", "tcp/22"), None, Duration::from_secs(30)).unwrap()).remove(0)
    };
    assert!(open(None)[0].starts_with("add element inet filter fwknop4 { "));
    assert!(open(Some("ip my-table in"))[0].starts_with("add element ip my-table fwknop4 { "));
}
