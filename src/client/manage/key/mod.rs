//! `fwknop key`: what can sign here, new keys, and the keys of servers.

mod check;
mod exchange;
mod generate;
mod list;
mod qr;

use clap::Subcommand;

pub use exchange::{add_import, consent_with, refuse_unusable};

use crate::cli::keys::Ended;
use crate::time::Timestamp;

#[derive(Debug, Subcommand)]
pub enum Key {
    /// What can sign here: key, subkey, expiry, where the secret is, and how long knocks get
    List(list::List),
    /// Make a key that signs knocks; gpg-agent asks for its passphrase
    Generate(generate::Generate),
    /// Write a public certificate, for a server's administrator
    Export(exchange::Export),
    /// Take a server's certificate into the keyring
    Import(exchange::Import),
    /// Remove a server's certificate from the keyring
    Remove(exchange::Remove),
    /// Tell what has expired or soon will, is weak, cannot sign, or makes knocks too long
    Check(check::Check),
    /// Show a certificate, or a stanza with its keys, as a QR code
    Qr(qr::Qr),
}

impl Key {
    pub fn run(self) -> Result<(), Ended> {
        let now = Timestamp::now();
        match self {
            Key::List(list) => list.run(now),
            Key::Generate(generate) => generate.run(now),
            Key::Export(export) => export.run(now),
            Key::Import(import) => import.run(now),
            Key::Remove(remove) => remove.run(now),
            Key::Check(check) => check.run(now),
            Key::Qr(qr) => qr.run(now),
        }
    }
}
