//! Where a jump goes: the administrator's chain that drops what nobody accepts.
//!
//! An accept in a table of our own would not do: a packet must be accepted by every base chain of its hook, so a drop
//! in the administrator's table overrules it (`spec/firewall.md` 6).

use super::error::Error;
use super::ruleset::{Chain, Map, Ruleset};
use super::settings::{ChainPlace, Hook};

/// The one chain that drops what passes this hook.
pub fn find(ruleset: &Ruleset, hook: Hook) -> Result<ChainPlace, Error> {
    let mut candidates = dropping(ruleset, hook);
    candidates.retain(|access| !kept_by_iptables(ruleset, access));
    match candidates.len() {
        0 => Err(Error::NoChain { hook, seen: describe(ruleset, hook), kept_by: keeper(ruleset, hook) }),
        1 => Ok(candidates.remove(0)),
        _ => Err(Error::SeveralChains { hook, candidates }),
    }
}

/// Checks a chain the administrator named. It need not drop, and need not be a base chain: but then chains of this hook,
/// and only they, must lead to it. Nobody's jump would make grants idle; a jump from elsewhere would let pass what nobody
/// asked for, as forwarded packets to every host behind this one.
pub fn check(ruleset: &Ruleset, access: &ChainPlace, hook: Hook) -> Result<(), Error> {
    let candidates = || dropping(ruleset, hook);
    let access = access.clone();
    let Some(chain) = named(ruleset, &access) else {
        return Err(Error::NoSuchChain { hook, access, candidates: candidates() });
    };
    match (chain.hook.as_deref(), chain.kind.clone().unwrap_or_default()) {
        (None, _) => {}
        (Some(_), _) if is_at(chain, hook) => return Ok(()),
        (Some(found), kind) if found == hook.to_string() => {
            return Err(Error::NotAFilterChain { hook, access, kind, candidates: candidates() });
        }
        (Some(found), _) => {
            return Err(Error::OtherHook { hook, access, found: found.to_owned(), candidates: candidates() });
        }
    }
    let entrances = ruleset.entrances(chain);
    if entrances.is_empty() {
        return Err(Error::Unreached { hook, access, candidates: candidates() });
    }
    let elsewhere: Vec<String> = entrances.into_iter().filter(|base| !is_at(base, hook)).map(base_chain).collect();
    if elsewhere.is_empty() {
        return Ok(());
    }
    Err(Error::EnteredElsewhere { hook, access, from: elsewhere.join(", "), candidates: candidates() })
}

/// Whether a terse listing does not tell what [`check`] has to know: it leaves out where verdict maps lead to.
pub fn hidden(terse: &Ruleset, access: &ChainPlace) -> bool {
    let family = access.family.to_string();
    let here = |map: &Map| map.family == family && map.table == access.table.as_str() && map.is_of_verdicts();
    named(terse, access).is_some_and(|chain| chain.hook.is_none()) && terse.maps.iter().any(here)
}

/// Why what is opened there may stay closed, or open more than meant.
pub fn warnings(ruleset: &Ruleset, access: &ChainPlace, hook: Hook) -> Vec<String> {
    let mut warnings = Vec::new();
    for other in dropping(ruleset, hook) {
        let meet = other.family == access.family || [other.family, access.family].contains(&super::Family::Inet);
        if other != *access && meet {
            warnings.push(format!(
                "the chain '{other}' drops {} too: what is opened in '{access}' stays closed there; let that chain accept \
                 it as well, or drop in one chain only",
                hook.packets()
            ));
        }
    }
    if kept_by_iptables(ruleset, access) {
        warnings.push(format!(
            "the chain '{access}' is kept by iptables, which cannot write our rule down: what iptables-save prints \
             while fwknopd runs accepts everything when it is restored; never save it, or use a chain of your own"
        ));
    }
    warnings
}

/// Base chains at this hook that drop by policy or by their last rule.
pub fn dropping(ruleset: &Ruleset, hook: Hook) -> Vec<ChainPlace> {
    let drops = |chain: &&Chain| {
        chain.policy.as_deref() == Some("drop")
            || ruleset.rules_in(chain).next_back().is_some_and(|rule| rule.refuses_all())
    };
    chains_at(ruleset, hook).filter(drops).filter_map(access).collect()
}

fn chains_at(ruleset: &Ruleset, hook: Hook) -> impl Iterator<Item = &Chain> {
    ruleset.chains.iter().filter(move |chain| is_at(chain, hook))
}

fn is_at(chain: &Chain, hook: Hook) -> bool {
    chain.hook.as_deref() == Some(&*hook.to_string()) && chain.kind.as_deref() == Some("filter")
}

fn named<'a>(ruleset: &'a Ruleset, access: &ChainPlace) -> Option<&'a Chain> {
    ruleset.chain(&access.family.to_string(), access.table.as_str(), access.chain.as_str())
}

/// For people: `'forward' (type filter, hook forward)`
fn base_chain(chain: &Chain) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    format!("'{}' (type {}, hook {})", chain.name, word(&chain.kind), word(&chain.hook))
}

/// `None` for other families (bridge, netdev) and for names nobody could write into a configuration.
fn access(chain: &Chain) -> Option<ChainPlace> {
    Some(ChainPlace {
        family: chain.family.parse().ok()?,
        table: chain.table.parse().ok()?,
        chain: chain.name.parse().ok()?,
    })
}

/// A chain in a table of iptables' nf_tables variant, whatever its own name: such a table has base chains of fixed names.
/// Its listings show our accept without its condition, so that saving and restoring them would open everything: never
/// chosen without being told to.
fn kept_by_iptables(ruleset: &Ruleset, access: &ChainPlace) -> bool {
    let family = access.family.to_string();
    let marks = |chain: &Chain| {
        (&*chain.family, &*chain.table) == (&*family, access.table.as_str())
            && chain.hook.is_some()
            && ["INPUT", "FORWARD", "OUTPUT"].contains(&&*chain.name)
    };
    access.family != super::Family::Inet
        && ["filter", "mangle", "security"].contains(&access.table.as_str())
        && ruleset.chains.iter().any(marks)
}

/// Whose rules are in the tables of iptables, if they are there.
fn keeper(ruleset: &Ruleset, hook: Hook) -> Option<&'static str> {
    let kept = chains_at(ruleset, hook).filter_map(access).any(|access| kept_by_iptables(ruleset, &access));
    let of_firewalld = || ruleset.chains.iter().any(|chain| chain.table == "filter" && chain.name == "INPUT_ZONES");
    kept.then(|| if of_firewalld() { "firewalld" } else { "iptables" })
}

/// What there is instead of a candidate.
fn describe(ruleset: &Ruleset, hook: Hook) -> String {
    let chains: Vec<String> = chains_at(ruleset, hook)
        .filter_map(access)
        .map(|access| {
            let why = if kept_by_iptables(ruleset, &access) { "is kept by iptables" } else { "accepts by default" };
            format!("'{access}' {why}")
        })
        .collect();
    if chains.is_empty() { format!("there is no {hook} chain at all") } else { chains.join(", ") }
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
        assert_eq!(find(&ruleset, Hook::Input).unwrap().to_string(), "inet filter input");
    }

    #[test]
    fn a_closing_reject_counts_as_dropping() {
        let rule = |expr: &str| {
            let place = r#""family":"inet","table":"firewalld","chain":"filter_INPUT""#;
            format!(r#"{{"rule":{{{place},"handle":2,"expr":{expr}}}}}"#)
        };
        let base = chain("inet", "firewalld", "filter_INPUT", INPUT_ACCEPT);
        let (accept, reject) = (rule(r#"[{"accept":null}]"#), rule(r#"[{"reject":null}]"#));
        assert!(find(&ruleset(&format!("{base},{accept},{reject}")), Hook::Input).is_ok());
        assert!(find(&ruleset(&format!("{base},{reject},{accept}")), Hook::Input).is_err());
    }

    #[test]
    fn none_and_several_say_what_to_write() {
        let none =
            find(&ruleset(&chain("inet", "filter", "input", INPUT_ACCEPT)), Hook::Input).unwrap_err().to_string();
        assert!(none.contains("'inet filter input' accepts by default"), "{none}");
        assert!(none.contains("NFT_INPUT_ACCESS inet filter input;"), "{none}");

        let iptables =
            find(&ruleset(&chain("ip", "filter", "INPUT", INPUT_DROP)), Hook::Input).unwrap_err().to_string();
        assert!(iptables.contains("'ip filter INPUT' is kept by iptables"), "{iptables}");
        assert!(iptables.contains("write FIREWALL iptables, whose rules these are"), "{iptables}");

        let two = [chain("inet", "a", "input", INPUT_DROP), chain("ip6", "b", "in", INPUT_DROP)];
        let several = find(&ruleset(&two.join(",")), Hook::Input).unwrap_err().to_string();
        assert!(several.contains("'inet a input', 'ip6 b in'"), "{several}");
        assert!(several.contains("NFT_INPUT_ACCESS inet a input;"), "{several}");
    }

    #[test]
    fn a_named_chain_must_exist_and_see_input() {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("inet", "filter", "forward", FORWARD_DROP),
            chain("inet", "filter", "nat", r#","type":"nat","hook":"input","prio":100,"policy":"accept""#),
        ];
        let ruleset = ruleset(&all.join(","));
        let check = |access: &str| check(&ruleset, &access.parse().unwrap(), Hook::Input);
        assert!(check("inet filter input").is_ok());
        let nat = check("inet filter nat").unwrap_err().to_string();
        assert!(nat.contains("type nat at the hook 'input'"), "{nat}");
        let forward = check("inet filter forward").unwrap_err().to_string();
        assert!(forward.contains("hook 'forward'") && forward.contains("'inet filter input'"), "{forward}");
        let missing = check("ip filter input").unwrap_err().to_string();
        assert!(missing.contains("no chain 'ip filter input'"), "{missing}");
    }

    fn rule(chain: &str, expr: &str) -> String {
        format!(
            r#"{{"rule":{{"family":"inet","table":"filter","chain":"{chain}","handle":2,"expr":[{{"match":{{}}}},{expr}]}}}}"#
        )
    }

    const TO_SERVICES: &str = r#"{"jump":{"target":"services"}}"#;

    /// The verdict on `services`, with these rules beside two base chains and a chain between.
    fn check_services(more: &[String]) -> Result<(), Error> {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("inet", "filter", "forward", FORWARD_DROP),
            chain("inet", "filter", "between", ""),
            chain("inet", "filter", "services", ""),
            // Of the same name, elsewhere.
            chain("ip", "filter", "forward", FORWARD_DROP),
            r#"{"rule":{"family":"ip","table":"filter","chain":"forward","handle":2,"expr":[{"jump":{"target":"services"}}]}}"#
                .to_owned(),
        ];
        let ruleset = ruleset(&[&all[..], more].concat().join(","));
        check(&ruleset, &"inet filter services".parse().unwrap(), Hook::Input)
    }

    #[test]
    fn a_named_chain_that_input_jumps_to_is_taken() {
        let vmap = |verdict: &str| format!(r#"{{"vmap":{{"key":{{}},"data":{{"set":[[22,{verdict}]]}}}}}}"#);
        let map = r#"{"map":{"family":"inet","table":"filter","name":"ways","type":"inet_service","handle":9,
            "map":"verdict","elem":[[80,{"accept":null}],[22,{"goto":{"target":"services"}}]]}}"#
            .to_owned();
        let by_map = || rule("input", r#"{"vmap":{"key":{},"data":"@ways"}}"#);
        for ways in [
            vec![rule("input", TO_SERVICES)],
            vec![rule("input", r#"{"goto":{"target":"services"}}"#)],
            vec![rule("input", &vmap(TO_SERVICES))],
            vec![by_map(), map.clone()],
            vec![rule("input", r#"{"jump":{"target":"between"}}"#), rule("between", TO_SERVICES)],
            // A circle, as no kernel takes it: the walk ends nevertheless.
            vec![rule("input", TO_SERVICES), rule("services", TO_SERVICES)],
        ] {
            check_services(&ways).unwrap_or_else(|error| panic!("{ways:?}: {error}"));
        }
    }

    #[test]
    fn a_named_chain_that_nobody_enters_is_refused() {
        for ways in [vec![], vec![rule("between", TO_SERVICES)], vec![rule("services", TO_SERVICES)]] {
            let error = check_services(&ways).unwrap_err();
            assert!(matches!(error, Error::Unreached { .. }), "{ways:?}: {error}");
            assert!(error.to_string().contains("'inet filter input'"), "{error}");
        }
    }

    #[test]
    fn a_named_chain_that_forwarded_packets_enter_too_is_refused() {
        let map = r#"{"map":{"family":"inet","table":"filter","name":"ways","type":"inet_service","handle":9,
            "map":"verdict","elem":[[22,{"jump":{"target":"between"}}]]}}"#
            .to_owned();
        let input = || rule("input", TO_SERVICES);
        for ways in [
            vec![input(), rule("forward", TO_SERVICES)],
            vec![rule("forward", TO_SERVICES)],
            vec![input(), rule("forward", r#"{"goto":{"target":"between"}}"#), rule("between", TO_SERVICES)],
            vec![input(), rule("forward", r#"{"vmap":{"key":{},"data":"@ways"}}"#), map, rule("between", TO_SERVICES)],
        ] {
            let error = check_services(&ways).unwrap_err();
            assert!(matches!(error, Error::EnteredElsewhere { .. }), "{ways:?}: {error}");
            assert!(error.to_string().contains("'forward' (type filter, hook forward)"), "{error}");
        }
    }

    #[test]
    fn every_chain_of_a_table_of_iptables_is_warned_of() {
        let all = [
            chain("ip", "filter", "INPUT", INPUT_DROP),
            chain("ip", "filter", "services", ""),
            chain("ip6", "filter", "input", INPUT_DROP),
            chain("inet", "filter", "INPUT", INPUT_DROP),
        ];
        let ruleset = ruleset(&all.join(","));
        let warned = |access: &str| {
            let warnings = warnings(&ruleset, &access.parse().unwrap(), Hook::Input);
            warnings.iter().any(|warning| warning.contains("iptables-save"))
        };
        assert!(warned("ip filter INPUT"));
        assert!(warned("ip filter services"));
        assert!(!warned("ip6 filter input"), "iptables has no such chain, so that table is the administrator's");
        assert!(!warned("inet filter INPUT"), "iptables has no table of this family");
    }

    #[test]
    fn chains_that_may_overrule_us_are_named() {
        let all = [
            chain("inet", "filter", "input", INPUT_DROP),
            chain("ip", "filter", "INPUT", INPUT_DROP),
            chain("ip6", "filter", "INPUT", INPUT_DROP),
        ];
        let ruleset = ruleset(&all.join(","));
        assert_eq!(warnings(&ruleset, &"inet filter input".parse().unwrap(), Hook::Input).len(), 2);
        let iptables = warnings(&ruleset, &"ip filter INPUT".parse().unwrap(), Hook::Input);
        assert_eq!(iptables.len(), 2, "{iptables:?}");
        assert!(iptables[1].contains("iptables-save"));
    }
}
