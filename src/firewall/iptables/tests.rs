use super::*;
use crate::firewall::{Kind, Tag};
use crate::grant::{Access, Forward, Grant, GrantId, Host, SourceNat, Target};
use crate::net::Port;
use crate::time::{Lifetime, Timestamp};

fn iptables(features: Features) -> Iptables {
    let settings = FirewallSettings { backend: IPTABLES, features, ..FirewallSettings::default() };
    Iptables { versions: vec![Version::V4, Version::V6], tried: true, ..Iptables::new(&settings) }
}

fn all() -> Features {
    Features { forwarding: true, local_nat: true, source_nat: true, output: true, destination: false }
}

fn texts(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

fn saved(text: &str) -> [Output; 2] {
    [Output::Text(text.to_owned()), Output::Text(String::new())]
}

fn grant(allow: &str, access: Access) -> Grant {
    Grant {
        id: GrantId(7),
        allow: allow.parse().unwrap(),
        access,
        at: None,
        lifetime: Lifetime::from_secs(30).unwrap(),
        until: Timestamp::from_secs(1_748_779_233),
        certificate: None,
        knock: None,
    }
}

fn forward(to: &str, source: Option<SourceNat>) -> Access {
    let to = Some(Target { host: Host::Address(to.parse().unwrap()), port: Port::new(22).unwrap() });
    Access::Forward(Box::new(Forward { ports: Some("tcp/5555".parse().unwrap()), to, translated: true, source }))
}

#[test]
fn set_up_makes_what_is_missing_in_the_order_of_the_original() {
    let mut full = iptables(all());
    let set_up = full.set_up(&saved("")).unwrap();
    let v4: Vec<String> = texts(&set_up.steps).into_iter().filter(|step| step.starts_with("iptables")).collect();
    let made = [
        ("filter", "INPUT", "FWKNOP_INPUT"),
        ("filter", "OUTPUT", "FWKNOP_OUTPUT"),
        ("filter", "FORWARD", "FWKNOP_FORWARD"),
        ("nat", "PREROUTING", "FWKNOP_PREROUTING"),
        ("nat", "POSTROUTING", "FWKNOP_POSTROUTING"),
        ("nat", "POSTROUTING", "FWKNOP_MASQUERADE"),
    ];
    let expected = made.iter().flat_map(|(table, from, to)| {
        [format!("iptables -t {table} -N {to}"), format!("iptables -t {table} -I {from} 1 -j {to}")]
    });
    assert_eq!(v4, expected.collect::<Vec<_>>());
    assert_eq!(set_up.steps.len(), 24, "the same for IPv6");

    let there = "*filter\n:INPUT DROP [0:0]\n:FWKNOP_INPUT - [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j FWKNOP_INPUT\nCOMMIT\n";
    let mut plain = iptables(Features::default());
    let steps = texts(&plain.set_up(&saved(there)).unwrap().steps);
    assert_eq!(steps, ["ip6tables -t filter -N FWKNOP_INPUT", "ip6tables -t filter -I INPUT 1 -j FWKNOP_INPUT"]);
}

#[test]
fn comments_are_tried_where_no_packet_passes() {
    let mut untried = Iptables { tried: false, versions: vec![Version::V4], ..iptables(Features::default()) };
    let steps = texts(&untried.set_up(&saved("")).unwrap().steps);
    assert!(steps[0].contains("-N FWKNOP_TRIAL\n-A FWKNOP_TRIAL -m comment --comment __TMPCOMMENT__"), "{steps:?}");
    assert!(steps[1].contains("-F FWKNOP_TRIAL\n-X FWKNOP_TRIAL"), "{steps:?}");
    assert_eq!(untried.set_up(&saved("")).unwrap().steps.len(), 2, "once is enough");
}

#[test]
fn tear_down_takes_ours_and_spares_what_others_use() {
    let full = iptables(all());
    let text = "*filter\n:INPUT DROP [0:0]\n:FWKNOP_INPUT - [0:0]\n:FWKNOP_FORWARD - [0:0]\n:OTHER - [0:0]\n\
                -A INPUT -j FWKNOP_INPUT\n-A INPUT -j FWKNOP_INPUT\n-A INPUT -j OTHER\n\
                -A OTHER -i eth0 -g FWKNOP_FORWARD\nCOMMIT\n";
    assert_eq!(
        texts(&full.tear_down(&saved(text)).unwrap()),
        [
            "iptables -t filter -D INPUT -j FWKNOP_INPUT",
            "iptables -t filter -D INPUT -j FWKNOP_INPUT",
            "iptables -t filter -F FWKNOP_INPUT",
            "iptables -t filter -X FWKNOP_INPUT",
            "iptables -t filter -F FWKNOP_FORWARD"
        ]
    );
    assert!(full.tear_down(&saved("")).unwrap().is_empty());
}

/// What the recorded examples do not show: IPv6, a replaced rule, an address in IPv6 clothes.
#[test]
fn a_grant_is_these_lines() {
    let full = iptables(all());
    let open = |grant: &Grant| -> Vec<String> {
        let rules = full.rules(grant, true);
        rules
            .iter()
            .flat_map(|rule| full.open(rule, None, Duration::ZERO).unwrap())
            .map(|c| c.step.to_string())
            .collect()
    };
    let end = "-m comment --comment _exp_1748779233 -j";
    assert_eq!(
        open(&grant("2001:db8::7", forward("fd00::1", Some(SourceNat::Masquerade)))),
        [
            format!("ip6tables -t filter -A FWKNOP_FORWARD -p 6 -s 2001:db8::7 --dport 22 {end} ACCEPT"),
            format!(
                "ip6tables -t nat -A FWKNOP_MASQUERADE -p 6 -d fd00::1 --dport 22 {end} MASQUERADE --to-ports 5555"
            ),
            format!(
                "ip6tables -t nat -A FWKNOP_PREROUTING -p 6 -s 2001:db8::7 --dport 5555 {end} DNAT \
                 --to-destination [fd00::1]:22"
            ),
        ]
    );
    assert_eq!(
        open(&grant("::ffff:198.51.100.7", Access::Open("udp/53".parse().unwrap()))),
        [
            format!("iptables -t filter -A FWKNOP_INPUT -p 17 -s 198.51.100.7 --dport 53 {end} ACCEPT"),
            format!("iptables -t filter -A FWKNOP_OUTPUT -p 17 -d 198.51.100.7 --sport 53 {end} ACCEPT"),
        ]
    );
    let local = Access::Local { ports: "tcp/5555".parse().unwrap(), to: Port::new(22).unwrap() };
    assert!(open(&grant("198.51.100.7", local))[1].ends_with("-j DNAT --to-destination :22"));

    let grant = grant("198.51.100.7", Access::Open("tcp/22".parse().unwrap()));
    let rule = &full.rules(&grant, false)[0];
    let former = Entry {
        spot: rule.spot,
        to: None,
        remaining: Some(Duration::from_secs(1)),
        comment: Some("_exp_1748779100".to_owned()),
    };
    let changes = full.open(rule, Some(&former), Duration::ZERO).unwrap();
    let shown: Vec<String> =
        changes.iter().flat_map(|c| [Some(&c.step), c.undo.as_ref()]).flatten().map(Step::to_string).collect();
    let line = |verb: &str, end: u64| {
        format!(
            "iptables -t filter {verb} FWKNOP_INPUT -p 6 -s 198.51.100.7 --dport 22 -m comment --comment _exp_{end} -j ACCEPT"
        )
    };
    let (old, new) = (1_748_779_100, 1_748_779_233);
    assert_eq!(shown, [line("-D", old), line("-A", old), line("-A", new), line("-D", new)]);
    // What is added relies on the jump; what is removed does not.
    let jumps: Vec<bool> = changes.iter().map(|c| matches!(&c.step, Step::Line(line) if line.jump.is_some())).collect();
    assert_eq!(jumps, [false, true]);
}

#[test]
fn what_iptables_saves_of_a_grant_is_read_as_that_grant() {
    let full = iptables(all());
    let text = "*filter\n:FWKNOP_FORWARD - [0:0]\n\
        -A FWKNOP_FORWARD -s 1.2.3.4/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1748779233 -j ACCEPT\n\
        -A FWKNOP_FORWARD -s 1.2.3.4/32 -d 10.0.0.1/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1 -j ACCEPT\n\
        -A FWKNOP_FORWARD -s 1.2.3.0/24 -p tcp -m tcp --dport 22 -m comment --comment _exp_1 -j ACCEPT\n\
        -A FWKNOP_FORWARD -s 1.2.3.4/32 -p icmp -m comment --comment _exp_1 -j ACCEPT\n\
        -A FWKNOP_FORWARD -s 1.2.3.4/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1 -j DROP\nCOMMIT\n\
        *nat\n:FWKNOP_PREROUTING - [0:0]\n\
        -A FWKNOP_PREROUTING -s 1.2.3.4/32 -p tcp -m tcp --dport 5555 -m comment --comment _exp_1748779233 -j DNAT \
        --to-destination 10.1.2.3:22\n\
        -A FWKNOP_POSTROUTING -d 10.1.2.3/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1748779233 -j SNAT \
        --to-source 10.9.9.9\nCOMMIT\n";
    let entries = full.entries(&saved(text)).unwrap();
    let source = Some(SourceNat::To("10.9.9.9".parse().unwrap()));
    let granted = grant("1.2.3.4", forward("10.1.2.3", source));
    let mut expected: Vec<Spot> = full.rules(&granted, false).iter().map(|rule| rule.spot).collect();
    expected[1].address = [0, 0, 0, 0].into();
    expected.sort();
    let mut found: Vec<Spot> = entries.iter().map(|entry| entry.spot).collect();
    found.sort();
    assert_eq!(found, expected, "only what we would have written");
    assert_eq!(crate::firewall::rule::access_of(&entries), Some((granted.access, None)));
}

#[test]
fn only_the_sign_of_an_end_is_one() {
    let entry = |comment: &str| Entry {
        spot: Spot { kind: Kind::Input, address: [1, 2, 3, 4].into(), peer: None, service: None },
        to: Some(Value::Port(Port::MIN)),
        remaining: None,
        comment: Some(comment.to_owned()),
    };
    assert_eq!(entry("_exp_1748779233").end(), Some(1_748_779_233));
    for other in ["_exp_", "_exp_1x", "foo _exp_100", "_exp_-1", "_exp_+1", "_exp_18446744073709551616"] {
        assert_eq!(entry(other).end(), None, "{other}");
    }
    let tag = Tag { grant: GrantId(1), until: 2, signer: None };
    assert_eq!(entry(&tag.to_string()).end(), None);
}

/// Each command of a whole life, as `testdata/firewall/firewalld.txt` has them.
#[test]
fn firewalld_gets_these_commands() {
    let settings = FirewallSettings { features: all(), ..FirewallSettings::default() };
    let mut firewalld = Iptables { versions: vec![Version::V4], ..Iptables::through_firewalld(&settings) };
    let mut text = String::new();
    let mut tell = |title: &str, steps: &[Step]| {
        text.push_str(&format!("# {title}\n"));
        steps.iter().for_each(|step| text.push_str(&format!("{step}\n")));
    };
    tell("survey", &firewalld.survey());
    let nothing = [Output::Text("-P INPUT DROP\n".to_owned()), Output::Text(String::new())];
    tell("set-up", &firewalld.set_up(&nothing).unwrap().steps);
    let accesses = [
        ("open tcp/22, udp/53", Access::Open("tcp/22,udp/53".parse().unwrap())),
        ("forward tcp/5555", forward("10.1.2.3", Some(SourceNat::To("10.9.9.9".parse().unwrap())))),
    ];
    for (title, access) in accesses {
        let grant = grant("1.2.3.4", access);
        let rules = firewalld.rules(&grant, true);
        let changes = rules.iter().flat_map(|rule| firewalld.open(rule, None, Duration::ZERO).unwrap());
        tell(title, &changes.map(|change| change.step).collect::<Vec<_>>());
    }
    let filter = "-P INPUT DROP\n-N FWKNOP_INPUT\n-A INPUT -j FWKNOP_INPUT\n\
                  -A FWKNOP_INPUT -s 1.2.3.4/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_1748779233 -j ACCEPT\n";
    let listed = [Output::Text(filter.to_owned()), Output::Text(String::new())];
    let entries = firewalld.entries(&listed).unwrap();
    tell("close tcp/22", &firewalld.close(&entries[0]).unwrap());
    tell("tear-down", &firewalld.tear_down(&listed).unwrap());
    tell("list all", &firewalld.list_all());
    let golden = include_str!("../../../testdata/firewall/firewalld.txt");
    assert_eq!(text, golden, "{text}");
}
