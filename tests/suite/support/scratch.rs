//! A short-lived directory of a test's own. Short names, because a GnuPG home holds sockets, and those end at 107 bytes.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Mode 0700, removed on drop.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("spa").tempdir_in("/tmp").expect("cannot make a directory in /tmp"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file with mode 0600, as configuration wants it.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        write_private(&path, content);
        path
    }

    /// Writes a shell script that may be run.
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.write(name, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }
}

pub fn write_private(path: &Path, content: &str) {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
