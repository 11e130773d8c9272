//! `fwknopd user`: who may knock. One file per user in a folder of access files, the certificate in the keyring.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::key::Keyring;
use super::{Places, say};
use crate::cli::consent::{Consent, Plan};
use crate::cli::handout::Handout;
use crate::cli::keys::{self, Ended};
use crate::cli::private_file;
use crate::config::{AccessPlace, Kind, Syntax};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::About;
use crate::net::PortSet;
use crate::secret::Secret;
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum User {
    /// Let somebody in who signs with this certificate
    Add(Box<Add>),
    /// Everybody who may knock, and the state of their certificates
    List {
        #[arg(long)]
        json: bool,
    },
    /// One of them
    Show {
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// Shut somebody out for a while, and close what is open
    Suspend {
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let somebody in again
    Resume {
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Shut somebody out for good, and close what is open
    Remove {
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// The certificate: a file, or - for standard input
    certificate: PathBuf,
    /// What to call the user [default: from the certificate]
    #[arg(long)]
    name: Option<String>,
    /// The only fingerprint that is taken
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<Fingerprint>,
    /// What may be asked for: tcp/22 or tcp/22,udp/1194
    #[arg(long, value_name = "PROTO/PORT,...")]
    open: PortSet,
    /// Where knocks may come from
    #[arg(long, default_value = "ANY", value_name = "ADDRESSES")]
    source: String,
    /// How long the user may knock: 90d, 6m, 2y, never
    #[arg(long, default_value = "never", value_name = "SPAN")]
    until: String,
    /// How long a port stays open, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    timeout: u32,
    /// Without an HMAC key: a stranger then costs a decryption
    #[arg(long)]
    no_hmac: bool,
    /// Write here what the user needs, for fwknop server add --stanza: it holds a secret
    #[arg(long, value_name = "FILE")]
    stanza: Option<PathBuf>,
    /// The host in it [default: the name of this one]
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

pub fn run(command: User, places: &Places) -> Result<(), Ended> {
    let now = Timestamp::now();
    match command {
        User::Add(add) => add.run(places, now),
        User::List { json } => list(places, None, json, now),
        User::Show { name, json } => list(places, Some(&name), json, now),
        User::Suspend { name, consent } => {
            rename(places, consent, &name, State::Active, "is shut out, and what is open for him is closed")
        }
        User::Resume { name, consent } => rename(places, consent, &name, State::Suspended, "is let in again"),
        User::Remove { name, consent } => remove(places, consent, &name, now),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Suspended,
}

impl State {
    /// Only files that end in `.conf` are read.
    fn ending(self) -> &'static str {
        match self {
            State::Active => ".conf",
            State::Suspended => ".conf.suspended",
        }
    }
}

/// A file of the folder.
struct Known {
    name: String,
    state: State,
    path: PathBuf,
    settings: Vec<(String, String)>,
}

impl Known {
    fn get(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn keys(&self) -> Vec<Fingerprint> {
        let listed = self.get("GPG_FINGERPRINT_ID").unwrap_or_default().split(',');
        listed.filter_map(|key| key.trim().parse().ok()).collect()
    }
}

/// Where users are: a folder, and the access file that includes it.
struct Folder {
    path: PathBuf,
    /// The line that is missing in the access file, which may be missing itself.
    missing: Option<PathBuf>,
}

impl Folder {
    fn of(access: &AccessPlace) -> Result<Self, Ended> {
        let file = match access {
            AccessPlace::Folder(path) => return Ok(Self { path: path.clone(), missing: None }),
            AccessPlace::File { path, .. } => path,
        };
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| Ended::Read { path: file.clone(), source })?,
        };
        let here = file.parent().unwrap_or(Path::new("/"));
        let included = text.lines().find_map(|line| line.trim().strip_prefix("%include_folder"));
        Ok(match included.map(|rest| rest.trim().trim_end_matches(';').trim()) {
            Some(named) => Self { path: here.join(named), missing: None },
            None => Self { path: here.join("users"), missing: Some(file.clone()) },
        })
    }

    fn users(&self) -> Result<Vec<Known>, Ended> {
        let failed = |source| Ended::Read { path: self.path.clone(), source };
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut users = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let states = [State::Suspended, State::Active].into_iter();
            let Some((name, state)) = states.filter_map(|s| Some((file.strip_suffix(s.ending())?, s))).next() else {
                continue;
            };
            let settings = public_settings(&path)?;
            users.push(Known { name: name.to_owned(), state, path: path.clone(), settings });
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    fn user(&self, name: &str) -> Result<Known, Ended> {
        let no = || Ended::not_found(format!("there is no user '{name}'"), "list them with: fwknopd user list");
        self.users()?.into_iter().find(|known| known.name == name).ok_or_else(no)
    }

    fn file(&self, name: &str, state: State) -> PathBuf {
        self.path.join(format!("{name}{}", state.ending()))
    }
}

/// What in an access file is no secret.
fn public_settings(path: &Path) -> Result<Vec<(String, String)>, Ended> {
    let text =
        Zeroizing::new(fs::read_to_string(path).map_err(|source| Ended::Read { path: path.to_owned(), source })?);
    const SHOWN: [&str; 6] =
        ["SOURCE", "OPEN_PORTS", "FW_ACCESS_TIMEOUT", "ACCESS_EXPIRE_EPOCH", "GPG_FINGERPRINT_ID", "GPG_HOME_DIR"];
    let setting = |line: &str| {
        let (name, value) = line.trim().split_once([' ', '\t'])?;
        SHOWN.contains(&name).then(|| (name.to_owned(), value.trim().trim_end_matches(';').trim().to_owned()))
    };
    Ok(text.lines().filter_map(setting).collect())
}

impl Add {
    fn run(self, places: &Places, now: Timestamp) -> Result<(), Ended> {
        let server = places.server()?;
        let mut keyring = Keyring::open(&places.gpg()?, now)?;
        let folder = Folder::of(&server.access)?;
        let data = keys::read(&self.certificate)?;
        let read = keys::one_certificate(data.expose(), self.fingerprint.as_ref(), &self.certificate, now)?;
        let about = &read.about;
        if let Some(fault) = about.fault {
            let what = format!("nobody could knock with the certificate {}: it is {fault}", about.fingerprint);
            return Err(Ended::refused(what, "ask its owner for a current one: fwknop key check says what is wrong"));
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(about),
        };
        check_name(&name)?;
        if folder.users()?.iter().any(|known| known.name == name) {
            let what = format!("there is a user '{name}' already");
            return Err(Ended::refused(what, "choose another name with --name, or remove him first"));
        }
        Kind::Addresses.check_text(&self.source, Syntax::Fwknop).map_err(|_| {
            Ended::usage(
                format!("'{}' is no list of addresses", self.source),
                "write ANY, addresses or networks: 192.0.2.0/24",
            )
        })?;
        let lasts =
            keys::lasting(&self.until).map_err(|what| Ended::usage(what, "it says how long the user may knock"))?;
        let hmac = if self.no_hmac { None } else { Some(hmac_key()?) };
        let text = self.access_text(about, lasts.map(|span| now.plus(span)), hmac.as_ref(), &keyring);
        let handout = match &self.stanza {
            None => None,
            Some(file) => Some((file, self.handout(hmac.as_ref(), &mut keyring)?)),
        };

        let file = folder.file(&name, State::Active);
        let mut plan = Plan::default();
        let ports = &self.open;
        plan.step(format!(
            "let {} in, who signs with {}, to {ports} for {}s",
            about.name(),
            about.fingerprint,
            self.timeout
        ));
        if keyring.about(&about.fingerprint).is_none() {
            plan.step(format!("import the certificate into {}", keyring.path.display()));
        }
        if let Some(access) = &folder.missing {
            plan.step(format!("add '%include_folder {}' to {}", folder.path.display(), access.display()));
        }
        plan.step(format!("write {}", file.display()));
        if let Some((file, _)) = &handout {
            plan.step(format!("write {}, which holds a secret: hand it to {name} alone", file.display()));
        }
        self.consent.obtain(&plan)?;

        keyring.home.import(&read.data)?;
        make_folder(&folder)?;
        write(&file, text.expose())?;
        if let Err(complaints) = places.check() {
            fs::remove_file(&file).map_err(|source| Ended::Write { path: file.clone(), source })?;
            return Err(Ended::refused(
                format!("with {name} the configuration would not work:\n{complaints}"),
                "nothing was changed",
            ));
        }
        if let Some((file, text)) = &handout {
            write(file, text.expose())?;
        }
        places.tell_daemon()
    }

    fn access_text(
        &self,
        about: &About,
        until: Option<Timestamp>,
        hmac: Option<&Secret<String>>,
        keyring: &Keyring,
    ) -> Secret<String> {
        let mut text = Zeroizing::new(format!(
            "# {}\n# by fwknopd user add; this file alone decides what he may do\n",
            about.name()
        ));
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<19} {value}\n"));
        line("SOURCE", &self.source);
        line("OPEN_PORTS", &self.open.to_string());
        line("FW_ACCESS_TIMEOUT", &self.timeout.to_string());
        if let Some(until) = until {
            line("ACCESS_EXPIRE_EPOCH", &until.secs().to_string());
        }
        line("GPG_HOME_DIR", &keyring.path.display().to_string());
        line("GPG_FINGERPRINT_ID", &about.fingerprint.to_string());
        if let Some(key) = hmac {
            line("HMAC_KEY_BASE64", key.expose());
        }
        text.push_str(&keyring.unlocking());
        Secret::new(text.to_string())
    }

    fn handout(&self, hmac: Option<&Secret<String>>, keyring: &mut Keyring) -> Result<Secret<String>, Ended> {
        let recipient = keyring.current()?.fingerprint.clone();
        let host = match &self.server {
            Some(host) => host.clone(),
            None => host_name()?,
        };
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut settings = vec![
            ("SPA_SERVER", plain(&host)),
            ("ACCESS", plain(&self.open.to_string())),
            ("ALLOW_IP", plain("source")),
            ("USE_GPG", plain("Y")),
            ("GPG_RECIPIENT", plain(&recipient.to_string())),
        ];
        if let Some(key) = hmac {
            settings.push(("USE_HMAC", plain("Y")));
            settings.push(("HMAC_KEY_BASE64", key.clone()));
        }
        let certificate = keyring.home.export(&recipient)?;
        Handout::write(&host, &settings, Some(&certificate)).map_err(|error| Ended::Other(Box::new(error)))
    }
}

/// What stands before the `@` of the first address, or the first word.
fn name_of(about: &About) -> String {
    let user_id = about.name();
    let address = user_id.split_once('<').map_or(user_id, |(_, rest)| rest);
    let local = address.split('@').next().unwrap_or_default();
    local.split([' ', '>']).next().unwrap_or_default().to_ascii_lowercase()
}

/// It becomes the name of a file.
fn check_name(name: &str) -> Result<(), Ended> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && !name.starts_with(['.', '-']) && name.chars().all(plain) {
        return Ok(());
    }
    let what = format!("'{}' cannot be the name of a user", name.escape_default());
    Err(Ended::usage(what, "choose one with --name: letters, digits, '-', '_' and '.'"))
}

fn host_name() -> Result<String, Ended> {
    let path = Path::new("/proc/sys/kernel/hostname");
    let name = fs::read_to_string(path).map_err(|source| Ended::Read { path: path.to_owned(), source })?;
    let name = name.trim().to_owned();
    if name.is_empty() { Err(Ended::usage("this host has no name", "name it with --server")) } else { Ok(name) }
}

/// 64 random bytes, the block size of SHA-256, as base64.
fn hmac_key() -> Result<Secret<String>, Ended> {
    let mut key = Zeroizing::new([0; 64]);
    getrandom::fill(&mut *key).map_err(|error| Ended::Other(Box::new(error)))?;
    Ok(Secret::new(STANDARD.encode(*key)))
}

fn make_folder(folder: &Folder) -> Result<(), Ended> {
    if !folder.path.exists() {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&folder.path);
        made.map_err(|source| Ended::Write { path: folder.path.clone(), source })?;
    }
    let Some(access) = &folder.missing else { return Ok(()) };
    let old = match fs::read_to_string(access) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|source| Ended::Read { path: access.clone(), source })?,
    };
    // In front, so that it belongs to no stanza.
    let line = format!("%include_folder     {}\n", folder.path.display());
    write(access, Zeroizing::new(format!("{line}{old}")).as_str())
}

fn write(path: &Path, text: &str) -> Result<(), Ended> {
    private_file::write(path, text).map_err(|source| Ended::Write { path: path.to_owned(), source })
}

fn rename(places: &Places, consent: Consent, name: &str, from: State, what: &str) -> Result<(), Ended> {
    let folder = Folder::of(&places.server()?.access)?;
    let known = folder.user(name)?;
    if known.state != from {
        let (what, advice) = match known.state {
            State::Active => ("is not suspended", "there is nothing to do"),
            State::Suspended => ("is suspended already", "let him in again with: fwknopd user resume"),
        };
        return Err(Ended::refused(format!("the user '{name}' {what}"), advice));
    }
    let to = if from == State::Active { State::Suspended } else { State::Active };
    let mut plan = Plan::default();
    plan.step(format!("{name} {what}"));
    consent.obtain(&plan)?;
    let new = folder.file(name, to);
    let moved =
        |from: &Path, to: &Path| fs::rename(from, to).map_err(|source| Ended::Write { path: to.to_owned(), source });
    moved(&known.path, &new)?;
    if to == State::Active
        && let Err(complaints) = places.check()
    {
        moved(&new, &known.path)?;
        return Err(Ended::refused(
            format!("with {name} the configuration would not work:\n{complaints}"),
            "nothing was changed",
        ));
    }
    places.tell_daemon()
}

fn remove(places: &Places, consent: Consent, name: &str, now: Timestamp) -> Result<(), Ended> {
    let folder = Folder::of(&places.server()?.access)?;
    let known = folder.user(name)?;
    let mut keyring = Keyring::open(&places.gpg()?, now)?;
    let others: Vec<Fingerprint> =
        folder.users()?.iter().filter(|other| other.path != known.path).flat_map(Known::keys).collect();
    let gone: Vec<Fingerprint> = known.keys().into_iter().filter(|key| !others.contains(key)).collect();
    let gone: Vec<Fingerprint> =
        gone.into_iter().filter(|key| keyring.about(key).is_some() && !keyring.own.contains(key)).collect();
    let mut plan = Plan::default();
    plan.step(format!("{name} is shut out, and what is open for him is closed"));
    plan.step(format!("remove {}", known.path.display()));
    gone.iter().for_each(|key| {
        plan.step(format!("remove the certificate {key} from {}", keyring.path.display()));
    });
    consent.obtain(&plan)?;
    fs::remove_file(&known.path).map_err(|source| Ended::Write { path: known.path.clone(), source })?;
    // First the file, so that nothing is left half: a certificate alone lets nobody in.
    gone.iter().try_for_each(|key| keyring.home.remove(key, false))?;
    places.tell_daemon()
}

fn list(places: &Places, only: Option<&str>, json: bool, now: Timestamp) -> Result<(), Ended> {
    let folder = Folder::of(&places.server()?.access)?;
    let users = match only {
        Some(name) => vec![folder.user(name)?],
        None => folder.users()?,
    };
    let keyring = Keyring::open(&places.gpg()?, now)?;
    let rows: Vec<Row> = users.iter().map(|known| Row::of(known, &keyring, now)).collect();
    if json {
        return say(&format!("{}\n", Value::Array(rows.iter().map(Row::as_json).collect())));
    }
    if rows.is_empty() {
        return say("nobody may knock\n     let somebody in with: fwknopd user add CERTIFICATE --open tcp/22\n");
    }
    rows.iter().try_for_each(|row| say(&row.shown()))
}

/// What is told about a user. No secrets.
struct Row<'a> {
    known: &'a Known,
    user_id: String,
    certificate: String,
    until: Option<Timestamp>,
    state: &'static str,
}

impl<'a> Row<'a> {
    fn of(known: &'a Known, keyring: &Keyring, now: Timestamp) -> Self {
        let about = known.keys().first().and_then(|key| keyring.about(key)).cloned();
        let until = known.get("ACCESS_EXPIRE_EPOCH").and_then(|text| text.parse().ok()).filter(|secs| *secs > 0);
        let until = until.map(Timestamp::from_secs);
        Self {
            known,
            user_id: about.as_ref().map_or("-".into(), |about| about.name().to_owned()),
            certificate: about.as_ref().map_or("not in the keyring".into(), |about| keys::state(about, now)),
            state: match (known.state, until) {
                (State::Suspended, _) => "suspended",
                (State::Active, Some(until)) if until <= now => "over",
                (State::Active, _) => "active",
            },
            until,
        }
    }

    fn fingerprint(&self) -> &str {
        self.known.get("GPG_FINGERPRINT_ID").unwrap_or("-")
    }

    fn shown(&self) -> String {
        let until = self.until.map_or(String::new(), |until| format!(" until {}", keys::day(until)));
        let setting = |name| self.known.get(name).unwrap_or("-");
        format!(
            "{}  {}{until}  {} from {} for {}s\n    {}  {}\n    {}\n",
            self.known.name,
            self.state,
            setting("OPEN_PORTS"),
            setting("SOURCE"),
            setting("FW_ACCESS_TIMEOUT"),
            self.fingerprint(),
            self.certificate,
            self.user_id,
        )
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.known.name, "state": self.state, "fingerprint": self.fingerprint(), "user_id": self.user_id,
            "certificate": self.certificate, "open": self.known.get("OPEN_PORTS"), "source": self.known.get("SOURCE"),
            "timeout": self.known.get("FW_ACCESS_TIMEOUT"), "until": self.until.map(Timestamp::secs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_word() {
        for good in ["alice", "a.b-c_1", "X"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "..", ".a", "-a", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
