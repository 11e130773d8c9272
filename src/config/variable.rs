//! The declared variables: what each one takes, whether it does something here, and what it is for.

use super::complaint::{Complaints, Fault, Place};
use super::source::Syntax;
use super::value::{Checked, Kind};

/// One variable of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// As the original writes it.
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written; empty when there is none.
    pub default: &'static str,
    pub state: State,
    /// One line for people.
    pub doc: &'static str,
}

/// What becomes of a variable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Built,
    /// Accepted and ignored, with a warning that gives the reason. The values listed draw none: they ask for nothing.
    NoEffect {
        why: &'static str,
        silent: &'static [&'static str],
    },
    /// As before, but nobody misses the effect: it tuned something that does not exist here.
    NotNeeded {
        why: &'static str,
        silent: &'static [&'static str],
    },
    /// There is no such effect here. The values listed ask for nothing and are fine, all others are refused.
    NotSupported {
        instead: &'static str,
        fine: &'static [&'static str],
    },
}

impl Variable {
    /// Says what is to be said when the variable is set to `value`.
    pub fn judge_effect(&self, value: &Checked, name: &str, place: &Place, complaints: &mut Complaints) {
        let is_one_of = |values: &[&str]| {
            values.iter().any(|text| {
                let known = self.kind.check_text(text, Syntax::Fwknop);
                known.is_ok_and(|known| known == *value)
            })
        };
        match self.state {
            State::Built => {}
            State::NoEffect { silent, .. } | State::NotNeeded { silent, .. } if is_one_of(silent) => {}
            State::NoEffect { why, .. } => complaints.warn(place, format!("{name} has no effect"), why),
            State::NotNeeded { why, .. } => complaints.note(place, format!("{name} has no effect"), why),
            State::NotSupported { fine, .. } if is_one_of(fine) => {}
            State::NotSupported { instead, .. } => {
                complaints.error(place, format!("{name} is not supported"), format!("remove it, and {instead}"));
            }
        }
    }
}

/// The variables of one kind of file.
#[derive(Debug)]
pub struct Table {
    /// What messages call the file.
    pub file: &'static str,
    /// Where all of them are described.
    pub document: &'static str,
    pub variables: &'static [Variable],
    /// Whether `$NAME` at the start of a value is replaced.
    pub expands: bool,
    /// Another kind of file whose names are sometimes written here by mistake.
    pub sibling: Option<&'static Table>,
}

impl Table {
    /// The variable somebody wrote as `name`. Names are upper case in the line syntax and lower case in TOML.
    pub fn find(&self, name: &str, syntax: Syntax) -> Result<&'static Variable, Fault> {
        let upper = name.to_ascii_uppercase();
        let right_case = name == syntax.spell(&upper);
        if let Some(variable) = self.named(&upper) {
            if right_case {
                return Ok(variable);
            }
            let advice = format!("write it as {}", syntax.spell(variable.name));
            return Err(Fault::new(format!("{name} is written in the wrong case"), advice));
        }
        let what = format!("{} is not a setting of {}", shown(name), self.file);
        if let Some(sibling) = self.sibling.filter(|sibling| sibling.named(&upper).is_some()) {
            return Err(Fault::new(what, format!("it belongs into {}", sibling.file)));
        }
        let advice = match nearest(&upper, self.variables.iter().map(|variable| variable.name)) {
            Some(near) => format!("did you mean {}?", syntax.spell(near)),
            None => format!("correct or remove it; {} lists all settings", self.document),
        };
        Err(Fault::new(what, advice))
    }

    fn named(&self, name: &str) -> Option<&'static Variable> {
        self.variables.iter().find(|variable| variable.name == name)
    }
}

/// A name as a message shows it: short, without control characters.
fn shown(name: &str) -> String {
    let mut short: String = name.chars().take(40).flat_map(char::escape_debug).collect();
    if name.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

/// The candidate that is most likely meant: a third of the letters may differ, one more when it begins the same way.
pub fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let limit = (name.len() / 3).clamp(1, 4);
    candidates
        .map(|candidate| {
            let same = name.bytes().zip(candidate.bytes()).take_while(|(a, b)| a == b).count();
            (distance(name, candidate).saturating_sub(usize::from(same * 2 >= name.len())), candidate)
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's: how many bytes must be changed, added or removed. Long names are far from everything.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 5 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["OPEN_PORTS", "RESTRICT_PORTS", "KEY", "HMAC_KEY"];
        assert_eq!(nearest("OPEN_PORT", names.into_iter()), Some("OPEN_PORTS"));
        assert_eq!(nearest("RESTRICTED_PORTS", names.into_iter()), Some("RESTRICT_PORTS"));
        let interfaces = ["PCAP_INTF", "NFQ_INTERFACE"];
        assert_eq!(nearest("PCAP_INTERFACE", interfaces.into_iter()), Some("PCAP_INTF"));
        assert_eq!(nearest("COLOUR", names.into_iter()), None);
        assert_eq!(distance("KITTEN", "SITTING"), 3);
    }
}
