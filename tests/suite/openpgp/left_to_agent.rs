//! A daemon that leaves its secret key with gpg-agent, and an agent that is gone, silent, or talks nonsense.

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use crate::support::gpg::{Home, keys};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, READY, Settings, bounded, said};
use crate::support::scratch::Scratch;
use crate::support::{PATIENCE, within};

#[test]
fn an_agent_that_ends_is_told_once_and_may_come_back() {
    let site = Site::new();
    let daemon = site.daemon();
    site.knock(OPENPGP);
    assert!(site.world.v4().opens(OPENPGP), "{}", daemon.logs.text());

    site.home.end_agent();
    for way in [OPENPGP, OTHER_KEY, OPENPGP, OTHER_KEY] {
        let mark = daemon.logs.mark();
        site.knock(way);
        daemon.logs.expect_after(mark, &["refuse", "reason=gpg-engine"]);
    }
    assert_eq!(daemon.logs.count(&["cannot be reached"]), 1, "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["decrypts again"]), 0);

    site.home.ask_agent("NOP");
    let mark = daemon.logs.mark();
    site.knock(OPENPGP);
    daemon.logs.expect_after(mark, &["open ", "grant="]);
    daemon.logs.expect(&["gpg-agent decrypts again"]);
    let mark = daemon.logs.mark();
    site.knock(OTHER_KEY);
    daemon.logs.expect_after(mark, &["open ", "grant="]);
    assert_eq!(daemon.logs.count(&["decrypts again"]), 1, "{}", daemon.logs.text());
    daemon.stop();
}

#[test]
fn nobody_else_waits_for_a_silent_agent() {
    let site = Site::new();
    let daemon = site.daemon();
    let silent = site.agent_played_by(|_| thread::sleep(PATIENCE * 2));
    site.knock(OPENPGP);
    site.knock(OPENPGP);
    site.knock(SHARED_KEY);
    assert!(site.world.v4().opens(SHARED_KEY), "{}", daemon.logs.text());
    assert_eq!(daemon.logs.count(&["reason=gpg-engine"]), 0, "it is still being waited for");
    daemon.logs.expect(&["refuse", "reason=gpg-engine"]);
    daemon.logs.expect(&["has not answered for 5 seconds"]);
    let both = || daemon.logs.count(&["reason=gpg-engine"]) == 2;
    assert!(within(Duration::from_secs(3), both), "the second waits for the first, and no longer");
    // The next packet does not wait: the agent is left alone for a while.
    let mark = daemon.logs.mark();
    site.knock(OPENPGP);
    let refused = daemon.logs.wait_after(mark, &["refuse", "reason=gpg-engine"], Duration::from_secs(3));
    assert!(refused.is_some(), "{}", daemon.logs.text());

    fs::remove_file(silent).expect("our own socket");
    site.home.ask_agent("NOP");
    let opens = || {
        let mark = daemon.logs.mark();
        site.knock(OPENPGP);
        daemon.logs.wait_after(mark, &["open ", "grant="], Duration::from_secs(1)).is_some()
    };
    assert!(within(PATIENCE, opens), "{}", daemon.logs.text());
    daemon.stop();
}

#[test]
fn what_is_no_agent_is_told_at_start_and_later() {
    let site = Site::new();
    let daemon = site.daemon();
    let socket = site.agent_played_by(|mut stream| {
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
    });
    site.knock(OPENPGP);
    daemon.logs.expect(&["refuse", "reason=gpg-engine"]);
    daemon.logs.expect(&["what answers in place of gpg-agent cannot be understood"]);
    daemon.stop();
    site.refuses_to_start("cannot be understood", "gpgconf --kill");
    fs::remove_file(socket).expect("our own socket");
}

#[test]
fn a_silent_agent_does_not_hold_up_the_start_for_long() {
    let site = Site::new();
    let socket = site.agent_played_by(|_| thread::sleep(PATIENCE * 3));
    site.refuses_to_start("has not answered for 20 seconds", "gpgconf --kill");
    fs::remove_file(socket).expect("our own socket");
}

/// Also where GnuPG is only half installed.
#[test]
fn an_agent_that_cannot_be_started_is_told() {
    let site = Site::new();
    let mut command = std::process::Command::new(Maker::Ours.daemon());
    let programs = Scratch::new();
    std::os::unix::fs::symlink("/usr/bin/gpg", programs.join("gpg")).expect("our own directory");
    command.env("PATH", programs.path());
    for (option, file) in [("-c", "fwknopd.conf"), ("-a", "access.conf")] {
        command.arg(option).arg(site.settings.path(file));
    }
    site.refuses(command, "cannot be started: gpgconf cannot be run", "install GnuPG");
}

/// The agent gets the passphrase from us whenever it asks for it.
#[test]
fn a_passphrase_of_the_configuration_is_given_to_the_agent() {
    let site = Site::with(&keys().server_rsa_locked, |home| {
        let passphrase = keys().server_rsa_locked.passphrase.expect("locked");
        format!("GPG_HOME_DIR {home}\nGPG_DECRYPT_PW {passphrase}\n")
    });
    let daemon = site.daemon();
    site.knock(OPENPGP);
    daemon.logs.expect(&["open ", "grant=1 "]);
    // What it remembered is gone with it.
    site.home.end_agent();
    site.home.ask_agent("NOP");
    site.knock(OPENPGP);
    daemon.logs.expect(&["open ", "grant=2 "]);
    daemon.stop();
}

/// A server with a key in a GnuPG home, and a user of each kind.
struct Site {
    world: World,
    home: Home,
    settings: Settings,
    client: Client,
    _files: Scratch,
}

impl Site {
    fn new() -> Self {
        Self::with(&keys().server_cv25519, |home| format!("GPG_HOME_DIR {home}\nGPG_ALLOW_NO_PW Y\n"))
    }

    fn with(server: &crate::support::gpg::Key, keyring: impl Fn(&str) -> String) -> Self {
        let user = &keys().client_ed25519;
        let home = Home::new();
        // A passphrase must not be known before it is given.
        home.feed(&["--passphrase", server.passphrase.unwrap_or(""), "--import"], &server.secret);
        let other = &keys().server_rsa;
        home.import(&other.secret);
        home.import(&user.public);
        home.end_agent();
        let access = format!(
            "SOURCE ANY\n{}OPEN_PORTS tcp/{OPENPGP}\nGPG_FINGERPRINT_ID {}\nHMAC_KEY tag\n\n\
             SOURCE ANY\nOPEN_PORTS tcp/{SHARED_KEY}\nKEY key\nHMAC_KEY other\n",
            keyring(&home.path().display().to_string()),
            user.fingerprint
        );
        let world = World::new();
        world.serve(&[OPENPGP, SHARED_KEY]);
        world.drop_by_nftables();
        let settings = Settings::new(&world, "GPG_SECRET_KEYS agent;\n", &access);
        let files = Scratch::new();
        let written = |name: &str, content: &str| files.write(name, content).display().to_string();
        let (recipient, signer) = (written("server.asc", &server.public), written("user.asc", &user.secret));
        let other = written("other.asc", &other.public);
        let client = Client::new(&format!(
            "[default]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\n\
             [{OPENPGP}]\nACCESS tcp/{OPENPGP}\nUSE_GPG Y\nGPG_RECIPIENT {recipient}\nGPG_SIGNER {signer}\nGPG_NO_SIGNING_PW Y\nHMAC_KEY tag\n\
             [{OTHER_KEY}]\nACCESS tcp/{OPENPGP}\nUSE_GPG Y\nGPG_RECIPIENT {other}\nGPG_SIGNER {signer}\nGPG_NO_SIGNING_PW Y\nHMAC_KEY tag\n\
             [{SHARED_KEY}]\nACCESS tcp/{SHARED_KEY}\nKEY key\nHMAC_KEY other\n"
        ));
        Self { world, home, settings, client, _files: files }
    }

    fn daemon(&self) -> Daemon {
        let daemon = Daemon::launch(&self.world, Maker::Ours, &self.settings, &["-v"]);
        daemon.logs.expect(&[READY]);
        daemon
    }

    fn refuses_to_start(&self, what: &str, advice: &str) {
        self.refuses(self.settings.command(&self.world, Maker::Ours), what, advice);
    }

    /// Where the keyring is named.
    fn refuses(&self, mut command: std::process::Command, what: &str, advice: &str) {
        command.arg("--exit-parse-config");
        let output = bounded(command, PATIENCE * 2);
        let text = said(&output);
        assert!(!output.status.success(), "{text}");
        let place = format!("{}:2: ", self.settings.path("access.conf").display());
        assert!([&*place, what, advice].iter().all(|words| text.contains(words)), "{text}");
    }

    fn knock(&self, port: u16) {
        self.client.knock(&self.world.client, Maker::Ours, &["-n", &port.to_string()]);
    }

    /// Ends the agent, and puts something else in its place. Returns where.
    fn agent_played_by(&self, play: fn(UnixStream)) -> std::path::PathBuf {
        self.home.end_agent();
        let socket = self.home.path().join("S.gpg-agent");
        // It takes its socket away itself, and would take ours.
        assert!(within(PATIENCE, || !socket.exists()), "the agent does not end");
        let listener = UnixListener::bind(&socket).expect("our own directory");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || play(stream));
            }
        });
        socket
    }
}

const OPENPGP: u16 = 2201;
const SHARED_KEY: u16 = 2202;
/// To the other key of the same server, for the port of the first.
const OTHER_KEY: u16 = 2203;
