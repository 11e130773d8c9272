//! Configuration: what was said, then what it means.
//!
//! Three files (`fwknopd.conf`, `access.conf`, the client's rc file) in two syntaxes: the original's lines, read by the
//! serde format in [`fwknop`], or TOML, chosen by the extension `.toml`. Both deserialize into one raw model ([`raw`]) in
//! which every entry keeps its place. The steps, each of which goes on after a mistake so that all are reported:
//!
//! 1. a file is read, its permissions checked (`source.rs`), its text split into entries (`fwknop/`, or toml);
//! 2. each entry is checked against a table of variables (`server_table.rs`, `access_table.rs`; kinds in `value.rs`):
//!    misspelt names, wrong values, what is not supported;
//! 3. what is left is turned into domain types (`server.rs`, `access.rs`): [`ServerSettings`], and the stanzas of
//!    [`AccessTable`](crate::access::AccessTable).
//!
//! After that no text is left to be interpreted. Nothing is changed by loading: a daemon that reloads keeps its old
//! settings when there is any mistake in the new ones. No [`Complaint`] shows a key or passphrase.

mod access;
pub mod access_table;
mod accounts;
mod address;
mod backend;
mod bsd;
mod complaint;
mod date;
mod facility;
pub mod fwknop;
mod include;
mod keyrings;
mod port;
pub mod raw;
mod rc;
mod server;
pub mod server_table;
mod setting;
mod source;
mod tables;
mod toml_rc;
mod value;
mod variable;

pub use access::{load, load_access, parse_access};
pub use complaint::{Complaint, Complaints, Fault, Place, Severity};
pub use date::parse_any as parse_date;
pub use facility::{Facility, UnknownFacility};
pub use keyrings::{KeyringPlace, KeyringSource, Keyrings, OpenedKeyring};
pub use rc::{Section, parse_sections, rc_line, read_sections};
pub use server::{
    AccessPlace, CaptureFrom, CaptureSettings, CommandSettings, EngineChoice, JournalSettings, LoadOptions,
    NatSettings, Override, SecretKeys, ServerSettings, load_server, parse_server,
};
pub use setting::{Setting, Settings};
pub use source::Syntax;
pub use toml_rc::{TomlTable, toml_line, toml_tables, toml_text};
pub use value::{Checked, Kind};
pub use variable::{State, Table, Variable};
