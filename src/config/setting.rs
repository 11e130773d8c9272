//! Settings on their way from text to meaning: as written, and as checked against the table of variables.

use std::collections::{BTreeMap, BTreeSet};

use super::complaint::{Complaints, Fault, Place};
use super::raw::{Entries, Value};
use super::source::{Source, Syntax};
use super::value::{Checked, text_of};
use super::variable::{Table, Variable};
use crate::secret::Secret;

/// One setting as somebody wrote it.
#[derive(Clone, Debug)]
pub struct Setting {
    /// As written: in upper case in the line syntax, in lower case in TOML.
    pub name: String,
    pub value: Value,
    pub place: Place,
    pub syntax: Syntax,
}

impl Setting {
    /// What an option of the command line says, in the line syntax's form.
    pub fn from_option(name: &str, value: &str, option: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: Value::Text(Secret::new(value.to_owned())),
            place: Place::Option(option.to_owned()),
            syntax: Syntax::Fwknop,
        }
    }

    /// The same in the line syntax's form. `None`: it is something that no setting takes.
    pub fn in_lines(self) -> Option<Self> {
        Some(Self {
            name: self.name.to_ascii_uppercase(),
            value: Value::Text(self.value.in_lines()?),
            place: self.place,
            syntax: Syntax::Fwknop,
        })
    }

    /// The entries of a file with their lines.
    pub fn located(entries: Entries, source: &Source) -> Vec<Self> {
        let locate = |entry: super::raw::Entry| Self {
            place: source.place(entry.name.span().start),
            name: entry.name.into_inner(),
            value: entry.value.into_inner(),
            syntax: source.syntax(),
        };
        entries.0.into_iter().map(locate).collect()
    }
}

/// The settings of one file or stanza, each checked by its kind. What was wrong is not in here, but complained about.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    held: BTreeMap<&'static str, Held>,
    /// What could not be used, and has been complained about.
    refused: BTreeSet<&'static str>,
    /// How many were ever added.
    count: usize,
}

#[derive(Clone, Debug)]
struct Held {
    value: Checked,
    place: Place,
    /// Which of two settings was written later.
    order: usize,
}

impl Settings {
    /// Checks `written`, all of one file or stanza, against `table`.
    pub fn read(table: &Table, written: Vec<Setting>, complaints: &mut Complaints) -> Self {
        let mut settings = Self::default();
        settings.add(table, written, complaints);
        settings
    }

    /// Adds what a later file says; it wins over what is there. Within `written` a repeated name is a mistake, and the
    /// later wins as well.
    pub fn add(&mut self, table: &Table, written: Vec<Setting>, complaints: &mut Complaints) {
        let mut seen: Vec<&'static str> = Vec::new();
        for setting in written {
            let Setting { place, syntax, .. } = &setting;
            let variable = match table.find(&setting.name, *syntax) {
                Ok(variable) => variable,
                Err(fault) => {
                    complaints.error(place, fault.what, fault.advice);
                    continue;
                }
            };
            let name = syntax.spell(variable.name);
            if seen.contains(&variable.name) {
                complaints.warn(place, format!("{name} is set twice"), "the later one counts; remove the other");
            }
            seen.push(variable.name);
            match self.check(table, variable, &setting) {
                Ok(value) => {
                    variable.judge_effect(&value, &name, place, complaints);
                    self.count += 1;
                    self.held.insert(variable.name, Held { value, place: place.clone(), order: self.count });
                }
                Err(fault) => {
                    self.refused.insert(variable.name);
                    complaints.error(place, format!("{name}: {}", fault.what), fault.advice);
                }
            }
        }
    }

    fn check(&self, table: &Table, variable: &Variable, setting: &Setting) -> Result<Checked, Fault> {
        let expanded = if table.expands { self.expand(table, setting)? } else { None };
        variable.kind.check(expanded.as_ref().unwrap_or(&setting.value), setting.syntax)
    }

    /// `$NAME` at the start of a value stands for what an earlier line set (`spec/server.md` 4).
    fn expand(&self, table: &Table, setting: &Setting) -> Result<Option<Value>, Fault> {
        let Some(rest) = text_of(&setting.value).and_then(|text| text.strip_prefix('$')) else {
            return Ok(None);
        };
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let variable = table.find(name, setting.syntax)?;
        match self.text(variable.name) {
            Some(value) => Ok(Some(Value::Text(Secret::new(format!("{value}{rest}"))))),
            None => Err(Fault::new(
                format!("${name} is not set before this line"),
                format!("set {name} above, or write the value itself"),
            )),
        }
    }

    /// Whether somebody set it, be it in a way that could not be used.
    pub fn mentions(&self, name: &str) -> bool {
        self.held.contains_key(name) || self.refused.contains(name)
    }

    /// Where it was set. `None`: it was not, or could not be used.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.held.get(name).map(|held| &held.place)
    }

    /// Of two settings of which only one can count: the name that was written later.
    pub fn later<'n>(&self, a: &'n str, b: &'n str) -> Option<&'n str> {
        let order = |name| self.held.get(name).map(|held| held.order);
        match (order(a), order(b)) {
            (None, None) => None,
            (first, second) if first >= second => Some(a),
            _ => Some(b),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Checked> {
        self.held.get(name).map(|held| &held.value)
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Checked::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Checked::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Checked::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self, name: &str) -> Option<&[String]> {
        match self.get(name)? {
            Checked::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn secret(&self, name: &str) -> Option<&Secret<Vec<u8>>> {
        match self.get(name)? {
            Checked::Secret(secret) => Some(secret),
            _ => None,
        }
    }
}
