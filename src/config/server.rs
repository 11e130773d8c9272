//! `fwknopd.conf`: from checked settings to what the daemon's parts are built from.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backend;
use super::bsd;
use super::complaint::{Complaints, Place};
use super::facility::Facility;
use super::fwknop::Dialect;
use super::raw::Entries;
use super::server_table::TABLE;
use super::setting::{Setting, Settings};
use super::source::{Guard, Source};
use super::tables;
use super::value::{Checked, PLACEHOLDER};
use crate::capture::filter;
use crate::firewall::{BackendName, ChainPlace, Features, FirewallSettings, IPFW, PF};
use crate::gate::GateRules;
use crate::grant::SourceNat;
use crate::net::DEFAULT_SPA_PORT;
use crate::spa::HttpRules;

/// Where the settings come from. Kept by the daemon, so that a reload reads the same again.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// `--config-file`.
    pub config_file: PathBuf,
    /// `--override-config`: read after it, later files win.
    pub override_files: Vec<PathBuf>,
    /// What other options say, in the order of the command line. They win over all files.
    pub overrides: Vec<Override>,
    /// How many `-v` there were; added to `VERBOSE`.
    pub verbose: u8,
    /// The working directory at start: relative paths start here, also after the daemon has left it.
    pub directory: PathBuf,
}

/// An option that sets a variable, checked as if it stood in a file.
#[derive(Clone, Debug)]
pub struct Override {
    /// The variable: `PCAP_INTF`.
    pub name: &'static str,
    /// As `fwknopd.conf` would have it: `Y` for a flag.
    pub value: String,
    /// As the user typed it, for messages: `--interface`.
    pub option: &'static str,
}

/// Everything `fwknopd.conf` and the options say. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    pub capture: CaptureSettings,
    pub gate: GateRules,
    pub firewall: FirewallSettings,
    pub nat: NatSettings,
    pub commands: CommandSettings,
    /// Close at start what an earlier daemon left open, instead of taking it over.
    pub flush_at_init: bool,
    pub flush_at_exit: bool,
    pub access: AccessPlace,
    /// The keyring of stanzas that name none.
    pub gpg_home: PathBuf,
    /// The gpg program of stanzas that name none. `None`: the one GnuPG's library finds.
    pub gpg_program: Option<PathBuf>,
    /// What OpenPGP messages without a valid HMAC may cost: percent of one processor.
    pub gpg_budget: u32,
    pub gpg_engine: EngineChoice,
    pub gpg_secret_keys: SecretKeys,
    pub run_dir: PathBuf,
    pub pid_file: PathBuf,
    /// The original's digest cache.
    pub digest_file: PathBuf,
    pub journal: JournalSettings,
}

/// What reads OpenPGP messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// Sequoia, in this process.
    #[default]
    Sequoia,
    /// gpg itself, which keeps the secret keys.
    Gpgme,
}

/// Where the secret keys of a GnuPG home are when Sequoia reads messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretKeys {
    /// Taken over at start, and unlocked.
    #[default]
    Memory,
    /// Left with gpg-agent, or on a card.
    Agent,
}

/// What packets may ask for besides a port of this host; stanzas say more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatSettings {
    pub forwarding: bool,
    pub local: bool,
    /// Targets may be names.
    pub names: bool,
    /// `ENABLE_IPT_SNAT`: for stanzas that say nothing else.
    pub source: Option<SourceNat>,
    /// `ENABLE_DESTINATION_RULE`
    pub only_destination: bool,
    /// The firewall that can forward neither all ports nor in the name of whichever address of this host.
    pub limited_by: Option<BackendName>,
}

/// How commands are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    pub sudo: PathBuf,
    pub timeout: Duration,
}

/// Where packets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSettings {
    pub from: CaptureFrom,
    /// The port of the TCP server, if there is one beside.
    pub tcp_port: Option<u16>,
    /// pcap-filter(7).
    pub filter: String,
    /// `MAX_SNIFF_BYTES`.
    pub snaplen: u32,
    pub promiscuous: bool,
    pub any_direction: bool,
    /// End when the interface goes away.
    pub exit_when_down: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureFrom {
    /// Interfaces, at least one; `any` is all of them.
    Devices(Vec<String>),
    Savefile(PathBuf),
    UdpServer {
        port: u16,
    },
}

/// Where the access stanzas are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPlace {
    File {
        path: PathBuf,
        /// Named by `--access-file`, which refuses symbolic links as the original does.
        refuse_link: bool,
    },
    /// All `.conf` and `.toml` files in it, sorted by name.
    Folder(PathBuf),
}

/// How the daemon writes its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    pub identity: String,
    pub facility: Facility,
    /// 0 is normal.
    pub verbose: u8,
}

/// Reads and checks `fwknopd.conf`, its override files and the options. All mistakes are reported at once; with only
/// warnings and notes the settings come with them. Nothing but these files is touched.
pub fn load_server(options: &LoadOptions) -> Result<(ServerSettings, Complaints), Complaints> {
    let (settings, complaints) = try_server(options);
    complaints.judge(Some(settings))
}

/// The settings even if there are mistakes: what is wrong has its default, so that access files can be checked too.
pub(super) fn try_server(options: &LoadOptions) -> (ServerSettings, Complaints) {
    let mut complaints = Complaints::default();
    let mut settings = Settings::default();
    for path in std::iter::once(&options.config_file).chain(&options.override_files) {
        let Some(source) = Source::open(&options.directory.join(path), Guard::Settings, &mut complaints) else {
            continue;
        };
        add_file(&mut settings, &source, &mut complaints);
    }
    let overrides = options.overrides.iter().map(|o| Setting::from_option(o.name, &o.value, o.option));
    for setting in overrides {
        settings.add(&TABLE, vec![setting], &mut complaints);
    }
    let resolved = Resolve::new(&settings, options, &mut complaints).server();
    (resolved, complaints)
}

/// The same for one text, as if it were the file `path` and there were no options: for tests and fuzzing.
pub fn parse_server(path: &Path, text: &str) -> Result<(ServerSettings, Complaints), Complaints> {
    let mut complaints = Complaints::default();
    let mut settings = Settings::default();
    add_file(&mut settings, &Source::from_text(path, text), &mut complaints);
    let options = LoadOptions {
        config_file: path.into(),
        override_files: Vec::new(),
        overrides: Vec::new(),
        verbose: 0,
        directory: "/".into(),
    };
    let resolved = Resolve::new(&settings, &options, &mut complaints).server();
    complaints.judge(Some(resolved))
}

fn add_file(settings: &mut Settings, source: &Source, complaints: &mut Complaints) {
    if let Some(entries) = source.parse::<Entries>(Dialect::Server, complaints) {
        settings.add(&TABLE, Setting::located(entries, source), complaints);
    }
}

struct Resolve<'a> {
    settings: &'a Settings,
    options: &'a LoadOptions,
    complaints: &'a mut Complaints,
    backend: BackendName,
}

impl<'a> Resolve<'a> {
    fn new(settings: &'a Settings, options: &'a LoadOptions, complaints: &'a mut Complaints) -> Self {
        let backend = backend::choose(settings, complaints);
        Self { settings, options, complaints, backend }
    }
}

impl Resolve<'_> {
    fn server(mut self) -> ServerSettings {
        let run_dir = self.run_dir();
        let in_run_dir = |name: &str| run_dir.join(name);
        ServerSettings {
            capture: self.capture(),
            gate: self.gate(),
            firewall: self.firewall(),
            nat: self.nat(),
            commands: self.commands(),
            flush_at_init: self.flush("FLUSH_AT_INIT", "FLUSH_IPFW_AT_INIT", "FLUSH_IPT_AT_INIT").unwrap_or(false),
            flush_at_exit: self.flush("FLUSH_AT_EXIT", "FLUSH_IPFW_AT_EXIT", "FLUSH_IPT_AT_EXIT").unwrap_or(true),
            access: self.access(),
            gpg_home: self.path("GPG_HOME_DIR").unwrap_or_else(|| "/root/.gnupg".into()),
            gpg_program: self.path("GPG_EXE"),
            gpg_budget: self.number("GPG_BUDGET", 50),
            gpg_engine: match self.settings.text("GPG_ENGINE") {
                Some("gpgme") => EngineChoice::Gpgme,
                _ => EngineChoice::Sequoia,
            },
            gpg_secret_keys: self.secret_keys(),
            pid_file: self.path("FWKNOP_PID_FILE").unwrap_or_else(|| in_run_dir("fwknopd.pid")),
            digest_file: self.path("DIGEST_FILE").unwrap_or_else(|| in_run_dir("digest.cache")),
            journal: self.journal(),
            run_dir,
        }
    }

    fn secret_keys(&mut self) -> SecretKeys {
        let Some("agent") = self.settings.text("GPG_SECRET_KEYS") else { return SecretKeys::Memory };
        if let (Some("gpgme"), Some(place)) = (self.settings.text("GPG_ENGINE"), self.settings.place("GPG_SECRET_KEYS"))
        {
            self.complaints.note(
                place,
                "GPG_SECRET_KEYS has no effect with GPG_ENGINE gpgme",
                "remove it: gpg leaves the secret keys with its agent anyway",
            );
        }
        SecretKeys::Agent
    }

    fn capture(&mut self) -> CaptureSettings {
        let filter = self.settings.text("PCAP_FILTER").unwrap_or("udp port 62201").to_owned();
        if let Some(place) = self.settings.place("PCAP_FILTER")
            && let Err(error) = filter::check(&filter)
        {
            self.complaints.error(
                place,
                error.to_string(),
                "write a filter that tcpdump would take; see pcap-filter(7)",
            );
        }
        CaptureSettings {
            from: self.capture_from(),
            tcp_port: self.flag("ENABLE_TCP_SERVER").then(|| self.number("TCPSERV_PORT", DEFAULT_SPA_PORT)),
            filter,
            snaplen: self.number("MAX_SNIFF_BYTES", 1500),
            promiscuous: self.flag("ENABLE_PCAP_PROMISC"),
            any_direction: self.flag("ENABLE_PCAP_ANY_DIRECTION"),
            exit_when_down: self.settings.flag("EXIT_AT_INTF_DOWN").unwrap_or(true),
        }
    }

    /// As in the original the UDP server goes before a savefile, and that before interfaces.
    fn capture_from(&self) -> CaptureFrom {
        if self.flag("ENABLE_UDP_SERVER") {
            return CaptureFrom::UdpServer { port: self.number("UDPSERV_PORT", DEFAULT_SPA_PORT) };
        }
        match self.path("PCAP_FILE") {
            Some(path) => CaptureFrom::Savefile(path),
            None => {
                let mut devices: Vec<String> = Vec::new();
                for device in self.settings.list("PCAP_INTF").unwrap_or_default() {
                    // Listening twice would take each packet for its own replay.
                    if !devices.contains(device) {
                        devices.push(device.clone());
                    }
                }
                CaptureFrom::Devices(if devices.is_empty() { vec!["eth0".to_owned()] } else { devices })
            }
        }
    }

    fn gate(&self) -> GateRules {
        let from_file = matches!(self.capture_from(), CaptureFrom::Savefile(_));
        // What stands in a savefile is old; the age is checked there only when somebody says so.
        let aging = self.settings.flag("ENABLE_SPA_PACKET_AGING").unwrap_or(!from_file);
        let max_age = Duration::from_secs(self.settings.number("MAX_SPA_PACKET_AGE").unwrap_or(120));
        GateRules {
            max_age: aging.then_some(max_age),
            http: HttpRules {
                enabled: self.flag("ENABLE_SPA_OVER_HTTP"),
                any_user_agent: self.flag("ALLOW_ANY_USER_AGENT"),
                forwarded_for: self.flag("ENABLE_X_FORWARDED_FOR"),
            },
        }
    }

    fn firewall(&mut self) -> FirewallSettings {
        bsd::refuse(self.settings, self.backend, self.complaints);
        FirewallSettings {
            backend: self.backend,
            program: self.path("FIREWALL_EXE"),
            input: self.chain("NFT_INPUT_ACCESS"),
            forward: self.chain("NFT_FORWARD_ACCESS"),
            output: self.chain("NFT_OUTPUT_ACCESS"),
            features: Features {
                forwarding: self.switch("ENABLE_IPT_FORWARDING"),
                local_nat: self.switch("ENABLE_IPT_LOCAL_NAT"),
                output: self.switch("ENABLE_IPT_OUTPUT"),
                destination: self.flag("ENABLE_DESTINATION_RULE"),
                source_nat: self.switch("ENABLE_IPT_SNAT"),
            },
            tables: tables::resolve(self.settings, self.backend, self.complaints),
            numbers: bsd::numbers(self.settings, self.backend, self.complaints),
            anchor: bsd::anchor(self.settings, self.complaints),
        }
    }

    fn chain(&mut self, name: &str) -> Option<ChainPlace> {
        let user = match name {
            "NFT_FORWARD_ACCESS" => Some("ENABLE_IPT_FORWARDING"),
            "NFT_OUTPUT_ACCESS" => Some("ENABLE_IPT_OUTPUT"),
            _ => None,
        };
        let Checked::NftChain(chain) = self.settings.get(name)? else { return None };
        if let (Some(user), Some(place)) = (user.filter(|user| !self.switch(user)), self.settings.place(name)) {
            self.complaints.warn(place, format!("{name} has no effect without {user}"), "remove one, or set the other");
        }
        Some(chain.clone())
    }

    fn nat(&mut self) -> NatSettings {
        let only_destination = self.flag("ENABLE_DESTINATION_RULE");
        if let Some(place) = self.settings.place("ENABLE_DESTINATION_RULE")
            && only_destination
            && matches!(self.capture_from(), CaptureFrom::UdpServer { .. })
        {
            self.complaints.error(
                place,
                "ENABLE_DESTINATION_RULE does not work with ENABLE_UDP_SERVER, which does not learn the destination",
                "remove one of them",
            );
        }
        NatSettings {
            forwarding: self.switch("ENABLE_IPT_FORWARDING"),
            local: self.switch("ENABLE_IPT_LOCAL_NAT"),
            names: self.settings.flag("ENABLE_NAT_DNS").unwrap_or(true),
            source: self.source_nat(),
            only_destination,
            limited_by: Some(self.backend).filter(|backend| *backend == PF),
        }
    }

    fn source_nat(&mut self) -> Option<SourceNat> {
        let enabled = self.switch("ENABLE_IPT_SNAT");
        let text = self.settings.text("SNAT_TRANSLATE_IP").filter(|text| *text != PLACEHOLDER);
        let address = text.map(str::parse::<IpAddr>);
        if let Some(place) = self.settings.place("SNAT_TRANSLATE_IP") {
            if let (Some(Err(_)), Some(text)) = (&address, text) {
                let what = format!("SNAT_TRANSLATE_IP: '{text}' is not an address");
                self.complaints.error(place, what, "write one address, like 192.0.2.1");
            } else if address.is_some() && !enabled {
                let what = "SNAT_TRANSLATE_IP has no effect without ENABLE_IPT_SNAT";
                self.complaints.warn(place, what, "set ENABLE_IPT_SNAT as well, or remove it");
            }
        }
        let address = address.and_then(Result::ok);
        enabled.then(|| address.map_or(SourceNat::Masquerade, SourceNat::To))
    }

    fn commands(&self) -> CommandSettings {
        let seconds = self.settings.number("CMD_EXEC_TIMEOUT").filter(|seconds| *seconds > 0);
        CommandSettings {
            sudo: self.path("SUDO_EXE").unwrap_or_else(|| "/usr/bin/sudo".into()),
            timeout: Duration::from_secs(seconds.unwrap_or(30)),
        }
    }

    /// Our name wins over the original's, wherever they stand.
    fn flush(&mut self, ours: &str, ipfw: &str, original: &str) -> Option<bool> {
        let has_own = self.backend == IPFW && self.settings.flag(ipfw).is_some();
        let original = if has_own { ipfw } else { original };
        if let (Some(_), Some(place)) = (self.settings.place(ours), self.settings.place(original)) {
            self.complaints.warn(place, format!("{original} has no effect beside {ours}"), "remove one of them");
        }
        self.settings.flag(ours).or(tables::switch(self.settings, self.backend, original))
    }

    /// An option goes before the files; at the same level a folder goes before a file.
    fn access(&self) -> AccessPlace {
        let from_option = |name| matches!(self.settings.place(name), Some(Place::Option(_)));
        let folder = self.path("ACCESS_FOLDER");
        let by_option = from_option("ACCESS_FILE");
        match folder {
            Some(folder) if from_option("ACCESS_FOLDER") || !by_option => AccessPlace::Folder(folder),
            _ => AccessPlace::File {
                path: self.path("ACCESS_FILE").unwrap_or_else(|| "/etc/fwknop/access.conf".into()),
                refuse_link: by_option,
            },
        }
    }

    fn journal(&self) -> JournalSettings {
        let facility = self.settings.text("SYSLOG_FACILITY").and_then(|text| text.parse().ok());
        JournalSettings {
            identity: self.settings.text("SYSLOG_IDENTITY").unwrap_or("fwknopd").to_owned(),
            facility: facility.unwrap_or_default(),
            verbose: self.number::<u8>("VERBOSE", 0).saturating_add(self.options.verbose),
        }
    }

    fn run_dir(&mut self) -> PathBuf {
        let run_dir = PathBuf::from(self.settings.text("FWKNOP_RUN_DIR").unwrap_or("/run/fwknop"));
        if let Some(place) = self.settings.place("FWKNOP_RUN_DIR").filter(|_| !run_dir.is_absolute()) {
            self.complaints.error(place, "FWKNOP_RUN_DIR is not an absolute path", "write the path from / on");
        }
        run_dir
    }

    fn switch(&self, name: &str) -> bool {
        tables::switch(self.settings, self.backend, name).unwrap_or(false)
    }

    fn flag(&self, name: &str) -> bool {
        self.settings.flag(name).unwrap_or(false)
    }

    /// The range of the variable must fit the type.
    fn number<T: TryFrom<u64>>(&self, name: &str, default: T) -> T {
        self.settings.number(name).and_then(|number| T::try_from(number).ok()).unwrap_or(default)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.settings.text(name).map(|text| self.options.directory.join(text))
    }
}
