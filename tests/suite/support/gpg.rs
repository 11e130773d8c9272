//! GnuPG homes of a test's own, and keys made once per run of the tests.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::scratch::Scratch;

/// A GnuPG home in a short path.
pub struct Home {
    // First, so that the agent ends before its directory goes.
    _agent: Agent,
    dir: Scratch,
}

impl Home {
    /// `pinentry-mode loopback` is what the original needs to hand over passphrases (`spec/client.md` 14).
    pub fn new() -> Self {
        let dir = Scratch::new();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("our own directory");
        let home = Self { _agent: Agent::of(dir.path()), dir };
        home.dir.write("gpg.conf", "pinentry-mode loopback\nbatch\nno-tty\n");
        home.dir.write("gpg-agent.conf", "allow-loopback-pinentry\ndisable-scdaemon\n");
        home
    }

    /// With the secret keys of `own`, the public keys of `others`, and `own` certifying and trusting all of them: what
    /// the original's daemon demands (`spec/access.md` 10). The first of `own` must have no passphrase.
    pub fn of(own: &[&Key], others: &[&Key]) -> Self {
        let home = Self::new();
        for key in own {
            home.import(&key.secret);
            home.feed(&["--import-ownertrust"], &format!("{}:6:\n", key.fingerprint));
        }
        for key in others {
            home.import(&key.public);
            if let Some(certifier) = own.first() {
                home.gpg(&["--yes", "--local-user", &certifier.fingerprint, "--quick-lsign-key", &key.fingerprint]);
            }
        }
        home
    }

    /// Ends its agent, so that the next one reads the files anew.
    pub fn forget(&self) {
        end_agent(self.path());
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A gpg-agent that asks for passphrases by running a program of ours, which answers with this line to `GETPIN`:
    /// `D <passphrase>`, or an error. Returns where it writes what it was told.
    pub fn asks_by_script(&self, answer: &str) -> PathBuf {
        let log = self.dir.join("asked");
        let last = if answer.starts_with("ERR") { "" } else { "echo OK;" };
        let script = format!(
            "#!/bin/sh\necho OK\nwhile read -r line; do\n  printf '%s\\n' \"$line\" >> {}\n  case \"$line\" in\n    \
             GETPIN*) echo '{answer}'; {last};\n    BYE*) echo OK; exit;;\n    *) echo OK;;\n  esac\ndone\n",
            log.display()
        );
        let script = script.replace("; ;;", ";;").replace(";;;", ";;");
        let program = self.dir.write("pinentry", &script);
        fs::set_permissions(&program, Permissions::from_mode(0o700)).expect("our own file");
        self.dir.write("gpg-agent.conf", &format!("pinentry-program {}\ndisable-scdaemon\n", program.display()));
        self.end_agent();
        log
    }

    /// It starts again when it is needed.
    pub fn end_agent(&self) {
        gpgconf(self.path(), &["--kill", "gpg-agent"]);
    }

    /// Puts something in the place of the secret of the primary key (`pub`) or the first subkey (`sub`). `None`:
    /// deletes it.
    pub fn replace_secret(&self, key: &str, row: &str, content: Option<&[u8]>) {
        let listing = self.gpg(&["--with-colons", "--with-keygrip", "--list-keys", key]);
        let mut rows = listing.lines().skip_while(|line| !line.starts_with(row));
        let grip = rows.find_map(|line| line.strip_prefix("grp:::::::::")?.strip_suffix(':')).expect("a keygrip");
        let file = self.dir.join(&format!("private-keys-v1.d/{grip}.key"));
        match content {
            Some(content) => fs::write(file, content).expect("our own file"),
            None => fs::remove_file(file).expect("the secret is there"),
        }
    }

    pub fn import(&self, armored: &str) {
        self.feed(&["--import"], armored);
    }

    /// Runs gpg, which must succeed; its standard output.
    pub fn gpg(&self, args: &[&str]) -> String {
        self.feed(args, "")
    }

    pub fn feed(&self, args: &[&str], input: &str) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.path()).arg("--no-auto-check-trustdb").args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start gpg ({error}): install the Debian package gnupg"));
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("gpg reads its input");
        let output = child.wait_with_output().expect("it was started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {args:?}: {}\n{said}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the agent read its configuration again.
    pub fn reload_agent(&self) {
        self.ask_agent("RELOADAGENT");
    }

    /// One command to the agent, which is started if it is not there; it must agree.
    pub fn ask_agent(&self, command: &str) {
        let mut connect = Command::new("gpg-connect-agent");
        let output = connect.arg("--homedir").arg(self.path()).args([command, "/bye"]).output();
        let output = output.unwrap_or_else(|error| panic!("gpg-connect-agent: {error}"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.starts_with("OK"), "{command}: {said}");
    }

    /// A fresh key pair: an algorithm that signs and one that encrypts, in gpg's words.
    pub fn generate(&self, name: &'static str, algorithms: (&str, &str), passphrase: Option<&'static str>) -> Key {
        let user = format!("{name} <{name}@example.org>");
        let unlock = ["--passphrase", passphrase.unwrap_or("")];
        let (sign, encrypt) = algorithms;
        self.gpg(&[&unlock[..], &["--quick-gen-key", &user, sign, "sign,cert", "0"]].concat());
        let listing = self.gpg(&["--with-colons", "--list-keys", name]);
        let fingerprint = listing
            .lines()
            .find_map(|line| line.strip_prefix("fpr:::::::::")?.strip_suffix(':'))
            .unwrap_or_else(|| panic!("no fingerprint in {listing}"))
            .to_owned();
        self.gpg(&[&unlock[..], &["--quick-add-key", &fingerprint, encrypt, "encr", "0"]].concat());
        let public = self.gpg(&["--armor", "--export", &fingerprint]);
        let secret = self.gpg(&[&unlock[..], &["--armor", "--export-secret-keys", &fingerprint]].concat());
        assert!(secret.contains("PRIVATE KEY"), "gpg exported no secret key of {name}");
        Key { name, fingerprint, public, secret, passphrase }
    }
}

fn gpgconf(home: &Path, args: &[&str]) {
    let output = Command::new("gpgconf").arg("--homedir").arg(home).args(args).output().expect("gpgconf is there");
    assert!(output.status.success(), "gpgconf {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What stands in the place of a secret Ed25519 or Curve25519 key that is on a card: its public point, and the card.
pub fn on_card(curve: &str, point: &[u8]) -> Vec<u8> {
    const SERIAL: &[u8] = b"\xd2\x76\x00\x01\x24\x01\x03\x04\x00\x06\x12\x34\x56\x78\x00\x00";
    let atom = |octets: &[u8]| [format!("{}:", octets.len()).as_bytes(), octets].concat();
    let flag: &[u8] = if curve == "Ed25519" { b"eddsa" } else { b"djb-tweak" };
    [
        &b"(20:shadowed-private-key(3:ecc(5:curve"[..],
        &atom(curve.as_bytes()),
        b")(5:flags",
        &atom(flag),
        b")(1:q",
        &atom(point),
        b")(8:shadowed5:t1-v1(",
        &atom(SERIAL),
        b"9:OPENPGP.1))))",
    ]
    .concat()
}

/// The agent of a home, which GnuPG starts by itself. Ended on drop.
pub struct Agent(PathBuf);

impl Agent {
    pub fn of(home: impl Into<PathBuf>) -> Self {
        Self(home.into())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        end_agent(&self.0);
    }
}

fn end_agent(home: &Path) {
    let _ = Command::new("gpgconf").arg("--homedir").arg(home).args(["--kill", "all"]).output();
}

/// A key pair: a primary key that signs, and a subkey that encrypts.
pub struct Key {
    pub name: &'static str,
    /// 40 upper-case digits, of the primary key.
    pub fingerprint: String,
    pub public: String,
    pub secret: String,
    pub passphrase: Option<&'static str>,
}

/// Fresh keys, so that no test depends on the year it runs in.
pub struct Keys {
    pub server_rsa: Key,
    pub server_rsa_locked: Key,
    pub server_cv25519: Key,
    pub client_rsa: Key,
    pub client_rsa_locked: Key,
    pub client_ed25519: Key,
    pub client_ed25519_locked: Key,
    /// In nobody's list.
    pub stranger: Key,
}

/// Made at the first call, in about two seconds.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        const RSA: (&str, &str) = ("rsa2048", "rsa2048");
        const CURVE: (&str, &str) = ("ed25519", "cv25519");
        let home = Home::new();
        Keys {
            server_rsa: home.generate("server-rsa", RSA, None),
            server_rsa_locked: home.generate("server-rsa-locked", RSA, Some("server pass phrase")),
            server_cv25519: home.generate("server-cv25519", CURVE, None),
            client_rsa: home.generate("client-rsa", RSA, None),
            client_rsa_locked: home.generate("client-rsa-locked", RSA, Some("client pass phrase")),
            client_ed25519: home.generate("client-ed25519", CURVE, None),
            client_ed25519_locked: home.generate("client-ed25519-locked", CURVE, Some("curve pass phrase")),
            stranger: home.generate("stranger", CURVE, None),
        }
    })
}
