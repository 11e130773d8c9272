//! Keyrings: stub
