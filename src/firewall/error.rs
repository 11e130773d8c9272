//! What the firewall does to us: what is wrong, then what to do.

use std::io;
use std::net::IpAddr;

use super::settings::InputAccess;

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
        "no chain of the nftables ruleset drops incoming packets by itself, so there is nothing to open ({seen}); \
         give your input chain 'policy drop', or name the chain that decides: NFT_INPUT_ACCESS inet filter input;"
    )]
    NoInputChain {
        /// What is there instead.
        seen: String,
    },

    #[error(
        "several chains of the nftables ruleset drop incoming packets: {}; say which one gets our jump: \
         NFT_INPUT_ACCESS {};", list(.candidates), .candidates[0]
    )]
    SeveralInputChains {
        /// At least two.
        candidates: Vec<InputAccess>,
    },

    #[error("the nftables ruleset has no chain '{access}' (NFT_INPUT_ACCESS); {}", instead(.candidates))]
    NoSuchChain { access: InputAccess, candidates: Vec<InputAccess> },

    #[error(
        "the chain '{access}' (NFT_INPUT_ACCESS) is at the hook '{hook}', where no packet to this machine's services \
         passes; {}", instead(.candidates)
    )]
    NotAnInputChain { access: InputAccess, hook: String, candidates: Vec<InputAccess> },

    #[error(
        "the chain '{access}' (NFT_INPUT_ACCESS) is of type {kind} at the hook 'input', where an accept decides \
         nothing; {}", instead(.candidates)
    )]
    NotAFilterChain { access: InputAccess, kind: String, candidates: Vec<InputAccess> },

    #[error(
        "no input chain jumps to the chain '{access}' (NFT_INPUT_ACCESS), so what is opened there has no effect; let \
         your input chain jump to it, or name another: {}", instead(.candidates)
    )]
    Unreached { access: InputAccess, candidates: Vec<InputAccess> },

    #[error(
        "the chain '{access}' (NFT_INPUT_ACCESS) is also entered from {}, so what is opened there would be open for \
         more than this machine's own services; name a chain that only input packets enter: {}", .from, instead(.candidates)
    )]
    EnteredElsewhere {
        access: InputAccess,
        /// `'forward' (type filter, hook forward)`
        from: String,
        candidates: Vec<InputAccess>,
    },

    #[error("the table of '{access}' already has a {what} of another kind; rename or delete it")]
    NameTaken {
        access: InputAccess,
        /// `set fwknop4`
        what: String,
    },

    #[error(
        "cannot open for {address} in '{access}': that table sees only {}; have your input chain in a table of \
         the family inet", version(.access)
    )]
    WrongFamily { access: InputAccess, address: IpAddr },

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
}

fn list(candidates: &[InputAccess]) -> String {
    let quoted: Vec<String> = candidates.iter().map(|access| format!("'{access}'")).collect();
    quoted.join(", ")
}

fn instead(candidates: &[InputAccess]) -> String {
    match candidates {
        [] => "no chain drops incoming packets by itself: load your ruleset first".to_owned(),
        some => format!("these drop incoming packets: {}", list(some)),
    }
}

fn version(access: &InputAccess) -> &'static str {
    match access.family {
        super::Family::Inet => "IP", // takes both, so this is never said
        super::Family::Ip => "IPv4",
        super::Family::Ip6 => "IPv6",
    }
}
