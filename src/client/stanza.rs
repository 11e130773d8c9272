//! `--save-rc-stanza`: puts the options of a command line into a stanza of the rc file (`spec/client.md` 6). Only lines
//! of that stanza change, and of those only the ones that say the same; everything else stays byte for byte. The file
//! is replaced in one step, so that it holds the old keys or the new ones, never none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::compose::TimeOffset;
use super::variables::TABLE;
use crate::cli::private_file;
use crate::config::raw::Value;
use crate::config::{Kind, Setting, Syntax, rc_line};
use crate::crypto::rijndael::Mode;
use crate::secret::Secret;
use crate::spa::Digest;

/// One line to be: a variable and its value, as it will be written.
#[derive(Clone, Debug)]
pub struct NewLine {
    pub name: &'static str,
    pub value: Secret<String>,
}

/// Why a stanza was not saved. The file is then as it was. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("the stanza has no name\n     name it with -n, or the server with -D")]
    NoName,
    #[error("'{0}' cannot be the name of a stanza\n     choose a name without brackets, with -n")]
    Name(String),
    #[error("saving a stanza is not supported yet for TOML files\n     write it with an editor: docs/client.md")]
    Toml,
    #[error(
        "the value of {0} cannot be written into an rc file\n     leave out the double quotes and control characters, or give a key as base64"
    )]
    Value(&'static str),
    #[error("the rc file {} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the rc file {} cannot be replaced and is as it was", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The settings of a command line in the form and order in which a stanza holds them.
pub fn new_lines(settings: Vec<Setting>) -> Vec<NewLine> {
    let value_of = |name: &str| {
        settings.iter().rev().find(|setting| setting.name == name).and_then(|setting| match &setting.value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    };
    let line = |name: &'static str| value_of(name).map(|value| NewLine { name, value: usual_form(name, value) });
    TABLE.variables.iter().filter_map(|variable| line(variable.name)).collect()
}

/// As the original writes it. What is not one of these is written as given.
fn usual_form(name: &str, value: &Secret<String>) -> Secret<String> {
    let text = value.expose();
    let usual = match name {
        "DIGEST_TYPE" | "HMAC_DIGEST_TYPE" => text.parse().ok().map(|digest: Digest| digest.name().to_owned()),
        "ENCRYPTION_MODE" => text.parse().ok().map(|mode: Mode| mode.name().to_owned()),
        "SPA_SERVER_PROTO" => Some(text.to_ascii_lowercase()),
        "TIME_OFFSET" => text.parse().ok().map(|offset: TimeOffset| offset.secs().to_string()),
        "VERBOSE" if text == "1" => Some("Y".to_owned()),
        _ => None,
    };
    usual.map_or_else(|| value.clone(), Secret::new)
}

/// What happened to the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Key variables that stayed as they were, because the user wanted it.
    pub kept: Vec<&'static str>,
}

/// Rewrites the file. `overwrite` is asked before a line that holds a key is replaced or removed.
pub fn save(
    path: &Path,
    stanza: &str,
    lines: &[NewLine],
    overwrite: impl FnMut(&str) -> bool,
    all_or_nothing: bool,
) -> Result<Saved, SaveError> {
    let mut saved = Saved::default();
    edit(path, |text| {
        let (new, done) = rewrite(text, stanza, lines, overwrite)?;
        saved = done;
        let changes = saved.kept.is_empty() || !all_or_nothing;
        Ok(changes.then_some(new))
    })?;
    Ok(saved)
}

/// Makes a stanza say these lines and nothing else. Its comments stay.
pub fn put(path: &Path, stanza: &str, lines: &[NewLine]) -> Result<(), SaveError> {
    edit(path, |text| put_into(text, stanza, lines).map(Some))
}

/// Removes a stanza and leaves all else as it is, comments included.
pub fn remove(path: &Path, stanza: &str) -> Result<(), SaveError> {
    edit(path, |text| Ok(Some(without_stanza(text, stanza))))
}

/// Whether what this variable holds must not be shown.
pub fn is_secret(name: &str) -> bool {
    let variable = TABLE.variables.iter().find(|variable| variable.name == name);
    variable.is_none_or(|variable| matches!(variable.kind, Kind::Secret | Kind::SecretBase64))
}

/// Refuses what cannot be the name of a stanza.
pub fn check_name(stanza: &str) -> Result<(), SaveError> {
    if stanza.is_empty() || stanza.trim() != stanza || stanza.contains(|c: char| c.is_control() || "[]".contains(c)) {
        return Err(SaveError::Name(stanza.to_owned()));
    }
    Ok(())
}

/// Refuses a file that cannot be written to here.
pub fn check_syntax(path: &Path) -> Result<(), SaveError> {
    if Syntax::of(path) == Syntax::Toml { Err(SaveError::Toml) } else { Ok(()) }
}

/// Replaces the file in one step, unless it shall stay as it is.
fn edit(path: &Path, change: impl FnOnce(&str) -> Result<Option<Secret<String>>, SaveError>) -> Result<(), SaveError> {
    check_syntax(path)?;
    let failed = |source| SaveError::Read { path: path.to_owned(), source };
    // A link stays a link.
    let path = fs::canonicalize(path).map_err(failed)?;
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(failed)?);
    match change(&text)? {
        None => Ok(()),
        Some(new) => private_file::replace(&path, new.expose()).map_err(|source| SaveError::Write { path, source }),
    }
}

fn put_into(text: &str, stanza: &str, new: &[NewLine]) -> Result<Secret<String>, SaveError> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let section = Section::find(&lines, stanza);
    let emptied = without(&lines, |at| section.settings.iter().any(|(line, _)| *line == at));
    rewrite(emptied.expose(), stanza, new, |_| true).map(|(text, _)| text)
}

fn without_stanza(text: &str, stanza: &str) -> Secret<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let section = Section::find(&lines, stanza);
    let is_setting = |at: usize| section.settings.iter().any(|(line, _)| *line == at);
    without(&lines, |at| is_setting(at) || is_header_of(lines[at].trim(), stanza))
}

fn without(lines: &[&str], gone: impl Fn(usize) -> bool) -> Secret<String> {
    let mut new = Zeroizing::new(String::with_capacity(lines.iter().map(|line| line.len()).sum()));
    lines.iter().enumerate().filter(|(at, _)| !gone(*at)).for_each(|(_, line)| new.push_str(line));
    Secret::new(new.to_string())
}

fn is_header_of(line: &str, stanza: &str) -> bool {
    let name = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name.trim());
    name.is_some_and(|name| name.eq_ignore_ascii_case(stanza))
}

/// The new text of the file.
pub fn rewrite(
    text: &str,
    stanza: &str,
    new: &[NewLine],
    mut overwrite: impl FnMut(&str) -> bool,
) -> Result<(Secret<String>, Saved), SaveError> {
    check_name(stanza)?;
    let old: Vec<&str> = text.split_inclusive('\n').collect();
    let section = Section::find(&old, stanza);
    let mut edits = Edits { replaced: vec![None; old.len()], appended: Vec::new() };
    let mut saved = Saved::default();
    for line in new {
        let rendered = render(line)?;
        let same: Vec<(usize, &str)> =
            section.settings.iter().copied().filter(|(_, name)| are_about_the_same(name, line.name)).collect();
        let unchanged = same.len() == 1 && *old[same[0].0] == **rendered.expose();
        let refused = same.iter().any(|(_, name)| !unchanged && KEYS.contains(name) && !overwrite(name));
        match same.split_last() {
            _ if refused => saved.kept.push(line.name),
            None => edits.appended.push(rendered),
            Some(((last, _), earlier)) => {
                earlier.iter().for_each(|(at, _)| edits.replaced[*at] = Some(Secret::new(String::new())));
                edits.replaced[*last] = Some(rendered);
            }
        }
    }
    Ok((edits.apply(&old, &section, stanza), saved))
}

struct Edits {
    /// For each old line what stands there now, if it changes.
    replaced: Vec<Option<Secret<String>>>,
    appended: Vec<Secret<String>>,
}

impl Edits {
    fn apply(&self, old: &[&str], section: &Section<'_>, stanza: &str) -> Secret<String> {
        let mut text = Zeroizing::new(String::with_capacity(
            old.iter().map(|line| line.len()).sum::<usize>() + self.length() + stanza.len() + 8,
        ));
        let append = |text: &mut Zeroizing<String>| self.appended.iter().for_each(|line| text.push_str(line.expose()));
        for (at, line) in old.iter().enumerate() {
            text.push_str(self.replaced[at].as_ref().map_or(line, |new| new.expose()));
            if section.end == Some(at) {
                end_line(&mut text);
                append(&mut text);
            }
        }
        if section.end.is_none() {
            end_line(&mut text);
            if !text.is_empty() && !text.ends_with("\n\n") {
                text.push('\n');
            }
            text.push_str(&format!("[{stanza}]\n"));
            append(&mut text);
        }
        Secret::new(text.to_string())
    }

    fn length(&self) -> usize {
        self.replaced.iter().flatten().chain(&self.appended).map(|line| line.expose().len()).sum()
    }
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Where a stanza stands. A name may stand for several sections; new lines go into the last.
struct Section<'t> {
    /// Line and name of each setting.
    settings: Vec<(usize, &'t str)>,
    /// The line after which new ones are put: the last setting, or the header.
    end: Option<usize>,
}

impl<'t> Section<'t> {
    fn find(lines: &[&'t str], stanza: &str) -> Self {
        let mut section = Self { settings: Vec::new(), end: None };
        let mut inside = false;
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                inside = is_header_of(line, stanza);
            } else if inside {
                let name = line.split([' ', '\t']).next().unwrap_or_default();
                section.settings.push((at, name.strip_suffix(':').unwrap_or(name)));
            }
            if inside {
                section.end = Some(at);
            }
        }
        section
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

fn render(line: &NewLine) -> Result<Secret<String>, SaveError> {
    rc_line(line.name, &line.value).ok_or(SaveError::Value(line.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stanza_goes_and_the_rest_stays() {
        let text = "# mine\n[a]\nSPA_SERVER x\n\n# of b\n[B]\nSPA_SERVER y\nKEY z\n# more\n[c]\nSPA_SERVER w\n";
        let left = "# mine\n[a]\nSPA_SERVER x\n\n# of b\n# more\n[c]\nSPA_SERVER w\n";
        assert_eq!(without_stanza(text, "b").expose(), left);
        assert_eq!(without_stanza(text, "d").expose(), text);
    }

    #[test]
    fn a_stanza_that_is_put_says_nothing_else() {
        let text = "[a]\nSPA_SERVER x\n[b]\n# note\nSPA_SERVER y\nKEY z\n\n[c]\nKEY k\n";
        let put = put_into(text, "B", &[line("SPA_SERVER", "w")]).unwrap();
        let there = "[a]\nSPA_SERVER x\n[b]\nSPA_SERVER                  w\n# note\n\n[c]\nKEY k\n";
        assert_eq!(put.expose(), there);
        let new = put_into(text, "d", &[line("SPA_SERVER", "w")]).unwrap();
        assert_eq!(*new.expose(), format!("{text}\n[d]\nSPA_SERVER                  w\n"));
    }

    fn line(name: &'static str, value: &str) -> NewLine {
        NewLine { name, value: Secret::new(value.into()) }
    }

    fn rewritten(text: &str, stanza: &str, new: &[NewLine], answer: bool) -> (String, Saved) {
        let (text, saved) = rewrite(text, stanza, new, |_| answer).unwrap();
        (text.expose().clone(), saved)
    }

    const OLD: &str =
        "# mine\n\n[default]\nVERBOSE Y # yes\n\n[office]\n# the key\nKEY  old\nACCESS tcp/22\n\n# end\n[home]\nKEY x";

    #[test]
    fn only_lines_of_the_stanza_change() {
        let new = [line("FW_TIMEOUT", "30"), line("ACCESS", "tcp/80"), line("KEY_BASE64", "bmV3")];
        let (text, saved) = rewritten(OLD, "Office", &new, true);
        assert_eq!(
            text,
            "# mine\n\n[default]\nVERBOSE Y # yes\n\n[office]\n# the key\nKEY_BASE64                  bmV3\n\
             ACCESS                      tcp/80\nFW_TIMEOUT                  30\n\n# end\n[home]\nKEY x"
        );
        assert_eq!(saved, Saved::default());
    }

    #[test]
    fn keys_stay_unless_the_user_agrees() {
        let new = [line("ACCESS", "tcp/80"), line("KEY_BASE64", "bmV3")];
        let (text, saved) = rewritten(OLD, "office", &new, false);
        assert!(text.contains("\nKEY  old\n") && text.contains("tcp/80") && !text.contains("bmV3"), "{text}");
        assert_eq!(saved.kept, ["KEY_BASE64"]);
    }

    #[test]
    fn a_new_stanza_goes_to_the_end() {
        let (text, _) = rewritten(OLD, "new", &[line("ACCESS", "tcp/1")], false);
        assert_eq!(text, format!("{OLD}\n\n[new]\nACCESS                      tcp/1\n"));
        assert_eq!(rewritten("", "new", &[], false).0, "[new]\n");
    }

    #[test]
    fn of_repeated_lines_and_sections_one_remains() {
        let old = "[a]\nACCESS tcp/1\n[b]\nACCESS tcp/9\n[A]\nACCESS tcp/2\nACCESS: tcp/3\n";
        let (text, _) = rewritten(old, "a", &[line("ACCESS", "tcp/4"), line("VERBOSE", "Y")], false);
        assert_eq!(
            text,
            "[a]\n[b]\nACCESS tcp/9\n[A]\nACCESS                      tcp/4\nVERBOSE                     Y\n"
        );
    }

    #[test]
    fn values_are_quoted_when_they_must_be_and_refused_when_they_cannot() {
        let rendered = |value| render(&line("KEY", value)).map(|line| line.expose()[28..].trim_end().to_owned());
        assert_eq!(rendered("plain!@").unwrap(), "plain!@");
        assert_eq!(rendered("two words").unwrap(), "\"two words\"");
        assert_eq!(rendered("a;b#c").unwrap(), "\"a;b#c\"");
        assert!(matches!(rendered("say \"so\""), Err(SaveError::Value("KEY"))));
        assert!(rendered("a\nUSE_GPG Y").is_err());
        for name in ["", "a]b", "x\ny", " pad"] {
            assert!(matches!(rewrite("", name, &[], |_| true), Err(SaveError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn values_get_their_usual_form_and_order() {
        let given = [
            ("VERBOSE", "1"),
            ("TIME_OFFSET", "-2m"),
            ("SPA_SERVER_PROTO", "TCP"),
            ("ENCRYPTION_MODE", "ctr"),
            ("DIGEST_TYPE", "sha1"),
        ];
        let settings = given.map(|(name, value)| Setting::from_option(name, value, "--x")).to_vec();
        let lines: Vec<String> =
            new_lines(settings).iter().map(|line| format!("{} {}", line.name, line.value.expose())).collect();
        assert_eq!(
            lines,
            ["DIGEST_TYPE SHA1", "SPA_SERVER_PROTO tcp", "TIME_OFFSET -120", "ENCRYPTION_MODE CTR", "VERBOSE Y"]
        );
    }

    proptest! {
        /// Whatever the file holds: the lines of other stanzas, and all comments, are still there, in order.
        #[test]
        fn everything_else_is_kept(
            lines in proptest::collection::vec("(\\[[ab]\\]|#[ -~]{0,8}|(ACCESS|KEY|VERBOSE)[ :]{1,2}[ -~]{1,8}|[ -~]{0,8})\r?", 0..12),
            last_newline: bool,
        ) {
            let old = format!("{}{}", lines.join("\n"), if last_newline { "\n" } else { "" });
            let new = [line("ACCESS", "tcp/4"), line("KEY_BASE64", "bmV3")];
            let (text, _) = rewrite(&old, "a", &new, |_| true).unwrap();
            let mut rest = text.expose().split('\n');
            let mut inside = false;
            for old_line in old.split('\n') {
                let trimmed = old_line.trim();
                if let Some(section) = trimmed.strip_prefix('[') {
                    inside = section.split_once(']').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("a"));
                }
                let is_setting = inside && !trimmed.is_empty() && !trimmed.starts_with(['#', ';', '[']);
                if !is_setting {
                    prop_assert!(rest.any(|new_line| new_line == old_line), "{old_line:?} is gone from {text:?}");
                }
            }
            let (again, _) = rewrite(text.expose(), "a", &new, |_| true).unwrap();
            prop_assert_eq!(again, text);
        }
    }
}
