//! The Sequoia engine: stub.
