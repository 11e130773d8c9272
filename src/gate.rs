//! The order of all checks: stub.
