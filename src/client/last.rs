//! The last command line (`spec/client.md` 8): stored in the file of the original, so that both programs find each
//! other's, but never with a key in it.
//!
//! The first line is the original's: the words, one blank after each. It cannot say where a word with a blank ends, so a
//! second line, which the original does not read, then has the words as JSON. It counts only as long as it says the same.

use std::ffi::OsString;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::args::FileArgs;
use super::words::{options, without_secrets};
use crate::cli::private_file;

/// A command line: the program's name and what follows.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

/// Why a command line is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("some of it is not UTF-8 text")]
    NotText,
    #[error("it is longer than {LONGEST} characters")]
    TooLong,
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Why there is no last command line. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LastError {
    #[error("where the last command line is stored is not known\n     name the file with -E")]
    NoPlace,
    #[error("no command line is stored in {}\n     knock once without --no-save-args, or name the file with -E", .0.display())]
    Nothing(PathBuf),
    #[error("the stored command line {} cannot be read\n     name another file with -E", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} {what}: what it says is not run\n     {advice} {}", path.display(), path.display())]
    Unsafe { path: PathBuf, what: String, advice: &'static str },
}

/// Where the last command line is. `None`: nobody said, and there is no home directory.
pub fn place(files: &FileArgs, home: Option<OsString>) -> Option<PathBuf> {
    let home = home.filter(|home| !home.is_empty() && !files.no_home_dir);
    files.save_args_file.clone().or_else(|| Some(PathBuf::from(home?).join(".fwknop.run")))
}

/// Stores these words, without the keys among them.
pub fn store(path: &Path, words: &[OsString]) -> Result<(), StoreError> {
    let words: Option<Vec<String>> = words.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let line = CommandLine(words.ok_or(StoreError::NotText)?).without_secrets();
    let text = line.text().ok_or(StoreError::TooLong)?;
    private_file::write(path, &text).map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

/// What is stored in a file of ours or the original's.
pub fn load(path: &Path) -> Result<Loaded, LastError> {
    let failed = |source| LastError::Read { path: path.to_owned(), source };
    let no_wait = OFlags::NONBLOCK.bits() as i32;
    let file = match OpenOptions::new().read(true).custom_flags(no_wait).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LastError::Nothing(path.to_owned())),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    check(path, &metadata)?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    let line = CommandLine::parse(&text).ok_or_else(|| LastError::Nothing(path.to_owned()))?;
    Ok(Loaded { line, is_open: metadata.mode() & 0o077 != 0 })
}

/// The options beside `--last-cmd` that count for nothing.
pub fn others(words: &[OsString]) -> Vec<String> {
    const COUNT: [&str; 5] = ["last-cmd", "save-args-file", "no-save-args", "no-home-dir", "verbose"];
    let words: Vec<String> = words.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let mut others: Vec<String> = options(&words).into_iter().map(|said| said.option).collect();
    others.retain(|option| !COUNT.contains(&option.as_str()));
    others.iter().map(|option| format!("--{option}")).collect()
}

/// A command line from a file.
#[derive(Debug)]
pub struct Loaded {
    pub line: CommandLine,
    /// Others can read the file, in which the original may have put keys.
    pub is_open: bool,
}

/// Whoever can write the file says what is run.
fn check(path: &Path, metadata: &Metadata) -> Result<(), LastError> {
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let found = |what: String, advice| Err(LastError::Unsafe { path: path.to_owned(), what, advice });
    if !metadata.is_file() {
        return found("is not a regular file".to_owned(), "name another with -E instead of");
    }
    if owner != us && owner != 0 {
        return found(format!("belongs to user {owner}"), "look at it, then remove");
    }
    match metadata.mode() & 0o777 {
        mode if mode & 0o022 != 0 => {
            found(format!("can be written by others (mode {mode:04o})"), "look at it, then run: chmod 600")
        }
        _ => Ok(()),
    }
}

/// What the original stores, and reads, at most: it would run the beginning of a longer line.
const LONGEST: usize = 1023;
/// Both lines.
const LARGEST: u64 = 16 << 10;

impl CommandLine {
    /// Reads what is in the file. `None`: nothing.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let first = Self(lines.next()?.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect());
        let exact = lines.next().and_then(|line| serde_json::from_str(line).ok()).map(Self);
        let line = exact.filter(|exact| exact.plain().split(' ').filter(|word| !word.is_empty()).eq(&first.0));
        Some(line.unwrap_or(first)).filter(|line| !line.0.is_empty())
    }

    /// What the file holds. `None`: the original could not read it.
    fn text(&self) -> Option<String> {
        let plain = self.plain();
        if plain.len() >= LONGEST {
            return None;
        }
        let mut text = format!("{plain}\n");
        if self.needs_quotes() {
            text.push_str(&serde_json::to_string(&self.0).ok()?);
            text.push('\n');
        }
        Some(text)
    }

    fn plain(&self) -> String {
        let one_line = |word: &String| format!("{} ", word.replace(char::is_control, " "));
        self.0.iter().map(one_line).collect()
    }

    fn needs_quotes(&self) -> bool {
        !self.plain().split(' ').filter(|word| !word.is_empty()).eq(&self.0)
    }

    pub fn without_secrets(&self) -> Self {
        let mut words: Vec<String> = self.0.iter().take(1).cloned().collect();
        words.extend(without_secrets(self.0.get(1..).unwrap_or_default()));
        Self(words)
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// As the original shows it, with its newline; with quotes where blanks would mislead.
    pub fn shown(&self) -> String {
        match self.needs_quotes() {
            false => format!("{}\n", self.plain()),
            true => self.0.iter().map(|word| quoted(word) + " ").chain(["\n".to_owned()]).collect(),
        }
    }
}

fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
    if is_plain { word.to_owned() } else { format!("{word:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(words: &[&str]) -> CommandLine {
        CommandLine(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn the_first_line_is_that_of_the_original() {
        let plain = line(&["fwknop", "-A", "tcp/22", "-s"]);
        assert_eq!(plain.text().unwrap(), "fwknop -A tcp/22 -s \n");
        assert_eq!(plain.shown(), "fwknop -A tcp/22 -s \n");
        let quoted = line(&["fwknop", "-C", "a  b\n", "-s", ""]);
        assert_eq!(quoted.text().unwrap(), "fwknop -C a  b  -s  \n[\"fwknop\",\"-C\",\"a  b\\n\",\"-s\",\"\"]\n");
        assert_eq!(quoted.shown(), "fwknop -C \"a  b\\n\" -s \"\" \n");
    }

    #[test]
    fn the_second_line_counts_while_it_says_the_same() {
        let exact = "[\"fwknop\",\"-C\",\"a b\"]\n";
        assert_eq!(CommandLine::parse(&format!("fwknop -C a b \n{exact}")), Some(line(&["fwknop", "-C", "a b"])));
        let edited = format!("fwknop -C a c \n{exact}");
        assert_eq!(CommandLine::parse(&edited), Some(line(&["fwknop", "-C", "a", "c"])));
        assert_eq!(CommandLine::parse("fwknop  -l\nnonsense"), Some(line(&["fwknop", "-l"])));
        for nothing in ["", "\n", "  \n[\"x\"]"] {
            assert_eq!(CommandLine::parse(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn what_the_original_would_cut_is_not_stored() {
        assert!(line(&[&"x".repeat(LONGEST - 2)]).text().is_some_and(|text| text.len() == LONGEST));
        assert_eq!(line(&[&"x".repeat(LONGEST - 1)]).text(), None);
    }

    proptest! {
        #[test]
        fn what_is_stored_is_read_again(words in prop::collection::vec("[a-z\"' \t\n\\\\é=-]{0,6}", 1..6)) {
            let line = CommandLine(words);
            prop_assume!(!line.plain().trim().is_empty());
            prop_assert_eq!(CommandLine::parse(&line.text().unwrap()), Some(line));
        }
    }
}
