//! The settings of the original's ipfw and PF.

use super::complaint::Complaints;
use super::setting::Settings;
use super::value::Checked;
use crate::firewall::{Anchor, BackendName, Numbers};

pub fn numbers(settings: &Settings, backend: BackendName, complaints: &mut Complaints) -> Numbers {
    let usual = Numbers::default();
    let set = |name, default| settings.number(name).and_then(|set| u8::try_from(set).ok()).unwrap_or(default);
    let expired = set("IPFW_EXPIRE_SET_NUM", 2);
    let numbers = Numbers {
        start: settings.number("IPFW_START_RULE_NUM").and_then(|n| n.try_into().ok()).unwrap_or(usual.start),
        count: settings.number("IPFW_MAX_RULES").and_then(|n| n.try_into().ok()).unwrap_or(usual.count),
        active: set("IPFW_ACTIVE_SET_NUM", usual.active),
        expired: (expired > 0).then_some(expired),
        check_state: settings.flag("IPFW_ADD_CHECK_STATE").unwrap_or(false),
    };
    if backend == BackendName::Ipfw && numbers.expired == Some(numbers.active) {
        let place = settings.place("IPFW_EXPIRE_SET_NUM").or(settings.place("IPFW_ACTIVE_SET_NUM"));
        if let Some(place) = place {
            let what = format!("the set {expired} is both IPFW_ACTIVE_SET_NUM and IPFW_EXPIRE_SET_NUM");
            complaints.error(place, what, "give each a set of its own: what has ended would stay in force");
        }
    }
    numbers
}

pub fn anchor(settings: &Settings, complaints: &mut Complaints) -> Anchor {
    let Some(name) = settings.text("PF_ANCHOR_NAME") else { return Anchor::default() };
    match (name.parse(), settings.place("PF_ANCHOR_NAME")) {
        (Ok(anchor), _) => anchor,
        (Err(error), place) => {
            if let Some(place) = place {
                complaints.error(place, format!("PF_ANCHOR_NAME: {error}"), "write a name as in pf.conf");
            }
            Anchor::default()
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
    if !matches!(backend, BackendName::Ipfw | BackendName::Pf) {
        return;
    }
    for name in ["ENABLE_IPT_FORWARDING", "ENABLE_IPT_LOCAL_NAT", "ENABLE_IPT_SNAT", "ENABLE_IPT_OUTPUT"] {
        if let Some(place) = settings.place(name).filter(|_| settings.flag(name) == Some(true)) {
            let what = format!("{name} cannot be had with {backend}, which only opens ports of this host");
            complaints.error(place, what, "set it to N, or use another firewall");
        }
    }
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
const OWN: [(&str, Usual, BackendName); 7] = [
    ("FLUSH_IPFW_AT_INIT", Usual::Flag(true), BackendName::Ipfw),
    ("FLUSH_IPFW_AT_EXIT", Usual::Flag(true), BackendName::Ipfw),
    ("IPFW_START_RULE_NUM", Usual::Number(10_000), BackendName::Ipfw),
    ("IPFW_ACTIVE_SET_NUM", Usual::Number(1), BackendName::Ipfw),
    ("IPFW_EXPIRE_SET_NUM", Usual::Number(2), BackendName::Ipfw),
    ("IPFW_ADD_CHECK_STATE", Usual::Flag(false), BackendName::Ipfw),
    ("PF_ANCHOR_NAME", Usual::Text("fwknop"), BackendName::Pf),
];
