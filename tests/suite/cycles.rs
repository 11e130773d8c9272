//! Commands in place of firewall rules, run by the real daemon: with what, as whom, once, and closed whatever happens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::namespace::has_other_users;
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, READY, Settings, bounded, said};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

/// The same file, the same packets, both daemons.
#[test]
fn variables_are_filled_in_as_by_the_original() {
    let mut told = Vec::new();
    for maker in [Maker::Original, Maker::Ours] {
        let site = Site::new();
        let words = "$IP $SRC $PKT_SRC $DST $PORT $PROTO $CLIENT_TIMEOUT x$FOO $IPX $PORT/$PROTO$ $TIMEOUT";
        site.access(&format!(
            "CMD_CYCLE_OPEN {0} open {words}\nCMD_CYCLE_CLOSE {0} close {words}\nCMD_CYCLE_TIMER 2\n",
            site.tell()
        ));
        let daemon = site.daemon(maker);
        let mut lines = Vec::new();
        for (number, args) in
            [&["-A", "udp/53,tcp/22"][..], &["-A", "tcp/2201", "--fw-timeout", "3", "-a", "192.0.2.7"]]
                .into_iter()
                .enumerate()
        {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
            site.knock(Maker::Original, args);
            assert!(
                within(PATIENCE, || site.told().len() == 2 * number + 2),
                "{}\n{:?}",
                daemon.logs.text(),
                site.told()
            );
            for line in site.told().drain(2 * number..) {
                let (words, end) = line.rsplit_once(' ').expect("several words");
                let lasts = end.parse::<u64>().expect("seconds since 1970") - now;
                assert!((2..20).contains(&lasts), "{line}");
                lines.push(words.to_owned());
            }
        }
        told.push(lines);
    }
    assert_eq!(told[0], told[1]);
    let first = format!("{CLIENT} {CLIENT} {CLIENT} {SERVER} 53 17 2 xFOO {CLIENT}X 53/17");
    let second = format!("192.0.2.7 192.0.2.7 {CLIENT} {SERVER} 2201 6 3 xFOO 192.0.2.7X 2201/6");
    assert_eq!(
        told[1],
        [format!("open {first}"), format!("close {first}"), format!("open {second}"), format!("close {second}")]
    );
}

#[test]
fn the_environment_says_who_what_and_until_when() {
    let site = Site::new();
    let user = if has_other_users() { "nobody" } else { "root" };
    let seen = format!("{}/$FWKNOP_CYCLE", site.files.path().display());
    let look = site.files.script("look", &format!("(id -un; env) > {seen}; chmod 644 {seen}; exit 3"));
    site.access(&format!(
        "CMD_CYCLE_OPEN {0} 'a b'\nCMD_CYCLE_CLOSE {0}\nCMD_CYCLE_TIMER 600\nMAX_FW_TIMEOUT 2\nCMD_EXEC_USER {user}\n",
        look.display()
    ));
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "udp/53,tcp/22", "--fw-timeout", "1000"]);
    daemon.logs.expect(&["open ", "grant=1", "to=command", "for=2s"]);
    daemon.logs.expect(&["ended ", "grant=1 cycle=close status=3"]);
    daemon.logs.expect(&["close ", "grant=1", "reason=expired"]);
    for half in ["open", "close"] {
        let said = fs::read_to_string(site.files.join(half)).expect("it ran");
        let expected = [user, "FWKNOP_ID=1", "FWKNOP_PORTS=udp/53,tcp/22", "FWKNOP_TIMEOUT=2", "FWKNOP_STANZA=1"];
        for line in
            expected.iter().copied().chain([&*format!("FWKNOP_CYCLE={half}"), &*format!("FWKNOP_ALLOW={CLIENT}")])
        {
            assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
        }
        assert!(said.contains("FWKNOP_UNTIL=") && said.contains("FWKNOP_USER="), "{said}");
    }
    daemon.stop();
}

/// And the firewall is never looked at.
#[test]
fn what_is_renewed_is_closed_once_and_what_has_no_end_never() {
    let site = Site::new();
    let before = site.ruleset();
    site.cycle(4, "");
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    site.told_by(1, &daemon);
    std::thread::sleep(std::time::Duration::from_secs(2));
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    // This one would end before the others.
    site.knock(Maker::Ours, &["-A", "tcp/22", "--fw-timeout", "1"]);
    site.told_by(3, &daemon);
    let close = daemon.logs.expect(&["close ", "reason=expired"]);
    assert!(close.contains("grant=3"), "{close}");
    assert_eq!(daemon.logs.count(&["close ", "reason=renewed"]), 2, "{}", daemon.logs.text());
    assert_eq!(site.told(), ["open", "open", "open", "close"].map(|half| format!("{half} {CLIENT} 22")));

    site.access(&format!("CMD_CYCLE_OPEN {} once $PORT\nCMD_CYCLE_CLOSE NONE\n", site.tell()));
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
    site.knock(Maker::Ours, &["-A", "tcp/80"]);
    site.told_by(5, &daemon);
    assert_eq!(site.grants(), Vec::<Value>::new());
    assert_eq!(site.ruleset(), before);
    daemon.stop();
    assert_eq!(site.told().len(), 5);
}

#[test]
fn a_killed_daemon_leaves_its_closes_to_the_next() {
    let site = Site::new();
    site.cycle(4, "");
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    site.told_by(1, &daemon);
    daemon.kill9();
    // In time.
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["adopt ", "grant=1", "to=command"]);
    daemon.logs.expect(&["close ", "grant=1", "reason=expired"]);
    assert_eq!(site.told(), [format!("open {CLIENT} 22"), format!("close {CLIENT} 22")]);

    site.knock(Maker::Ours, &["-A", "tcp/80"]);
    site.told_by(3, &daemon);
    daemon.kill9();
    // Overdue, and the stanza is another by now, with the same keys.
    std::thread::sleep(std::time::Duration::from_secs(5));
    site.access("CMD_CYCLE_OPEN /bin/false\nCMD_CYCLE_CLOSE /bin/false\nCMD_CYCLE_TIMER 9\n");
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["close ", "grant=2", "reason=expired"]);
    assert_eq!(site.told()[3..], [format!("close {CLIENT} 80")]);
    daemon.kill9();
    // Once.
    let daemon = site.daemon(Maker::Ours);
    daemon.stop();
    assert_eq!(site.told().len(), 4);
}

#[test]
fn a_reload_closes_what_nobody_may_have_any_more_and_keeps_the_rest() {
    let site = Site::new();
    site.cycle(60, "");
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    site.told_by(1, &daemon);
    let reload = || {
        let mark = daemon.logs.mark();
        daemon.signal(Signal::HUP);
        daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
    };
    reload();
    assert_eq!(site.grants().len(), 1);
    site.settings
        .rewrite("", "SOURCE ANY\nKEY other\nHMAC_KEY other2\nCMD_CYCLE_OPEN /bin/true\nCMD_CYCLE_CLOSE NONE\n");
    reload();
    daemon.logs.expect(&["close ", "grant=1", "reason=key-not-listed"]);
    assert_eq!(site.told()[1..], [format!("close {CLIENT} 22")]);
    daemon.stop();
}

/// As for firewall rules: closed, unless the settings say that what is open stays.
#[test]
fn the_end_of_the_daemon_closes_or_keeps_as_configured() {
    let site = Site::new();
    site.cycle(60, "");
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    site.told_by(1, &daemon);
    daemon.signal(Signal::TERM);
    daemon.logs.expect(&["close ", "grant=1", "reason=exit"]);
    assert!(!daemon.logs.text().contains("Timer expired"), "{}", daemon.logs.text());
    assert_eq!(site.told()[1..], [format!("close {CLIENT} 22")]);
    drop(daemon);

    site.cycle(60, "FLUSH_IPT_AT_EXIT N;\n");
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/80"]);
    site.told_by(3, &daemon);
    daemon.stop();
    assert_eq!(site.told().len(), 3);
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["adopt ", "grant=2"]);
    // Also by its number.
    assert_eq!(site.grants()[0]["to"], Value::from("command"));
    let output = site.ask(&["close", "2", "--yes"]);
    assert!(output.status.success(), "{}", said(&output));
    daemon.logs.expect(&["close ", "grant=2", "reason=asked"]);
    assert_eq!(site.told()[3..], [format!("close {CLIENT} 80")]);
    daemon.stop();
}

/// Commands that hang while they open hold up neither knocks nor what others close; and each is closed after it has opened.
#[test]
fn commands_that_hang_are_in_nobodys_way() {
    let site = Site::new();
    let open = site.files.script(
        "open",
        &format!("echo begin $1 >> {0}; [ $1 = 80 ] || sleep 60; echo end $1 >> {0}", site.log().display()),
    );
    site.settings.rewrite(
        "CMD_EXEC_TIMEOUT 4;\n",
        &format!(
            "{KEYS}CMD_CYCLE_OPEN {} $PORT\nCMD_CYCLE_CLOSE {} close $PORT\nCMD_CYCLE_TIMER 1\n",
            open.display(),
            site.tell()
        ),
    );
    let daemon = site.daemon(Maker::Ours);
    for port in 22..29 {
        site.knock(Maker::Ours, &["-A", &format!("tcp/{port}")]);
    }
    site.knock(Maker::Ours, &["-A", "tcp/80"]);
    assert!(within(PATIENCE, || site.told().iter().any(|line| line == "close 80")), "{}", daemon.logs.text());
    assert!(!daemon.logs.text().contains("reason=timeout"), "it has waited for the others:\n{}", daemon.logs.text());
    assert!(!site.told().iter().any(|line| line == "close 22"), "closed before it is open");
    assert!(daemon.logs.count_of(8, 0, &["close ", "reason=expired"], PATIENCE), "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["cycle=open", "reason=timeout"]), 7);
    daemon.stop();
}

/// What is refused then leaves open what was.
#[test]
fn so_many_wait_to_be_opened_and_no_more() {
    let site = Site::new();
    let slow = site.files.script("slow", &format!("echo open >> {}; exec sleep 25", site.log().display()));
    site.access(&format!(
        "CMD_CYCLE_OPEN {}\nCMD_CYCLE_CLOSE {} close\nCMD_CYCLE_TIMER 60\n",
        slow.display(),
        site.tell()
    ));
    let daemon = site.daemon(Maker::Ours);
    for _ in 0..67 {
        site.knock(Maker::Ours, &["-A", "tcp/22"]);
    }
    daemon.logs.expect(&["too many commands that open something wait to be run already"]);
    assert!(daemon.logs.count_of(2, 0, &["close ", "reason=failed"], PATIENCE), "{}", daemon.logs.text());
    let open = site.grants();
    assert_eq!((open.len(), &open[0]["grant"]), (1, &Value::from(65)));
    assert_eq!(site.told(), ["open"], "one at a time for one access");
    daemon.kill9();
    // The one that waited has not opened anything yet.
    site.files.script("slow", &format!("echo late >> {}", site.log().display()));
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["adopt ", "grant=65"]);
    daemon.logs.expect(&["ended ", "grant=65 cycle=open status=0"]);
    daemon.kill9();
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["adopt ", "grant=65"]);
    daemon.stop();
    assert_eq!(site.told(), ["open", "late", "close"], "what was started is not started again");
}

/// Not before the store knows how to close it.
#[test]
fn with_a_full_disk_nothing_is_opened() {
    let site = Site::new();
    site.cycle(60, "");
    let mut command = site.settings.command_on_small_disk(&site.world);
    command.arg("-f");
    let daemon = Daemon::follow(command);
    daemon.logs.expect(&[READY]);
    let fill = site.settings.fill_disk(&daemon);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    daemon.logs.expect(&["refuse ", "reason=replay-store"]);
    assert!(site.told().is_empty(), "{:?}", site.told());
    fs::remove_file(&fill).expect("our own file");
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    site.told_by(1, &daemon);
    daemon.stop();
}

#[test]
fn what_a_cycle_does_not_permit_is_not_run() {
    let site = Site::new();
    site.cycle(60, "");
    site.access(&format!(
        "CMD_CYCLE_OPEN {}\nCMD_CYCLE_CLOSE NONE\nOPEN_PORTS tcp/22\nENABLE_CMD_EXEC Y\n",
        site.tell()
    ));
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["ENABLE_CMD_EXEC has no effect beside CMD_CYCLE_OPEN"]);
    site.knock(Maker::Ours, &["-A", "tcp/80"]);
    daemon.logs.expect(&["refuse ", "reason=port-denied"]);
    site.knock(Maker::Ours, &["--server-cmd", "/bin/true"]);
    daemon.logs.expect(&["refuse ", "reason=command-disabled"]);
    daemon.stop();
    // Nor does a dry run.
    let dry = Daemon::launch(&site.world, Maker::Ours, &site.settings, &["-t"]);
    dry.logs.expect(&[READY]);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    dry.logs.expect(&["open ", "tcp/22"]);
    dry.stop();
    assert!(site.told().is_empty(), "{:?}", site.told());
}

/// Without one before, the firewall is made ready when a stanza needs it.
#[test]
fn a_reload_that_needs_the_firewall_sets_it_up() {
    let site = Site::new();
    site.world.serve(&[2201]);
    site.world.drop_by_nftables();
    site.cycle(60, "");
    let before = site.ruleset();
    let daemon = site.daemon(Maker::Ours);
    site.knock(Maker::Ours, &["-A", "tcp/2201"]);
    site.told_by(1, &daemon);
    assert_eq!(site.ruleset(), before);
    site.access("OPEN_PORTS tcp/2201\n");
    daemon.signal(Signal::HUP);
    daemon.logs.expect(&["Re-starting fwknopd"]);
    site.knock(Maker::Ours, &["-A", "tcp/2201"]);
    assert!(site.world.v4().opens(2201), "{}", daemon.logs.text());
    // Its keys are still there, so it waits for its end.
    assert_eq!(site.grants().len(), 2);
    daemon.stop();
    assert_eq!(site.told()[1..], [format!("close {CLIENT} 2201")]);
    assert_eq!(site.ruleset(), before);
}

/// A program that is not there has closed nothing: it is tried until it is.
#[test]
fn a_close_that_cannot_be_run_is_tried_again() {
    let site = Site::new();
    let late = site.files.join("late");
    site.access(&format!(
        "CMD_CYCLE_OPEN {} open\nCMD_CYCLE_CLOSE {}\nCMD_CYCLE_TIMER 1\n",
        site.tell(),
        late.display()
    ));
    let daemon = site.daemon(Maker::Ours);
    daemon.logs.expect(&["there is no program", "late"]);
    site.knock(Maker::Ours, &["-A", "tcp/22"]);
    daemon.logs.expect(&["cycle=close reason=failed"]);
    site.files.script("late", &format!("echo late >> {}", site.log().display()));
    daemon.logs.expect(&["close ", "grant=1", "reason=expired"]);
    assert_eq!(site.told(), ["open", "late"]);
    assert_eq!(daemon.logs.count(&["cycle=close reason=failed"]), 1, "{}", daemon.logs.text());
    daemon.stop();
}

struct Site {
    world: World,
    settings: Settings,
    client: Client,
    files: Scratch,
}

impl Site {
    fn new() -> Self {
        let world = World::new();
        let settings = Settings::new(&world, "", "");
        let client = Client::new(&format!("[x]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nKEY key\nHMAC_KEY tag\n"));
        let site = Self { world, settings, client, files: Scratch::new() };
        fs::set_permissions(site.files.path(), fs::Permissions::from_mode(0o777)).expect("our own directory");
        site.files.script("tell", &format!("echo \"$@\" >> {}", site.log().display()));
        site
    }

    fn access(&self, lines: &str) {
        self.settings.rewrite("", &format!("{KEYS}{lines}"));
    }

    /// Commands that tell when they run.
    fn cycle(&self, seconds: u32, conf: &str) {
        let tell = self.tell();
        let lines = format!(
            "CMD_CYCLE_OPEN {tell} open $IP $PORT\nCMD_CYCLE_CLOSE {tell} close $IP $PORT\nCMD_CYCLE_TIMER {seconds}\n"
        );
        self.settings.rewrite(conf, &format!("{KEYS}{lines}"));
    }

    fn daemon(&self, maker: Maker) -> Daemon {
        Daemon::start(&self.world, maker, &self.settings)
    }

    fn knock(&self, maker: Maker, args: &[&str]) {
        self.client.knock(&self.world.client, maker, &[&["-n", "x"], args].concat());
    }

    fn tell(&self) -> String {
        self.files.join("tell").display().to_string()
    }

    fn log(&self) -> PathBuf {
        self.files.join("log")
    }

    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until so many commands have told.
    fn told_by(&self, count: usize, daemon: &Daemon) {
        assert!(within(PATIENCE, || self.told().len() >= count), "{:?}\n{}", self.told(), daemon.logs.text());
    }

    fn ask(&self, words: &[&str]) -> std::process::Output {
        let mut command = self.world.server.command(Maker::Ours.daemon());
        command.arg("grants").args(words).arg("-c").arg(self.settings.path("fwknopd.conf"));
        bounded(command, PATIENCE)
    }

    fn grants(&self) -> Vec<Value> {
        let output = self.ask(&["--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
    }

    fn ruleset(&self) -> String {
        self.world.server.run("nft", &["list", "ruleset"])
    }
}

const KEYS: &str = "SOURCE ANY\nKEY key\nHMAC_KEY tag\n";
