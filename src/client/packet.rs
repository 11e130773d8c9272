//! One packet: message, seal, text; and the check of `-T`, which reads it as a server would.

use super::keys::{Keys, SealKey};
use super::options::Scheme;
use super::table::FieldTable;
use crate::access::{NatRule, Stanza};
use crate::cli::size::Size;
use crate::crypto::hmac::HmacAuth;
use crate::crypto::openpgp;
use crate::crypto::openpgp::framing::{self, Prefix};
use crate::crypto::openpgp::size::UNFRAGMENTED;
use crate::crypto::rijndael::{self, RijndaelAuth};
use crate::crypto::seal::{self, SealError, WireText};
use crate::crypto::unseal::{Keyrings, Unsealing};
use crate::grant::StanzaId;
use crate::net::AddrSet;
use crate::reason::Reason;
use crate::spa::{Envelope, HttpRules, Message, MessageError, Request};
use crate::time::Lifetime;

/// A sealed message.
pub struct Packet {
    message: Message,
    text: WireText,
    hmac: Option<HmacAuth>,
    seal: SealKey,
    /// Of an OpenPGP message, whose keys are of a known kind.
    size: Option<Size>,
}

/// Why a packet cannot be made, or is not what it should be. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    #[error("the request cannot be sent: {0}\n     ask for less, or make the names shorter")]
    Message(#[from] MessageError),
    #[error(transparent)]
    OpenPgp(#[from] openpgp::SealError),
    #[error("the packet would be {length} characters long, but only {room} arrive in one piece\n     {advice}")]
    TooLong { length: usize, room: usize, advice: String },
    #[error(transparent)]
    Seal(SealError),
    #[error("the packet made cannot be read again: {0}\n     this is a mistake in fwknop; please report it")]
    Check(Reason),
}

impl Packet {
    /// Refuses what is longer than `room`, and that before a signature is asked for.
    pub fn seal(message: Message, keys: Keys, room: usize) -> Result<Self, PacketError> {
        let plaintext = message.encode()?;
        let Keys { seal, hmac } = keys;
        let pair = match &seal {
            SealKey::OpenPgp(sealer) => sealer.pair(),
            SealKey::Rijndael(_) => None,
        };
        let (digest, hmac_digest) = (message.digest, hmac.as_ref().map(HmacAuth::digest));
        let size = pair.map(|pair| Size { pair, text: plaintext.expose().len(), digest, hmac: hmac_digest });
        let fitting = |length: usize| match length <= room {
            true => Ok(()),
            false => {
                let advice = size.and_then(|size| size.what_fits(room));
                Err(PacketError::TooLong { length, room, advice: advice.unwrap_or_else(|| SHORTER.to_owned()) })
            }
        };
        size.map_or(Ok(()), |size| fitting(size.characters()))?;
        let text = match &seal {
            SealKey::Rijndael(auth) => seal::rijndael(&plaintext, auth, hmac.as_ref()),
            SealKey::OpenPgp(sealer) => seal::openpgp(sealer.seal(plaintext.expose())?, hmac.as_ref()),
        };
        match text {
            Ok(text) => {
                fitting(text.len())?;
                Ok(Self { message, text, hmac, seal, size })
            }
            Err(SealError::TooLong(length)) => fitting(length).and(Err(PacketError::Seal(SealError::TooLong(length)))),
            Err(other) => Err(PacketError::Seal(other)),
        }
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
    pub fn notes(&self, verbose: u8) -> Vec<String> {
        let (length, mut notes) = (self.text.len(), Vec::new());
        match &self.seal {
            SealKey::Rijndael(_) if self.original_counts() >= OPENPGP_MIN => notes.push(format!(
                "note: a server of the original takes a packet of {length} characters for GnuPG and drops it"
            )),
            _ => {}
        }
        if verbose > 0 && length > UNFRAGMENTED {
            let mut note = format!(
                "note: the packet has {length} characters; over {UNFRAGMENTED} it may be fragmented on the way and lost"
            );
            if let Some(advice) = self.size.and_then(|size| size.what_fits(UNFRAGMENTED)) {
                note.push_str(&format!("\n     {advice}"));
            }
            notes.push(note);
        }
        notes
    }

    /// The length by which the original tells the schemes apart; command messages are counted in another way.
    fn original_counts(&self) -> usize {
        let tag = self.hmac.as_ref().map_or(0, HmacAuth::tag_len);
        match self.message.request {
            Request::Command { .. } => self.text.len() - tag + rijndael::PREFIX.len(),
            _ => self.text.len(),
        }
    }

    /// Reads the packet as a server would, with the keys that made it. `None`: only the server can decrypt it, but up to
    /// there it is as it should be.
    pub fn check(&self) -> Result<Option<Message>, PacketError> {
        let failed = PacketError::Check;
        let envelope = Envelope::recognise(self.text.as_bytes(), HttpRules::default()).map_err(failed)?;
        match &self.seal {
            SealKey::Rijndael(auth) => {
                let keyrings = Keyrings::default();
                let stanza = stanza_with(auth, self.hmac.clone());
                let mut unsealing = Unsealing::new(&envelope, &keyrings);
                let plaintext = unsealing.unseal(&stanza, self.message.time).map_err(failed)?;
                Message::decode(plaintext.value().expose()).map(Some).map_err(failed)
            }
            SealKey::OpenPgp(_) => self.check_outside(&envelope).map(|()| None).map_err(failed),
        }
    }

    /// Tag and framing, which is all that can be seen of an OpenPGP message without the server's key.
    fn check_outside(&self, envelope: &Envelope) -> Result<(), Reason> {
        let standard = Prefix::STANDARD;
        let body = match &self.hmac {
            None => envelope.text(),
            Some(hmac) => {
                let (body, tag) = envelope.split_tag(hmac.tag_len())?;
                if !hmac.verify(standard.as_str(), body, tag) {
                    return Err(Reason::HmacMismatch);
                }
                body
            }
        };
        let is_readable = framing::candidates(body).iter().any(|(prefix, _)| prefix.as_str() == standard.as_str());
        if is_readable { Ok(()) } else { Err(Reason::GpgDecrypt) }
    }
}

/// The stanza of a server that has our keys.
fn stanza_with(auth: &RijndaelAuth, hmac: Option<HmacAuth>) -> Stanza {
    const ONE_SECOND: Lifetime = Lifetime::from_secs(1).expect("one is not zero");
    Stanza {
        id: StanzaId(0),
        name: "access".into(),
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
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    }
}

/// From this length on the original takes a text for OpenPGP (`spec/wire.md` 7.3).
const OPENPGP_MIN: usize = 400;

/// What remains when no other key or digest helps.
const SHORTER: &str = "ask for less, or make the names shorter";
