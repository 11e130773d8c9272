//! The client as a user meets it: the built program in a home of its own.

mod address;
mod agent;
mod bad_options;
mod docs;
mod keys;
mod last;
mod manage;
mod openpgp;
mod rc;
mod sending;
mod signers;
mod vectors;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use fwknop::access::{NatRule, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use fwknop::crypto::unseal::{Keyrings, Unsealing};
use fwknop::grant::StanzaId;
use fwknop::net::AddrSet;
use fwknop::reason::Reason;
use fwknop::spa::{Digest, Envelope, HttpRules, Message};
use fwknop::time::{Lifetime, Timestamp};

use crate::support::scratch::Scratch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fwknop");

/// A home directory, empty at first.
struct Home(Scratch);

/// How a run ended and what it said.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Home {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn with_rc(rc: &str) -> Self {
        let home = Self::new();
        home.0.write(".fwknoprc", rc);
        home
    }

    fn rc(&self) -> String {
        std::fs::read_to_string(self.0.join(".fwknoprc")).unwrap()
    }

    fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, &[], "")
    }

    fn run_with(&self, args: &[&str], env: &[(&str, &str)], input: &str) -> Run {
        run(self.command(PROGRAM).args(args).envs(env.iter().copied()), input)
    }

    /// Any program in this home, with nothing else in its environment.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("HOME", self.0.path()).env("PATH", path).env("LC_ALL", "C").current_dir(self.0.path());
        command
    }

    /// The packet that this command line makes, without sending it.
    fn packet(&self, args: &[&str]) -> Result<String, Run> {
        let file = self.0.join("packet");
        let run = self.run(&[&["-T", "-B", text_of(&file)], args].concat());
        if run.code != Some(0) {
            assert!(!file.exists(), "a packet was written by a run that failed: {}", run.err);
            return Err(run);
        }
        let packet = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        Ok(packet.strip_suffix('\n').expect("a line").to_owned())
    }
}

fn run(command: &mut Command, input: &str) -> Run {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A program that reads nothing may be gone already.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Reads a packet as a server does that has these keys.
fn read(packet: &str, key: &[u8], mode: Mode, hmac: Option<(Digest, &[u8])>) -> Result<Message, Reason> {
    let lifetime = Lifetime::from_secs(30).unwrap();
    let stanza = Stanza {
        id: StanzaId(0),
        name: "access".into(),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: None,
        restrict_ports: None,
        rijndael: Some(RijndaelAuth::new(RijndaelKey::new(key.to_vec()).unwrap(), mode)),
        openpgp: None,
        hmac: hmac.map(|(digest, key)| HmacAuth::new(digest, &HmacKey::new(key.to_vec()).unwrap())),
        timeout: lifetime,
        max_timeout: lifetime,
        require_username: None,
        require_source_address: false,
        expires: None,
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    };
    let envelope = Envelope::recognise(packet.as_bytes(), HttpRules::default())?;
    let keyrings = Keyrings::default();
    let plaintext = Unsealing::new(&envelope, &keyrings).unseal(&stanza, Timestamp::now())?;
    Message::decode(plaintext.value().expose())
}
