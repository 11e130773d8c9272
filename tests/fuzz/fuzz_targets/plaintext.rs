//! Whatever a holder of the key encrypts: what is read can be written again, and reads the same.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::spa::Message;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|fields: &[u8]| {
    read(fields);
    // A digest nobody can guess by mutation guards everything behind it: put the right one there.
    let digest = STANDARD_NO_PAD.encode(Sha256::digest(fields));
    read(&[fields, b":", digest.as_bytes()].concat());
});

fn read(plaintext: &[u8]) {
    let Ok(message) = Message::decode(plaintext) else { return };
    let written = message.encode().expect("what was read can be written");
    let again = Message::decode(written.expose()).expect("what was written can be read");
    assert_eq!(again, message);
}
