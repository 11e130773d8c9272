//! A wall clock that can be set, for one program: libfaketime tells it another time. The clocks that nobody can set are left
//! as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::scratch::Scratch;

pub struct FakeClock {
    dir: Scratch,
}

impl FakeClock {
    /// It shows the right time at first.
    pub fn new() -> Self {
        let clock = Self { dir: Scratch::new() };
        clock.set(0);
        clock
    }

    /// Seconds ahead of the right time.
    pub fn set(&self, ahead: i64) {
        // A file is seen as a whole or not at all.
        let new = self.dir.write("new", &format!("{ahead:+}"));
        std::fs::rename(new, self.file()).expect("our own files");
    }

    /// The program that is started goes by it, and whatever that starts.
    pub fn rule(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        command
    }

    fn file(&self) -> PathBuf {
        self.dir.join("clock")
    }
}

fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut places = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    places
        .find(|place| Path::new(place).exists())
        .expect("libfaketime is missing: install the Debian package libfaketime")
}
