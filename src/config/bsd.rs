//! The settings of the original's ipfw and PF.

use std::time::Duration;

use super::complaint::Complaints;
use super::setting::Settings;
use super::value::{Checked, PLACEHOLDER};
use crate::firewall::{Anchor, BackendName, IPFW, Numbers, PF, Syntax};

pub fn numbers(settings: &Settings, backend: BackendName, complaints: &mut Complaints) -> Numbers {
    let usual = Numbers::default();
    let set = |name, default| settings.number(name).and_then(|set| u8::try_from(set).ok()).unwrap_or(default);
    let expired = set("IPFW_EXPIRE_SET_NUM", 2);
    let numbers = Numbers {
        start: settings.number("IPFW_START_RULE_NUM").and_then(|n| n.try_into().ok()).unwrap_or(usual.start),
        count: settings.number("IPFW_MAX_RULES").and_then(|n| n.try_into().ok()).unwrap_or(usual.count),
        active: set("IPFW_ACTIVE_SET_NUM", usual.active),
        purge: settings.number("IPFW_EXPIRE_PURGE_INTERVAL").map_or(usual.purge, Duration::from_secs),
        expired: (expired > 0).then_some(expired),
        check_state: settings.flag("IPFW_ADD_CHECK_STATE").unwrap_or(false),
    };
    if backend == IPFW && numbers.expired == Some(numbers.active) {
        let place = settings.place("IPFW_EXPIRE_SET_NUM").or(settings.place("IPFW_ACTIVE_SET_NUM"));
        if let Some(place) = place {
            let what = format!("the set {expired} is both IPFW_ACTIVE_SET_NUM and IPFW_EXPIRE_SET_NUM");
            complaints.error(place, what, "give each a set of its own: what has ended would stay in force");
        }
    }
    let room = u32::from(u16::MAX - numbers.start);
    if let Some(place) = settings.place("IPFW_MAX_RULES").filter(|_| backend == IPFW && numbers.count > room) {
        let what =
            format!("IPFW_MAX_RULES: behind IPFW_START_RULE_NUM {} there are only {room} numbers", numbers.start);
        complaints.error(place, what, format!("write at most {room}, or a lower first number"));
    }
    numbers
}

pub fn anchor(settings: &Settings, complaints: &mut Complaints) -> Anchor {
    let syntax = match settings.text("PF_SYNTAX") {
        Some("openbsd") => Syntax::OpenBsd,
        Some(_) => Syntax::FreeBsd,
        None => Syntax::default(),
    };
    let usual = Anchor::default().in_syntax(syntax);
    let Some(name) = settings.text("PF_ANCHOR_NAME") else { return usual };
    match (name.parse::<Anchor>(), settings.place("PF_ANCHOR_NAME")) {
        (Ok(anchor), _) => anchor.in_syntax(syntax),
        (Err(error), place) => {
            if let Some(place) = place {
                complaints.error(place, format!("PF_ANCHOR_NAME: {error}"), "write a name as in pf.conf");
            }
            usual
        }
    }
}

/// What is for another firewall, and what these two cannot do.
pub fn refuse(settings: &Settings, backend: BackendName, complaints: &mut Complaints) {
    for (name, usual, owner) in OWN {
        let asked = settings.get(name).is_some_and(|value| *value != usual.checked());
        if let Some(place) = settings.place(name).filter(|_| asked && backend != owner) {
            let what = format!("{name} is for {owner}, and the firewall is {backend}");
            complaints.error(place, what, format!("set FIREWALL to {owner}, or remove it"));
        }
    }
    if ![IPFW, PF].contains(&backend) {
        return;
    }
    let on = |name| settings.place(name).filter(|_| settings.flag(name) == Some(true));
    for name in ["ENABLE_IPT_FORWARDING", "ENABLE_IPT_LOCAL_NAT", "ENABLE_IPT_SNAT"] {
        if let Some(place) = on(name).filter(|_| backend == IPFW) {
            let what = format!("{name} cannot be had with ipfw, whose NAT has instances that we make none of");
            complaints.error(place, what, "set it to N, or use another firewall");
        }
    }
    if let Some(place) = on("ENABLE_IPT_OUTPUT") {
        let what = format!("ENABLE_IPT_OUTPUT has no use with {backend}, where states let replies out");
        complaints.error(place, what, "set it to N");
    }
    if let Some(place) = on("ENABLE_IPT_SNAT").filter(|_| backend == PF && !has_address(settings)) {
        let what = "ENABLE_IPT_SNAT needs an address with pf, which does not find one by itself";
        complaints.error(place, what, "name it with SNAT_TRANSLATE_IP");
    }
}

/// The placeholder of the sample file is none.
fn has_address(settings: &Settings) -> bool {
    settings.text("SNAT_TRANSLATE_IP").is_some_and(|text| text != PLACEHOLDER)
}

/// As a setting would have it that changes nothing.
enum Usual {
    Flag(bool),
    Number(u64),
    Text(&'static str),
}

impl Usual {
    fn checked(&self) -> Checked {
        match self {
            Usual::Flag(flag) => Checked::Flag(*flag),
            Usual::Number(number) => Checked::Number(*number),
            Usual::Text(text) => Checked::Text((*text).to_owned()),
        }
    }
}

/// The sample file of the original sets all of them, so what says nothing new says nothing.
const OWN: [(&str, Usual, BackendName); 9] = [
    ("FLUSH_IPFW_AT_INIT", Usual::Flag(true), IPFW),
    ("FLUSH_IPFW_AT_EXIT", Usual::Flag(true), IPFW),
    ("IPFW_START_RULE_NUM", Usual::Number(10_000), IPFW),
    ("IPFW_ACTIVE_SET_NUM", Usual::Number(1), IPFW),
    ("IPFW_EXPIRE_SET_NUM", Usual::Number(2), IPFW),
    ("IPFW_EXPIRE_PURGE_INTERVAL", Usual::Number(30), IPFW),
    ("IPFW_ADD_CHECK_STATE", Usual::Flag(false), IPFW),
    ("PF_ANCHOR_NAME", Usual::Text("fwknop"), PF),
    ("PF_SYNTAX", Usual::Text(""), PF),
];
