//! Every engine × every kind of key, as the server's and as the client's, sealed by gpg and by us.

mod original;
mod running;
pub mod specimens;

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use fwknop::crypto::openpgp::{Fingerprint, Opened, Sealer, SignerRule, Tolerance, framing};
use fwknop::reason::{Reason, SignatureFault};
use fwknop::secret::Passphrase;
use fwknop::time::Timestamp;

use super::engines::{ENGINES, Kind, Ring};
use crate::support::gpg::Home;
use specimens::{PASSPHRASE, Specimen, from_files, home, specimen, specimens};

const TEXT: &str = "1644722707182026:Ym9i:1795294448:3.0.0:1:MTkyLjAuMi43Nyx0Y3AvMjAwMDE:EngcL4beXxDvUsyjNvXS";

/// One message, and what must be found in it.
struct Cell {
    to: &'static Specimen,
    by: &'static Specimen,
    /// The key that signed.
    signing: Fingerprint,
    maker: &'static str,
    message: Vec<u8>,
}

impl Cell {
    fn name(&self) -> String {
        format!("{} to {}, sealed by {}", self.by.name, self.to.name, self.maker)
    }
}

#[test]
fn every_engine_reads_every_key_or_says_that_it_cannot() {
    let home = home(false);
    for kind in &ENGINES {
        let ring = kind.open(&home, None);
        check_warnings(kind, &ring);
        let wrong: Vec<String> = cells()
            .iter()
            .filter_map(|cell| Some(format!("{}: {}", cell.name(), fault_of(kind, &ring, cell)?)))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", kind.name);
    }
}

/// Only gpg has a word for this packet.
#[test]
fn gnupgs_own_ocb_is_read_by_gpg_alone() {
    let text = include_str!("../../../testdata/openpgp/gnupg-ocb.base64").replace('\n', "");
    let message = STANDARD_NO_PAD.decode(text).expect("base64");
    let candidates = framing::candidates(&STANDARD_NO_PAD.encode(&message)[2..]);
    assert!(candidates.iter().any(|(_, candidate)| *candidate == message), "it gets as far as the engine");
    let home = home(false);
    for kind in &ENGINES {
        let opened = kind.open(&home, None).read(&message);
        match kind.reads_everything {
            false => assert_eq!(opened.expect_err("unknown here"), Reason::GpgDecrypt),
            true => {
                let opened = opened.expect("gpg reads it");
                assert_eq!(opened.recipient.as_ref().expect("told").key, specimen("gpg-rsa2048").encrypts);
                assert!(listed(&specimen("gpg-cv25519").primary).judge(&opened).is_ok(), "{:?}", opened.signatures);
                let mut changed = message.clone();
                changed[message.len() - 5] ^= 1;
                let ring = kind.open(&home, None);
                assert!(ring.read(&changed).is_err(), "its integrity is checked");
            }
        }
    }
}

/// What a home gives, files give as well.
#[test]
fn key_files_read_what_a_home_reads() {
    let open: Vec<&Specimen> = specimens().iter().filter(|specimen| !specimen.is_locked()).collect();
    let ring = Ring { engine: Box::new(from_files(&open)), warnings: Vec::new() };
    let wrong: Vec<String> = cells()
        .iter()
        .filter_map(|cell| Some(format!("{}: {}", cell.name(), fault_of(&ENGINES[0], &ring, cell)?)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Keys that the engine has no arithmetic for are told when it is opened, and nothing else is.
fn check_warnings(kind: &Kind, ring: &Ring) {
    for specimen in specimens().iter().filter(|specimen| !specimen.is_locked()) {
        let mut about = ring.warnings.iter().filter(|text| text.contains(&specimen.encrypts.to_string()));
        match about.next() {
            None => {
                assert!(kind.decrypts_everything || !specimen.is_beyond_nettle(), "{}: {}", kind.name, specimen.name)
            }
            Some(text) => assert!(
                specimen.is_beyond_nettle() && text.contains("of a kind that cannot decrypt here"),
                "{}: {text}",
                kind.name
            ),
        }
        assert!(about.next().is_none(), "{:?}", ring.warnings);
    }
}

/// What is wrong with how a cell was read.
fn fault_of(kind: &Kind, ring: &Ring, cell: &Cell) -> Option<String> {
    let opened = ring.read(&cell.message);
    if cell.to.is_beyond_nettle() && !kind.decrypts_everything {
        return (opened.err() != Some(Reason::GpgDecrypt)).then(|| "should be refused".to_owned());
    }
    let opened = match opened {
        Ok(opened) => opened,
        Err(reason) => return Some(format!("refused: {reason}")),
    };
    let recipient = opened.recipient.as_ref();
    let right = opened.plaintext.expose() == TEXT.as_bytes()
        && recipient.is_some_and(|path| path.primary == cell.to.primary && path.key == cell.to.encrypts);
    if !right {
        return Some(format!("{opened:?}"));
    }
    fault_of_signature(kind, &opened, cell)
}

/// By primary key and by the key that signed it is taken; by any other key it is not.
fn fault_of_signature(kind: &Kind, opened: &Opened, cell: &Cell) -> Option<String> {
    let judged = |key: &Fingerprint| listed(key).judge(opened);
    if cell.by.cannot_sign_here() && !kind.reads_everything {
        let refused = Err(Reason::GpgBadSignature(SignatureFault::Unsupported));
        return (judged(&cell.by.primary) != refused)
            .then(|| format!("should be unsupported: {:?}", opened.signatures));
    }
    for key in [&cell.by.primary, &cell.signing] {
        if let Err(reason) = judged(key) {
            return Some(format!("{key} refused: {reason}, {:?}", opened.signatures));
        }
    }
    let strangers = cell.by.sign.iter().filter(|key| **key != cell.signing && **key != cell.by.primary);
    let mut strangers = strangers.chain([&cell.to.encrypts]);
    let taken = strangers.find(|key| judged(key) != Err(Reason::SignerNotListed(cell.signing.clone())));
    taken.map(|key| format!("{key}: {:?}", judged(key)))
}

/// As when somebody has entered it at a terminal.
#[test]
fn a_passphrase_that_the_agent_knows_need_not_be_given() {
    for kind in ENGINES.iter().filter(|kind| kind.asks_the_agent) {
        let home = home(true);
        fs::write(home.path().join("gpg-agent.conf"), "allow-preset-passphrase\ndisable-scdaemon\n")
            .expect("our own home");
        home.reload_agent();
        preset(&home, PASSPHRASE);
        let ring = kind.open(&home, None);
        assert_eq!(ring.warnings, [""; 0], "{}", kind.name);
        for specimen in specimens().iter().filter(|specimen| specimen.is_locked()) {
            let opened = ring.read(&seal_here(specimen, None));
            assert_eq!(opened.expect("the agent knows it").plaintext.expose(), TEXT.as_bytes());
        }
    }
}

/// Tells the agent the passphrase of all keys of its home.
fn preset(home: &Home, passphrase: &str) {
    let listing = home.gpg(&["--with-colons", "--with-keygrip", "--list-secret-keys"]);
    let digits: String = passphrase.bytes().map(|octet| format!("{octet:02X}")).collect();
    for grip in listing.lines().filter_map(|line| line.strip_prefix("grp:::::::::")?.strip_suffix(':')) {
        home.ask_agent(&format!("PRESET_PASSPHRASE {grip} -1 {digits}"));
    }
}

/// Keys with a passphrase: given, wrong, missing.
#[test]
fn a_passphrase_that_is_given_must_be_right() {
    let locked: Vec<&Specimen> = specimens().iter().filter(|specimen| specimen.is_locked()).collect();
    assert_eq!(locked.len(), 3);
    for kind in &ENGINES {
        // A home for each: an agent may remember a right passphrase.
        for (passphrase, said) in
            [(Some(PASSPHRASE), None), (Some("wrong"), Some("does not unlock")), (None, Some("none is given"))]
        {
            let home = home(true);
            let ring = kind.open(&home, passphrase);
            for specimen in &locked {
                let told = ring.warnings.iter().find(|text| text.contains(&specimen.encrypts.to_string()));
                let told_right = match said {
                    None => told.is_none(),
                    Some(said) => told.is_some_and(|text| text.contains(said) && text.contains("GPG_DECRYPT_PW")),
                };
                assert!(told_right, "{}, {passphrase:?}, {}: {:?}", kind.name, specimen.name, ring.warnings);
                let opened = ring.read(&seal_here(specimen, None));
                match said {
                    None => assert_eq!(opened.expect("unlocked").plaintext.expose(), TEXT.as_bytes()),
                    Some(_) if passphrase.is_none() => assert_eq!(opened.expect_err("locked"), kind.locked),
                    Some(_) => assert_eq!(opened.expect_err("locked"), Reason::GpgDecrypt),
                }
            }
        }
    }
}

fn listed(key: &Fingerprint) -> SignerRule {
    SignerRule::Listed { lists: vec![vec![key.clone()]], tolerance: Tolerance::default() }
}

/// Every key as the server's with one client, and as the client's with one server.
fn cells() -> &'static [Cell] {
    static CELLS: OnceLock<Vec<Cell>> = OnceLock::new();
    CELLS.get_or_init(|| {
        let home = home(false);
        let (server, client) = (specimen("sequoia-cv25519"), specimen("gpg-cv25519"));
        let open = || specimens().iter().filter(|specimen| !specimen.is_locked());
        let mut cells = Vec::new();
        for to in open() {
            cells.push(by_gpg(&home, to, client, &client.sign[0]));
            cells.extend((!to.is_beyond_nettle()).then(|| by_us(to, client)));
        }
        for by in open() {
            cells.extend(by.sign.iter().map(|key| by_gpg(&home, server, by, key)));
            cells.extend((!by.cannot_sign_here()).then(|| by_us(server, by)));
        }
        assert_eq!(cells.len(), 76);
        cells
    })
}

fn by_gpg(home: &Home, to: &'static Specimen, by: &'static Specimen, signing: &Fingerprint) -> Cell {
    let message = gpg_seals(home, to, &["--sign", "--local-user", &format!("{signing}!")], TEXT.as_bytes());
    Cell { to, by, signing: signing.clone(), maker: "gpg", message }
}

fn by_us(to: &'static Specimen, by: &'static Specimen) -> Cell {
    let message = seal_here(to, Some(by));
    // Which of several keys signs is the sealer's choice: the engines must find out.
    let signing = signing_key(&message, to, by);
    Cell { to, by, signing, maker: "us", message }
}

fn signing_key(message: &[u8], to: &Specimen, by: &Specimen) -> Fingerprint {
    if let [only] = &by.sign[..] {
        return only.clone();
    }
    use fwknop::crypto::openpgp::Engine as _;
    let opened = from_files(&[to, by]).open(message, Timestamp::now()).expect("ours");
    opened.signatures[0].by.as_ref().expect("known").key.clone()
}

pub fn seal_here(to: &Specimen, by: Option<&Specimen>) -> Vec<u8> {
    seal_text(to, by, TEXT.as_bytes())
}

fn seal_text(to: &Specimen, by: Option<&Specimen>, text: &[u8]) -> Vec<u8> {
    fn file(data: &str) -> KeyFile<'_> {
        KeyFile { data: data.as_bytes(), wanted: None, place: "keyrings/matrix" }
    }
    let passphrase = by.and_then(Specimen::passphrase).map(|text| Passphrase::new(text.into()));
    let signer = by.map(|by| (file(&by.secret), passphrase.as_ref()));
    let sealer = SequoiaSealer::new(file(&to.public), signer, Timestamp::now());
    let sealer = sealer.unwrap_or_else(|error| panic!("to {}: {error}", to.name));
    sealer.seal(text).unwrap_or_else(|error| panic!("to {}: {error}", to.name))
}

fn gpg_seals(home: &Home, to: &Specimen, options: &[&str], text: &[u8]) -> Vec<u8> {
    let input = home.path().join("text");
    fs::write(&input, text).expect("our own home");
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home.path()).args(["--no-auto-check-trustdb", "--trust-model", "always"]);
    command
        .args(["--output", "-"])
        .args(options)
        .args(["--recipient", &format!("{}!", to.encrypts), "--encrypt"])
        .arg(input);
    let output = command.stdin(Stdio::null()).output().expect("gpg runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
