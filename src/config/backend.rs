//! Which firewall: `FIREWALL`, `FIREWALL_EXE`, or what is there.

use std::path::Path;

use super::complaint::Complaints;
use super::setting::Settings;
use crate::firewall::{ALL, BackendName, NFTABLES};

/// As it is named, else the one whose program is named, else what is installed.
pub fn choose(settings: &Settings, complaints: &mut Complaints) -> BackendName {
    let named = settings.text("FIREWALL").and_then(BackendName::named);
    let program = settings.text("FIREWALL_EXE").and_then(|path| Path::new(path).file_name());
    let (Some(place), Some(program)) = (settings.place("FIREWALL_EXE"), program) else {
        return named.unwrap_or_else(BackendName::installed);
    };
    let program = program.to_string_lossy();
    match (named, BackendName::of_program(&program)) {
        (Some(named), Some(by_program)) if named != by_program => {
            let what = format!("FIREWALL_EXE: {program} is not a program of {named}, which FIREWALL names");
            complaints.error(place, what, "correct one of them, or remove FIREWALL_EXE");
            named
        }
        (_, Some(by_program)) => by_program,
        (named, None) => {
            let programs = ALL.map(BackendName::program).join(", ");
            let advice = format!("remove it, or name one of {programs}, or a variant of theirs");
            complaints.error(place, format!("FIREWALL_EXE: {program} is not a firewall program we know"), advice);
            named.unwrap_or(NFTABLES)
        }
    }
}
