//! Signing with gpg-agent, as a user meets it: who is asked, what is said when it does not work.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use sequoia_openpgp as pgp;

use pgp::crypto::mpi::PublicKey;
use pgp::parse::Parse;

use super::{Home, PROGRAM, Run, run};
use crate::support::gpg::{self, Key, keys, on_card};

/// Only the primary key of `signer` signs, and only with what `client` has.
fn ask(client: &Path, signer: &str, more: &[&str]) -> Run {
    let recipient = &keys().server_cv25519.fingerprint;
    let args =
        ["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-recipient-key", recipient, "--gpg-signer-key", signer];
    let mut command = Command::new(PROGRAM);
    // Neither terminal nor screen.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", client);
    run(command.args(args).args(more).arg("--gpg-home-dir").arg(client), "")
}

fn client(signer: &Key) -> gpg::Home {
    let home = gpg::Home::new();
    home.import(&signer.secret);
    home.import(&keys().server_cv25519.public);
    home
}

#[track_caller]
fn says(run: Run, what: &str, advice: &str) {
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    let (first, second) = run.err.split_once("\n     ").unwrap_or_else(|| panic!("no advice: {}", run.err));
    assert!(first.contains(what) && second.contains(advice), "{}", run.err);
}

#[test]
fn the_agent_asks_once_and_says_what_for() {
    let signer = &keys().client_ed25519_locked;
    let home = client(signer);
    let log = home.asks_by_script(&format!("D {}", signer.passphrase.unwrap()));
    for _ in 0..2 {
        let run = ask(home.path(), &signer.fingerprint, &[]);
        assert_eq!(run.code, Some(0), "{}", run.err);
    }
    let asked = fs::read_to_string(log).unwrap();
    assert_eq!(asked.matches("GETPIN").count(), 1, "{asked}");
    let description = asked.lines().find(|line| line.starts_with("SETDESC")).unwrap();
    assert!(
        description.contains("fwknop signs a packet") && description.contains(&signer.fingerprint),
        "{description}"
    );
    assert!(description.contains(signer.name), "{description}");
    // No gpg, and no gpgconf: neither is found.
    let path = ["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-signer-key", signer.name, "--gpg-recipient-key"];
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(path).arg(keys().server_cv25519.name).arg("--gpg-home-dir").arg(home.path());
    assert_eq!(run(&mut command, "").code, Some(0));
}

#[test]
fn without_the_passphrase_nothing_is_signed() {
    let signer = &keys().client_ed25519_locked;
    let home = client(signer);
    let fails = |more: &[&str], advice: &str| {
        let what = format!("the passphrase of the signing key {}", signer.fingerprint);
        says(ask(home.path(), &signer.fingerprint, more), &what, advice);
    };
    fails(&["--gpg-no-signing-pw"], "leave out --gpg-no-signing-pw");
    home.asks_by_script("ERR 83886179 Operation cancelled <Pinentry>");
    fails(&[], "install a pinentry");
    home.asks_by_script("D wrong");
    fails(&[], "install a pinentry");
    fs::remove_file(home.path().join("pinentry")).unwrap();
    home.end_agent();
    fails(&[], "install a pinentry");
    fs::write(home.path().join("gpg-agent.conf"), "no-allow-loopback-pinentry\n").unwrap();
    home.end_agent();
    let run = ask(home.path(), &signer.fingerprint, &["--gpg-no-signing-pw"]);
    says(run, "takes passphrases only from its own dialog", "no-allow-loopback-pinentry");
}

#[test]
fn a_key_on_a_card_or_without_its_secret_is_told() {
    let signer = &keys().client_ed25519;
    let home = client(signer);
    let cert = pgp::Cert::from_bytes(&signer.public).unwrap();
    let PublicKey::EdDSA { q, .. } = cert.primary_key().key().mpis() else { panic!("not Ed25519") };
    home.replace_secret(&signer.fingerprint, "pub", Some(&on_card("Ed25519", q.value())));
    says(ask(home.path(), signer.name, &[]), "on a card, and gpg-agent does not use cards", "install scdaemon");
    let by_gpg = ask(home.path(), signer.name, &["--gpg-engine", "gpgme"]);
    says(by_gpg, "on a card, and gpg-agent does not use cards", "install scdaemon");
    let files = Home::new();
    files.0.write("me.asc", &home.gpg(&["--armor", "--export-secret-keys", signer.name]));
    files.0.write("server.asc", &keys().server_cv25519.public);
    let named = ["--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me.asc"];
    let run = files.run(&[&["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-no-signing-pw"], &named[..]].concat());
    says(run, "its secret part is not in the file: it is on a card", "then gpg-agent signs");

    home.replace_secret(&signer.fingerprint, "pub", None);
    home.end_agent();
    says(ask(home.path(), signer.name, &[]), "the secret part of its signing key is not here", "gpg --card-status");
    home.replace_secret(&signer.fingerprint, "sub", None);
    says(ask(home.path(), signer.name, &[]), "no key for the signer", "fwknop key list");
}

#[test]
fn what_is_no_agent_is_told() {
    let signer = &keys().client_ed25519;
    let home = client(signer);
    home.end_agent();
    let without_gnupg = |home: &Path| {
        let args = ["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-signer-key", signer.name, "--gpg-recipient-key"];
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", "/nonexistent").args(args).arg(keys().server_cv25519.name);
        run(command.arg("--gpg-home-dir").arg(home), "")
    };
    says(without_gnupg(home.path()), "cannot be started: gpgconf cannot be run", "install GnuPG");

    let _ = fs::remove_file(home.path().join("S.gpg-agent"));
    let listener = UnixListener::bind(home.path().join("S.gpg-agent")).unwrap();
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let _ = peer.write_all(b"220 mail.example.org ESMTP\r\n");
            let _ = peer.read(&mut [0; 100]);
        }
    });
    says(without_gnupg(home.path()), "cannot be understood", "gpgconf --kill gpg-agent");
}

/// As gpg has it: disabled keys do not count, and neither does what has been forgotten.
#[test]
fn keys_are_chosen_as_gpg_chooses() {
    let signer = &keys().client_ed25519;
    let home = client(signer);
    let add = |usage: &str| home.gpg(&["--passphrase", "", "--quick-add-key", &signer.fingerprint, "ed25519", usage]);
    add("sign");
    let listing = home.gpg(&["--with-colons", "--list-keys", signer.name]);
    let keys_of: Vec<&str> =
        listing.lines().filter_map(|l| l.strip_prefix("fpr:::::::::")?.strip_suffix(':')).collect();
    let [primary, _, subkey] = keys_of[..] else { panic!("{listing}") };
    let server = gpg::Home::of(&[&keys().server_cv25519], &[]);
    server.import(&home.gpg(&["--armor", "--export", signer.name]));
    let signed_by = |name: &str, more: &[&str]| {
        let dir = Home::new();
        let file = dir.0.join("packet");
        let run = ask(home.path(), name, &[&["-B", file.to_str().unwrap()], more].concat());
        assert_eq!(run.code, Some(0), "{name}: {}", run.err);
        super::openpgp::signing_key(&server, fs::read_to_string(file).unwrap().trim_end())
    };
    for (name, expected) in [
        (signer.name, subkey),
        (&signer.fingerprint, subkey),
        (&format!("{primary}!"), primary),
        (subkey, subkey),
        (&format!("{}!", &primary[24..]), primary),
    ] {
        assert_eq!(signed_by(name, &[]), expected, "{name}");
        // GPGME cannot be told which subkey.
        if !name.ends_with('!') && name != subkey {
            assert_eq!(signed_by(name, &["--gpg-engine", "gpgme"]), expected, "{name}, as gpg has it");
        }
    }
    home.feed(&["--no-batch", "--command-fd", "0", "--edit-key", signer.name], "disable\nsave\n");
    says(ask(home.path(), signer.name, &[]), "it is disabled", "gpg --edit-key KEY enable");
}

/// The classic keyring, and keys that lie where only gpg looks.
#[test]
fn other_places_of_public_keys_are_read() {
    let signer = &keys().client_ed25519;
    let home = client(signer);
    let packets = home.path().join("exported");
    home.gpg(&["--output", packets.to_str().unwrap(), "--export"]);
    fs::remove_file(home.path().join("pubring.kbx")).unwrap();
    fs::copy(&packets, home.path().join("pubring.gpg")).unwrap();
    let signs = || ask(home.path(), signer.name, &[]);
    assert_eq!(signs().code, Some(0));

    fs::rename(home.path().join("pubring.gpg"), home.path().join("mine.gpg")).unwrap();
    says(signs(), "no key for the recipient", "fwknop key import");
    let ring = home.path().join("mine.gpg");
    fs::write(home.path().join("gpg.conf"), format!("keyring {}\n", ring.display())).unwrap();
    let run = signs();
    assert_eq!(run.code, Some(0), "{}", run.err);
}
