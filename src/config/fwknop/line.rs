//! One line: a parameter, a section, or nothing.

use std::ops::Range;

use toml::Spanned;

use super::{Dialect, LINE_MAX, LineFault};
use crate::config::complaint::Severity;

/// What the line syntaxes can express: texts, and what is built of them.
#[derive(Clone, Debug)]
pub enum Node<'a> {
    Text(&'a str),
    Map(Vec<(Spanned<&'a str>, Spanned<Node<'a>>)>),
    Seq(Vec<Spanned<Node<'a>>>),
}

pub type Parameter<'a> = (Spanned<&'a str>, Spanned<Node<'a>>);

pub enum Line<'a> {
    Parameter(Parameter<'a>),
    Section(Spanned<&'a str>),
}

/// Reads one line that starts at `offset`. `None`: nothing is there, or a fault was added.
pub fn read<'a>(line: &'a str, offset: usize, dialect: Dialect, faults: &mut Vec<LineFault>) -> Option<Line<'a>> {
    let line = line.trim_end_matches(['\n', '\r']);
    let text = line.trim_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with(['#', ';']) {
        return None;
    }
    let read = if line.len() > LINE_MAX {
        Err(Trouble::error("the line is too long", format!("a line has at most {LINE_MAX} bytes")))
    } else if line.contains('\0') {
        Err(Trouble::error("the line contains a NUL byte", "write the file with a text editor"))
    } else {
        parse(text, dialect)
    };
    let place = |part: &str| span_in(line, offset, part);
    let mut complain = |trouble: Trouble| {
        let Trouble { severity, what, advice } = trouble;
        faults.push(LineFault { at: offset, severity, what, advice });
    };
    match read {
        Ok(Parsed::Section(name)) => Some(Line::Section(Spanned::new(place(name), name))),
        Ok(Parsed::Parameter { name, value, trouble }) => {
            trouble.map(&mut complain);
            Some(Line::Parameter((Spanned::new(place(name), name), Spanned::new(place(value), Node::Text(value)))))
        }
        Err(trouble) => {
            complain(trouble);
            None
        }
    }
}

enum Parsed<'a> {
    Section(&'a str),
    Parameter { name: &'a str, value: &'a str, trouble: Option<Trouble> },
}

struct Trouble {
    severity: Severity,
    what: String,
    advice: String,
}

impl Trouble {
    fn error(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), advice: advice.into() }
    }
}

fn parse(text: &str, dialect: Dialect) -> Result<Parsed<'_>, Trouble> {
    if let (Dialect::Rc, Some(rest)) = (dialect, text.strip_prefix('[')) {
        // The original ignores what follows the bracket.
        let name = rest.split_once(']').map(|(name, _)| name.trim());
        return match name {
            Some(name) if !name.is_empty() => Ok(Parsed::Section(name)),
            _ => Err(Trouble::error("a section without a name", "write it as [name]")),
        };
    }
    let (name, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let name = match dialect {
        Dialect::Server => name,
        _ => name.strip_suffix(':').unwrap_or(name),
    };
    // The name alone: what follows it could be a key.
    let bare = name.split(['=', ';']).next().unwrap_or_default();
    if name.contains('=') || rest.trim_start().starts_with("= ") {
        return Err(Trouble::error(
            format!("{bare}: name and value are joined by '='"),
            "put a blank between name and value, and no '='",
        ));
    }
    let (value, trouble) = match dialect {
        Dialect::Rc => word(rest.trim(), bare),
        _ => to_semicolon(rest, bare)?,
    };
    if value.is_empty() || name.contains(';') {
        return Err(Trouble::error(format!("{bare} has no value"), "write a value, or remove the line"));
    }
    Ok(Parsed::Parameter { name, value, trouble })
}

/// A value that runs to `;` or the end of the line. What the original would silently cut off is a mistake here: it may
/// be half of a passphrase.
fn to_semicolon<'a>(rest: &'a str, name: &str) -> Result<(&'a str, Option<Trouble>), Trouble> {
    let (value, after) = rest.split_once(';').unwrap_or((rest, ""));
    let after = after.trim_start();
    if after.is_empty() || after.starts_with(['#', ';']) {
        return Ok((value.trim(), None));
    }
    Err(Trouble::error(
        format!("{name}: there is more text after the ';' that ends the value"),
        "remove it, or begin it with '#'; a value that contains ';' can be written in a .toml file, a key also as base64",
    ))
}

/// An rc value: one word, which ends also at `;` and `#`, or as an extension of ours a text in double quotes.
fn word<'a>(rest: &'a str, name: &str) -> (&'a str, Option<Trouble>) {
    let done = |after: &str| after.is_empty() || after.starts_with(['#', ';']);
    if let Some((quoted, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
        && done(after.trim_start())
    {
        return (quoted, None);
    }
    let end = rest.find([' ', '\t', ';', '#']).unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    let trouble = (!value.is_empty() && !done(after.trim_start())).then(|| Trouble {
        severity: Severity::Warning,
        what: format!("{name}: only the first word of the value is used"),
        advice: "put the whole value in double quotes, or remove the other words".to_owned(),
    });
    (value, trouble)
}

/// Where `part`, a piece of `line`, stands in the whole text.
fn span_in(line: &str, offset: usize, part: &str) -> Range<usize> {
    let start = offset + (part.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    start..start + part.len()
}
