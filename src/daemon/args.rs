//! The command line of `fwknopd`: the complete table of `spec/server.md` 2.
//!
//! Long options may be shortened to any unique prefix, as in the original; when an option is repeated the last one wins.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::config::server_table::NFQ_INSTEAD;

/// Single Packet Authorization daemon.
#[derive(Debug, Parser)]
#[command(
    name = "fwknopd",
    disable_version_flag = true,
    infer_long_args = true,
    args_override_self = true,
    after_help = "Keys, users and grants:\n  fwknopd key --help     the server's own keys\n  fwknopd user --help    who may knock\n  fwknopd grants         what is open now",
    about = "Single Packet Authorization daemon: opens a port for whoever proves to be allowed"
)]
pub struct Args {
    /// Access file: who may ask for what
    #[arg(short = 'a', long, value_name = "FILE")]
    pub access_file: Option<PathBuf>,
    /// Read all .conf and .toml files of this folder instead of the access file
    #[arg(long, value_name = "DIR")]
    pub access_folder: Option<PathBuf>,
    /// Configuration file
    #[arg(short = 'c', long, value_name = "FILE", default_value = "/etc/fwknop/fwknopd.conf")]
    pub config_file: PathBuf,
    /// Stop after this many captured packets
    #[arg(short = 'C', long, value_name = "COUNT")]
    pub packet_limit: Option<u64>,
    /// Digest cache of the original, taken over at start
    #[arg(short = 'd', long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Print the settings and end
    #[arg(short = 'D', long)]
    pub dump_config: bool,
    /// Print the reasons for which packets are refused, as the journal names them, and end
    #[arg(long)]
    pub dump_serv_err_codes: bool,
    /// Check both configuration files and end
    #[arg(long)]
    pub exit_parse_config: bool,
    /// Check the files and the replay store and end
    #[arg(long)]
    pub exit_parse_digest_cache: bool,
    /// Write what was seen as a digest cache of the original, and end
    #[arg(long, value_name = "FILE")]
    pub export_digest_cache: Option<PathBuf>,
    /// Stay in the foreground and log to standard error
    #[arg(short = 'f', long)]
    pub foreground: bool,
    /// Print our firewall rules and end
    #[arg(long)]
    pub fw_list: bool,
    /// Print all firewall rules of the tables we use and end
    #[arg(long)]
    pub fw_list_all: bool,
    /// Remove our firewall rules and end
    #[arg(long)]
    pub fw_flush: bool,
    /// GnuPG program that hands over the keys, where a stanza names none; messages are read in process
    #[arg(long, value_name = "PATH")]
    pub gpg_exe: Option<PathBuf>,
    /// Default keyring of stanzas that take OpenPGP packets
    #[arg(long, value_name = "DIR")]
    pub gpg_home_dir: Option<PathBuf>,
    /// Interface to listen on, or several with commas between
    #[arg(short = 'i', long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Make keys and end
    #[arg(long)]
    pub key_gen: bool,
    /// Make keys, write them to this file and end
    #[arg(long, value_name = "FILE")]
    pub key_gen_file: Option<PathBuf>,
    /// Length of the encryption key in bytes
    #[arg(long, value_name = "BYTES")]
    pub key_len: Option<usize>,
    /// Length of the HMAC key in bytes
    #[arg(long, value_name = "BYTES")]
    pub hmac_key_len: Option<usize>,
    /// HMAC digest the new key is for
    #[arg(long, value_name = "DIGEST")]
    pub hmac_digest_type: Option<String>,
    /// Stop the running daemon
    #[arg(short = 'K', long)]
    pub kill: bool,
    /// Locale (has no effect)
    #[arg(short = 'l', long, value_name = "NAME")]
    pub locale: Option<String>,
    /// Capture through NFQUEUE (only in special builds of the original)
    #[arg(short = 'n', long)]
    pub nfq_capture: bool,
    /// Look rules up without -C (has no effect: nothing is probed)
    #[arg(long)]
    pub no_ipt_check_support: bool,
    /// Look rules up without -C (has no effect: nothing is probed)
    #[arg(long)]
    pub no_firewd_check_support: bool,
    /// Further configuration files, later ones win
    #[arg(short = 'O', long, value_name = "FILES", value_delimiter = ',')]
    pub override_config: Vec<PathBuf>,
    /// Pid file
    #[arg(short = 'p', long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// BPF expression, replaces PCAP_FILTER
    #[arg(short = 'P', long, value_name = "TEXT")]
    pub pcap_filter: Option<String>,
    /// Read packets from a capture file, to its end
    #[arg(long, value_name = "FILE")]
    pub pcap_file: Option<PathBuf>,
    /// Also take packets that the interface sends
    #[arg(long)]
    pub pcap_any_direction: bool,
    /// Directory for state
    #[arg(short = 'r', long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Tell the running daemon to read its files again
    #[arg(short = 'R', long)]
    pub restart: bool,
    /// Start with an empty replay store; the old one is kept as <name>-old
    #[arg(long)]
    pub rotate_digest_cache: bool,
    /// Tell whether a daemon is running
    #[arg(short = 'S', long)]
    pub status: bool,
    /// sudo program, for command messages
    #[arg(long, value_name = "PATH")]
    pub sudo_exe: Option<PathBuf>,
    /// Log to syslog as well in the foreground
    #[arg(long)]
    pub syslog_enable: bool,
    /// Decide, but change nothing
    #[arg(short = 't', long)]
    pub test: bool,
    /// Listen on a UDP socket instead of capturing
    #[arg(short = 'U', long)]
    pub udp_server: bool,
    /// Say more; may be repeated
    #[arg(short = 'v', long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Print the version and end
    #[arg(short = 'V', long)]
    pub version: bool,
    /// Decode one packet (only in fuzzing builds of the original)
    #[arg(short = 'A', long)]
    pub afl_fuzzing: bool,
    /// The packet to decode (only in fuzzing builds of the original)
    #[arg(long, value_name = "FILE")]
    pub afl_pkt_file: Option<PathBuf>,
    /// Only in test builds of the original
    #[arg(long, value_name = "TAG")]
    pub fault_injection_tag: Option<String>,
}

impl Args {
    /// What some builds of the original can do, and this program cannot: why, and what to do instead.
    pub fn not_supported(&self) -> Option<(&'static str, &'static str)> {
        let asked = [
            (self.nfq_capture, "--nfq-capture is not supported", NFQ_INSTEAD),
            (
                self.afl_fuzzing || self.afl_pkt_file.is_some(),
                "--afl-fuzzing is for fuzzing builds of the original",
                "leave it out; the fuzz targets here are in tests/fuzz",
            ),
            (
                self.fault_injection_tag.is_some(),
                "--fault-injection-tag is for test builds of the original",
                "leave it out",
            ),
        ];
        asked.into_iter().find(|(asked, ..)| *asked).map(|(_, what, advice)| (what, advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_bundle_shorten_and_the_last_one_wins() {
        let args =
            Args::parse_from(["fwknopd", "-fvv", "--config=a.conf", "--conf", "b.conf", "-i", "eth1", "-i", "eth2"]);
        assert!(args.foreground && args.verbose == 2);
        assert_eq!(args.config_file, PathBuf::from("b.conf"));
        assert_eq!(args.interface.as_deref(), Some("eth2"));
    }
}
