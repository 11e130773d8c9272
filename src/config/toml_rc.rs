//! What it takes to change an rc file in TOML: where its tables stand, and how a line of one is written.

use std::ops::Range;
use std::path::Path;

use zeroize::Zeroizing;

use super::complaint::Complaints;
use super::fwknop::Dialect;
use super::raw::{Entries, RawSections, Value};
use super::source::{Source, Syntax};
use super::value::{Kind, digits, yes_no};
use crate::secret::Secret;

/// A table at the top of the file, by its lines, counted from 0.
#[derive(Debug, PartialEq, Eq)]
pub struct TomlTable {
    pub name: String,
    pub header: usize,
    /// Whether it has a header, and each of its settings lines of its own: not `name = { … }`, and no tables in it.
    pub is_plain: bool,
    /// Names as they are written.
    pub settings: Vec<(String, Range<usize>)>,
}

/// The tables in the order of the file, which `path` names in complaints.
pub fn toml_tables(path: &Path, text: &str) -> Result<Vec<TomlTable>, Complaints> {
    let source = Source::from_text(path, text);
    let mut complaints = Complaints::default();
    let raw = source.parse(Dialect::Rc, &mut complaints);
    let (raw, _): (RawSections, _) = complaints.judge(raw)?;
    let line_of = |at: usize| text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let table = |(name, entries): (toml::Spanned<String>, Entries)| {
        let header = line_of(name.span().start);
        let has_header = text.lines().nth(header).is_some_and(|line| line.trim_start().starts_with('['));
        let has_tables = entries.0.iter().any(|entry| matches!(entry.value.get_ref(), Value::Unusable(_)));
        let settings = entries.0.into_iter().map(|entry| {
            let (first, end) = (entry.name.span().start, entry.value.span().end);
            (entry.name.into_inner(), line_of(first)..line_of(end.saturating_sub(1).max(first)) + 1)
        });
        TomlTable { header, is_plain: has_header && !has_tables, settings: settings.collect(), name: name.into_inner() }
    };
    Ok(raw.sections.into_iter().map(table).collect())
}

/// A line that says this; `name` in lower case. It is read back to make sure of it. `None`: there is no such value.
pub fn toml_line(name: &str, kind: Kind, value: &Secret<String>) -> Option<Secret<String>> {
    let text = value.expose();
    let meant = kind.check_text(text, Syntax::Fwknop).ok()?;
    let written = match kind {
        Kind::YesNo => Zeroizing::new(yes_no(text)?.to_string()),
        Kind::Number { .. } => Zeroizing::new(digits(text)?.to_string()),
        _ => toml_text(text),
    };
    let line = Secret::new(format!("{name} = {}\n", written.as_str()));
    let source = Source::from_text(Path::new("rc.toml"), line.expose());
    let read: Entries = source.parse(Dialect::Rc, &mut Complaints::default())?;
    let [entry] = &read.0[..] else { return None };
    let says_so = entry.name.get_ref() == name && kind.check(entry.value.get_ref(), Syntax::Toml).ok()? == meant;
    says_so.then_some(line)
}

/// A text in quotes, without control characters but the tab.
pub fn toml_text(text: &str) -> Zeroizing<String> {
    // Reserved once: growing would leave copies of keys behind.
    let mut quoted = Zeroizing::new(String::with_capacity(2 * text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        if c == '"' || c == '\\' {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tables_of(text: &str) -> Result<Vec<TomlTable>, Complaints> {
        toml_tables(Path::new("rc.toml"), text)
    }

    #[test]
    fn tables_are_known_by_their_lines() {
        let text = "early = 1\n[default] # all\nverbose = 'Y'\n\n[ \"gate.example\" ]\n# ports\naccess = [\n  'tcp/22',\n] # end\n\
                    key = \"\"\"\nx\n[office]\n\"\"\"\n[a.b]\nx = 1\n[c]\nd.e = 1\n";
        let tables = tables_of(text).unwrap();
        let shown: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.header, table.is_plain)).collect();
        assert_eq!(shown, [("default", 1, true), ("gate.example", 4, true), ("a", 13, false), ("c", 15, false)]);
        assert_eq!(tables[1].settings, [("access".to_owned(), 6..9), ("key".to_owned(), 9..13)]);
        assert!(!tables_of("office = { key = 'k' }\n").unwrap()[0].is_plain);
        assert!(tables_of("[office\n").is_err() && tables_of("[a]\n[a]\n").is_err());
    }

    #[test]
    fn lines_are_written_by_their_kind() {
        let line =
            |kind, value: &str| toml_line("x", kind, &Secret::new(value.into())).map(|line| line.expose().clone());
        assert_eq!(line(Kind::YesNo, "Y").unwrap(), "x = true\n");
        assert_eq!(line(Kind::Number { min: 0, max: 99 }, "030").unwrap(), "x = 30\n");
        assert_eq!(line(Kind::Number { min: 0, max: 99 }, "100"), None);
        assert_eq!(line(Kind::Ports, "tcp/22,udp/53").unwrap(), "x = \"tcp/22,udp/53\"\n");
        assert_eq!(line(Kind::Text, r#"say "so" \ or"#).unwrap(), "x = \"say \\\"so\\\" \\\\ or\"\n");
        assert_eq!(line(Kind::Text, "a\nb"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(value in "[^\\p{Cc}]{0,40}|[\"'\\\\ \t#=]{1,9}") {
            // Whatever can be said at all.
            let is_sayable = !value.trim().is_empty();
            let line = toml_line("key", Kind::Secret, &Secret::new(value.clone()));
            prop_assert_eq!(line.is_some(), is_sayable, "{:?}", value);
        }
    }
}
