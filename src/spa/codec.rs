//! Message ⇄ plaintext.

use crate::secret::Secret;

/// What was encrypted: fields and their digest.
#[derive(Debug)]
pub struct Plaintext(pub Secret<Vec<u8>>);

/// Why a message cannot be encoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message is longer than the 192 bytes that a server takes")]
    TooLong,
}
