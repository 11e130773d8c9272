//! The whole path of a packet: nothing opens without the key, nothing opens twice, nothing opens more than is permitted,
//! and all of that is the same when public-key work is done apart.
#![no_main]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::access::{AccessTable, NatRule, OpenPgpAccess, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::openpgp::{
    Engine as OpenPgpEngine, Fingerprint, KeyPath, KeyringId, Opened, RecipientRule, Signature, SignerRule, Tolerance,
};
use fwknop::crypto::rijndael::{self, Mode, RijndaelAuth, RijndaelKey};
use fwknop::crypto::unseal::Keyrings;
use fwknop::gate::{Examined, Gate, GateRules, Verdict};
use fwknop::grant::{GrantId, StanzaId};
use fwknop::net::{AddrSet, Origin, PortSet};
use fwknop::reason::Reason;
use fwknop::replay::MemoryStore;
use fwknop::secret::Secret;
use fwknop::spa::{Datagram, Digest, HttpRules};
use fwknop::time::{Lifetime, Timestamp};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha256};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    // Fresh ones each time: what is found must not depend on what came before.
    let gate = &mut Both { whole: gate(), apart: gate() };
    let (openpgp, hmac) = (kind & 8 != 0, kind & 4 != 0);
    match kind % 4 {
        0 => stranger(gate, bytes),
        // Fields with the digest that belongs to them, so that the fuzzer gets behind it.
        1 => {
            let digest = STANDARD_NO_PAD.encode(Sha256::digest(bytes));
            let plaintext = [bytes, b":", digest.as_bytes()].concat();
            insider(gate, if openpgp { message(&plaintext, SIGNED, hmac) } else { seal(&plaintext, hmac) });
        }
        // Whoever knows the server's public key, and is on no list.
        2 if openpgp => stranger(gate, message(bytes, kind, hmac).as_bytes()),
        2 => insider(gate, seal(bytes, hmac)),
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
fn stranger(gate: &mut Both, payload: &[u8]) {
    let verdict = gate.handle(&datagram(payload), NOW);
    assert!(matches!(verdict, Verdict::Refuse(_)), "a stranger got in: {verdict:?}");
}

/// With the key: what is permitted, once.
fn insider(gate: &mut Both, text: String) {
    let packet = datagram(text.as_bytes());
    let Verdict::Open(opening) = gate.handle(&packet, NOW) else { return };
    let permitted: PortSet = PERMITTED.parse().expect("ports");
    assert!(opening.grant.access.ports().is_some_and(|ports| permitted.contains_all(ports)));
    assert!(opening.grant.lifetime.secs() <= MAX_LIFETIME);
    assert!(!opening.grant.allow.is_unspecified());
    match gate.handle(&packet, NOW) {
        Verdict::Refuse(refusal) => assert_eq!(refusal.reason, Reason::Replay),
        verdict => panic!("the same packet was taken twice: {verdict:?}"),
    }
    assert_eq!(gate.whole.grants().count(), 1);
    gate.whole.withdraw(&opening).expect("memory never fails");
    assert_eq!(gate.whole.grants().count(), 0, "a grant that could not be opened stays in the table");
}

/// One that does all in one go, and one that stops before each decryption.
struct Both {
    whole: Gate,
    apart: Gate,
}

impl Both {
    fn handle(&mut self, datagram: &Datagram, now: Timestamp) -> Verdict {
        let verdict = self.whole.handle(datagram, now);
        let mut examined = self.apart.examine(datagram, now);
        loop {
            match examined {
                Examined::Final(unsettled) => {
                    let (_, apart) = self.apart.settle(vec![unsettled]).remove(0);
                    assert_eq!(verdict, apart);
                    return verdict;
                }
                Examined::Pending(pending) => examined = self.apart.conclude(pending.work(now), now),
            }
        }
    }
}

/// Stands for public-key cryptography: whoever writes the word can seal, and the octet behind it says who signed.
struct Toy;

impl OpenPgpEngine for Toy {
    fn open(&self, message: &[u8], _: Timestamp) -> Result<Opened, Reason> {
        let at = message.windows(WORD.len()).position(|window| window == WORD).ok_or(Reason::GpgDecrypt)?;
        let [signer, plaintext @ ..] = &message[at + WORD.len()..] else { return Err(Reason::GpgDecrypt) };
        let key = KeyPath { primary: fingerprint(*signer), key: fingerprint(*signer) };
        let signature = Signature { by: Some(key), user_id: None, fault: None, sha1: false };
        let signatures = if *signer == 0 { Vec::new() } else { vec![signature] };
        Ok(Opened { plaintext: Secret::new(plaintext.to_vec()), recipient: None, signatures })
    }

    fn is_addressed(&self, message: &[u8]) -> bool {
        // The key id, behind the header and the version.
        message.get(4..12) == Some(&[7; 8])
    }
}

fn fingerprint(octet: u8) -> Fingerprint {
    Fingerprint::from_bytes(&[octet; 20]).expect("twenty octets")
}

/// In the shape of an OpenPGP message for the toy.
fn message(plaintext: &[u8], signer: u8, hmac: bool) -> String {
    let key = [&[0x85, 0, 14, 3], &[7; 8][..], &[1, 0, 16, 0xff, 0xff]].concat();
    let data = [&[1][..], WORD, &[signer], plaintext].concat();
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    let mut text = STANDARD_NO_PAD.encode([&key[..], &[0xd2, 0xff], &length, &data].concat()).split_off(2);
    if hmac {
        text.push_str(&tag().tag("hQ", &text));
    }
    text
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

fn stanza(id: u32, keyring: KeyringId, hmac: Option<HmacAuth>) -> Stanza {
    Stanza {
        id: StanzaId(id),
        name: "access".into(),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: Some(PERMITTED.parse().expect("ports")),
        restrict_ports: None,
        rijndael: Some(key()),
        openpgp: Some(OpenPgpAccess {
            keyring,
            recipient: RecipientRule::Any,
            signer: SignerRule::Listed { lists: vec![vec![fingerprint(SIGNED)]], tolerance: Tolerance::default() },
        }),
        hmac,
        timeout: Lifetime::from_secs(30).expect("not zero"),
        max_timeout: Lifetime::from_secs(MAX_LIFETIME).expect("not zero"),
        require_username: None,
        require_source_address: id == 1,
        expires: None,
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    }
}

fn gate() -> Gate {
    let rules = GateRules {
        max_age: Some(Duration::from_secs(120)),
        http: HttpRules { enabled: true, any_user_agent: true, forwarded_for: true },
    };
    let mut keyrings = Keyrings::default();
    let keys = [(); 2].map(|()| keyrings.add(Box::new(Toy)));
    let stanzas = vec![stanza(1, keys[0], Some(tag())), stanza(2, keys[1], None)];
    Gate::new(rules, AccessTable::new(stanzas), keyrings, Box::new(MemoryStore::default()), GrantId(0))
}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const WORD: &[u8] = b"a word that fuzzers lack";
/// Who is listed. No stranger's `kind`.
const SIGNED: u8 = 251;
const PERMITTED: &str = "tcp/22,udp/53";
const MAX_LIFETIME: u32 = 300;
/// An access request for tcp/22 at [`NOW`]; its digest does not matter here, because the packet is damaged anyway.
const MODEL: &str = "1234567890123456:dXNlcg:1700000000:3.0.0:1:MTk4LjUxLjEwMC43LHRjcC8yMg";
