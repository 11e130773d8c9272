//! Who may ask for what: stanzas in file order, and the decision on a message.

mod decide;
mod known;
mod nat;
mod stanza;

pub use decide::{Decision, Permit};
pub use nat::NatRule;
pub use stanza::{OpenPgpAccess, Stanza};

use crate::net::Origin;
use crate::reason::Reason;

/// All stanzas, in file order: the first that permits a request wins.
#[derive(Clone, Debug, Default)]
pub struct AccessTable(Vec<Stanza>);

impl AccessTable {
    pub fn new(stanzas: Vec<Stanza>) -> Self {
        Self(stanzas)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stanza> {
        self.0.iter()
    }

    /// Whether any of them opens something there.
    pub fn needs_firewall(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|stanza| stanza.cycle.is_none())
    }

    /// The stanzas that are for packets from there: never empty.
    pub fn candidates(&self, origin: &Origin) -> Result<Vec<&Stanza>, Reason> {
        let stanzas: Vec<&Stanza> = self.0.iter().filter(|stanza| stanza.is_for(origin)).collect();
        if stanzas.is_empty() { Err(Reason::NoSourceMatch) } else { Ok(stanzas) }
    }
}
