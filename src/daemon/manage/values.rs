//! What a shell offers where a user or a key of the server is named: those of the usual configuration.

use clap::Parser as _;
use clap_complete::ArgValueCandidates;

use super::Places;
use super::grants::numbers;
use super::key::Keyring;
use super::user::names;
use crate::cli::completions;
use crate::time::Timestamp;

#[derive(clap::Parser)]
struct Usual {
    #[command(flatten)]
    places: Places,
}

fn usual() -> Option<Places> {
    Usual::try_parse_from(["fwknopd"]).ok().map(|usual| usual.places)
}

pub fn users() -> ArgValueCandidates {
    completions::values(|| {
        let names = usual().and_then(|places| names(&places).ok()).unwrap_or_default();
        names.into_iter().map(|name| (name, String::new())).collect()
    })
}

/// What is open, each with whom it is open for.
pub fn grants() -> ArgValueCandidates {
    completions::values(|| usual().and_then(|places| numbers(&places, Timestamp::now()).ok()).unwrap_or_default())
}

/// The server's own keys, each with its user id.
pub fn own_keys() -> ArgValueCandidates {
    completions::values(|| {
        let keyring = usual().and_then(|places| Keyring::open(&places.gpg().ok()?, Timestamp::now()).ok());
        let Some(keyring) = keyring else { return Vec::new() };
        let own = keyring.own.iter().filter_map(|key| keyring.about(key));
        own.map(|about| (about.fingerprint.to_string(), about.name().to_owned())).collect()
    })
}
