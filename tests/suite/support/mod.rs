//! What the behaviour tests stand on: two hosts made of network namespaces, the programs of both makers, GnuPG homes.

pub mod agent;
pub mod clock;
pub mod firewalld;
pub mod gateway;
pub mod gpg;
pub mod logs;
pub mod many;
pub mod namespace;
pub mod netns;
pub mod peers;
pub mod random;
pub mod scene;
pub mod scratch;
pub mod stand_in;

use std::time::{Duration, Instant};

/// Asks again and again, for `limit` at most. `true` as soon as `ready` says so.
pub fn within(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if ready() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long anything may take on a busy machine before a test calls it broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The Debian package that has a program, for the message of a test that misses it.
pub fn package_of(program: &str) -> &str {
    match program.rsplit('/').next().unwrap_or(program) {
        "nft" => "nftables",
        "ip" => "iproute2",
        "iptables" => "iptables",
        "sysctl" => "procps",
        "unshare" | "nsenter" | "setpriv" => "util-linux",
        "gpg" => "gnupg",
        "gpgconf" => "gpgconf",
        "fwknop" => "fwknop-client",
        "fwknopd" => "fwknop-server",
        other => other,
    }
}
