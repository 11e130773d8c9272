//! Who else may read or change a keyring. gpg obeys the files of its home, and the daemon runs it as root: whoever can
//! change them commands the daemon.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Error, Warning};

/// The state of `path` itself, after following links: an error if anybody but its owner may change it, or if that is
/// neither root nor we.
pub(super) fn check(path: &Path) -> Result<Metadata, Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::Read { path: path.into(), source })?;
    judge(path, &metadata).map(|()| metadata)
}

/// The same for what has been opened already.
pub(super) fn judge(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let us = rustix::process::geteuid().as_raw();
    match flaw(metadata.mode(), metadata.uid(), us) {
        Some(Flaw::Writable) => Err(Error::WritableByOthers { path: path.into() }),
        Some(Flaw::Foreign) => Err(Error::Foreign { path: path.into(), owner: metadata.uid(), us }),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Writable,
    Foreign,
}

fn flaw(mode: u32, owner: u32, us: u32) -> Option<Flaw> {
    if owner != us && owner != 0 {
        return Some(Flaw::Foreign);
    }
    (mode & WRITABLE_BY_OTHERS != 0).then_some(Flaw::Writable)
}

pub(super) fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.mode() & OPEN_TO_OTHERS != 0
}

/// Adds a warning if anybody but the owner may read what may be a secret.
pub(super) fn warn_if_readable(path: &Path, metadata: &Metadata, warnings: &mut Vec<Warning>) {
    if is_open_to_others(metadata) {
        warnings.push(Warning::ReadableByOthers { path: path.into() });
    }
}

/// The files of a GnuPG home that decide what gpg does, whom we trust and with what we decrypt.
pub(super) fn check_home_files(home: &Path) -> Result<(), Error> {
    for name in FILES {
        if let Some(metadata) = if_there(check(&home.join(name)))?
            && metadata.is_dir()
        {
            check_entries(&home.join(name))?;
        }
    }
    Ok(())
}

/// One level: GnuPG makes no directories in these.
fn check_entries(directory: &Path) -> Result<(), Error> {
    let unreadable = |source| Error::Read { path: directory.into(), source };
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        if_there(check(&entry.map_err(unreadable)?.path()))?;
    }
    Ok(())
}

fn if_there(checked: Result<Metadata, Error>) -> Result<Option<Metadata>, Error> {
    match checked {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

const FILES: [&str; 9] = [
    "gpg.conf",
    "gpg-agent.conf",
    "common.conf",
    "scdaemon.conf",
    "pubring.kbx",
    "pubring.gpg",
    "public-keys.d",
    "private-keys-v1.d",
    "trustdb.gpg",
];

const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_OTHERS: u32 = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_write_and_it_must_be_root_or_we() {
        for (mode, owner, expected) in [
            (0o100600, 7, None),
            (0o100644, 7, None),
            (0o040755, 0, None),
            (0o100620, 7, Some(Flaw::Writable)),
            (0o100602, 0, Some(Flaw::Writable)),
            (0o100600, 8, Some(Flaw::Foreign)),
        ] {
            assert_eq!(flaw(mode, owner, 7), expected, "{mode:o} {owner}");
        }
        assert_eq!(flaw(0o600, 7, 0), Some(Flaw::Foreign), "root trusts only itself");
    }
}
