//! HUP, and `reload` through the control socket: the files are read and checked again; with any mistake in them the old settings stay.

use super::journal::{Closed, Journal, Level, with_causes};
use super::run::{Daemon, Reloaded};
use super::settings::{self, Settings};
use crate::config::{LoadOptions, ServerSettings, Severity};
use crate::firewall::{self, Firewall};
use crate::time::Timestamp;

/// `server` is what is in force.
pub fn reload(daemon: &mut Daemon<'_>, options: &LoadOptions, server: &mut ServerSettings) -> Reloaded {
    let Settings { server: new, access, keyrings, remarks } = match settings::load(options, Timestamp::now()) {
        Ok(settings) => settings,
        Err(complaints) => {
            for complaint in complaints.iter() {
                daemon.journal.note(level_of(complaint.severity), complaint.to_string());
            }
            keep(daemon.journal, "The new configuration has mistakes");
            return Err(complaints.iter().map(ToString::to_string).collect());
        }
    };
    // First what leaves no trace when the rest fails: an empty chain more lets nobody in.
    if let Err(error) = change_firewall(daemon, &new, server, access.needs_firewall()) {
        daemon.journal.trouble(&error);
        keep(daemon.journal, "The firewall cannot be set up");
        return Err(vec![with_causes(&error)]);
    }
    if let Err(error) = daemon.sources.change(&new.capture, daemon.journal) {
        daemon.journal.trouble(&error);
        keep(daemon.journal, "Capture cannot be changed");
        return Err(vec![with_causes(&error)]);
    }
    let mut said: Vec<String> = remarks.iter().map(ToString::to_string).collect();
    for remark in remarks.iter() {
        daemon.journal.note(level_of(remark.severity), remark.to_string());
    }
    for name in needs_restart(&new, server) {
        let text = format!("{name} has changed in the configuration: that takes effect at the next start only");
        daemon.journal.note(Level::Warning, &text);
        said.push(text);
    }
    daemon.exit_when_down = new.capture.exit_when_down;
    daemon.flush_at_exit = new.flush_at_exit;
    daemon.journal.set_verbose(new.journal.verbose);
    daemon.pool.set_percent(new.gpg_budget);
    let orphans = daemon.gate.reload(new.gate, access, keyrings);
    daemon.close(orphans, Closed::Unlisted);
    // What needs a restart stays as it is, so that the next reload says so again.
    server.capture = new.capture;
    daemon.journal.note(Level::Info, "Re-starting fwknopd");
    Ok(said)
}

/// Another firewall, or another place in it, has to wait for the next start. What grants may lead to has not.
fn change_firewall(
    daemon: &mut Daemon<'_>,
    new: &ServerSettings,
    server: &mut ServerSettings,
    is_needed: bool,
) -> Result<(), firewall::Error> {
    if daemon.firewall.is_none() {
        // Nothing was made yet.
        server.firewall = new.firewall.clone();
        daemon.dry_run = daemon.dry_run.as_ref().map(|_| Firewall::new(&server.firewall));
    }
    if new.firewall.is_at_same_place(&server.firewall) {
        let former = server.firewall.features;
        let features = new.firewall.features.besides(former);
        server.firewall.features = features;
        if let Some(firewall) = daemon.firewall.as_mut().filter(|_| features != former) {
            let done = firewall.fit(&server.firewall);
            server.firewall.features = if done.is_ok() { features } else { former };
            daemon.tell_set_up(&done?, features);
        }
    }
    if is_needed && daemon.firewall.is_none() && daemon.dry_run.is_none() {
        let done = daemon.open_firewall(server);
        if done.is_err() {
            (daemon.firewall, daemon.lookout) = (None, None);
        }
        done?;
    }
    Ok(())
}

pub fn level_of(severity: Severity) -> Level {
    match severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
        Severity::Note => Level::Info,
    }
}

fn keep(journal: &mut Journal, why: &str) {
    journal.note(Level::Error, format!("[*] {why}: the old configuration stays in force."));
}

/// What is used once, at start.
fn needs_restart(new: &ServerSettings, old: &ServerSettings) -> Vec<&'static str> {
    let changed = [
        ("The firewall", !new.firewall.is_at_same_place(&old.firewall)),
        ("FWKNOP_RUN_DIR", new.run_dir != old.run_dir),
        ("FWKNOP_PID_FILE", new.pid_file != old.pid_file),
        ("DIGEST_FILE", new.digest_file != old.digest_file),
        ("SYSLOG_IDENTITY", new.journal.identity != old.journal.identity),
        ("SYSLOG_FACILITY", new.journal.facility != old.journal.facility),
    ];
    changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}
