//! Processor time, from `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions};

/// Makes this process the parent of what daemons leave behind: GPGME hands the gpg it starts to whoever takes orphans.
pub fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("an old system call");
}

/// A daemon's, with that of its children, of the gpg processes it has started, and of the gpg-agent in `home`. Only one
/// daemon may run at a time.
pub fn of_daemon(daemon: Pid, home: Option<&Path>) -> Duration {
    bury_orphans();
    let daemon = daemon.as_raw_nonzero().get();
    let own = std::process::id().cast_signed();
    let agents = home.map(agents).unwrap_or_default();
    let children = of_children(daemon) + of_children(own);
    of_threads(daemon) + children + agents.into_iter().map(of_threads).sum::<Duration>()
}

/// What they have used counts as our children's once they are waited for.
fn bury_orphans() {
    let own = std::process::id().to_string();
    for pid in processes() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(words) = stat.split("(gpg) ").nth(1)
            && words.split(' ').nth(1) == Some(&own)
        {
            let _ = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
        }
    }
}

/// To the nanosecond.
fn of_threads(pid: i32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanos = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// To the hundredth of a second.
fn of_children(pid: i32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything: the 14th and 15th words from the state on are `cutime` and `cstime`.
    let words = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = words.skip(13).take(2).filter_map(|word| word.parse::<u32>().ok()).sum();
    TICK * ticks
}

fn agents(home: &Path) -> Vec<i32> {
    let home = home.to_string_lossy();
    let is_one = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.starts_with("gpg-agent") && words.contains(&*home)
    };
    processes().filter(is_one).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}
