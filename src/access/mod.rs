//! Who may ask for what: stanzas in file order, and the decision on a message.

mod decide;
mod stanza;

pub use decide::Decision;
pub use stanza::{OpenPgpAccess, Stanza};
