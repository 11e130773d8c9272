//! `docs/client.md` describes each option and each variable, and no others.

use std::collections::BTreeSet;

use fwknop::client::args::Args;
use fwknop::client::variables::TABLE;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/client.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands in the first columns of table rows, between backticks.
fn first_cells(document: &str, columns: usize) -> BTreeSet<String> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let cells = rows.flat_map(|row| row.split('|').skip(1).take(columns));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn every_option_is_described() {
    let document = document();
    let described: BTreeSet<String> =
        first_cells(&document, 2).into_iter().filter(|cell| cell.starts_with('-')).collect();
    let mut there_are = BTreeSet::new();
    for arg in Args::definition().get_arguments().filter(|arg| !arg.is_hide_set()) {
        there_are.extend(arg.get_long().map(|long| format!("--{long}")));
        there_are.extend(arg.get_short().map(|short| format!("-{short}")));
        there_are.extend(arg.get_all_aliases().unwrap_or_default().iter().map(|alias| format!("--{alias}")));
    }
    there_are.extend(["-h".to_owned(), "--help".to_owned()]);
    assert_eq!(described, there_are);
}

#[test]
fn every_variable_is_described_with_its_default_and_state() {
    let document = document();
    let described: BTreeSet<String> = first_cells(&document, 1)
        .into_iter()
        .filter(|cell| cell.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let there_are: BTreeSet<String> = TABLE.variables.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(described, there_are);
    for variable in TABLE.variables {
        let start = format!("| `{}` |", variable.name);
        let row = document.lines().find(|line| line.starts_with(&start)).unwrap();
        let default =
            if variable.default.is_empty() { "| – |".to_owned() } else { format!("| `{}` |", variable.default) };
        assert!(row.contains(&default), "{row}\n     the default is {default}");
        assert!(row.contains(variable.doc), "{row}\n     lacks: {}", variable.doc);
    }
}
