//! What a message may consist of. A knock is small and simple; whatever is not was made to cost us something.

use sequoia_openpgp::packet::Tag;
use sequoia_openpgp::{Error, Packet, Result};

/// Counts the packets of one message.
pub struct Bounds {
    session_keys: usize,
    containers: usize,
    compressions: usize,
    signatures: usize,
    others: usize,
}

impl Bounds {
    /// The longest plaintext, in bytes: what a server takes (`spec/wire.md` 2.9).
    pub const PLAINTEXT: usize = 1500;

    /// More do not fit the 1500 characters of a datagram.
    pub(super) const SESSION_KEYS: usize = 128;

    /// One-pass headers and signatures together: four signers.
    const SIGNATURES: usize = 8;

    /// Literal data, modification detection code, and some padding.
    const OTHERS: usize = 4;

    pub(super) fn new() -> Self {
        Self { session_keys: 0, containers: 0, compressions: 0, signatures: 0, others: 0 }
    }

    /// Called for each packet before its content is read.
    pub(super) fn admit(&mut self, packet: &Packet) -> Result<()> {
        let inside = self.containers > 0;
        let (count, most) = match packet.tag() {
            Tag::PKESK if !inside => (&mut self.session_keys, Self::SESSION_KEYS),
            Tag::SEIP if !inside => (&mut self.containers, 1),
            Tag::CompressedData if inside => (&mut self.compressions, 1),
            Tag::OnePassSig | Tag::Signature if inside => (&mut self.signatures, Self::SIGNATURES),
            Tag::Literal | Tag::MDC | Tag::Padding if inside => (&mut self.others, Self::OTHERS),
            other => return Err(Error::MalformedMessage(format!("unexpected {other}")).into()),
        };
        *count += 1;
        if *count > most {
            return Err(Error::MalformedMessage(format!("too many {}", packet.tag())).into());
        }
        Ok(())
    }
}
