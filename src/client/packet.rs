//! One packet: message, seal, text; and the check of `-T`, which reads it as a server would.

use super::keys::{Keys, SealKey};
use super::options::Scheme;
use super::table::FieldTable;
use crate::access::Stanza;
use crate::crypto::hmac::HmacAuth;
use crate::crypto::rijndael::{self, RijndaelAuth};
use crate::crypto::seal::{self, SealError, WireText};
use crate::crypto::unseal::{Keyrings, Unsealing};
use crate::grant::StanzaId;
use crate::net::AddrSet;
use crate::spa::{Envelope, HttpRules, Message, MessageError, Request};
use crate::time::Lifetime;

/// A sealed message.
#[derive(Debug)]
pub struct Packet {
    message: Message,
    text: WireText,
    hmac: Option<HmacAuth>,
    seal: SealKey,
}

/// Why a packet cannot be made, or is not what it should be. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error("the request cannot be sent: {0}\n     ask for less, or make the names shorter")]
    Message(#[from] MessageError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the packet made cannot be read again: {0}\n     this is a mistake in fwknop; please report it")]
    Check(crate::reason::Reason),
    #[error("GnuPG encryption is not supported yet\n     use a shared key")]
    OpenPgp,
}

impl Packet {
    pub fn seal(message: Message, _scheme: &Scheme, keys: Keys) -> Result<Self, PacketError> {
        let plaintext = message.encode()?;
        let Keys { seal, hmac } = keys;
        let text = match &seal {
            SealKey::Rijndael(auth) => seal::rijndael(&plaintext, auth, hmac.as_ref())?,
            SealKey::OpenPgp(_) => return Err(PacketError::OpenPgp),
        };
        Ok(Self { message, text, hmac, seal })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn table<'a>(&'a self, scheme: &'a Scheme) -> Result<FieldTable<'a>, PacketError> {
        Ok(FieldTable::new(&self.message, scheme, self.hmac.as_ref().map(HmacAuth::digest), &self.text)?)
    }

    pub fn decoded_table<'a>(&'a self, again: &'a Message, scheme: &'a Scheme) -> Result<FieldTable<'a>, PacketError> {
        let hmac = self.hmac.as_ref().map(HmacAuth::digest);
        Ok(FieldTable::new(again, scheme, hmac, &self.text)?.decoded())
    }

    /// What a user may want to know about the packet's size.
    pub fn notes(&self, _verbose: u8) -> Vec<String> {
        let mut notes = Vec::new();
        let tag = self.hmac.as_ref().map_or(0, HmacAuth::tag_len);
        let counted = match self.message.request {
            Request::Command { .. } => self.text.len() - tag + rijndael::PREFIX.len(),
            _ => self.text.len(),
        };
        if counted >= RIJNDAEL_MAX {
            notes.push(format!(
                "note: a server of the original takes a packet of {} characters for GnuPG and drops it",
                self.text.len()
            ));
        }
        notes
    }

    /// Reads the packet with the keys that made it.
    pub fn check(&self) -> Result<Message, PacketError> {
        let failed = PacketError::Check;
        let envelope = Envelope::recognise(self.text.as_bytes(), HttpRules::default()).map_err(failed)?;
        let SealKey::Rijndael(auth) = &self.seal else { return Err(PacketError::OpenPgp) };
        let keyrings = Keyrings::default();
        let stanza = stanza_with(auth, self.hmac.clone());
        let mut unsealing = Unsealing::new(&envelope, &keyrings, self.message.time);
        let plaintext = unsealing.unseal(&stanza).map_err(failed)?;
        Message::decode(plaintext.value().expose()).map_err(failed)
    }
}

/// The stanza of a server that has our keys.
fn stanza_with(auth: &RijndaelAuth, hmac: Option<HmacAuth>) -> Stanza {
    const ONE_SECOND: Lifetime = Lifetime::from_secs(1).expect("one is not zero");
    Stanza {
        id: StanzaId(0),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: None,
        restrict_ports: None,
        rijndael: Some(auth.clone()),
        openpgp: None,
        hmac,
        timeout: ONE_SECOND,
        max_timeout: ONE_SECOND,
        require_username: None,
        require_source_address: false,
        expires: None,
    }
}

/// From this length on the original takes a text for OpenPGP (`spec/wire.md` 7.3).
const RIJNDAEL_MAX: usize = 400;
