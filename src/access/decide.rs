//! Stanza × Message → Decision.

/// Stub.
#[derive(Debug)]
pub struct Decision;
