//! fwknop-rs: Single Packet Authorization with OpenPGP at its centre.
//!
//! A server's firewall drops everything. A client sends one encrypted, authenticated, never-repeatable packet; a daemon
//! that only listens checks it and opens exactly the asked port, for that address, for seconds.
//!
//! The modules in the order in which they may use each other (a file uses only what stands above it):
//!
//! * words: [`net`], [`time`], [`secret`]
//! * core, without IO, `now` is an argument: [`reason`], [`spa`], [`crypto`], [`grant`], [`access`], [`replay`], [`gate`]
//! * edges: [`capture`], [`firewall`], [`keyring`], [`config`]
//! * programs: [`cli`], [`client`], [`daemon`]
//!
//! The path of a packet: `capture/pcap.rs` → `capture/frame.rs` → `daemon/run.rs` → `gate.rs` → `spa/envelope.rs` →
//! `access/mod.rs` → `replay.rs` → `crypto/` → `spa/codec.rs` → `access/decide.rs` → `grant.rs` → `firewall/mod.rs` →
//! `firewall/rule.rs` → `firewall/nftables.rs` → `firewall/runner.rs`.

pub mod net;
pub mod secret;
pub mod time;

pub mod access;
pub mod crypto;
pub mod gate;
pub mod grant;
pub mod reason;
pub mod replay;
pub mod spa;

pub mod capture;
pub mod config;
pub mod firewall;
pub mod keyring;

pub mod cli;
pub mod client;
pub mod daemon;
