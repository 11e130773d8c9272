//! The real firewalld on a host of ours: unpacked rather than installed, with a system bus and a configuration of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::logs::Logs;
use super::netns::Host;
use super::scratch::Scratch;
use super::{PATIENCE, within};

/// By what it filters: `FirewallBackend` in its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Iptables,
    Nftables,
}

/// Both daemons are killed on drop.
pub struct Firewalld {
    dir: Scratch,
    bus: Child,
    daemon: Option<Child>,
    pub logs: Logs,
}

impl Firewalld {
    /// Running, and ready: everything is dropped but what is established.
    pub fn start(host: &Host, by: By) -> Self {
        let dir = Scratch::new();
        let backend = format!("{by:?}").to_lowercase();
        dir.write("firewalld.conf", &format!("DefaultZone=gate\nFirewallBackend={backend}\n"));
        std::fs::create_dir(dir.join("zones")).expect("a directory of our own");
        dir.write("zones/gate.xml", ZONE);
        let own = place("usr/share/dbus-1/system.d/FirewallD.conf");
        dir.write("bus.conf", &BUS.replace("FIREWALLD", &own.display().to_string()));
        host.run("mkdir", &["-p", "/run/dbus"]);
        let mut command = host.command("dbus-daemon");
        command.args(["--nofork", "--nopidfile", "--nosyslog"]).arg(option("--config-file=", &dir.join("bus.conf")));
        let logs = Logs::default();
        let bus = follow(command, &logs);
        assert!(
            within(PATIENCE, || host.try_run("test", &["-S", SOCKET]).status.success()),
            "no system bus: is the package dbus-daemon installed? {}",
            logs.text()
        );
        let mut firewalld = Self { dir, bus, daemon: None, logs };
        firewalld.run(host);
        firewalld
    }

    /// The daemon, once more after [`stop`](Self::stop) or [`kill9`](Self::kill9).
    pub fn run(&mut self, host: &Host) {
        let mut command = host.command(place("usr/sbin/firewalld"));
        command.args(["--nofork", "--nopid", "--log-target", "console"]);
        command.arg("--system-config").arg(self.dir.path()).arg("--default-config").arg(place("usr/lib/firewalld"));
        command.envs(environment());
        self.daemon = Some(follow(command, &self.logs));
        let ready = || self.command(host, &["--state"]).output().is_ok_and(|output| output.status.success());
        assert!(within(PATIENCE, ready), "firewalld does not become ready:\n{}", self.logs.text());
    }

    /// TERM: it takes all its rules away.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// As in a crash: all rules stay.
    pub fn kill9(&mut self) {
        self.end(Signal::KILL);
    }

    /// It stops answering, for as long as `hangs`.
    pub fn hang(&mut self, hangs: bool) {
        let daemon = self.daemon.as_ref().expect("it runs");
        kill_process(Pid::from_child(daemon), if hangs { Signal::STOP } else { Signal::CONT }).expect("it is there");
    }

    fn end(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().expect("it runs");
        kill_process(Pid::from_child(&daemon), signal).expect("it is still there");
        if !within(PATIENCE, || daemon.try_wait().expect("it was started").is_some()) {
            let _ = daemon.kill();
            let _ = daemon.wait();
            panic!("firewalld does not end:\n{}", self.logs.text());
        }
    }

    /// In its place one without direct rules, which are to be given up some day.
    pub fn give_way_to_one_without_direct_rules(&mut self, host: &Host) {
        self.stop();
        let mut command = host.command("/usr/bin/python3");
        command.args(["-c", WITHOUT_DIRECT]);
        self.daemon = Some(follow(command, &self.logs));
        assert!(within(PATIENCE, || self.logs.count(&["there is one"]) > 0), "{}", self.logs.text());
    }

    /// The bus no longer lets anybody speak of direct rules.
    pub fn deny_direct_rules(&self, host: &Host) {
        let policy = std::fs::read_to_string(self.dir.join("bus.conf")).expect("it was written");
        let denied =
            r#"<policy context="mandatory"><deny send_interface="org.fedoraproject.FirewallD1.direct"/></policy>"#;
        self.dir.write("bus.conf", &policy.replace("</busconfig>", &format!("{denied}</busconfig>")));
        kill_process(Pid::from_child(&self.bus), Signal::HUP).expect("the bus is there");
        let denied =
            || !super::peers::bounded(self.command(host, &["--direct", "--get-all-rules"]), PATIENCE).status.success();
        assert!(within(PATIENCE, denied), "{}", self.logs.text());
    }

    /// Ends the bus as well.
    pub fn end_bus(&mut self) {
        self.stop();
        self.bus.kill().expect("the bus is there");
        self.bus.wait().expect("it was started");
    }

    /// Runs `firewall-cmd`, which must succeed; what it says.
    pub fn cmd(&self, host: &Host, args: &[&str]) -> String {
        let output = super::peers::bounded(self.command(host, args), PATIENCE);
        let said = super::peers::said(&output);
        assert!(output.status.success(), "firewall-cmd {args:?}: {said}");
        said
    }

    fn command(&self, host: &Host, args: &[&str]) -> Command {
        let mut command = host.command(place("usr/bin/firewall-cmd"));
        command.args(args).envs(environment()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn environment() -> [(&'static str, String); 2] {
    [
        ("PYTHONPATH", place("usr/lib/python3/dist-packages").display().to_string()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
    ]
}

impl Drop for Firewalld {
    fn drop(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.bus]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn follow(mut command: Command, logs: &Logs) -> Child {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    logs.follow(child.stdout.take().expect("piped"));
    logs.follow(child.stderr.take().expect("piped"));
    child
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}

/// Where a file of firewalld is: `.ci/deps` unpacks it; elsewhere than on Debian it may be installed.
fn place(file: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/firewalld").join(file);
    let found = [unpacked, Path::new("/").join(file)].into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("firewalld is missing ({file}): unpack it with .ci/deps test, or install it"))
}

/// In the host's own `/run`, where everybody looks for it.
const SOCKET: &str = "/run/dbus/system_bus_socket";

/// Packets of strangers are dropped without a word, also those between two of this host's devices.
const ZONE: &str = r#"<?xml version="1.0" encoding="utf-8"?><zone target="DROP"><short>gate</short></zone>"#;

const WITHOUT_DIRECT: &str = r#"
import dbus, dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
DBusGMainLoop(set_as_default=True)
name = dbus.service.BusName("org.fedoraproject.FirewallD1", dbus.SystemBus())
bare = dbus.service.Object(name, "/org/fedoraproject/FirewallD1")
print("there is one", flush=True)
GLib.MainLoop().run()
"#;

/// The system's policy as far as it matters, and firewalld's own.
const BUS: &str = r#"<busconfig>
    <listen>unix:path=/run/dbus/system_bus_socket</listen>
    <auth>EXTERNAL</auth>
    <policy context="default">
        <allow user="*"/>
        <deny own="*"/>
        <deny send_type="method_call"/>
        <allow send_type="signal"/>
        <allow send_requested_reply="true" send_type="method_return"/>
        <allow send_requested_reply="true" send_type="error"/>
        <allow receive_type="method_call"/>
        <allow receive_type="method_return"/>
        <allow receive_type="error"/>
        <allow receive_type="signal"/>
        <allow send_destination="org.freedesktop.DBus"/>
    </policy>
    <include>FIREWALLD</include>
</busconfig>
"#;
