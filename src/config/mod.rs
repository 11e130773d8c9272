//! Configuration: stub
