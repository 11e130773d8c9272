//! The whole path of a packet: nothing opens without the key, nothing opens twice, nothing opens more than is permitted.
#![no_main]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::access::{AccessTable, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::rijndael::{self, Mode, RijndaelAuth, RijndaelKey};
use fwknop::crypto::unseal::Keyrings;
use fwknop::gate::{Gate, GateRules, Verdict};
use fwknop::grant::{GrantId, StanzaId};
use fwknop::net::{AddrSet, Origin, PortSet};
use fwknop::reason::Reason;
use fwknop::replay::MemoryStore;
use fwknop::spa::{Datagram, Digest, HttpRules};
use fwknop::time::{Lifetime, Timestamp};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    // A fresh one each time: what is found must not depend on what came before.
    let gate = &mut gate();
    match kind % 4 {
        0 => stranger(gate, bytes),
        // Fields with the digest that belongs to them, so that the fuzzer gets behind it.
        1 => {
            let digest = STANDARD_NO_PAD.encode(Sha256::digest(bytes));
            insider(gate, &[bytes, b":", digest.as_bytes()].concat(), kind & 4 != 0);
        }
        2 => insider(gate, bytes, kind & 4 != 0),
        _ => {
            // A well-made packet, damaged.
            let mut text = seal(MODEL.as_bytes(), true).into_bytes();
            for change in bytes.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % text.len();
                text[at] ^= change[2];
            }
            if text != seal(MODEL.as_bytes(), true).into_bytes() {
                stranger(gate, &text);
            }
        }
    }
});

/// Without the key nothing opens.
fn stranger(gate: &mut Gate, payload: &[u8]) {
    let verdict = gate.handle(&datagram(payload), NOW);
    assert!(matches!(verdict, Verdict::Refuse(_)), "a stranger got in: {verdict:?}");
}

/// With the key: what is permitted, once.
fn insider(gate: &mut Gate, plaintext: &[u8], hmac: bool) {
    let packet = datagram(seal(plaintext, hmac).as_bytes());
    let Verdict::Open(opening) = gate.handle(&packet, NOW) else { return };
    let permitted: PortSet = PERMITTED.parse().expect("ports");
    assert!(permitted.contains_all(&opening.grant.ports));
    assert!(opening.grant.lifetime.secs() <= MAX_LIFETIME);
    assert!(!opening.grant.allow.is_unspecified());
    match gate.handle(&packet, NOW) {
        Verdict::Refuse(refusal) => assert_eq!(refusal.reason, Reason::Replay),
        Verdict::Open(_) => panic!("the same packet opened twice"),
    }
    assert_eq!(gate.grants().count(), 1);
    gate.withdraw(&opening);
    assert_eq!(gate.grants().count(), 0, "a grant that could not be opened stays in the table");
}

fn seal(plaintext: &[u8], hmac: bool) -> String {
    let binary = key().seal_with_salt(plaintext, *b"saltsalt");
    let mut text = STANDARD_NO_PAD.encode(binary).split_off(rijndael::PREFIX.len());
    if hmac {
        text.push_str(&tag().tag(rijndael::PREFIX, &text));
    }
    text
}

fn datagram(payload: &[u8]) -> Datagram {
    Datagram { payload: payload.to_vec(), origin: Origin::udp([198, 51, 100, 7].into()) }
}

fn key() -> RijndaelAuth {
    RijndaelAuth::new(RijndaelKey::new(b"a key that fuzzers lack".to_vec()).expect("a key"), Mode::Cbc)
}

fn tag() -> HmacAuth {
    HmacAuth::new(Digest::Sha256, &HmacKey::new(b"another".to_vec()).expect("a key"))
}

fn stanza(id: u32, hmac: Option<HmacAuth>) -> Stanza {
    Stanza {
        id: StanzaId(id),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: Some(PERMITTED.parse().expect("ports")),
        restrict_ports: None,
        rijndael: Some(key()),
        openpgp: None,
        hmac,
        timeout: Lifetime::from_secs(30).expect("not zero"),
        max_timeout: Lifetime::from_secs(MAX_LIFETIME).expect("not zero"),
        require_username: None,
        require_source_address: id == 1,
        expires: None,
    }
}

fn gate() -> Gate {
    let rules = GateRules {
        max_age: Some(Duration::from_secs(120)),
        http: HttpRules { enabled: true, any_user_agent: true, forwarded_for: true },
    };
    let access = AccessTable::new(vec![stanza(1, Some(tag())), stanza(2, None)]);
    Gate::new(rules, access, Keyrings::default(), Box::new(MemoryStore::default()), GrantId(0))
}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const PERMITTED: &str = "tcp/22,udp/53";
const MAX_LIFETIME: u32 = 300;
/// An access request for tcp/22 at [`NOW`]; its digest does not matter here, because the packet is damaged anyway.
const MODEL: &str = "1234567890123456:dXNlcg:1700000000:3.0.0:1:MTk4LjUxLjEwMC43LHRjcC8yMg";
