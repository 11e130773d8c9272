//! OpenPGP with the test keys of the vectors and with GnuPG as the peer.

mod broken;
mod cards;
mod engines;
mod exchange;
mod keyring;
mod left_to_agent;
pub mod matrix;
mod settings;
mod sizes;
pub mod vectors;
