//! All behaviour tests, one file per behaviour. They use the real parts: nftables, libpcap, GnuPG, and the original
//! programs, in network namespaces of their own. What is missing makes a test fail with what to install.

#![cfg(test)]

mod support;

mod bad_input;
mod bsd;
mod captures;
mod check;
mod client;
mod commands;
mod config;
mod control;
mod crash;
mod cycles;
mod daemon;
mod demo;
mod docs;
mod faults;
mod firewall;
mod firewalld;
mod flood;
mod iptables;
mod matrix;
mod nat;
mod openpgp;
mod reloaded;
mod resilience;
mod shared;
mod stories;
mod transports;
mod users;
mod vectors;
