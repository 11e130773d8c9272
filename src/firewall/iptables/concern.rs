//! What in the rules of iptables would keep grants from working, or makes them pointless.

use super::save::{Save, Table};
use super::text::Version;
use crate::firewall::Concern;
use crate::firewall::concern::{MAX_TOLD, diverted, stateless};
use crate::firewall::settings::Hook;
use crate::net::{Port, Proto, Service, parse_port};

/// Of the protocols by which this machine is reached, and the chains that decide on packets of grants.
pub fn concerns(
    save: &Save,
    versions: &[Version],
    chains: &[(Hook, &str)],
    opens: &dyn Fn(Service) -> bool,
) -> Vec<Concern> {
    versions.iter().flat_map(|version| of_version(save, *version, chains, opens)).collect()
}

fn of_version(save: &Save, version: Version, chains: &[(Hook, &str)], opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
    let (filter, nat, program) = (save.table(version, "filter"), save.table(version, "nat"), version.program());
    let mut concerns = Vec::new();
    for (hook, chain) in chains {
        let drops = drops(filter, chain);
        if *hook == Hook::Input && !drops {
            concerns.push(accepting(version, chain));
        }
        if (*hook == Hook::Input || drops) && !filter.entered_from(chain).any(passes_established) {
            let rule = format!("{program} -I {chain} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
            concerns.push(stateless(*hook, &format!("{program} {chain}"), rule));
        }
    }
    let away = nat.all_rules().filter_map(|(chain, words)| Some((Translated::read(words)?, chain)));
    let open = away.filter(|(led, _)| opens(led.service) && !led.is_shut(filter));
    concerns
        .extend(open.take(MAX_TOLD).map(|(led, chain)| diverted(led.service, &format!("{program} -t nat {chain}"))));
    concerns
}

fn accepting(version: Version, input: &str) -> Concern {
    let program = version.program();
    let (over, first) = match version {
        Version::V4 => ("", ""),
        // Without it no neighbour is found.
        Version::V6 => (" over IPv6", "ip6tables -A INPUT -p ipv6-icmp -j ACCEPT, and "),
    };
    let what = format!("the chain {input} of {program} accepts by default, so there is nothing to open{over}");
    let advice = format!("drop what nobody accepts: {}{program} -P {input} DROP", first.replace("INPUT", input));
    Concern::minor(what, advice)
}

/// Where the rules that masquerade are those of the original: `--to-ports` gives all connections of a grant one source port.
pub fn one_at_a_time() -> Concern {
    let what = "masquerading lets one connection of each grant through at a time: with iptables the rule is that of the \
                original, which gives all of them one source port";
    Concern::minor(
        what,
        "name this host's inner address with SNAT_TRANSLATE_IP or FORCE_SNAT, or take FIREWALL nftables",
    )
}

/// By its policy, or by a last rule without a condition.
pub fn drops(table: &Table, chain: &str) -> bool {
    let refuses = |words: &[String]| words[0] == "-j" && REFUSALS.contains(&&*words[1]);
    table.policy(chain) == Some("DROP")
        || table.rules(chain).last().is_some_and(|words| words.len() >= 2 && refuses(words))
}

fn passes_established(words: &[String]) -> bool {
    let state = ["--ctstate", "--state"].into_iter().find_map(|option| after(words, option));
    state.is_some_and(|state| state.contains("ESTABLISHED")) && after(words, "-j") == Some("ACCEPT")
}

/// What a rule leads away before the input chain sees it.
struct Translated {
    service: Service,
    /// The port there.
    inner: Option<Port>,
}

impl Translated {
    fn read(words: &[String]) -> Option<Self> {
        let value = |option: &str| after(words, option);
        let is_loopback = |address: &str| address.starts_with("127.") || address.starts_with("::1");
        if value("-j") != Some("DNAT") || value("-d").is_some_and(is_loopback) {
            return None;
        }
        let service = Service { proto: proto(value("-p")?)?, port: parse_port(value("--dport")?)? };
        let inner = value("--to-destination").and_then(|to| parse_port(to.rsplit_once(':')?.1));
        Some(Self { service, inner })
    }

    /// Whether the administrator drops it where Docker lets him.
    fn is_shut(&self, filter: &Table) -> bool {
        filter.rules("DOCKER-USER").any(|words| self.is_refused_by(words))
    }

    /// For everybody, or for all but some.
    fn is_refused_by(&self, words: &[String]) -> bool {
        let value = |option: &str| after(words, option);
        let port = |option: &str, mine: Option<Port>| value(option).is_none_or(|text| parse_port(text) == mine);
        let for_some_only =
            words.iter().enumerate().any(|(at, word)| word == "-s" && (at == 0 || words[at - 1] != "!"));
        value("-j").is_some_and(|target| REFUSALS.contains(&target))
            && !for_some_only
            && ["-d", "--ctstate", "--state"].iter().all(|option| value(option).is_none())
            && value("-p").is_none_or(|name| proto(name) == Some(self.service.proto))
            && port("--dport", self.inner)
            && port("--ctorigdstport", Some(self.service.port))
    }
}

fn proto(name: &str) -> Option<Proto> {
    match name {
        "tcp" | "6" => Some(Proto::Tcp),
        "udp" | "17" => Some(Proto::Udp),
        _ => None,
    }
}

fn after<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    words.windows(2).find(|two| two[0] == option).map(|two| &*two[1])
}

const REFUSALS: [&str; 2] = ["DROP", "REJECT"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Output;

    fn told_of(version: Version, text: &str) -> Vec<Concern> {
        let save = Save::read([((version, String::new()), &Output::Text(text.to_owned()))].into_iter());
        let chains = [(Hook::Input, "INPUT"), (Hook::Forward, "FORWARD"), (Hook::Output, "OUTPUT")];
        concerns(&save, &[version], &chains, &|service| service.port.get() == 8080)
    }

    fn told(text: &str) -> Vec<String> {
        told_of(Version::V4, text).into_iter().map(|found| found.what).collect()
    }

    const GOOD: &str = "*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                        -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n";

    #[test]
    fn what_is_wrong_is_told_and_nothing_else() {
        assert!(told(GOOD).is_empty());
        assert!(told(&GOOD.replace("-j ACCEPT", "-j DROP"))[0].contains("established"));
        assert!(told(&GOOD.replace("INPUT DROP", "INPUT ACCEPT"))[0].contains("accepts by default"));
        let closing = GOOD.replace("INPUT DROP", "INPUT ACCEPT").replace("COMMIT", "-A INPUT -j REJECT\nCOMMIT");
        assert!(told(&closing).is_empty());
        assert_eq!(told("").len(), 2);
    }

    #[test]
    fn the_state_rule_has_to_be_on_the_way_of_the_packets() {
        let with = |more: &str| told(&GOOD.replace("COMMIT", &format!("{more}COMMIT")));
        let state = "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
        // As Docker has it, which says nothing about incoming packets.
        let docker = format!("*filter\n:INPUT DROP [0:0]\n-A FORWARD {state}\nCOMMIT\n");
        assert!(matches!(&told(&docker)[..], [only] if only.contains("'iptables INPUT'")));
        let below =
            format!("*filter\n:INPUT DROP [0:0]\n-A INPUT -j ONE\n-A ONE -p tcp -g TWO\n-A TWO {state}\nCOMMIT\n");
        assert!(told(&below).is_empty());
        let around = "-A INPUT -j ONE\n-A ONE -j INPUT\n";
        assert!(with(around).is_empty());
        assert!(with("-P FORWARD DROP\n")[0].contains("hosts behind"));
        assert!(with("-P OUTPUT DROP\n")[0].contains("to whom a grant let in"));
        assert!(with(&format!("-P FORWARD DROP\n-P OUTPUT DROP\n-A FORWARD {state}\n-A OUTPUT {state}\n")).is_empty());
    }

    #[test]
    fn each_protocol_is_told_by_the_name_of_its_program() {
        assert!(told_of(Version::V6, GOOD).is_empty());
        let all = told_of(Version::V6, "");
        assert!(
            all.iter().all(|found| found.what.contains("ip6tables") && found.advice.contains("ip6tables")),
            "{all:?}"
        );
    }

    #[test]
    fn published_ports_are_told_unless_they_are_dropped() {
        let docker = "! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80";
        let with = |nat: &str, user: &str| {
            let filter = GOOD.replace("COMMIT", &format!("{user}COMMIT"));
            told(&format!("{filter}*nat\n:DOCKER - [0:0]\n-A DOCKER {nat}\nCOMMIT\n"))
        };
        assert!(with(docker, "")[0].contains("tcp/8080"));
        assert!(with(&docker.replace("8080", "8081"), "").is_empty());
        assert!(with(&format!("-d 127.0.0.1/32 {docker}"), "").is_empty());
        assert!(with(&docker.replace("DNAT", "RETURN"), "").is_empty());
        for shut in [
            "-j DROP",
            "-i eth0 -j DROP",
            "-i eth0 -p tcp -m tcp --dport 80 -j REJECT",
            "-i eth0 -p tcp -m conntrack --ctorigdstport 8080 -j DROP",
            "! -s 10.0.0.0/8 -i eth0 -j DROP",
        ] {
            assert!(with(docker, &format!("-A DOCKER-USER {shut}\n")).is_empty(), "{shut}");
        }
        for open in [
            "-j RETURN",
            "-s 10.0.0.0/8 -j DROP",
            "-p tcp -m tcp --dport 8080 -j DROP",
            "-p udp -j DROP",
            "-m conntrack --ctstate INVALID -j DROP",
        ] {
            assert_eq!(with(docker, &format!("-A DOCKER-USER {open}\n")).len(), 1, "{open}");
        }
    }
}
