//! Commands that packets carry, run by the real daemon: once, as whom, with what, and never in anybody's way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::gpg::{Home, keys};
use crate::support::namespace::{has_other_users, is_root};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, READY, Settings};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

#[test]
fn a_command_of_either_client_runs_once_and_tells_how_it_ended() {
    let site = Site::new("", "");
    let daemon = site.daemon();
    for (number, maker) in [Maker::Ours, Maker::Original].into_iter().enumerate() {
        let command = format!("/bin/sh -c 'echo ran >> {}; echo said; exit 3'", site.file("log").display());
        site.world.record(62201);
        let mark = daemon.logs.mark();
        site.command(maker, &command);
        let end = daemon.logs.expect_after(mark, &["ended ", "status=3"]);
        assert!(end.contains("errand="), "{end}");
        daemon.logs.expect_after(mark, &["said"]);
        assert_eq!(site.read("log").lines().count(), number + 1, "{maker:?}");
    }
    // The same packet again.
    let packet = site.world.recorded().pop().expect("it was recorded");
    site.world.v4().send(&packet);
    daemon.logs.expect(&["refuse", "reason=replay"]);
    assert_eq!(site.read("log").lines().count(), 2);
    daemon.stop();
}

#[test]
fn words_are_cut_as_a_shell_would_but_nothing_is_expanded() {
    let site = Site::new("", "");
    let daemon = site.daemon();
    let script = site.files.script("show", "for word; do printf '[%s]' \"$word\"; done");
    site.command(Maker::Ours, &format!("{} a 'b  c' \"d'e\" $HOME *.c ;id |x > y `z` f\\ g", script.display()));
    daemon.logs.expect(&["[a][b  c][d'e][$HOME][*.c][;id][|x][>][y][`z`][f g]"]);
    for (command, why) in
        [("/bin/echo 'open", "a quote is not closed"), ("/no/such/program", "cannot run /no/such/program")]
    {
        let mark = daemon.logs.mark();
        site.command(Maker::Ours, command);
        daemon.logs.expect_after(mark, &[why]);
    }
    daemon.stop();
}

/// What a command sees: who asked, and nothing of ours.
#[test]
fn a_command_gets_a_clean_environment_and_no_descriptors() {
    let site = Site::signed();
    let daemon = site.daemon();
    let script = site.files.script(
        "look",
        &format!(
            "cd {0} || exit 1; env > env; echo \"$OLDPWD\" > where; cut -d ' ' -f 5 /proc/$$/stat > group; echo $$ > pid",
            site.files.path().display()
        ),
    );
    site.command(Maker::Ours, &script.display().to_string());
    daemon.logs.expect(&["ended ", "status=0"]);
    let env = site.read("env");
    let user = &keys().client_ed25519;
    for expected in [
        format!("FWKNOP_SIGNER={}", user.fingerprint),
        format!("FWKNOP_SRC={CLIENT}"),
        format!("FWKNOP_ALLOW={CLIENT}"),
        format!("FWKNOP_DST={SERVER}"),
        "FWKNOP_STANZA=1".into(),
        "LC_ALL=C".into(),
    ] {
        assert!(env.lines().any(|line| line == expected), "{expected} is not in\n{env}");
    }
    assert!(env.contains("FWKNOP_SIGNER_UID=") && env.contains("FWKNOP_TIME="), "{env}");
    let ours = env.lines().filter(|line| !line.starts_with("FWKNOP_"));
    let mut names: Vec<&str> = ours.filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    // The shell's own.
    names.retain(|name| !["OLDPWD", "PWD", "_", "SHLVL"].contains(name));
    assert_eq!(names, ["LC_ALL", "PATH"], "{env}");
    // Its own are the first three, and one for the directory it lists.
    let mark = daemon.logs.mark();
    site.command(Maker::Ours, "/bin/ls -l /proc/self/fd");
    daemon.logs.expect_after(mark, &["ended ", "status=0"]);
    for (number, target) in [("0", "/dev/null"), ("1", "pipe:"), ("2", "pipe:"), ("3", "/proc/")] {
        daemon.logs.expect_after(mark, &["output ", &format!(" {number} -> {target}")]);
    }
    assert_eq!(daemon.logs.count(&["output ", " -> "]), 4, "{}", daemon.logs.text());
    assert_eq!(site.read("where").trim(), "/");
    assert_eq!(site.read("group").trim(), site.read("pid").trim(), "it leads a process group of its own");
    daemon.stop();
}

#[test]
fn a_command_runs_as_the_user_and_group_of_its_stanza_and_no_other_group() {
    let (lines, uid, groups) = match has_other_users() {
        true => ("CMD_EXEC_USER nobody\nCMD_EXEC_GROUP games\n", "65534", "60"),
        false => ("CMD_EXEC_USER root\n", "0", "0"),
    };
    let site = Site::new(lines, "");
    fs::set_permissions(site.files.path(), fs::Permissions::from_mode(0o777)).expect("our own directory");
    let daemon = site.daemon();
    let script = site.files.script("who", "echo uid=$(id -u) groups=$(id -G)");
    site.command(Maker::Ours, &script.display().to_string());
    daemon.logs.expect(&[&format!("uid={uid} groups={groups}")]);
    daemon.stop();
}

/// A stand-in for sudo: what it is given.
#[test]
fn sudo_is_asked_for_no_password_and_takes_no_options_of_strangers() {
    let files = Scratch::new();
    let sudo = files.write("sudo", "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).expect("our own file");
    let stanza = "ENABLE_CMD_SUDO_EXEC Y\nCMD_SUDO_EXEC_USER root\nCMD_SUDO_EXEC_GROUP root\n";
    let site = Site::new(stanza, &format!("SUDO_EXE {};\n", sudo.display()));
    let daemon = site.daemon();
    site.command(Maker::Ours, "-s id 'a b'");
    daemon.logs.expect(&["<-n><-u><root><-g><root><--><-s><id><a b>"]);
    daemon.stop();
}

/// It gains nothing in a user namespace, and says so: that reaches the journal, and nothing is run.
fn sudo_refuses_an_ordinary_user() {
    let site = Site::new("ENABLE_CMD_SUDO_EXEC Y\n", "");
    let daemon = site.daemon();
    site.command(Maker::Ours, &format!("/usr/bin/touch {}", site.file("touched").display()));
    daemon.logs.expect(&["output ", "sudo"]);
    daemon.logs.expect(&["ended ", "status=1"]);
    assert!(!site.file("touched").exists());
    daemon.stop();
}

/// The real one, by a file that only this daemon sees.
#[test]
fn sudo_decides_by_its_own_rules() {
    if !is_root() {
        return sudo_refuses_an_ordinary_user();
    }
    let stanza = "CMD_EXEC_USER nobody\nENABLE_CMD_SUDO_EXEC Y\nCMD_SUDO_EXEC_USER games\n";
    let site = Site::new(stanza, "");
    let rules = "nobody ALL=(games) NOPASSWD: /usr/bin/id\n";
    let mut command = site.settings.command_with_file(&site.world, "/etc/sudoers", rules);
    let mode = fs::Permissions::from_mode(0o440);
    fs::set_permissions(site.settings.path("sudoers"), mode).expect("our own file");
    command.arg("-f");
    let daemon = Daemon::follow(command);
    daemon.logs.expect(&[READY]);
    site.command(Maker::Ours, "/usr/bin/id -un");
    daemon.logs.expect(&["output ", " games"]);
    daemon.logs.expect(&["ended ", "status=0"]);
    site.command(Maker::Ours, "/usr/bin/env");
    daemon.logs.expect(&["ended ", "status=1"]);
    assert!(!daemon.logs.text().contains("SUDO_USER"), "{}", daemon.logs.text());
    daemon.stop();
}

/// Hanging, ignoring TERM, talking without end, and leaving children behind that hold the pipe: each is ended in its time, and
/// whoever knocks meanwhile is let in.
#[test]
fn nothing_a_command_does_delays_a_knock() {
    let site = Site::new("", "CMD_EXEC_TIMEOUT 2;\n");
    let daemon = site.daemon();
    let marker = format!("{}", 100_000 + std::process::id());
    let nasty = [
        site.files.script("hang", &format!("sleep {marker}")),
        site.files.script("stubborn", &format!("trap '' TERM; while :; do sleep {marker}; done")),
        site.files.script("flood", "exec yes 0123456789012345678901234567890123456789"),
        site.files.script("leave", &format!("for i in 1 2 3; do sleep {marker} & done; exit 0")),
    ];
    for script in &nasty {
        site.command(Maker::Ours, &script.display().to_string());
    }
    for port in [PORT, PORT + 1, PORT + 2] {
        site.knock(port);
        assert!(site.world.v4().opens(port), "{}", daemon.logs.text());
    }
    let late = daemon.logs.count(&["ended ", "errand="]);
    assert!(late <= 1, "the knocks came after the commands were over:\n{}", daemon.logs.text());
    // TERM after two seconds, KILL three seconds later.
    assert!(daemon.logs.count_of(4, 0, &["ended ", "errand="], PATIENCE), "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["ended ", "reason=timeout"]), 3, "{}", daemon.logs.text());
    assert!(daemon.logs.count(&["0123456789"]) <= 25, "the journal is flooded");
    let left = || {
        let processes = fs::read_dir("/proc").expect("proc").flatten();
        processes
            .filter(|process| {
                fs::read(process.path().join("cmdline")).is_ok_and(|c| c == format!("sleep\0{marker}\0").as_bytes())
            })
            .count()
    };
    // What a command leaves behind on purpose is its own affair; what was told to end has ended.
    assert!(within(PATIENCE, || left() <= 3), "{} are left", left());
    kill_sleepers(&marker);
    daemon.stop();
}

/// Eight at a time: more are refused, and told.
#[test]
fn so_many_at_a_time_and_no_more() {
    let site = Site::new("", "CMD_EXEC_TIMEOUT 3;\n");
    let daemon = site.daemon();
    for _ in 0..10 {
        site.command(Maker::Ours, "/bin/sleep 60");
    }
    assert!(daemon.logs.count_of(2, 0, &["ended ", "reason=busy"], PATIENCE), "{}", daemon.logs.text());
    assert!(daemon.logs.count_of(10, 0, &["ended "], PATIENCE), "{}", daemon.logs.text());
    daemon.stop();
}

/// By the signature of either client.
#[test]
fn a_signed_command_is_run_and_its_signal_told() {
    let site = Site::signed();
    let daemon = site.daemon();
    for maker in [Maker::Ours, Maker::Original] {
        let mark = daemon.logs.mark();
        site.command(maker, "/bin/sh -c 'echo it; kill -KILL $$'");
        daemon.logs.expect_after(mark, &["output ", " it"]);
        daemon.logs.expect_after(mark, &["ended ", "signal=9"]);
    }
    daemon.stop();
}

#[test]
fn a_reload_and_the_end_of_the_daemon_leave_what_runs_alone() {
    let site = Site::new("", "");
    let log = site.file("log");
    let slow = site.files.script("slow", &format!("echo begin >> {0}; sleep 2; echo end >> {0}", log.display()));
    let mut daemon = site.daemon();
    let told = |line: &str| fs::read_to_string(&log).unwrap_or_default().lines().filter(|told| *told == line).count();
    site.command(Maker::Ours, &slow.display().to_string());
    assert!(within(PATIENCE, || told("begin") == 1), "{}", daemon.logs.text());
    daemon.signal(Signal::HUP);
    daemon.logs.expect(&["Re-starting fwknopd"]);
    daemon.logs.expect(&["ended ", "status=0"]);
    assert_eq!(told("end"), 1);
    site.command(Maker::Ours, &slow.display().to_string());
    assert!(within(PATIENCE, || told("begin") == 2), "{}", daemon.logs.text());
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    assert_eq!(told("end"), 1, "the daemon has waited");
    assert!(within(PATIENCE, || told("end") == 2), "it ended with the daemon");
}

#[test]
fn what_a_stanza_does_not_allow_is_not_run() {
    let site = Site::with_access("SOURCE ANY\nKEY key\nHMAC_KEY tag\n", "", CLIENT_KEYS);
    let daemon = site.daemon();
    site.command(Maker::Ours, &format!("/usr/bin/touch {}", site.file("touched").display()));
    daemon.logs.expect(&["refuse", "reason=command-disabled"]);
    assert!(!site.file("touched").exists());
    daemon.stop();
}

/// A server that runs commands, and somebody who may send them.
struct Site {
    world: World,
    settings: Settings,
    client: Client,
    files: Scratch,
    _home: Option<Home>,
}

impl Site {
    fn new(stanza: &str, conf: &str) -> Self {
        Self::with_access(&format!("SOURCE ANY\nKEY key\nHMAC_KEY tag\nENABLE_CMD_EXEC Y\n{stanza}"), conf, CLIENT_KEYS)
    }

    /// By an OpenPGP signature.
    fn signed() -> Self {
        let (server, user) = (&keys().server_cv25519, &keys().client_ed25519);
        let home = Home::of(&[server, user], &[]);
        let path = home.path().display();
        let access = format!(
            "SOURCE ANY\nGPG_HOME_DIR {path}\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {}\nHMAC_KEY tag\nENABLE_CMD_EXEC Y\n",
            user.fingerprint
        );
        let rc = format!(
            "USE_GPG Y\nGPG_HOMEDIR {path}\nGPG_RECIPIENT {}\nGPG_SIGNER {}\nGPG_NO_SIGNING_PW Y\nHMAC_KEY tag\n",
            server.fingerprint, user.fingerprint
        );
        Self { _home: Some(home), ..Self::with_access(&access, "", &rc) }
    }

    fn with_access(access: &str, conf: &str, rc: &str) -> Self {
        let world = World::new();
        world.serve(&[PORT, PORT + 1, PORT + 2]);
        world.drop_by_nftables();
        let settings = Settings::new(&world, conf, access);
        let client = Client::new(&format!("[x]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\n{rc}"));
        Self { world, settings, client, files: Scratch::new(), _home: None }
    }

    fn daemon(&self) -> Daemon {
        let daemon = Daemon::launch(&self.world, Maker::Ours, &self.settings, &["-v"]);
        daemon.logs.expect(&[READY]);
        daemon
    }

    fn command(&self, maker: Maker, command: &str) {
        self.client.knock(&self.world.client, maker, &["-n", "x", "--server-cmd", command]);
    }

    fn knock(&self, port: u16) {
        self.client.knock(&self.world.client, Maker::Ours, &["-n", "x", "-A", &format!("tcp/{port}")]);
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Those that this test has started, known by their argument.
fn kill_sleepers(marker: &str) {
    for process in fs::read_dir("/proc").expect("proc").flatten() {
        let ours = fs::read(process.path().join("cmdline")).is_ok_and(|c| c == format!("sleep\0{marker}\0").as_bytes());
        let pid = process.file_name().to_string_lossy().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let (true, Some(pid)) = (ours, pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

const PORT: u16 = 2201;
const CLIENT_KEYS: &str = "KEY key\nHMAC_KEY tag\n";
