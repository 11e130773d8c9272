//! Where gpg-agent listens, and how it is started when it does not.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha1::{Digest as _, Sha1};

use super::AgentError;

/// The GnuPG home whose agent is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentHome {
    directory: PathBuf,
    /// The one gpg takes when nothing is said: its sockets lie elsewhere.
    is_default: bool,
}

impl AgentHome {
    /// `None`: what gpg takes by itself, `$GNUPGHOME` or `~/.gnupg`.
    pub fn new(home: Option<&Path>) -> Option<Self> {
        let default = env::var_os("HOME").map(|home| Path::new(&home).join(".gnupg"));
        let named = home.map(Path::to_path_buf).or_else(|| env::var_os("GNUPGHOME").map(PathBuf::from));
        let directory = named.or_else(|| default.clone())?;
        // gpg may change its directory, and counts the bytes of the name.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let is_default = default.as_ref() == Some(&directory);
        Some(Self { directory, is_default })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// An agent that runs costs no process. One that does not is started.
    pub(super) fn connect(&self) -> Result<UnixStream, AgentError> {
        for socket in self.usual_places() {
            if let Ok(stream) = UnixStream::connect(&socket) {
                return Ok(stream);
            }
        }
        let socket = self.start()?;
        UnixStream::connect(&socket).map_err(|source| AgentError::Unreachable { socket, source })
    }

    /// `/run/user/<uid>/gnupg/` and the home itself, as GnuPG 2.1 and later choose.
    fn usual_places(&self) -> Vec<PathBuf> {
        let uid = rustix::process::geteuid().as_raw();
        let run = ["/run/gnupg/user", "/run/user"].map(|base| Path::new(base).join(uid.to_string()).join("gnupg"));
        let in_run = run.into_iter().filter(|directory| is_ours(directory, uid)).map(|directory| {
            if self.is_default { directory } else { directory.join(format!("d.{}", name_of(&self.directory))) }
        });
        in_run
            .chain([self.directory.clone()])
            .map(|directory| directory.join(SOCKET))
            .filter(|s| is_socket(s))
            .collect()
    }

    fn start(&self) -> Result<PathBuf, AgentError> {
        let gpgconf = |args: &[&str]| {
            let mut command = Command::new("gpgconf");
            command.arg("--homedir").arg(&self.directory).args(args);
            command.stdin(Stdio::null()).stderr(Stdio::null()).output().map_err(AgentError::NotStarted)
        };
        gpgconf(&["--launch", "gpg-agent"])?;
        let listed = gpgconf(&["--list-dirs", "agent-socket"])?.stdout;
        let path = listed.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(path))))
    }
}

/// What a pinentry needs to know about where the user sits (`gpg` tells it in the same words).
pub(super) fn terminal_options() -> Vec<String> {
    let terminal = env::var("GPG_TTY").ok().or_else(|| {
        let link = fs::read_link("/proc/self/fd/0").ok()?;
        link.to_str().filter(|name| name.starts_with("/dev/pts/") || name.starts_with("/dev/tty")).map(str::to_owned)
    });
    let variable = |name: &str| env::var(name).ok();
    let options = [
        ("ttyname", terminal),
        ("ttytype", variable("TERM")),
        ("display", variable("DISPLAY")),
        ("lc-ctype", variable("LC_ALL").or_else(|| variable("LC_CTYPE")).or_else(|| variable("LANG"))),
    ];
    let plain = |value: &String| !value.is_empty() && value.len() < 200 && !value.contains(char::is_control);
    let said = options.into_iter().filter_map(|(name, value)| Some((name, value.filter(plain)?)));
    said.map(|(name, value)| format!("OPTION {name}={value}")).collect()
}

fn is_ours(directory: &Path, uid: u32) -> bool {
    fs::metadata(directory).is_ok_and(|found| found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0)
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The first 15 octets of the SHA-1 of the home's name, in z-base-32: what GnuPG calls the directory of its sockets.
fn name_of(home: &Path) -> String {
    const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let hash = Sha1::digest(home.as_os_str().as_bytes());
    let digits = hash[..15].chunks(5).flat_map(|five| {
        let number = five.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        (0..8).rev().map(move |place| char::from(ALPHABET[(number >> (5 * place)) as usize & 31]))
    });
    digits.collect()
}

const SOCKET: &str = "S.gpg-agent";

#[cfg(test)]
mod tests {
    use super::*;

    /// As `gpgconf --homedir … --list-dirs agent-socket` says where `/run/user` exists.
    #[test]
    fn the_directory_of_another_home_is_named_as_gnupg_names_it() {
        assert_eq!(name_of(Path::new("/tmp")), "tohugoxig4b67aojnp3jfcc7");
    }
}
