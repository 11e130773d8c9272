//! A world of two hosts: a server and a client, two network namespaces joined by a veth pair.
//!
//! Nothing outside the namespaces is touched.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::agent::{Agent, from_hex, to_hex};
use super::{namespace, package_of, within};

pub struct World {
    pub server: Host,
    pub client: Host,
}

/// One end. Ends its helper process, and with it the namespace, on drop.
pub struct Host {
    pub device: &'static str,
    agent: Mutex<Agent>,
    pid: u32,
}

impl World {
    pub fn new() -> Self {
        let server = Host::new(namespace::unshare(), "srv0");
        let client = server.neighbour("cli0", "srv0");
        server.configure(&[SERVER, SERVER_V6]);
        client.configure(&[CLIENT, NEIGHBOUR, CLIENT_V6, NEIGHBOUR_V6]);
        Self { server, client }
    }

    /// Starts a TCP service on the server for each port.
    pub fn serve(&self, ports: &[u16]) {
        for port in ports {
            self.server.ask(&format!("listen {port}"));
        }
    }

    /// The administrator's ruleset: everything is dropped but what is established. In one table, named as Debian's.
    pub fn drop_by_nftables(&self) {
        self.server.feed("nft", &["-f", "-"], DEFAULT_DROP);
    }

    /// The same in iptables, IPv4 only: what the original needs (`spec/firewall.md` 6).
    pub fn drop_by_iptables(&self) {
        for rule in [
            "-A INPUT -i lo -j ACCEPT",
            "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-P INPUT DROP",
        ] {
            self.server.run("iptables", &rule.split(' ').collect::<Vec<_>>());
        }
    }

    pub fn v4(&self) -> Road<'_> {
        Road { world: self, client: address(CLIENT), neighbour: address(NEIGHBOUR), server: address(SERVER) }
    }

    pub fn v6(&self) -> Road<'_> {
        Road { world: self, client: address(CLIENT_V6), neighbour: address(NEIGHBOUR_V6), server: address(SERVER_V6) }
    }

    /// Begins to record what reaches the server for this UDP port.
    pub fn record(&self, port: u16) {
        self.server.ask(&format!("capture {} {port}", self.server.device));
    }

    /// The payloads recorded so far.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        let answer = self.server.ask("captured");
        answer.split_whitespace().map(|hex| from_hex(hex).expect("written by us")).collect()
    }
}

/// The way from the client to the server, over IPv4 or IPv6.
pub struct Road<'a> {
    world: &'a World,
    pub client: IpAddr,
    /// A second address of the client's host, whom nobody lets in.
    pub neighbour: IpAddr,
    pub server: IpAddr,
}

impl Road<'_> {
    /// Whether the client reaches the service on this port now.
    pub fn connects(&self, port: u16) -> bool {
        !self.scan(&[port]).is_empty()
    }

    /// Which of these ports the client reaches.
    pub fn scan(&self, ports: &[u16]) -> Vec<u16> {
        self.world.client.reaches((self.client, self.server), ports, NO_ANSWER)
    }

    pub fn neighbour_scan(&self, ports: &[u16]) -> Vec<u16> {
        self.world.client.reaches((self.neighbour, self.server), ports, NO_ANSWER)
    }

    /// A try that gives up soon: a connection request that came too early is repeated only after a second.
    fn try_scan(&self, ports: &[u16]) -> Vec<u16> {
        self.world.client.reaches((self.client, self.server), ports, NEXT_TRY)
    }

    /// Knocks are handled in their own time: waits for the port to open.
    pub fn opens(&self, port: u16) -> bool {
        within(super::PATIENCE, || !self.try_scan(&[port]).is_empty())
    }

    /// Waits for all of these ports to open.
    pub fn all_open(&self, ports: &[u16]) -> bool {
        within(super::PATIENCE, || self.try_scan(ports) == ports)
    }

    /// Waits for the port to close, `limit` at most: when the first try began that had no answer.
    pub fn closes(&self, port: u16, limit: Duration) -> Option<Instant> {
        let end = Instant::now() + limit;
        loop {
            let begun = Instant::now();
            if !self.connects(port) {
                return Some(begun);
            }
            if begun >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a payload as it is, from the client.
    pub fn send(&self, payload: &[u8]) {
        self.world.client.send(self.client, (self.server, SPA_PORT), payload);
    }
}

impl Host {
    fn new(enter: Command, device: &'static str) -> Self {
        let agent = Agent::start(enter);
        let pid = agent.pid();
        Self { device, agent: Mutex::new(agent), pid }
    }

    /// A program inside this host's namespaces. Killed by the kernel when the test's thread dies.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_in(&std::env::current_dir().expect("we are somewhere"), program)
    }

    /// The same in another directory: `current_dir` would not reach it.
    pub fn command_in(&self, directory: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = namespace::enter(self.pid, directory);
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program that must succeed; its standard output.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.try_run(program, args);
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(127) || said.contains("failed to execute") {
            panic!("{program} is missing: install the Debian package {}", package_of(program));
        }
        assert!(output.status.success(), "{program} {args:?}: {}: {said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn try_run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = self.command(program);
        command.args(args).output().unwrap_or_else(|error| {
            panic!("cannot start nsenter ({error}): install the Debian package {}", package_of("nsenter"))
        })
    }

    /// Runs a program that must succeed, with this text as its standard input.
    pub fn feed(&self, program: &str, args: &[&str], input: &str) {
        use std::io::Write;
        let mut command = self.command(program);
        let mut child =
            command.args(args).stdin(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the program reads its input");
        let status = child.wait().expect("it was started");
        assert!(status.success(), "{program} {args:?}: {status}; is the package {} installed?", package_of(program));
    }

    /// Which of `ports` answer within `limit`, on the way from an address of this host to one of the other.
    pub fn reaches(&self, (from, to): (IpAddr, IpAddr), ports: &[u16], limit: Duration) -> Vec<u16> {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let answer = self.ask(&format!("scan {from} {to} {} {}", limit.as_millis(), ports.join(" ")));
        answer.split_whitespace().map(|port| port.parse().expect("written by us")).collect()
    }

    /// One UDP datagram, from this address of ours.
    pub fn send(&self, from: IpAddr, to: (IpAddr, u16), payload: &[u8]) {
        let to = std::net::SocketAddr::from(to);
        self.ask(&format!("send {from} {to} {}", to_hex(payload)));
    }

    /// A host of the same kind, joined to this one by a cable of its own: `device` there, `port` here.
    pub fn neighbour(&self, device: &'static str, port: &str) -> Host {
        let mut enter = self.command("unshare");
        enter.arg("-n");
        let other = Host::new(enter, device);
        let pid = other.pid.to_string();
        self.run("ip", &["link", "add", port, "type", "veth", "peer", "name", device, "netns", &pid]);
        other
    }

    pub fn configure(&self, addresses: &[&str]) {
        self.configure_device(self.device, addresses);
    }

    pub fn configure_device(&self, device: &str, addresses: &[&str]) {
        let mut batch = format!("link set lo up\nlink set {device} up\n");
        for address in addresses {
            // Without `nodad` an IPv6 address could not be used for the first second.
            let kind = if address.contains(':') { ("64", "nodad") } else { ("24", "") };
            batch.push_str(&format!("address add {address}/{} dev {device} {}\n", kind.0, kind.1));
        }
        self.feed("ip", &["-batch", "-"], &batch);
    }

    /// A request to the helper process in this namespace, which must succeed.
    pub fn ask(&self, request: &str) -> String {
        self.try_ask(request).unwrap_or_else(|why| panic!("{request}: {why}"))
    }

    /// One that may fail.
    pub fn try_ask(&self, request: &str) -> Result<String, String> {
        self.agent.lock().expect("another thread of this test has failed").ask(request)
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub const CLIENT: &str = "10.71.0.2";
pub const NEIGHBOUR: &str = "10.71.0.3";
pub const SERVER: &str = "10.71.0.1";
pub const CLIENT_V6: &str = "fd71::2";
pub const NEIGHBOUR_V6: &str = "fd71::3";
pub const SERVER_V6: &str = "fd71::1";

pub const SPA_PORT: u16 = 62201;

/// No answer for so long means that the firewall drops: a busy machine needs its time.
pub const NO_ANSWER: Duration = Duration::from_secs(1);
const NEXT_TRY: Duration = Duration::from_millis(200);

pub const DEFAULT_DROP: &str = "
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
}
";
