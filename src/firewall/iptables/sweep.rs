//! Many rules that are removed at once, from the tables that the nf_tables variant has in the kernel.
//!
//! `iptables-restore` says each rule in full when it removes it, and the kernel takes only so much in one message: without root's
//! rights outside of its namespace, as in a container, some 200 rules. A rule's own number is shorter. So the table is listed,
//! which tells at which place of its chain each rule is; the kernel tells which numbers are at these places; and they are removed if
//! nobody has changed the ruleset since the listing began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::chain::{Chains, Role, TableChain};
use super::save::Save;
use super::text::{self, Version};
use crate::firewall::memory::anonymous;
use crate::firewall::{Command, Entry, Error, Family, Output, Spot, Step, Value};

/// Of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    version: Version,
    table: String,
    /// Where rules of ours are.
    chains: Vec<(Role, TableChain)>,
    /// Each as often as it is to be removed.
    doomed: BTreeMap<Said, usize>,
}

/// A rule, by all that it says in a listing.
type Said = (Spot, Option<Value>, Option<String>);

/// Where in a chain they are, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub chain: String,
    /// How many rules it holds, also those of others.
    pub of: usize,
    pub doomed: Vec<usize>,
}

/// One for each table.
pub fn steps(chains: &Chains, entries: &[Entry]) -> Vec<Step> {
    let mut tables: BTreeMap<(Version, &str), BTreeMap<Said, usize>> = BTreeMap::new();
    for entry in entries {
        let Some(role) = Role::of(entry.spot.kind) else { continue };
        let table = &*chains.of(role).table;
        let doomed = tables.entry((Version::of(&entry.spot, entry.to), table)).or_default();
        *doomed.entry(said(entry)).or_default() += 1;
    }
    let step = |((version, table), doomed): ((Version, &str), BTreeMap<Said, usize>)| {
        let all = Role::ALL.into_iter().map(|role| (role, chains.of(role).clone()));
        let chains = all.filter(|(_, chain)| chain.table == table).collect();
        Step::Sweep(Sweep { version, table: table.to_owned(), chains, doomed })
    };
    tables.into_iter().map(step).collect()
}

impl Sweep {
    pub fn family(&self) -> Family {
        self.version.family()
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn list(&self) -> Command {
        Command::new(self.version.save(), ["-t", &*self.table])
    }

    /// Where the rules are in what [`list`](Self::list) brought. Refused when one of them is not there, as `iptables -D` would.
    pub fn places(&self, listing: &Output) -> Result<Vec<Place>, Error> {
        let save = Save::read([((self.version, self.table.clone()), listing)].into_iter());
        let held = save.table(self.version, &self.table);
        let names: BTreeSet<&str> = self.chains.iter().map(|(_, chain)| &*chain.to).collect();
        let (mut places, mut missing) = (Vec::new(), self.doomed.clone());
        for name in names {
            let mut place = Place { chain: name.to_owned(), of: 0, doomed: Vec::new() };
            for rule in held.rules(name) {
                if self.readings(name, rule).any(|said| is_one_of(&mut missing, &said)) {
                    place.doomed.push(place.of);
                }
                place.of += 1;
            }
            if !place.doomed.is_empty() {
                places.push(place);
            }
        }
        match missing.into_iter().find(|(_, count)| *count > 0) {
            Some(((spot, ..), _)) => Err(self.refusal(format!("there is no such rule for {}", spot.address))),
            None => Ok(places),
        }
    }

    /// A chain may be for several kinds of rules.
    fn readings(&self, chain: &str, rule: &[String]) -> impl Iterator<Item = Said> {
        let roles = self.chains.iter().filter(move |(_, of)| of.to == chain);
        let read = roles.filter_map(move |(role, of)| text::read(*role, self.version, &of.target, rule));
        read.map(|entry| said(&entry))
    }

    fn refusal(&self, said: String) -> Error {
        Error::Refused { program: self.version.program(), step: self.to_string(), said }
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count: usize = self.doomed.values().sum();
        write!(f, "{} -t {}: remove {count} rules", self.version.program(), self.table)
    }
}

fn said(entry: &Entry) -> Said {
    (anonymous(entry.spot), entry.to, entry.comment.clone())
}

fn is_one_of(missing: &mut BTreeMap<Said, usize>, said: &Said) -> bool {
    let count = missing.get_mut(said).filter(|count| **count > 0);
    count.map(|count| *count -= 1).is_some()
}

/// So many go as lines to `iptables-restore` as well.
pub const FEW: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Kind;

    fn entry(kind: Kind, address: &str, end: u64) -> Entry {
        let service = Some("tcp/22".parse().unwrap());
        let spot = Spot { kind, address: address.parse().unwrap(), peer: None, service };
        Entry { spot, to: None, remaining: None, comment: Some(format!("_exp_{end}")) }
    }

    fn sweeps(entries: &[Entry]) -> Vec<Sweep> {
        let sweep = |step| if let Step::Sweep(sweep) = step { Some(sweep) } else { None };
        steps(&Chains::default(), entries).into_iter().filter_map(sweep).collect()
    }

    fn listing(chain: &str, rules: &[(&str, u64)]) -> String {
        let rule = |(address, end): &(&str, u64)| {
            format!("-A {chain} -s {address}/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_{end} -j ACCEPT\n")
        };
        rules.iter().map(rule).collect()
    }

    #[test]
    fn each_protocol_and_table_is_a_step() {
        let to = Some(Value::Address("10.1.2.3".parse().unwrap()));
        let dnat = Entry { to, ..entry(Kind::DnatAddress, "192.0.2.1", 5) };
        let input = entry(Kind::Input, "192.0.2.1", 5);
        let all =
            [dnat, input.clone(), input, entry(Kind::Output, "192.0.2.1", 5), entry(Kind::Input, "2001:db8::1", 5)];
        let shown: Vec<String> = sweeps(&all).iter().map(Sweep::to_string).collect();
        assert_eq!(
            shown,
            [
                "iptables -t filter: remove 3 rules",
                "iptables -t nat: remove 1 rules",
                "ip6tables -t filter: remove 1 rules"
            ]
        );
        assert_eq!(sweeps(&all)[2].list().to_string(), "ip6tables-save -t filter");
    }

    #[test]
    fn a_rule_is_found_by_all_that_it_says_among_those_of_others() {
        let doomed = [entry(Kind::Input, "192.0.2.1", 5), entry(Kind::Forward, "192.0.2.1", 5)];
        let text = format!(
            "*filter\n:FWKNOP_INPUT - [0:0]\n-A INPUT -j FWKNOP_INPUT\n{}-A FWKNOP_INPUT -i lo -j ACCEPT\n{}{}COMMIT\n",
            // Another end is another rule, and one that is there twice goes as often as it is named.
            listing("FWKNOP_INPUT", &[("192.0.2.1", 6), ("192.0.2.1", 5), ("192.0.2.2", 5)]),
            listing("FWKNOP_INPUT", &[("192.0.2.1", 5)]),
            listing("FWKNOP_FORWARD", &[("192.0.2.2", 5), ("192.0.2.1", 5)]),
        );
        let place = |chain: &str, of, doomed: &[usize]| Place { chain: chain.to_owned(), of, doomed: doomed.to_vec() };
        let listed = Output::Text(text);
        let places = |doomed: &[Entry]| sweeps(doomed)[0].places(&listed).unwrap();
        let forward = place("FWKNOP_FORWARD", 2, &[1]);
        assert_eq!(places(&doomed), [forward.clone(), place("FWKNOP_INPUT", 5, &[1])]);
        let twice = [&doomed[..], &doomed[..1]].concat();
        assert_eq!(places(&twice), [forward, place("FWKNOP_INPUT", 5, &[1, 4])]);
    }

    /// In a listing it does not say for whom it is.
    #[test]
    fn a_rule_that_rewrites_sources_is_found() {
        let to = Some(Value::Address("10.9.9.9".parse().unwrap()));
        let mut snat = Entry { to, ..entry(Kind::Snat, "192.0.2.1", 5) };
        snat.spot.peer = Some("10.1.2.3".parse().unwrap());
        let text = "*nat\n-A FWKNOP_POSTROUTING -d 10.1.2.3/32 -p tcp -m tcp --dport 22 -m comment --comment _exp_5 \
                    -j SNAT --to-source 10.9.9.9\n";
        let places = sweeps(&[snat])[0].places(&Output::Text(text.to_owned())).unwrap();
        assert_eq!(places, [Place { chain: "FWKNOP_POSTROUTING".to_owned(), of: 1, doomed: vec![0] }]);
    }

    #[test]
    fn one_that_is_not_there_is_refused() {
        let sweep = &sweeps(&[entry(Kind::Input, "192.0.2.1", 5), entry(Kind::Input, "192.0.2.2", 5)])[0];
        for text in
            [listing("FWKNOP_INPUT", &[("192.0.2.1", 5)]), listing("OTHER", &[("192.0.2.1", 5), ("192.0.2.2", 5)])]
        {
            let error = sweep.places(&Output::Text(format!("*filter\n{text}"))).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
            assert!(error.to_string().contains("remove 2 rules': there is no such rule for 192.0.2."), "{error}");
        }
    }
}
