//! `fwknop key check`: what needs attention, and what to do about it.

use serde_json::{Value, json};

use super::super::own::{Keyring, no_own};
use super::super::size::Target;
use super::super::{Places, known, say, say_json, values};
use super::list::targets;
use crate::cli::keys::{self, Ended, Finding};
use crate::crypto::openpgp::Role;
use crate::crypto::openpgp::sequoia::{About, Own};
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Check {
    /// Fingerprint, key id or part of the user id [default: all keys of yours]
    #[arg(add = values::fingerprints())]
    key: Option<String>,
    /// Also look at the key of this server, and at the length of knocks there: its name in the rc file, or the
    /// fingerprint of its key [default: all in the rc file]
    #[arg(long, value_name = "SERVER", add = values::servers())]
    server: Option<String>,
    #[command(flatten)]
    places: Places,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let keyring = self.places.keyring(now)?;
        let targets = match targets(&self.places, self.server.as_deref(), &keyring, now) {
            Err(missing @ Ended::NotFound { .. }) => return Err(missing),
            // What is wrong with the server is found below.
            known => known.unwrap_or_default(),
        };
        let mut report = Report::default();
        let named = self.key.as_deref().map(|name| keyring.named(name)).transpose()?;
        match keyring.own() {
            Ok(mut own) => {
                if let Some(named) = &named {
                    own.retain(|own| own.about.fingerprint == named.about.fingerprint);
                }
                own.iter().for_each(|own| report.add(&own.about, of_own(own, &targets, now)));
                match named {
                    // Somebody else's key, or one whose secret is not here.
                    Some(named) if own.is_empty() => report.add(&named.about, of_other(&named.about, now)),
                    None if own.is_empty() => report.0.push(no_key(&keyring)),
                    _ => {}
                }
            }
            Err(ended) => report.0.push(("gpg-agent".to_owned(), vec![finding_of(&ended)])),
        }
        if self.key.is_none() {
            self.servers(&keyring, now, &mut report)?;
        }
        report.end(self.json)
    }

    /// The keys of the servers, too: who cannot encrypt cannot knock.
    fn servers(&self, keyring: &Keyring, now: Timestamp, report: &mut Report) -> Result<(), Ended> {
        if let Some(recipient) =
            self.server.as_deref().filter(|name| name.parse::<crate::crypto::openpgp::Fingerprint>().is_ok())
        {
            let recipient = keyring.named(recipient)?.about;
            report.add(&recipient, keys::findings(&recipient, Role::Recipient, now));
            return Ok(());
        }
        for known in known::all(&self.places)? {
            if self.server.as_deref().is_some_and(|name| !known.name.eq_ignore_ascii_case(name)) {
                continue;
            }
            let name = format!("[{}]", known.name);
            if let Err(complaints) = &known.options {
                let what = complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
                report.0.push((name, vec![Finding::new(what, "correct it in the rc file")]));
                continue;
            }
            match known.recipient(keyring, now) {
                Ok(None) => {}
                Ok(Some(recipient)) => {
                    let label = format!("{name} {}", recipient.fingerprint);
                    report.0.push((label, keys::findings(&recipient, Role::Recipient, now)));
                }
                Err(ended) => report.0.push((name, vec![finding_of(&ended)])),
            }
        }
        Ok(())
    }
}

/// What was looked at, and what was found about it.
#[derive(Default)]
struct Report(Vec<(String, Vec<Finding>)>);

impl Report {
    fn add(&mut self, about: &About, findings: Vec<Finding>) {
        self.0.push((format!("{} {}", about.fingerprint, about.name()), findings));
    }

    /// Shows it. Anything found is told by the exit code as well.
    fn end(&self, json: bool) -> Result<(), Ended> {
        if json {
            let finding = |finding: &Finding| json!({"what": finding.what, "advice": finding.advice});
            let all = self.0.iter().map(|(about, findings)| {
                json!({"about": about, "findings": findings.iter().map(finding).collect::<Value>()})
            });
            say_json(&all.collect())?;
        } else {
            for (about, findings) in &self.0 {
                say(&format!("{about}: {}\n", if findings.is_empty() { "good" } else { "needs attention" }))?;
                findings.iter().try_for_each(|found| say(&format!("  {}\n     {}\n", found.what, found.advice)))?;
            }
        }
        if self.0.iter().all(|(_, findings)| findings.is_empty()) { Ok(()) } else { Err(Ended::Attention) }
    }
}

fn of_own(own: &Own, targets: &[Target], now: Timestamp) -> Vec<Finding> {
    let mut findings = keys::findings(&own.about, Role::Signer, now);
    if own.about.is_usable() && own.signing().is_none() && !own.about.signing().is_empty() {
        let what = "no secret of a key that signs is here";
        findings.push(Finding::new(what, "insert its card and run gpg --card-status, or import it with gpg --import"));
    }
    findings.extend(targets.iter().filter_map(|target| target.finding(own)));
    findings
}

fn of_other(about: &About, now: Timestamp) -> Vec<Finding> {
    let role = if about.encrypting().is_some() { Role::Recipient } else { Role::Signer };
    keys::findings(about, role, now)
}

fn no_key(keyring: &Keyring) -> (String, Vec<Finding>) {
    (keyring.place(), vec![finding_of(&no_own(keyring))])
}

fn finding_of(ended: &Ended) -> Finding {
    let text = crate::cli::describe(ended);
    let (what, advice) = text.split_once('\n').unwrap_or((&text, ""));
    Finding::new(what, advice.trim())
}
