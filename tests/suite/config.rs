//! The configuration files: what is taken, what is refused, and what is said about it.

mod broken;
mod documents;
mod files;
mod mutated;
mod same;
mod samples;
mod wrong_values;

use std::path::{Path, PathBuf};

use fwknop::access::Stanza;
use fwknop::config::{
    Complaints, KeyringPlace, KeyringSource, Keyrings, OpenedKeyring, ServerSettings, parse_access, parse_server,
};
use fwknop::crypto::openpgp::sequoia::Found;
use fwknop::crypto::openpgp::{Fingerprint, KeyringId};
use fwknop::keyring;
use fwknop::reason::SignatureFault;
use fwknop::time::Timestamp;

/// 15 January 2027.
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A keyring with one client and the server's own key, and a home that is missing.
struct FewKeys;

const CLIENT: &str = "552BF49B20C4FDD451154E8A04C3D3838AB7EEB9";
const SERVER: &str = "D3939AEF57059512C5F71C54EC7D9871B128A32E";

impl Keyrings for FewKeys {
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, keyring::Error> {
        let KeyringSource::Home { directory: home, .. } = &place.source else { panic!("{place:?}") };
        match home == Path::new("/missing") {
            true => Err(keyring::Error::NoHome { home: home.clone() }),
            false => Ok(OpenedKeyring { id: KeyringId(0), warnings: Vec::new() }),
        }
    }

    fn find(&self, _: KeyringId, name: &str) -> Found {
        match name {
            "server" => Found::One(SERVER.parse().unwrap()),
            name if !name.is_empty() && CLIENT.ends_with(name) => Found::One(CLIENT.parse().unwrap()),
            _ => Found::None,
        }
    }

    fn decrypts(&self, _: KeyringId, key: &Fingerprint) -> bool {
        key.to_string() == SERVER
    }

    fn standing(&self, _: KeyringId, _: &Fingerprint) -> Option<SignatureFault> {
        None
    }
}

fn server(name: &str, text: &str) -> Result<(ServerSettings, Complaints), Complaints> {
    parse_server(Path::new(name), text)
}

fn access(name: &str, text: &str) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    let (settings, _) = server("fwknopd.conf", "").unwrap();
    access_with(&settings, name, text)
}

fn access_with(settings: &ServerSettings, name: &str, text: &str) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    parse_access(Path::new(name), text, settings, &mut FewKeys, NOW)
}

/// All that is said about a file, whose kind its name begins with.
fn complaints_about(name: &str, text: &str) -> Complaints {
    match name.starts_with("fwknopd") {
        true => server(name, text).map_or_else(|refused| refused, |(_, said)| said),
        false => access(name, text).map_or_else(|refused| refused, |(_, said)| said),
    }
}

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/config").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
