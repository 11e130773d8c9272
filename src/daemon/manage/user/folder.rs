//! Where users are: files in a folder, and the access file that includes it.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::keys::Ended;
use crate::cli::private_file;
use crate::config::AccessPlace;
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
    settings: Vec<(String, String)>,
}

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
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| Ended::Read { path: file.clone(), source })?,
        };
        // Relative names start where the daemon is started, as everywhere in the configuration.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let here = absolute(file).parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        let included = text.lines().find_map(|line| line.trim().strip_prefix("%include_folder"));
        Ok(match included.map(|rest| rest.trim().trim_end_matches(';').trim()) {
            Some(named) => Self { path: absolute(Path::new(named)), missing: None },
            None => Self { path: here.join("users"), missing: Some(file.clone()) },
        })
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
            let settings = public_settings(&path)?;
            users.push(Known { name: name.to_owned(), state, path: path.clone(), settings });
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    pub fn user(&self, name: &str) -> Result<Known, Ended> {
        let no = || Ended::not_found(format!("there is no user '{name}'"), "list them with: fwknopd user list");
        self.users()?.into_iter().find(|known| known.name == name).ok_or_else(no)
    }

    /// Makes it, and has the access file include it.
    pub fn make(&self) -> Result<(), Ended> {
        if !self.path.exists() {
            let made = DirBuilder::new().mode(0o700).recursive(true).create(&self.path);
            made.map_err(|source| Ended::Write { path: self.path.clone(), source })?;
        }
        let Some(access) = &self.missing else { return Ok(()) };
        let old = match fs::read_to_string(access) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| Ended::Read { path: access.clone(), source })?,
        };
        // In front, so that it belongs to no stanza.
        let line = format!("%include_folder     {}\n", self.path.display());
        write(access, Zeroizing::new(format!("{line}{old}")).as_str())
    }

    pub fn file(&self, name: &str, state: State) -> PathBuf {
        self.path.join(format!("{name}{}", state.ending()))
    }
}

/// What in an access file is no secret.
fn public_settings(path: &Path) -> Result<Vec<(String, String)>, Ended> {
    let text =
        Zeroizing::new(fs::read_to_string(path).map_err(|source| Ended::Read { path: path.to_owned(), source })?);
    const SHOWN: [&str; 6] =
        ["SOURCE", "OPEN_PORTS", "FW_ACCESS_TIMEOUT", "ACCESS_EXPIRE_EPOCH", "GPG_FINGERPRINT_ID", "GPG_HOME_DIR"];
    let setting = |line: &str| {
        let (name, value) = line.trim().split_once([' ', '\t'])?;
        SHOWN.contains(&name).then(|| (name.to_owned(), value.trim().trim_end_matches(';').trim().to_owned()))
    };
    Ok(text.lines().filter_map(setting).collect())
}

pub fn write(path: &Path, text: &str) -> Result<(), Ended> {
    private_file::write(path, text).map_err(|source| Ended::Write { path: path.to_owned(), source })
}
