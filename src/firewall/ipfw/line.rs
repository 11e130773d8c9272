//! What `ipfw -d -S list` prints.

use std::collections::BTreeSet;

use crate::firewall::listed::{Held, end_in, service};
use crate::firewall::{Kind, Spot};

/// A rule as `ipfw -S list` prints it; what is disabled has `# DISABLED ` before it.
pub struct Line<'a> {
    pub number: u16,
    pub set: u8,
    /// Its set is in force.
    pub enabled: bool,
    pub body: &'a str,
}

impl Line<'_> {
    pub fn end(&self) -> Option<u64> {
        end_in(self.body.rsplit_once("// ")?.1.trim_end())
    }

    /// `allow tcp from 198.51.100.7 to me dst-port 22 setup keep-state :default // _exp_1748779233`; before FreeBSD 12 without
    /// the name of the states, and in some versions without `dst-port`.
    pub fn held(&self) -> Option<Held> {
        let words: Vec<&str> = self.body.split_ascii_whitespace().collect();
        let ["allow" | "pass" | "accept" | "permit", proto, "from", address, "to", at, rest @ ..] = &words[..] else {
            return None;
        };
        let port = match rest {
            ["dst-port", port, ..] | [port, ..] => port,
            [] => return None,
        };
        let peer = match *at {
            "me" | "me6" => None,
            at => Some(at.parse().ok()?),
        };
        let service = Some(service(proto, port)?);
        let spot = Spot { kind: Kind::Input, address: address.parse().ok()?, peer, service };
        Some(Held { spot, to: None, until: self.end()? })
    }

    /// Refuses everything, without a condition: `deny ip from any to any`.
    pub fn refuses_all(&self) -> bool {
        let mut words = self.body.split_ascii_whitespace();
        let refuses = words.next().is_some_and(|action| ["deny", "drop", "reject"].contains(&action));
        let rest: Vec<&str> = words.take_while(|word| *word != "//").filter(|word| *word != "log").collect();
        self.enabled && refuses && matches!(rest[..], ["ip" | "all" | "ip4", "from", "any", "to", "any" | "me"])
    }
}

pub fn lines(listing: &str) -> impl Iterator<Item = Line<'_>> {
    let rules = listing.lines().take_while(|line| !line.starts_with(DYNAMIC));
    rules.filter_map(|line| {
        let (enabled, line) = line.strip_prefix("# DISABLED ").map_or((true, line), |line| (false, line));
        let line = line.trim_start();
        let (number, rest) = line.split_once(" set ")?;
        let (set, body) = rest.trim_start().split_once(' ')?;
        Some(Line { number: number.trim().parse().ok()?, set: set.parse().ok()?, enabled, body: body.trim() })
    })
}

/// The rules that dynamic ones come from: each line begins with that number.
pub fn dynamic(listing: &str) -> BTreeSet<u16> {
    let states = listing.lines().skip_while(|line| !line.starts_with(DYNAMIC)).skip(1);
    states.filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect()
}

/// What has our comment, and nobody could close.
pub fn unread(listing: &str, active: u8) -> impl Iterator<Item = u16> {
    let ours = lines(listing).filter(move |line| line.set == active && line.end().is_some());
    ours.filter(|line| line.held().is_none()).map(|line| line.number)
}

const DYNAMIC: &str = "## Dynamic rules";
