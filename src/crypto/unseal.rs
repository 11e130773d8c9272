//! From a recognised packet to an authenticated plaintext, by the keys of one stanza.
//!
//! Order: the tag first, where the stanza demands one: a forgery costs a hash, not a decryption, and no public-key
//! work. Then whichever scheme the stanza has keys for and the text has the shape of; unlike the original, which goes by
//! length alone (`spec/wire.md` 7.3), a long Rijndael packet and a short OpenPGP one are both read.
//!
//! An OpenPGP message is decrypted once per packet, whatever the number of stanzas; each stanza then judges the signer.
//! That is the one thing here that takes long, so it can be done elsewhere: [`Unsealing::try_unseal`] says what it lacks,
//! and goes on when it is called again with what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::hmac::Mark;
use super::openpgp::framing::{self, Prefix};
use super::openpgp::{Engine, KeyringId, News, Opened};
use super::{Authenticated, Signer, rijndael};
use crate::access::{OpenPgpAccess, Stanza};
use crate::reason::Reason;
use crate::secret::Secret;
use crate::spa::Envelope;
use crate::time::Timestamp;

/// The keyrings of the daemon: one engine each, named by [`KeyringId`].
#[derive(Default)]
pub struct Keyrings(Vec<Arc<dyn Engine>>);

impl Keyrings {
    pub fn add(&mut self, engine: Box<dyn Engine>) -> KeyringId {
        self.0.push(engine.into());
        KeyringId(self.0.len() - 1)
    }

    /// What the operator should know, each told once.
    pub fn take_news(&self) -> Vec<News> {
        self.0.iter().filter_map(|engine| engine.take_news()).collect()
    }
}

/// One packet on its way through the stanzas.
pub struct Unsealing<'a> {
    envelope: &'a Envelope,
    keyrings: &'a Keyrings,
    /// The messages that the text can be, for each length of its body: one per tag length.
    candidates: Vec<(usize, Readings)>,
    /// What has been decrypted already. Few: one per keyring and tag length.
    decrypted: Vec<Decrypted>,
    /// Whose tag fits, as soon as that is known: nobody else's can.
    tagged: Option<Mark>,
}

/// The messages that a body can stand for.
type Readings = Vec<(Prefix, Vec<u8>)>;

/// Public-key work that must be done before a stanza can say more.
pub struct Work {
    keyring: KeyringId,
    engine: Arc<dyn Engine>,
    message: Vec<u8>,
    /// The text carries a valid tag: whoever sent it knows a key of ours.
    pub trusted: bool,
}

/// What came of it.
pub struct Decrypted {
    keyring: KeyringId,
    message: Vec<u8>,
    opened: Result<Opened, Reason>,
}

/// Why there is no plaintext.
pub enum Sealed {
    Refused(Reason),
    /// Not yet.
    Undecrypted(Work),
}

impl Work {
    /// The only thing here that takes long.
    pub fn run(self, now: Timestamp) -> Decrypted {
        let Self { keyring, engine, message, .. } = self;
        // A fault in somebody's library, which a stranger may know to provoke, must cost no more than the packet.
        let opened = catch_unwind(AssertUnwindSafe(|| engine.open(&message, now)));
        Decrypted { keyring, message, opened: opened.unwrap_or(Err(Reason::GpgDecrypt)) }
    }
}

impl<'a> Unsealing<'a> {
    pub fn new(envelope: &'a Envelope, keyrings: &'a Keyrings) -> Self {
        Self { envelope, keyrings, candidates: Vec::new(), decrypted: Vec::new(), tagged: None }
    }

    /// Takes up what was found out about this packet before, with the same keyrings.
    pub fn knowing(self, decrypted: Vec<Decrypted>) -> Self {
        Self { decrypted, ..self }
    }

    /// Looks at the tag with the key of this stanza first. If it fits, the packet costs one HMAC, whatever the number of
    /// stanzas; all else is as without.
    pub fn expecting(mut self, stanza: &Stanza) -> Self {
        if let Some(hmac) = &stanza.hmac
            && let Ok((body, tag)) = self.envelope.split_tag(hmac.tag_len())
        {
            let mut prefixes = Vec::new();
            if stanza.rijndael.is_some() {
                prefixes.push(rijndael::PREFIX.to_owned());
            }
            if stanza.openpgp.is_some() {
                prefixes.extend(self.candidates(body).iter().map(|(prefix, _)| prefix.to_string()));
            }
            self.tagged = prefixes.iter().any(|prefix| hmac.verify(prefix, body, tag)).then(|| hmac.mark());
        }
        self
    }

    /// Authenticates and decrypts with the keys of `stanza`, however long it takes.
    pub fn unseal(&mut self, stanza: &Stanza, now: Timestamp) -> Result<Authenticated<Secret<Vec<u8>>>, Reason> {
        loop {
            match self.try_unseal(stanza) {
                Ok(plaintext) => return Ok(plaintext),
                Err(Sealed::Refused(reason)) => return Err(reason),
                Err(Sealed::Undecrypted(work)) => self.decrypted.push(work.run(now)),
            }
        }
    }

    /// What is known of this packet now.
    pub fn into_decrypted(self) -> Vec<Decrypted> {
        self.decrypted
    }

    /// Authenticates, and decrypts as far as that needs no public-key work that has not been done.
    pub fn try_unseal(&mut self, stanza: &Stanza) -> Result<Authenticated<Secret<Vec<u8>>>, Sealed> {
        let envelope = self.envelope;
        let (body, tag) = match &stanza.hmac {
            None => (envelope.text(), None),
            Some(hmac) => {
                let (body, tag) = envelope.split_tag(hmac.tag_len())?;
                (body, Some((hmac, tag)))
            }
        };
        if let (Some((hmac, _)), Some(tagged)) = (tag, self.tagged)
            && hmac.mark() != tagged
        {
            return Err(Reason::HmacMismatch.into());
        }
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
            match self.candidates(body).iter().position(|(prefix, _)| genuine(prefix.as_str())) {
                Some(at) => {
                    self.tagged = self.tagged.or(tag.map(|(hmac, _)| hmac.mark()));
                    return self.open_openpgp(access, self.message(body, at)?, tag.is_some());
                }
                None if tag.is_some() => refusal = Reason::HmacMismatch,
                // Shorter text is hardly ever OpenPGP (`spec/wire.md` 5.3): more likely meant for another stanza.
                None if refusal == Reason::NoKey && body.len() >= SHORT_OPENPGP => refusal = Reason::GpgDecrypt,
                None => {}
            }
        }
        match refusal {
            // A tag is demanded, and what is there does not even have the shape of something it could be over.
            Reason::NoKey if tag.is_some() => Err(Reason::HmacMismatch.into()),
            reason => Err(reason.into()),
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

    /// One of the candidates.
    fn message(&self, body: &str, at: usize) -> Result<&[u8], Reason> {
        let readings = self.candidates.iter().find(|(length, _)| *length == body.len());
        readings.and_then(|(_, readings)| readings.get(at)).map(|(_, message)| &message[..]).ok_or(Reason::GpgDecrypt)
    }

    fn open_openpgp(
        &self,
        access: &OpenPgpAccess,
        message: &[u8],
        trusted: bool,
    ) -> Result<Authenticated<Secret<Vec<u8>>>, Sealed> {
        let keyring = access.keyring;
        let known = self.decrypted.iter().find(|known| known.keyring == keyring && known.message == message);
        let Some(known) = known else {
            let engine = self.keyrings.0.get(keyring.0).ok_or(Reason::NoKey)?.clone();
            if !engine.is_addressed(message) {
                return Err(Reason::GpgDecrypt.into());
            }
            return Err(Sealed::Undecrypted(Work { keyring, engine, message: message.to_vec(), trusted }));
        };
        let opened = known.opened.as_ref().map_err(Clone::clone)?;
        access.recipient.judge(opened.recipient.as_ref())?;
        let by = access.signer.judge(opened)?;
        Ok(Authenticated { value: opened.plaintext.clone(), by })
    }
}

impl From<Reason> for Sealed {
    fn from(reason: Reason) -> Self {
        Sealed::Refused(reason)
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
