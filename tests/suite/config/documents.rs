//! The document of all settings is complete and right.

use std::path::Path;

use fwknop::config::{Kind, State, Variable, access_table, server_table};

use super::read;

/// Each variable has a row with its values, its default, its effect and what becomes of it here.
#[test]
fn every_setting_is_in_the_document() {
    let document = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md"));
    let tables = [&server_table::TABLE, &access_table::TABLE];
    let rows = tables.into_iter().flat_map(|table| table.variables).map(row);
    let missing: Vec<String> = rows.filter(|row| !document.lines().any(|line| line == row)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not have these rows:\n{}", missing.join("\n"));
}

fn row(variable: &Variable) -> String {
    let default = match variable.default {
        "" => "–".to_owned(),
        default => format!("`{default}`"),
    };
    let state = match variable.state {
        State::Built => String::new(),
        State::NoEffect { why, .. } | State::NotNeeded { why, .. } => format!("no effect: {why}"),
        State::NotSupported { fine: [], .. } => "not supported".to_owned(),
        State::NotSupported { fine, .. } => {
            let fine: Vec<String> = fine.iter().map(|value| format!("`{value}`")).collect();
            format!("not supported, only {}", fine.join(", "))
        }
    };
    let Variable { name, doc, kind, .. } = variable;
    format!("| `{name}` | {} | {default} | {doc} | {state} |", values(*kind)).replace("  |", " |")
}

fn values(kind: Kind) -> String {
    match kind {
        Kind::YesNo => "`Y`, `N`".to_owned(),
        Kind::Number { min, max } => format!("{min}–{max}"),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Text => "text".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Ports => "ports".to_owned(),
        Kind::Addresses => "addresses".to_owned(),
        Kind::Secret => "secret".to_owned(),
        Kind::SecretBase64 => "base64".to_owned(),
        Kind::Digest => "digest".to_owned(),
        Kind::Mode => "mode".to_owned(),
        Kind::Date => "date".to_owned(),
        Kind::Chain => "chain".to_owned(),
        Kind::NftChain => "nftables chain".to_owned(),
        Kind::Address => "address".to_owned(),
        Kind::Target => "address and port".to_owned(),
    }
}
