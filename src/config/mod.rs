//! Configuration: stub

mod facility;

pub use facility::{Facility, UnknownFacility};
