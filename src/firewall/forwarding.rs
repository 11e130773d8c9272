//! Whether this machine forwards packets at all: without that, NAT to hosts behind it leads nowhere.

use std::fs;

use super::concern::Concern;
use super::settings::Features;

/// What the kernel says about forwarding.
struct Forwarding {
    v4: bool,
    v6: bool,
    /// It has an address by which others reach it over IPv6.
    has_v6: bool,
}

/// Looks at the kernel's switches when something is to be forwarded.
pub fn forwarding(features: Features) -> Vec<Concern> {
    if !features.forwarding {
        return Vec::new();
    }
    // What cannot be read is nothing to complain about: a kernel without IPv6, a sandbox without /proc.
    let is_on = |file: &str| fs::read_to_string(file).map_or(true, |text| text.trim() != "0");
    let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let forwarding = Forwarding { v4: is_on(SWITCH_V4), v6: is_on(SWITCH_V6), has_v6: has_global(&addresses) };
    forwarding.concerns()
}

impl Forwarding {
    fn concerns(&self) -> Vec<Concern> {
        let off = |version: &str, key: &str| {
            Concern::minor(
                format!("NAT is on, but the kernel forwards no packets over {version}: hosts behind stay out of reach"),
                format!("sysctl -w {key}=1, and write it to a file in /etc/sysctl.d"),
            )
        };
        let v4 = (!self.v4).then(|| off("IPv4", "net.ipv4.ip_forward"));
        let v6 = (!self.v6 && self.has_v6).then(|| off("IPv6", "net.ipv6.conf.all.forwarding"));
        v4.into_iter().chain(v6).collect()
    }
}

/// Whether `/proc/net/if_inet6` has an address of global scope, the fourth word.
pub(super) fn has_global(addresses: &str) -> bool {
    addresses.lines().any(|line| line.split_whitespace().nth(3) == Some("00"))
}

const SWITCH_V4: &str = "/proc/sys/net/ipv4/ip_forward";
const SWITCH_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_off_and_in_use_is_told() {
        let told = |v4, v6, has_v6| Forwarding { v4, v6, has_v6 }.concerns().len();
        assert_eq!((told(true, true, true), told(true, false, false)), (0, 0));
        assert_eq!((told(false, true, true), told(true, false, true), told(false, false, true)), (1, 1, 2));
    }

    #[test]
    fn addresses_of_one_link_do_not_count() {
        let local = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe80000000000000a8bbccfffe000001 02 40 20 80     eth0\n";
        assert!(!has_global(local) && !has_global(""));
        assert!(has_global(&format!("{local}fd710000000000000000000000000001 02 40 00 80     eth0\n")));
    }
}
