//! Where a stanza stands in the text.

use std::ops::Range;
use std::path::Path;

use super::SaveError;
use crate::config::toml_tables;

/// A name may stand for several sections; new lines go into the last.
#[derive(Debug, Default)]
pub struct Section {
    /// In the order of the file.
    pub settings: Vec<Written>,
    /// The lines with its name.
    pub headers: Vec<usize>,
}

#[derive(Debug)]
pub struct Written {
    /// In TOML a value may go over several.
    pub lines: Range<usize>,
    /// In upper case.
    pub name: String,
}

impl Section {
    /// In the original's syntax, lines that it cannot read as well.
    pub fn of_lines(lines: &[&str], stanza: &str) -> Self {
        let mut section = Self::default();
        let mut inside = false;
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                inside = is_header_of(line, stanza);
                section.headers.extend(inside.then_some(at));
            } else if inside {
                let name = line.split([' ', '\t']).next().unwrap_or_default();
                let name = name.strip_suffix(':').unwrap_or(name).to_owned();
                section.settings.push(Written { lines: at..at + 1, name });
            }
        }
        section
    }

    /// TOML can say the same in forms that have no lines of their own: those are left to people.
    pub fn of_toml(path: &Path, text: &str, stanza: &str) -> Result<Self, SaveError> {
        let mut section = Self::default();
        let tables = toml_tables(path, text)?;
        for table in tables.into_iter().filter(|table| table.name.eq_ignore_ascii_case(stanza)) {
            if !table.is_plain {
                return Err(SaveError::Form(table.name));
            }
            section.headers.push(table.header);
            let settings = table.settings.into_iter();
            section.settings.extend(settings.map(|(name, lines)| Written { lines, name: name.to_ascii_uppercase() }));
        }
        Ok(section)
    }

    /// The line after which new ones are put: of the last section the last setting, or the header. `None`: there is none.
    pub fn end(&self) -> Option<usize> {
        let last = self.settings.last().map(|setting| setting.lines.end - 1);
        last.max(self.headers.last().copied())
    }

    pub fn has_setting_at(&self, line: usize) -> bool {
        self.settings.iter().any(|setting| setting.lines.contains(&line))
    }
}

fn is_header_of(line: &str, stanza: &str) -> bool {
    let name = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.trim());
    name.is_some_and(|name| name.eq_ignore_ascii_case(stanza))
}
