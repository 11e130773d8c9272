//! The programs of both makers: ours, and the original as Debian packages it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::logs::Logs;
use super::netns::{Host, World};
use super::scratch::Scratch;
use super::{PATIENCE, package_of, within};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Ours,
    Original,
}

impl Maker {
    pub fn client(self) -> &'static str {
        match self {
            Maker::Ours => env!("CARGO_BIN_EXE_fwknop"),
            Maker::Original => installed("/usr/bin/fwknop"),
        }
    }

    pub fn daemon(self) -> &'static str {
        match self {
            Maker::Ours => env!("CARGO_BIN_EXE_fwknopd"),
            Maker::Original => installed("/usr/sbin/fwknopd"),
        }
    }
}

fn installed(program: &'static str) -> &'static str {
    assert!(Path::new(program).exists(), "{program} is missing: install the Debian package {}", package_of(program));
    program
}

/// A daemon's files: configuration, access, and the run directory, which outlives the daemon.
pub struct Settings {
    dir: Scratch,
    interface: Option<String>,
}

impl Settings {
    /// `conf` comes after the lines every test needs; `access` is the whole access file.
    pub fn new(world: &World, conf: &str, access: &str) -> Self {
        let settings = Self { dir: Scratch::new(), interface: Some(world.server.device.to_owned()) };
        settings.rewrite(conf, access);
        settings
    }

    /// Another interface for `-i`, or none.
    pub fn interface(mut self, interface: Option<&str>) -> Self {
        self.interface = interface.map(str::to_owned);
        self
    }

    pub fn rewrite(&self, conf: &str, access: &str) {
        let run = self.run_dir();
        self.dir.write("fwknopd.conf", &format!("FWKNOP_RUN_DIR {};\n{conf}", run.display()));
        self.dir.write("access.conf", access);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.run_dir().join("fwknopd.pid")
    }

    /// The daemon's command line with these files, on the server.
    pub fn command(&self, world: &World, maker: Maker) -> Command {
        self.finish(world.server.command(maker.daemon()))
    }

    /// The same for our daemon, started by this.
    pub fn command_by(&self, world: &World, wrapper: &[&str]) -> Command {
        let mut command = world.server.command(wrapper[0]);
        command.args(&wrapper[1..]).arg(Maker::Ours.daemon());
        self.finish(command)
    }

    /// The same for our daemon, with a file of its own in the place of one of the system's.
    pub fn command_with_file(&self, world: &World, place: &str, text: &str) -> Command {
        let file = self.dir.write(place.rsplit('/').next().unwrap_or(place), text);
        let mut command = world.server.command("unshare");
        command.args(["-m", "sh", "-ec", r#"mount --bind "$0" "$1" && shift && exec "$@""#]);
        command.arg(file).arg(place).arg(Maker::Ours.daemon());
        self.finish(command)
    }

    /// What our daemon's back-end finds open.
    pub fn list(&self, world: &World) -> String {
        let mut command = self.command(world, Maker::Ours);
        command.arg("--fw-list");
        said(&bounded(command, PATIENCE))
    }

    /// The same for our daemon, with a `/dev` of its own in which `log` is the socket at this path.
    pub fn command_with_syslog(&self, world: &World, socket: &Path) -> Command {
        const SCRIPT: &str = r#"
            new=${0%/*}/dev && mkdir "$new" && mount -t tmpfs tmpfs "$new"
            for node in null zero random urandom; do : > "$new/$node" && mount --bind /dev/$node "$new/$node"; done
            ln -s /proc/self/fd/0 "$new/stdin" # nft opens it
            : > "$new/log" && mount --bind "$0" "$new/log"
            mount --rbind "$new" /dev && exec "$@""#;
        let mut command = world.server.command("unshare");
        command.args(["-m", "sh", "-ec", SCRIPT]).arg(socket).arg(Maker::Ours.daemon());
        self.finish(command)
    }

    /// Our daemon with its run directory on a small disk of its own.
    pub fn command_on_small_disk(&self, world: &World) -> Command {
        let mut command = world.server.command("unshare");
        command.args(["-m", "sh", "-ec"]);
        command.arg(r#"mkdir -p "$0" && mount -t tmpfs -o size=8m,mode=700 tmpfs "$0" && exec "$@""#);
        command.arg(self.run_dir()).arg(Maker::Ours.daemon());
        self.finish(command)
    }

    /// A file that leaves no room on that disk; its removal does.
    pub fn fill_disk(&self, daemon: &Daemon) -> PathBuf {
        let run = self.run_dir();
        let file = PathBuf::from(format!("/proc/{}/root{}/fill", daemon.pid().as_raw_nonzero(), run.display()));
        assert!(fs::write(&file, vec![1; 16 << 20]).is_err(), "the disk is not full");
        file
    }

    fn finish(&self, mut command: Command) -> Command {
        command.arg("-c").arg(self.path("fwknopd.conf")).arg("-a").arg(self.path("access.conf"));
        if let Some(interface) = &self.interface {
            command.args(["-i", interface]);
        }
        command.env_remove("GNUPGHOME").env("LC_ALL", "C").env("HOME", self.dir.path());
        command
    }
}

/// A daemon in the foreground. Killed on drop.
pub struct Daemon {
    child: Child,
    pub logs: Logs,
}

impl Daemon {
    /// Started and ready.
    pub fn start(world: &World, maker: Maker, settings: &Settings) -> Self {
        let daemon = Self::launch(world, maker, settings, &[]);
        daemon.logs.expect(&[READY]);
        daemon
    }

    /// Started, with more options; nothing is waited for.
    pub fn launch(world: &World, maker: Maker, settings: &Settings, more: &[&str]) -> Self {
        let mut command = settings.command(world, maker);
        command.arg("-f").args(more);
        Self::follow(command)
    }

    pub fn follow(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let logs = Logs::default();
        logs.follow(child.stdout.take().expect("piped"));
        logs.follow(child.stderr.take().expect("piped"));
        Self { child, logs }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the daemon is still there");
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        within(PATIENCE, || {
            status = self.child.try_wait().expect("it was started");
            status.is_some()
        });
        status.unwrap_or_else(|| panic!("the daemon did not end; it said:\n{}", self.logs.text()))
    }

    /// TERM, and a clean end.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended();
        assert!(status.success(), "{status} after TERM:\n{}", self.logs.text());
    }

    /// As in a crash: nothing can be cleaned up.
    pub fn kill9(mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    pub fn lives(&mut self) -> bool {
        self.child.try_wait().expect("it was started").is_none()
    }

    /// A number of `/proc/PID/status`: `VmRSS` (KiB), `voluntary_ctxt_switches`.
    pub fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon in the background, known by its pid file. Killed on drop.
pub struct Detached(Pid);

impl Detached {
    pub fn of(pid_file: &Path) -> Self {
        let text = fs::read_to_string(pid_file).expect("a pid file");
        Self(text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid"))
    }

    pub fn pid(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    pub fn gone(&self) -> bool {
        // Nobody may be there to reap it: a zombie is gone as well.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        test_kill_process(self.0).is_err() || stat.contains(") Z ")
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if !self.gone() {
            let _ = kill_process(self.0, Signal::KILL);
            // What it held is free when it is gone.
            within(PATIENCE, || self.gone());
        }
    }
}

/// What both makers write when they are ready.
pub const READY: &str = "Starting fwknopd main event loop.";

/// A client's home: its rc file, with one stanza per kind of knock.
pub struct Client {
    dir: Scratch,
}

impl Client {
    pub fn new(rc: &str) -> Self {
        let dir = Scratch::new();
        dir.write(".fwknoprc", rc);
        Self { dir }
    }

    /// Sends one knock, which must succeed.
    pub fn knock(&self, host: &Host, maker: Maker, args: &[&str]) {
        let output = self.try_knock(host, maker, args);
        let said = String::from_utf8_lossy(&output.stderr);
        let wrote = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{maker:?} client {args:?}: {}\n{said}{wrote}", output.status);
    }

    pub fn try_knock(&self, host: &Host, maker: Maker, args: &[&str]) -> Output {
        let mut command = self.command(host, maker);
        command.args(args).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub fn command(&self, host: &Host, maker: Maker) -> Command {
        let mut command = host.command(maker.client());
        command.arg("--rc-file").arg(self.dir.join(".fwknoprc")).arg("--no-save-args");
        command.env("HOME", self.dir.path()).env("LC_ALL", "C").env_remove("GNUPGHOME");
        command
    }
}

/// Runs a command to its end, `limit` at most; then it is killed and the test fails.
pub fn bounded(mut command: Command, limit: Duration) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if !within(limit, || child.try_wait().expect("it was started").is_some()) {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{:?} {:?} did not end within {limit:?}", command.get_program(), command.get_args().collect::<Vec<_>>());
    }
    child.wait_with_output().expect("it was started")
}

/// Both streams of a program, for messages and for looking at what it said.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream)).concat()
}
