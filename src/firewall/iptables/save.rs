//! What `iptables-save` and `iptables -S` print, as far as we need it.

use std::collections::BTreeMap;

use super::text::Version;
use crate::firewall::Output;

/// What both programs have printed.
#[derive(Debug, Default)]
pub struct Save(BTreeMap<(Version, String), Table>);

#[derive(Debug, Default)]
pub struct Table {
    chains: Vec<String>,
    /// Of base chains: `DROP`.
    policies: BTreeMap<String, String>,
    /// In the order of evaluation within their chain.
    rules: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    chain: String,
    words: Vec<String>,
    /// How many packets it was for, where that is told.
    packets: u64,
}

impl Save {
    /// Each output with the protocol and table it is of; the table may be named in it.
    pub fn read<'a>(outputs: impl Iterator<Item = ((Version, String), &'a Output)>) -> Self {
        let mut save = Self::default();
        for ((version, mut name), output) in outputs {
            let Output::Text(text) = output else { continue };
            for line in text.lines() {
                if let Some(table) = line.strip_prefix('*') {
                    name = table.trim().to_owned();
                }
                save.0.entry((version, name.clone())).or_default().read_line(line);
            }
        }
        save
    }

    pub fn table(&self, version: Version, name: &str) -> &Table {
        const EMPTY: &Table = &Table { chains: Vec::new(), policies: BTreeMap::new(), rules: Vec::new() };
        self.0.get(&(version, name.to_owned())).unwrap_or(EMPTY)
    }

    pub fn tables(&self) -> impl Iterator<Item = (Version, &str, &Table)> {
        self.0.iter().map(|((version, name), table)| (*version, &**name, table))
    }
}

impl Table {
    fn read_line(&mut self, line: &str) {
        let (packets, line) = counted(line);
        if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ').map(str::to_owned);
            let Some(name) = words.next() else { return };
            if let Some(policy) = words.next().filter(|policy| policy != "-") {
                self.policies.insert(name.clone(), policy);
            }
            self.chains.push(name);
        } else if let Some(chain) = line.strip_prefix("-N ") {
            self.chains.push(chain.trim().to_owned());
        } else if let Some((chain, policy)) = line.strip_prefix("-P ").and_then(|rest| rest.trim().split_once(' ')) {
            self.policies.insert(chain.to_owned(), policy.to_owned());
            self.chains.push(chain.to_owned());
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let mut words = words(rule).into_iter();
            if let Some(chain) = words.next() {
                self.rules.push(Listed { chain, words: words.collect(), packets });
            }
        }
    }

    pub fn has_chain(&self, chain: &str) -> bool {
        self.chains.iter().any(|known| known == chain)
    }

    pub fn rules<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a [String]> {
        self.in_chain(chain).map(|rule| &*rule.words)
    }

    fn in_chain<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a Listed> {
        self.rules.iter().filter(move |rule| rule.chain == chain)
    }

    pub fn all_rules(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.rules.iter().map(|rule| (&*rule.chain, &*rule.words))
    }

    /// The rules of a chain, and those of all chains it leads to.
    pub fn entered_from<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a [String]> {
        let mut entered = vec![chain];
        let mut next = 0;
        while let Some(chain) = entered.get(next).copied() {
            for target in self.rules(chain).filter_map(target) {
                if self.has_rules(target) && !entered.contains(&target) {
                    entered.push(target);
                }
            }
            next += 1;
        }
        entered.into_iter().flat_map(|chain| self.rules(chain))
    }

    fn has_rules(&self, chain: &str) -> bool {
        self.rules(chain).next().is_some()
    }

    pub fn policy(&self, chain: &str) -> Option<&str> {
        self.policies.get(chain).map(String::as_str)
    }

    pub fn count(&self, chain: &str) -> usize {
        self.rules(chain).count()
    }

    pub fn jumps(&self, from: &str, to: &str) -> bool {
        self.jump_count(from, to) > 0
    }

    /// How many rules of `from` jump there, without a condition.
    pub fn jump_count(&self, from: &str, to: &str) -> usize {
        self.jumps_to(from, to).count()
    }

    fn jumps_to<'a>(&'a self, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a Listed> {
        self.in_chain(from)
            .filter(move |rule| matches!(&*rule.words, [option, target] if option == "-j" && target == to))
    }

    /// How many packets these jumps have counted. `None`: there is none.
    pub fn passed(&self, from: &str, to: &str) -> Option<u64> {
        self.jumps_to(from, to).map(|rule| rule.packets).reduce(u64::saturating_add)
    }

    /// How many rules of any chain lead there.
    pub fn mentions(&self, to: &str) -> usize {
        self.rules.iter().filter(|rule| target(&rule.words) == Some(to)).count()
    }
}

/// `[12:720] -A INPUT …` counts packets and bytes.
fn counted(line: &str) -> (u64, &str) {
    let parts = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let Some((counts, rule)) = parts else { return (0, line) };
    (counts.split(':').next().and_then(|packets| packets.parse().ok()).unwrap_or(0), rule)
}

/// Where a rule leads.
fn target(words: &[String]) -> Option<&str> {
    words.windows(2).find(|two| ["-j", "-g"].contains(&&*two[0])).map(|two| &*two[1])
}

/// Words may stand in quotes, with `\` before what would end them.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().extend(letters.next()),
            ' ' if !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_packets_of_a_jump_are_counted_where_they_are_told() {
        let passed = |text: &str| {
            let save = Save::read([((Version::V4, String::new()), &Output::Text(text.to_owned()))].into_iter());
            save.table(Version::V4, "filter").passed("INPUT", "FWKNOP_INPUT")
        };
        let rules = "*filter\n:INPUT DROP [9:9]\n[7:420] -A INPUT -j FWKNOP_INPUT\n[3:3] -A INPUT -i lo -j FWKNOP_INPUT\n\
                     [5:5] -A INPUT -j OTHER\n";
        assert_eq!(passed(rules), Some(7));
        assert_eq!(passed(&format!("{rules}[2:120] -A INPUT -j FWKNOP_INPUT\n")), Some(9));
        assert_eq!(passed("*filter\n-A INPUT -j FWKNOP_INPUT\n"), Some(0));
        assert_eq!(passed("*nat\n[7:420] -A INPUT -j FWKNOP_INPUT\n*filter\n"), None);
    }

    #[test]
    fn quotes_hold_a_word_together() {
        let read = words(r#"INPUT -m comment --comment "a \"b\" c" -j X """#);
        assert_eq!(read, ["INPUT", "-m", "comment", "--comment", "a \"b\" c", "-j", "X", ""]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in r#"[*:\[\]a-zA-Z0-9 "\\\n-]{0,120}"#) {
            let _ = Save::read([((Version::V4, String::new()), &Output::Text(text))].into_iter());
        }
    }
}
