//! Stanzas of the rc file: written by `--save-rc-stanza` (`spec/client.md` 6) and by `fwknop server`, in the original's
//! syntax or in TOML. Only lines of that stanza change, and of those only the ones that say the same; everything else stays
//! byte for byte. The file is replaced in one step, so that it holds the old keys or the new ones, never none.

mod edit;
mod line;
mod section;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use edit::Text;

use super::compose::TimeOffset;
use super::variables::TABLE;
use crate::cli::private_file;
use crate::config::raw::Value;
use crate::config::{Complaints, Kind, Setting, Syntax, toml_tables};
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
    #[error(transparent)]
    Toml(#[from] Complaints),
    #[error(
        "the stanza {0} is not written with a line or more for each setting below [{0}]\n     write it so, or change it with an editor"
    )]
    Form(String),
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
    check_name(stanza)?;
    let mut saved = Saved::default();
    change(path, stanza, |text| {
        let (new, done) = text.with(lines, overwrite)?;
        saved = done;
        let changes = saved.kept.is_empty() || !all_or_nothing;
        Ok(changes.then_some(new))
    })?;
    Ok(saved)
}

/// Makes a stanza say these lines and nothing else. Its comments stay.
pub fn put(path: &Path, stanza: &str, lines: &[NewLine]) -> Result<(), SaveError> {
    check_name(stanza)?;
    change(path, stanza, |text| text.with_only(lines).map(Some))
}

/// Removes a stanza and leaves all else as it is, comments included.
pub fn remove(path: &Path, stanza: &str) -> Result<(), SaveError> {
    change(path, stanza, |text| Ok(Some(text.without_stanza())))
}

/// Refuses what could not be written later.
pub fn check(path: &Path, stanza: &str) -> Result<(), SaveError> {
    check_name(stanza)?;
    if path.exists() { change(path, stanza, |_| Ok(None)) } else { Ok(()) }
}

/// Whether what this variable holds must not be shown.
pub fn is_secret(name: &str) -> bool {
    let variable = TABLE.variables.iter().find(|variable| variable.name == name);
    variable.is_none_or(|variable| matches!(variable.kind, Kind::Secret | Kind::SecretBase64))
}

/// Refuses what cannot be the name of a stanza.
fn check_name(stanza: &str) -> Result<(), SaveError> {
    if stanza.is_empty() || stanza.trim() != stanza || stanza.contains(|c: char| c.is_control() || "[]".contains(c)) {
        return Err(SaveError::Name(stanza.to_owned()));
    }
    Ok(())
}

/// Replaces the file in one step, unless it shall stay as it is.
fn change(
    path: &Path,
    stanza: &str,
    edit: impl FnOnce(&Text<'_>) -> Result<Option<Secret<String>>, SaveError>,
) -> Result<(), SaveError> {
    let failed = |source| SaveError::Read { path: path.to_owned(), source };
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    let Some(new) = edit(&Text::read(path, &text, stanza)?)? else { return Ok(()) };
    // The name may be taken already, by something that is no table.
    if Syntax::of(path) == Syntax::Toml && toml_tables(path, new.expose()).is_err() {
        return Err(SaveError::Form(stanza.to_owned()));
    }
    // A link stays a link.
    let path = fs::canonicalize(path).map_err(failed)?;
    private_file::replace(&path, new.expose()).map_err(|source| SaveError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stanza_goes_and_the_rest_stays() {
        let text = "# mine\n[a]\nSPA_SERVER x\n\n# of b\n[B]\nSPA_SERVER y\nKEY z\n# more\n[c]\nSPA_SERVER w\n";
        let left = "# mine\n[a]\nSPA_SERVER x\n\n# of b\n# more\n[c]\nSPA_SERVER w\n";
        assert_eq!(lines_of(text, "b").without_stanza().expose(), left);
        assert_eq!(lines_of(text, "d").without_stanza().expose(), text);
    }

    #[test]
    fn a_stanza_that_is_put_says_nothing_else() {
        let text = "[a]\nSPA_SERVER x\n[b]\n# note\nSPA_SERVER y\nKEY z\n\n[c]\nKEY k\n";
        let put = lines_of(text, "B").with_only(&[line("SPA_SERVER", "w")]).unwrap();
        let there = "[a]\nSPA_SERVER x\n[b]\nSPA_SERVER                  w\n# note\n\n[c]\nKEY k\n";
        assert_eq!(put.expose(), there);
        let new = lines_of(text, "d").with_only(&[line("SPA_SERVER", "w")]).unwrap();
        assert_eq!(*new.expose(), format!("{text}\n[d]\nSPA_SERVER                  w\n"));
    }

    fn lines_of<'t>(text: &'t str, stanza: &'t str) -> Text<'t> {
        Text::read(Path::new("rc"), text, stanza).unwrap()
    }

    fn line(name: &'static str, value: &str) -> NewLine {
        NewLine { name, value: Secret::new(value.into()) }
    }

    fn rewritten(text: &str, stanza: &str, new: &[NewLine], answer: bool) -> (String, Saved) {
        let (text, saved) = lines_of(text, stanza).with(new, |_| answer).unwrap();
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
        let rendered = |value| rewritten_line(value).map(|line| line[28..].trim_end().to_owned());
        assert_eq!(rendered("plain!@").unwrap(), "plain!@");
        assert_eq!(rendered("two words").unwrap(), "\"two words\"");
        assert_eq!(rendered("a;b#c").unwrap(), "\"a;b#c\"");
        assert!(matches!(rendered("say \"so\""), Err(SaveError::Value("KEY"))));
        assert!(rendered("a\nUSE_GPG Y").is_err());
        for name in ["", "a]b", "x\ny", " pad"] {
            assert!(matches!(check(Path::new("/nowhere"), name), Err(SaveError::Name(_))), "{name:?}");
        }
    }

    fn rewritten_line(value: &str) -> Result<String, SaveError> {
        let (text, _) = lines_of("[x]\n", "x").with(&[line("KEY", value)], |_| true)?;
        Ok(text.expose().strip_prefix("[x]\n").unwrap().to_owned())
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

    const TOML: &str = "# mine\n\n[default]\nverbose = 'Y' # yes\n\n[office]\n# the key\nkey = 'old'\naccess = [\n  # ssh\n  'tcp/22',\n]\n\n\
                        # end\n[\"home.example\"]\nkey = 'x'";

    fn toml_of<'t>(text: &'t str, stanza: &'t str) -> Text<'t> {
        Text::read(Path::new("rc.toml"), text, stanza).unwrap()
    }

    #[test]
    fn toml_is_changed_in_the_same_way() {
        let new =
            [line("FW_TIMEOUT", "30"), line("ACCESS", "tcp/80"), line("KEY_BASE64", "bmV3"), line("USE_HMAC", "Y")];
        let (text, saved) = toml_of(TOML, "Office").with(&new, |_| true).unwrap();
        let expected = "# mine\n\n[default]\nverbose = 'Y' # yes\n\n[office]\n# the key\nkey_base64 = \"bmV3\"\n\
            access = \"tcp/80\"\nfw_timeout = 30\nuse_hmac = true\n\n# end\n[\"home.example\"]\nkey = 'x'";
        assert_eq!((text.expose().as_str(), saved), (expected, Saved::default()));
        let (text, saved) = toml_of(TOML, "office").with(&new, |_| false).unwrap();
        assert!(text.expose().contains("\nkey = 'old'\n") && !text.expose().contains("bmV3"));
        assert_eq!(saved.kept, ["KEY_BASE64"]);

        let gone = toml_of(TOML, "HOME.example").without_stanza();
        assert_eq!(*gone.expose(), TOML.split("[\"home").next().unwrap());
        let put = toml_of(TOML, "office").with_only(&[line("SPA_SERVER", "w")]).unwrap();
        assert!(put.expose().contains("[office]\nspa_server = \"w\"\n# the key\n\n# end\n["), "{}", put.expose());
        let (put, _) = toml_of(TOML, "gate \"1\"").with(&[line("SPA_SERVER", "w")], |_| true).unwrap();
        assert_eq!(*put.expose(), format!("{TOML}\n\n[\"gate \\\"1\\\"\"]\nspa_server = \"w\"\n"));
        let (first, _) = toml_of("", "gate").with(&[], |_| true).unwrap();
        assert_eq!(first.expose(), "[gate]\n");
    }

    #[test]
    fn other_forms_of_toml_are_left_to_people() {
        for text in ["office = { key = 'k' }\n", "office.key = 'k'\n", "[office.key]\n", "[office]\nkey.x = 1\n"] {
            assert!(matches!(Text::read(Path::new("rc.toml"), text, "office"), Err(SaveError::Form(_))), "{text}");
        }
        assert!(matches!(Text::read(Path::new("rc.toml"), "[office", "office"), Err(SaveError::Toml(_))));
    }

    proptest! {
        /// What is written is read again, and everything else is as it was.
        #[test]
        fn toml_stays_toml(
            settings in proptest::collection::vec(("(access|key|verbose|fw_timeout)", "'[a-z#\\[]{0,3}'|\\[\n1, # x\n2\\]|\"\"\"\n\\[a\\]\n\"\"\"| 7 # n"), 0..9),
            heads in proptest::collection::vec("\\[[abc]\\]|\\[ \"[abc]\" \\] # h|#[ -~]{0,8}", 9),
        ) {
            let old: String = settings.iter().zip(&heads).map(|((name, value), head)| format!("{head}\n{name} = {value}\n\n")).collect();
            prop_assume!(toml_tables(Path::new("rc.toml"), &old).is_ok());
            let new = [line("ACCESS", "tcp/4"), line("KEY_BASE64", "bmV3")];
            let (text, _) = toml_of(&old, "a").with(&new, |_| true).unwrap();
            let tables = |text: &str| toml_tables(Path::new("rc.toml"), text).unwrap();
            let others = |text: &str| {
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                let other = tables(text).into_iter().filter(|table| table.name != "a");
                other.flat_map(|table| table.settings).flat_map(|(_, at)| lines[at].to_vec()).collect::<Vec<_>>()
            };
            prop_assert_eq!(others(text.expose()), others(&old));
            let a: Vec<String> = tables(text.expose()).into_iter().filter(|table| table.name == "a").flat_map(|table| table.settings).map(|(name, _)| name).collect();
            prop_assert!(a.contains(&"access".to_owned()) && a.contains(&"key_base64".to_owned()) && !a.contains(&"key".to_owned()));
            let (again, _) = toml_of(text.expose(), "a").with(&new, |_| true).unwrap();
            prop_assert_eq!(&again, &text);
            let gone = toml_of(text.expose(), "a").without_stanza();
            prop_assert!(tables(gone.expose()).iter().all(|table| table.name != "a"));
            prop_assert_eq!(others(gone.expose()), others(&old));
        }

        /// Whatever the file holds: the lines of other stanzas, and all comments, are still there, in order.
        #[test]
        fn everything_else_is_kept(
            lines in proptest::collection::vec("(\\[[ab]\\]|#[ -~]{0,8}|(ACCESS|KEY|VERBOSE)[ :]{1,2}[ -~]{1,8}|[ -~]{0,8})\r?", 0..12),
            last_newline: bool,
        ) {
            let old = format!("{}{}", lines.join("\n"), if last_newline { "\n" } else { "" });
            let new = [line("ACCESS", "tcp/4"), line("KEY_BASE64", "bmV3")];
            let (text, _) = lines_of(&old, "a").with(&new, |_| true).unwrap();
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
            let (again, _) = lines_of(text.expose(), "a").with(&new, |_| true).unwrap();
            prop_assert_eq!(again, text);
        }
    }
}
