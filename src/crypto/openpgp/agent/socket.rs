//! Where the agent of a home listens, and starting it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};

/// Where GnuPG puts the socket: under `/run/user` where the system has that, else in the home. In the order in which it
/// looks itself.
pub(super) fn places(home: &Path) -> [PathBuf; 2] {
    let user = rustix::process::getuid().as_raw();
    let default = std::env::home_dir().map(|home| home.join(".gnupg"));
    [run_directory(user, home, default.as_deref()).join(NAME), home.join(NAME)]
}

fn run_directory(user: u32, home: &Path, default: Option<&Path>) -> PathBuf {
    let common = PathBuf::from(format!("/run/user/{user}/gnupg"));
    if Some(home) == default { common } else { common.join(format!("d.{}", short_name(home))) }
}

/// What GnuPG makes of the path of a home that is not the usual one: 15 octets of its SHA-1, in z-base-32.
fn short_name(home: &Path) -> String {
    const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let digest = Sha1::digest(home.as_os_str().as_encoded_bytes());
    let five_octets = |group: &[u8]| group.iter().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    let digits = |bits: u64| (0..8).rev().map(move |digit| char::from(ALPHABET[(bits >> (5 * digit) & 31) as usize]));
    digest[..15].chunks(5).flat_map(|group| digits(five_octets(group))).collect()
}

/// Starts the agent, which ends with its home or when it is told to. Returns the socket that GnuPG says it has.
pub(super) fn start(home: &Path) -> Result<PathBuf, String> {
    run(home, &["--launch", "gpg-agent"], Stdio::null())?;
    let said = run(home, &["--list-dirs", "agent-socket"], Stdio::piped())?;
    Ok(PathBuf::from(unescaped(said.trim_end())))
}

fn run(home: &Path, args: &[&str], stdout: Stdio) -> Result<String, String> {
    let mut command = Command::new("gpgconf");
    command.arg("--homedir").arg(home).args(args);
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("cannot be run: {error}"))?;
    let status = ended(&mut child).map_err(|error| format!("did not end: {error}"))?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).map_err(|error| format!("said nothing: {error}"))?;
    }
    if status.success() { Ok(said) } else { Err(format!("failed ({status})")) }
}

fn ended(child: &mut std::process::Child) -> io::Result<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < START_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Err(io::ErrorKind::TimedOut.into())
}

/// gpgconf writes `%3a` for a colon, and `%25`.
fn unescaped(text: &str) -> String {
    text.replace("%3a", ":").replace("%25", "%")
}

const NAME: &str = "S.gpg-agent";

/// gpgconf itself waits for five seconds.
const START_MAX: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    /// As `gpgconf --list-dirs agent-socket` said where there was a `/run/user/0`.
    #[test]
    fn sockets_are_where_gnupg_puts_them() {
        let default = Some(Path::new("/root/.gnupg"));
        let at = |home: &str| run_directory(0, Path::new(home), default).display().to_string();
        assert_eq!(at("/root/.gnupg"), "/run/user/0/gnupg");
        assert_eq!(at("/etc/fwknop/gnupg"), "/run/user/0/gnupg/d.87z6nixpmzmn36qq53ato5tk");
        assert_eq!(at("/tmp/ag/h"), "/run/user/0/gnupg/d.orp19b1zyh45e89ixz8767ig");
    }
}
