//! `fwknopd user`: who may knock. One file per user in a folder of access files, the certificate in the keyring.

mod add;
mod folder;

use std::fs;
use std::path::Path;

use clap::Subcommand;
use serde_json::{Value, json};

use super::key::Keyring;
use super::{Places, say, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended};
use crate::crypto::openpgp::Fingerprint;
use crate::time::Timestamp;
use add::Add;
use folder::{Folder, Known, State, no_user};

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
        #[arg(add = values::users())]
        name: String,
        #[arg(long)]
        json: bool,
    },
    /// Shut somebody out for a while, and close what is open
    Suspend {
        #[arg(add = values::users())]
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Let somebody in again
    Resume {
        #[arg(add = values::users())]
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Shut somebody out for good, and close what is open
    Remove {
        #[arg(add = values::users())]
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
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

/// The names of all users.
pub fn names(places: &Places) -> Result<Vec<String>, Ended> {
    let users = Folder::of(&places.server()?.access)?.users()?;
    Ok(users.into_iter().map(|known| known.name).collect())
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
    match to {
        State::Suspended => places.tell_daemon_to_close(&known.name)?,
        State::Active => places.tell_daemon()?,
    }
    Ok(consent.done(&plan, [("name", json!(name))], "")?)
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
    places.tell_daemon_to_close(&known.name)?;
    Ok(consent.done(&plan, [("name", json!(name))], "")?)
}

fn list(places: &Places, only: Option<&str>, json: bool, now: Timestamp) -> Result<(), Ended> {
    let folder = Folder::of(&places.server()?.access)?;
    let mut users = folder.users()?;
    if let Some(name) = only {
        users.retain(|known| known.name == name);
        if users.is_empty() {
            return Err(no_user(name));
        }
    }
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
