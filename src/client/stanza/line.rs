//! One line of a stanza, as it is written.

use super::super::variables::TABLE;
use crate::config::{Syntax, rc_line, toml_line, toml_text};
use crate::secret::Secret;

/// A line that says this. `None`: it cannot be said in this syntax.
pub fn line(name: &str, value: &Secret<String>, syntax: Syntax) -> Option<Secret<String>> {
    match syntax {
        Syntax::Fwknop => rc_line(name, value),
        Syntax::Toml => {
            let kind = TABLE.variables.iter().find(|variable| variable.name == name)?.kind;
            toml_line(&syntax.spell(name), kind, value)
        }
    }
}

pub fn header(stanza: &str, syntax: Syntax) -> String {
    let is_bare = !stanza.is_empty() && stanza.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    match syntax {
        Syntax::Toml if !is_bare => format!("[{}]\n", toml_text(stanza).as_str()),
        Syntax::Toml | Syntax::Fwknop => format!("[{stanza}]\n"),
    }
}
