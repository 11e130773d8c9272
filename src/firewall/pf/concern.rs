//! What around PF would keep grants from working, or makes them pointless.

use super::PROGRAM;
use super::anchor::Anchor;
use crate::firewall::{Command, Concern, Features, Step};

/// What [`surroundings`] judges, in its order.
pub fn inquiries(anchor: &Anchor, features: Features) -> Vec<Step> {
    let mut asked = vec![Command::new(PROGRAM, ["-s", "info"]), Command::new(PROGRAM, ["-s", "rules"])];
    if splits(anchor, features) {
        asked.push(Command::new(PROGRAM, ["-s", "nat"]));
    }
    if features.forwarding {
        asked.push(Command::new("sysctl", [FORWARDING]));
    }
    asked.into_iter().map(Step::Command).collect()
}

/// What could not be asked is not judged.
pub fn surroundings(anchor: &Anchor, features: Features, answers: &[Option<&str>]) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let answer = |place: usize| answers.get(place).copied().flatten();
    if answer(0).is_some_and(|info| info.lines().any(|line| line.trim_start().starts_with("Status: Disabled"))) {
        let what = "PF is disabled: everything gets in, and knocking opens nothing";
        let advice = "pfctl -e, and pf_enable=\"YES\" (FreeBSD) or pf=YES (OpenBSD) in /etc/rc.conf";
        concerns.push(Concern::minor(what, advice));
    }
    if let Some(rules) = answer(1) {
        concerns.extend(of_rules(rules, anchor));
    }
    if let Some(rules) = answer(2).filter(|_| splits(anchor, features)) {
        let (rdr, nat) = (unnamed(rules, "rdr-anchor", anchor), unnamed(rules, "nat-anchor", anchor));
        let forced = |concern: Concern| Concern {
            grave: features.source_nat,
            what: format!("{}: ENABLE_IPT_SNAT and FORCE_SNAT need it", concern.what),
            ..concern
        };
        concerns.extend(rdr.into_iter().chain(nat.map(forced)));
    }
    if answers.iter().flatten().any(|answer| forwards_nothing(answer)) {
        let what = "NAT is on, but the kernel forwards no packets over IPv4: hosts behind stay out of reach";
        concerns.push(Concern::minor(what, format!("sysctl {FORWARDING}=1, and write that to /etc/sysctl.conf")));
    }
    concerns
}

/// Whether translation is asked for, and has rules and anchors of its own.
fn splits(anchor: &Anchor, features: Features) -> bool {
    (features.forwarding || features.local_nat) && anchor.splits_translation()
}

/// The last rule that matches decides, but one with `quick` decides at once, as ours do.
fn of_rules(rules: &str, anchor: &Anchor) -> Vec<Concern> {
    if let Some(concern) = unnamed(rules, "anchor", anchor) {
        return vec![concern];
    }
    let mut concerns = Vec::new();
    let before = rules.lines().take_while(|line| !is_named(line, "anchor", anchor.name()));
    if let Some(line) = before.into_iter().find(|line| blocks_all(line) && line.contains(" quick ")) {
        let what = format!("'{line}' comes before the anchor '{anchor}' and blocks at once: nothing is opened");
        concerns.push(Concern::grave(what, "move the anchor in pf.conf above that rule, or take its 'quick' away"));
    }
    if !rules.lines().any(|line| line.starts_with("block ") && !line.contains(" out ")) {
        let what = "the main ruleset of PF blocks nothing that comes in, so knocking opens nothing";
        concerns.push(Concern::minor(what, "write 'block in all' to pf.conf, above your own rules and the anchor"));
    }
    concerns
}

/// Whatever comes in: `block drop in quick all`.
fn blocks_all(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("block") && words.all(|word| ["drop", "return", "in", "log", "quick", "all"].contains(&word))
}

fn unnamed(listing: &str, link: &str, anchor: &Anchor) -> Option<Concern> {
    if listing.lines().any(|line| is_named(line, link, anchor.name())) {
        return None;
    }
    let what = format!("the main ruleset of PF has no '{link} \"{anchor}\"', so what is opened there has no effect");
    let advice = format!("write '{link} \"{anchor}\"' to pf.conf, and load it with: pfctl -f /etc/pf.conf");
    Some(Concern::grave(what, advice))
}

/// `anchor "fwknop" all`, `rdr-anchor "*" all`
fn is_named(line: &str, link: &str, anchor: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some(link)
        && words.next().is_some_and(|name| [anchor, "*"].contains(&name.trim_matches('"').trim_end_matches("/*")))
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

    fn told(syntax: Syntax, features: Features, answers: &[&str]) -> Vec<(bool, String)> {
        let anchor = Anchor::default().in_syntax(syntax);
        let answers: Vec<Option<&str>> = answers.iter().map(|answer| Some(*answer)).collect();
        let concerns = surroundings(&anchor, features, &answers);
        concerns.into_iter().map(|concern| (concern.grave, concern.what)).collect()
    }

    const OPEN: Features =
        Features { forwarding: false, local_nat: false, source_nat: false, output: false, destination: false };
    const NAT: Features = Features { forwarding: true, ..OPEN };
    const ON: &str = "Status: Enabled for 0 days 00:05:12           Debug: Urgent\n";
    const RULES: &str = "block drop all\nanchor \"fwknop\" all\n";

    #[test]
    fn what_is_wrong_is_told_and_nothing_else() {
        let syntax = Syntax::OpenBsd;
        for fine in [&[ON, RULES][..], &[ON, "block return in log all\nanchor \"*\" all\n"], &[]] {
            assert!(told(syntax, OPEN, fine).is_empty() && told(syntax, NAT, fine).is_empty(), "{fine:?}");
        }
        let one = |info: &str, rules: &str| {
            let told = told(syntax, OPEN, &[info, rules]);
            assert_eq!(told.len(), 1, "{told:?}");
            told.into_iter().next().unwrap()
        };
        assert!(one(&ON.replace("Enabled", "Disabled"), RULES).1.contains("PF is disabled"));
        let unlinked = one(ON, "anchor \"other\" all\nblock drop all\n");
        assert!(unlinked.0 && unlinked.1.contains("no 'anchor \"fwknop\"'"), "{unlinked:?}");
        let shadowed = one(ON, "block drop in quick all\nanchor \"fwknop\" all\n");
        assert!(shadowed.0 && shadowed.1.contains("'block drop in quick all' comes before"), "{shadowed:?}");
        let harmless = "block drop in quick on em1 all\nblock drop in quick from <bad> to any\n";
        assert!(told(syntax, OPEN, &[ON, &format!("{harmless}{RULES}block drop in quick all\n")]).is_empty());
        let open = one(ON, "block drop out all\nanchor \"fwknop\" all\n");
        assert!(!open.0 && open.1.contains("blocks nothing that comes in"), "{open:?}");
    }

    #[test]
    fn freebsd_needs_anchors_for_translation() {
        let free = Syntax::FreeBsd;
        let nat = "nat-anchor \"fwknop\" all\nrdr-anchor \"fwknop\" all\n";
        assert!(told(free, NAT, &[ON, RULES, nat]).is_empty() && told(free, OPEN, &[ON, RULES]).is_empty());
        assert_eq!(told(free, NAT, &[ON, RULES, ""]).len(), 2);
        for (features, grave) in [(NAT, false), (Features { source_nat: true, ..NAT }, true)] {
            let missing = told(free, features, &[ON, RULES, "rdr-anchor \"fwknop/*\" all\n"]);
            assert!(missing.len() == 1 && missing[0].1.contains("no 'nat-anchor \"fwknop\"'"), "{missing:?}");
            assert_eq!(missing[0].0, grave);
        }
    }

    #[test]
    fn forwarding_is_judged_as_each_system_tells_it() {
        for (answer, count) in [
            ("net.inet.ip.forwarding=0\n", 1),
            ("net.inet.ip.forwarding: 0\n", 1),
            ("net.inet.ip.forwarding=1\n", 0),
            ("net.inet.ip.forwarding=2\n", 0),
        ] {
            assert_eq!(told(Syntax::OpenBsd, NAT, &[ON, RULES, answer]).len(), count, "{answer}");
        }
    }
}
