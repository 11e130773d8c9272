//! How long knocks get: for a server whose key is known, with any key that could sign them.

use super::super::compose::{self, Allow};
use super::super::knock::{circumstances, route};
use super::super::options::Options;
use super::super::room::Size;
use crate::cli::keys::Finding;
use crate::crypto::openpgp::sequoia::{About, Own};
use crate::crypto::openpgp::size::{KeyKind, Pair, UNFRAGMENTED};
use crate::spa::Digest;

/// All that decides on the length of a knock, but who signs it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the user calls the server.
    pub name: String,
    recipient: KeyKind,
    text: usize,
    digest: Digest,
    hmac: Option<Digest>,
    room: usize,
}

impl Target {
    /// A server as a stanza describes it. `None`: no packet can be made for such a key.
    pub fn of(name: &str, options: &Options, recipient: &About) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            recipient: recipient.encrypting()?.kind?,
            text: text(options)?,
            digest: options.ask.digest,
            hmac: options.hmac,
            room: route(options, options.send.port).room(),
        })
    }

    pub fn size(&self, signer: KeyKind) -> Size {
        let pair = Pair { recipient: self.recipient, signer: Some(signer) };
        Size { pair, text: self.text, digest: self.digest, hmac: self.hmac }
    }

    /// Characters of a knock signed by this key, at most. `None`: it does not sign.
    pub fn length(&self, own: &Own) -> Option<usize> {
        Some(self.size(own.signing()?.0.kind?).characters())
    }

    pub fn fits(&self, length: usize) -> bool {
        length <= self.room
    }

    /// What is wrong with the length of knocks signed by a key.
    pub fn finding(&self, own: &Own) -> Option<Finding> {
        let size = self.size(own.signing()?.0.kind?);
        let length = size.characters();
        let advice = |room| {
            let ways = size.what_fits(room);
            ways.unwrap_or_else(|| "ask for less, or make the names shorter".to_owned())
        };
        let name = &self.name;
        match length {
            _ if length > self.room => Some(Finding::new(
                format!(
                    "knocks at {name} would be {length} characters long, but only {} arrive in one piece",
                    self.room
                ),
                advice(self.room),
            )),
            _ if length > UNFRAGMENTED => Some(Finding::new(
                format!(
                    "knocks at {name} have {length} characters; over {UNFRAGMENTED} they may be cut in pieces and lost"
                ),
                advice(UNFRAGMENTED),
            )),
            _ => None,
        }
    }
}

/// Bytes of the plaintext. What the stanza leaves to the command line is taken to be as short as usual.
fn text(options: &Options) -> Option<usize> {
    let mut ask = compose::Ask { command: None, ..options.ask.clone() };
    ask.allow.get_or_insert(Allow::SOURCE);
    if ask.ports.is_none() {
        ask.ports = "tcp/22".parse().ok();
    }
    let message = compose::compose(&ask, circumstances().ok()?).ok()?;
    Some(message.encode().ok()?.expose().len())
}
