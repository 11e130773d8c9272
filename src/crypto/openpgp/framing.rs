//! Message framing: stub.
