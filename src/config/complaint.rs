//! What is wrong with a configuration, where, and what to write instead. All mistakes are reported, not the first only.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// One thing to say about a configuration. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub place: Place,
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

/// `file:line: what`, and below it what to do.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = printable(&format!("{}: {}{}", self.place, self.severity.label(), self.what));
        match self.advice.as_str() {
            "" => f.write_str(&what),
            advice => write!(f, "{what}\n     {}", printable(advice)),
        }
    }
}

/// Files hold what somebody put there: it must not reach a terminal as control characters.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, c| {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
        shown
    })
}

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A command line option, as the user typed it: `--pid-file`.
    Option(String),
    /// A whole file or folder.
    File(Arc<Path>),
    /// A line of a file, counted from 1.
    Line(Arc<Path>, u32),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Option(option) => write!(f, "option {option}"),
            Place::File(file) => write!(f, "{}", file.display()),
            Place::Line(file, line) => write!(f, "{}:{line}", file.display()),
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is started or changed.
    Error,
    /// Goes on, but probably not as intended or not as safe as it could be.
    Warning,
    /// Something that has no effect here, and where nobody is harmed by that.
    Note,
}

impl Severity {
    fn label(self) -> &'static str {
        match self {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        }
    }
}

/// Several complaints. As an error it holds at least one of [`Severity::Error`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints(Vec<Complaint>);

impl Complaints {
    pub fn iter(&self) -> impl Iterator<Item = &Complaint> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|complaint| complaint.severity == Severity::Error)
    }

    pub fn error(&mut self, place: &Place, what: impl Into<String>, advice: impl Into<String>) {
        self.add(place, Severity::Error, what, advice);
    }

    pub fn warn(&mut self, place: &Place, what: impl Into<String>, advice: impl Into<String>) {
        self.add(place, Severity::Warning, what, advice);
    }

    pub fn note(&mut self, place: &Place, what: impl Into<String>, advice: impl Into<String>) {
        self.add(place, Severity::Note, what, advice);
    }

    pub fn push(&mut self, complaint: Complaint) {
        self.0.push(complaint);
    }

    pub fn append(&mut self, other: Complaints) {
        self.0.extend(other.0);
    }

    /// `value` with what else is to be said, or everything as an error when there is a mistake. In the order of places.
    pub fn judge<T>(mut self, value: Option<T>) -> Result<(T, Complaints), Complaints> {
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        match value {
            Some(value) if !self.has_errors() => Ok((value, self)),
            _ => Err(self),
        }
    }

    fn add(&mut self, place: &Place, severity: Severity, what: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Complaint { place: place.clone(), severity, what: what.into(), advice: advice.into() });
    }
}

impl IntoIterator for Complaints {
    type Item = Complaint;
    type IntoIter = std::vec::IntoIter<Complaint>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.0.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{complaint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Complaints {}

/// A mistake in a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    pub advice: String,
}

impl Fault {
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}
