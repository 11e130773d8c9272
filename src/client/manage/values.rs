//! What a shell offers where a key or a server is named. No agent and no gpg is started for it.

use clap_complete::ArgValueCandidates;

use super::super::rc;
use super::Places;
use crate::cli::completions;
use crate::crypto::openpgp::sequoia::Ring;
use crate::keyring::PublicKeys;

/// The names of the stanzas.
pub fn servers() -> ArgValueCandidates {
    completions::values(|| {
        let path = Places::default().rc_file().ok().filter(|path| path.exists());
        let names = path.and_then(|path| rc::stanza_names(&path).ok()).unwrap_or_default();
        names.into_iter().map(|name| (name, String::new())).collect()
    })
}

/// The fingerprints of all certificates, each with its user id.
pub fn fingerprints() -> ArgValueCandidates {
    completions::values(|| {
        let Ok(gpg) = Places::default().gpg() else { return Vec::new() };
        let certificates = PublicKeys::open(&gpg).map(|public| public.certificates()).unwrap_or_default();
        Ring::read(&certificates).names().map(|(fingerprint, name)| (fingerprint.to_string(), name)).collect()
    })
}
