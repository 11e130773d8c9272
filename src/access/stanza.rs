//! One stanza of the access files: who, whence, what, how long.

use std::sync::Arc;

use super::NatRule;
use crate::crypto::hmac::HmacAuth;
use crate::crypto::openpgp::{KeyringId, RecipientRule, SignerRule};
use crate::crypto::rijndael::RijndaelAuth;
use crate::grant::{CommandCycle, RunAs, StanzaId};
use crate::net::{AddrSet, PortSet};
use crate::time::{Lifetime, Timestamp};

/// One stanza, checked and resolved: no text is left to be interpreted.
#[derive(Clone, Debug)]
pub struct Stanza {
    pub id: StanzaId,
    /// For people: its file's name, and which one of it, if there are several.
    pub name: Arc<str>,
    /// Matches the packet's source address, never the address inside the message.
    pub source: AddrSet,
    pub destination: AddrSet,
    /// `None`: every port may be asked for.
    pub open_ports: Option<PortSet>,
    pub restrict_ports: Option<PortSet>,
    pub rijndael: Option<RijndaelAuth>,
    pub openpgp: Option<OpenPgpAccess>,
    /// When set, every packet for this stanza must carry a valid tag.
    pub hmac: Option<HmacAuth>,
    pub timeout: Lifetime,
    pub max_timeout: Lifetime,
    pub require_username: Option<String>,
    pub require_source_address: bool,
    pub expires: Option<Timestamp>,
    pub nat: NatRule,
    /// `ENABLE_DESTINATION_RULE`: open only under the address the packet was sent to.
    pub only_destination: bool,
    /// How commands are run. `None`: they are refused.
    pub commands: Option<RunAs>,
    /// What is run instead of changing the firewall.
    pub cycle: Option<CommandCycle>,
}

/// How a stanza takes OpenPGP packets.
#[derive(Clone, Debug)]
pub struct OpenPgpAccess {
    /// Which of the loaded keyrings decrypts and verifies.
    pub keyring: KeyringId,
    pub recipient: RecipientRule,
    pub signer: SignerRule,
}
