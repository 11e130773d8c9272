//! What changes in a text, line by line.

use std::path::Path;

use zeroize::Zeroizing;

use super::line::{header, line};
use super::section::Section;
use super::{NewLine, SaveError, Saved};
use crate::config::Syntax;
use crate::secret::Secret;

/// The text of an rc file, and where in it one stanza stands.
pub struct Text<'t> {
    /// Names the file and its syntax.
    path: &'t Path,
    lines: Vec<&'t str>,
    section: Section,
    stanza: &'t str,
}

impl<'t> Text<'t> {
    pub fn read(path: &'t Path, text: &'t str, stanza: &'t str) -> Result<Self, SaveError> {
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let section = match Syntax::of(path) {
            Syntax::Fwknop => Section::of_lines(&lines, stanza),
            Syntax::Toml => Section::of_toml(path, text, stanza)?,
        };
        Ok(Self { path, lines, section, stanza })
    }

    /// Where the stanza says what `new` says, the new lines stand afterwards; the others are put below.
    pub fn with(
        &self,
        new: &[NewLine],
        mut overwrite: impl FnMut(&str) -> bool,
    ) -> Result<(Secret<String>, Saved), SaveError> {
        let mut edits = Edits { replaced: vec![None; self.lines.len()], appended: Vec::new() };
        let mut saved = Saved::default();
        for NewLine { name, value } in new {
            let rendered = line(name, value, Syntax::of(self.path)).ok_or(SaveError::Value(name))?;
            let same: Vec<_> =
                self.section.settings.iter().filter(|setting| are_about_the_same(&setting.name, name)).collect();
            let unchanged = matches!(same[..], [one] if self.lines[one.lines.clone()].concat() == *rendered.expose());
            let refused = same
                .iter()
                .any(|setting| !unchanged && KEYS.contains(&setting.name.as_str()) && !overwrite(&setting.name));
            match same.split_last() {
                _ if refused => saved.kept.push(name),
                None => edits.appended.push(rendered),
                Some((last, _)) => {
                    let gone = same.iter().flat_map(|setting| setting.lines.clone());
                    gone.for_each(|at| edits.replaced[at] = Some(Secret::new(String::new())));
                    edits.replaced[last.lines.start] = Some(rendered);
                }
            }
        }
        Ok((edits.apply(self), saved))
    }

    /// The stanza says `new` and nothing else.
    pub fn with_only(&self, new: &[NewLine]) -> Result<Secret<String>, SaveError> {
        let emptied = self.without(|at| self.section.has_setting_at(at));
        Text::read(self.path, emptied.expose(), self.stanza)?.with(new, |_| true).map(|(text, _)| text)
    }

    pub fn without_stanza(&self) -> Secret<String> {
        self.without(|at| self.section.has_setting_at(at) || self.section.headers.contains(&at))
    }

    fn without(&self, gone: impl Fn(usize) -> bool) -> Secret<String> {
        let mut new = Zeroizing::new(String::with_capacity(self.len()));
        self.lines.iter().enumerate().filter(|(at, _)| !gone(*at)).for_each(|(_, line)| new.push_str(line));
        Secret::new(new.to_string())
    }

    fn len(&self) -> usize {
        self.lines.iter().map(|line| line.len()).sum()
    }
}

struct Edits {
    /// For each old line what stands there now, if it changes.
    replaced: Vec<Option<Secret<String>>>,
    appended: Vec<Secret<String>>,
}

impl Edits {
    fn apply(&self, old: &Text<'_>) -> Secret<String> {
        let header = header(old.stanza, Syntax::of(old.path));
        // Reserved once: growing would leave copies of keys behind.
        let mut text = Zeroizing::new(String::with_capacity(old.len() + self.len() + header.len() + 2));
        let append = |text: &mut Zeroizing<String>| self.appended.iter().for_each(|line| text.push_str(line.expose()));
        for (at, line) in old.lines.iter().enumerate() {
            text.push_str(self.replaced[at].as_ref().map_or(line, |new| new.expose()));
            if old.section.end() == Some(at) {
                end_line(&mut text);
                append(&mut text);
            }
        }
        if old.section.end().is_none() {
            end_line(&mut text);
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push('\n');
            }
            text.push_str(&header);
            append(&mut text);
        }
        Secret::new(text.to_string())
    }

    fn len(&self) -> usize {
        self.replaced.iter().flatten().chain(&self.appended).map(|line| line.expose().len()).sum()
    }
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Variables of which a stanza shall hold one: an old `KEY` would win over a new `KEY_BASE64`.
const GROUPS: [&[&str]; 3] = [
    &["KEY", "KEY_BASE64", "KEY_FILE"],
    &["HMAC_KEY", "HMAC_KEY_BASE64", "HMAC_KEY_FILE"],
    &["GPG_SIGNING_PW", "GPG_SIGNING_PW_BASE64"],
];

fn are_about_the_same(a: &str, b: &str) -> bool {
    a == b || GROUPS.iter().any(|group| group.contains(&a) && group.contains(&b))
}

/// Variables that are not overwritten without asking.
const KEYS: [&str; 8] = [
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "GPG_RECIPIENT",
    "GPG_SIGNER",
    "GPG_SIGNING_PW",
    "GPG_SIGNING_PW_BASE64",
];
