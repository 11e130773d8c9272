//! Whom a message says it is for, before anything is spent on it.

use sequoia_openpgp as pgp;

use pgp::parse::{PacketParser, PacketParserResult, Parse};
use pgp::{KeyHandle, Packet};

use super::Bounds;
use super::keys::handle_of;
use crate::crypto::openpgp::{Fingerprint, KeyPath, framing};

/// The recipients that stand in front of a message.
#[derive(Clone, Debug, Default)]
pub struct Addressed {
    named: Vec<KeyHandle>,
    /// Somebody is meant who is not named.
    pub hidden: bool,
}

impl Addressed {
    /// `None`: no session keys with one protected container behind them.
    pub fn read(message: &[u8]) -> Option<Self> {
        if !framing::plausible(message) {
            return None;
        }
        let mut addressed = Self::default();
        let mut parser = PacketParser::from_bytes(message).ok()?;
        for _ in 0..=Bounds::SESSION_KEYS {
            let PacketParserResult::Some(packet) = parser else { return None };
            match &packet.packet {
                Packet::PKESK(session_key) => match session_key.recipient() {
                    Some(id) => addressed.named.push(id),
                    None => addressed.hidden = true,
                },
                // Protected, or it would not be plausible.
                _ => return Some(addressed),
            }
            parser = packet.next().ok()?.1;
        }
        None
    }

    /// Those of `keys` that are named.
    pub fn among<'k>(&self, keys: &'k [KeyPath]) -> Vec<&'k KeyPath> {
        let named = |key: &Fingerprint| handle_of(key).is_some_and(|key| self.named.iter().any(|id| id.aliases(&key)));
        keys.iter().filter(|path| named(&path.key)).collect()
    }
}
