//! `fwknop key …`, `fwknop server …` and `fwknop completions …`, each in a home of its own with a real GnuPG.

mod check;
mod completions;
mod exchange;
mod generate;
mod list;
mod qr;
mod servers;
mod toml;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Home, PROGRAM, Run, run, text_of};
use crate::support::gpg::{self, Key};

/// A user with a keyring and an rc file.
struct User {
    home: Home,
    ring: gpg::Home,
}

impl User {
    fn new(own: &[&Key], others: &[&Key]) -> Self {
        let ring = gpg::Home::new();
        own.iter().for_each(|key| ring.import(&key.secret));
        others.iter().for_each(|key| ring.import(&key.public));
        Self { home: Home::new(), ring }
    }

    /// Without a terminal: nobody can be asked.
    fn run(&self, line: &[&str]) -> Run {
        self.input(line, "")
    }

    fn input(&self, line: &[&str], input: &str) -> Run {
        let mut command = self.command("setsid");
        run(command.args(["-w", PROGRAM]).args(line), input)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.home.command(program);
        command.env("GNUPGHOME", self.ring.path());
        command
    }

    /// At a terminal, where this is typed. Both streams of output come as one.
    fn typing(&self, line: &[&str], answer: &str) -> Run {
        let quoted: Vec<String> = [&[PROGRAM], line].concat().iter().map(|word| format!("'{word}'")).collect();
        let mut command = self.command("script");
        run(command.args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"]), &format!("{answer}\n"))
    }

    /// The result of a command that succeeds.
    fn json(&self, line: &[&str]) -> Value {
        let done = self.run(line);
        assert_eq!(done.code, Some(0), "{line:?}: {}", done.err);
        assert_eq!(done.out.lines().count(), 1, "{line:?}: {}", done.out);
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{line:?}: {error}: {}", done.out))
    }

    /// Fails with this code, and with these words; nothing is changed.
    #[track_caller]
    fn refused(&self, line: &[&str], code: i32, said: &[&str]) {
        self.refused_input(line, "", code, said);
    }

    #[track_caller]
    fn refused_input(&self, line: &[&str], input: &str, code: i32, said: &[&str]) {
        let before = self.tree();
        let done = self.input(line, input);
        assert_eq!(done.code, Some(code), "{line:?}: {}{}", done.out, done.err);
        for words in said {
            assert!(done.err.contains(words), "{line:?}: no '{words}' in:\n{}", done.err);
        }
        assert!(
            done.err.lines().any(|line| line.starts_with("     ")),
            "{line:?} is not told what to do: {}",
            done.err
        );
        assert_eq!(self.tree(), before, "{line:?} changed something");
    }

    /// Everything in both homes but sockets, locks and what gpg keeps of chance.
    fn tree(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut tree = BTreeMap::new();
        for top in [self.home.0.path(), self.ring.path()] {
            add_tree(top, &mut tree);
        }
        tree
    }

    fn fingerprints(&self) -> Vec<String> {
        let listed = self.ring.gpg(&["--with-colons", "--list-keys"]);
        let mut primary = false;
        let mut found = Vec::new();
        for line in listed.lines() {
            match line.split(':').next() {
                Some("pub") => primary = true,
                Some("fpr") if std::mem::take(&mut primary) => found.extend(line.split(':').nth(9).map(str::to_owned)),
                _ => {}
            }
        }
        found
    }

    /// A file in the user's home.
    fn file(&self, name: &str, content: &str) -> String {
        text_of(&self.home.0.write(name, content)).to_owned()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.home.0.join(name)).unwrap().mode() & 0o7777
    }
}

fn add_tree(top: &Path, tree: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if found.file_type().is_socket() || name == "random_seed" || name.ends_with(".lock") || name.starts_with(".#") {
            continue;
        }
        let content = if found.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        tree.insert(path.clone(), (found.mode(), content));
        if found.is_dir() {
            add_tree(&path, tree);
        }
    }
}

/// A key of the vectors, as text.
fn vector(name: &str) -> String {
    fs::read_to_string(format!("{}/keyrings/vectors/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn a_wrong_command_line_has_a_code_of_its_own_and_is_explained() {
    let user = User::new(&[], &[]);
    for (line, said) in [
        (&["key", "import"][..], "required arguments were not provided: <FILE>"),
        (&["key", "frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["server", "add"], "required arguments were not provided: <NAME>"),
        (&["key", "remove", "12345678"], "not a full fingerprint of 40 or 64 hexadecimal digits"),
        (&["key", "generate", "x", "--expire", "soon"], "'soon' is no span of time"),
        (&["key", "generate", "x", "--yes", "--dry-run"], "cannot be used with"),
    ] {
        user.refused(line, 2, &[said, &format!("see: fwknop {} --help", line[0])]);
    }
    let algorithms = ["invalid value 'dsa1024'", "write one of curve25519, rsa2048, rsa3072, rsa4096, nistp256"];
    user.refused(&["key", "generate", "x", "--algo", "dsa1024"], 2, &algorithms);
    user.refused(&["completions", "tcsh"], 2, &["invalid value 'tcsh'", "write one of bash, zsh, fish"]);
    for line in [&["key"][..], &["server"]] {
        let done = user.run(line);
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{line:?}");
        assert!(done.err.contains("Usage: fwknop"), "{}", done.err);
    }
    // Only as the first word: before, the original's options decide.
    user.refused(&["-A", "tcp/22", "key", "list"], 1, &["unexpected argument 'key' found", "as the first word only"]);
    let help = user.run(&["key", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("generate") && help.err.is_empty(), "{}", help.out);
}
