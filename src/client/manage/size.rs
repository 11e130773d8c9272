//! How long knocks get: for a server whose key is known, with any key that could sign them.

use std::net::{IpAddr, Ipv4Addr};

use super::super::compose;
use super::super::knock::{circumstances, route};
use super::super::options::Options;
use crate::cli::keys::Finding;
use crate::cli::size::Size;
use crate::crypto::openpgp::sequoia::{About, Own};
use crate::crypto::openpgp::size::{KeyKind, Pair};
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
            room: route(options).room(),
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
        self.size(own.signing()?.0.kind?).finding(&self.name, self.room)
    }
}

/// Bytes of the plaintext. What the stanza leaves to the command line is taken to be as short as usual.
fn text(options: &Options) -> Option<usize> {
    let mut ask = compose::Ask { command: None, ..options.ask.clone() };
    // What will be found out is no longer than this.
    let unknown = if options.look_up.is_some() { Ipv4Addr::BROADCAST } else { Ipv4Addr::UNSPECIFIED };
    ask.allow.get_or_insert(IpAddr::V4(unknown));
    if ask.ports.is_none() {
        ask.ports = "tcp/22".parse().ok();
    }
    let message = compose::compose(&ask, circumstances().ok()?).ok()?;
    Some(message.encode().ok()?.expose().len())
}
