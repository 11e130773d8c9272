//! What would keep grants from working, as it can be told before the start. Pure: judges what was read.

use super::settings::Hook;
use crate::net::Service;

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The daemon would not start, or nothing would be opened.
    pub grave: bool,
    pub what: String,
    pub advice: String,
}

impl Concern {
    pub fn grave(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grave: true, what: what.into(), advice: advice.into() }
    }

    pub fn minor(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { grave: false, what: what.into(), advice: advice.into() }
    }

    /// From a text that says what is wrong and, behind a semicolon or colon, what to do.
    pub fn told(grave: bool, text: &str, otherwise: &str) -> Self {
        let halves = ["; ", ": run as "].into_iter().find_map(|mark| text.split_once(mark));
        let (what, advice) = halves.unwrap_or((text, otherwise));
        let advice = if text.contains(": run as ") { format!("run as {advice}") } else { advice.to_owned() };
        Self { grave, what: what.to_owned(), advice }
    }
}

/// No rule lets pass what is established. Of incoming connections those that a grant let in end with it; where answers pass, nothing
/// works at all.
pub fn stateless(hook: Hook, chain: &str, rule: String) -> Concern {
    let (consequence, otherwise) = match hook {
        Hook::Input => {
            ("they freeze when their grant ends, and answers to this machine's own connections are dropped", "")
        }
        Hook::Forward => ("answers of the hosts behind are dropped, so what is forwarded leads nowhere", ""),
        Hook::Output => {
            ("answers to whom a grant let in are dropped, so it leads nowhere", ", or set ENABLE_IPT_OUTPUT Y")
        }
    };
    let what = format!("no rule of '{chain}' accepts packets of established connections: {consequence}");
    Concern::minor(what, rule + otherwise)
}

/// A service that grants would open, but whose packets are led elsewhere before the input chain sees them: the ports that
/// Docker publishes are open to everybody, whatever is dropped there.
pub fn diverted(service: Service, chain: &str) -> Concern {
    let what = format!(
        "packets for {service} are translated in '{chain}' before the input chain sees them: who is not dropped in the \
         forward chain gets in without a knock"
    );
    let advice = match chain.contains("DOCKER") {
        true => {
            "publish it on 127.0.0.1 only, drop it in the chain DOCKER-USER, or let the stanza FORCE_NAT to its host"
        }
        false => "delete that rule, or drop such packets in the forward chain",
    };
    Concern::minor(what, advice)
}

/// How many diverted services are told: a rule for each of many ports is one mistake.
pub const MAX_TOLD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_taken_apart() {
        let told = Concern::told(true, "no chain drops (a: b); give it a policy; or two", "look");
        assert_eq!((&*told.what, &*told.advice), ("no chain drops (a: b)", "give it a policy; or two"));
        let told = Concern::told(true, "the kernel does not let us: run as root or so", "look");
        assert_eq!((&*told.what, &*told.advice), ("the kernel does not let us", "run as root or so"));
        assert_eq!(Concern::told(false, "it broke", "look").advice, "look");
    }
}
