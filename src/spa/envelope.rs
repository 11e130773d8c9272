//! Recognising a packet.

/// Stub.
#[derive(Debug)]
pub struct Envelope;
/// Stub.
#[derive(Debug)]
pub struct Body;
/// Stub.
#[derive(Debug)]
pub struct Limits;
/// Stub.
#[derive(Debug)]
pub struct HttpRules;
