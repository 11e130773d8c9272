//! Both back-ends against the listings and command lists in `testdata/firewall`, which tells where their forms are from.

use std::fs;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::firewall::{Anchor, Backend, Features, Ipfw, Numbers, Output, Pf, Syntax};
use crate::grant::{Access, Forward, Grant, GrantId, Host, SourceNat, Target};
use crate::net::Port;
use crate::time::{Lifetime, Timestamp};

fn golden(name: &str) -> String {
    fs::read_to_string(format!("testdata/firewall/{name}")).unwrap()
}

fn grant(allow: &str, access: Access) -> Grant {
    Grant {
        id: GrantId(1),
        allow: allow.parse().unwrap(),
        access,
        at: None,
        lifetime: Lifetime::from_secs(30).unwrap(),
        until: Timestamp::from_secs(1_748_779_300),
        certificate: None,
        knock: None,
    }
}

fn open_to(ports: &str) -> Access {
    Access::Open(ports.parse().unwrap())
}

fn forward(ports: &str, host: &str, source: Option<&str>) -> Access {
    let to = Some(Target { host: Host::Address(host.parse().unwrap()), port: 22.try_into().unwrap() });
    let source = source.map(|source| SourceNat::To(source.parse().unwrap()));
    Access::Forward(Box::new(Forward { ports: Some(ports.parse().unwrap()), to, translated: true, source }))
}

fn local(ports: &str) -> Access {
    Access::Local { ports: ports.parse().unwrap(), to: 22.try_into().unwrap() }
}

/// What the runner would do with these steps.
fn commands(steps: &[Step], listing: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        let edits = steps[at..].iter().map_while(|step| if let Step::Edit(edit) = step { Some(edit) } else { None });
        let edits: Vec<&Edit> = edits.collect();
        let Some(first) = edits.first() else {
            done.push(step.to_string());
            at += 1;
            continue;
        };
        done.extend(first.firewall.list().iter().map(ToString::to_string));
        let parts = first.firewall.commands(listing, &edits).unwrap();
        assert_eq!(parts.iter().map(|part| part.makes).sum::<usize>(), edits.len());
        done.extend(parts.iter().map(|part| part.command.to_string()));
        at += edits.len();
    }
    done
}

/// Each of these grants is opened as if it were the only one.
fn story(backend: &mut dyn Backend, survey: &[Output], listing: &str, grants: &[(&str, Grant)]) -> String {
    let mut told = String::new();
    let mut tell = |what: &str, steps: &[Step]| {
        told.push_str(&format!("# {what}\n"));
        for command in commands(steps, listing) {
            told.push_str(command.trim_end());
            told.push('\n');
        }
    };
    let lasts = std::time::Duration::from_secs(30);
    let steps = |backend: &dyn Backend, grant: &Grant, found: Option<&Entry>| -> Vec<Step> {
        let rules = backend.rules(grant, false);
        let changes = rules.iter().flat_map(|rule| backend.open(rule, found, lasts).unwrap());
        changes.map(|change| change.step).collect()
    };
    tell("survey", &backend.survey());
    tell("set-up", &backend.set_up(survey).unwrap().steps);
    tell("asked by check", &backend.inquiries());
    let found = backend.entries(survey).unwrap();
    for (what, grant) in grants {
        tell(what, &steps(backend, grant, None));
    }
    let again = grant("198.51.100.7", open_to("tcp/22"));
    tell("refresh", &steps(backend, &again, Some(&found[0])));
    let closed: Vec<Step> = found[..2].iter().flat_map(|entry| backend.close(entry).unwrap()).collect();
    tell("close two", &closed);
    tell("flush", &backend.tear_down(survey).unwrap());
    tell("tidy", &backend.remains(survey).unused);
    tell("list all", &backend.list_all());
    told
}

fn openings() -> Vec<(&'static str, Grant)> {
    let at_one = Grant { at: Some("192.0.2.1".parse().unwrap()), ..grant("192.0.2.77", open_to("udp/53")) };
    vec![
        ("open", grant("192.0.2.77", open_to("tcp/22"))),
        ("open several ports", grant("192.0.2.77", open_to("tcp/22,tcp/443,udp/1194"))),
        ("open udp, for one address of ours", at_one),
        ("open for IPv6, several ports", grant("2001:db8::99", open_to("tcp/22,udp/1194"))),
    ]
}

fn nat() -> Vec<(&'static str, Grant)> {
    vec![
        ("forward", grant("192.0.2.77", forward("tcp/5555", "10.1.2.3", None))),
        (
            "forward several ports in another name",
            grant("192.0.2.77", forward("tcp/5555,udp/53", "10.1.2.3", Some("10.9.9.9"))),
        ),
        ("forward over IPv6 in another name", grant("2001:db8::99", forward("tcp/5555", "fd00::3", Some("fd00::9")))),
        ("local nat", grant("192.0.2.77", local("tcp/5555"))),
        ("local nat over IPv6, several ports", grant("2001:db8::99", local("tcp/5555,tcp/5556"))),
    ]
}

const ALL: Features =
    Features { forwarding: true, local_nat: true, source_nat: true, output: false, destination: true };

fn pf(syntax: Syntax) -> Pf {
    Pf::new(&Anchor::default().in_syntax(syntax), ALL)
}

/// As the survey brings it, and as the runner asks for it.
fn pf_survey(syntax: Syntax) -> (Vec<Output>, String) {
    let anchors = Output::Text("  fwknop\n  other\n".to_owned());
    let held = match syntax {
        Syntax::OpenBsd => vec![golden("pf/openbsd/rules.txt")],
        Syntax::FreeBsd => vec![golden("pf/freebsd/nat.txt"), golden("pf/freebsd/rules.txt")],
    };
    let listing = held.concat();
    (std::iter::once(anchors).chain(held.into_iter().map(Output::Text)).collect(), listing)
}

#[test]
fn ipfw_says_what_the_golden_list_says() {
    let listing = golden("ipfw/listing.txt");
    let survey = [Output::Text(listing.clone())];
    let told = story(&mut Ipfw::new(&Numbers::default()), &survey, &listing, &openings());
    assert_eq!(told, golden("ipfw/commands.txt"), "{told}");
}

#[test]
fn pf_says_what_the_golden_list_says_in_both_languages() {
    for (syntax, name) in [(Syntax::OpenBsd, "openbsd"), (Syntax::FreeBsd, "freebsd")] {
        let (survey, listing) = pf_survey(syntax);
        let told = story(&mut pf(syntax), &survey, &listing, &[openings(), nat()].concat());
        assert_eq!(told, golden(&format!("pf/{name}/commands.txt")), "{name}: {told}");
    }
}

#[test]
fn what_is_ours_is_read_from_the_listings() {
    let ipfw = Ipfw::new(&Numbers::default()).entries(&[Output::Text(golden("ipfw/listing.txt"))]).unwrap();
    let ends: Vec<Option<u64>> = ipfw.iter().map(Entry::end).collect();
    assert_eq!(ends, [Some(1_748_779_233), Some(1_748_779_233), Some(1_748_779_240)]);
    for syntax in [Syntax::OpenBsd, Syntax::FreeBsd] {
        let entries = pf(syntax).entries(&pf_survey(syntax).0).unwrap();
        let mut shown: Vec<String> = entries.iter().map(|entry| format!("{} {entry}", entry.spot.address)).collect();
        shown.sort();
        let opened = ["198.51.100.7 ", "198.51.100.7 at 192.0.2.1", "2001:db8::7 "];
        let led = [
            "203.0.113.5 dnat as 10.1.2.3:22",
            "203.0.113.5 forward to 10.1.2.3",
            "203.0.113.5 local nat as port 22",
            "203.0.113.5 snat to 10.1.2.3 as 10.9.9.9",
        ];
        assert_eq!(shown, [&opened[..], &led[..]].concat(), "{syntax:?}");
    }
}

/// What pf and the configuration cannot say is not half said.
#[test]
fn what_cannot_be_said_is_refused() {
    let source = forward("tcp/5555", "10.1.2.3", None);
    let Access::Forward(with_port) = &source else { unreachable!() };
    let all = Access::Forward(Box::new(Forward { ports: None, ..(**with_port).clone() }));
    let masked = Forward { source: Some(SourceNat::Masquerade), ..(**with_port).clone() };
    for access in [all, Access::Forward(Box::new(masked))] {
        let grant = grant("192.0.2.77", access);
        let pf = pf(Syntax::FreeBsd);
        let refused = pf.rules(&grant, false).iter().any(|rule| pf.open(rule, None, std::time::Duration::MAX).is_err());
        assert!(refused, "{grant:?}");
    }
    let ipfw = Ipfw::new(&Numbers::default());
    let rules = ipfw.rules(&grant("192.0.2.77", source), false);
    assert!(rules.iter().all(|rule| ipfw.open(rule, None, std::time::Duration::MAX).is_err()));
}

#[test]
fn an_anchor_that_no_ruleset_names_is_refused() {
    let survey = [Output::Text("  other\n".to_owned())];
    let error = pf(Syntax::OpenBsd).set_up(&survey).unwrap_err().to_string();
    assert!(error.starts_with("PF has no anchor 'fwknop'") && error.contains("pf.conf"), "{error}");
}

#[test]
fn what_is_not_there_is_not_removed_and_numbers_may_run_out() {
    let firewalls: [Rc<dyn Listed>; 2] = [Rc::new(Numbers::default()), Rc::new(Anchor::default())];
    let gone = Rule::of(&grant("192.0.2.1", open_to("tcp/22")), false).remove(0);
    let held = Held { spot: gone.spot, to: None, until: 5 };
    for firewall in firewalls {
        let edit = Edit { firewall: firewall.clone(), verb: Verb::Remove, held };
        let error = firewall.commands("", &[&edit]).unwrap_err().to_string();
        assert!(error.contains("there is no such rule"), "{error}");
    }
    let few: Rc<dyn Listed> = Rc::new(Numbers { count: 2, ..Numbers::default() });
    let edit = Edit { firewall: few.clone(), verb: Verb::Add, held };
    let error = few.commands(&golden("ipfw/listing.txt"), &[&edit]).unwrap_err();
    assert!(matches!(error, Error::NoNumber { count: 2 }), "{error}");
}

#[test]
fn rules_of_ours_that_cannot_be_read_are_removed() {
    let text = "pass in quick inet proto tcp from 192.0.2.1 to any port = ssh flags S/SA keep state label \"_exp_5\"\n";
    let survey = [Output::Text("fwknop\n".to_owned()), Output::Text(text.to_owned())];
    let set_up = pf(Syntax::OpenBsd).set_up(&survey).unwrap();
    assert_eq!(set_up.steps[0].to_string().trim_end(), "pfctl -a fwknop -f -   #");
    assert_eq!(set_up.warnings.len(), 1);
    let text = "10007 set 1 allow tcp from table(1) to me dst-port 22 // _exp_5\n";
    let set_up = Ipfw::new(&Numbers::default()).set_up(&[Output::Text(text.to_owned())]).unwrap();
    assert_eq!(set_up.steps[1].to_string(), "ipfw set 1 delete 10007");
}

/// FreeBSD refuses a file in another order, and what is let through quickly is not rewritten any more.
#[test]
fn what_is_rewritten_comes_first() {
    let edits = |syntax: Syntax| {
        let backend = pf(syntax);
        let rules = backend.rules(&grant("192.0.2.77", forward("tcp/5555", "10.1.2.3", Some("10.9.9.9"))), false);
        let changes =
            rules.iter().flat_map(|rule| backend.open(rule, None, std::time::Duration::from_secs(9)).unwrap());
        changes.map(|change| change.step).collect::<Vec<Step>>()
    };
    let order = |syntax, listing: &str| -> Vec<String> {
        let loaded = commands(&edits(syntax), listing).pop().unwrap();
        let lines = loaded.lines().map(|line| line.trim_start_matches("pfctl -a fwknop -f -   # "));
        lines.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let foreign = "scrub in all fragment reassemble\nblock drop in all\n";
    let ours = "pass quick inet proto tcp from 192.0.2.9 to 10.1.2.3 port = 22 flags S/SA label \"_exp_7\"\n";
    let listing = format!("{foreign}{ours}");
    assert_eq!(
        order(Syntax::FreeBsd, &listing),
        ["scrub in", "nat pass", "rdr pass", "block drop", "pass quick", "pass quick"]
    );
    assert_eq!(order(Syntax::OpenBsd, &listing)[2..], ["pass out", "pass quick", "pass quick", "pass in"]);
}

fn spot(kind: Kind, address: IpAddr, peer: Option<IpAddr>, tcp: bool, port: u16) -> Spot {
    let proto = if tcp { Proto::Tcp } else { Proto::Udp };
    Spot { kind, address, peer, service: Some(Service { proto, port: port.try_into().unwrap() }) }
}

proptest! {
    #[test]
    fn a_rule_is_read_as_it_was_written(v6: u128, v4: u32, six: bool, port in 1_u16.., until: u64, tcp: bool, with: bool) {
        let address = if six { IpAddr::from(v6.to_be_bytes()) } else { IpAddr::from(v4.to_be_bytes()) };
        let inner: IpAddr = if six { "fd00::3" } else { "10.1.2.3" }.parse().unwrap();
        let peer = with.then_some(inner);
        let target: Port = 22.try_into().unwrap();
        let opened = Held { spot: spot(Kind::Input, address, peer, tcp, port), to: None, until };
        let forwarded = |kind, peer, to| Held { spot: spot(kind, address, peer, tcp, port), to, until };
        let all = [
            opened,
            forwarded(Kind::Forward, Some(inner), None),
            forwarded(Kind::Redirect, peer, Some(Value::Port(target))),
            forwarded(Kind::DnatAddress, peer, Some(Value::Socket(inner, target))),
            forwarded(Kind::Snat, Some(inner), Some(Value::Address(inner))),
        ];
        for (held, syntax) in all.iter().flat_map(|held| [(held, Syntax::OpenBsd), (held, Syntax::FreeBsd)]) {
            let anchor = Anchor::default().in_syntax(syntax);
            let edit = Edit { firewall: Rc::new(anchor.clone()), verb: Verb::Add, held: *held };
            let loaded = anchor.load("", &[&edit]).unwrap().stdin.unwrap();
            let survey = [Output::Done, Output::Text(loaded)];
            prop_assert_eq!(Pf::new(&anchor, ALL).entries(&survey).unwrap(), vec![held.entry()]);
        }
        let ipfw = Numbers::default().describe(Verb::Add, &opened).replace("ipfw add set 1", "10000 set 1");
        let entries = Ipfw::new(&Numbers::default()).entries(&[Output::Text(ipfw)]).unwrap();
        prop_assert_eq!(entries, vec![opened.entry()]);
    }

    /// Whatever is opened and closed, in whichever order they stand.
    #[test]
    fn what_others_wrote_stays(places in proptest::collection::vec(0..4_u8, 0..12)) {
        let foreign = ["block drop in quick inet from 203.0.113.66 to any", "pass in proto tcp from any to any port = 25 label \"mail\""];
        let ours = pf_survey(Syntax::OpenBsd).1;
        let ours: Vec<&str> = ours.lines().filter(|line| line.contains("_exp_")).collect();
        let lines: Vec<&str> = places.iter().enumerate().map(|(at, place)| match place {
            0 | 1 => foreign[usize::from(*place)],
            _ => ours[at % ours.len()],
        }).collect();
        let others: Vec<&str> = lines.iter().copied().filter(|line| foreign.contains(line)).collect();
        let backend = pf(Syntax::OpenBsd);
        let survey = [Output::Done, Output::Text(lines.join("\n"))];
        let rules = backend.rules(&grant("192.0.2.77", forward("tcp/5555", "10.1.2.3", Some("10.9.9.9"))), false);
        let opened = rules.iter().flat_map(|rule| backend.open(rule, None, std::time::Duration::from_secs(9)).unwrap());
        let opened: Vec<Step> = opened.map(|change| change.step).collect();
        let closed: Vec<Step> = backend.entries(&survey).unwrap().iter().flat_map(|entry| backend.close(entry).unwrap()).collect();
        for steps in [opened, closed, backend.tear_down(&survey).unwrap()] {
            let Some(loaded) = commands(&steps, &lines.join("\n")).pop() else { continue };
            let loaded = loaded.replace("pfctl -a fwknop -f -   # ", "");
            let left: Vec<&str> = loaded.lines().filter(|line| foreign.contains(line)).collect();
            prop_assert_eq!(&left, &others);
        }
    }

    #[test]
    fn any_listing_is_read_without_harm(text in "(pass |rdr |nat |from |to |port |set 1 |label |tag |-> |// |_exp_|[0-9]|[a-z#=\"\n ]){0,30}") {
        let _ = Ipfw::new(&Numbers::default()).set_up(&[Output::Text(text.clone())]);
        let _ = pf(Syntax::FreeBsd).set_up(&[Output::Text("fwknop".to_owned()), Output::Text(text)]);
    }
}
