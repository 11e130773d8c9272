//! `fwknop server list`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::super::output::warn;
use super::super::known::{self, Known};
use super::super::own::Keyring;
use super::super::{Places, say, say_json};
use crate::cli::keys::Ended;
use crate::crypto::openpgp::sequoia::About;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    places: Places,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let servers = known::all(&self.places)?;
        let keyring = self.places.keyring(now)?;
        let rows = servers.iter().map(|known| Row::of(known, &keyring, now));
        if self.json {
            return say_json(&rows.map(|row| row.as_json()).collect());
        }
        if servers.is_empty() {
            warn("no server is known here\n     add one with: fwknop server add NAME HOST");
        }
        rows.into_iter().try_for_each(|row| say(&row.shown()))
    }
}

/// A stanza, and what its keys are as far as they are here.
struct Row<'a> {
    known: &'a Known,
    recipient: Option<About>,
    signer: Option<About>,
}

impl<'a> Row<'a> {
    fn of(known: &'a Known, keyring: &Keyring, now: Timestamp) -> Self {
        // What is not here is shown as it is written; fwknop key check says what is wrong with it.
        let recipient = known.recipient(keyring, now).ok().flatten();
        Self { known, recipient, signer: known.signer(keyring, now).ok().flatten() }
    }

    fn shown(&self) -> String {
        let options = match &self.known.options {
            Ok(options) => options,
            Err(complaints) => return format!("{}  cannot be used:\n{complaints}\n", self.known.name),
        };
        let ports = options.ask.ports.as_ref().map_or("no ports".to_owned(), ToString::to_string);
        let host = options.send.destination.as_deref().unwrap_or("no host");
        let hmac = options.hmac.map_or("no HMAC".to_owned(), |digest| format!("HMAC {digest}"));
        let (port, transport) = (options.send.port, options.send.transport.name());
        let mut text = format!("{}  {host} {transport}/{port}  opens {ports}  {hmac}\n", self.known.name);
        let _ = match self.known.openpgp() {
            None => writeln!(text, "    a shared key"),
            Some(gpg) => {
                let key = |about: &Option<About>, written: &str| match about {
                    Some(about) => format!("{}  {}", about.fingerprint, about.name()),
                    None => format!("{written} (not in the keyring)"),
                };
                let signer = gpg.signer.as_deref().map_or("nobody".to_owned(), |signer| key(&self.signer, signer));
                writeln!(text, "    its key    {}\n    signed by  {signer}", key(&self.recipient, &gpg.recipient))
            }
        };
        text
    }

    fn as_json(&self) -> Value {
        let options = match &self.known.options {
            Ok(options) => options,
            Err(complaints) => return json!({"name": self.known.name, "error": complaints.to_string()}),
        };
        let fingerprint = |about: &Option<About>| about.as_ref().map(|about| about.fingerprint.to_string());
        json!({
            "name": self.known.name,
            "host": options.send.destination,
            "transport": options.send.transport.name(),
            "port": options.send.port,
            "access": options.ask.ports.as_ref().map(ToString::to_string),
            "encryption": if self.known.openpgp().is_some() { "openpgp" } else { "rijndael" },
            "recipient": fingerprint(&self.recipient),
            "signer": fingerprint(&self.signer),
            "hmac": options.hmac.map(|digest| digest.to_string()),
        })
    }
}
