//! The text of a capture filter (`PCAP_FILTER`, pcap-filter(7)), checked before libpcap sees it.
//!
//! libpcap asks the resolver for every name in a place where an address can stand. A daemon that starts before the
//! network would then wait for DNS, and whoever answers would decide what it listens to. So names are refused, except
//! where they mean a service or a protocol; those come from local tables. With the names goes the usual cause of
//! libpcap's "syntax error": a misspelt word, which we can name.

use std::net::Ipv6Addr;

use pcap::{Capture, Linktype};

use super::Error;

/// Checks a filter without a device, as far as that can be known: it must fit one of the usual link types.
pub fn check(filter: &str) -> Result<(), Error> {
    let links = [Linktype::ETHERNET, Linktype::LINUX_SLL, Linktype::RAW, Linktype::NULL];
    let mut first = Ok(());
    for link in links {
        match check_for(filter, link) {
            Ok(()) => return Ok(()),
            wrong => first = first.and(wrong),
        }
    }
    first
}

/// Checks a filter for the frames of one link type.
pub(super) fn check_for(filter: &str, link: Linktype) -> Result<(), Error> {
    if let Some(word) = unknown_word(filter) {
        return Err(Error::FilterWord { filter: filter.into(), word: word.into() });
    }
    Capture::dead(link)
        .and_then(|dead| dead.compile(filter, true))
        .map(|_program| ())
        .map_err(|error| Error::Filter { filter: filter.into(), said: error.to_string() })
}

/// The first word libpcap could take for the name of a host or a network.
fn unknown_word(filter: &str) -> Option<&str> {
    // A name after `port` is a service, one after `proto` a protocol; `and`, `or` and `not` hand that meaning on.
    let mut names = false;
    for word in words(filter) {
        if KEEP_MEANING.contains(&word) || is_literal(word) {
            continue;
        }
        if NAMES_FOLLOW.contains(&word) {
            names = true;
        } else if KEYWORDS.contains(&word) {
            names = false;
        } else if !names {
            return Some(word);
        }
    }
    None
}

/// A backslash makes a word a name that would be a keyword (`proto \udp`): it stays with the word.
fn words(filter: &str) -> impl Iterator<Item = &str> {
    filter
        .split(|c: char| !(c.is_alphanumeric() || "-_.:\\".contains(c)))
        // In arithmetic these are operators (`ip[0]-4`, `ip[(4):2]`), at the end of an address they are not (`fe80::`).
        .map(|word| if is_literal(word) { word } else { word.trim_matches(['-', ':']) })
        .filter(|word| !word.is_empty())
}

/// A number, a range, or an address in one of the forms libpcap reads without asking anybody.
fn is_literal(word: &str) -> bool {
    is_number(word)
        || is_list_of(word, '.', 2..=4, is_decimal) // 10.1 is a network
        || is_list_of(word, ':', 2..=2, is_decimal) // ip[2:2]
        || is_list_of(word, '-', 2..=2, is_decimal) // a range of ports
        || is_list_of(word, ':', 6..=6, is_hex_pair)
        || is_list_of(word, '-', 6..=6, is_hex_pair)
        || is_list_of(word, '.', 3..=3, |group| group.len() == 4 && is_hex(group))
        || word.parse::<Ipv6Addr>().is_ok()
}

fn is_list_of(word: &str, between: char, count: std::ops::RangeInclusive<usize>, item: fn(&str) -> bool) -> bool {
    count.contains(&word.split(between).count()) && word.split(between).all(item)
}

fn is_number(word: &str) -> bool {
    is_decimal(word) || word.strip_prefix("0x").is_some_and(is_hex)
}

fn is_decimal(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn is_hex(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_hex_pair(word: &str) -> bool {
    word.len() <= 2 && is_hex(word)
}

const KEEP_MEANING: &[&str] = &["and", "or", "not"];

/// After these a name is looked up in a table of libpcap's or of this machine's files, never as a host.
#[rustfmt::skip]
const NAMES_FOLLOW: &[&str] = &[
    "port", "portrange", "proto", "protochain", "type", "subtype", "dir", "direction", "llc",
    "ifname", "on", "rset", "ruleset", "reason", "action",
];

/// The other words of pcap-filter(7).
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    // What is compared, and with what kind of value.
    "src", "dst", "host", "net", "mask", "gateway", "broadcast", "multicast", "less", "greater", "len", "length",
    "byte", "inbound", "outbound", "ifindex", "rnr", "rulenum", "srnr", "subrulenum",
    "ra", "ta", "addr1", "addr2", "addr3", "addr4", "address1", "address2", "address3", "address4",
    // Protocols.
    "link", "ether", "ppp", "slip", "fddi", "tr", "wlan", "arp", "rarp", "ip", "ip6", "tcp", "udp", "sctp", "icmp",
    "icmp6", "igmp", "igrp", "eigrp", "pim", "vrrp", "carp", "ah", "esp", "radio", "atalk", "aarp", "decnet", "lat",
    "sca", "moprc", "mopdl", "iso", "clnp", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp",
    "psnp", "stp", "ipx", "netbeui", "vlan", "mpls", "pppoed", "pppoes", "geneve", "loopback",
    // ATM.
    "lane", "metac", "bcc", "oam", "oamf4", "oamf4e", "oamf4s", "oamf4ec", "oamf4sc", "sc", "ilmic", "vpi", "vci",
    "connectmsg", "metaconnect",
    // Offsets and values of header fields.
    "tcpflags", "tcp-fin", "tcp-syn", "tcp-rst", "tcp-push", "tcp-ack", "tcp-urg", "tcp-ece", "tcp-cwr",
    "icmptype", "icmpcode", "icmp-echoreply", "icmp-unreach", "icmp-sourcequench", "icmp-redirect", "icmp-echo",
    "icmp-routeradvert", "icmp-routersolicit", "icmp-timxceed", "icmp-paramprob", "icmp-tstamp", "icmp-tstampreply",
    "icmp-ireq", "icmp-ireqreply", "icmp-maskreq", "icmp-maskreply",
    "icmp6type", "icmp6code", "icmp6-destinationrunreach", "icmp6-packettoobig", "icmp6-timeexceeded",
    "icmp6-parameterproblem", "icmp6-echo", "icmp6-echoreply", "icmp6-multicastlistenerquery",
    "icmp6-multicastlistenerreportv1", "icmp6-multicastlistenerdone", "icmp6-routersolicit", "icmp6-routeradvert",
    "icmp6-neighborsolicit", "icmp6-neighboradvert", "icmp6-redirect", "icmp6-routerrenum",
    "icmp6-nodeinformationquery", "icmp6-nodeinformationresponse", "icmp6-ineighbordiscoverysolicit",
    "icmp6-ineighbordiscoveryadvert", "icmp6-multicastlistenerreportv2", "icmp6-homeagentdiscoveryrequest",
    "icmp6-homeagentdiscoveryreply", "icmp6-mobileprefixsolicit", "icmp6-mobileprefixadvert",
    "icmp6-certpathsolicit", "icmp6-certpathadvert", "icmp6-multicastrouteradvert",
    "icmp6-multicastroutersolicit", "icmp6-multicastroutertermination",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_filters_pass() {
        for filter in [
            "",
            "udp port 62201",
            "udp port 62201 or tcp port http or tcp port 22",
            "udp dst portrange 10000-65535",
            "(udp or tcp) and dst port 62201 and not src net 10.0.0.0/8",
            "ip proto \\icmp and not src host 10.1.1.1",
            "ip6 and udp and dst host 2001:db8::1 and port domain",
            "vlan 42 and udp port 62201",
            "ether host 02:00:00:00:00:01",
            "ether src 02-00-00-00-00-01 or ether dst 0200.0000.0001",
            "icmp[icmptype] == icmp-echo and ip[2:2] > 0x80",
            "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
            "greater 1",
            "src net 10.1 mask 255.255.0.0",
            "port 53 and ((udp[10] & 4) != 0)",
            "ip[0]-4 > 0x41 and ip[(2):2] < 1500",
            "net fe80::/10 or host :: or host ::1 or host ::ffff:192.0.2.1",
        ] {
            if let Err(error) = check(filter) {
                panic!("{filter}: {error}");
            }
        }
    }

    #[test]
    fn names_of_hosts_are_refused_before_anybody_is_asked() {
        for (filter, word) in [
            ("host gw", "gw"),
            ("udp port 62201 and src client.example.com", "client.example.com"),
            ("src 10.0.0.1 or localhost", "localhost"),
            ("udpp port 62201", "udpp"),
            ("UDP port 62201", "UDP"),
            ("net lan", "lan"),
            ("port 53 and src foo", "foo"),
            ("host \\udp", "\\udp"),
            ("host 1.2.3.4.5", "1.2.3.4.5"),
            ("host 12ab", "12ab"),
            ("host dead.beef", "dead.beef"),
            ("host 10.1.", "10.1."),
            ("host münchen", "münchen"),
            ("ether host router", "router"),
            ("host ::gw", "gw"),
        ] {
            match check(filter) {
                Err(Error::FilterWord { word: found, .. }) => assert_eq!(found, word, "{filter}"),
                other => panic!("{filter}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_libpcap_refuses_is_said_in_its_words() {
        for (filter, said) in [
            ("udp port", "syntax error"),
            ("port nosuchservice", "unknown port 'nosuchservice'"),
            ("(udp", "syntax error"),
            ("udp port 99999", "99999"),
            ("udp\0port", "null"),
        ] {
            let text = check(filter).unwrap_err().to_string();
            assert!(text.contains(said), "{filter}: {text}");
        }
    }

    #[test]
    fn every_keyword_is_in_one_list() {
        let mut all: Vec<_> = [KEEP_MEANING, NAMES_FOLLOW, KEYWORDS].concat();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(all.iter().find(|word| is_literal(word)), None);
    }

    proptest! {
        /// What gets past us never makes libpcap look for a host.
        #[test]
        fn libpcap_never_asks_for_a_host(filter in "((and|or|not|src|dst|host|net|port|proto|udp|\\(|\\)|llc|on|[a-c.:-]{1,6}|[0-9.]{1,5}) ){1,8}") {
            if let Err(Error::Filter { said, .. }) = check_for(&filter, Linktype::ETHERNET) {
                prop_assert!(!said.contains("unknown host") && !said.contains("unknown network"), "{filter}: {said}");
            }
        }
    }
}
