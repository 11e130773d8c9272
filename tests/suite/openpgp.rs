//! OpenPGP with the test keys of the vectors and with GnuPG as the peer.

mod exchange;
mod keyring;
mod matrix;
mod sizes;
pub mod vectors;
