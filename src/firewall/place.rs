//! Where the jump goes: the administrator's chain that drops what nobody accepts.
//!
//! An accept in a table of our own would not do: a packet must be accepted by every base chain of its hook, so a drop
//! in the administrator's table overrules it (`spec/firewall.md` 6).

use super::error::Error;
use super::ruleset::{Chain, Ruleset};
use super::settings::InputAccess;

/// The one chain that drops incoming packets.
pub fn find(ruleset: &Ruleset) -> Result<InputAccess, Error> {
    let mut candidates = candidates(ruleset);
    candidates.retain(|access| !kept_by_iptables(access));
    match candidates.len() {
        0 => Err(Error::NoInputChain { seen: describe(ruleset) }),
        1 => Ok(candidates.remove(0)),
        _ => Err(Error::SeveralInputChains { candidates }),
    }
}

/// Checks a chain the administrator named. It need not drop, and need not be a base chain: an input chain may jump to it.
pub fn check(ruleset: &Ruleset, access: &InputAccess) -> Result<(), Error> {
    let family = access.family.to_string();
    let chain = ruleset.chain(&family, access.table.as_str(), access.chain.as_str());
    let candidates = || candidates(ruleset);
    match chain.map(|chain| chain.hook.as_deref()) {
        None => Err(Error::NoSuchChain { access: access.clone(), candidates: candidates() }),
        Some(None | Some("input")) => Ok(()),
        Some(Some(hook)) => {
            Err(Error::NotAnInputChain { access: access.clone(), hook: hook.to_owned(), candidates: candidates() })
        }
    }
}

/// Why what is opened there may stay closed, or open more than meant.
pub fn warnings(ruleset: &Ruleset, access: &InputAccess) -> Vec<String> {
    let mut warnings = Vec::new();
    for other in candidates(ruleset) {
        let meet = other.family == access.family || [other.family, access.family].contains(&super::Family::Inet);
        if other != *access && meet {
            warnings.push(format!(
                "the chain '{other}' drops incoming packets too: what is opened in '{access}' stays closed there unless \
                 it accepts it as well"
            ));
        }
    }
    if kept_by_iptables(access) {
        warnings.push(format!(
            "the chain '{access}' is kept by iptables, which cannot write our rule down: what iptables-save prints \
             while fwknopd runs accepts everything when it is restored; never save it, or use a chain of your own"
        ));
    }
    warnings
}

/// Base chains at the input hook that drop by policy or by their last rule.
fn candidates(ruleset: &Ruleset) -> Vec<InputAccess> {
    let drops = |chain: &&Chain| {
        chain.policy.as_deref() == Some("drop")
            || ruleset.rules_in(chain).next_back().is_some_and(|rule| rule.refuses_all())
    };
    input_chains(ruleset).filter(drops).filter_map(access).collect()
}

fn input_chains(ruleset: &Ruleset) -> impl Iterator<Item = &Chain> {
    ruleset
        .chains
        .iter()
        .filter(|chain| chain.hook.as_deref() == Some("input") && chain.kind.as_deref() == Some("filter"))
}

/// `None` for other families (bridge, netdev) and for names nobody could write into a configuration.
fn access(chain: &Chain) -> Option<InputAccess> {
    Some(InputAccess {
        family: chain.family.parse().ok()?,
        table: chain.table.parse().ok()?,
        chain: chain.name.parse().ok()?,
    })
}

/// The tables of iptables' nf_tables variant. Its listings show our accept without its condition, so that saving and
/// restoring them would open everything: never chosen without being told to.
fn kept_by_iptables(access: &InputAccess) -> bool {
    access.family != super::Family::Inet && access.table.as_str() == "filter" && access.chain.as_str() == "INPUT"
}

/// What there is instead of a candidate.
fn describe(ruleset: &Ruleset) -> String {
    let chains: Vec<String> = input_chains(ruleset)
        .filter_map(access)
        .map(|access| {
            let why = if kept_by_iptables(&access) { "is kept by iptables" } else { "accepts by default" };
            format!("'{access}' {why}")
        })
        .collect();
    if chains.is_empty() { "there is no input chain at all".to_owned() } else { chains.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(objects: &str) -> Ruleset {
        Ruleset::read(&format!(r#"{{"nftables":[{objects}]}}"#)).unwrap()
    }

    fn chain(family: &str, table: &str, name: &str, rest: &str) -> String {
        format!(r#"{{"chain":{{"family":"{family}","table":"{table}","name":"{name}","handle":1{rest}}}}}"#)
    }

    const INPUT_DROP: &str = r#","type":"filter","hook":"input","prio":0,"policy":"drop""#;
    const INPUT_ACCEPT: &str = r#","type":"filter","hook":"input","prio":0,"policy":"accept""#;
    const FORWARD_DROP: &str = r#","type":"filter","hook":"forward","prio":0,"policy":"drop""#;

    #[test]
    fn the_only_dropping_input_chain_is_found() {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("inet", "filter", "forward", FORWARD_DROP),
            chain("inet", "f2b-table", "f2b-chain", INPUT_ACCEPT),
            chain("bridge", "filter", "input", INPUT_DROP),
            chain("ip", "filter", "INPUT", INPUT_DROP),
        ];
        let ruleset = ruleset(&all.join(","));
        assert_eq!(find(&ruleset).unwrap().to_string(), "inet filter input");
    }

    #[test]
    fn a_closing_reject_counts_as_dropping() {
        let rule = |expr: &str| {
            let place = r#""family":"inet","table":"firewalld","chain":"filter_INPUT""#;
            format!(r#"{{"rule":{{{place},"handle":2,"expr":{expr}}}}}"#)
        };
        let base = chain("inet", "firewalld", "filter_INPUT", INPUT_ACCEPT);
        let (accept, reject) = (rule(r#"[{"accept":null}]"#), rule(r#"[{"reject":null}]"#));
        assert!(find(&ruleset(&format!("{base},{accept},{reject}"))).is_ok());
        assert!(find(&ruleset(&format!("{base},{reject},{accept}"))).is_err());
    }

    #[test]
    fn none_and_several_say_what_to_write() {
        let none = find(&ruleset(&chain("inet", "filter", "input", INPUT_ACCEPT))).unwrap_err().to_string();
        assert!(none.contains("'inet filter input' accepts by default"), "{none}");
        assert!(none.contains("NFT_INPUT_ACCESS inet filter input;"), "{none}");

        let iptables = find(&ruleset(&chain("ip", "filter", "INPUT", INPUT_DROP))).unwrap_err().to_string();
        assert!(iptables.contains("'ip filter INPUT' is kept by iptables"), "{iptables}");

        let two = [chain("inet", "a", "input", INPUT_DROP), chain("ip6", "b", "in", INPUT_DROP)];
        let several = find(&ruleset(&two.join(","))).unwrap_err().to_string();
        assert!(several.contains("'inet a input', 'ip6 b in'"), "{several}");
        assert!(several.contains("NFT_INPUT_ACCESS inet a input;"), "{several}");
    }

    #[test]
    fn a_named_chain_must_exist_and_see_input() {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("inet", "filter", "forward", FORWARD_DROP),
            chain("inet", "filter", "services", ""),
        ];
        let ruleset = ruleset(&all.join(","));
        let check = |access: &str| check(&ruleset, &access.parse().unwrap());
        assert!(check("inet filter input").is_ok());
        assert!(check("inet filter services").is_ok());
        let forward = check("inet filter forward").unwrap_err().to_string();
        assert!(forward.contains("hook 'forward'") && forward.contains("'inet filter input'"), "{forward}");
        let missing = check("ip filter input").unwrap_err().to_string();
        assert!(missing.contains("no chain 'ip filter input'"), "{missing}");
    }

    #[test]
    fn chains_that_may_overrule_us_are_named() {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("ip", "filter", "INPUT", INPUT_DROP),
            chain("ip6", "filter", "INPUT", INPUT_DROP),
        ];
        let ruleset = ruleset(&all.join(","));
        assert_eq!(warnings(&ruleset, &"inet filter input".parse().unwrap()).len(), 2);
        let iptables = warnings(&ruleset, &"ip filter INPUT".parse().unwrap());
        assert_eq!(iptables.len(), 2, "{iptables:?}");
        assert!(iptables[1].contains("iptables-save"));
    }
}
