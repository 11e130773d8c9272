//! `fwknopd key check`: what needs attention about the keyring, and how long the knocks of each user get.

use serde_json::{Value, json};

use super::key::Keyring;
use super::{Places, say};
use crate::cli::keys::{self, Ended, Finding};
use crate::cli::size::Size;
use crate::crypto::openpgp::Role;
use crate::crypto::openpgp::sequoia::About;
use crate::crypto::openpgp::size::{ONE_DATAGRAM, Pair};
use crate::keyring::{self, Gpg};
use crate::spa::Digest;
use crate::time::Timestamp;

pub(super) fn run(places: &Places, json: bool, now: Timestamp) -> Result<(), Ended> {
    let gpg = places.gpg()?;
    let keyring = Keyring::open(&gpg, now)?;
    let home = Gpg { home: keyring.path.clone(), program: gpg.program.clone() };
    let mut rows = vec![of_home(&keyring, &home, now)?];
    rows.extend(keyring.all.iter().map(|about| Row::of(about, &keyring, now)));
    if json {
        say(&format!("{}\n", rows.iter().map(Row::as_json).collect::<Value>()))?;
    } else {
        rows.iter().try_for_each(|row| say(&row.shown()))?;
    }
    if rows.iter().all(|row| row.findings.is_empty()) { Ok(()) } else { Err(Ended::Attention) }
}

/// What was looked at, and what was found about it.
struct Row {
    about: String,
    /// Characters of a user's knock, at most.
    characters: Option<usize>,
    findings: Vec<Finding>,
}

/// What the daemon would say of it at its start.
fn of_home(keyring: &Keyring, home: &Gpg, now: Timestamp) -> Result<Row, Ended> {
    let passphrase = keyring.passphrase()?;
    let said: Vec<String> = match keyring::from_home(home, passphrase.as_ref(), now) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(error) => vec![crate::cli::describe(&error)],
    };
    let split = |text: &String| {
        let (what, advice) = text.split_once('\n').unwrap_or((text, ""));
        Finding::new(what, advice.trim())
    };
    let findings = said.iter().map(split).collect();
    Ok(Row { about: keyring.path.display().to_string(), characters: None, findings })
}

impl Row {
    fn of(about: &About, keyring: &Keyring, now: Timestamp) -> Self {
        let role = if keyring.own.contains(&about.fingerprint) { Role::Recipient } else { Role::Signer };
        let mut findings = keys::findings(about, role, now);
        let knock = if role == Role::Signer { longest(about, keyring) } else { None };
        findings.extend(knock.and_then(|(server, size)| size.finding(&server.fingerprint.to_string(), ONE_DATAGRAM)));
        Self {
            about: format!("{} ({})", about.fingerprint, about.name()),
            characters: knock.map(|(_, size)| size.characters()),
            findings,
        }
    }

    fn shown(&self) -> String {
        let about = &self.about;
        if !self.findings.is_empty() {
            let line = |found: &Finding| format!("{about}  {}\n     {}\n", found.what, found.advice);
            return self.findings.iter().map(line).collect();
        }
        let length = self.characters.map_or(String::new(), |length| format!(", knocks of up to {length} characters"));
        format!("{about}  ok{length}\n")
    }

    fn as_json(&self) -> Value {
        let findings: Value =
            self.findings.iter().map(|found| json!({"what": found.what, "advice": found.advice})).collect();
        json!({"about": self.about, "characters": self.characters, "findings": findings})
    }
}

/// The longest knock of a user at any of the server's keys, with the request of `docs/openpgp-sizes.md` and the HMAC that
/// `fwknopd user add` hands out.
fn longest<'a>(user: &About, keyring: &'a Keyring) -> Option<(&'a About, Size)> {
    const TEXT: usize = 114;
    let usable = Some(user).filter(|user| user.is_usable())?;
    let signer = usable.signing().first()?.kind?;
    let servers = keyring.own.iter().filter_map(|key| keyring.about(key));
    let knocks = servers.filter_map(|server| {
        let pair = Pair { recipient: server.encrypting()?.kind?, signer: Some(signer) };
        Some((server, Size { pair, text: TEXT, digest: Digest::Sha256, hmac: Some(Digest::Sha256) }))
    });
    knocks.max_by_key(|(_, size)| size.characters())
}
