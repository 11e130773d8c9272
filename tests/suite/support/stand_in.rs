//! Programs of the BSDs that do not run here: each is a script that keeps what it was told, prints it as the manual says the
//! real one does, takes nothing else, and fails when it is told to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::PATIENCE;
use super::logs::Logs;
use super::peers::{Daemon, Maker, READY, bounded, said};
use super::scene::Scene;
use super::within;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ipfw,
    PfOfOpenBsd,
    PfOfFreeBsd,
}

/// The usual scene, with a daemon whose firewall is a stand-in.
pub struct StandIn {
    pub scene: Scene,
    kind: Kind,
    dir: PathBuf,
}

impl StandIn {
    pub fn new(kind: Kind, conf: &str, access: &str) -> Self {
        let scene = Scene::new(60);
        let dir = scene.settings.path("bin");
        fs::create_dir(&dir).expect("a scratch directory");
        let stand_in = Self { scene, kind, dir };
        for (name, text) in [("ipfw", IPFW), ("pfctl", PFCTL), ("sysctl", SYSCTL)] {
            stand_in.write(name, text);
            fs::set_permissions(stand_in.dir.join(name), fs::Permissions::from_mode(0o755)).expect("our own file");
        }
        let syntax = if kind == Kind::PfOfOpenBsd { "openbsd\n" } else { "freebsd\n" };
        let rules = if kind == Kind::Ipfw { IPFW_RULES } else { PF_RULES };
        for (name, text) in USUAL.iter().chain(&[("syntax", syntax), ("rules", rules)]) {
            stand_in.write(name, text);
        }
        stand_in.configure(conf, access);
        stand_in
    }

    pub fn configure(&self, conf: &str, access: &str) {
        let program = self.dir.join(self.program());
        let syntax = match self.kind {
            Kind::Ipfw => "",
            Kind::PfOfOpenBsd => "PF_SYNTAX openbsd;\n",
            Kind::PfOfFreeBsd => "PF_SYNTAX freebsd;\n",
        };
        let conf = format!("PCAP_INTF srv0;\nFIREWALL_EXE {};\n{syntax}{conf}", program.display());
        self.scene.settings.rewrite(&conf, access);
    }

    pub fn program(&self) -> &'static str {
        if self.kind == Kind::Ipfw { "ipfw" } else { "pfctl" }
    }

    /// One of the stand-in's files.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join(name), text).expect("a scratch directory");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.dir.join(name)).expect("it is there");
    }

    /// What is in force, ours and that of others.
    pub fn all_rules(&self) -> Vec<String> {
        let held = self.read("nat") + &self.read("rules");
        let ended = |line: &&str| self.kind == Kind::Ipfw && line.split(' ').nth(1) == Some("2");
        held.lines().filter(|line| !ended(line)).map(str::to_owned).collect()
    }

    /// What is open.
    pub fn rules(&self) -> Vec<String> {
        let mut rules = self.all_rules();
        rules.retain(|line| line.contains("_exp_"));
        rules
    }

    #[track_caller]
    pub fn wait_for_rules(&self, count: usize, logs: &Logs) -> Vec<String> {
        assert!(within(PATIENCE, || self.rules().len() == count), "{:#?}\n{}", self.rules(), logs.text());
        self.rules()
    }

    /// The next change with this in it is refused, and those after it.
    pub fn refuse(&self, pattern: &str) {
        self.write("refuse", pattern);
    }

    pub fn refuse_nothing(&self) {
        self.write("refuse", NOTHING);
    }

    /// Only this change fails, counted from now.
    pub fn fail_at(&self, change: u32) {
        self.write("count", "0\n");
        self.write("fail-at", &format!("{change}\n"));
    }

    pub fn daemon(&self) -> Daemon {
        let daemon = self.launch();
        daemon.logs.expect(&[READY]);
        daemon
    }

    /// Started, and nothing is waited for.
    pub fn launch(&self) -> Daemon {
        let mut command = self.scene.settings.command(&self.scene.world, Maker::Ours);
        command.arg("-f");
        Daemon::follow(self.found(command))
    }

    /// The exit code of one of our daemon's commands, and all it said.
    pub fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = self.scene.world.server.command(Maker::Ours.daemon());
        let (conf, access) = (self.scene.settings.path("fwknopd.conf"), self.scene.settings.path("access.conf"));
        command.args(words).arg("-c").arg(conf).arg("-a").arg(access);
        let output = bounded(self.found(command), PATIENCE);
        (output.status.code(), said(&output))
    }

    /// What is not the firewall's own program is looked for in the path.
    fn found(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.dir.display()));
        command
    }
}

const IPFW: &str = include_str!("stand_in/ipfw");
const PFCTL: &str = include_str!("stand_in/pfctl");
const SYSCTL: &str = include_str!("stand_in/sysctl");

/// Matches no command.
const NOTHING: &str = "^$x\n";

/// With a rule of the administrator's among ours.
const IPFW_RULES: &str = "\
100 0 allow ip from any to any via lo0
10000 1 allow tcp from 192.0.2.9 to me dst-port 25 // of the administrator
65535 31 deny ip from any to any
";
const PF_RULES: &str = "\
block drop in quick inet from 203.0.113.66 to any
pass in quick inet proto tcp from 192.0.2.9 to any port = 25 flags S/SA label \"mail\"
";

/// A machine on which all is well.
const USUAL: &[(&str, &str)] = &[
    ("asked", ""),
    ("count", "0\n"),
    ("fail-at", "0\n"),
    ("refuse", NOTHING),
    ("switches", "net.inet.ip.fw.enable 1\nnet.inet.ip.forwarding 1\n"),
    ("disabled", ""),
    ("states", ""),
    ("nat", ""),
    ("anchors", "fwknop\nothers\n"),
    ("info", "Status: Enabled for 3 days 05:12:34           Debug: Urgent\n"),
    ("main", "block drop all\nanchor \"fwknop\" all\n"),
    ("main-nat", "nat-anchor \"fwknop\" all\nrdr-anchor \"fwknop\" all\n"),
];
