//! Where our rules are, and how it is loaded.

use std::fmt;
use std::str::FromStr;

use super::PROGRAM;
use super::text::{Class, is_ours, read, write};
use crate::firewall::listed::{Edit, Held, Listed, Part, Verb};
use crate::firewall::{Command, Error, Kind, Spot, Value};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    name: String,
    syntax: Syntax,
}

/// The language of `pf.conf`, in which the systems differ since OpenBSD 4.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `pass … rdr-to`, `pass … nat-to`
    OpenBsd,
    /// `rdr … ->`, `nat … ->`. So have NetBSD and macOS.
    FreeBsd,
}

impl Default for Syntax {
    fn default() -> Self {
        if cfg!(target_os = "openbsd") { Syntax::OpenBsd } else { Syntax::FreeBsd }
    }
}

impl Default for Anchor {
    fn default() -> Self {
        Self { name: "fwknop".to_owned(), syntax: Syntax::default() }
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One that the main ruleset itself can name: `pfctl -s Anchors` shows no deeper ones.
impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(name: &str) -> Result<Self, AnchorError> {
        let letter_first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !letter_first || !plain || name.len() > 63 {
            return Err(AnchorError);
        }
        Ok(Self { name: name.to_owned(), ..Self::default() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an anchor: at most 63 letters, digits, '_', '-' and '.'")]
pub struct AnchorError;

impl Listed for Anchor {
    /// Translation first, as it is loaded.
    fn list(&self) -> Vec<Command> {
        // FreeBSD shows ports by their names unless `-P` is given; on OpenBSD `-P` is what asks for names.
        let (numbers, kinds): (&[&str], &[&str]) = match self.syntax {
            Syntax::OpenBsd => (&[], &["rules"]),
            Syntax::FreeBsd => (&["-P"], &["nat", "rules"]),
        };
        let list = |kind: &&str| {
            Command::new(PROGRAM, ["-a", &*self.name].iter().chain(numbers).chain(&["-s", *kind]).copied())
        };
        kinds.iter().map(list).collect()
    }

    fn commands(&self, listing: &str, edits: &[&Edit]) -> Result<Vec<Part>, Error> {
        Ok(vec![Part { command: self.load(listing, edits)?, makes: edits.len() }])
    }

    fn describe(&self, verb: Verb, held: &Held) -> String {
        format!("pfctl -a {self} {verb} {}", write(held, self.syntax).unwrap_or_default())
    }
}

impl Anchor {
    pub fn in_syntax(self, syntax: Syntax) -> Self {
        Self { syntax, ..self }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether translation has rules and anchors of its own.
    pub fn splits_translation(&self) -> bool {
        self.syntax == Syntax::FreeBsd
    }

    pub fn can_say(&self, spot: &Spot, to: Option<Value>) -> bool {
        write(&Held { spot: *spot, to, until: 0 }, self.syntax).is_some()
    }

    /// The changed anchor. Rules with our label that cannot be read go: nobody could close them.
    pub fn load(&self, listing: &str, edits: &[&Edit]) -> Result<Command, Error> {
        let mut lines: Vec<(Option<Held>, String)> = listing
            .lines()
            .map(|line| (read(line), line))
            .filter(|(held, line)| !line.trim().is_empty() && (held.is_some() || !is_ours(line)))
            .map(|(held, line)| (held, line.to_owned()))
            .collect();
        for edit in edits {
            match edit.verb {
                Verb::Add => {
                    let line = write(&edit.held, self.syntax).ok_or(Error::NoSlot)?;
                    lines.insert(place(&lines, &edit.held), (Some(edit.held), line));
                }
                Verb::Remove => {
                    let found = lines.iter().position(|(held, _)| *held == Some(edit.held));
                    lines.remove(found.ok_or_else(|| edit.refusal(PROGRAM))?);
                }
            }
        }
        Ok(self.hold(lines.into_iter().map(|(_, line)| line).collect()))
    }

    /// Everything at once, nothing as well: `-F rules` would leave translation.
    pub fn hold(&self, mut lines: Vec<String>) -> Command {
        // `pf.conf(5)`, STATEMENT ORDER: FreeBSD wants what is rewritten before what is let through.
        lines.sort_by_key(|line| Class::of(line));
        Command::new(PROGRAM, ["-a", &self.name, "-f", "-"]).with_stdin(lines.join("\n") + "\n")
    }
}

/// The first that matches decides, so who is sent on in another name comes before who is merely sent on.
fn place(lines: &[(Option<Held>, String)], new: &Held) -> usize {
    let first = lines.iter().position(|(held, _)| held.is_some());
    first.filter(|_| new.spot.kind == Kind::Snat).unwrap_or(lines.len())
}
