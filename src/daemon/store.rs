//! The replay store of this daemon: opened, taken over from the original, or begun anew.

use std::io;
use std::path::Path;

use super::args::Args;
use super::journal::{Journal, Level};
use super::start::Failed;
use super::state::{self, State};
use crate::config::ServerSettings;
use crate::grant::GrantId;
use crate::replay::{MemoryStore, ReplayStore};
use crate::time::Timestamp;

/// The memory, and the number of the last grant. With `--test` nothing on disk is touched.
pub fn open(
    args: &Args,
    server: &ServerSettings,
    journal: &mut Journal,
) -> Result<(Box<dyn ReplayStore + Send>, GrantId), Failed> {
    if args.test {
        return Ok((Box::new(MemoryStore::default()), GrantId::default()));
    }
    let (mut state, imported) = open_state(server, args.rotate_digest_cache)?;
    if imported > 0 {
        journal.note(Level::Info, format!("Took over {imported} entries of {}", server.digest_file.display()));
    }
    let last = state.last_grant()?;
    Ok((Box::new(state), last))
}

/// Also tells how many entries came from the original's digest cache. The pid file must be ours, and the run directory
/// prepared.
pub fn open_state(server: &ServerSettings, rotate: bool) -> Result<(State, usize), Failed> {
    let max_age = server.gate.max_age;
    let open = || State::open(&server.run_dir, Timestamp::now(), max_age);
    let store = server.run_dir.join(state::FILE);
    // One that cannot be read is renamed all the same: that may be what it is for.
    let left = (rotate && store.exists()).then(|| open().ok()?.leave().ok()).flatten();
    if rotate {
        for file in [&store, &server.digest_file] {
            rename_to_old(file)?;
        }
    }
    let mut state = open()?;
    if let Some(left) = left {
        state.take_over(&left)?;
    }
    let imported = state.import_digest_cache(&server.digest_file, max_age, Timestamp::now())?;
    Ok((state, imported))
}

/// Gives up what is open in the firewall, while no daemon runs.
pub fn forget_grants(server: &ServerSettings) -> Result<(), Failed> {
    if !server.run_dir.join(state::FILE).exists() {
        return Ok(());
    }
    let mut state = State::open(&server.run_dir, Timestamp::now(), server.gate.max_age)?;
    let open = state.kept()?.grants.into_iter().filter(|grant| grant.cycle().is_none());
    let open: Vec<GrantId> = open.map(|grant| grant.id).collect();
    if open.is_empty() {
        return Ok(());
    }
    state.unkeep(&open)?;
    Ok(state.settle()?)
}

fn rename_to_old(file: &Path) -> io::Result<()> {
    let mut old = file.as_os_str().to_owned();
    old.push("-old");
    match std::fs::rename(file, old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
