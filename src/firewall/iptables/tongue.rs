//! By which program the words of iptables reach the kernel.

use super::restore;
use super::text::Version;
use crate::firewall::{Command, Line, Pass, Step};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// `iptables-restore`: many changes are one transaction.
    Restore,
    /// firewalld's direct rules: one after the other, by its hand.
    Firewalld,
}

impl Tongue {
    /// One change; `jump` is what it relies on.
    pub fn line(self, version: Version, table: &str, jump: Option<String>, text: String, bounded: bool) -> Step {
        match self {
            Tongue::Restore => {
                Step::Line(Line { program: version.restore(), table: table.to_owned(), jump, text, bounded })
            }
            Tongue::Firewalld => pass(version, table, &text),
        }
    }

    /// A look at whether the jump is there. `None`: each line takes that look by itself.
    pub fn look(self, version: Version, table: &str, jump: &str) -> Option<Step> {
        (self == Tongue::Firewalld).then(|| pass(version, table, &format!("-C {jump}")))
    }

    /// Asks which variant of iptables it is. `None`: it can be either, and what follows from that is firewalld's business.
    pub fn ask_variant(self) -> Option<Step> {
        (self == Tongue::Restore).then(|| Step::Command(Command::new(Version::V4.program(), ["--version"])))
    }

    /// Asks for all rules, and tells whose answer will be of which protocol and table; an empty name: it says so itself.
    pub fn survey(self, versions: &[Version], tables: &[String]) -> Vec<(Step, Version, String)> {
        let each = versions.iter().flat_map(|version| match self {
            Tongue::Restore => vec![(Step::Command(Command::new(version.save(), ["-c"])), *version, String::new())],
            Tongue::Firewalld => {
                tables.iter().map(|table| (pass(*version, table, "-S"), *version, table.clone())).collect()
            }
        });
        each.collect()
    }

    /// As its own tool shows a table.
    pub fn list(self, version: Version, table: &str) -> Step {
        match self {
            Tongue::Restore => {
                let args = ["-w", "-t", table, "-v", "-n", "-L", "--line-numbers"];
                Step::Command(Command::new(version.program(), args))
            }
            Tongue::Firewalld => pass(version, table, "-v -n -L --line-numbers"),
        }
    }

    /// Whether comments can be made: not in chains that packets pass, but in one of its own that nothing leads to.
    pub fn try_comments(self, version: Version) -> Vec<Step> {
        let make = [format!("-N {TRIAL}"), format!("-A {TRIAL} -m comment --comment __TMPCOMMENT__ -j ACCEPT")];
        let remove = [format!("-F {TRIAL}"), format!("-X {TRIAL}")];
        match self {
            // Two transactions: of what it makes and removes in one, the kernel would never hear.
            Tongue::Restore => [make, remove]
                .iter()
                .map(|lines| {
                    let script = format!("*filter\n{}\nCOMMIT\n", lines.join("\n"));
                    Step::Command(Command::new(version.restore(), restore::ARGS).with_stdin(script))
                })
                .collect(),
            Tongue::Firewalld => make.iter().chain(&remove).map(|text| pass(version, "filter", text)).collect(),
        }
    }

    /// In the names of its settings.
    pub fn word(self) -> &'static str {
        match self {
            Tongue::Restore => "IPT",
            Tongue::Firewalld => "FIREWD",
        }
    }
}

fn pass(version: Version, table: &str, text: &str) -> Step {
    let protocol = if version == Version::V4 { "ipv4" } else { "ipv6" };
    let args = ["-t", table].into_iter().chain(text.split(' ')).map(str::to_owned).collect();
    Step::Pass(Pass { protocol, args })
}

/// The same for iptables itself. It makes no difference to firewalld, which remembers nothing of what it passes on. `None`: it
/// changes no rule.
pub fn directly(pass: &Pass) -> Option<Line> {
    let version = if pass.protocol == "ipv4" { Version::V4 } else { Version::V6 };
    let [_, table, verb, ..] = &*pass.args else { return None };
    ["-A", "-I", "-D", "-C"].contains(&&**verb).then(|| Line {
        program: version.restore(),
        table: table.clone(),
        jump: None,
        text: pass.args[2..].join(" "),
        bounded: true,
    })
}

/// There for a moment at start.
const TRIAL: &str = "FWKNOP_TRIAL";
