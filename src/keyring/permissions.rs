//! Who else may read or change a keyring.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Error, Warning};

/// The state of `path` itself, after following links: an error if every user may change it.
pub(super) fn check(path: &Path, warnings: &mut Vec<Warning>) -> Result<Metadata, Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::Read { path: path.into(), source })?;
    if metadata.mode() & WRITABLE_BY_ALL != 0 {
        return Err(Error::WritableByAll { path: path.into() });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        warnings.push(Warning::Foreign { path: path.into() });
    }
    Ok(metadata)
}

/// Adds a warning if anybody but the owner may read what may be a secret.
pub(super) fn warn_if_readable(path: &Path, metadata: &Metadata, warnings: &mut Vec<Warning>) {
    if metadata.mode() & READABLE_BY_OTHERS != 0 {
        warnings.push(Warning::ReadableByOthers { path: path.into() });
    }
}

/// The files of a GnuPG home that decide whom we trust and with what we decrypt.
pub(super) fn check_home_files(home: &Path) -> Result<(), Error> {
    for name in ["pubring.kbx", "pubring.gpg", "gpg.conf", "gpg-agent.conf", "private-keys-v1.d"] {
        match check(&home.join(name), &mut Vec::new()) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(())
}

const WRITABLE_BY_ALL: u32 = 0o002;
const READABLE_BY_OTHERS: u32 = 0o077;
