//! From plaintext to the text that is sent: encrypt, drop the prefix, authenticate (`spec/wire.md` 1).

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::hmac::HmacAuth;
use super::openpgp::framing;
use super::rijndael::{self, RijndaelAuth};
use crate::spa::{Envelope, Plaintext};

/// The text of a packet as it goes out, up to 1499 characters: body and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireText(String);

impl Deref for WireText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a packet cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("the packet would be {0} characters long, but a server takes {max} at most", max = Envelope::MAX)]
    TooLong(usize),
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    #[error("the OpenPGP message cannot be sent")]
    Framing(#[from] framing::FramingError),
}

/// Seals with a shared key.
pub fn rijndael(plaintext: &Plaintext, auth: &RijndaelAuth, hmac: Option<&HmacAuth>) -> Result<WireText, SealError> {
    let binary = auth.seal(plaintext.expose()).map_err(SealError::Random)?;
    wire_text(&binary, rijndael::PREFIX, hmac)
}

/// Sends an OpenPGP message, which is re-framed so that stock servers read it.
pub fn openpgp(message: Vec<u8>, hmac: Option<&HmacAuth>) -> Result<WireText, SealError> {
    wire_text(&framing::reframe(message)?, framing::Prefix::STANDARD.as_str(), hmac)
}

/// `binary` always begins with what `prefix` stands for: its makers above see to that.
fn wire_text(binary: &[u8], prefix: &str, hmac: Option<&HmacAuth>) -> Result<WireText, SealError> {
    let mut text = STANDARD_NO_PAD.encode(binary).split_off(prefix.len());
    if let Some(hmac) = hmac {
        text.push_str(&hmac.tag(prefix, &text));
    }
    match text.len() {
        len if len > Envelope::MAX => Err(SealError::TooLong(len)),
        _ => Ok(WireText(text)),
    }
}
