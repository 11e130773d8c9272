//! From the command line to everything the files say: read at start, and again, from the same places, on reload.

use std::path::{Path, PathBuf};

use super::args::Args;
use super::keyrings::Keyrings;
use crate::access::AccessTable;
use crate::config::{self, Complaints, LoadOptions, Override, ServerSettings};
use crate::crypto::unseal;
use crate::time::Timestamp;

/// What the files and options say, complete and checked.
pub struct Settings {
    pub server: ServerSettings,
    pub access: AccessTable,
    pub keyrings: unseal::Keyrings,
    /// Warnings and notes.
    pub remarks: Complaints,
}

impl LoadOptions {
    /// What the command line says about settings.
    pub fn from_args(args: &Args, directory: PathBuf) -> Self {
        Self {
            config_file: args.config_file.clone(),
            override_files: args.override_config.clone(),
            overrides: overrides(args),
            verbose: args.verbose,
            directory,
        }
    }
}

/// Reads both files. Nothing is changed by that.
pub fn load(options: &LoadOptions, now: Timestamp) -> Result<Settings, Complaints> {
    let mut keyrings = Keyrings::new(now);
    let (mut server, stanzas, remarks) = config::load(options, &mut keyrings, now)?;
    // A stanza may ask for it by itself.
    server.firewall.features.source_nat |= stanzas.iter().any(|stanza| stanza.nat.source.is_some());
    Ok(Settings { server, access: AccessTable::new(stanzas), keyrings: keyrings.into_engines(), remarks })
}

fn overrides(args: &Args) -> Vec<Override> {
    let path = |path: &Option<PathBuf>| path.as_deref().map(Path::to_string_lossy).map(String::from);
    let flag = |set: bool| set.then(|| String::from("Y"));
    let given = [
        ("ACCESS_FILE", "--access-file", path(&args.access_file)),
        ("ACCESS_FOLDER", "--access-folder", path(&args.access_folder)),
        ("DIGEST_FILE", "--digest-file", path(&args.digest_file)),
        ("GPG_EXE", "--gpg-exe", path(&args.gpg_exe)),
        ("GPG_HOME_DIR", "--gpg-home-dir", path(&args.gpg_home_dir)),
        ("PCAP_INTF", "--interface", args.interface.clone()),
        ("LOCALE", "--locale", args.locale.clone()),
        ("FWKNOP_PID_FILE", "--pid-file", path(&args.pid_file)),
        ("PCAP_FILTER", "--pcap-filter", args.pcap_filter.clone()),
        ("PCAP_FILE", "--pcap-file", path(&args.pcap_file)),
        ("ENABLE_PCAP_ANY_DIRECTION", "--pcap-any-direction", flag(args.pcap_any_direction)),
        ("FWKNOP_RUN_DIR", "--run-dir", path(&args.run_dir)),
        ("SUDO_EXE", "--sudo-exe", path(&args.sudo_exe)),
        ("ENABLE_UDP_SERVER", "--udp-server", flag(args.udp_server)),
    ];
    let given = given.into_iter();
    given.filter_map(|(name, option, value)| Some(Override { name, value: value?, option })).collect()
}
