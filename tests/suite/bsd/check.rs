//! `fwknopd check` over ipfw and PF.

use super::{each, each_of};
use crate::check::tells_only;
use crate::support::peers::READY;
use crate::support::scene::{PORT, access};
use crate::support::stand_in::{Kind, StandIn};

const NAT: &str = "ENABLE_IPT_FORWARDING Y;\n";

fn wall(kind: Kind, conf: &str) -> StandIn {
    let inside = if conf == NAT { "NAT_DESTINATIONS 10.1.2.0/24\n" } else { "" };
    // The switch of this kernel is not the one that is asked for.
    let wall = StandIn::new(kind, conf, &(access(PORT, 60) + inside));
    wall.scene.world.server.run("sysctl", &["-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    wall
}

/// Nothing else is found, and this is told with its advice below.
#[track_caller]
fn finds(wall: &StandIn, code: i32, what: &str, advice: &str) {
    tells_only(&wall.run(&["check"]), code, what, advice);
}

#[test]
fn where_all_is_well_nothing_is_found_and_nothing_changed() {
    each(|kind| {
        let wall = wall(kind, if kind == Kind::Ipfw { "" } else { NAT });
        let before = wall.all_rules();
        let (code, text) = wall.run(&["check"]);
        assert_eq!(code, Some(0), "{kind:?}: {text}");
        assert_eq!((wall.all_rules(), wall.read("count")), (before, "0\n".to_owned()), "{kind:?}");
    });
}

#[test]
fn a_missing_program_is_told_with_where_it_belongs() {
    for (firewall, what, advice) in
        [("ipfw", "cannot find the program ipfw", "FreeBSD"), ("pf", "cannot find the program pfctl", "OpenBSD")]
    {
        let wall = StandIn::new(Kind::Ipfw, "", &access(PORT, 60));
        wall.scene.settings.rewrite(&format!("PCAP_INTF srv0;\nFIREWALL {firewall};\n"), &access(PORT, 60));
        wall.remove("ipfw");
        wall.remove("pfctl");
        let (code, text) = wall.run(&["check"]);
        assert_eq!(code, Some(6), "{text}");
        assert!(text.contains(what) && text.contains(advice) && !text.contains("nftables"), "{text}");
    }
}

#[test]
fn ipfw_is_judged_by_its_rules_and_its_switch() {
    let wall = wall(Kind::Ipfw, "");
    let rules = wall.read("rules");
    wall.write("rules", &rules.replace("65535 31 deny", "65535 31 allow"));
    finds(&wall, 5, "ipfw accepts by default", "deny ip from any to any");
    wall.write("rules", &format!("5000 0 deny ip from any to any\n{rules}"));
    finds(&wall, 6, "rule 5000 refuses everything before our rules", "IPFW_START_RULE_NUM");
    wall.write("rules", &rules);
    wall.write("switches", "net.inet.ip.fw.enable 0\n");
    finds(&wall, 5, "ipfw is switched off", "sysctl net.inet.ip.fw.enable=1");
    // The start says so as well.
    let daemon = wall.daemon();
    daemon.logs.expect(&["ipfw is switched off"]);
    daemon.stop();
}

#[test]
fn sets_that_are_one_are_refused() {
    let wall = wall(Kind::Ipfw, "IPFW_ACTIVE_SET_NUM 2;\n");
    finds(&wall, 6, "the set 2 is both IPFW_ACTIVE_SET_NUM and IPFW_EXPIRE_SET_NUM", "a set of its own");
    wall.configure("IPFW_ACTIVE_SET_NUM 31;\n", &access(PORT, 60));
    let (code, text) = wall.run(&["check"]);
    assert!(code == Some(6) && text.contains("IPFW_ACTIVE_SET_NUM"), "{text}");
}

#[test]
fn pf_is_judged_by_what_leads_to_the_anchor() {
    each_of(&[Kind::PfOfOpenBsd, Kind::PfOfFreeBsd], |kind| {
        let wall = wall(kind, NAT);
        wall.write("main", "block drop all\nanchor \"others\" all\n");
        finds(&wall, 6, "no 'anchor \"fwknop\"'", "pfctl -f /etc/pf.conf");
        wall.write("main", "block drop quick all\nanchor \"fwknop\" all\n");
        finds(&wall, 6, "'block drop quick all' comes before the anchor 'fwknop'", "take its 'quick' away");
        wall.write("main", "anchor \"fwknop\" all\n");
        finds(&wall, 5, "blocks nothing that comes in", "block in all");
        wall.write("main", "block drop all\nanchor \"fwknop\" all\n");
        wall.write("info", "Status: Disabled for 0 days 00:00:03          Debug: Urgent\n");
        finds(&wall, 5, "PF is disabled", "pfctl -e");
        let daemon = wall.daemon();
        daemon.logs.expect(&["PF is disabled"]);
        daemon.stop();
        wall.write("info", "Status: Enabled for 0 days 00:00:03           Debug: Urgent\n");
        wall.write("switches", "net.inet.ip.forwarding 0\n");
        finds(&wall, 5, "the kernel forwards no packets over IPv4", "sysctl net.inet.ip.forwarding=1");
        wall.write("switches", "net.inet.ip.forwarding 1\n");
        wall.write("anchors", "others\n");
        let (code, text) = wall.run(&["check"]);
        assert!(code == Some(6) && text.contains("PF has no anchor 'fwknop'"), "{text}");
    });
}

#[test]
fn translation_needs_anchors_of_its_own_on_freebsd() {
    let wall = wall(Kind::PfOfFreeBsd, NAT);
    wall.write("main-nat", "nat-anchor \"fwknop\" all\n");
    finds(&wall, 6, "no 'rdr-anchor \"fwknop\"'", "write 'rdr-anchor \"fwknop\"' to pf.conf");
    let daemon = wall.launch();
    daemon.logs.expect(&["no 'rdr-anchor \"fwknop\"'"]);
    daemon.logs.expect(&[READY]);
    daemon.stop();
}
