//! Thousands of grants as a killed daemon leaves them in iptables: to open them by knocks would take a test too long.

use std::time::{Duration, UNIX_EPOCH};

use super::netns::Host;
use super::{PATIENCE, within};

/// So many grants with that end, half of which forward and are rules in two tables; and `later` ones spread among them.
pub fn leave_rules(host: &Host, variant: &str, (count, end): (usize, u64), (later, later_end): (usize, u64)) {
    let rule = |chain: &str, n: usize, port: u16, end: u64, target: &str| {
        let address = format!("10.{}.{}.{}", n / 62500 + 1, n / 250 % 250, n % 250);
        format!("-A {chain} -s {address} -p tcp -m tcp --dport {port} -m comment --comment _exp_{end} -j {target}\n")
    };
    let (mut filter, mut nat): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for n in 0..count + later {
        let end = if n % 6 == 5 && n / 6 < later { later_end } else { end };
        if n % 2 == 1 {
            filter.push(rule("FWKNOP_INPUT", n, 22, end, "ACCEPT"));
        } else {
            filter.push(rule("FWKNOP_FORWARD", n, 22, end, "ACCEPT"));
            nat.push(rule("FWKNOP_PREROUTING", n, 5555, end, "DNAT --to-destination 10.200.0.1:22"));
        }
    }
    for (table, rules) in [("filter", filter), ("nat", nat)] {
        for part in rules.chunks(150) {
            let script = format!("*{table}\n{}COMMIT\n", part.concat());
            host.feed(&format!("iptables-{variant}-restore"), &["--noflush"], &script);
        }
    }
}

/// How late after a second, with which something ends, it was still to be seen: by a look that began then. Looks take their time.
pub fn seen_after(second: u64, mut still: impl FnMut() -> bool) -> Duration {
    let due = UNIX_EPOCH + Duration::from_secs(second + 1);
    let mut late = Duration::ZERO;
    let gone = || {
        let begun = due.elapsed().unwrap_or_default();
        let seen = still();
        if seen {
            late = begun;
        }
        !seen
    };
    assert!(within(PATIENCE, gone), "it does not end");
    late
}
