//! The variables of `fwknopd.conf` (`spec/server.md` 5), in the order of the documents.

use super::access_table;
use super::value::Kind;
use super::variable::State::{self, Built, NoEffect, NotNeeded, NotSupported};
use super::variable::{Table, Variable};
use crate::firewall;

pub static TABLE: Table = Table {
    file: "fwknopd.conf",
    document: "docs/configuration.md",
    variables: VARIABLES,
    expands: true,
    sibling: Some(&access_table::TABLE),
};

const fn v(name: &'static str, kind: Kind, default: &'static str, state: State, doc: &'static str) -> Variable {
    Variable { name, kind, default, state, doc }
}

const fn number(min: u64, max: u64) -> Kind {
    Kind::Number { min, max }
}

const PORT: Kind = number(1, 65535);
/// What the original calls its largest sane number.
const LARGE: u64 = 8_388_608;
const ANY_NUMBER: Kind = number(0, LARGE);

const WAITS: &str = "this daemon waits for packets and signals instead of polling";
const EXTERNAL: &str = "it has none in the original either: external commands were never built";
const OPTION_ONLY: &str = "it belongs on the command line; remove it";

const YES: &[&str] = &["Y"];
const NO: &[&str] = &["N"];

/// Only special builds of the original have NFQUEUE; what they have it for, there is another way here.
pub const NFQ_INSTEAD: &str = "capture with libpcap (PCAP_INTF), or listen with ENABLE_UDP_SERVER";

const fn nfq(fine: &'static [&'static str]) -> State {
    NotSupported { instead: NFQ_INSTEAD, fine }
}

static VARIABLES: &[Variable] = &[
    // General
    v("VERBOSE", number(0, 100), "0", Built, "how much is logged; added to the number of -v options"),
    v("SYSLOG_IDENTITY", Kind::Text, "fwknopd", Built, "the program name in the system log"),
    v("SYSLOG_FACILITY", Kind::Choice(FACILITIES), "LOG_DAEMON", Built, "the facility in the system log"),
    v(
        "LOCALE",
        Kind::Text,
        "",
        NotNeeded { why: "messages are not translated", silent: &["NONE", "C"] },
        "language of messages",
    ),
    // Capture
    v("PCAP_INTF", Kind::List, "eth0", Built, "interfaces to listen on, or any"),
    v("PCAP_FILE", Kind::Path, "", Built, "a capture file to read instead"),
    v("PCAP_FILTER", Kind::Text, "udp port 62201", Built, "which packets are looked at: pcap-filter(7)"),
    v("ENABLE_PCAP_PROMISC", Kind::YesNo, "N", Built, "put the interface into promiscuous mode"),
    v("ENABLE_PCAP_ANY_DIRECTION", Kind::YesNo, "N", Built, "see also packets this host sends"),
    v("MAX_SNIFF_BYTES", number(1, 32768), "1500", Built, "bytes to capture of each IP packet"),
    v(
        "EXIT_AT_INTF_DOWN",
        Kind::YesNo,
        "Y",
        Built,
        "end when the interface goes away; with N it is opened again when it is back",
    ),
    v(
        "PCAP_DISPATCH_COUNT",
        ANY_NUMBER,
        "100",
        NotNeeded { why: WAITS, silent: &["0", "100"] },
        "packets in one polling round",
    ),
    v(
        "PCAP_LOOP_SLEEP",
        number(1, LARGE),
        "100000",
        NotNeeded { why: WAITS, silent: &["100000"] },
        "pause between polling rounds in microseconds",
    ),
    v("ENABLE_UDP_SERVER", Kind::YesNo, "N", Built, "a UDP socket instead of capturing"),
    v("UDPSERV_PORT", PORT, "62201", Built, "port of the UDP server"),
    v(
        "UDPSERV_SELECT_TIMEOUT",
        number(1, LARGE),
        "500000",
        NotNeeded { why: WAITS, silent: &["500000"] },
        "wait of the UDP server in microseconds",
    ),
    v("ENABLE_TCP_SERVER", Kind::YesNo, "N", Built, "take packets over TCP connections as well"),
    v("TCPSERV_PORT", PORT, "62201", Built, "port of the TCP server"),
    v("ENABLE_NFQ_CAPTURE", Kind::YesNo, "N", nfq(NO), "capture through NFQUEUE"),
    v("NFQ_INTERFACE", Kind::Text, "", nfq(&[]), "interface for NFQUEUE"),
    v("NFQ_PORT", PORT, "62201", nfq(&["62201"]), "UDP port for NFQUEUE"),
    v("NFQ_TABLE", Kind::Text, "mangle", nfq(&["mangle"]), "table for NFQUEUE"),
    v("NFQ_CHAIN", Kind::Text, "FWKNOP_NFQ", nfq(&["FWKNOP_NFQ"]), "chain for NFQUEUE"),
    v("NFQ_QUEUE_NUMBER", number(0, 65535), "1", nfq(&["1"]), "queue number for NFQUEUE"),
    v("NFQ_LOOP_SLEEP", ANY_NUMBER, "500000", nfq(&["500000"]), "pause of NFQUEUE rounds in microseconds"),
    // What is accepted
    v("ENABLE_SPA_PACKET_AGING", Kind::YesNo, "Y", Built, "refuse packets whose time stamp is too far off"),
    v(
        "MAX_SPA_PACKET_AGE",
        number(1, 100_000),
        "120",
        Built,
        "how far off a time stamp may be, past or future, in seconds",
    ),
    v(
        "ENABLE_DIGEST_PERSISTENCE",
        Kind::YesNo,
        "Y",
        NoEffect { why: REPLAY, silent: YES },
        "remember packets, so that none counts twice",
    ),
    v("ENABLE_SPA_OVER_HTTP", Kind::YesNo, "N", Built, "accept packets inside HTTP requests"),
    v("ALLOW_ANY_USER_AGENT", Kind::YesNo, "N", Built, "HTTP: take any User-Agent, not only Fwknop"),
    v("ENABLE_X_FORWARDED_FOR", Kind::YesNo, "N", Built, "HTTP: the address to let in stands in that header"),
    v("ENABLE_NAT_DNS", Kind::YesNo, "Y", Built, "look up names in NAT requests; with N they are refused"),
    v(
        "RULES_CHECK_THRESHOLD",
        number(0, 131_071),
        "20",
        NotNeeded { why: EXPIRE, silent: &["20"] },
        "rounds between checks of the rules",
    ),
    v("CMD_EXEC_TIMEOUT", ANY_NUMBER, "30", Built, "how long a command may take, in seconds; 0 is the default"),
    // Files
    v("FWKNOP_RUN_DIR", Kind::Path, "/run/fwknop", Built, "where state is kept; absolute"),
    v(
        "FWKNOP_PID_FILE",
        Kind::Path,
        "$FWKNOP_RUN_DIR/fwknopd.pid",
        Built,
        "holds the process id; locked while the daemon runs",
    ),
    v(
        "DIGEST_FILE",
        Kind::Path,
        "$FWKNOP_RUN_DIR/digest.cache",
        Built,
        "digest cache of the original, which is taken over",
    ),
    v(
        "DIGEST_DB_FILE",
        Kind::Path,
        "",
        NoEffect { why: "use DIGEST_FILE; gdbm and ndbm files are not read", silent: &[] },
        "digest database of gdbm and ndbm builds",
    ),
    v("ACCESS_FILE", Kind::Path, "/etc/fwknop/access.conf", Built, "who may ask for what"),
    v("ACCESS_FOLDER", Kind::Path, "", Built, "a folder of access files, instead of ACCESS_FILE"),
    v(
        "FWKNOP_CONF_DIR",
        Kind::Path,
        "/etc/fwknop",
        NoEffect { why: "it has none in the original either", silent: &["/etc/fwknop"] },
        "unused",
    ),
    v("CONFIG_FILE", Kind::Path, "", NoEffect { why: OPTION_ONLY, silent: &[] }, "set by --config-file"),
    v("OVERRIDE_CONFIG", Kind::Path, "", NoEffect { why: OPTION_ONLY, silent: &[] }, "set by --override-config"),
    v(
        "FAULT_INJECTION_TAG",
        Kind::Text,
        "",
        NoEffect { why: OPTION_ONLY, silent: &[] },
        "for test builds of the original",
    ),
    v("GPG_HOME_DIR", Kind::Path, "/root/.gnupg", Built, "keyring of stanzas that name none"),
    v("GPG_EXE", Kind::Path, "", Built, "gpg program that hands over the keys at start"),
    v(
        "GPG_ENGINE",
        Kind::Choice(&["sequoia", "gpgme"]),
        "sequoia",
        Built,
        "what decrypts and verifies OpenPGP: this process, or gpg itself (ours)",
    ),
    v(
        "GPG_SECRET_KEYS",
        Kind::Choice(&["memory", "agent"]),
        "memory",
        Built,
        "where the secret keys of a GnuPG home are: taken over at start, or left with gpg-agent (ours)",
    ),
    v(
        "GPG_BUDGET",
        number(1, 400),
        "50",
        Built,
        "what OpenPGP messages without a valid HMAC may cost, in percent of one processor (ours)",
    ),
    v("SUDO_EXE", Kind::Path, "/usr/bin/sudo", Built, "sudo program, for ENABLE_CMD_SUDO_EXEC"),
    // Firewall
    v(
        "FIREWALL",
        Kind::Choice(&firewall::NAMES),
        "",
        Built,
        "which firewall opens the ports; without it the one that FIREWALL_EXE belongs to, or that is installed (ours)",
    ),
    v(
        "FIREWALL_EXE",
        Kind::Path,
        "",
        Built,
        "the firewall program: nft, iptables, iptables-legacy, firewall-cmd, ipfw, pfctl",
    ),
    v("NFT_INPUT_ACCESS", Kind::NftChain, "", Built, "the chain that gets our rule: family, table, chain (ours)"),
    v("NFT_FORWARD_ACCESS", Kind::NftChain, "", Built, "the same for forwarded packets (ours)"),
    v("NFT_OUTPUT_ACCESS", Kind::NftChain, "", Built, "the same for replies, with ENABLE_IPT_OUTPUT (ours)"),
    v("FLUSH_AT_INIT", Kind::YesNo, "N", Built, "close at start what an earlier daemon left open (ours)"),
    v("FLUSH_AT_EXIT", Kind::YesNo, "Y", Built, "close everything at exit (ours)"),
    v("FLUSH_IPT_AT_INIT", Kind::YesNo, "", Built, "as FLUSH_AT_INIT"),
    v("FLUSH_IPT_AT_EXIT", Kind::YesNo, "", Built, "as FLUSH_AT_EXIT"),
    v("ENABLE_DESTINATION_RULE", Kind::YesNo, "N", Built, "open only for the address the packet was sent to"),
    v("ENABLE_RULE_PREPEND", Kind::YesNo, "N", Built, "iptables: put new rules first"),
    v("ENABLE_IPT_FORWARDING", Kind::YesNo, "N", Built, "let packets ask for forwarding to inner hosts"),
    v("ENABLE_IPT_LOCAL_NAT", Kind::YesNo, "N", Built, "let packets ask for other ports of this host"),
    v("ENABLE_IPT_SNAT", Kind::YesNo, "N", Built, "rewrite the source of what is forwarded"),
    v("SNAT_TRANSLATE_IP", Kind::Text, "", Built, "to this address; without it to the one of this host (masquerade)"),
    v("ENABLE_IPT_OUTPUT", Kind::YesNo, "N", Built, "open the way back for replies"),
    v("ENABLE_IPT_COMMENT_CHECK", Kind::YesNo, "Y", Built, "iptables: refuse to start without the comment match"),
    tables_chain("IPT_INPUT_ACCESS", INPUT),
    tables_chain("IPT_OUTPUT_ACCESS", OUTPUT),
    tables_chain("IPT_FORWARD_ACCESS", FORWARD),
    tables_chain("IPT_DNAT_ACCESS", DNAT),
    tables_chain("IPT_SNAT_ACCESS", SNAT_CHAIN),
    tables_chain("IPT_MASQUERADE_ACCESS", MASQUERADE),
    firewd("FLUSH_FIREWD_AT_INIT", "", "firewalld: as FLUSH_AT_INIT"),
    firewd("FLUSH_FIREWD_AT_EXIT", "", "firewalld: as FLUSH_AT_EXIT"),
    firewd("ENABLE_FIREWD_FORWARDING", "N", "firewalld: as ENABLE_IPT_FORWARDING, and goes before it"),
    firewd("ENABLE_FIREWD_LOCAL_NAT", "N", "firewalld: as ENABLE_IPT_LOCAL_NAT, and goes before it"),
    firewd("ENABLE_FIREWD_SNAT", "N", "firewalld: as ENABLE_IPT_SNAT, and goes before it"),
    firewd("ENABLE_FIREWD_OUTPUT", "N", "firewalld: as ENABLE_IPT_OUTPUT, and goes before it"),
    firewd("ENABLE_FIREWD_COMMENT_CHECK", "Y", "firewalld: refuse to start without the comment match"),
    firewd_chain("FIREWD_INPUT_ACCESS", INPUT),
    firewd_chain("FIREWD_OUTPUT_ACCESS", OUTPUT),
    firewd_chain("FIREWD_FORWARD_ACCESS", FORWARD),
    firewd_chain("FIREWD_DNAT_ACCESS", DNAT),
    firewd_chain("FIREWD_SNAT_ACCESS", SNAT_CHAIN),
    firewd_chain("FIREWD_MASQUERADE_ACCESS", MASQUERADE),
    // Other firewalls
    v("FLUSH_IPFW_AT_INIT", Kind::YesNo, "", Built, "ipfw: as FLUSH_AT_INIT"),
    v("FLUSH_IPFW_AT_EXIT", Kind::YesNo, "", Built, "ipfw: as FLUSH_AT_EXIT"),
    v("IPFW_START_RULE_NUM", number(1, 65_534), "10000", Built, "ipfw: number of our first rule"),
    v("IPFW_MAX_RULES", number(1, 65_535), "1000", Built, "ipfw: how many numbers from there on are ours"),
    v("IPFW_ACTIVE_SET_NUM", number(0, 30), "1", Built, "ipfw: set of the rules in force"),
    v("IPFW_EXPIRE_SET_NUM", number(0, 30), "2", Built, "ipfw: set of rules that ended while in use; 0: none"),
    v(
        "IPFW_EXPIRE_PURGE_INTERVAL",
        number(1, 131_071),
        "30",
        Built,
        "ipfw: seconds between looks at that set, as long as there is anything in it",
    ),
    v("IPFW_ADD_CHECK_STATE", Kind::YesNo, "N", Built, "ipfw: our first rule is check-state"),
    v("PF_ANCHOR_NAME", Kind::Text, "fwknop", Built, "pf: our anchor"),
    v(
        "PF_SYNTAX",
        Kind::Choice(&["openbsd", "freebsd"]),
        "",
        Built,
        "pf: its language; without it that of this system (ours)",
    ),
    v(
        "PF_EXPIRE_INTERVAL",
        number(1, 131_071),
        "30",
        NotNeeded { why: "rules are closed when their time has come", silent: &["30"] },
        "pf: seconds between checks of the rules",
    ),
    // Announced in the sample file, never built
    v("ENABLE_EXTERNAL_CMDS", Kind::YesNo, "N", NoEffect { why: EXTERNAL, silent: NO }, "unused"),
    v("EXTERNAL_CMD_OPEN", Kind::Text, "", NoEffect { why: EXTERNAL, silent: &["__NONE__"] }, "unused"),
    v("EXTERNAL_CMD_CLOSE", Kind::Text, "", NoEffect { why: EXTERNAL, silent: &["__NONE__"] }, "unused"),
    v("EXTERNAL_CMD_ALARM", ANY_NUMBER, "", NoEffect { why: EXTERNAL, silent: &["30"] }, "unused"),
    v("ENABLE_EXT_CMD_PREFIX", Kind::YesNo, "N", NoEffect { why: EXTERNAL, silent: NO }, "unused"),
    v("EXT_CMD_PREFIX", Kind::Text, "", NoEffect { why: EXTERNAL, silent: &["FWKNOP_"] }, "unused"),
];

const fn tables_chain(name: &'static str, default: &'static str) -> Variable {
    v(name, Kind::Chain, default, Built, "iptables: target, table, from chain, jump position, to chain, rule position")
}

const fn firewd(name: &'static str, default: &'static str, doc: &'static str) -> Variable {
    v(name, Kind::YesNo, default, Built, doc)
}

const fn firewd_chain(name: &'static str, default: &'static str) -> Variable {
    v(name, Kind::Chain, default, Built, "the same for firewalld")
}

const INPUT: &str = "ACCEPT, filter, INPUT, 1, FWKNOP_INPUT, 1";
const OUTPUT: &str = "ACCEPT, filter, OUTPUT, 1, FWKNOP_OUTPUT, 1";
const FORWARD: &str = "ACCEPT, filter, FORWARD, 1, FWKNOP_FORWARD, 1";
const DNAT: &str = "DNAT, nat, PREROUTING, 1, FWKNOP_PREROUTING, 1";
const SNAT_CHAIN: &str = "SNAT, nat, POSTROUTING, 1, FWKNOP_POSTROUTING, 1";
const MASQUERADE: &str = "MASQUERADE, nat, POSTROUTING, 1, FWKNOP_MASQUERADE, 1";

const FACILITIES: &[&str] = &[
    "LOG_DAEMON",
    "LOG_LOCAL0",
    "LOG_LOCAL1",
    "LOG_LOCAL2",
    "LOG_LOCAL3",
    "LOG_LOCAL4",
    "LOG_LOCAL5",
    "LOG_LOCAL6",
    "LOG_LOCAL7",
];

const REPLAY: &str = "packets are always remembered: without that, anybody could send them again";
const EXPIRE: &str = "what was opened is closed on time, without a look at all rules";
