//! `fwknop key generate`.

use std::time::Duration;

use super::super::super::user;
use super::super::Places;
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::{self, Ended};
use crate::keyring::manage::{Algorithm, NewKey, NewPassphrase};
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Generate {
    /// Whose it is: "Alice <alice@example.org>" [default: your name on this machine]
    user_id: Option<String>,
    /// Its kind; curve25519 is Ed25519 and Cv25519
    #[arg(long, default_value = "curve25519", value_parser = Algorithm::NAMES)]
    algo: String,
    /// How long it lasts: 90d, 6m, 2y, never
    #[arg(long, default_value = "2y", value_name = "SPAN", value_parser = lasting)]
    expire: Lasting,
    /// Without a passphrase: whoever can read its file can knock
    #[arg(long)]
    no_passphrase: bool,
    /// Also if there is a key with this user id already
    #[arg(long)]
    beside: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

/// `None`: for ever.
#[derive(Clone, Copy, Debug)]
struct Lasting(Option<Duration>);

fn lasting(text: &str) -> Result<Lasting, String> {
    keys::lasting(text).map(Lasting)
}

impl Generate {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let Some(algorithm) = Algorithm::named(&self.algo) else {
            return Err(Ended::usage(
                format!("there is no algorithm '{}'", self.algo),
                "see: fwknop key generate --help",
            ));
        };
        let user_id = match self.user_id {
            Some(user_id) => user_id,
            None => usual_user_id(),
        };
        if user_id.trim().is_empty() || user_id.contains(char::is_control) {
            return Err(Ended::usage("that is no user id", "write a name, like \"Alice <alice@example.org>\""));
        }
        let keyring = self.places.keyring(now)?;
        let mut plan = Plan::default();
        let passphrase =
            if self.no_passphrase { "without a passphrase" } else { "with a passphrase that gpg-agent asks for" };
        let until =
            self.expire.0.map_or("for ever".to_owned(), |lasts| format!("until {}", keys::day(now.plus(lasts))));
        plan.step(format!("make a {} key for {user_id} in {}", self.algo, keyring.place()));
        plan.step(format!("good {until}, {passphrase}"));
        self.consent.obtain(&plan)?;
        let passphrase = if self.no_passphrase { NewPassphrase::None } else { NewPassphrase::Asked };
        let new = NewKey { user_id: &user_id, algorithm, lasts: self.expire.0, passphrase, beside: self.beside };
        let made = keyring.home()?.generate(&new)?;
        // It is younger than the run.
        let now = Timestamp::now();
        let about = self.places.keyring(now)?.named(&made.to_string())?.about;
        Ok(self.consent.done(&plan, [("certificate", keys::as_json(&about, now))], &format!("{made}\n"))?)
    }
}

fn usual_user_id() -> String {
    let name = user::names().into_iter().next().unwrap_or_else(|| "fwknop".to_owned());
    let host = rustix::system::uname();
    format!("{name}@{}", host.nodename().to_string_lossy())
}
