//! What holds for all of them.

use std::time::Duration;

use rustix::process::Signal;

use super::each;
use crate::support::netns::{CLIENT, CLIENT_V6};
use crate::support::peers::Daemon;
use crate::support::scene::{OTHER_PORT, PORT, access, access_to};
use crate::support::stand_in::StandIn;
use crate::support::{PATIENCE, within};

#[test]
fn a_grant_opens_and_its_end_closes() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 5));
        let before = wall.all_rules();
        let daemon = wall.daemon();
        assert_eq!(wall.all_rules(), before, "{kind:?}");
        wall.scene.knock(PORT);
        let rules = wall.wait_for_rules(1, &daemon.logs);
        assert!(rules[0].contains(CLIENT) && rules[0].contains(&PORT.to_string()), "{rules:?}");
        wall.wait_for_rules(0, &daemon.logs);
        daemon.logs.expect(&["close ", "reason=expired"]);
        assert_eq!(wall.all_rules(), before, "{kind:?}");
        daemon.stop();
        assert_eq!(wall.all_rules(), before, "{kind:?}");
    });
}

#[test]
fn a_repeated_knock_extends_what_is_open() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 60));
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        let first = wall.wait_for_rules(1, &daemon.logs);
        std::thread::sleep(Duration::from_millis(1100));
        wall.scene.knock(PORT);
        assert!(within(PATIENCE, || wall.rules() != first), "{}", daemon.logs.text());
        assert!(within(PATIENCE, || wall.rules().len() == 1), "{kind:?}: {:?}", wall.rules());
        daemon.stop();
        assert!(wall.rules().is_empty(), "{kind:?}: {:?}", wall.rules());
    });
}

#[test]
fn several_ports_and_both_versions_of_ip_are_opened() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access_to("tcp/2201,udp/1194", PORT, 60));
        let daemon = wall.daemon();
        let ports = "tcp/2201,udp/1194";
        wall.ask(&["-A", ports]);
        wall.wait_for_rules(2, &daemon.logs);
        wall.ask(&["-A", ports, "-a", CLIENT_V6]);
        let rules = wall.wait_for_rules(4, &daemon.logs);
        for (proto, port) in [("tcp", "2201"), ("udp", "1194")] {
            for address in [CLIENT, CLIENT_V6] {
                let of = |rule: &&String| {
                    [proto, port, address].iter().all(|word| rule.split(' ').any(|there| there == *word))
                };
                assert_eq!(rules.iter().filter(of).count(), 1, "{kind:?}: {proto} {port} {address} in {rules:#?}");
            }
        }
        daemon.stop();
        assert!(wall.rules().is_empty(), "{kind:?}: {:?}", wall.rules());
    });
}

#[test]
fn a_new_daemon_takes_over_what_a_killed_one_left_open() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 12));
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        let open = wall.wait_for_rules(1, &daemon.logs);
        daemon.kill9();
        assert_eq!(wall.rules(), open);
        let daemon = wall.daemon();
        daemon.logs.expect(&["adopt ", &format!("allow={CLIENT} ports=tcp/{PORT}")]);
        assert_eq!(wall.rules(), open, "{kind:?}");
        let (code, text) = wall.run(&["grants"]);
        assert!(code == Some(0) && text.contains(CLIENT) && text.contains(&format!("tcp/{PORT}")), "{text}");
        wall.wait_for_rules(0, &daemon.logs);
        daemon.logs.expect(&["close ", "reason=expired"]);
        daemon.stop();
    });
}

#[test]
fn what_was_open_stays_or_goes_as_it_is_configured() {
    each(|kind| {
        let stanza = access(PORT, 60);
        let wall = StandIn::new(kind, "FLUSH_AT_EXIT N;\n", &stanza);
        let before = wall.all_rules();
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        let open = wall.wait_for_rules(1, &daemon.logs);
        daemon.stop();
        assert_eq!(wall.rules(), open, "{kind:?}: it was to stay");
        wall.configure("FLUSH_AT_INIT Y;\n", &stanza);
        let daemon = wall.daemon();
        assert_eq!(wall.all_rules(), before, "{kind:?}: it was to go");
        assert_eq!(daemon.logs.count(&["adopt "]), 0, "{}", daemon.logs.text());
        daemon.stop();
    });
}

/// Whichever of its rules is refused, the others are not left open.
#[test]
fn a_grant_that_fails_at_any_step_leaves_nothing() {
    each(|kind| {
        let ports = ["2201", "2205", "1194"];
        let asked = "tcp/2201,tcp/2205,udp/1194";
        let wall = StandIn::new(kind, "", &access_to(asked, PORT, 60));
        let before = wall.all_rules();
        let daemon = wall.daemon();
        for port in ports {
            wall.refuse(&format!("port {port} "));
            let mark = daemon.logs.mark();
            wall.ask(&["-A", asked]);
            daemon.logs.expect_after(mark, &[wall.program(), " refused "]);
            daemon.logs.expect_after(mark, &["reason=failed"]);
            assert_eq!(wall.all_rules(), before, "{kind:?}: left behind when {port} was refused");
            let (_, text) = wall.run(&["grants"]);
            assert!(text.contains("nothing is open"), "{text}");
        }
        wall.refuse_nothing();
        wall.ask(&["-A", asked]);
        wall.wait_for_rules(3, &daemon.logs);
        daemon.stop();
    });
}

/// The firewall may only have been changed by somebody else.
#[test]
fn what_fails_once_is_tried_again() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access_to("tcp/2201,udp/1194", PORT, 60));
        let daemon = wall.daemon();
        for change in [1, 2] {
            wall.fail_at(change);
            wall.ask(&["-A", "tcp/2201,udp/1194"]);
            wall.wait_for_rules(2, &daemon.logs);
            assert_eq!(daemon.logs.count(&["reason=failed"]), 0, "{kind:?}: {}", daemon.logs.text());
            std::thread::sleep(Duration::from_millis(1100));
        }
        daemon.stop();
        assert!(wall.rules().is_empty(), "{kind:?}: {:?}", wall.rules());
    });
}

#[test]
fn what_could_not_be_closed_is_closed_later() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 5));
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        wall.wait_for_rules(1, &daemon.logs);
        wall.refuse(".");
        daemon.logs.expect(&[wall.program(), " refused "]);
        assert_eq!(wall.rules().len(), 1);
        wall.refuse_nothing();
        wall.wait_for_rules(0, &daemon.logs);
        daemon.logs.expect(&["close ", "reason=expired"]);
        daemon.stop();
    });
}

/// As `service ipfw restart` and `pfctl -F all` do. One rule among others was meant to go.
#[test]
fn what_somebody_flushed_is_back_and_what_somebody_removed_is_not() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &(access(PORT, 60) + &access(OTHER_PORT, 60)));
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        wall.wait_for_rules(1, &daemon.logs);
        wall.scene.knock(OTHER_PORT);
        let open = wall.wait_for_rules(2, &daemon.logs);
        let without = |word: &str| -> String {
            let rules = wall.read("rules");
            rules.lines().filter(|line| !line.contains(word)).map(|line| format!("{line}\n")).collect()
        };
        // It has to have seen them once.
        std::thread::sleep(Duration::from_secs(4));
        let sorted = |mut rules: Vec<String>| {
            rules.sort();
            rules
        };
        let open = sorted(open);
        wall.write("rules", &without("_exp_"));
        assert!(
            within(PATIENCE, || sorted(wall.rules()) == open),
            "{kind:?}: {:#?}\n{}",
            wall.rules(),
            daemon.logs.text()
        );
        std::thread::sleep(Duration::from_secs(4));
        wall.write("rules", &without(&format!(" {PORT} ")));
        std::thread::sleep(Duration::from_secs(7));
        let left = wall.rules();
        assert!(left.len() == 1 && left[0].contains(&OTHER_PORT.to_string()), "{kind:?}: {left:#?}");
        daemon.stop();
        assert!(wall.rules().is_empty(), "{kind:?}: {:#?}", wall.rules());
    });
}

#[test]
fn listing_and_flushing_find_what_is_open_and_spare_the_rest() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 60));
        let before = wall.all_rules();
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        wall.wait_for_rules(1, &daemon.logs);
        let (code, listed) = wall.run(&["--fw-list"]);
        assert_eq!(code, Some(0), "{listed}");
        assert!(listed.contains(CLIENT) && listed.contains(&format!("tcp/{PORT}")), "{listed}");
        let (_, whole) = wall.run(&["--fw-list-all"]);
        assert!(whole.contains("192.0.2.9") && whole.contains("_exp_"), "{whole}");
        let (code, said) = wall.run(&["--fw-flush"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(wall.all_rules(), before, "{kind:?}");
        let (_, listed) = wall.run(&["--fw-list"]);
        assert!(!listed.contains(CLIENT), "{listed}");
        daemon.stop();
    });
}

/// The daemon gives up on it, opens nothing, and goes on.
#[test]
fn a_program_that_hangs_is_stopped_and_told() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &access(PORT, 300));
        let daemon: Daemon = wall.daemon();
        wall.write("hang", "");
        wall.scene.knock(PORT);
        let said = daemon.logs.wait_after(0, &["did not end within 30 seconds"], Duration::from_secs(60));
        assert!(said.is_some(), "{}", daemon.logs.text());
        daemon.logs.expect(&["reason=failed"]);
        assert!(wall.rules().is_empty());
        wall.remove("hang");
        wall.scene.knock(PORT);
        wall.wait_for_rules(1, &daemon.logs);
        daemon.stop();
    });
}

/// The number of a grant is in no rule: it comes from the store, and with it who knocked.
#[test]
fn a_key_that_is_gone_closes_what_it_had_opened() {
    each(|kind| {
        let wall = StandIn::new(kind, "", &(access(PORT, 60) + &access(OTHER_PORT, 60)));
        let daemon = wall.daemon();
        wall.scene.knock(PORT);
        // Whose a rule is follows from its address and the second at which it ends.
        std::thread::sleep(Duration::from_millis(1100));
        wall.scene.knock(OTHER_PORT);
        wall.wait_for_rules(2, &daemon.logs);
        daemon.kill9();
        wall.configure("", &access(OTHER_PORT, 60));
        let daemon = wall.daemon();
        let rules = wall.wait_for_rules(1, &daemon.logs);
        assert!(rules[0].contains(&OTHER_PORT.to_string()), "{kind:?}: {rules:?}\n{}", daemon.logs.text());
        // While it runs, a reload does the same, and what stays is not touched.
        wall.configure("", &(access(PORT, 60) + &access(OTHER_PORT, 60)));
        daemon.signal(Signal::HUP);
        daemon.logs.expect(&["Re-starting fwknopd"]);
        assert_eq!(wall.rules(), rules, "{kind:?}");
        wall.scene.knock(PORT);
        wall.wait_for_rules(2, &daemon.logs);
        wall.configure("", &access(PORT, 60));
        daemon.signal(Signal::HUP);
        let rules = wall.wait_for_rules(1, &daemon.logs);
        assert!(rules[0].contains(&PORT.to_string()), "{kind:?}: {rules:?}");
        daemon.stop();
    });
}
