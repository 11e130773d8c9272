//! `fwknopd user` and `fwknopd key` with a running daemon: who is added is let in, who is taken away is shut out at once with
//! what he has open, and nobody else notices.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;

use crate::openpgp::matrix::specimens::specimen;
use crate::support::firewalld::Firewalld;
use crate::support::gateway::Wall;
use crate::support::gpg::{Home, Key, keys};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, Settings, bounded, said};
use crate::support::{PATIENCE, within};

const ANNA: u16 = 2301;
const BEN: u16 = 2302;

/// A server with a keyring, and two users who knock from the same host for a port each.
struct Team {
    world: World,
    settings: Settings,
    home: Home,
    clients: Home,
    _firewalld: Option<Firewalld>,
}

impl Team {
    fn new() -> Self {
        Self::behind(Wall::Nftables)
    }

    fn behind(wall: Wall) -> Self {
        let world = World::new();
        world.serve(&[ANNA, BEN]);
        let firewalld = wall.drop(&world.server, "accept");
        let keys = keys();
        let home = Home::of(&[&keys.server_cv25519], &[]);
        let clients = Home::of(&[&keys.client_ed25519, &keys.client_rsa], &[&keys.server_cv25519]);
        let conf = format!("{}GPG_HOME_DIR {};\n", wall.conf(), home.path().display());
        let settings = Settings::new(&world, &conf, "");
        fs::create_dir(settings.path("users")).unwrap();
        fs::set_permissions(settings.path("users"), fs::Permissions::from_mode(0o700)).unwrap();
        settings.rewrite(&conf, &format!("%include_folder {}\n", settings.path("users").display()));
        Self { world, settings, home, clients, _firewalld: firewalld }
    }

    fn command(&self, words: &[&str]) -> Output {
        let directory = self.settings.path("users");
        let directory = directory.parent().expect("it is in the scratch directory");
        let mut command = self.world.server.command_in(directory, Maker::Ours.daemon());
        command
            .args(words)
            .arg("-c")
            .arg(self.settings.path("fwknopd.conf"))
            .arg("-a")
            .arg(self.settings.path("access.conf"));
        command.env_remove("GNUPGHOME").env("LC_ALL", "C");
        bounded(command, Duration::from_secs(30))
    }

    /// Which must succeed.
    fn done(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert!(output.status.success(), "{words:?}: {}\n{}", output.status, said(&output));
        said(&output)
    }

    /// Which must not, with this exit code and these words.
    fn refused(&self, words: &[&str], code: i32, complaint: &str) {
        let output = self.command(words);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
        assert!(text.contains(complaint) && text.contains("\n     "), "{words:?}: {text}");
    }

    fn certificate(&self, key: &Key) -> PathBuf {
        let path = self.settings.path(&format!("{}.asc", key.name));
        fs::write(&path, &key.public).unwrap();
        path
    }

    fn add(&self, name: &str, key: &Key, port: u16) {
        let (file, open) = (self.certificate(key), format!("tcp/{port}"));
        let words =
            ["user", "add", file.to_str().unwrap(), "--name", name, "--open", &open, "--timeout", "60", "--yes"];
        self.done(&[&words[..], &["--no-hmac"]].concat());
    }

    fn daemon(&self) -> Daemon {
        Daemon::start(&self.world, Maker::Ours, &self.settings)
    }

    /// A knock of the key's owner.
    fn knock(&self, key: &Key, port: u16) {
        let rc = format!(
            "[x]\nSPA_SERVER {SERVER}\nACCESS tcp/{port}\nALLOW_IP {CLIENT}\nUSE_GPG Y\nGPG_HOMEDIR {}\nGPG_RECIPIENT {}\n\
             GPG_SIGNER {}\nGPG_NO_SIGNING_PW Y\n",
            self.clients.path().display(),
            keys().server_cv25519.fingerprint,
            key.fingerprint,
        );
        Client::new(&rc).knock(&self.world.client, Maker::Ours, &["-n", "x"]);
    }

    /// What is in the settings' directory and the keyring.
    fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut left = vec![self.settings.path("users").parent().unwrap().to_owned()];
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    found.insert(path, text);
                }
            }
        }
        found.insert("keyring".into(), self.home.gpg(&["--with-colons", "--list-keys"]));
        found
    }
}

#[test]
fn who_is_taken_away_is_shut_out_at_once_and_nobody_else_notices() {
    let (team, keys) = (Team::new(), keys());
    let road = team.world.v4();
    team.add("anna", &keys.client_ed25519, ANNA);
    let daemon = team.daemon();
    // To a running daemon.
    team.add("ben", &keys.client_rsa, BEN);
    team.knock(&keys.client_ed25519, ANNA);
    team.knock(&keys.client_rsa, BEN);
    assert!(road.all_open(&[ANNA, BEN]), "{}", daemon.logs.text());

    team.done(&["user", "suspend", "ben", "--yes"]);
    assert!(road.closes(BEN, PATIENCE).is_some(), "{}", daemon.logs.text());
    daemon.logs.expect(&["close ", "reason=signer-not-listed"]);
    assert!(road.connects(ANNA), "another user's port was closed:\n{}", daemon.logs.text());
    let mark = daemon.logs.mark();
    team.knock(&keys.client_rsa, BEN);
    daemon.logs.expect_after(mark, &["refuse ", "reason=signer-not-listed"]);

    team.done(&["user", "resume", "ben", "--yes"]);
    assert!(
        within(PATIENCE, || {
            team.knock(&keys.client_rsa, BEN);
            road.connects(BEN)
        }),
        "{}",
        daemon.logs.text()
    );
    team.done(&["user", "remove", "ben", "--yes"]);
    assert!(road.closes(BEN, PATIENCE).is_some(), "{}", daemon.logs.text());
    assert!(!team.home.gpg(&["--with-colons", "--list-keys"]).contains(&keys.client_rsa.fingerprint), "his key stays");
    assert!(road.connects(ANNA), "another user's port was closed:\n{}", daemon.logs.text());
    // The last one: nobody may knock, and the daemon goes on.
    team.done(&["user", "remove", "anna", "--yes"]);
    assert!(road.closes(ANNA, PATIENCE).is_some(), "{}", daemon.logs.text());
    daemon.stop();
}

/// What a command has opened, its command closes.
#[test]
fn who_is_taken_away_is_shut_out_by_command_as_well() {
    let (team, keys) = (Team::new(), keys());
    team.add("ben", &keys.client_rsa, BEN);
    let log = team.settings.path("log");
    let file = team.settings.path("users").join("ben.conf");
    let cycle =
        ["OPEN", "CLOSE"].map(|half| format!("CMD_CYCLE_{half} /bin/sh -c 'echo {half} >> {}'\n", log.display()));
    let stanza = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{stanza}\n{}CMD_CYCLE_TIMER 60\n", cycle.concat())).unwrap();
    let daemon = team.daemon();
    let told = || fs::read_to_string(&log).unwrap_or_default();
    team.knock(&keys.client_rsa, BEN);
    assert!(within(PATIENCE, || told() == "OPEN\n"), "{}", daemon.logs.text());
    team.done(&["user", "suspend", "ben", "--yes"]);
    assert!(within(PATIENCE, || told() == "OPEN\nCLOSE\n"), "{}", daemon.logs.text());
    daemon.logs.expect(&["close ", "grant=1"]);
    daemon.stop();
}

/// A certificate may stand in several stanzas: what the suspended one opened is closed, and nothing else.
#[test]
fn what_a_stanza_opened_ends_with_it_even_if_its_user_may_still_do_something_else() {
    let (team, keys) = (Team::new(), keys());
    let road = team.world.v4();
    team.add("shell", &keys.client_ed25519, ANNA);
    team.add("web", &keys.client_ed25519, BEN);
    let daemon = team.daemon();
    team.knock(&keys.client_ed25519, ANNA);
    team.knock(&keys.client_ed25519, BEN);
    assert!(road.all_open(&[ANNA, BEN]), "{}", daemon.logs.text());
    let told = team.done(&["user", "suspend", "web", "--yes", "--json"]);
    let told: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((&told["done"], &told["name"]), (&true.into(), &"web".into()));
    assert!(road.closes(BEN, PATIENCE).is_some(), "{}", daemon.logs.text());
    assert!(road.connects(ANNA), "{}", daemon.logs.text());
    daemon.stop();
}

/// An administrator's own file is listed, and never changed.
#[test]
fn files_of_an_administrators_own_are_left_alone() {
    let (team, keys) = (Team::new(), keys());
    let file = team.settings.path("users/old.conf");
    let text = format!(
        "SOURCE ANY\nOPEN_PORTS tcp/22\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {}\n",
        keys.client_ed25519.fingerprint
    );
    fs::write(&file, &text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(team.done(&["user", "show", "old"]).contains(&keys.client_ed25519.fingerprint));
    for change in ["suspend", "remove"] {
        team.refused(&["user", change, "old", "--yes"], 1, "was not written by fwknopd");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

/// Whose a grant was stands in the firewall, or in the store when there is no room for it in a rule.
#[test]
fn a_crash_does_not_forget_whose_a_grant_is() {
    Wall::each(|wall| {
        let (team, keys) = (Team::behind(wall), keys());
        let road = team.world.v4();
        team.add("anna", &keys.client_ed25519, ANNA);
        team.add("ben", &keys.client_rsa, BEN);
        let daemon = team.daemon();
        team.knock(&keys.client_ed25519, ANNA);
        assert!(road.opens(ANNA), "{wall:?}: {}", daemon.logs.text());
        team.knock(&keys.client_rsa, BEN);
        assert!(road.opens(BEN), "{wall:?}: {}", daemon.logs.text());
        daemon.kill9();
        let daemon = team.daemon();
        assert!(road.all_open(&[ANNA, BEN]), "{wall:?}: {}", daemon.logs.text());
        team.done(&["user", "suspend", "ben", "--yes"]);
        assert!(road.closes(BEN, PATIENCE).is_some(), "{wall:?}: {}", daemon.logs.text());
        assert!(road.connects(ANNA), "{wall:?}: another user's port was closed:\n{}", daemon.logs.text());
        // Also when it is done while no daemon runs.
        team.done(&["user", "resume", "ben", "--yes"]);
        team.knock(&keys.client_rsa, BEN);
        assert!(road.opens(BEN), "{wall:?}: {}", daemon.logs.text());
        daemon.kill9();
        team.done(&["user", "remove", "ben", "--yes"]);
        let daemon = team.daemon();
        assert!(road.scan(&[ANNA, BEN]) == [ANNA], "{wall:?}: {}", daemon.logs.text());
        daemon.stop();
    });
}

/// A file that somebody broke by hand keeps the old settings, and says so.
#[test]
fn a_broken_file_changes_nothing() {
    let (team, keys) = (Team::new(), keys());
    team.add("anna", &keys.client_ed25519, ANNA);
    let daemon = team.daemon();
    fs::write(team.settings.path("users/broken.conf"), "SOURCE ANY\nOPEN_PORTS tcp/x\n").unwrap();
    let file = team.certificate(&keys.client_rsa);
    let add = ["user", "add", file.to_str().unwrap(), "--name", "ben", "--open", "tcp/1", "--yes"];
    team.refused(&add, 1, "the configuration would not work");
    assert!(!team.settings.path("users/ben.conf").exists());
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["the old configuration stays in force"]);
    team.knock(&keys.client_ed25519, ANNA);
    assert!(team.world.v4().opens(ANNA), "{}", daemon.logs.text());
    daemon.stop();
}

#[test]
fn a_dry_run_changes_nothing_and_nobody_is_asked_without_a_terminal() {
    let (team, keys) = (Team::new(), keys());
    team.add("anna", &keys.client_ed25519, ANNA);
    let file = team.certificate(&keys.client_rsa);
    let before = team.tree();
    let add = ["user", "add", file.to_str().unwrap(), "--open", "tcp/22", "--stanza", "x.stanza", "--server", "h"];
    let changes: [&[&str]; 6] = [
        &add,
        &["user", "suspend", "anna"],
        &["user", "remove", "anna"],
        &["key", "rotate"],
        &["key", "init", "x <x@y>", "--gpg-home-dir", "new"],
        &["user", "resume", "anna"],
    ];
    for words in &changes[..5] {
        team.done(&[*words, &["--dry-run"]].concat());
        assert_eq!(team.tree(), before, "{words:?}");
    }
    for words in &changes[..4] {
        team.refused(words, 3, "there is nobody to ask");
        assert_eq!(team.tree(), before, "{words:?}");
    }
    team.refused(changes[5], 1, "is not suspended");
}

#[test]
fn what_cannot_be_a_user_or_a_key_is_refused_in_words() {
    let (team, keys) = (Team::new(), keys());
    team.add("anna", &keys.client_ed25519, ANNA);
    let before = team.tree();
    let file = |name: &str, text: &str| {
        let path = team.settings.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let vector = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyrings/vectors").join(name);
        fs::read_to_string(path).unwrap()
    };
    let good = file("good.asc", &keys.client_rsa.public);
    let secret = file("secret.asc", &keys.client_rsa.secret);
    let expired = file("expired.asc", &vector("client-expired.pub.asc"));
    let revoked = file("revoked.asc", &vector("client-revoked.pub.asc"));
    let two = file("two.asc", &format!("{}\n{}", keys.client_rsa.public, keys.stranger.public));
    let junk = file("junk.asc", "no key");
    let cases: [(&[&str], i32, &str); 15] = [
        (&["user", "add", &good, "--open", "tcp/22", "--name", "a/b"], 2, "cannot be the name of a user"),
        (&["user", "add", &good, "--open", "tcp/22", "--name", "anna"], 1, "there is a user 'anna' already"),
        (&["user", "add", &good, "--open", "tcp/22", "--until", "soon"], 2, "is no span of time"),
        (&["user", "add", &good, "--open", "tcp/22", "--until", "2020-01-31"], 2, "is past"),
        (&["user", "add", &good, "--open", "tcp/22", "--max-timeout", "5"], 2, "is shorter than --timeout"),
        (&["user", "add", &good, "--open", "tcp/22", "--source", "here"], 2, "is no list of addresses"),
        (&["user", "add", &secret, "--open", "tcp/22"], 1, "holds a secret key"),
        (&["user", "add", &expired, "--open", "tcp/22"], 1, "it is expired"),
        (&["user", "add", &revoked, "--open", "tcp/22"], 1, "it is revoked"),
        (&["user", "add", &two, "--open", "tcp/22"], 1, "several certificates"),
        (&["user", "add", &junk, "--open", "tcp/22"], 1, "there is no OpenPGP certificate"),
        (&["user", "remove", "nobody"], 4, "there is no user 'nobody'"),
        (&["key", "retire", &keys.client_rsa.fingerprint], 4, "is not a key of this server"),
        (&["key", "retire", &keys.server_cv25519.fingerprint], 1, "is the only key"),
        (&["key", "init", "x <x@y>"], 1, "there is a key in"),
    ];
    for (words, code, complaint) in cases {
        team.refused(&[words, &["--yes"]].concat(), code, complaint);
    }
    for name in ["good.asc", "secret.asc", "expired.asc", "revoked.asc", "two.asc", "junk.asc"] {
        fs::remove_file(team.settings.path(name)).unwrap();
    }
    assert_eq!(team.tree(), before);
}

#[test]
fn lists_are_for_programs_too_and_show_no_secret() {
    let (team, keys) = (Team::new(), keys());
    let file = team.certificate(&keys.client_ed25519);
    let stanza = team.settings.path("anna.stanza");
    let words = ["user", "add", file.to_str().unwrap(), "--name", "anna", "--open", "tcp/22", "--until", "1y", "--yes"];
    let said = team.done(&[&words[..], &["--server", "h.example", "--stanza", stanza.to_str().unwrap()]].concat());
    let handout = fs::read_to_string(&stanza).unwrap();
    let secret = handout.lines().find_map(|line| line.strip_prefix("HMAC_KEY_BASE64")).unwrap().trim().to_owned();
    assert_eq!(fs::metadata(&stanza).unwrap().permissions().mode() & 0o777, 0o600);
    let access = team.settings.path("users/anna.conf");
    assert!(fs::read_to_string(&access).unwrap().contains(&secret));
    assert_eq!(fs::metadata(&access).unwrap().permissions().mode() & 0o777, 0o600);

    let listed = team.done(&["user", "list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&rows[0]["name"], &rows[0]["state"]), (&"anna".into(), &"active".into()));
    assert_eq!(rows[0]["fingerprint"], keys.client_ed25519.fingerprint.as_str());
    assert!(rows[0]["until"].as_u64().is_some());
    let shown = team.done(&["key", "show", "--json"]);
    let keyring: serde_json::Value = serde_json::from_str(shown.lines().next().unwrap()).unwrap();
    assert_eq!(keyring[0]["fingerprint"], keys.server_cv25519.fingerprint.as_str());
    let all = [said, listed, shown, team.done(&["user", "list"]), team.done(&["user", "show", "anna"])].concat();
    assert!(!all.contains(&secret));
}

/// With the lengths that `docs/openpgp-sizes.md` has, and what to do about one that does not arrive.
#[test]
fn the_check_tells_how_long_the_knocks_of_a_user_get() {
    let (team, keys) = (Team::new(), keys());
    let check = |code: i32| -> serde_json::Value {
        let output = team.command(&["key", "check", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let of = |rows: &serde_json::Value, fingerprint: &str| {
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["about"].as_str().unwrap().starts_with(fingerprint)).unwrap().clone()
    };
    team.add("anna", &keys.client_ed25519, ANNA);
    let rows = check(0);
    assert_eq!(of(&rows, &keys.server_cv25519.fingerprint)["characters"], serde_json::Value::Null);
    assert_eq!(of(&rows, &keys.client_ed25519.fingerprint)["characters"], 551);
    assert!(team.done(&["key", "check"]).contains("  ok, knocks of up to 551 characters\n"));

    team.home.import(&specimen("gpg-rsa4096").secret);
    team.home.import(&specimen("sequoia-rsa4096").public);
    let rows = check(5);
    // Users may still knock at the older key.
    assert_eq!(of(&rows, &keys.client_ed25519.fingerprint)["characters"], 1124);
    let row = of(&rows, &specimen("sequoia-rsa4096").primary.to_string());
    assert_eq!(row["characters"], 1689);
    let finding = &row["findings"][0];
    assert!(finding["what"].as_str().unwrap().contains("only 1472 arrive in one piece"), "{row}");
    assert!(finding["advice"].as_str().unwrap().contains("sign with an Ed25519 subkey (1124 characters)"), "{row}");
}

/// Each subcommand of both programs with all its options is in its document.
#[test]
fn the_documents_know_every_subcommand_and_option() {
    let help = |program: &str, words: &[&str]| {
        let mut command = std::process::Command::new(program);
        command.args(words).arg("--help");
        said(&bounded(command, Duration::from_secs(10)))
    };
    let commands = |text: &str| -> Vec<String> {
        let list = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        list.filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect()
    };
    // What every one of them takes is said above the tables.
    let common = [
        "--config-file",
        "--access-file",
        "--access-folder",
        "--gpg-home-dir",
        "--override-config",
        "--rc-file",
        "--help",
    ];
    let mut seen = 0;
    for (name, program, document, groups) in [
        ("fwknopd", Maker::Ours.daemon(), "docs/configuration.md", &["key", "user", "grants"][..]),
        ("fwknop", Maker::Ours.client(), "docs/client.md", &["key", "server"]),
    ] {
        let document = crate::docs::read(document);
        for (group, command) in
            groups.iter().flat_map(|g| commands(&help(program, &[g])).into_iter().map(move |c| (*g, c)))
        {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{name} {group} {command}")));
            let row = row.unwrap_or_else(|| panic!("{name} {group} {command} is not in its document"));
            let text = help(program, &[group, &command]);
            let options = text.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
            let named = options.filter_map(|line| line.split([' ', ',', '=']).find(|word| word.starts_with("--")));
            for option in named.filter(|option| !common.contains(option)) {
                assert!(row.contains(&format!("`{option}`")), "{name} {group} {command}: {option} is not in {row}");
                seen += 1;
            }
        }
    }
    assert!(seen > 55, "only {seen}");
}

/// A shell loads the script and asks the program: what there is comes back.
#[test]
fn shells_complete_options_and_subcommands() {
    let run = |asked: &[&str], environment: &[(&str, &str)]| {
        let mut command = std::process::Command::new(Maker::Ours.daemon());
        command.args(asked).envs(environment.iter().copied());
        said(&bounded(command, Duration::from_secs(10)))
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell], &[]);
        assert!(script.contains("fwknopd") && script.contains("_FWKNOP_COMPLETE"), "{shell}: {script}");
    }
    let ask = |at: &str, words: &[&str]| {
        let environment = [("_FWKNOP_COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", at), ("_CLAP_IFS", "\n")];
        run(&[&["--"], words].concat(), &environment)
    };
    assert!(ask("1", &["fwknopd", "us"]).contains("user"));
    assert!(ask("2", &["fwknopd", "user", "sus"]).contains("suspend"));
    assert!(ask("1", &["fwknopd", "--pcap-fil"]).contains("--pcap-filter"));
}
