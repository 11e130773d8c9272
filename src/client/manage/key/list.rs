//! `fwknop key list`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::super::output::warn;
use super::super::own::{Keyring, no_own};
use super::super::size::Target;
use super::super::{Places, known, say, say_json, values};
use crate::cli;
use crate::cli::keys::{self, Ended};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::Own;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct List {
    /// The length of knocks at this server only: its name in the rc file, or the fingerprint of its key
    #[arg(long, value_name = "SERVER", add = values::servers())]
    server: Option<String>,
    #[command(flatten)]
    places: Places,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let keyring = self.places.keyring(now)?;
        let own = keyring.own()?;
        let targets = targets(&self.places, self.server.as_deref(), &keyring, now)?;
        if self.json {
            return say_json(&own.iter().map(|own| as_json(own, &targets, now)).collect());
        }
        if own.is_empty() {
            warn(&cli::describe(&no_own(&keyring)));
        }
        own.iter().try_for_each(|own| say(&shown(own, &targets, now)))
    }
}

/// The servers at which it is known how long knocks get: all in the rc file, or the one that is named.
pub(super) fn targets(
    places: &Places,
    server: Option<&str>,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<Vec<Target>, Ended> {
    let Some(name) = server else {
        return Ok(known::all(places)?.iter().filter_map(|known| known.target(keyring, now)).collect());
    };
    if let Ok(fingerprint) = name.parse::<Fingerprint>() {
        return Ok(vec![of_key(&fingerprint, keyring)?]);
    }
    let known = known::named(places, name)?;
    known.options.as_ref().map_err(Clone::clone)?;
    let Some(recipient) = known.recipient(keyring, now)? else {
        let what = format!("[{}] shares a key with its server: no key of yours signs for it", known.name);
        return Err(Ended::usage(what, "leave --server away"));
    };
    let target = known.options.as_ref().ok().and_then(|options| Target::of(&known.name, options, &recipient));
    Ok(vec![target.ok_or_else(|| no_packet(&recipient.fingerprint))?])
}

fn of_key(fingerprint: &Fingerprint, keyring: &Keyring) -> Result<Target, Ended> {
    let recipient = keyring.named(&fingerprint.to_string())?.about;
    let target = known::unnamed().and_then(|options| Target::of(&fingerprint.to_string(), &options, &recipient));
    target.ok_or_else(|| no_packet(fingerprint))
}

fn no_packet(key: &Fingerprint) -> Ended {
    Ended::refused(format!("nothing can be encrypted to {key}"), "ask the server's administrator for its current key")
}

fn shown(own: &Own, targets: &[Target], now: Timestamp) -> String {
    let mut text = keys::shown(&own.about, now);
    let _ = match own.signing() {
        Some((key, place)) => writeln!(text, "    signs with {}: {place}", key.fingerprint),
        None => writeln!(text, "    signs nothing: see fwknop key check {}", own.about.fingerprint),
    };
    for target in targets {
        if let Some(length) = target.length(own) {
            let too_long = if target.fits(length) { "" } else { ": too long to arrive" };
            let _ = writeln!(text, "    knocks at {}: {length} characters{too_long}", target.name);
        }
    }
    text
}

fn as_json(own: &Own, targets: &[Target], now: Timestamp) -> Value {
    let mut shown = keys::as_json(&own.about, now);
    let signing = own.signing();
    shown["signs_with"] = signing.map(|(key, _)| key.fingerprint.to_string()).into();
    shown["secret"] = signing.map(|(_, place)| place.name()).into();
    let knock = |target: &Target| {
        let length = target.length(own)?;
        Some(json!({"server": target.name, "characters": length, "fits": target.fits(length)}))
    };
    shown["knocks"] = targets.iter().filter_map(knock).collect();
    shown
}
