//! The firewall on the real kernel: nftables in network namespaces of its own.
//!
//! Each test runs itself again inside a fresh namespace, where it may do to the ruleset whatever it likes.

use std::env;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fwknop::firewall::{Error, Firewall, FirewallSettings};
use fwknop::grant::{Access, Grant, GrantId};
use fwknop::time::{Lifetime, Timestamp};

use crate::support::namespace;

/// An administrator's ruleset as on Debian: everything is dropped that is not asked for.
const ADMIN: &str = r#"
    table inet filter {
        set blocked { type ipv4_addr; elements = { 203.0.113.66 } }
        chain input {
            type filter hook input priority filter; policy drop;
            iif "lo" accept
            ct state established,related accept
            ip saddr @blocked counter drop comment "fwknop is not the only one with comments"
            tcp dport 80 accept
        }
        chain forward { type filter hook forward priority filter; policy drop; }
        chain output { type filter hook output priority filter; policy accept; }
    }
    table ip nat {
        chain postrouting { type nat hook postrouting priority srcnat; oifname "eth9" masquerade; }
    }
"#;

#[test]
fn a_grant_opens_exactly_its_services_and_the_kernel_closes_them() {
    in_namespace("a_grant_opens_exactly_its_services_and_the_kernel_closes_them", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let set_up = firewall.set_up().unwrap();
        assert_eq!((&*set_up.place, set_up.warnings.len()), ("inet filter input", 0));

        let now = Timestamp::now();
        let long = grant(17, "198.51.100.7", "tcp/22,udp/53", 600, now);
        firewall.open(&long, now).unwrap();
        let listed = nft(&["list", "set", "inet", "filter", "fwknop4"]);
        let comment = format!("comment \"fwknop:17:{}\"", now.plus(Duration::from_secs(600)).secs());
        assert!(listed.contains("198.51.100.7 . tcp . 22 timeout 10m expires "), "{listed}");
        assert!(listed.contains("198.51.100.7 . udp . 53 timeout 10m expires "), "{listed}");
        assert_eq!(listed.matches(&comment).count(), 2, "{listed}");
        assert_eq!(elements().len(), 2, "{listed}");
        firewall.close(&long).unwrap();

        let now = Timestamp::now();
        firewall.open(&grant(18, "198.51.100.7", "tcp/22,udp/53", 1, now), now).unwrap();
        wait_until("the kernel to close the grant", || elements().is_empty());
    });
}

#[test]
fn real_connections_pass_while_a_grant_lasts() {
    in_namespace("real_connections_pass_while_a_grant_lasts", || {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("install the package iproute2").success());
        nft_script(
            "table inet filter { chain input {
                type filter hook input priority filter; policy drop;
                ct state established,related accept
                meta l4proto ipv6-icmp accept
            }; }",
        );
        let mut firewall = firewall(None);
        for (id, address, somebody) in [(1, "127.0.0.1", "127.0.0.2"), (3, "::1", "fd00::2")] {
            let address: IpAddr = address.parse().unwrap();
            let service = TcpListener::bind((address, 0)).unwrap();
            let asked = service.local_addr().unwrap();
            let other = TcpListener::bind((address, 0)).unwrap().local_addr().unwrap();
            let connects = |to: &SocketAddr| TcpStream::connect_timeout(to, NO_ANSWER).is_ok();
            assert!(!connects(&asked), "nothing was granted yet");

            let now = Timestamp::now();
            let ports = format!("tcp/{}", asked.port());
            firewall.open(&grant(id, &address.to_string(), &ports, 5, now), now).unwrap();
            assert!(connects(&asked), "granted to {address}");
            // A connection refused by the host would fail as well: only a dropped one takes its time.
            let start = Instant::now();
            assert!(!connects(&other) && start.elapsed() >= NO_ANSWER, "not granted");
            let neighbour = grant(id + 1, somebody, &format!("tcp/{}", other.port()), 60, now);
            firewall.open(&neighbour, now).unwrap();
            assert!(!connects(&other), "granted to somebody else");
            let mut begun = now;
            wait_until("the connection to be refused again", || {
                begun = Timestamp::now();
                !connects(&asked)
            });
            assert!(begun.plus(TICK) >= now.plus(Duration::from_secs(5)), "closed too early");
        }
    });
}

#[test]
fn the_kernel_stores_what_nft_would_have_stored() {
    in_namespace("the_kernel_stores_what_nft_would_have_stored", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        firewall.set_up().unwrap();
        let now = Timestamp::now();
        for (id, address) in [(17, "198.51.100.7"), (18, "2001:db8::7")] {
            let grant = grant(id, address, "tcp/22", 3600, now);
            for step in firewall.describe(&grant).unwrap() {
                nft_script(&step.to_string());
            }
            let by_nft = without_times(&nft(&["list", "table", "inet", "filter"]));
            firewall.close(&grant).unwrap();
            assert!(elements().is_empty(), "what nft added has another key than what we delete");
            firewall.open(&grant, now).unwrap();
            assert_eq!(without_times(&nft(&["list", "table", "inet", "filter"])), by_nft);
            firewall.close(&grant).unwrap();
        }
    });
}

#[test]
fn a_repeated_knock_extends_and_never_shortens() {
    in_namespace("a_repeated_knock_extends_and_never_shortens", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        let first = grant(1, "198.51.100.7", "tcp/22", 100, now);
        firewall.open(&first, now).unwrap();
        let second = grant(2, "198.51.100.7", "tcp/22,tcp/80", 500, now);
        firewall.open(&second, now).unwrap();
        let [ssh, http] = &elements()[..] else { panic!("{:?}", elements()) };
        assert!(ssh.contains("timeout 8m20s") && ssh.contains("fwknop:2:"), "{ssh}");
        assert!(http.contains("timeout 8m20s") && http.contains("fwknop:2:"), "{http}");

        firewall.open(&grant(3, "198.51.100.7", "tcp/22", 50, now), now).unwrap();
        assert!(elements()[0].contains("timeout 8m20s") && elements()[0].contains("fwknop:2:"), "{:?}", elements());

        // The first grant has ended, but what it opened belongs to the second by now.
        firewall.close(&first).unwrap();
        assert_eq!(elements().len(), 2);
        firewall.close(&second).unwrap();
        assert!(elements().is_empty());
        firewall.close(&second).unwrap();
    });
}

#[test]
fn ipv6_and_mapped_addresses_go_to_their_sets() {
    in_namespace("ipv6_and_mapped_addresses_go_to_their_sets", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        firewall.open(&grant(1, "2001:db8::7", "tcp/22", 60, now), now).unwrap();
        firewall.open(&grant(2, "::ffff:198.51.100.7", "tcp/22", 60, now), now).unwrap();
        assert!(nft(&["list", "set", "inet", "filter", "fwknop6"]).contains("2001:db8::7 . tcp . 22 timeout 1m"));
        assert!(nft(&["list", "set", "inet", "filter", "fwknop4"]).contains("198.51.100.7 . tcp . 22 timeout 1m"));
    });
}

#[test]
fn a_table_of_one_family_takes_only_its_addresses() {
    in_namespace("a_table_of_one_family_takes_only_its_addresses", || {
        for (family, fits, other) in [("ip", "198.51.100.7", "2001:db8::7"), ("ip6", "2001:db8::7", "198.51.100.7")] {
            nft_script(&format!(
                "flush ruleset; table {family} mine {{ chain in {{ type filter hook input priority 0; policy drop; }}; }}"
            ));
            let mut firewall = firewall(None);
            let now = Timestamp::now();
            firewall.open(&grant(1, fits, "tcp/22", 60, now), now).unwrap();
            assert_eq!(elements().len(), 1);
            let error = firewall.open(&grant(2, other, "tcp/22", 60, now), now).unwrap_err();
            assert!(matches!(error, Error::WrongFamily { .. }), "{error}");
            assert!(error.to_string().contains("family inet"), "{error}");
            assert_eq!(elements().len(), 1);
        }
    });
}

#[test]
fn flushing_leaves_the_ruleset_as_it_was() {
    in_namespace("flushing_leaves_the_ruleset_as_it_was", || {
        nft_script(ADMIN);
        let before = nft(&["list", "ruleset"]);
        let mut firewall = firewall(None);
        firewall.set_up().unwrap();
        let now = Timestamp::now();
        firewall.open(&grant(1, "198.51.100.7", "tcp/22", 60, now), now).unwrap();
        firewall.open(&grant(2, "2001:db8::7", "tcp/22", 60, now), now).unwrap();
        assert_ne!(nft(&["list", "ruleset"]), before);
        firewall.flush().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);
        firewall.flush().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);

        // As 'fwknopd --fw-flush' does it: another process, which only knows the configuration.
        firewall.set_up().unwrap();
        self::firewall(None).flush().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);
    });
}

#[test]
fn a_second_set_up_changes_nothing() {
    in_namespace("a_second_set_up_changes_nothing", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        firewall.set_up().unwrap();
        let now = Timestamp::now();
        firewall.open(&grant(1, "198.51.100.7", "tcp/22", 3600, now), now).unwrap();
        let before = without_times(&nft(&["-a", "list", "ruleset"]));
        assert!(firewall.set_up().unwrap().steps.is_empty());
        assert!(self::firewall(Some("inet filter input")).set_up().unwrap().steps.is_empty());
        assert_eq!(without_times(&nft(&["-a", "list", "ruleset"])), before);

        // The administrator moved our jump below his own rules: there it stays, and it is the only one.
        let moved = nft(&["-a", "list", "chain", "inet", "filter", "input"]);
        let handle = moved.lines().find(|line| line.contains("jump")).unwrap().rsplit(' ').next().unwrap();
        nft_script(&format!(
            "delete rule inet filter input handle {handle}; \
             add rule inet filter input jump fwknop_input comment \"fwknop\""
        ));
        assert!(self::firewall(None).set_up().unwrap().steps.is_empty());
        assert_eq!(nft(&["list", "ruleset"]).matches("jump fwknop_input").count(), 1);
    });
}

#[test]
fn a_new_daemon_adopts_what_a_killed_one_left_open() {
    in_namespace("a_new_daemon_adopts_what_a_killed_one_left_open", || {
        nft_script(ADMIN);
        let now = Timestamp::now();
        let mut killed = firewall(None);
        killed.open(&grant(7, "198.51.100.7", "tcp/22,udp/53", 600, now), now).unwrap();
        killed.open(&grant(8, "2001:db8::7", "udp/53", 600, now), now).unwrap();
        killed.open(&grant(9, "198.51.100.9", "tcp/22", 600, now), now).unwrap();
        drop(killed);
        // Its tag says that it is over, but the kernel still holds it: this machine slept.
        nft_script("add element inet filter fwknop4 { 198.51.100.8 . tcp . 22 timeout 600s comment \"fwknop:6:1\" }");
        nft_script("add element inet filter fwknop4 { 192.0.2.1 . tcp . 22 comment \"the administrator's own\" }");
        nft_script("add element inet filter fwknop4 { 192.0.2.2 . tcp . 22 timeout 600s comment \"fwknop:x:1\" }");
        // Restored from a ruleset that was saved without times: only the tag tells when they end.
        let tagged = now.secs() + 600;
        nft_script(&format!(
            "add element inet filter fwknop4 {{ 198.51.100.10 . tcp . 22 comment \"fwknop:10:{tagged}\" }};
             add element inet filter fwknop4 {{ 198.51.100.11 . tcp . 22 comment \"fwknop:11:1\" }}"
        ));

        let mut firewall = firewall(None);
        firewall.set_up().unwrap();
        let mut adopted = firewall.adopt(now).unwrap();
        adopted.sort_by_key(|grant| grant.id);
        let shown: Vec<String> =
            adopted.iter().map(|grant| format!("{} {} {}", grant.id, grant.allow, grant.access)).collect();
        assert_eq!(
            shown,
            [
                "7 198.51.100.7 ports=tcp/22,udp/53",
                "8 2001:db8::7 ports=udp/53",
                "9 198.51.100.9 ports=tcp/22",
                "10 198.51.100.10 ports=tcp/22"
            ]
        );
        for grant in &adopted {
            // A busy machine may have taken a while since they were opened.
            let lasts = grant.until.secs() - now.secs();
            assert!((540..=601).contains(&lasts) && (540..=601).contains(&grant.lifetime.secs()), "{grant:?}");
            assert_eq!(grant.knock, None);
        }
        let restored = elements().into_iter().find(|element| element.contains("198.51.100.10 "));
        let restored = restored.expect("it is still open");
        assert!(restored.contains(" timeout ") && restored.contains("\"fwknop:10:"), "{restored}");

        let listed = firewall.list(false).unwrap();
        assert!(!listed.contains("198.51.100.8 ") && !listed.contains("198.51.100.11 "), "{listed}");
        assert!(listed.contains("for ever    not ours: the administrator's own"), "{listed}");
        assert!(listed.ends_with("7 open\n"), "{listed}");
        assert!(self::firewall(None).list(true).unwrap().contains("policy drop;"));

        for grant in &adopted {
            firewall.close(grant).unwrap();
        }
        assert!(firewall.list(false).unwrap().ends_with("2 open\n"), "foreign elements are left alone");
    });
}

#[test]
fn elements_of_others_are_never_shortened_or_closed() {
    in_namespace("elements_of_others_are_never_shortened_or_closed", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        firewall.set_up().unwrap();
        nft_script("add element inet filter fwknop4 { 192.0.2.1 . tcp . 22 comment \"for ever\" }");
        let now = Timestamp::now();
        let grant = grant(1, "192.0.2.1", "tcp/22,tcp/23", 60, now);
        firewall.open(&grant, now).unwrap();
        assert_eq!(elements().len(), 2);
        firewall.close(&grant).unwrap();
        assert!(matches!(&elements()[..], [only] if only.contains("for ever")), "{:?}", elements());
    });
}

#[test]
fn set_up_comes_back_when_somebody_reloads_the_ruleset() {
    in_namespace("set_up_comes_back_when_somebody_reloads_the_ruleset", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        let grant = grant(1, "198.51.100.7", "tcp/22", 60, now);
        firewall.open(&grant, now).unwrap();

        nft_script(&format!("flush ruleset; {ADMIN}"));
        firewall.close(&grant).unwrap();
        firewall.open(&grant, now).unwrap();
        assert_eq!(elements().len(), 1);
        assert!(nft(&["list", "chain", "inet", "filter", "input"]).contains("jump fwknop_input"));

        // Only the jump is lost: the set is still there, so the kernel would not complain.
        nft_script("flush chain inet filter input; add rule inet filter input tcp dport 80 accept");
        firewall.open(&self::grant(2, "198.51.100.8", "tcp/22", 60, now), now).unwrap();
        assert_eq!(elements().len(), 2);
        let chain = nft(&["list", "chain", "inet", "filter", "input"]);
        assert!(chain.find("jump fwknop_input").unwrap() < chain.find("dport 80").unwrap(), "{chain}");

        nft_script("flush ruleset");
        let error = firewall.open(&self::grant(3, "198.51.100.9", "tcp/22", 60, now), now).unwrap_err();
        assert!(matches!(error, Error::NoChain { .. }), "{error}");
    });
}

#[test]
fn the_input_chain_is_found_or_asked_for() {
    in_namespace("the_input_chain_is_found_or_asked_for", || {
        let none = firewall(None).set_up().unwrap_err().to_string();
        assert!(none.contains("there is no input chain at all"), "{none}");

        nft_script("table inet filter { chain input { type filter hook input priority 0; policy accept; }; }");
        let open = firewall(None).set_up().unwrap_err().to_string();
        assert!(open.contains("'inet filter input' accepts by default"), "{open}");
        assert_eq!(firewall(Some("inet filter input")).set_up().unwrap().place, "inet filter input");
        firewall(None).flush().unwrap();

        nft_script("add rule inet filter input tcp dport 80 accept; add rule inet filter input counter reject");
        assert_eq!(firewall(None).set_up().unwrap().place, "inet filter input");
        firewall(None).flush().unwrap();

        nft_script("table ip other { chain in { type filter hook input priority 5; policy drop; }; }");
        let before = nft(&["list", "ruleset"]);
        let several = firewall(None).set_up().unwrap_err().to_string();
        assert!(several.contains("'inet filter input', 'ip other in'"), "{several}");
        assert!(several.contains("NFT_INPUT_ACCESS inet filter input;"), "{several}");
        assert_eq!(nft(&["list", "ruleset"]), before);

        let set_up = firewall(Some("inet filter input")).set_up().unwrap();
        assert!(set_up.warnings[0].contains("'ip other in' drops incoming packets too"), "{:?}", set_up.warnings);
        let missing = firewall(Some("inet filter inptu")).set_up().unwrap_err().to_string();
        assert!(missing.contains("no chain 'inet filter inptu'"), "{missing}");
    });
}

#[test]
fn a_named_chain_is_one_that_only_input_packets_enter() {
    in_namespace("a_named_chain_is_one_that_only_input_packets_enter", || {
        nft_script(ADMIN);
        nft_script("add chain inet filter services; add chain inet filter between");
        let mut services = firewall(Some("inet filter services"));
        let error = services.set_up().unwrap_err();
        assert!(matches!(error, Error::Unreached { .. }), "{error}");

        nft_script("add map inet filter ways { type inet_service : verdict; }");
        nft_script(
            "add rule inet filter input tcp dport vmap @ways; add element inet filter ways { 22 : jump services }",
        );
        assert_eq!(services.set_up().unwrap().place, "inet filter services");
        let now = Timestamp::now();
        services.open(&grant(1, "198.51.100.7", "tcp/22", 600, now), now).unwrap();
        nft_script("add rule inet filter services counter");
        services.open(&grant(2, "198.51.100.8", "tcp/22", 600, now), now).unwrap();
        assert_eq!(elements().len(), 2);

        // While the daemon runs: from now on, what is opened would be open for every host behind.
        nft_script(
            "add rule inet filter between tcp dport vmap { 22 : goto services };
             add map inet filter more { type inet_service : verdict; elements = { 80 : jump between }; };
             add rule inet filter forward tcp dport vmap @more",
        );
        let error = services.open(&grant(3, "198.51.100.9", "tcp/22", 600, now), now).unwrap_err();
        assert!(matches!(error, Error::EnteredElsewhere { .. }), "{error}");
        assert!(error.to_string().contains("'forward' (type filter, hook forward)"), "{error}");
        assert_eq!(elements().len(), 2);
        services.flush().unwrap();

        nft_script("add chain inet filter nat { type nat hook input priority 100; }");
        let error = firewall(Some("inet filter nat")).set_up().unwrap_err();
        assert!(matches!(error, Error::NotAFilterChain { .. }), "{error}");
    });
}

#[test]
fn foreign_objects_with_our_names_are_respected() {
    in_namespace("foreign_objects_with_our_names_are_respected", || {
        nft_script(ADMIN);
        nft_script("add set inet filter fwknop4 { type ipv4_addr; }");
        let before = nft(&["list", "ruleset"]);
        let error = firewall(None).set_up().unwrap_err();
        assert!(matches!(error, Error::NameTaken { .. }), "{error}");
        firewall(None).flush().unwrap();
        assert_eq!(nft(&["list", "ruleset"]), before);
        nft_script("delete set inet filter fwknop4");

        // A rule of the administrator uses our set: the set stays, but nothing is open in it.
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        firewall.open(&grant(1, "198.51.100.7", "tcp/22", 60, now), now).unwrap();
        nft_script("add rule inet filter forward ip saddr . meta l4proto . th dport @fwknop4 accept");
        let before = nft(&["list", "chain", "inet", "filter", "forward"]);
        firewall.flush().unwrap();
        assert_eq!(nft(&["list", "chain", "inet", "filter", "forward"]), before);
        assert!(elements().is_empty());
        assert!(!nft(&["list", "ruleset"]).contains("fwknop_input"));
    });
}

#[test]
fn a_grant_that_fails_halfway_leaves_nothing() {
    in_namespace("a_grant_that_fails_halfway_leaves_nothing", || {
        nft_script(ADMIN);
        // The administrator allows two openings at a time.
        nft_script(
            "add set inet filter fwknop4 { type ipv4_addr . inet_proto . inet_service; flags timeout; size 2; }",
        );
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        firewall.open(&grant(1, "198.51.100.7", "tcp/22", 60, now), now).unwrap();
        let before = without_times(&nft(&["list", "ruleset"]));
        // The first service refreshes, the second fits, the third does not.
        let error = firewall.open(&grant(2, "198.51.100.7", "tcp/22,tcp/23,tcp/24", 90, now), now).unwrap_err();
        let Error::Kernel { step, .. } = &error else { panic!("{error}") };
        assert!(step.starts_with("add element inet filter fwknop4 { 198.51.100.7 . tcp . "), "{step}");
        assert_eq!(without_times(&nft(&["list", "ruleset"])), before);
        assert!(elements()[0].contains("fwknop:1:"), "{:?}", elements());
    });
}

#[test]
fn five_hundred_grants_open_and_close() {
    in_namespace("five_hundred_grants_open_and_close", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        let grants: Vec<Grant> = (0..500_u16)
            .map(|i| grant(i.into(), &format!("10.9.{}.{}", i >> 8, i & 255), "tcp/22,udp/53", 600, now))
            .collect();
        firewall.set_up().unwrap();
        for grant in &grants {
            firewall.open(grant, now).unwrap();
        }
        assert_eq!(elements().len(), 1000);
        assert_eq!(self::firewall(None).adopt(now).unwrap().len(), 500);
        for grant in &grants {
            firewall.close(grant).unwrap();
        }
        assert!(elements().is_empty());
    });
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let mut settings = FirewallSettings { program: Some("nft-of-nobody".into()), ..FirewallSettings::default() };
    in_namespace("a_program_that_is_not_there_is_told", || {
        let error = Firewall::new(&settings).set_up().unwrap_err().to_string();
        assert!(error.contains("cannot find the program nft-of-nobody"), "{error}");
        settings.program = Some("/nowhere/nft".into());
        let error = Firewall::new(&settings).set_up().unwrap_err().to_string();
        assert!(error.contains("correct the path in FIREWALL_EXE"), "{error}");
    });
}

#[test]
fn a_grant_whose_time_is_over_opens_nothing() {
    in_namespace("a_grant_whose_time_is_over_opens_nothing", || {
        nft_script(ADMIN);
        let mut firewall = firewall(None);
        let now = Timestamp::now();
        let grant = grant(1, "198.51.100.7", "tcp/22", 5, now);
        let late = now.plus(Duration::from_secs(5));
        assert!(matches!(firewall.open(&grant, late), Err(Error::Elapsed)));
        assert!(elements().is_empty());
    });
}

fn firewall(access: Option<&str>) -> Firewall {
    let input = access.map(|access| access.parse().unwrap());
    Firewall::new(&FirewallSettings { input, ..FirewallSettings::default() })
}

fn grant(id: u64, address: &str, ports: &str, seconds: u32, now: Timestamp) -> Grant {
    let allow: IpAddr = address.parse().unwrap();
    let lifetime = Lifetime::from_secs(seconds).unwrap();
    Grant {
        id: GrantId(id),
        allow,
        access: Access::Open(ports.parse().unwrap()),
        at: None,
        lifetime,
        until: now.plus(lifetime.as_duration()),
        certificate: None,
        knock: None,
    }
}

/// All elements of our sets, as nft prints them, in order.
fn elements() -> Vec<String> {
    let ruleset = nft(&["list", "ruleset"]);
    let mut elements: Vec<String> = ruleset
        .split([',', '{', '}', '\n'])
        .map(str::trim)
        .filter(|part| part.contains(" . tcp . ") || part.contains(" . udp . "))
        .map(str::to_owned)
        .collect();
    elements.sort();
    elements
}

/// A listing without what changes by itself.
fn without_times(listing: &str) -> String {
    let words = listing.split(' ');
    let mut shown: Vec<&str> = Vec::new();
    for word in words {
        if shown.last() == Some(&"expires") {
            shown.push("…");
        } else {
            shown.push(word);
        }
    }
    let shown = shown.join(" ");
    shown.replace("expires … ", "")
}

fn nft(args: &[&str]) -> String {
    let output = Command::new("nft").args(args).output().expect("install the package nftables");
    assert!(output.status.success(), "nft {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn nft_script(script: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft refused: {script}");
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs `body` in a process of its own, in a fresh network namespace: the test binary is started again for this one
/// test, and knows by its environment that it is inside.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some_and(|inside| inside == test) {
        body();
        println!("{DONE} {test}");
        return;
    }
    let output = namespace::unshare()
        .arg(env::current_exe().unwrap())
        .args(["--exact", &format!("firewall::{test}"), "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .expect("install the package util-linux");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A run that executed no test at all would succeed as well.
    assert!(output.status.success() && stdout.contains(&format!("{DONE} {test}")), "{stdout}\n{stderr}");
}

/// No answer for so long means that the firewall drops.
const NO_ANSWER: Duration = Duration::from_millis(500);
/// The kernel counts in ticks of its own.
const TICK: Duration = Duration::from_millis(50);

const INSIDE: &str = "FWKNOP_TEST_IN_NAMESPACE";
const DONE: &str = "inside the namespace:";
