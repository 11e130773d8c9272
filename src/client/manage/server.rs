//! `fwknop server`: stanzas of the rc file, so that `fwknop -n NAME` is all there is to type.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::super::stanza::{self, NewLine};
use super::super::variables::TABLE;
use super::super::{keys::hmac_key_in, rc};
use super::{Places, key, say};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended};
use crate::config::raw::Value;
use crate::config::{Section, parse_sections, read_sections};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::{About, KeyFile};
use crate::crypto::openpgp::size::{ONE_DATAGRAM, Pair};
use crate::keyring::manage::Home;
use crate::secret::Secret;
use crate::spa::Digest;
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum Server {
    /// Write the stanza of a server
    Add(Box<Add>),
    /// The servers in the rc file
    List {
        #[command(flatten)]
        places: Places,
        #[arg(long)]
        json: bool,
    },
    /// Remove the stanza of a server
    Remove {
        name: String,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// What to call it: fwknop -n NAME
    name: String,
    /// Host name or address
    host: Option<String>,
    /// The server's key: fingerprint, key id or part of the user id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A file with the server's certificate, to be imported
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    import: Option<PathBuf>,
    /// What the server's administrator has written with `fwknopd user add --stanza`: a stanza and a certificate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "import"])]
    stanza: Option<PathBuf>,
    /// For scripts: import a certificate only if it has this fingerprint, and do not ask
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<Fingerprint>,
    /// The key to sign with [default: the only one here]
    #[arg(long, value_name = "KEY")]
    sign_with: Option<String>,
    /// What to ask for
    #[arg(long, value_name = "PROTO/PORT,...")]
    access: Option<String>,
    /// Destination port of the knock
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Address to let in: source (the packet's own), or an address
    #[arg(long, value_name = "ADDRESS")]
    allow_ip: Option<String>,
    /// A file that holds the HMAC key as base64, or - for standard input
    #[arg(long, value_name = "FILE")]
    hmac_key_file: Option<PathBuf>,
    /// Change a stanza that is there already
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

pub fn run(command: Server) -> Result<(), Ended> {
    match command {
        Server::Add(add) => add.run(Timestamp::now()),
        Server::List { places, json } => list(&places, json),
        Server::Remove { name, places, consent } => remove(&places, consent, &name),
    }
}

/// More characters do not fit a datagram on Ethernet.
pub(super) const LONGEST: usize = ONE_DATAGRAM;

/// A stanza with a server in it.
pub(super) struct Known {
    pub name: String,
    settings: Vec<(String, String)>,
    hmac: Option<Digest>,
}

impl Known {
    fn read(section: &Section) -> Self {
        let public = |name: &str| !SECRETS.contains(&name);
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.expose().clone()),
            _ => None,
        };
        let settings = section.settings.iter().filter(|setting| public(&setting.name.to_uppercase()));
        let settings: Vec<_> = settings.filter_map(|s| Some((s.name.to_uppercase(), text(&s.value)?))).collect();
        let has_hmac = section.settings.iter().any(|setting| setting.name.to_uppercase().starts_with("HMAC_KEY"));
        let mut known = Self { name: section.name.clone(), settings, hmac: None };
        known.hmac =
            has_hmac.then(|| known.get("HMAC_DIGEST_TYPE").and_then(|d| d.parse().ok()).unwrap_or(Digest::Sha256));
        known
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Characters of a knock for it. `None`: it takes no OpenPGP, or its key is not among the certificates.
    pub fn packet(&self, certificates: &[u8], signer: Option<&Fingerprint>, now: Timestamp) -> Option<usize> {
        packet(certificates, self.get("GPG_RECIPIENT")?, signer, self.hmac, now).ok()
    }
}

fn packet(
    certificates: &[u8],
    recipient: &str,
    signer: Option<&Fingerprint>,
    hmac: Option<Digest>,
    now: Timestamp,
) -> Result<usize, Ended> {
    // A usual request with a long user name and an IPv6 address.
    const TEXT: usize = 150;
    let file = |wanted| KeyFile { data: certificates, wanted: Some(wanted), place: "the keyring" };
    let signer = signer.map(Fingerprint::to_string);
    let pair = Pair::of(file(recipient), signer.as_deref().map(file), now);
    pair.map(|pair| pair.characters(TEXT, hmac)).map_err(|error| Ended::Other(Box::new(error)))
}

/// The servers in the rc file; none if there is no file.
pub(super) fn known(places: &Places) -> Result<Vec<Known>, Ended> {
    let path = places.rc_file()?;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let (sections, _) = read_sections(&path).map_err(|complaints| Ended::Other(Box::new(complaints)))?;
    let servers = sections.iter().filter(|section| !section.is("default")).map(Known::read);
    Ok(servers.filter(|known| known.get("SPA_SERVER").is_some()).collect())
}

impl Add {
    fn run(self, now: Timestamp) -> Result<(), Ended> {
        let mut plan = Plan::default();
        let mut lines = Vec::new();
        let mut certificate = None;
        if let Some(file) = &self.stanza {
            HandedOut { lines, certificate } = handed_out(file, now)?;
        } else if let Some(file) = &self.import {
            let data = keys::read(file)?;
            let found = keys::one_certificate(data.expose(), self.fingerprint.as_ref(), file, now)?;
            set(&mut lines, "GPG_RECIPIENT", &found.about.fingerprint.to_string());
            certificate = Some((found.about, found.data));
        }
        if let (Some((about, _)), Some(wanted)) = (&certificate, &self.fingerprint)
            && about.fingerprint != *wanted
        {
            let what = format!("the certificate is not {wanted} but {}", about.fingerprint);
            return Err(Ended::refused(what, "compare the fingerprint with the administrator; nothing was changed"));
        }

        let mut home = Home::open(&self.places.gpg())?;
        let (mut certificates, own) = home.certificates()?;
        if let Some((about, data)) = &certificate {
            plan.step(format!("import the key of {}", about.name()));
            plan.step(format!("its fingerprint is {}: compare it with what the administrator says", about.fingerprint));
            // One that is there already would be found twice.
            if !About::read(&certificates, now).iter().any(|known| known.fingerprint == about.fingerprint) {
                certificates.extend(data);
            }
        }
        self.add_lines(&mut lines, &About::read(&certificates, now), &own)?;
        let get = |name: &str| lines.iter().find(|line| line.name == name).map(|line| line.value.expose().clone());
        if get("SPA_SERVER").is_none() {
            return Err(Ended::usage("no host is named", "write it after the name: fwknop server add NAME HOST"));
        }
        if let (Some(recipient), Some(signer)) = (get("GPG_RECIPIENT"), get("GPG_SIGNER")) {
            let hmac = lines.iter().any(|line| line.name.starts_with("HMAC_KEY")).then_some(Digest::Sha256);
            let length = packet(&certificates, &recipient, signer.parse().ok().as_ref(), hmac, now)?;
            if length > LONGEST {
                let what = format!("packets would have {length} characters, which no datagram carries");
                return Err(Ended::refused(
                    what,
                    "sign with an Ed25519 subkey: gpg --quick-add-key FINGERPRINT ed25519 sign",
                ));
            }
            plan.step(format!("packets will have {length} characters"));
        }
        let path = self.places.rc_file()?;
        let there = path.exists()
            && rc::stanza_names(&path).is_ok_and(|names| names.iter().any(|n| n.eq_ignore_ascii_case(&self.name)));
        if there && !self.replace {
            let what = format!("there is a stanza [{}] already", self.name);
            return Err(Ended::refused(what, "choose another name, or change it with --replace"));
        }
        plan.step(format!("write the stanza [{}] into {}", self.name, path.display()));
        // A fingerprint on the command line is the answer to the question.
        let yes = self.consent.yes || (self.fingerprint.is_some() && !self.consent.dry_run);
        Consent { yes, ..self.consent }.obtain(&plan)?;
        if let Some((_, data)) = &certificate {
            home.import(data)?;
        }
        rc::create_if_missing(&path).map_err(|error| Ended::Other(Box::new(error)))?;
        let saved = stanza::save(&path, &self.name, &lines, |_| true, true);
        saved.map_err(|error| Ended::Other(Box::new(error)))?;
        say(&format!("knock with: fwknop -n {}\n", self.name))
    }

    /// What the options say. Options win over what was handed out.
    fn add_lines(&self, lines: &mut Vec<NewLine>, all: &[About], own: &[Fingerprint]) -> Result<(), Ended> {
        let options = [
            ("SPA_SERVER", &self.host),
            ("ACCESS", &self.access),
            ("SPA_SERVER_PORT", &self.port),
            ("ALLOW_IP", &self.allow_ip),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                set(lines, name, value);
            }
        }
        if let Some(key) = &self.key {
            set(lines, "GPG_RECIPIENT", &key::named(all, key)?.fingerprint.to_string());
        }
        let has = |lines: &[NewLine], name: &str| lines.iter().any(|line| line.name == name);
        for (name, usual) in [("ACCESS", "tcp/22"), ("ALLOW_IP", "source")] {
            if !has(lines, name) {
                set(lines, name, usual);
            }
        }
        if let Some(file) = &self.hmac_key_file {
            let text = keys::read(file)?;
            let key = hmac_key_in(&text).ok_or_else(|| {
                Ended::refused(
                    format!("there is no HMAC key in {}", file.display()),
                    "write it as base64, alone or behind HMAC_KEY_BASE64",
                )
            })?;
            set_secret(lines, "HMAC_KEY_BASE64", key);
        }
        if has(lines, "GPG_RECIPIENT") {
            set(lines, "USE_GPG", "Y");
            let signer = match (&self.sign_with, own) {
                (Some(name), _) => key::named(all, name)?.fingerprint.clone(),
                (None, [only]) => only.clone(),
                (None, []) => return Err(Ended::not_found("no key signs here", "make one with: fwknop key generate")),
                (None, _) => return Err(Ended::usage("several keys sign here", "choose one with --sign-with")),
            };
            set(lines, "GPG_SIGNER", &signer.to_string());
            if let Some(home) = &self.places.gpg_home_dir {
                set(lines, "GPG_HOMEDIR", &std::path::absolute(home).unwrap_or(home.clone()).display().to_string());
            }
        }
        Ok(())
    }
}

fn set(lines: &mut Vec<NewLine>, name: &str, value: &str) {
    set_secret(lines, name, Secret::new(value.to_owned()));
}

/// Names that are no variables are never asked for here.
fn set_secret(lines: &mut Vec<NewLine>, name: &str, value: Secret<String>) {
    let Some(variable) = TABLE.variables.iter().find(|variable| variable.name == name) else { return };
    lines.retain(|line| line.name != variable.name);
    lines.push(NewLine { name: variable.name, value });
}

/// A stanza that a server's administrator has handed out, and the server's certificate.
struct HandedOut {
    lines: Vec<NewLine>,
    certificate: Option<(About, Vec<u8>)>,
}

/// Reads such a file: rc lines, and perhaps an armored certificate behind them. Only what describes the
/// server is taken: nobody else decides what runs here and which key signs.
fn handed_out(file: &Path, now: Timestamp) -> Result<HandedOut, Ended> {
    let data = keys::read(file)?;
    let text = Secret::new(String::from_utf8_lossy(data.expose()).into_owned());
    let (stanza, armored) = match text.expose().find(ARMOR) {
        Some(at) => text.expose().split_at(at),
        None => (text.expose().as_str(), ""),
    };
    let (sections, _) = parse_sections(file, stanza).map_err(|complaints| Ended::Other(Box::new(complaints)))?;
    let [section] = sections.as_slice() else {
        let what = format!("{} does not hold exactly one stanza", file.display());
        return Err(Ended::refused(what, "ask the administrator for what fwknopd user add --stanza writes"));
    };
    let mut lines = Vec::new();
    for setting in &section.settings {
        let Value::Text(value) = &setting.value else { continue };
        if !HANDED_OUT.contains(&setting.name.as_str()) {
            let what = format!("{}: {} is not for others to say", setting.place, setting.name);
            return Err(Ended::refused(what, "take the line out, and set it yourself if you want it"));
        }
        set_secret(&mut lines, &setting.name, value.clone());
    }
    let certificate = match armored {
        "" => None,
        armored => {
            let found = keys::one_certificate(armored.as_bytes(), None, file, now)?;
            Some((found.about, found.data))
        }
    };
    Ok(HandedOut { lines, certificate })
}

fn list(places: &Places, json: bool) -> Result<(), Ended> {
    let servers = known(places)?;
    let columns = ["SPA_SERVER", "ACCESS", "GPG_RECIPIENT", "GPG_SIGNER"];
    if json {
        let shown = servers.iter().map(|known| {
            let [host, access, recipient, signer] = columns.map(|name| known.get(name));
            json!({"name": known.name, "host": host, "access": access, "recipient": recipient, "signer": signer, "hmac": known.hmac.is_some()})
        });
        return say(&format!("{}\n", Json::Array(shown.collect())));
    }
    for known in &servers {
        let [host, access, recipient, signer] = columns.map(|name| known.get(name).unwrap_or("-"));
        let hmac = if known.hmac.is_some() { "HMAC" } else { "no HMAC" };
        say(&format!(
            "{}  {host}  {access}  {hmac}\n    server's key {recipient}\n    signed by    {signer}\n",
            known.name
        ))?;
    }
    if servers.is_empty() {
        say("no server is known\n     add one with: fwknop server add NAME HOST\n")
    } else {
        Ok(())
    }
}

fn remove(places: &Places, consent: Consent, name: &str) -> Result<(), Ended> {
    let path = places.rc_file()?;
    if !known(places)?.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
        return Err(Ended::not_found(format!("there is no server '{name}'"), "list them with: fwknop server list"));
    }
    let mut plan = Plan::default();
    plan.step(format!("remove the stanza [{name}] from {}", path.display()));
    consent.obtain(&plan)?;
    stanza::remove(&path, name).map_err(|error| Ended::Other(Box::new(error)))
}

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

/// Never read into memory that is shown.
const SECRETS: [&str; 6] =
    ["KEY", "KEY_BASE64", "HMAC_KEY", "HMAC_KEY_BASE64", "GPG_SIGNING_PW", "GPG_SIGNING_PW_BASE64"];

/// What describes a server.
const HANDED_OUT: [&str; 13] = [
    "SPA_SERVER",
    "SPA_SERVER_PORT",
    "SPA_SERVER_PROTO",
    "ACCESS",
    "ALLOW_IP",
    "FW_TIMEOUT",
    "USE_GPG",
    "GPG_RECIPIENT",
    "USE_HMAC",
    "HMAC_KEY_BASE64",
    "HMAC_DIGEST_TYPE",
    "KEY_BASE64",
    "DIGEST_TYPE",
];
