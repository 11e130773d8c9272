//! Both back-ends against the listings and command lists in `testdata/firewall`, which tells where their forms are from.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::firewall::{Anchor, Backend, Ipfw, Output, Pf, Step};
use crate::grant::GrantId;
use crate::time::Timestamp;

fn golden(name: &str) -> String {
    fs::read_to_string(format!("testdata/firewall/{name}")).unwrap()
}

fn rule(address: &str, at: Option<&str>, service: &str, until: u64) -> Rule {
    let spot = Spot {
        kind: Kind::Input,
        address: address.parse().unwrap(),
        peer: at.map(|at| at.parse().unwrap()),
        service: Some(service.parse().unwrap()),
    };
    let tag = crate::firewall::Tag { grant: GrantId(1), until, signer: None };
    Rule { spot, to: None, until: Timestamp::from_secs(until), tag }
}

/// What the runner would do with these steps.
fn commands(steps: &[Step], listing: &str) -> Vec<String> {
    let mut done = Vec::new();
    for step in steps {
        match step {
            Step::Edit(edit) => {
                done.push(edit.firewall.list().to_string());
                done.extend(edit.firewall.commands(listing, &[edit]).unwrap().iter().map(ToString::to_string));
            }
            other => done.push(other.to_string()),
        }
    }
    done
}

fn story(backend: &mut dyn Backend, survey: &[Output], listing: &str) -> String {
    let mut told = String::new();
    let mut tell = |what: &str, steps: &[Step]| {
        told.push_str(&format!("# {what}\n"));
        for command in commands(steps, listing) {
            told.push_str(command.trim_end());
            told.push('\n');
        }
    };
    let steps = |changes: Vec<Change>| changes.into_iter().map(|change| change.step).collect::<Vec<Step>>();
    let lasts = Duration::from_secs(30);
    tell("survey", &backend.survey());
    tell("set-up", &backend.set_up(survey).unwrap().steps);
    let found = backend.entries(survey).unwrap();
    for (what, new) in [
        ("open", rule("192.0.2.77", None, "tcp/22", 1_748_779_300)),
        ("open udp, for one address of ours", rule("192.0.2.77", Some("192.0.2.1"), "udp/53", 1_748_779_300)),
        ("open for IPv6", rule("2001:db8::99", None, "tcp/22", 1_748_779_300)),
    ] {
        tell(what, &steps(backend.open(&new, None, lasts).unwrap()));
    }
    let again = rule("198.51.100.7", None, "tcp/22", 1_748_779_300);
    tell("refresh", &steps(backend.open(&again, Some(&found[0]), lasts).unwrap()));
    tell("close", &backend.close(&found[2]).unwrap());
    tell("flush", &backend.tear_down(survey).unwrap());
    tell("list all", &backend.list_all());
    told
}

#[test]
fn ipfw_says_what_the_golden_list_says() {
    let listing = golden("ipfw/listing.txt");
    let told = story(&mut Ipfw::new(&Numbers::default()), &[Output::Text(listing.clone())], &listing);
    assert_eq!(told, golden("ipfw/commands.txt"), "{told}");
}

#[test]
fn pf_says_what_the_golden_list_says() {
    let listing = golden("pf/listing.txt");
    let survey = [Output::Text("  fwknop\n  other\n".to_owned()), Output::Text(listing.clone())];
    let told = story(&mut Pf::new(&Anchor::default()), &survey, &listing);
    assert_eq!(told, golden("pf/commands.txt"), "{told}");
}

#[test]
fn what_is_ours_is_read_from_both_listings() {
    let ipfw = Ipfw::new(&Numbers::default()).entries(&[Output::Text(golden("ipfw/listing.txt"))]).unwrap();
    let pf = Pf::new(&Anchor::default()).entries(&[Output::Done, Output::Text(golden("pf/listing.txt"))]).unwrap();
    for entries in [ipfw, pf] {
        let ends: Vec<Option<u64>> = entries.iter().map(Entry::end).collect();
        assert_eq!(ends, [Some(1_748_779_233), Some(1_748_779_233), Some(1_748_779_240)]);
    }
}

#[test]
fn an_anchor_that_no_ruleset_names_is_refused() {
    let error = Pf::new(&Anchor::default()).set_up(&[Output::Text("  other\n".to_owned())]).unwrap_err().to_string();
    assert!(error.starts_with("PF has no anchor 'fwknop'") && error.contains("pf.conf"), "{error}");
}

#[test]
fn what_is_not_there_is_not_removed_and_numbers_may_run_out() {
    let gone = rule("192.0.2.1", None, "tcp/22", 5);
    for firewall in [Listed::Ipfw(Numbers::default()), Listed::Pf(Anchor::default())] {
        let edit = Edit { firewall: firewall.clone(), verb: Verb::Remove, held: Held::new(&gone.spot, 5).unwrap() };
        let error = firewall.commands("", &[&edit]).unwrap_err().to_string();
        assert!(error.contains("there is no such rule"), "{error}");
    }
    let few = Listed::Ipfw(Numbers { count: 2, ..Numbers::default() });
    let edit = Edit { firewall: few.clone(), verb: Verb::Add, held: Held::new(&gone.spot, 5).unwrap() };
    let error = few.commands(&golden("ipfw/listing.txt"), &[&edit]).unwrap_err();
    assert!(matches!(error, Error::NoNumber { count: 2 }), "{error}");
}

#[test]
fn rules_of_ours_that_cannot_be_read_are_removed() {
    let text = "pass in quick inet proto tcp from 192.0.2.1 to any port = ssh flags S/SA keep state label \"_exp_5\"\n";
    let survey = [Output::Text("fwknop\n".to_owned()), Output::Text(text.to_owned())];
    let set_up = Pf::new(&Anchor::default()).set_up(&survey).unwrap();
    assert_eq!(set_up.steps[0].to_string(), "pfctl -a fwknop -F rules");
    assert_eq!(set_up.warnings.len(), 1);
    let text = "10007 set 1 allow tcp from table(1) to me dst-port 22 // _exp_5\n";
    let set_up = Ipfw::new(&Numbers::default()).set_up(&[Output::Text(text.to_owned())]).unwrap();
    assert_eq!(set_up.steps[1].to_string(), "ipfw set 1 delete 10007");
}

proptest! {
    #[test]
    fn a_rule_is_read_as_it_was_written(v6: u128, v4: u32, six: bool, port in 1_u16.., until: u64, tcp: bool) {
        let address = if six { IpAddr::from(v6.to_be_bytes()) } else { IpAddr::from(v4.to_be_bytes()) };
        let proto = if tcp { Proto::Tcp } else { Proto::Udp };
        let held = Held { address, at: None, service: Service { proto, port: port.try_into().unwrap() }, until };
        prop_assert_eq!(super::super::pf::read(&Anchor::default().text(&held)), Some(held));
        let listed = format!("10000 set 1 {}\n", Numbers::default().text(&held));
        let entries = Ipfw::new(&Numbers::default()).entries(&[Output::Text(listed)]).unwrap();
        prop_assert_eq!(entries, vec![held.entry()]);
    }

    #[test]
    fn any_listing_is_read_without_harm(text in "(pass |from |to |port |set 1 |label |// |_exp_|[0-9]|[a-z#=\"\n ]){0,30}") {
        let _ = Ipfw::new(&Numbers::default()).set_up(&[Output::Text(text.clone())]);
        let _ = Pf::new(&Anchor::default()).set_up(&[Output::Text("fwknop".to_owned()), Output::Text(text)]);
    }
}
