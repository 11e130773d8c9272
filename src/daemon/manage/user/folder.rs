//! Where users are: files in a folder, and the access file that includes it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::keys::Ended;
use crate::cli::private_file;
use crate::config::{AccessPlace, Syntax};
use crate::crypto::openpgp::Fingerprint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    Suspended,
}

impl State {
    /// Only files that end in `.conf` are read.
    pub fn ending(self) -> &'static str {
        match self {
            State::Active => ".conf",
            State::Suspended => ".conf.suspended",
        }
    }
}

/// A file of the folder.
pub struct Known {
    pub name: String,
    pub state: State,
    pub path: PathBuf,
    /// Written by `fwknopd user add`. What an administrator wrote is shown, and never changed.
    pub ours: bool,
    settings: Vec<(String, String)>,
}

/// The first words of the line by which our files are known.
pub const MARK: &str = "# by fwknopd user add";

impl Known {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn keys(&self) -> Vec<Fingerprint> {
        let listed = self.get("GPG_FINGERPRINT_ID").unwrap_or_default().split(',');
        listed.filter_map(|key| key.trim().parse().ok()).collect()
    }
}

/// Where users are: a folder, and the access file that includes it.
pub struct Folder {
    pub path: PathBuf,
    /// The line that is missing in the access file, which may be missing itself.
    pub missing: Option<PathBuf>,
}

impl Folder {
    pub fn of(access: &AccessPlace) -> Result<Self, Ended> {
        let file = match access {
            AccessPlace::Folder(path) => return Ok(Self { path: path.clone(), missing: None }),
            AccessPlace::File { path, .. } => path,
        };
        let text = Zeroizing::new(read_if_there(file)?.unwrap_or_default());
        // Relative names start where the daemon is started, as everywhere in the configuration.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let here = absolute(file).parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        match included(file, &text) {
            Some(named) => Ok(Self { path: absolute(Path::new(&named)), missing: None }),
            None if Syntax::of(file) == Syntax::Toml => {
                let what = format!("{} includes no folder for users", file.display());
                let line = format!("write at its top: include_folder = \"{}\"", here.join("users").display());
                Err(Ended::refused(what, format!("make the folder, and {line}")))
            }
            None => Ok(Self { path: here.join("users"), missing: Some(file.clone()) }),
        }
    }

    pub fn users(&self) -> Result<Vec<Known>, Ended> {
        let failed = |source| Ended::Read { path: self.path.clone(), source };
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut users = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let states = [State::Suspended, State::Active].into_iter();
            let Some((name, state)) = states.filter_map(|s| Some((file.strip_suffix(s.ending())?, s))).next() else {
                continue;
            };
            let text =
                Zeroizing::new(fs::read_to_string(&path).map_err(|source| Ended::Read { path: path.clone(), source })?);
            users.push(Known {
                name: name.to_owned(),
                state,
                ours: text.lines().any(|line| line.starts_with(MARK)),
                settings: public_settings(&text),
                path,
            });
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    /// One whose file is ours to change.
    pub fn user(&self, name: &str) -> Result<Known, Ended> {
        let known = self.users()?.into_iter().find(|known| known.name == name).ok_or_else(|| no_user(name))?;
        if !known.ours {
            let what = format!("{} was not written by fwknopd", known.path.display());
            return Err(Ended::refused(what, "change it yourself, and let the daemon read it with: fwknopd -R"));
        }
        Ok(known)
    }

    /// Makes it, and has the access file include it. What is returned puts everything back, as far as that can be.
    pub fn make(&self) -> Result<Undo, Ended> {
        let mut undo = Undo::default();
        if !self.path.exists() {
            let made = DirBuilder::new().mode(0o700).recursive(true).create(&self.path);
            made.map_err(|source| Ended::Write { path: self.path.clone(), source })?;
            undo.folder = Some(self.path.clone());
        }
        let Some(access) = &self.missing else { return Ok(undo) };
        let old = read_if_there(access)?.map(Zeroizing::new);
        // In front, so that it belongs to no stanza.
        let line = format!("%include_folder     {}\n", self.path.display());
        let text = Zeroizing::new(line + old.as_ref().map_or("", |old| old.as_str()));
        write(access, &text)?;
        undo.access = Some((access.clone(), old));
        Ok(undo)
    }

    pub fn file(&self, name: &str, state: State) -> PathBuf {
        self.path.join(format!("{name}{}", state.ending()))
    }
}

/// How to take back what [`Folder::make`] did.
#[derive(Default)]
pub struct Undo {
    folder: Option<PathBuf>,
    access: Option<(PathBuf, Option<Zeroizing<String>>)>,
}

impl Undo {
    pub fn run(self) -> Result<(), Ended> {
        match self.access {
            Some((path, Some(old))) => write(&path, &old)?,
            Some((path, None)) => remove(&path)?,
            None => {}
        }
        if let Some(folder) = self.folder {
            fs::remove_dir(&folder).map_err(|source| Ended::Write { path: folder, source })?;
        }
        Ok(())
    }
}

pub fn no_user(name: &str) -> Ended {
    Ended::not_found(format!("there is no user '{name}'"), "list them with: fwknopd user list")
}

/// The folder that an access file includes, as it is written there: the first one.
fn included(file: &Path, text: &str) -> Option<String> {
    if Syntax::of(file) == Syntax::Toml {
        let table: toml::Table = toml::from_str(text).ok()?;
        let named = table.get("include_folder")?;
        return named.as_str().or_else(|| named.as_array()?.first()?.as_str()).map(str::to_owned);
    }
    let line = text.lines().find_map(|line| line.trim().strip_prefix("%include_folder"))?;
    Some(line.trim_start_matches(':').trim().trim_end_matches(';').trim().to_owned())
}

fn read_if_there(path: &Path) -> Result<Option<String>, Ended> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(|source| Ended::Read { path: path.to_owned(), source }),
    }
}

/// What in an access file is no secret.
fn public_settings(text: &str) -> Vec<(String, String)> {
    const SHOWN: [&str; 6] =
        ["SOURCE", "OPEN_PORTS", "FW_ACCESS_TIMEOUT", "ACCESS_EXPIRE_EPOCH", "GPG_FINGERPRINT_ID", "GPG_HOME_DIR"];
    let setting = |line: &str| {
        let (name, value) = line.trim().split_once([' ', '\t'])?;
        SHOWN.contains(&name).then(|| (name.to_owned(), value.trim().trim_end_matches(';').trim().to_owned()))
    };
    text.lines().filter_map(setting).collect()
}

pub fn remove(path: &Path) -> Result<(), Ended> {
    fs::remove_file(path).map_err(|source| Ended::Write { path: path.to_owned(), source })
}

pub fn write(path: &Path, text: &str) -> Result<(), Ended> {
    private_file::write(path, text).map_err(|source| Ended::Write { path: path.to_owned(), source })
}
