//! What in the rules of iptables would keep grants from working, or makes them pointless.

use super::save::{Save, Table};
use super::text::Version;
use crate::firewall::Concern;
use crate::firewall::concern::{MAX_TOLD, diverted, stateless};
use crate::net::{Proto, Service, parse_port};

/// Of IPv4: a machine may do without the other.
pub fn concerns(save: &Save, input: &str, opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
    let filter = save.table(Version::V4, "filter");
    let mut concerns = Vec::new();
    if !filter.drops(input) {
        let what = format!("the chain {input} accepts by default, so there is nothing to open");
        concerns.push(Concern::minor(what, format!("drop what nobody accepts: iptables -P {input} DROP")));
    }
    if !filter.all_rules().any(|(_, words)| passes_established(words)) {
        let advice = format!("iptables -I {input} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        concerns.push(stateless(input, advice));
    }
    let nat = save.table(Version::V4, "nat");
    let led_away = nat.all_rules().filter_map(|(chain, words)| Some((translated(words)?, chain)));
    concerns.extend(
        led_away.filter(|(service, _)| opens(*service)).take(MAX_TOLD).map(|(service, chain)| diverted(service, chain)),
    );
    concerns
}

fn passes_established(words: &[String]) -> bool {
    let value = |option: &str| after(words, option);
    let state = ["--ctstate", "--state"].into_iter().find_map(value);
    state.is_some_and(|state| state.contains("ESTABLISHED")) && value("-j") == Some("ACCEPT")
}

/// The one port whose packets a rule translates.
fn translated(words: &[String]) -> Option<Service> {
    let value = |option: &str| after(words, option);
    if value("-j") != Some("DNAT") || value("-d").is_some_and(|address| address.starts_with("127.")) {
        return None;
    }
    let proto = match value("-p")? {
        "tcp" | "6" => Proto::Tcp,
        "udp" | "17" => Proto::Udp,
        _ => return None,
    };
    Some(Service { proto, port: parse_port(value("--dport")?)? })
}

fn after<'a>(words: &'a [String], option: &str) -> Option<&'a str> {
    words.windows(2).find(|two| two[0] == option).map(|two| &*two[1])
}

impl Table {
    /// By its policy, or by a last rule without a condition.
    fn drops(&self, chain: &str) -> bool {
        let refuses = |words: &[String]| words[0] == "-j" && ["DROP", "REJECT"].contains(&&*words[1]);
        self.policy(chain) == Some("DROP")
            || self.rules(chain).last().is_some_and(|words| words.len() >= 2 && refuses(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Output;

    fn told(text: &str) -> Vec<String> {
        let save = Save::read([((Version::V4, String::new()), &Output::Text(text.to_owned()))].into_iter());
        concerns(&save, "INPUT", &|service| service.port.get() == 8080).into_iter().map(|found| found.what).collect()
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
    fn published_ports_are_told() {
        let nat = |rule: &str| told(&format!("{GOOD}*nat\n:DOCKER - [0:0]\n-A DOCKER {rule}\nCOMMIT\n"));
        let docker = "! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80";
        assert!(nat(docker)[0].contains("tcp/8080"));
        assert!(nat(&docker.replace("8080", "8081")).is_empty());
        assert!(nat(&format!("-d 127.0.0.1/32 {docker}")).is_empty());
        assert!(nat(&docker.replace("DNAT", "RETURN")).is_empty());
    }
}
