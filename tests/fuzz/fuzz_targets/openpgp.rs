//! What a stranger can write: framing, key files, messages to us that are junk inside, and damaged good ones. Nothing
//! of it carries a valid signature.
#![no_main]

use std::io::Write;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::openpgp::sequoia::{KeyFile, Keys, SequoiaSealer};
use fwknop::crypto::openpgp::{Engine as _, Sealer as _, framing};
use fwknop::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use sequoia_openpgp as pgp;

use pgp::parse::Parse;
use pgp::serialize::stream::{Encryptor, Message, Recipient};
use pgp::types::Features;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    match kind % 5 {
        0 => frame(bytes),
        1 => drop(Keys::default().add(bytes, None, NOW)),
        // Among the seeds are messages that a client did sign: here nobody knows that client.
        2 => refused(keys(&[SERVER]), bytes),
        3 => refused(keys(&[SERVER, CLIENT]), &to_us(bytes)),
        _ => damaged(bytes),
    }
});

fn frame(message: &[u8]) {
    let plausible = framing::plausible(message);
    if let Ok(framed) = framing::reframe(message.to_vec()) {
        let text = STANDARD_NO_PAD.encode(&framed);
        assert!(text.starts_with("hQ"));
        assert_eq!(framing::plausible(&framed), plausible);
        let known = framing::candidates(&text[2..]).iter().any(|(_, candidate)| *candidate == framed);
        assert_eq!(known, plausible);
    }
    let text = STANDARD_NO_PAD.encode(message);
    for (prefix, candidate) in framing::candidates(&text) {
        assert!(framing::plausible(&candidate));
        assert!(STANDARD_NO_PAD.encode(&candidate).starts_with(prefix.as_str()));
    }
}

/// No stranger can sign.
fn refused(keys: &Keys, message: &[u8]) {
    if let Ok(opened) = keys.open(message, NOW) {
        assert!(opened.signatures.iter().all(|signature| signature.fault.is_some()), "{opened:?}");
        assert!(opened.plaintext.expose().len() <= 1500);
    }
}

/// Whoever has our public key can write anything inside.
fn to_us(content: &[u8]) -> Vec<u8> {
    static KEY: OnceLock<pgp::Cert> = OnceLock::new();
    let cert = KEY.get_or_init(|| pgp::Cert::from_bytes(SERVER).expect("a test key"));
    let key = cert.keys().subkeys().next().expect("it encrypts").key().clone().role_into_unspecified();
    let recipient = Recipient::new(Features::empty().set_seipdv1(), key.key_handle(), &key);
    let mut sealed = Vec::new();
    let mut message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build().expect("a good key");
    message.write_all(content).expect("into memory");
    message.finalize().expect("into memory");
    sealed
}

/// A good message with some octets changed is refused, or says what it said.
fn damaged(changes: &[u8]) {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    let file = |data| KeyFile { data, wanted: None, place: "test key" };
    let good = GOOD.get_or_init(|| {
        let sealer = SequoiaSealer::new(file(SERVER), Some((file(CLIENT), None)), NOW).expect("test keys");
        sealer.seal(TEXT).expect("good keys")
    });
    let mut message = good.clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % message.len();
        message[at] ^= change[2];
    }
    if let Ok(opened) = keys(&[SERVER, CLIENT]).open(&message, NOW) {
        assert_eq!(opened.plaintext.expose(), TEXT);
    }
}

/// Made once each, by how many files they have.
fn keys(files: &[&[u8]]) -> &'static Keys {
    static KEYS: [OnceLock<Keys>; 2] = [OnceLock::new(), OnceLock::new()];
    KEYS[files.len() - 1].get_or_init(|| {
        let mut keys = Keys::default();
        for data in files {
            keys.add(data, None, NOW).expect("a test key");
        }
        keys
    })
}

const SERVER: &[u8] = include_bytes!("../../../keyrings/vectors/server-cv25519.sec.asc");
const CLIENT: &[u8] = include_bytes!("../../../keyrings/vectors/client-ed25519.sec.asc");
const NOW: Timestamp = Timestamp::from_secs(1_795_298_400);
const TEXT: &[u8] = b"1644722707182026:Ym9i:1795294448:3.0.0:1:MTkyLjAuMi43Nyx0Y3AvMjAwMDE:EngcL4beXxDvUsyjNvXS";
