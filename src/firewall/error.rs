//! What the firewall does to us: what is wrong, then what to do.

use std::io;
use std::net::IpAddr;

use super::settings::{ChainPlace, Hook};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot find the program {program}: {advice}")]
    Missing { program: String, advice: String },

    #[error("cannot start {program}")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },

    #[error("{program} did not end within {seconds} seconds and was stopped: '{step}'")]
    Stuck { program: &'static str, step: String, seconds: u64 },

    /// `said` is what the program wrote to standard error, shortened.
    #[error("{program} refused '{step}': {said}")]
    Refused { program: &'static str, step: String, said: String },

    /// `why` is its cause: what to do stands at the end.
    #[error(
        "cannot reach the system bus at {place}, on which firewalld is ({why}); start dbus, or name another firewall with FIREWALL"
    )]
    NoBus { place: String, why: Box<zbus::Error> },

    #[error(
        "firewalld is not running; start it with 'systemctl start firewalld', or name another firewall with FIREWALL"
    )]
    NotRunning,

    #[error("this firewalld has no direct rules any more; write FIREWALL nftables")]
    NoDirect,

    #[error(
        "the system bus keeps us from firewalld ({said}); run as root, or let the user of fwknopd through in /etc/dbus-1/system.d: \
         <allow send_destination=\"org.fedoraproject.FirewallD1\"/>"
    )]
    BusDenied { said: String },

    #[error(
        "firewalld takes no changes from this user ({said}); run as root, or permit org.fedoraproject.FirewallD1.direct to the \
         user of fwknopd in PolicyKit"
    )]
    NotAuthorized { said: String },

    #[error(
        "firewalld is locked down, and we are not on its list; add us with 'firewall-cmd --permanent \
         --add-lockdown-whitelist-command=/usr/sbin/fwknopd*', and load that with 'firewall-cmd --reload'"
    )]
    LockedDown,

    #[error(
        "the system bus broke off at '{step}' ({why}); see what it and firewalld say: journalctl -u dbus -u firewalld"
    )]
    Hung { step: String, why: Box<zbus::Error> },

    #[error(
        "firewalld found no iptables for its {protocol} rules, to which ours would belong; install the package iptables and \
         restart firewalld, or write FIREWALL nftables"
    )]
    NoIptables { protocol: &'static str },

    #[error("cannot speak to the kernel's nf_tables")]
    Socket(#[source] io::Error),

    #[error("the kernel does not let us change the firewall: run as root or with CAP_NET_ADMIN")]
    NotPermitted,

    /// The kernel refused a transaction because of this step.
    #[error("the kernel refused '{step}'")]
    Kernel {
        step: String,
        #[source]
        source: io::Error,
    },

    #[error("the kernel did not answer to '{step}'")]
    NoAnswer { step: String },

    #[error("cannot read what {program} printed: it is not the JSON of nft 0.9.3 or later")]
    Unreadable {
        program: &'static str,
        #[source]
        source: serde_json::Error,
    },

    #[error(
        "no chain of the nftables ruleset drops {} by itself, so there is nothing to open ({seen}); \
         {}, or name the chain that decides: {} inet filter {hook};",
        .hook.packets(), drop_first(*.hook, .kept_by), .hook.setting()
    )]
    NoChain {
        hook: Hook,
        /// What is there instead.
        seen: String,
        /// Another firewall of this machine has the chains.
        kept_by: Option<&'static str>,
    },

    #[error(
        "several chains of the nftables ruleset drop {}: {}; say which one gets our jump: {} {};",
        .hook.packets(), list(.candidates), .hook.setting(), .candidates[0]
    )]
    SeveralChains {
        hook: Hook,
        /// At least two.
        candidates: Vec<ChainPlace>,
    },

    #[error("the nftables ruleset has no chain '{access}' ({}); {}", .hook.setting(), instead(*.hook, .candidates))]
    NoSuchChain { hook: Hook, access: ChainPlace, candidates: Vec<ChainPlace> },

    #[error(
        "the chain '{access}' ({}) is at the hook '{found}', where no packet for {} passes; {}",
        .hook.setting(), .hook.services(), instead(*.hook, .candidates)
    )]
    OtherHook { hook: Hook, access: ChainPlace, found: String, candidates: Vec<ChainPlace> },

    #[error(
        "the chain '{access}' ({}) is of type {kind} at the hook '{hook}', where an accept decides nothing; {}",
        .hook.setting(), instead(*.hook, .candidates)
    )]
    NotAFilterChain { hook: Hook, access: ChainPlace, kind: String, candidates: Vec<ChainPlace> },

    #[error(
        "no {hook} chain jumps to the chain '{access}' ({}), so what is opened there has no effect; let your {hook} \
         chain jump to it, or name another: {}", .hook.setting(), instead(*.hook, .candidates)
    )]
    Unreached { hook: Hook, access: ChainPlace, candidates: Vec<ChainPlace> },

    #[error(
        "the chain '{access}' ({}) is also entered from {from}, so what is opened there would be open for more than {}; \
         name a chain that only {} enter: {}",
        .hook.setting(), .hook.services(), .hook.packets(), instead(*.hook, .candidates)
    )]
    EnteredElsewhere {
        hook: Hook,
        access: ChainPlace,
        /// `'forward' (type filter, hook forward)`
        from: String,
        candidates: Vec<ChainPlace>,
    },

    #[error("the table of '{access}' already has a {what} of another kind; rename or delete it")]
    NameTaken {
        access: ChainPlace,
        /// `set fwknop4`
        what: String,
    },

    #[error(
        "cannot open for {address} in '{access}': that table sees only {}; have your chains in a table of \
         the family inet", version(.access)
    )]
    WrongFamily { access: ChainPlace, address: IpAddr },

    #[error(
        "PF has no anchor '{anchor}', so what is opened there would have no effect; write 'anchor \"{anchor}\"' to pf.conf, \
         above the rule that blocks, load it with 'pfctl -f /etc/pf.conf', or name another with PF_ANCHOR_NAME"
    )]
    NoAnchor { anchor: String },

    #[error("all {count} rule numbers of ours are taken; raise IPFW_MAX_RULES")]
    NoNumber { count: u32 },

    #[error("this firewall has no rule for that combination of address, port and destination")]
    NoSlot,

    #[error("the grant's time was over before the firewall was asked")]
    Elapsed,

    /// The worst case: part of a grant is open and could not be closed again.
    #[error("a failed grant could not be undone completely ({undo}); look with 'fwknopd --fw-list'")]
    NotUndone {
        undo: String,
        #[source]
        cause: Box<Error>,
    },
}

impl Error {
    /// The firewall is not as we left it: somebody changed it since we looked.
    pub(super) fn is_stale(&self) -> bool {
        // Not there, or there already.
        matches!(self, Error::Kernel { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists))
    }

    /// firewalld does nothing for us, or not soon enough.
    pub(super) fn keeps_from_firewalld(&self) -> bool {
        let away = matches!(self, Error::NoBus { .. } | Error::NotRunning | Error::NoDirect | Error::Hung { .. });
        let closed = matches!(self, Error::BusDenied { .. } | Error::NotAuthorized { .. } | Error::LockedDown);
        away || closed || self.is_unknown()
    }

    /// It may have been done nevertheless, or be done later.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Error::Stuck { .. } | Error::Hung { .. })
    }

    /// The ruleset is no longer the one in which something was looked up.
    pub(super) fn outdated(step: String) -> Self {
        Error::Kernel { step, source: io::Error::from_raw_os_error(RESTART) }
    }

    /// Nothing was changed, because the ruleset no longer had the number that it was to have, or what was looked up is gone.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self, Error::Kernel { source, .. } if source.raw_os_error() == Some(RESTART)) || self.is_stale()
    }
}

/// `ERESTART` of the kernel, which programs see from nf_tables only.
const RESTART: i32 = 85;

fn drop_first(hook: Hook, kept_by: &Option<&str>) -> String {
    match kept_by {
        Some(other) => format!("write FIREWALL {other}, whose rules these are"),
        None => format!("give your {hook} chain 'policy drop'"),
    }
}

fn list(candidates: &[ChainPlace]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|access| format!("'{access}'")).collect();
    quoted.join(", ")
}

fn instead(hook: Hook, candidates: &[ChainPlace]) -> String {
    match candidates {
        [] => format!("no chain drops {} by itself: load your ruleset first", hook.packets()),
        some => format!("these drop {}: {}", hook.packets(), list(some)),
    }
}

fn version(access: &ChainPlace) -> &'static str {
    match access.family {
        super::Family::Inet => "IP", // takes both, so this is never said
        super::Family::Ip => "IPv4",
        super::Family::Ip6 => "IPv6",
    }
}
