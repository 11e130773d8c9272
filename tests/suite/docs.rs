//! What the documents tell people to type works as it stands.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::gpg;
use crate::support::netns::{SERVER, World};
use crate::support::peers::{Detached, Maker, bounded, said};
use crate::support::scratch::Scratch;

#[test]
fn the_quick_start_of_the_readme_works() {
    let world = World::new();
    world.serve(&[22]);
    world.drop_by_nftables();
    let dir = Scratch::new();
    for home in ["server", "client", "client/.gnupg"] {
        fs::create_dir(dir.join(home)).unwrap();
    }
    let _agents = [gpg::Agent::of(dir.join("client/.gnupg")), gpg::Agent::of(dir.join("etc/gnupg"))];
    let alice = "umask 077; chmod 700 ~/.gnupg\n\
                 gpg --batch --passphrase '' --quick-generate-key alice@example.org future-default default never";
    run(&world, &dir, "client", alice);

    let mut daemon = None;
    let mut knocks = 0;
    for block in blocks(&read("README.md")) {
        let words: Vec<&str> = block.words.iter().map(String::as_str).collect();
        match words[..] {
            ["sh", host] => {
                run(&world, &dir, host, &block.text);
                let pid_file = dir.join("run/fwknopd.pid");
                if daemon.is_none() && pid_file.exists() {
                    daemon = Some(Detached::of(&pid_file));
                }
            }
            ["sh", host, "knock"] => {
                let road = world.v4();
                assert!(road.closes(22, PATIENCE).is_some(), "the port is closed before {}", block.text);
                run(&world, &dir, host, &block.text);
                assert!(road.opens(22), "the port stays closed after {}", block.text);
                knocks += 1;
            }
            _ => panic!("a block that nobody runs: {:?}", block.words),
        }
    }
    assert_eq!(knocks, 2, "both knocks were tried");
    assert!(daemon.is_some_and(|daemon| daemon.gone()), "the last command ends the daemon");
}

/// Runs a block on one of the hosts, with places that are safe to write to.
fn run(world: &World, dir: &Scratch, host: &str, script: &str) {
    let etc = dir.join("etc");
    let script = [
        ("/etc/fwknop", etc.to_str().expect("a plain path")),
        ("/run/fwknop", dir.join("run").to_str().expect("a plain path")),
        ("eth0", "srv0"),
        ("gate.example.org", SERVER),
        // Nobody wants to wait for a test.
        ("FW_ACCESS_TIMEOUT   30", "FW_ACCESS_TIMEOUT   3"),
    ]
    .iter()
    .fold(script.to_owned(), |script, (written, here)| script.replace(written, here));

    let place = if host == "server" { &world.server } else { &world.client };
    let mut command = place.command_in(dir.path(), "sh");
    let programs = Path::new(Maker::Ours.daemon()).parent().expect("a directory").display();
    let path = std::env::var("PATH").expect("a PATH");
    command
        .args(["-euc", &script])
        .env("HOME", dir.join(host))
        .env("PATH", format!("{programs}:{path}:/usr/sbin:/sbin"))
        .env_remove("GNUPGHOME");
    let output = bounded(command, Duration::from_secs(60));
    assert!(output.status.success(), "on the {host}: {}\n{}\n{}", output.status, script, said(&output));
}

/// As far as systemd is not needed for that: what it would run, also after the daemon was killed.
#[test]
fn the_commands_of_the_unit_work() {
    let world = World::new();
    world.serve(&[22]);
    world.drop_by_nftables();
    let dir = Scratch::new();
    ["server", "etc"].iter().for_each(|name| fs::create_dir(dir.join(name)).unwrap());
    let etc = dir.join("etc");
    let conf = format!(
        "PCAP_INTF srv0;\nFWKNOP_RUN_DIR {}/run;\nACCESS_FILE {}/access.conf;\n",
        dir.path().display(),
        etc.display()
    );
    for (name, text) in
        [("fwknopd.conf", &*conf), ("access.conf", "SOURCE ANY\nOPEN_PORTS tcp/22\nKEY a\nHMAC_KEY b\n")]
    {
        fs::write(etc.join(name), text).unwrap();
        fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    let unit = read("docs/fwknopd.service");
    let value = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).expect(key);
    let does =
        |key: &str| run(&world, &dir, "server", &value(key).trim_start_matches('-').replace("/usr/local/sbin/", ""));
    let daemon =
        || Detached::of(Path::new(&value("PIDFile").replace("/run/fwknop", dir.join("run").to_str().unwrap())));
    does("ExecStartPre");
    does("ExecStart");
    let first = daemon();
    does("ExecReload");
    assert!(!first.gone());
    let killed = first.pid();
    drop(first);
    does("ExecStart");
    assert_ne!(daemon().pid(), killed);
    // Without these what is open, and what was seen, would be forgotten.
    assert_eq!((value("Restart"), value("RuntimeDirectoryPreserve")), ("always", "yes"));
    assert_eq!(value("StartLimitIntervalSec"), "0", "an interface that is late would be the end of it");
}

#[test]
fn the_readme_begins_with_the_two_commands() {
    let readme = read("README.md");
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with("    ")).take(2).map(str::trim).collect();
    let names: Vec<&str> = commands.iter().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert_eq!(names, ["make demo", "make test"]);
    assert!(readme.lines().take(4).any(|line| line.contains("make demo")), "they come first");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for document in docs.chain([root().join("README.md"), root().join("CHANGELOG.md")]) {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if link.contains("://") || file.is_empty() {
                continue;
            }
            let target = document.parent().expect("a directory").join(file);
            assert!(target.exists(), "{} links to {link}, which is not there", document.display());
        }
    }
}

/// A fenced block: the words after the fence, and what stands in it.
pub struct Block {
    pub words: Vec<String>,
    pub text: String,
}

pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { words: info.split(' ').map(str::to_owned).collect(), text: text.join("\n") + "\n" });
        }
    }
    blocks
}

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
