//! From a recognised packet to an authenticated plaintext, by the keys of one stanza.
//!
//! Order: the tag first, where the stanza demands one: a forgery costs a hash, not a decryption, and no public-key
//! work. Then whichever scheme the stanza has keys for and the text has the shape of; unlike the original, which goes by
//! length alone (`spec/wire.md` 7.3), a long Rijndael packet and a short OpenPGP one are both read.
//!
//! An OpenPGP message is decrypted once per packet, whatever the number of stanzas; each stanza then judges the signer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::openpgp::framing::{self, Prefix};
use super::openpgp::{Engine, KeyringId, Opened};
use super::{Authenticated, Signer, rijndael};
use crate::access::{OpenPgpAccess, Stanza};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::spa::Envelope;
use crate::time::Timestamp;

/// The keyrings of the daemon: one engine each, named by [`KeyringId`].
#[derive(Default)]
pub struct Keyrings(Vec<Box<dyn Engine + Send>>);

impl Keyrings {
    pub fn add(&mut self, engine: Box<dyn Engine + Send>) -> KeyringId {
        self.0.push(engine);
        KeyringId(self.0.len() - 1)
    }

    fn engine(&self, id: KeyringId) -> Result<&(dyn Engine + Send), Reason> {
        self.0.get(id.0).map(AsRef::as_ref).ok_or(Reason::NoKey)
    }
}

/// One packet on its way through the stanzas.
pub struct Unsealing<'a> {
    envelope: &'a Envelope,
    keyrings: &'a Keyrings,
    now: Timestamp,
    /// The messages that the text can be, for each length of its body: one per tag length.
    candidates: Vec<(usize, Readings)>,
    /// What has been decrypted already. Few: one per keyring and tag length.
    opened: Vec<(KeyringId, Vec<u8>, Result<Opened, Reason>)>,
}

/// The messages that a body can stand for.
type Readings = Vec<(Prefix, Vec<u8>)>;

impl<'a> Unsealing<'a> {
    pub fn new(envelope: &'a Envelope, keyrings: &'a Keyrings, now: Timestamp) -> Self {
        Self { envelope, keyrings, now, candidates: Vec::new(), opened: Vec::new() }
    }

    /// Authenticates and decrypts with the keys of `stanza`.
    pub fn unseal(&mut self, stanza: &Stanza) -> Result<Authenticated<Secret<Vec<u8>>>, Reason> {
        let envelope = self.envelope;
        let (body, tag) = match &stanza.hmac {
            None => (envelope.text(), None),
            Some(hmac) => {
                let (body, tag) = envelope.split_tag(hmac.tag_len())?;
                (body, Some((hmac, tag)))
            }
        };
        let genuine = |prefix: &str| tag.is_none_or(|(hmac, tag)| hmac.verify(prefix, body, tag));

        let mut refusal = Reason::NoKey;
        if let Some(auth) = &stanza.rijndael
            && rijndael::fits(body)
        {
            match genuine(rijndael::PREFIX).then(|| open_rijndael(auth, body)) {
                Some(Ok(plaintext)) => return Ok(Authenticated { value: plaintext, by: Signer::SharedKey }),
                Some(Err(reason)) => refusal = reason,
                None => refusal = Reason::HmacMismatch,
            }
        }
        if let Some(access) = &stanza.openpgp {
            let candidates = self.candidates(body);
            match candidates.iter().find(|(prefix, _)| genuine(prefix.as_str())) {
                Some((_, message)) => {
                    let message = message.clone();
                    return self.open_openpgp(access, message);
                }
                None if tag.is_some() => refusal = Reason::HmacMismatch,
                // Shorter text is hardly ever OpenPGP (`spec/wire.md` 5.3): more likely meant for another stanza.
                None if refusal == Reason::NoKey && body.len() >= SHORT_OPENPGP => refusal = Reason::GpgDecrypt,
                None => {}
            }
        }
        match refusal {
            // A tag is demanded, and what is there does not even have the shape of something it could be over.
            Reason::NoKey if tag.is_some() => Err(Reason::HmacMismatch),
            reason => Err(reason),
        }
    }

    fn candidates(&mut self, body: &str) -> &[(Prefix, Vec<u8>)] {
        let known = self.candidates.iter().position(|(length, _)| *length == body.len());
        let at = known.unwrap_or_else(|| {
            self.candidates.push((body.len(), framing::candidates(body)));
            self.candidates.len() - 1
        });
        &self.candidates[at].1
    }

    fn open_openpgp(
        &mut self,
        access: &OpenPgpAccess,
        message: Vec<u8>,
    ) -> Result<Authenticated<Secret<Vec<u8>>>, Reason> {
        let opened = self.opened(access.keyring, message)?.as_ref().map_err(Clone::clone)?;
        access.recipient.judge(opened.recipient.as_ref())?;
        let by = access.signer.judge(opened)?;
        Ok(Authenticated { value: opened.plaintext.clone(), by })
    }

    fn opened(&mut self, keyring: KeyringId, message: Vec<u8>) -> Result<&Result<Opened, Reason>, Reason> {
        let known = self.opened.iter().position(|(id, bytes, _)| *id == keyring && *bytes == message);
        let at = match known {
            Some(at) => at,
            None => {
                let result = self.keyrings.engine(keyring)?.open(&message, self.now);
                self.opened.push((keyring, message, result));
                self.opened.len() - 1
            }
        };
        Ok(&self.opened[at].2)
    }
}

/// Decodes strictly: unused bits must be zero, or the same packet could be spelled in several ways.
fn open_rijndael(auth: &rijndael::RijndaelAuth, body: &str) -> Result<Secret<Vec<u8>>, Reason> {
    let text = [rijndael::PREFIX, body].concat();
    let binary = STANDARD_NO_PAD.decode(text).map_err(|error| match error {
        base64::DecodeError::InvalidLastSymbol { .. } => Reason::NotCanonical,
        _ => Reason::CiphertextBase64,
    })?;
    auth.open(&binary)
}

/// Signed messages are longer than this.
const SHORT_OPENPGP: usize = 400;
