//! Access files with all they include, in the order in which stanzas count (`spec/access.md` 2).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::access_table;
use super::complaint::{Complaints, Place};
use super::fwknop::Dialect;
use super::raw::{Entries, RawAccess, Value};
use super::server::AccessPlace;
use super::setting::Setting;
use super::source::{Guard, Source, Syntax, folder_fault};
use super::value::text_of;

/// A stanza as written, with what its key files add.
#[derive(Debug)]
pub struct RawStanza {
    /// Where it begins.
    pub place: Place,
    pub syntax: Syntax,
    pub settings: Vec<Setting>,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub struct RawStanzas {
    pub stanzas: Vec<RawStanza>,
    /// A folder was among it, which may be empty: the last user of a server may be taken off the list.
    pub from_folder: bool,
}

/// Reads all stanzas of `access`. What could not be read has been complained about.
pub fn read_stanzas(access: &AccessPlace, directory: &Path, complaints: &mut Complaints) -> RawStanzas {
    let mut reader = Reader { directory, read: RawStanzas::default(), above: Vec::new(), complaints };
    match access {
        AccessPlace::File { path, refuse_link } => {
            let path = directory.join(path);
            let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
            if *refuse_link && is_link {
                let place = Place::File(path.into());
                reader.complaints.error(&place, "is a symbolic link", "name the file itself");
            } else {
                reader.file(&path, None);
            }
        }
        AccessPlace::Folder(path) => reader.folder(&directory.join(path), None),
    }
    reader.read
}

/// The same for a text in memory, as if it were the file `path`.
pub fn parse_stanzas(path: &Path, text: &str, complaints: &mut Complaints) -> RawStanzas {
    let mut reader = Reader { directory: Path::new("/"), read: RawStanzas::default(), above: Vec::new(), complaints };
    reader.source(&Source::from_text(path, text));
    reader.read
}

/// The main file is level 1; a file on level 3 includes no more.
const LEVELS: usize = 3;

struct Reader<'a> {
    directory: &'a Path,
    read: RawStanzas,
    /// The files that are being read: each includes the next.
    above: Vec<PathBuf>,
    complaints: &'a mut Complaints,
}

impl Reader<'_> {
    /// Reads a file that `asked` includes; the main file is included by none.
    fn file(&mut self, path: &Path, asked: Option<&Place>) {
        let place = asked.cloned().unwrap_or_else(|| Place::File(path.into()));
        if self.above.len() == LEVELS {
            let what = format!("{} is included too deeply", path.display());
            return self.complaints.error(&place, what, format!("files may include each other {LEVELS} levels deep"));
        }
        if self.above.iter().any(|file| file == path) {
            let what = format!("{} includes itself", path.display());
            return self.complaints.error(&place, what, "remove the include");
        }
        if let Some(source) = self.open(path, asked) {
            self.above.push(path.into());
            self.source(&source);
            self.above.pop();
        }
    }

    /// When a file cannot be opened the complaint names it, and the line that asks for it.
    fn open(&mut self, path: &Path, asked: Option<&Place>) -> Option<Source> {
        let mut about = Complaints::default();
        let source = Source::open(path, Guard::Keys, &mut about);
        for mut complaint in about {
            if let (None, Some(asked)) = (&source, asked) {
                complaint.what = format!("{}: {}", complaint.place, complaint.what);
                complaint.place = asked.clone();
            }
            self.complaints.push(complaint);
        }
        source
    }

    fn source(&mut self, source: &Source) {
        let Some(raw) = source.parse::<RawAccess>(Dialect::Access, self.complaints) else { return };
        for setting in Setting::located(raw.head, source) {
            match Directive::of(&setting) {
                Some(Directive::File | Directive::Folder) => self.include(&setting),
                _ => self.outside(&setting),
            }
        }
        for stanza in raw.stanzas {
            let place = source.place(stanza.span().start);
            let mut settings = Vec::new();
            // The stanza stays open around an include, and counts before the stanzas in there.
            let at = self.read.stanzas.len();
            self.read.stanzas.push(RawStanza { place, syntax: source.syntax(), settings: Vec::new() });
            for setting in Setting::located(stanza.into_inner(), source) {
                match Directive::of(&setting) {
                    Some(Directive::Keys) => settings.extend(self.keys(&setting)),
                    Some(_) => self.include(&setting),
                    None => settings.push(setting),
                }
            }
            self.read.stanzas[at].settings = settings;
        }
    }

    /// The original skips what stands before the first stanza, and with it what may be meant as a restriction.
    fn outside(&mut self, setting: &Setting) {
        let advice = match setting.syntax {
            Syntax::Fwknop => "put it below a SOURCE line",
            Syntax::Toml => "put it below a [[stanza]] line",
        };
        self.complaints.error(&setting.place, format!("{} stands outside of all stanzas", setting.name), advice);
    }

    fn include(&mut self, setting: &Setting) {
        for path in self.paths(setting) {
            match Directive::of(setting) {
                Some(Directive::Folder) => self.folder(&path, Some(&setting.place)),
                _ => self.file(&path, Some(&setting.place)),
            }
        }
    }

    /// Files in the order of their names, not of the directory: the order of stanzas matters.
    fn folder(&mut self, folder: &Path, asked: Option<&Place>) {
        let place = asked.cloned().unwrap_or_else(|| Place::File(folder.into()));
        let listed = fs::metadata(folder).and_then(|metadata| {
            let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
            Ok((metadata, entries))
        });
        let (metadata, entries) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let what = format!("the folder {} cannot be read: {error}", folder.display());
                return self.complaints.error(&place, what, "check the path and its permissions");
            }
        };
        if let Some((fault, remedy)) = folder_fault(metadata.mode(), metadata.uid()) {
            let what = format!("the folder {} {fault}", folder.display());
            return self.complaints.error(&place, what, format!("run: {remedy} {}", folder.display()));
        }
        self.read.from_folder = true;
        let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| fits(path)).collect();
        files.sort();
        if files.is_empty() {
            let what = format!("the folder {} holds no .conf or .toml file", folder.display());
            self.complaints.warn(&place, what, "put access files there, or remove the folder");
        }
        for file in files {
            self.file(&file, asked);
        }
    }

    /// The settings of a key file: only keys, and what belongs to them.
    fn keys(&mut self, setting: &Setting) -> Vec<Setting> {
        let mut keys = Vec::new();
        for path in self.paths(setting) {
            let Some(source) = self.open(&path, Some(&setting.place)) else { continue };
            let entries = source.parse::<Entries>(Dialect::Keys, self.complaints).unwrap_or_default();
            for key in Setting::located(entries, &source) {
                let known = access_table::TABLE.find(&key.name, key.syntax);
                if known.is_ok_and(|variable| !access_table::KEYS.contains(&variable.name)) {
                    let what = format!("{} cannot stand in a key file", key.name);
                    self.complaints.error(&key.place, what, "move it into the stanza that includes this file");
                } else {
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// The paths a directive names: one, or in TOML one or several.
    fn paths(&mut self, setting: &Setting) -> Vec<PathBuf> {
        let texts: Option<Vec<&str>> = match &setting.value {
            Value::List(items) => items.iter().map(text_of).collect(),
            value => text_of(value).map(|text| vec![text]),
        };
        let texts = texts.filter(|texts| texts.iter().all(|text| !text.is_empty() && !text.contains('\0')));
        match texts {
            Some(texts) => texts.into_iter().map(|text| self.directory.join(text)).collect(),
            None => {
                self.complaints.error(&setting.place, format!("{} names no file", setting.name), "write a path");
                Vec::new()
            }
        }
    }
}

fn fits(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "conf" || extension == "toml") && path.is_file()
}

/// `%include` and its relatives; in TOML they are names like others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    File,
    Folder,
    Keys,
}

impl Directive {
    fn of(setting: &Setting) -> Option<Self> {
        let name = match setting.syntax {
            Syntax::Fwknop => setting.name.strip_prefix('%')?,
            Syntax::Toml => &setting.name,
        };
        match name {
            "include" => Some(Self::File),
            "include_folder" => Some(Self::Folder),
            "include_keys" => Some(Self::Keys),
            _ => None,
        }
    }
}
