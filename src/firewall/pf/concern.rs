//! What around PF would keep grants from working, or makes them pointless.

use super::PROGRAM;
use super::anchor::Anchor;
use crate::firewall::{Command, Concern, Step};

/// What [`surroundings`] judges, in its order.
pub fn inquiries(anchor: &Anchor, nat: bool, forwarding: bool) -> Vec<Step> {
    let mut asked = vec![Command::new(PROGRAM, ["-s", "info"]), Command::new(PROGRAM, ["-s", "rules"])];
    if nat && anchor.splits_translation() {
        asked.push(Command::new(PROGRAM, ["-s", "nat"]));
    }
    if forwarding {
        asked.push(Command::new("sysctl", [FORWARDING]));
    }
    asked.into_iter().map(Step::Command).collect()
}

/// What could not be asked is not judged.
pub fn surroundings(anchor: &Anchor, nat: bool, answers: &[Option<&str>]) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let answer = |place: usize| answers.get(place).copied().flatten();
    if answer(0).is_some_and(|info| info.lines().any(|line| line.trim_start().starts_with("Status: Disabled"))) {
        let what = "PF is disabled: everything gets in, and knocking opens nothing";
        concerns.push(Concern::minor(
            what,
            "pfctl -e, and pf_enable=\"YES\" (FreeBSD) or pf=YES (OpenBSD) in /etc/rc.conf",
        ));
    }
    let mut links = vec!["anchor"];
    if nat && anchor.splits_translation() {
        links.extend(["nat-anchor", "rdr-anchor"]);
    }
    for (place, link) in links.into_iter().enumerate() {
        // The filter rules are the second answer, the translation rules the third.
        if answer(1 + place.min(1)).is_some_and(|listing| !names(listing, link, anchor.name())) {
            let what =
                format!("the main ruleset of PF has no '{link} \"{anchor}\"', so what is opened there has no effect");
            let advice = format!("write '{link} \"{anchor}\"' to pf.conf, and load it with: pfctl -f /etc/pf.conf");
            concerns.push(Concern::grave(what, advice));
        }
    }
    if answers.iter().flatten().any(|answer| forwards_nothing(answer)) {
        let what = "NAT is on, but the kernel forwards no packets over IPv4: hosts behind stay out of reach";
        concerns.push(Concern::minor(what, format!("sysctl {FORWARDING}=1, and write that to /etc/sysctl.conf")));
    }
    concerns
}

/// `anchor "fwknop" all`, `rdr-anchor "*" all`
fn names(listing: &str, link: &str, anchor: &str) -> bool {
    listing.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some(link)
            && words.next().is_some_and(|name| [anchor, "*"].contains(&name.trim_matches('"').trim_end_matches("/*")))
    })
}

/// `net.inet.ip.forwarding=0` on OpenBSD, `net.inet.ip.forwarding: 0` on FreeBSD.
fn forwards_nothing(answer: &str) -> bool {
    let value = answer.trim().strip_prefix(FORWARDING).unwrap_or_default();
    value.trim_start_matches([':', '=', ' ']) == "0"
}

const FORWARDING: &str = "net.inet.ip.forwarding";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Syntax;

    fn told(syntax: Syntax, nat: bool, answers: &[&str]) -> Vec<String> {
        let anchor = Anchor::default().in_syntax(syntax);
        let answers: Vec<Option<&str>> = answers.iter().map(|answer| Some(*answer)).collect();
        surroundings(&anchor, nat, &answers).into_iter().map(|concern| concern.what).collect()
    }

    const ON: &str = "Status: Enabled for 0 days 00:05:12           Debug: Urgent\n";
    const RULES: &str = "block drop all\nanchor \"fwknop\" all\n";

    #[test]
    fn what_is_wrong_is_told_and_nothing_else() {
        let open = Syntax::OpenBsd;
        assert!(told(open, false, &[ON, RULES]).is_empty() && told(open, true, &[ON, RULES]).is_empty());
        assert!(told(open, false, &[ON, "anchor \"*\" all\n"]).is_empty() && told(open, false, &[]).is_empty());
        assert!(told(open, false, &[&ON.replace("Enabled", "Disabled"), RULES])[0].contains("PF is disabled"));
        assert!(told(open, false, &[ON, "anchor \"other\" all\npass all\n"])[0].contains("no 'anchor \"fwknop\"'"));
    }

    #[test]
    fn freebsd_needs_anchors_for_translation() {
        let free = Syntax::FreeBsd;
        let nat = "nat-anchor \"fwknop\" all\nrdr-anchor \"fwknop\" all\n";
        assert!(told(free, true, &[ON, RULES, nat]).is_empty() && told(free, false, &[ON, RULES]).is_empty());
        assert_eq!(told(free, true, &[ON, RULES, ""]).len(), 2);
        let missing = told(free, true, &[ON, RULES, "rdr-anchor \"fwknop/*\" all\n"]);
        assert!(missing.len() == 1 && missing[0].contains("no 'nat-anchor \"fwknop\"'"), "{missing:?}");
    }

    #[test]
    fn forwarding_is_judged_as_each_system_tells_it() {
        for (answer, count) in [
            ("net.inet.ip.forwarding=0\n", 1),
            ("net.inet.ip.forwarding: 0\n", 1),
            ("net.inet.ip.forwarding=1\n", 0),
            ("net.inet.ip.forwarding=2\n", 0),
        ] {
            assert_eq!(told(Syntax::OpenBsd, true, &[ON, RULES, answer]).len(), count, "{answer}");
        }
    }
}
