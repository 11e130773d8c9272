//! `fwknop key`: what can sign here, new keys, and the keys of servers.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::super::output::write_private;
use super::{Places, say, server};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended, Finding};
use crate::crypto::openpgp::agent::{Agent, AgentHome, Asking};
use crate::crypto::openpgp::sequoia::{About, AboutKey, Certificate, SecretPlace, secret_places};
use crate::crypto::openpgp::{Fingerprint, Role};
use crate::keyring::manage::{Algorithm, Home, NewKey, NewPassphrase};
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum Key {
    /// What can sign here: key, subkey, expiry, where the secret is, and how long packets get
    List {
        #[command(flatten)]
        places: Places,
        #[arg(long)]
        json: bool,
    },
    /// Make a key that signs knocks; gpg-agent asks for its passphrase
    Generate {
        /// Whose it is: "Alice <alice@example.org>"
        user_id: String,
        /// curve25519, rsa2048, rsa3072, rsa4096 or nistp256
        #[arg(long, default_value = "curve25519", value_name = "NAME")]
        algo: String,
        /// How long it lasts: 90d, 6m, 2y, never
        #[arg(long, default_value = "2y", value_name = "SPAN")]
        expire: String,
        /// Without a passphrase: whoever can read the file can knock
        #[arg(long)]
        no_passphrase: bool,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        consent: Consent,
    },
    /// Write a public certificate, for a server's administrator
    Export {
        /// Fingerprint, key id or part of the user id [default: the only key that signs here]
        key: Option<String>,
        /// Write to this file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        places: Places,
    },
    /// Take a server's public certificate into the keyring
    Import {
        /// File, or - for standard input
        file: PathBuf,
        /// For scripts: import it only if it has this fingerprint, and do not ask
        #[arg(long, value_name = "FINGERPRINT")]
        fingerprint: Option<Fingerprint>,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        consent: Consent,
    },
    /// Remove a server's public certificate from the keyring
    Remove {
        fingerprint: Fingerprint,
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        consent: Consent,
    },
    /// Health: what has expired or soon will, is weak, cannot sign, or makes packets too long
    Check {
        /// Fingerprint, key id or part of the user id [default: all keys that sign here]
        key: Option<String>,
        #[command(flatten)]
        places: Places,
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: Key) -> Result<(), Ended> {
    let now = Timestamp::now();
    match command {
        Key::List { places, json } => list(&places, json, now),
        Key::Generate { user_id, algo, expire, no_passphrase, places, consent } => {
            let algorithm = Algorithm::named(&algo).ok_or_else(|| {
                Ended::usage(
                    format!("'{algo}' is no algorithm"),
                    "write one of curve25519, rsa2048, rsa3072, rsa4096, nistp256",
                )
            })?;
            let lasts = keys::lasting(&expire).map_err(|what| Ended::usage(what, "it says how long the key lasts"))?;
            let passphrase = if no_passphrase { NewPassphrase::None } else { NewPassphrase::Asked };
            generate(
                &places,
                consent,
                &NewKey { user_id: &user_id, algorithm, lasts, passphrase, beside: false },
                &algo,
            )
        }
        Key::Export { key, output, places } => export(&places, key.as_deref(), output.as_deref(), now),
        Key::Import { file, fingerprint, places, consent } => {
            import(&places, consent, &file, fingerprint.as_ref(), now)
        }
        Key::Remove { fingerprint, places, consent } => remove(&places, consent, &fingerprint),
        Key::Check { key, places, json } => check(&places, key.as_deref(), json, now),
    }
}

/// A certificate whose secret key is here, as far as anybody knows where.
pub(super) struct Own {
    pub about: About,
    data: Vec<u8>,
    /// For each key of the certificate that the agent has.
    places: Vec<(Fingerprint, SecretPlace)>,
}

impl Own {
    /// The key that would sign, and where its secret is.
    fn signs(&self) -> Option<(&AboutKey, Option<SecretPlace>)> {
        let place =
            |key: &AboutKey| self.places.iter().find(|(held, _)| *held == key.fingerprint).map(|(_, place)| *place);
        let held = self.about.signing().into_iter().find(|key| place(key).is_some()).or(self
            .about
            .signing()
            .first()
            .copied())?;
        Some((held, place(held)))
    }
}

/// All keys that are ours, and why the agent could not be asked about them.
pub(super) fn own_keys(places: &Places, now: Timestamp) -> Result<(Vec<Own>, Option<String>), Ended> {
    let (data, secrets) = Home::open(&places.gpg())?.certificates()?;
    let agent =
        AgentHome::new(places.gpg_home_dir.as_deref()).map(|home| Agent::new(home, Asking::Nobody, None).held());
    let (held, trouble) = match agent {
        Some(Ok(held)) => (held, None),
        Some(Err(error)) => (Vec::new(), Some(crate::cli::describe(&error))),
        None => (Vec::new(), Some("HOME is not set".to_owned())),
    };
    let own = About::read(&data, now).into_iter().filter(|about| secrets.contains(&about.fingerprint));
    let own =
        own.map(|about| Own { places: secret_places(&data, &about.fingerprint, &held), data: data.clone(), about });
    Ok((own.collect(), trouble))
}

fn list(places: &Places, json: bool, now: Timestamp) -> Result<(), Ended> {
    let (own, trouble) = own_keys(places, now)?;
    let servers = server::known(places)?;
    if json {
        let shown = own.iter().map(|own| {
            let mut shown = keys::as_json(&own.about, now);
            shown["signing_key"] = own.signs().map(|(key, _)| key.fingerprint.to_string()).into();
            shown["secret"] = own.signs().and_then(|(_, place)| place).map(|place| place.to_string()).into();
            shown["packets"] = sizes(own, &servers, now)
                .into_iter()
                .map(|(name, length)| json!({"server": name, "characters": length}))
                .collect();
            shown
        });
        return say(&format!("{}\n", Value::Array(shown.collect())));
    }
    if own.is_empty() {
        return say("no key signs here\n     make one with: fwknop key generate \"Your Name <you@example.org>\"\n");
    }
    for own in &own {
        let mut text = keys::shown(&own.about, now);
        match own.signs() {
            Some((key, Some(place))) => {
                text.push_str(&format!("    knocks are signed by {} (secret {place})\n", key.fingerprint))
            }
            Some((key, None)) => text.push_str(&format!("    the secret of {} is not here\n", key.fingerprint)),
            None => text.push_str("    it cannot sign\n"),
        }
        for (name, length) in sizes(own, &servers, now) {
            text.push_str(&format!("    packets for {name}: {length} characters\n"));
        }
        say(&text)?;
    }
    if let Some(trouble) = trouble {
        super::super::output::warn(&format!("warning: where the secrets are is not known: {trouble}"));
    }
    Ok(())
}

/// How long packets get, for each server in the rc file whose key is known.
fn sizes(own: &Own, servers: &[server::Known], now: Timestamp) -> Vec<(String, usize)> {
    let size = |server: &server::Known| {
        Some((server.name.clone(), server.packet(&own.data, Some(&own.about.fingerprint), now)?))
    };
    servers.iter().filter_map(size).collect()
}

fn generate(places: &Places, consent: Consent, new: &NewKey<'_>, algo: &str) -> Result<(), Ended> {
    let mut plan = Plan::default();
    let passphrase = match new.passphrase {
        NewPassphrase::None => "without a passphrase",
        _ => "with a passphrase that gpg-agent asks for",
    };
    plan.step(format!("make a {algo} key for {}, {passphrase}", new.user_id));
    consent.obtain(&plan)?;
    let made = Home::open(&places.gpg())?.generate(new)?;
    say(&format!("{made}\n"))
}

fn export(places: &Places, key: Option<&str>, output: Option<&Path>, now: Timestamp) -> Result<(), Ended> {
    let mut home = Home::open(&places.gpg())?;
    let (data, secrets) = home.certificates()?;
    let all = About::read(&data, now);
    let wanted = match key {
        Some(key) => named(&all, key)?.fingerprint.clone(),
        None => match secrets.as_slice() {
            [only] => only.clone(),
            [] => return Err(Ended::not_found("no key signs here", "make one with: fwknop key generate")),
            _ => {
                return Err(Ended::usage(
                    "several keys sign here",
                    "name the one that is meant; list them with: fwknop key list",
                ));
            }
        },
    };
    let text = home.export(&wanted)?;
    match output {
        Some(path) => write_private(path, &text, false).map_err(|failed| Ended::Other(Box::new(failed))),
        None => say(&text),
    }
}

/// The one certificate that a name means.
pub(super) fn named<'a>(all: &'a [About], name: &str) -> Result<&'a About, Ended> {
    let digits: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_uppercase();
    let digits = digits.strip_prefix("0X").unwrap_or(&digits);
    let by_digits =
        |about: &&About| digits.len() >= 8 && about.keys.iter().any(|key| key.fingerprint.ends_with(digits));
    let by_text = |about: &&About| about.user_ids.iter().any(|id| id.to_lowercase().contains(&name.to_lowercase()));
    let mut found: Vec<&About> = all.iter().filter(by_digits).collect();
    if found.is_empty() {
        found = all.iter().filter(by_text).collect();
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Ended::not_found(format!("there is no key '{name}'"), "list what there is with: gpg --list-keys")),
        several => {
            let list: Vec<String> =
                several.iter().map(|about| format!("{} ({})", about.fingerprint, about.name())).collect();
            let what = format!("'{name}' means several keys: {}", list.join(", "));
            Err(Ended::usage(what, "write the full fingerprint of the one that is meant"))
        }
    }
}

fn import(
    places: &Places,
    consent: Consent,
    file: &Path,
    fingerprint: Option<&Fingerprint>,
    now: Timestamp,
) -> Result<(), Ended> {
    let data = keys::read(file)?;
    let Certificate { about, data } = keys::one_certificate(data.expose(), fingerprint, file, now)?;
    if about.encrypting().is_none() {
        let advice = "ask the server's administrator for its current key";
        return Err(Ended::refused(format!("nothing can be encrypted to the key {}", about.fingerprint), advice));
    }
    let mut plan = Plan::default();
    plan.step(format!("import the key of {}", about.name()));
    plan.step(format!("its fingerprint is {}: compare it with what the administrator says", about.fingerprint));
    // A fingerprint on the command line is the answer to the question.
    let consent = Consent { yes: consent.yes || (fingerprint.is_some() && !consent.dry_run), ..consent };
    consent.obtain(&plan)?;
    Home::open(&places.gpg())?.import(&data)?;
    say(&format!("{}\n", about.fingerprint))
}

fn remove(places: &Places, consent: Consent, fingerprint: &Fingerprint) -> Result<(), Ended> {
    let mut home = Home::open(&places.gpg())?;
    let (data, secrets) = home.certificates()?;
    let all = About::read(&data, Timestamp::now());
    let about = named(&all, &fingerprint.to_string())?;
    if secrets.contains(&about.fingerprint) {
        let what = format!("{} is a key of your own, with its secret", about.fingerprint);
        return Err(Ended::refused(
            what,
            format!("remove it with: gpg --delete-secret-and-public-key {}", about.fingerprint),
        ));
    }
    let mut plan = Plan::default();
    plan.step(format!("remove the key {} of {}", about.fingerprint, about.name()));
    consent.obtain(&plan)?;
    Ok(home.remove(&about.fingerprint, false)?)
}

fn check(places: &Places, key: Option<&str>, json: bool, now: Timestamp) -> Result<(), Ended> {
    let (mut own, trouble) = own_keys(places, now)?;
    if let Some(key) = key {
        let all: Vec<About> = own.iter().map(|own| own.about.clone()).collect();
        let wanted = named(&all, key)?.fingerprint.clone();
        own.retain(|own| own.about.fingerprint == wanted);
    }
    let servers = server::known(places)?;
    let mut all: Vec<(String, Vec<Finding>)> =
        own.iter().map(|own| (own.about.fingerprint.to_string(), about_own(own, &servers, now))).collect();
    if let Some(trouble) = trouble {
        all.push(("gpg-agent".into(), vec![Finding::new(trouble, "start it with: gpgconf --launch gpg-agent")]));
    }
    if own.is_empty() {
        all.push(("keys".into(), vec![Finding::new("no key signs here", "make one with: fwknop key generate")]));
    }
    report(&all, json)
}

fn about_own(own: &Own, servers: &[server::Known], now: Timestamp) -> Vec<Finding> {
    let mut findings = keys::findings(&own.about, Role::Signer, now);
    if let Some((key, None)) = own.signs() {
        let what = format!("the secret of {} is not here", key.fingerprint);
        findings.push(Finding::new(what, "insert the card and run gpg --card-status, or import the secret key"));
    }
    for (name, length) in sizes(own, servers, now) {
        if length > server::LONGEST {
            let what = format!("packets for {name} would have {length} characters, which no datagram carries");
            findings.push(Finding::new(
                what,
                format!("add an Ed25519 subkey: gpg --quick-add-key {} ed25519 sign", own.about.fingerprint),
            ));
        }
    }
    findings
}

/// What was found, and the exit code that says whether anything was.
fn report(all: &[(String, Vec<Finding>)], json: bool) -> Result<(), Ended> {
    if json {
        let shown: Vec<Value> = all
            .iter()
            .map(|(about, findings)| {
                let findings: Vec<Value> =
                    findings.iter().map(|f| json!({"what": f.what, "advice": f.advice})).collect();
                json!({"about": about, "findings": findings})
            })
            .collect();
        say(&format!("{}\n", Value::Array(shown)))?;
    } else {
        for (about, findings) in all {
            match findings.as_slice() {
                [] => say(&format!("{about}  ok\n"))?,
                findings => {
                    findings.iter().try_for_each(|f| say(&format!("{about}  {}\n     {}\n", f.what, f.advice)))?
                }
            }
        }
    }
    if all.iter().all(|(_, findings)| findings.is_empty()) { Ok(()) } else { Err(Ended::Attention) }
}
