//! Files that only the user shall see: a packet opens a door, and keys open all of them. No link is followed, for it may
//! have been put there by somebody else to have a file of ours overwritten, or ours to be written where they can read it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Puts a new file in the place of `path` in one step, so that it holds the old text or the new, never a part. Devices
/// and pipes, such as `/dev/stdout`, are written to.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    match Existing::at(path)? {
        Existing::Stream(mut file) => file.write_all(text.as_bytes()),
        Existing::Nothing | Existing::File => replace(path, text),
    }
}

/// Adds to a file, which must be ours and no link.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    if let Existing::Stream(mut file) = Existing::at(path)? {
        return file.write_all(text.as_bytes());
    }
    let no_follow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(foreign(found.uid()));
    }
    // It may have been there before, open to others.
    file.set_permissions(private())?;
    file.write_all(text.as_bytes())
}

/// Replaces whatever is called `path`, also a link, by a file of ours.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".fwknop.").permissions(private()).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn private() -> Permissions {
    Permissions::from_mode(0o600)
}

fn foreign(owner: u32) -> io::Error {
    io::Error::other(format!("it belongs to another user ({owner})"))
}

enum Existing {
    Nothing,
    File,
    Stream(File),
}

impl Existing {
    /// An error if nothing may be written there.
    fn at(path: &Path) -> io::Result<Self> {
        let is_link = match fs::symlink_metadata(path) {
            Ok(found) => found.is_symlink(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        match fs::metadata(path) {
            Ok(found) if found.file_type().is_char_device() || found.file_type().is_fifo() => Self::stream(path),
            _ if is_link => Err(io::Error::other("it is a symbolic link: name the file itself")),
            Ok(found) if found.is_file() => Ok(Self::File),
            Ok(_) => Err(io::Error::other("it is not a regular file")),
            Err(error) => Err(error),
        }
    }

    /// Whoever made a pipe may be the one who reads it.
    fn stream(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        let found = file.metadata()?;
        let owner = found.uid();
        if found.is_file() {
            return Err(io::Error::other("it was exchanged meanwhile"));
        }
        if found.file_type().is_fifo() && owner != geteuid().as_raw() && owner != 0 {
            return Err(foreign(owner));
        }
        Ok(Self::Stream(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_takes_the_place_of_an_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("keys"), dir.path().join("other name"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        fs::hard_link(&path, &other).unwrap();
        write(&path, "new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new", 0o600));
        assert_eq!(fs::read_to_string(&other).unwrap(), "old", "the old file is not written to");
        append(&path, " and more").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("new and more", 0o600));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, nowhere) = (dir.path().join("target"), dir.path().join("link"), dir.path().join("nowhere"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        symlink(dir.path().join("gone"), &nowhere).unwrap();
        for path in [&link, &nowhere] {
            assert!(write(path, "x").unwrap_err().to_string().contains("symbolic link"));
            assert!(append(path, "x").unwrap_err().to_string().contains("symbolic link"));
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert!(!dir.path().join("gone").exists());
    }

    #[test]
    fn devices_are_written_to_and_directories_not() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("null");
        symlink("/dev/null", &link).unwrap();
        write(&link, "x").unwrap();
        append(Path::new("/dev/null"), "x").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && !fs::metadata("/dev/null").unwrap().is_file());
        assert!(write(dir.path(), "x").is_err() && append(dir.path(), "x").is_err());
    }
}
