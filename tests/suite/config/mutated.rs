//! Whatever the text: no panic, and a refusal always names an error.

use fwknop::config::{Severity, parse_sections};
use proptest::prelude::*;
use std::path::Path;

use super::{access, read, server, testdata};

/// One change to a text.
#[derive(Clone, Debug)]
enum Change {
    Insert(prop::sample::Index, String),
    Remove(prop::sample::Index, usize),
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("[[stanza]]\n".to_owned()),
        Just("SOURCE ".to_owned()),
        Just("$NAME".to_owned()),
        "[\"'=#;,%\\[\\]{}\0\t\r /.0-9-]{1,4}",
        "\\PC{1,3}",
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), piece).prop_map(|(at, text)| Change::Insert(at, text)),
        (any::<prop::sample::Index>(), 1..40usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..60usize)
            .prop_map(|(from, to, len)| Change::Copy(from, to, len)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for change in changes {
        let size = chars.len() + 1;
        match change {
            Change::Insert(at, piece) => {
                let at = at.index(size);
                chars.splice(at..at, piece.chars());
            }
            Change::Remove(at, len) => {
                let at = at.index(size);
                let end = (at + len).min(chars.len());
                chars.drain(at..end);
            }
            Change::Copy(from, to, len) => {
                let from = from.index(size);
                let piece = chars[from..(from + len).min(chars.len())].to_vec();
                let to = to.index(size);
                chars.splice(to..to, piece);
            }
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mutated_files_are_read_or_refused(changes in prop::collection::vec(change(), 1..8)) {
        for name in ["fwknopd.conf", "fwknopd.toml"] {
            let text = changed(&read(&testdata("good").join(name)), &changes);
            judge(name, server(name, &text).map(|_| ()))?;
        }
        for name in ["access.conf", "access.toml"] {
            let text = changed(&read(&testdata("good").join(name)), &changes);
            judge(name, access(name, &text).map(|_| ()))?;
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|[\n\t\0=;#\\[\\]\"]){0,200}") {
        for name in ["fwknopd.conf", "fwknopd.toml"] {
            judge(name, server(name, &text).map(|_| ()))?;
        }
        for name in ["access.conf", "access.toml"] {
            judge(name, access(name, &text).map(|_| ()))?;
        }
        for name in ["rc", "rc.toml"] {
            judge(name, parse_sections(Path::new(name), &text).map(|_| ()))?;
        }
    }
}

fn judge(name: &str, result: Result<(), fwknop::config::Complaints>) -> Result<(), TestCaseError> {
    let Err(said) = result else { return Ok(()) };
    prop_assert!(said.has_errors());
    for complaint in said.iter() {
        let text = complaint.to_string();
        prop_assert!(text.starts_with(name), "{}", text);
        let lines = text.lines().count();
        prop_assert!(!complaint.what.is_empty() && (1..=2).contains(&lines), "{}", text);
        prop_assert!(complaint.severity != Severity::Error || !complaint.advice.is_empty(), "{}", text);
    }
    Ok(())
}
