//! What the tests share: namespaces, keyrings, programs.
