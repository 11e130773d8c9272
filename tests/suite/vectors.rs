//! Every packet of `testdata/spa`, made by the original or crafted against it, gets its verdict: from the library, and
//! from the running daemon through a socket and through a savefile.

mod apart;
mod case;
mod library;
mod running;
