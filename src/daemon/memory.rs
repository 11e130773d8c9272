//! Keys are in memory, and should be nowhere else: not in a core dump, not where another process can look, not in the
//! swap space.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core dump, and nobody else may look. Where that cannot be had there is nothing to lose by going on, so failures are
/// passed over.
pub fn keep_to_ourselves() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Whatever this process touches from now on stays out of the swap space, until it ends.
///
/// Not under a limit: an allocation beyond it would fail one day, and end the daemon. So there must be none, or we must have
/// the capability for which none counts, `CAP_IPC_LOCK` (and keep it).
pub fn lock() -> io::Result<()> {
    let unlimited = Rlimit { current: None, maximum: None };
    let before = getrlimit(Resource::Memlock);
    if before.current.is_none() || setrlimit(Resource::Memlock, unlimited).is_ok() {
        return lock_all();
    }
    // With a limit of nothing only the capability helps.
    setrlimit(Resource::Memlock, Rlimit { current: Some(0), maximum: before.maximum })?;
    let locked = lock_all();
    setrlimit(Resource::Memlock, before)?;
    locked
}

fn lock_all() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}
