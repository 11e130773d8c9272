//! Replays: stub.
