//! Configuration: what was said, then what it means.

pub mod access_table;
mod address;
mod complaint;
mod date;
mod facility;
pub mod fwknop;
mod port;
pub mod raw;
mod rc;
pub mod server_table;
mod setting;
mod source;
mod value;
mod variable;

pub use complaint::{Complaint, Complaints, Fault, Place, Severity};
pub use facility::{Facility, UnknownFacility};
pub use rc::{Section, parse_sections, read_sections};
pub use setting::{Setting, Settings};
pub use source::Syntax;
pub use value::{Checked, Kind};
pub use variable::{State, Table, Variable};
