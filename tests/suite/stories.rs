//! `docs/keys.md`, word for word: each story from empty directories, in network namespaces of its own, with real gpg,
//! gpg-agent, firewall and daemon.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::docs::{Block, blocks, read};
use crate::support::netns::{SERVER, World};
use crate::support::peers::{Detached, Maker, bounded, said};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, gpg};

#[test]
fn a_user_with_a_key_of_her_own() {
    Story::new("A user with a key of her own", &["gate"], &["alice"]).tell(1, 0);
}

#[test]
fn an_administrator() {
    Story::new("An administrator", &["gate"], &["alice", "bob"]).tell(5, 2);
}

#[test]
fn from_the_original_without_new_keys() {
    Story::new("From the original, without new keys", &["old"], &["alice", "bob"]).tell(2, 0);
}

#[test]
fn a_team_of_ten_with_three_servers() {
    Story::new("A team of ten with three servers", &["gate", "build", "data"], &["team"]).tell(5, 1);
}

/// A section of the document, its servers, and the homes of its users.
struct Story {
    blocks: Vec<Block>,
    servers: Vec<Server>,
    dir: Scratch,
    _agents: Vec<gpg::Agent>,
}

/// A default-drop server, in a pair of namespaces of its own.
struct Server {
    name: &'static str,
    world: World,
    daemon: Option<Detached>,
}

impl Story {
    fn new(heading: &str, servers: &[&'static str], users: &[&str]) -> Self {
        let dir = Scratch::new();
        let mut agents = Vec::new();
        for user in users {
            fs::create_dir(dir.join(user)).unwrap();
            let home = dir.join(user).join(".gnupg");
            fs::create_dir(&home).unwrap();
            fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
            let pinentry = dir.write(&format!("{user}/pinentry"), PINENTRY);
            fs::set_permissions(&pinentry, fs::Permissions::from_mode(0o700)).unwrap();
            dir.write(&format!("{user}/.gnupg/gpg-agent.conf"), &format!("pinentry-program {}\n", pinentry.display()));
            agents.push(gpg::Agent::of(home));
        }
        let servers = servers.iter().map(|name| {
            fs::create_dir(dir.join(name)).unwrap();
            agents.push(gpg::Agent::of(dir.join(name).join("etc/gnupg")));
            let world = World::new();
            world.serve(&[PORT]);
            world.drop_by_nftables();
            Server { name, world, daemon: None }
        });
        let servers = servers.collect();
        Self { blocks: section(heading), servers, dir, _agents: agents }
    }

    /// Types all of it. So many knocks open the port, and so many do not.
    fn tell(mut self, knocks: usize, refusals: usize) {
        assert!(!self.blocks.is_empty(), "the section is missing");
        let mut seen = (0, 0);
        for block in std::mem::take(&mut self.blocks) {
            let words: Vec<&str> = block.words.iter().map(String::as_str).collect();
            let ["sh", who, kind @ ..] = words.as_slice() else { panic!("a block that nobody runs: {words:?}") };
            match kind {
                [] => self.run(who, &block.text),
                ["knock"] => {
                    self.knock(who, &block.text, true);
                    seen.0 += 1;
                }
                ["refused"] => {
                    self.knock(who, &block.text, false);
                    seen.1 += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, (knocks, refusals), "every knock was tried");
    }

    fn knock(&mut self, who: &str, script: &str, opens: bool) {
        let name = place(who).1.to_owned();
        let closes = |server: &Server| server.world.v4().closes(PORT, PATIENCE).is_some();
        assert!(closes(self.server(&name)), "the port is closed before: {script}");
        self.run(who, script);
        let server = self.server(&name);
        if opens {
            assert!(server.world.v4().opens(PORT), "the port stays closed after: {script}");
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert!(!server.world.v4().connects(PORT), "the port opens after: {script}");
        }
    }

    fn server(&mut self, name: &str) -> &mut Server {
        self.servers.iter_mut().find(|server| server.name == name).unwrap_or_else(|| panic!("no server {name}"))
    }

    /// Runs a block where it belongs, with places that are safe to write to.
    fn run(&mut self, who: &str, script: &str) {
        let (user, server) = place(who);
        let (user, server) = (user.map(str::to_owned), server.to_owned());
        let root = self.dir.join(&server);
        let (etc, run) = (root.join("etc"), root.join("run"));
        let places = [
            ("/etc/fwknop", etc.to_str().expect("a plain path")),
            ("/run/fwknop", run.to_str().expect("a plain path")),
            ("eth0", "srv0"),
            ("gate.example.org", SERVER),
            ("build.example.org", SERVER),
            ("data.example.org", SERVER),
            ("old.example.org", SERVER),
            // Nobody wants to wait for a test.
            ("--timeout 30", "--timeout 3"),
            ("FW_ACCESS_TIMEOUT   30", "FW_ACCESS_TIMEOUT   3"),
        ];
        let script = places.iter().fold(script.to_owned(), |script, (written, here)| script.replace(written, here));
        let home = self.dir.join(user.as_deref().unwrap_or(&server));
        let top = self.dir.path().to_owned();
        let server = self.server(&server);
        let host = if user.is_some() { &server.world.client } else { &server.world.server };
        let mut command = host.command_in(&top, "sh");
        let programs = Path::new(Maker::Ours.daemon()).parent().expect("a directory").display();
        let path = std::env::var("PATH").expect("a PATH");
        command
            .args(["-euc", &script])
            .env("HOME", home)
            .env("PATH", format!("{programs}:{path}:/usr/sbin:/sbin"))
            .env_remove("GNUPGHOME")
            .env_remove("GPG_TTY");
        let output = bounded(command, Duration::from_secs(60));
        assert!(output.status.success(), "{who}: {}\n{script}\n{}", output.status, said(&output));
        let pid_file = run.join("fwknopd.pid");
        if server.daemon.is_none() && pid_file.exists() {
            server.daemon = Some(Detached::of(&pid_file));
        }
    }
}

/// `alice@gate`: a user, at that server; `gate`: the administrator, on it.
fn place(who: &str) -> (Option<&str>, &str) {
    who.split_once('@').map_or((None, who), |(user, server)| (Some(user), server))
}

/// The blocks below a heading, up to the next one.
fn section(heading: &str) -> Vec<Block> {
    let document = read("docs/keys.md");
    let is_heading = |line: &&str| line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
    let below =
        document.lines().skip_while(|line| !(is_heading(line) && line.trim_start_matches(['#', ' ']) == heading));
    let mut fenced = false;
    let text = below.skip(1).take_while(|line| {
        fenced ^= line.starts_with("```");
        fenced || !is_heading(line)
    });
    blocks(&text.map(|line| format!("{line}\n")).collect::<String>())
}

const PORT: u16 = 22;

/// Answers every question for a passphrase.
const PINENTRY: &str = "#!/bin/sh\n\
    echo 'OK at your service'\n\
    while read -r command rest; do\n\
        case $command in\n\
            GETPIN) echo 'D a passphrase of hers'; echo OK ;;\n\
            BYE) echo OK; exit ;;\n\
            *) echo OK ;;\n\
        esac\n\
    done\n";
