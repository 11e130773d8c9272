//! The line syntaxes: `fwknopd.conf`, access files, rc files. The first byte chooses.
#![no_main]

#[path = "../config_check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| check::file(input.0, input.1, "conf"));
