//! A configuration file as text: read once, bounded, with its permissions checked.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use serde::Deserialize;
use toml::de::DeTable;
use zeroize::Zeroizing;

use super::complaint::{Complaint, Complaints, Place};
use super::fwknop::{self, Dialect};
use crate::secret::Secret;

/// How a file is written, chosen by its name: `.toml`, or else the original's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Fwknop,
    Toml,
}

impl Syntax {
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == "toml" => Syntax::Toml,
            _ => Syntax::Fwknop,
        }
    }

    /// How a setting's name is written.
    pub fn spell(self, name: &str) -> String {
        match self {
            Syntax::Fwknop => name.to_owned(),
            Syntax::Toml => name.to_ascii_lowercase(),
        }
    }

    /// How yes and no are written.
    pub fn yes_no(self) -> &'static str {
        match self {
            Syntax::Fwknop => "Y or N",
            Syntax::Toml => "true or false, without quotes",
        }
    }
}

/// What a file must look like from outside before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// `fwknopd.conf`: nobody else may write it.
    Settings,
    /// Access and key files: nobody else may write it, and nobody else should read it.
    Keys,
    /// The client's rc file: complaints only, as in the original (`spec/client.md` 3.4).
    Rc,
}

/// A file's text.
pub struct Source {
    file: Arc<Path>,
    syntax: Syntax,
    text: Secret<String>,
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
}

/// No configuration is larger; what is, is something else.
const SIZE_MAX: u64 = 16 << 20;

impl Source {
    /// Reads `path`. `None`: an error was added.
    pub fn open(path: &Path, guard: Guard, complaints: &mut Complaints) -> Option<Self> {
        let file: Arc<Path> = path.into();
        let place = Place::File(file.clone());
        let (metadata, bytes) = match slurp(path, guard) {
            Ok(read) => read,
            Err(Unreadable::NotAFile) => {
                complaints.error(&place, "is not a regular file", "name a file");
                return None;
            }
            Err(Unreadable::TooLarge) => {
                complaints.error(&place, "is larger than 16 MiB", "this is no configuration file; name another");
                return None;
            }
            Err(Unreadable::Io(error)) => {
                complaints.error(&place, format!("cannot be read: {error}"), "check the path and its permissions");
                return None;
            }
        };
        guard.check(&metadata, &place, complaints);
        let mut source = Self { file, syntax: Syntax::of(path), text: Secret::new(String::new()), lines: vec![0] };
        source.lines.extend(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
        match std::str::from_utf8(&bytes) {
            Ok(text) => source.text = Secret::new(text.to_owned()),
            Err(error) => {
                complaints.error(
                    &source.place(error.valid_up_to()),
                    "the file is not UTF-8 text",
                    "save it as UTF-8; write a key of other bytes as base64",
                );
                return None;
            }
        }
        Some(source)
    }

    /// A text that is already in memory, under the name of a file: for tests and fuzzing.
    pub fn from_text(path: &Path, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: path.into(), syntax: Syntax::of(path), text: Secret::new(text.to_owned()), lines }
    }

    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The line in which byte `offset` stands.
    pub fn place(&self, offset: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= offset);
        Place::Line(self.file.clone(), u32::try_from(line).unwrap_or(u32::MAX))
    }

    /// Deserializes the text. `None`: the file as a whole could not be read, and an error was added. In the line syntax
    /// bad lines are errors, but the others are handed over.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self, dialect: Dialect, complaints: &mut Complaints) -> Option<T> {
        match self.syntax {
            Syntax::Fwknop => {
                let (value, faults) = fwknop::from_str(self.text.expose(), dialect);
                for fault in faults {
                    let fwknop::LineFault { at, severity, what, advice } = fault;
                    complaints.push(Complaint { place: self.place(at), severity, what, advice });
                }
                // The format has no errors of its own: what does not fit the raw model cannot be written in it.
                value.ok()
            }
            Syntax::Toml => self.parse_toml(complaints),
        }
    }

    fn parse_toml<'de, T: Deserialize<'de>>(&'de self, complaints: &mut Complaints) -> Option<T> {
        let (root, mut errors) = DeTable::parse_recoverable(self.text.expose());
        let value = if errors.is_empty() {
            T::deserialize(toml::Deserializer::from(root)).map_err(|error| errors.push(error)).ok()
        } else {
            None
        };
        for error in errors {
            // Only the message: the error's own text shows the line, and that may hold a key.
            complaints.error(
                &self.place(error.span().map_or(0, |span| span.start)),
                format!("this is not valid TOML: {}", error.message()),
                "write name = value, text in quotes, numbers and true or false without",
            );
        }
        value
    }
}

enum Unreadable {
    NotAFile,
    TooLarge,
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Unreadable::Io(error)
    }
}

fn slurp(path: &Path, guard: Guard) -> Result<(Metadata, Zeroizing<Vec<u8>>), Unreadable> {
    let file = match guard {
        // Opening a named pipe must not block the daemon before it is seen to be one.
        Guard::Settings | Guard::Keys => {
            OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?
        }
        Guard::Rc => File::open(path)?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() || (guard != Guard::Rc && !metadata.is_file()) {
        return Err(Unreadable::NotAFile);
    }
    if metadata.len() > SIZE_MAX {
        return Err(Unreadable::TooLarge);
    }
    // Reserved once: growing would leave copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(Unreadable::TooLarge);
    }
    Ok((metadata, bytes))
}

impl Guard {
    fn check(self, metadata: &Metadata, place: &Place, complaints: &mut Complaints) {
        self.check_mode(metadata, place, complaints);
        let us = rustix::process::geteuid().as_raw();
        self.check_owner(metadata.uid(), us, place, complaints);
    }

    fn check_mode(self, metadata: &Metadata, place: &Place, complaints: &mut Complaints) {
        const OTHERS_WRITE: u32 = 0o002;
        const GROUP_WRITE: u32 = 0o020;
        let mode = metadata.mode() & 0o777;
        let must_not = match self {
            Guard::Settings => OTHERS_WRITE,
            Guard::Keys => OTHERS_WRITE | GROUP_WRITE,
            Guard::Rc => 0,
        };
        let only_owner = format!("run: chmod 600 {}", path_of(place));
        if !metadata.is_file() {
            complaints.warn(place, "is not a regular file", "name a regular file");
        } else if mode & must_not != 0 {
            complaints.error(place, format!("can be written by others (mode {mode:04o})"), only_owner);
        } else if mode & 0o077 != 0 {
            complaints.warn(place, format!("is open to others (mode {mode:04o})"), only_owner);
        }
    }

    fn check_owner(self, owner: u32, us: u32, place: &Place, complaints: &mut Complaints) {
        if owner == us || owner == 0 {
            return;
        }
        let what = format!("belongs to user {owner}, who can change it at any time");
        let advice = format!("run: chown {us} {}", path_of(place));
        match self {
            Guard::Settings | Guard::Keys => complaints.error(place, what, advice),
            Guard::Rc => complaints.warn(place, what, advice),
        }
    }
}

/// What is wrong with a folder whose files are all read: whoever can put one there says who is let in.
pub(super) fn folder_fault(mode: u32, owner: u32) -> Option<(String, &'static str)> {
    let us = rustix::process::geteuid().as_raw();
    if owner != us && owner != 0 {
        return Some((format!("belongs to user {owner}, who can add files at any time"), "chown root"));
    }
    (mode & 0o022 != 0).then(|| (format!("can be written by others (mode {:04o})", mode & 0o7777), "chmod go-w"))
}

fn path_of(place: &Place) -> String {
    match place {
        Place::File(file) | Place::Line(file, _) => file.display().to_string(),
        Place::Option(option) => option.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_user_is_refused() {
        let place = Place::File(Path::new("access.conf").into());
        let refused = |guard: Guard, owner, us| {
            let mut complaints = Complaints::default();
            guard.check_owner(owner, us, &place, &mut complaints);
            (complaints.has_errors(), complaints.to_string())
        };
        for guard in [Guard::Settings, Guard::Keys] {
            assert_eq!(refused(guard, 7, 7), (false, String::new()));
            assert_eq!(refused(guard, 0, 7), (false, String::new()));
            let (is_error, said) = refused(guard, 7, 0);
            assert!(is_error && said.contains("belongs to user 7") && said.contains("chown 0 access.conf"), "{said}");
        }
        let (is_error, said) = refused(Guard::Rc, 7, 8);
        assert!(!is_error && said.contains("belongs to user 7"), "{said}");
    }

    #[test]
    fn folders_that_others_can_fill_have_a_fault() {
        let us = rustix::process::geteuid().as_raw();
        for (mode, owner, fine) in [(0o700, us, true), (0o755, 0, true), (0o775, us, false), (0o1777, 0, false)] {
            assert_eq!(folder_fault(mode, owner).is_none(), fine, "{mode:o}");
        }
        assert!(folder_fault(0o700, us + 1).is_some());
    }
}
