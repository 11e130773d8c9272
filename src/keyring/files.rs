//! Keys from files: no GnuPG needed.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{Error, Keys, Loaded, Warning, permissions};
use crate::secret::{Passphrase, Secret};
use crate::time::Timestamp;

/// Reads certificates and secret keys, armored or binary, any number in each file.
pub fn from_files(files: &[PathBuf], passphrase: Option<&Passphrase>, now: Timestamp) -> Result<Loaded, Error> {
    let mut keys = Keys::default();
    let mut warnings = Vec::new();
    for file in files {
        let KeyData { data, open_to_others } = read(file)?;
        let secrets_before = keys.decrypting().count();
        let notices = keys.add(data.expose(), passphrase, now);
        let notices = notices.map_err(|_| Error::NotAKey { path: file.clone() })?;
        let holds_secrets = keys.decrypting().count() > secrets_before || !notices.is_empty();
        warnings.extend(notices.into_iter().map(Warning::Key));
        if holds_secrets && open_to_others {
            warnings.push(Warning::ReadableByOthers { path: file.clone() });
        }
    }
    if let Some(place) = files.first().filter(|_| keys.decrypting().next().is_none()) {
        warnings.push(Warning::NothingDecrypts { place: place.clone() });
    }
    Ok(Loaded { keys, warnings })
}

/// The content of a key file.
#[derive(Debug)]
pub struct KeyData {
    /// It may be secret.
    pub data: Secret<Vec<u8>>,
    /// Whether anybody but its owner may read the file.
    pub open_to_others: bool,
}

/// Reads one key file, which nobody but root or we may be able to change. At most 16 MiB.
pub fn read(path: &Path) -> Result<KeyData, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    // Opening a pipe would otherwise wait for somebody to write to it.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::NoFile { path: path.into() }),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    permissions::judge(path, &metadata)?;
    if !metadata.is_file() {
        return Err(Error::NotAKey { path: path.into() });
    }
    let size = metadata.len();
    if size > MAX_FILE {
        return Err(Error::TooLong { path: path.into(), size });
    }
    // Never grown, so no copy of a secret stays behind in freed memory.
    let mut data = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    let read = file.take(size).read_to_end(&mut data);
    let data = Secret::new(data);
    read.map_err(failed)?;
    Ok(KeyData { data, open_to_others: permissions::is_open_to_others(&metadata) })
}

/// Bytes. Room for some thousand certificates.
const MAX_FILE: u64 = 16 << 20;
