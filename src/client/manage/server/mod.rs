//! `fwknop server`: stanzas of the rc file, so that `fwknop -n NAME` is all there is to type.

mod add;
mod list;

use clap::Subcommand;

use super::super::stanza;
use super::{Places, known, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::Ended;
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum Server {
    /// Write the stanza of a server
    Add(Box<add::Add>),
    /// The servers in the rc file; no secrets
    List(list::List),
    /// Remove the stanza of a server
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
pub struct Remove {
    /// Its name in the rc file
    #[arg(add = values::servers())]
    name: String,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    consent: Consent,
}

impl Server {
    pub fn run(self) -> Result<(), Ended> {
        let now = Timestamp::now();
        match self {
            Server::Add(add) => add.run(now),
            Server::List(list) => list.run(now),
            Server::Remove(remove) => remove.run(),
        }
    }
}

impl Remove {
    fn run(self) -> Result<(), Ended> {
        let known = known::named(&self.places, &self.name)?;
        let path = self.places.rc_file()?;
        stanza::check(&path, &known.name).map_err(Ended::other)?;
        let mut plan = Plan::default();
        plan.step(format!("remove the stanza [{}], with the keys in it, from {}", known.name, path.display()));
        if let Some(gpg) = known.openpgp() {
            plan.step(format!("the server's certificate stays: fwknop key remove takes it away ({})", gpg.recipient));
        }
        self.consent.obtain(&plan)?;
        stanza::remove(&path, &known.name).map_err(Ended::other)?;
        Ok(self.consent.done(&plan, [], "")?)
    }
}
