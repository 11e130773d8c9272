//! A message for trying a key.

use std::io::Write;

use sequoia_openpgp as pgp;

use pgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use pgp::types::Features;

use super::Keys;
use super::keys::handle_of;
use crate::crypto::openpgp::Fingerprint;

impl Keys {
    /// An unsigned message to this key and no other: whoever reads it can use the key. `None`: there is no such key, or
    /// nothing can be encrypted to it here.
    pub fn probe(&self, key: &Fingerprint) -> Option<Vec<u8>> {
        let handle = handle_of(key)?;
        let key = self.named(std::slice::from_ref(&handle)).next()?.key().clone();
        let seal = || -> pgp::Result<Vec<u8>> {
            let mut sealed = Vec::new();
            let recipient = Recipient::new(Features::empty().set_seipdv1(), key.key_handle(), &key);
            let message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build()?;
            let mut literal = LiteralWriter::new(message).build()?;
            literal.write_all(b"probe")?;
            literal.finalize()?;
            Ok(sealed)
        };
        seal().ok()
    }
}
