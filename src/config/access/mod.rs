//! Access stanzas: from checked settings to what the gate decides by.

mod commands;
mod cycles;
mod nat;
mod openpgp;
mod signers;
mod symmetric;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::access_table::TABLE;
use super::complaint::{Complaints, Place};
use super::include::{RawStanza, RawStanzas, parse_stanzas, read_stanzas};
use super::keyrings::Keyrings;
use super::server::{LoadOptions, ServerSettings, try_server};
use super::setting::Settings;
use super::source::Syntax;
use super::value::Checked;
use crate::access::Stanza;
use crate::grant::StanzaId;
use crate::net::{AddrSet, PortSet};
use crate::time::{Lifetime, Timestamp};
use openpgp::OpenedKeyrings;

/// Reads `fwknopd.conf` and the access files: the mistakes of all of them are reported at once.
pub fn load(
    options: &LoadOptions,
    keyrings: &mut dyn Keyrings,
    now: Timestamp,
) -> Result<(ServerSettings, Vec<Stanza>, Complaints), Complaints> {
    let (server, complaints) = try_server(options);
    let server_said = complaints.judge(Some(server.clone()));
    let access_said = load_access(&server, &options.directory, keyrings, now);
    match (server_said, access_said) {
        (Ok((server, mut said)), Ok((stanzas, more))) => {
            said.append(more);
            Ok((server, stanzas, said))
        }
        (server_said, access_said) => {
            let mut said = server_said.map_or_else(|said| said, |(_, said)| said);
            said.append(access_said.map_or_else(|said| said, |(_, said)| said));
            Err(said)
        }
    }
}

/// Reads and checks all stanzas and the keyrings they name. All mistakes are reported at once; with only warnings and
/// notes the stanzas come with them, in the order in which they count. Empty only if they are read from a folder.
///
/// `directory` is where relative paths start, see [`LoadOptions`](super::LoadOptions).
pub fn load_access(
    server: &ServerSettings,
    directory: &Path,
    keyrings: &mut dyn Keyrings,
    now: Timestamp,
) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    let mut complaints = Complaints::default();
    let raw = read_stanzas(&server.access, directory, &mut complaints);
    let place = match &server.access {
        super::AccessPlace::File { path, .. } | super::AccessPlace::Folder(path) => Place::File(path.as_path().into()),
    };
    resolve(raw, &place, &mut Context { server, directory, keyrings: OpenedKeyrings::new(keyrings), now }, complaints)
}

/// The same for one text, as if it were the file `path`: for tests and fuzzing.
pub fn parse_access(
    path: &Path,
    text: &str,
    server: &ServerSettings,
    keyrings: &mut dyn Keyrings,
    now: Timestamp,
) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    let mut complaints = Complaints::default();
    let raw = parse_stanzas(path, text, &mut complaints);
    let keyrings = OpenedKeyrings::new(keyrings);
    let mut context = Context { server, directory: Path::new("/"), keyrings, now };
    resolve(raw, &Place::File(path.into()), &mut context, complaints)
}

/// What stanzas are read against.
struct Context<'a> {
    server: &'a ServerSettings,
    directory: &'a Path,
    keyrings: OpenedKeyrings<'a>,
    now: Timestamp,
}

fn resolve(
    raw: RawStanzas,
    file: &Place,
    context: &mut Context<'_>,
    mut complaints: Complaints,
) -> Result<(Vec<Stanza>, Complaints), Complaints> {
    if raw.stanzas.is_empty() && !raw.from_folder && !complaints.has_errors() {
        complaints.error(file, "there is no stanza", "begin one with SOURCE ANY, or [[stanza]] in TOML");
    }
    let names = names(&raw.stanzas);
    let mut stanzas = Vec::new();
    for ((id, name), raw) in (1..).map(StanzaId).zip(names).zip(raw.stanzas) {
        let RawStanza { place, syntax, settings } = raw;
        let settings = Settings::read(&TABLE, settings, &mut complaints);
        let mut resolve = Resolve { place, syntax, settings, context, complaints: &mut complaints };
        stanzas.extend(resolve.stanza(id, name));
    }
    complaints.judge(Some(stanzas))
}

/// What people call stanzas: a file's name without its ending, and where a file has several, which one of it.
fn names(stanzas: &[RawStanza]) -> Vec<Arc<str>> {
    let file = |stanza: &RawStanza| match &stanza.place {
        Place::File(file) | Place::Line(file, _) => file.clone(),
        Place::Option(option) => Path::new(option).into(),
    };
    let mut count: HashMap<Arc<Path>, usize> = HashMap::new();
    stanzas.iter().for_each(|stanza| *count.entry(file(stanza)).or_default() += 1);
    let mut seen: HashMap<Arc<Path>, usize> = HashMap::new();
    let name = |stanza: &RawStanza| {
        let file = file(stanza);
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let several = count.get(&file).is_some_and(|count| *count > 1);
        let nth = seen.entry(file).or_default();
        *nth += 1;
        Arc::from(if several { format!("{stem}#{nth}") } else { stem })
    };
    stanzas.iter().map(name).collect()
}

struct Resolve<'r, 'c> {
    /// Where the stanza begins: for what it lacks.
    place: Place,
    syntax: Syntax,
    settings: Settings,
    context: &'r mut Context<'c>,
    complaints: &'r mut Complaints,
}

impl Resolve<'_, '_> {
    /// `None`: something essential is missing, and has been complained about.
    fn stanza(&mut self, id: StanzaId, name: Arc<str>) -> Option<Stanza> {
        let source = self.source();
        let hmac = self.hmac();
        let rijndael = self.rijndael();
        let openpgp = self.openpgp();
        self.judge_keys(rijndael.is_some(), openpgp.is_some());
        let (timeout, max_timeout) = self.timeouts();
        let cycle = self.cycle();
        Some(Stanza {
            id,
            name,
            source: source?,
            destination: self.addresses("DESTINATION").unwrap_or(AddrSet::Any),
            open_ports: self.ports("OPEN_PORTS"),
            restrict_ports: self.ports("RESTRICT_PORTS"),
            rijndael,
            openpgp,
            hmac,
            timeout,
            max_timeout,
            require_username: self.settings.text("REQUIRE_USERNAME").map(str::to_owned),
            require_source_address: self.require_source_address(),
            expires: self.expires(),
            nat: self.nat(),
            only_destination: self.context.server.nat.only_destination,
            commands: self.commands(),
            cycle,
        })
    }

    fn source(&mut self) -> Option<AddrSet> {
        let source = self.addresses("SOURCE");
        // In the line syntax SOURCE begins the stanza; in TOML it can be missing.
        if !self.settings.mentions("SOURCE") {
            let name = self.syntax.spell("SOURCE");
            self.complaints.error(&self.place, format!("the stanza has no {name}"), format!("add {name} = \"ANY\""));
        }
        source
    }

    /// A timeout of 0 is the default, as in the original. Its maximum did not limit the default; ours does.
    fn timeouts(&mut self) -> (Lifetime, Lifetime) {
        let seconds = |name| {
            let seconds = self.settings.number(name).and_then(|seconds| u32::try_from(seconds).ok());
            seconds.and_then(Lifetime::from_secs)
        };
        let name = if self.has_cycle() { "CMD_CYCLE_TIMER" } else { "FW_ACCESS_TIMEOUT" };
        let timeout = seconds(name);
        // A timer of a cycle is always the administrator's own: only a maximum he has written cuts it.
        let own = timeout.filter(|_| self.has_cycle()).unwrap_or(DEFAULT_MAX);
        let max = seconds("MAX_FW_TIMEOUT").unwrap_or(DEFAULT_MAX.max(own));
        if let (Some(timeout), Some(place)) = (timeout, self.settings.place(name))
            && timeout > max
        {
            let what = format!("{name} is larger than MAX_FW_TIMEOUT ({})", max.secs());
            self.complaints.warn(place, what, "the maximum counts; raise it, or lower this");
        }
        (timeout.unwrap_or(DEFAULT_TIMEOUT).min(max), max)
    }

    fn require_source_address(&self) -> bool {
        let later = self.settings.later("REQUIRE_SOURCE_ADDRESS", "REQUIRE_SOURCE");
        later.and_then(|name| self.settings.flag(name)).unwrap_or(false)
    }

    fn expires(&mut self) -> Option<Timestamp> {
        let name = self.settings.later("ACCESS_EXPIRE", "ACCESS_EXPIRE_EPOCH")?;
        let expires = match self.settings.get(name)? {
            Checked::Date(date) => Some(*date),
            Checked::Number(0) => None,
            Checked::Number(seconds) => Some(Timestamp::from_secs(*seconds)),
            _ => None,
        };
        if let (Some(expires), Some(place)) = (expires, self.settings.place(name))
            && expires <= self.context.now
        {
            self.complaints.warn(place, "the stanza has expired", "set a later time, or remove the stanza");
        }
        expires
    }

    fn addresses(&self, name: &str) -> Option<AddrSet> {
        match self.settings.get(name)? {
            Checked::Addresses(addresses) => Some(addresses.clone()),
            _ => None,
        }
    }

    fn ports(&self, name: &str) -> Option<PortSet> {
        match self.settings.get(name)? {
            Checked::Ports(ports) => Some(ports.clone()),
            _ => None,
        }
    }

    fn flag(&self, name: &str) -> bool {
        self.settings.flag(name).unwrap_or(false)
    }

    /// Where a setting stands, or else where its stanza begins.
    fn at(&self, name: &str) -> Place {
        self.settings.place(name).unwrap_or(&self.place).clone()
    }
}

const fn seconds(seconds: u32) -> Lifetime {
    match Lifetime::from_secs(seconds) {
        Some(lifetime) => lifetime,
        None => panic!("evaluated at compile time: not zero"),
    }
}

const DEFAULT_TIMEOUT: Lifetime = seconds(30);
const DEFAULT_MAX: Lifetime = seconds(300);
