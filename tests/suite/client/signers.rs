//! Each way to make a message (with keys from files, with a signature by gpg-agent, by gpg itself), with each kind of key
//! on either side, and with each way to unlock it. What comes out is read by gpg.

use std::fs;
use std::process::Command;

use super::openpgp::unseal;
use super::{Home, PROGRAM, Run, run};
use crate::openpgp::matrix::specimens::{PASSPHRASE, Specimen, home, specimen, specimens};
use crate::support::gpg;

struct Way {
    name: &'static str,
    /// What selects it; `None`: that both keys are files.
    options: Option<&'static [&'static str]>,
    /// To keys that this process has no arithmetic for.
    writes_to_all: bool,
    /// With such keys.
    signs_with_all: bool,
}

const WAYS: [Way; 3] = [
    Way { name: "files", options: None, writes_to_all: false, signs_with_all: false },
    Way { name: "gpg-agent", options: Some(&["--gpg-engine", "sequoia"]), writes_to_all: false, signs_with_all: false },
    Way { name: "gpg", options: Some(&["--gpg-engine", "gpgme"]), writes_to_all: true, signs_with_all: true },
];

/// Where the passphrase comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unlock {
    /// The key has none.
    Nothing,
    /// The configuration, which hands it over in loopback.
    Given,
    /// gpg-agent asks for it.
    Asked,
}

#[test]
fn each_way_signs_with_each_key_however_it_is_unlocked() {
    let (to, server) = (specimen("sequoia-cv25519"), server());
    let mut seen = 0;
    for way in &WAYS {
        for by in specimens() {
            let unlocks: &[Unlock] = match (by.is_locked(), way.options) {
                (false, _) => &[Unlock::Nothing],
                (true, None) => &[Unlock::Given],
                (true, Some(_)) => &[Unlock::Given, Unlock::Asked],
            };
            for unlock in unlocks {
                let can = way.signs_with_all || !by.cannot_sign_here();
                check(&server, way, to, by, *unlock, can);
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 3 * 22 + 2 * 3);
}

#[test]
fn each_way_writes_to_each_key() {
    let (by, server) = (specimen("gpg-cv25519"), server());
    for way in &WAYS {
        for to in specimens().iter().filter(|specimen| !specimen.is_locked()) {
            check(&server, way, to, by, Unlock::Nothing, way.writes_to_all || !to.is_beyond_nettle());
        }
    }
}

/// Reads what is written to any open specimen by any specimen.
fn server() -> gpg::Home {
    let server = home(false);
    server.import(&specimens().iter().map(|specimen| specimen.public.as_str()).collect::<String>());
    server
}

fn check(server: &gpg::Home, way: &Way, to: &Specimen, by: &Specimen, unlock: Unlock, can: bool) {
    let cell = format!("{}: {} to {}, unlocked by {unlock:?}", way.name, by.name, to.name);
    let dir = Home::new();
    let packet = dir.0.join("packet");
    let run = make(&dir, way, to, by, unlock);
    assert!(!run.err.contains(PASSPHRASE), "{cell}");
    if !can {
        assert_eq!(run.code, Some(1), "{cell}");
        assert!(run.err.contains("\n     ") && run.err.contains("GPG_ENGINE gpgme"), "{cell}: {}", run.err);
        return;
    }
    assert_eq!(run.code, Some(0), "{cell}: {}", run.err);
    let (message, signer) = unseal(server, fs::read_to_string(packet).expect("written").trim_end());
    assert_eq!(message.user.as_str(), "alice", "{cell}");
    assert_eq!(signer, Some(by.primary.to_string()), "{cell}");
}

fn make(dir: &Home, way: &Way, to: &Specimen, by: &Specimen, unlock: Unlock) -> Run {
    let keys = gpg::Home::new();
    let mut command = Command::new(PROGRAM);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", dir.0.path());
    command.current_dir(dir.0.path()).args(["--no-rc-file", "-T", "-B", "packet", "-A", "tcp/22", "-s", "-U", "alice"]);
    match way.options {
        None => {
            dir.0.write("to.asc", &to.public);
            dir.0.write("by.asc", &by.secret);
            command.args(["--gpg-recipient-key", "to.asc", "--gpg-signer-key", "by.asc"]);
        }
        Some(options) => {
            keys.import(&[to.public.as_str(), &by.secret].concat());
            command.args(["--gpg-recipient-key", &to.primary.to_string(), "--gpg-signer-key", &by.primary.to_string()]);
            command.args(options).arg("--gpg-home-dir").arg(keys.path());
        }
    }
    match unlock {
        Unlock::Nothing => run(command.arg("--gpg-no-signing-pw"), ""),
        Unlock::Given => run(command.arg("--stdin"), &format!("{PASSPHRASE}\n")),
        Unlock::Asked => {
            keys.asks_by_script(&format!("D {PASSPHRASE}"));
            run(command.arg("--gpg-agent"), "")
        }
    }
}
