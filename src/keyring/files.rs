//! Keys from files: no GnuPG needed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Error, Keys, Loaded, Warning, permissions};
use crate::secret::{Passphrase, Secret};
use crate::time::Timestamp;

/// Reads certificates and secret keys, armored or binary, any number in each file.
pub fn from_files(files: &[PathBuf], passphrase: Option<&Passphrase>, now: Timestamp) -> Result<Loaded, Error> {
    let mut keys = Keys::default();
    let mut warnings = Vec::new();
    for file in files {
        let data = read(file, &mut warnings)?;
        let secrets_before = keys.decrypting().count();
        let notices = keys.add(data.expose(), passphrase, now);
        let notices = notices.map_err(|_| Error::NotAKey { path: file.clone() })?;
        let holds_secrets = keys.decrypting().count() > secrets_before || !notices.is_empty();
        warnings.extend(notices.into_iter().map(Warning::Key));
        if holds_secrets {
            let metadata = permissions::check(file, &mut Vec::new())?;
            permissions::warn_if_readable(file, &metadata, &mut warnings);
        }
    }
    if let Some(place) = files.first().filter(|_| keys.decrypting().next().is_none()) {
        warnings.push(Warning::NothingDecrypts { place: place.clone() });
    }
    Ok(Loaded { keys, warnings })
}

/// The content of one key file, which may be secret. At most 16 MiB.
pub fn read(path: &Path, warnings: &mut Vec<Warning>) -> Result<Secret<Vec<u8>>, Error> {
    let metadata = match permissions::check(path, warnings) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoFile { path: path.into() });
        }
        metadata => metadata?,
    };
    // Opening a pipe would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err(Error::NotAKey { path: path.into() });
    }
    let size = metadata.len();
    if size > MAX_FILE {
        return Err(Error::TooLong { path: path.into(), size });
    }
    // Never grown, so no copy of a secret stays behind in freed memory.
    let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    let read = File::open(path).and_then(|file| file.take(size).read_to_end(&mut data));
    let data = Secret::new(data);
    read.map(|_| data).map_err(|source| Error::Read { path: path.into(), source })
}

/// Bytes. Room for some thousand certificates.
const MAX_FILE: u64 = 16 << 20;
