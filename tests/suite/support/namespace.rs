//! Namespaces of a test's own, made directly as root. As an ordinary user they are inside a user namespace, where the programs
//! see themselves as root.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs what is appended to it in a network of its own, with a `/run` of its own: iptables has its lock there, which only
/// root may open, and which the machine's own firewall waits for.
pub fn unshare() -> Command {
    let mut command = Command::new("unshare");
    // One after the other: what the kernel shows of a network belongs to its root, who must be known when it is made.
    command.args(users()).args(["--", "unshare", "--net", "--mount", "--"]);
    command.args(["sh", "-ec", r#"mount -t tmpfs tmpfs /run && exec "$0" "$@""#]);
    command
}

/// Runs what is appended to it in the namespaces of this process, which were made by [`unshare`].
pub fn enter(pid: u32, directory: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-n", "-m"]);
    if !is_root() {
        command.args(["-U", "--preserve-credentials"]);
    }
    command.arg("-W").arg(directory);
    command
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a namespace has other users than root. Those of an ordinary user have where he has a range of numbers to give away
/// (`/etc/subuid`, and the package uidmap to do it).
pub fn has_other_users() -> bool {
    is_root() || users().contains(&"--map-auto")
}

fn users() -> &'static [&'static str] {
    static USERS: OnceLock<&[&str]> = OnceLock::new();
    USERS.get_or_init(|| {
        const ALONE: &[&str] = &["--map-root-user"];
        const WITH_OTHERS: &[&str] = &["--map-root-user", "--map-auto"];
        let mut attempt = Command::new("unshare");
        attempt.args(WITH_OTHERS).arg("true").stderr(Stdio::null());
        match is_root() {
            true => &[],
            false if attempt.status().is_ok_and(|status| status.success()) => WITH_OTHERS,
            false => ALONE,
        }
    })
}
