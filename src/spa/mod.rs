//! The SPA protocol, FKO 3.0.0: from captured bytes to a message and back (`spec/wire.md`).

mod codec;
mod datagram;
mod digest;
mod envelope;
mod message;

pub use codec::{MessageError, Plaintext};
pub use datagram::Datagram;
pub use digest::{Digest, UnknownDigest};
pub use envelope::{Envelope, HttpRules};
pub use message::{ClientTimeout, Message, NatTarget, RandomValue, Request, Username};
