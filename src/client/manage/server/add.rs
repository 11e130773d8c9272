//! `fwknop server add`: from what the user knows of a server, or was handed by its administrator, to a stanza with
//! which a knock will work. Everything that could keep it from working is looked at before anybody is asked.

use std::path::{Path, PathBuf};

use clap::ValueHint;
use serde_json::json;

use super::super::super::layers::Layers;
use super::super::super::stanza::{self, NewLine};
use super::super::super::{keys::hmac_key_in, output::warn, rc};
use super::super::known::{self, meaning};
use super::super::own::Keyring;
use super::super::size::Target;
use super::super::{Places, key, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::handout::Handout;
use crate::cli::keys::{self, Ended};
use crate::config::raw::Value;
use crate::config::{Complaints, Place, Setting};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::{Certificate, Own};
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Add {
    /// What to call it: fwknop -n NAME
    name: String,
    /// Host name or address [default: what the stanza of --stanza says]
    host: Option<String>,
    /// The server's key, which is in the keyring: fingerprint, key id or part of the user id
    #[arg(long, value_name = "KEY", add = values::fingerprints())]
    key: Option<String>,
    /// Import the server's certificate from this file, or from - (standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "key", value_hint = ValueHint::FilePath)]
    import: Option<PathBuf>,
    /// What the server's administrator has handed out: a stanza, perhaps with a certificate (file, or -)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "import"], value_hint = ValueHint::FilePath)]
    stanza: Option<PathBuf>,
    /// For scripts: import a certificate only if it has this fingerprint, and do not ask
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<Fingerprint>,
    /// The key to sign with [default: your only one]
    #[arg(long, value_name = "KEY", add = values::fingerprints())]
    sign_with: Option<String>,
    /// What to ask for [default: tcp/22]
    #[arg(long, value_name = "PROTO/PORT,...")]
    access: Option<String>,
    /// Destination port of the knock
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Transport of the knock, as after -P
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
    /// Address to let in; source: that of the packet [default: source]
    #[arg(long, value_name = "ADDRESS")]
    allow_ip: Option<String>,
    /// A file with the HMAC key as base64 (or -)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    hmac_key_file: Option<PathBuf>,
    /// Change a stanza of this name; what is not said anew stays
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

impl Add {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let path = self.places.rc_file()?;
        let replaces = self.refuse_name(&path)?;
        let Source { handed, certificate } = self.source(now)?;
        let mut keyring = self.places.keyring(now)?;
        if let Some(certificate) = &certificate {
            key::refuse_unusable(certificate, "what is to be imported", now)?;
            keyring.add(certificate);
        }
        let mut settings = Said(if replaces { self.there(&path)? } else { Vec::new() });
        settings.hand(handed);
        self.say_options(&mut settings)?;
        let signer = self.say_keys(&mut settings, certificate.as_ref(), &keyring)?;
        settings.usual("ACCESS", "tcp/22");
        settings.usual("ALLOW_IP", "source");

        let lines = stanza::new_lines(settings.0.clone());
        let knock = self.check(settings.0, &path, &keyring, signer.as_ref(), now)?;
        let mut plan = Plan::default();
        if let Some(certificate) = &certificate {
            key::add_import(&mut plan, certificate, &keyring.place(), now);
        }
        let step = if replaces { "change the stanza" } else { "write the stanza" };
        plan.step(format!("{step} [{}] in {}:", self.name, path.display()));
        lines.iter().for_each(|line| {
            plan.step(shown(line));
        });
        knock.into_iter().for_each(|line| {
            plan.step(line);
        });
        let checked = self.fingerprint.as_ref().filter(|_| certificate.is_some());
        key::consent_with(self.consent, checked).obtain(&plan)?;

        if let Some(certificate) = &certificate {
            keyring.home()?.import(&certificate.data)?;
        }
        rc::create_if_missing(&path).map_err(Ended::other)?;
        stanza::put(&path, &self.name, &lines).map_err(Ended::other)?;
        let told = [("name", json!(self.name)), ("knock", json!(format!("fwknop -n {}", self.name)))];
        Ok(self.consent.done(&plan, told, &format!("knock with: fwknop -n {}\n", self.name))?)
    }

    /// Whether there is such a stanza already, and it may be replaced.
    fn refuse_name(&self, path: &Path) -> Result<bool, Ended> {
        stanza::check(path, &self.name).map_err(Ended::other)?;
        if self.name.eq_ignore_ascii_case("default") {
            return Err(Ended::usage("[default] is no server: it holds for all of them", "choose another name"));
        }
        let is_there = known::named(&self.places, &self.name).is_ok();
        if is_there && !self.replace {
            let what = format!("there is a stanza [{}] already in {}", self.name, path.display());
            return Err(Ended::refused(what, "choose another name, or change it with --replace"));
        }
        Ok(is_there)
    }

    /// What the stanza to be changed says.
    fn there(&self, path: &Path) -> Result<Vec<Setting>, Ended> {
        Ok(rc::stanza_settings(path, &self.name)?.map(|(_, settings)| settings).unwrap_or_default())
    }

    /// What comes from files: a handed-out stanza, a certificate.
    fn source(&self, now: Timestamp) -> Result<Source, Ended> {
        let from_stdin = [&self.import, &self.stanza, &self.hmac_key_file].into_iter().flatten();
        if from_stdin.filter(|file| *file == Path::new("-")).count() > 1 {
            return Err(Ended::usage("two files are to come from standard input", "name one of them as a file"));
        }
        let wanted = self.fingerprint.as_ref();
        if let Some(file) = &self.import {
            let certificate = keys::one_certificate(keys::read(file)?.expose(), wanted, file, now)?;
            return Ok(Source { handed: Vec::new(), certificate: Some(certificate) });
        }
        let Some(file) = &self.stanza else { return Ok(Source { handed: Vec::new(), certificate: None }) };
        let data = keys::read(file)?;
        let text = std::str::from_utf8(data.expose()).map_err(|_| {
            let what = format!("{} is not text", keys::place(file));
            Ended::refused(what, "ask the administrator for what fwknopd user add --stanza writes")
        })?;
        let handout = Handout::read(file, text)?;
        let one = |armored: String| keys::one_certificate(armored.as_bytes(), wanted, file, now);
        Ok(Source { certificate: handout.certificate.map(one).transpose()?, handed: handout.settings })
    }

    /// Options win over what was handed out.
    fn say_options(&self, said: &mut Said) -> Result<(), Ended> {
        let options = [
            ("SPA_SERVER", &self.host, "HOST"),
            ("ACCESS", &self.access, "--access"),
            ("SPA_SERVER_PORT", &self.port, "--port"),
            ("SPA_SERVER_PROTO", &self.proto, "--proto"),
            ("ALLOW_IP", &self.allow_ip, "--allow-ip"),
        ];
        for (name, value, option) in options {
            if let Some(value) = value {
                said.say(name, value, option);
            }
        }
        if !said.has("SPA_SERVER") {
            return Err(Ended::usage("no host is named", "write it after the name: fwknop server add NAME HOST"));
        }
        if let Some(file) = &self.hmac_key_file {
            let key = hmac_key_in(&keys::read(file)?).ok_or_else(|| {
                let what = format!("there is no HMAC key in {}", keys::place(file));
                Ended::refused(what, "write it as base64, alone or behind HMAC_KEY_BASE64")
            })?;
            said.forget(&HMAC_KEYS);
            said.say("HMAC_KEY_BASE64", key.expose(), "--hmac-key-file");
        }
        Ok(())
    }

    /// The server's key and ours, both by their full fingerprints. `None`: a key is shared.
    fn say_keys(
        &self,
        said: &mut Said,
        certificate: Option<&Certificate>,
        keyring: &Keyring,
    ) -> Result<Option<Own>, Ended> {
        let named = self.key.clone().or_else(|| said.text("GPG_RECIPIENT").filter(|_| self.import.is_none()));
        let recipient = match (named, certificate) {
            (None, None) if ["KEY", "KEY_BASE64"].iter().any(|name| said.has(name)) => return Ok(None),
            (None, None) => {
                let what = "which key the server has is not said";
                return Err(Ended::usage(what, "name it with --key, or give a file with it: --import or --stanza"));
            }
            (None, Some(certificate)) => certificate.about.fingerprint.clone(),
            (Some(name), None) => keyring.named(&name)?.about.fingerprint,
            (Some(name), Some(certificate)) => {
                let meant = keyring.named(&name)?.about.fingerprint;
                if meant != certificate.about.fingerprint {
                    let what =
                        format!("the stanza names the key {meant}, but comes with {}", certificate.about.fingerprint);
                    return Err(Ended::refused(what, "ask the administrator which one is right; nothing was changed"));
                }
                meant
            }
        };
        if self.fingerprint.as_ref().is_some_and(|wanted| *wanted != recipient) {
            let what = format!("the server's key is not the one of --fingerprint, but {recipient}");
            return Err(Ended::refused(what, "compare it with what the administrator says; nothing was changed"));
        }
        let signer = self.sign_with.clone().or_else(|| said.text("GPG_SIGNER"));
        let signer = keyring.own_named(signer.as_deref())?;
        // A key that was shared once would be taken for the passphrase of the one that signs.
        said.forget(&SHARED);
        said.say("USE_GPG", "Y", "--key");
        said.say("GPG_RECIPIENT", &recipient.to_string(), "--key");
        said.say("GPG_SIGNER", &signer.about.fingerprint.to_string(), "--sign-with");
        if self.places.gpg_home_dir.is_some() {
            said.say("GPG_HOMEDIR", &keyring.place(), "--gpg-home-dir");
        }
        Ok(Some(signer))
    }

    /// Whether a knock with these settings would work; what is to be told about it.
    fn check(
        &self,
        settings: Vec<Setting>,
        path: &Path,
        keyring: &Keyring,
        signer: Option<&Own>,
        now: Timestamp,
    ) -> Result<Option<String>, Ended> {
        let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
        if path.exists() {
            rc::add_layers(path, None, &mut layers, &mut complaints);
        }
        layers.add_command_line(settings, &mut complaints);
        let options = meaning(&layers, complaints, &Place::File(path.into()))?;
        if options.hmac.is_none() {
            warn(
                "note: there is no HMAC: the server does costly work for every forged packet\n     ask its administrator for an HMAC key: --hmac-key-file",
            );
        }
        let (Some(signer), Some(recipient)) = (signer, layers.text("GPG_RECIPIENT")) else { return Ok(None) };
        let recipient = keyring.named(recipient)?;
        key::refuse_unusable(&recipient, &keyring.place(), now)?;
        let Some((signs, _)) = signer.signing() else {
            let what = format!("nothing can be signed with {}", signer.about.fingerprint);
            return Err(Ended::refused(what, format!("see: fwknop key check {}", signer.about.fingerprint)));
        };
        let target = Target::of(&self.name, &options, &recipient.about);
        let Some(length) = target.as_ref().and_then(|target| target.length(signer)) else { return Ok(None) };
        if let Some((target, finding)) = target.and_then(|target| Some((target.clone(), target.finding(signer)?))) {
            if !target.fits(length) {
                return Err(Ended::refused(finding.what, finding.advice));
            }
            warn(&format!("note: {}\n     {}", finding.what, finding.advice));
        }
        Ok(Some(format!("knocks are signed with {} and have {length} characters at most", signs.fingerprint)))
    }
}

/// A line of the stanza, unless it is secret.
fn shown(line: &NewLine) -> String {
    let value = if stanza::is_secret(line.name) { "(not shown)" } else { line.value.expose().as_str() };
    format!("    {} {value}", line.name)
}

struct Source {
    handed: Vec<Setting>,
    certificate: Option<Certificate>,
}

/// Settings, each said once.
struct Said(Vec<Setting>);

impl Said {
    fn say(&mut self, name: &str, value: &str, option: &str) {
        self.forget(&[name]);
        self.0.push(Setting::from_option(name, value, option));
    }

    /// What is handed out replaces what was there about the same.
    fn hand(&mut self, handed: Vec<Setting>) {
        let has = |names: &[&str]| handed.iter().any(|setting| names.contains(&setting.name.as_str()));
        if has(&SHARED) {
            self.forget(&SHARED);
            self.forget(&OPENPGP);
        }
        if has(&HMAC_KEYS) {
            self.forget(&HMAC_KEYS);
        }
        for setting in handed {
            self.forget(&[setting.name.as_str()]);
            self.0.push(setting);
        }
    }

    fn usual(&mut self, name: &str, value: &str) {
        if !self.has(name) {
            self.say(name, value, "the usual");
        }
    }

    fn forget(&mut self, names: &[&str]) {
        self.0.retain(|setting| !names.contains(&setting.name.as_str()));
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|setting| setting.name == name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|setting| setting.name == name).and_then(|setting| match &setting.value {
            Value::Text(text) => Some(text.expose().clone()),
            _ => None,
        })
    }
}

const HMAC_KEYS: [&str; 3] = ["HMAC_KEY", "HMAC_KEY_BASE64", "HMAC_KEY_FILE"];

/// What belongs to a key that is shared with the server.
const SHARED: [&str; 4] = ["KEY", "KEY_BASE64", "KEY_FILE", "ENCRYPTION_MODE"];

/// What belongs to a server with a key of its own.
const OPENPGP: [&str; 3] = ["USE_GPG", "GPG_RECIPIENT", "GPG_SIGNER"];
