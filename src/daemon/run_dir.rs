//! The directory for state. What lies in it is believed, so nobody else may be able to put anything there.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use the run directory {}", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the run directory {} belongs to another user ({owner}): `chown root {0}`, or name another", path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("others can write to the run directory {}: `chmod go-w {0}`, or name another", path.display())]
    Writable { path: PathBuf },
}

/// Makes it when it is missing, for us alone; refuses one that others can write to.
pub fn prepare(path: &Path) -> Result<(), Error> {
    let unusable = |source| Error::Unusable { path: path.into(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    look(path)
}

/// Refuses one that others can write to, or that is not there.
pub fn look(path: &Path) -> Result<(), Error> {
    let unusable = |source| Error::Unusable { path: path.into(), source };
    let found = fs::metadata(path).map_err(unusable)?;
    if ![0, geteuid().as_raw()].contains(&found.uid()) {
        return Err(Error::Owner { path: path.into(), owner: found.uid() });
    }
    if found.mode() & 0o022 != 0 {
        return Err(Error::Writable { path: path.into() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        prepare(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn one_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, fine) in [(0o755, true), (0o775, false), (0o702, false), (0o1777, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(prepare(dir.path()).is_ok(), fine, "{mode:o}");
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    }
}
