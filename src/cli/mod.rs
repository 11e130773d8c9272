//! What both programs share at the command line: exit codes, the shape of errors, consent before a change, secrets from
//! a terminal, key generation, private files, what a server hands to its users, how long knocks get, completions.

pub mod completions;
pub mod consent;
pub mod handout;
pub mod key_gen;
pub mod keys;
pub mod private_file;
pub mod prompt;
pub mod size;

use std::error::Error;

/// Done. For the old command lines there are only these two (`spec/client.md` 17, `spec/server.md` 14); subcommands
/// may have more, above 1.
pub const EXIT_OK: u8 = 0;
/// Anything else, usage errors included.
pub const EXIT_FAILURE: u8 = 1;
/// Subcommands: the command line is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Subcommands: the user was asked and did not say yes.
pub const EXIT_DECLINED: u8 = 3;
/// Subcommands: what was named does not exist.
pub const EXIT_NOT_FOUND: u8 = 4;
/// `check`: it works, but something needs attention.
pub const EXIT_ATTENTION: u8 = 5;
/// `fwknopd check`: it would not start, or open nothing.
pub const EXIT_UNFIT: u8 = 6;

/// The form in which a user reads an error: what is wrong, its causes, and on the lines below what to do.
pub fn describe(error: &dyn Error) -> String {
    let text = error.to_string();
    let (head, advice) = text.split_once('\n').map_or((text.as_str(), None), |(head, advice)| (head, Some(advice)));
    let mut shown = head.to_owned();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors repeat their cause in their own text.
        if !shown.ends_with(&said) {
            shown = format!("{shown}: {said}");
        }
        cause = error.source();
    }
    match advice {
        Some(advice) => format!("{shown}\n{advice}"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the key file\n     check its name")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_stand_before_the_advice() {
        let error = Outer(std::io::Error::other("it is gone"));
        assert_eq!(describe(&error), "cannot read the key file: it is gone\n     check its name");
    }
}
