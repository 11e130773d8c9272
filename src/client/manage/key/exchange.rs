//! `fwknop key export`, `import` and `remove`: certificates on their way between people.

use std::path::PathBuf;

use clap::ValueHint;
use serde_json::json;

use super::super::super::output::{warn, write_private};
use super::super::{Places, known, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::{Certificate, KeyFile};
use crate::crypto::openpgp::size::Pair;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Export {
    /// Fingerprint, key id or part of the user id [default: your only key]
    #[arg(add = values::fingerprints())]
    key: Option<String>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

impl Export {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let keyring = self.places.keyring(now)?;
        let fingerprint = match &self.key {
            Some(name) => keyring.named(name)?.about.fingerprint,
            None => keyring.own_named(None)?.about.fingerprint,
        };
        let text = keyring.home()?.export(&fingerprint)?;
        let told = [("fingerprint", json!(fingerprint.to_string())), ("certificate", json!(text))];
        let Some(path) = self.output else { return Ok(self.consent.done(&Plan::default(), told, &text)?) };
        let mut plan = Plan::default();
        let is_there = path.symlink_metadata().is_ok();
        plan.step(format!(
            "{} {} with the certificate of {fingerprint}",
            if is_there { "replace" } else { "write" },
            path.display()
        ));
        // Who names a new file has said what he wants.
        Consent { yes: self.consent.yes || (!is_there && !self.consent.dry_run), ..self.consent }.obtain(&plan)?;
        write_private(&path, &text, false).map_err(Ended::other)?;
        Ok(self.consent.done(&plan, told, "")?)
    }
}

#[derive(Debug, clap::Args)]
pub struct Import {
    /// A file, or - for standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// For scripts: import the certificate only if it has this fingerprint, and do not ask
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

impl Import {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let data = keys::read(&self.file)?;
        let certificate = keys::one_certificate(data.expose(), self.fingerprint.as_ref(), &self.file, now)?;
        refuse_unusable(&certificate, &keys::place(&self.file), now)?;
        let keyring = self.places.keyring(now)?;
        let mut plan = Plan::default();
        add_import(&mut plan, &certificate, &keyring.place(), now);
        consent_with(self.consent, self.fingerprint.as_ref()).obtain(&plan)?;
        keyring.home()?.import(&certificate.data)?;
        let told = [("certificate", keys::as_json(&certificate.about, now))];
        Ok(self.consent.done(&plan, told, &format!("{}\n", certificate.about.fingerprint))?)
    }
}

/// A fingerprint on the command line is the answer to the question.
pub fn consent_with(consent: Consent, fingerprint: Option<&Fingerprint>) -> Consent {
    Consent { yes: consent.yes || (fingerprint.is_some() && !consent.dry_run), ..consent }
}

/// What a user has to see before a certificate is imported.
pub fn add_import(plan: &mut Plan, certificate: &Certificate, place: &str, now: Timestamp) {
    plan.step(format!("import this certificate into {place}:"));
    for line in keys::shown(&certificate.about, now).lines() {
        plan.step(format!("  {line}"));
    }
    plan.step("compare the fingerprint with what the server's administrator says");
}

/// A key that nothing can be encrypted to is no use, and its owner should know.
pub fn refuse_unusable(certificate: &Certificate, place: &str, now: Timestamp) -> Result<(), Ended> {
    let file = KeyFile { data: &certificate.data, wanted: None, place };
    Pair::of(file, None, now).map(|_| ()).map_err(Ended::other)
}

#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The fingerprint of the certificate
    #[arg(add = values::fingerprints())]
    fingerprint: Fingerprint,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

impl Remove {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let keyring = self.places.keyring(now)?;
        let about = keyring.named(&self.fingerprint.to_string())?.about;
        if keyring.own()?.iter().any(|own| own.about.fingerprint == about.fingerprint) {
            let what = format!("{} is a key of your own: its secret is here", about.fingerprint);
            let advice = format!("remove it with: gpg --delete-secret-and-public-keys {}", about.fingerprint);
            return Err(Ended::refused(what, advice));
        }
        let mut plan = Plan::default();
        plan.step(format!("remove the certificate {} of {} from {}", about.fingerprint, about.name(), keyring.place()));
        for known in known::all(&self.places)? {
            let uses = known.recipient(&keyring, now).ok().flatten();
            if uses.is_some_and(|used| used.fingerprint == about.fingerprint) {
                warn(&format!("warning: [{}] needs it: fwknop -n {} will not work", known.name, known.name));
            }
        }
        self.consent.obtain(&plan)?;
        keyring.home()?.remove(&about.fingerprint, false)?;
        Ok(self.consent.done(&plan, [], "")?)
    }
}
