//! Key files and keyboxes, of which an administrator is handed many by mail.
#![no_main]

#[path = "../keys_check.rs"]
mod keys_check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    match input {
        (false, bytes) => keys_check::file(bytes),
        (true, bytes) => keys_check::keybox(bytes),
    }
});
