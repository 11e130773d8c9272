//! What would keep grants from working on ipfw, or makes them pointless.

use super::line::lines;
use super::numbers::{LAST, Numbers};
use crate::firewall::Concern;

/// Rules are asked in the order of their numbers: what refuses everything must come behind ours, and has to be there.
pub fn concerns(listing: &str, numbers: &Numbers) -> Vec<Concern> {
    let ours = |set: u8| set == numbers.active || Some(set) == numbers.expired;
    let mut refusals = lines(listing).filter(|line| line.refuses_all() && !ours(line.set)).map(|line| line.number);
    match refusals.next() {
        Some(number) if number <= numbers.start => {
            let what = format!(
                "rule {number} refuses everything before our rules are asked, which begin at {}: nothing is opened",
                numbers.start
            );
            vec![Concern::grave(what, format!("let IPFW_START_RULE_NUM be less than {number}, or move that rule"))]
        }
        Some(_) => Vec::new(),
        None => {
            let what = "ipfw accepts by default: no rule refuses what none of ours let in, so knocking opens nothing";
            let advice = format!("ipfw add {} deny ip from any to any, behind your own rules", LAST - 1);
            vec![Concern::minor(what, advice)]
        }
    }
}

/// `0`: packets are not shown to it at all.
pub fn surroundings(switch: &str) -> Vec<Concern> {
    let off = || {
        let what = "ipfw is switched off: everything gets in, and knocking opens nothing";
        Concern::minor(what, format!("sysctl {SWITCH}=1, and firewall_enable=\"YES\" in /etc/rc.conf"))
    };
    if switch.trim() == "0" { vec![off()] } else { Vec::new() }
}

pub const SWITCH: &str = "net.inet.ip.fw.enable";

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listing: &str) -> Vec<Concern> {
        concerns(listing, &Numbers::default())
    }

    #[test]
    fn what_refuses_everything_must_be_there_and_come_last() {
        let deny = "65535 set 31 deny ip from any to any\n";
        assert!(told(deny).is_empty());
        assert!(
            told("65000 set 0 deny log ip from any to me // mine\n65535 set 31 allow ip from any to any").is_empty()
        );
        assert!(told(&format!("# DISABLED 00100 set 5 deny ip from any to any\n{deny}")).is_empty());
        let open = told("00100 set 0 deny tcp from any to any\n65535 set 31 allow ip from any to any\n");
        assert!(open[0].what.contains("accepts by default") && !open[0].grave, "{open:?}");
        let shadowed = told(&format!("05000 set 0 deny ip from any to any\n{deny}"));
        assert!(shadowed[0].what.contains("rule 5000 refuses") && shadowed[0].grave, "{shadowed:?}");
        assert!(shadowed[0].advice.contains("IPFW_START_RULE_NUM"));
    }

    #[test]
    fn a_firewall_that_is_off_is_told() {
        assert!(surroundings("0\n")[0].what.contains("switched off"));
        assert!(surroundings("1\n").is_empty() && surroundings("").is_empty());
    }
}
