//! The firewall: opens what was granted, closes it again, and cleans up.

mod settings;

pub use settings::{BackendName, Family, FirewallSettings, InputAccess, InputAccessError, Name};
