//! What one packet costs the daemon, without capture and firewall: `make bench`.
//!
//! Each packet takes the whole way through the gate. The replay memory is one that forgets, so that the same packet can be
//! measured again and again; what the durable one adds is measured for itself.

use std::time::Duration;

use divan::{Bencher, black_box};
use fwknop::access::{AccessTable, OpenPgpAccess, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::openpgp::sequoia::Keys;
use fwknop::crypto::openpgp::{Fingerprint, RecipientRule, SignerRule, Tolerance};
use fwknop::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use fwknop::crypto::seal;
use fwknop::crypto::unseal::Keyrings;
use fwknop::daemon::state::State;
use fwknop::gate::{Gate, GateRules, Verdict};
use fwknop::grant::{GrantId, StanzaId};
use fwknop::net::{AddrSet, Origin};
use fwknop::replay::{Entry, ReplayKey, ReplayStore, Seen, StoreError};
use fwknop::spa::{Datagram, Digest, HttpRules, Message, RandomValue, Request, Username};
use fwknop::time::{Lifetime, Timestamp};

fn main() {
    divan::main();
}

/// Random text of the right alphabet and length: what a scanner with an idea sends.
#[divan::bench]
fn junk(bencher: Bencher) {
    let mut gate = gate(vec![shared_key(1)], Keyrings::default());
    let junk: Vec<u8> = (0..600u32).map(|i| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[(i * 7 % 31) as usize]).collect();
    refuses(bencher, &mut gate, &datagram(&junk));
}

/// The same with a hundred stanzas, each of which has to look.
#[divan::bench]
fn junk_at_100_stanzas(bencher: Bencher) {
    let mut gate = gate((1..=100).map(shared_key).collect(), Keyrings::default());
    let junk: Vec<u8> = (0..600u32).map(|i| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[(i * 7 % 31) as usize]).collect();
    refuses(bencher, &mut gate, &datagram(&junk));
}

#[divan::bench]
fn knock_rijndael_hmac(bencher: Bencher) {
    let mut gate = gate(vec![shared_key(1)], Keyrings::default());
    opens(bencher, &mut gate, &datagram(sealed(1).as_bytes()), NOW);
}

#[divan::bench]
fn knock_openpgp_rsa2048(bencher: Bencher) {
    openpgp(bencher, "a-gpg-rsa2048-signed-hmac-sha256", "server-rsa2048", "client-rsa2048");
}

#[divan::bench]
fn knock_openpgp_curve25519(bencher: Bencher) {
    openpgp(bencher, "a-gpg-cv25519-signed-ed25519-hmac-reframed", "server-cv25519", "client-ed25519");
}

/// A packet with a valid HMAC by somebody who may not sign: the dearest refusal there is.
#[divan::bench]
fn openpgp_rsa2048_not_listed(bencher: Bencher) {
    let packet = OpenPgp::vector("a-gpg-rsa2048-signed-hmac-sha256");
    let mut gate = packet.gate("server-rsa2048", "client-rsa2048", &"00".repeat(20));
    refuses(bencher, &mut gate, &datagram(packet.text.as_bytes()));
}

#[divan::bench]
fn encode(bencher: Bencher) {
    let message = message(1);
    bencher.bench(|| black_box(&message).encode());
}

#[divan::bench]
fn decode(bencher: Bencher) {
    let plaintext = message(1).encode().expect("a message");
    bencher.bench(|| Message::decode(black_box(plaintext.expose())));
}

#[divan::bench]
fn seal_rijndael_hmac(bencher: Bencher) {
    let plaintext = message(1).encode().expect("a message");
    let (key, tag) = keys(1);
    bencher.bench(|| seal::rijndael(black_box(&plaintext), &key, Some(&tag)));
}

/// Both keys of a packet in one durable transaction: mostly the disk.
#[divan::bench]
fn remember_durably(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut state = State::open(dir.path(), NOW, Some(WINDOW)).expect("a store");
    let seen = Seen { origin: Origin::udp([198, 51, 100, 7].into()), at: NOW };
    let mut number = 0u64;
    bencher.bench_local(|| {
        number += 1;
        let keys = [0, 1].map(|which| {
            let mut key = [which; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            ReplayKey(key)
        });
        state.remember(&Entry { keys, seen, stamped: NOW, until: Some(NOW.plus(WINDOW)), grant: GrantId(number) })
    });
}

fn openpgp(bencher: Bencher, vector: &str, server: &str, client: &str) {
    let packet = OpenPgp::vector(vector);
    let mut gate = packet.gate(server, client, &fingerprint(client));
    opens(bencher, &mut gate, &datagram(packet.text.as_bytes()), packet.time);
}

fn opens(bencher: Bencher, gate: &mut Gate, packet: &Datagram, now: Timestamp) {
    bencher.bench_local(|| match gate.handle(black_box(packet), now) {
        Verdict::Open(opening) => gate.withdraw(&opening),
        Verdict::Refuse(refusal) => panic!("refused: {refusal:?}"),
    });
}

fn refuses(bencher: Bencher, gate: &mut Gate, packet: &Datagram) {
    bencher.bench_local(|| match gate.handle(black_box(packet), NOW) {
        Verdict::Open(_) => panic!("opened"),
        Verdict::Refuse(refusal) => refusal,
    });
}

/// A packet of the original client from `testdata`, and what its stanza needs.
struct OpenPgp {
    text: String,
    time: Timestamp,
    hmac: String,
}

impl OpenPgp {
    fn vector(id: &str) -> Self {
        let file = read("testdata/spa/gpg.json");
        let all: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
        let vectors = all["vectors"].as_array().expect("vectors");
        let vector = vectors.iter().find(|vector| vector["id"] == id).expect("the vector");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let time = &vector["expect"]["fields"]["timestamp"];
        Self {
            text: text(&vector["packet"]),
            time: Timestamp::from_secs(time.as_u64().expect("seconds")),
            hmac: text(&vector["hmac"]["key"]["ascii"]),
        }
    }

    fn gate(&self, server: &str, client: &str, listed: &str) -> Gate {
        let mut keys = Keys::default();
        for file in [format!("{server}.sec"), format!("{client}.pub")] {
            let file = read(&format!("keyrings/vectors/{file}.asc"));
            keys.add(&file, None, self.time).expect("a key");
        }
        let mut keyrings = Keyrings::default();
        let keyring = keyrings.add(Box::new(keys));
        let listed: Fingerprint = listed.parse().expect("a fingerprint");
        let openpgp = OpenPgpAccess {
            keyring,
            recipient: RecipientRule::Any,
            signer: SignerRule::Listed { lists: vec![vec![listed]], tolerance: Tolerance::default() },
        };
        let hmac = HmacAuth::new(Digest::Sha256, &HmacKey::new(self.hmac.clone().into_bytes()).expect("a key"));
        gate(vec![Stanza { openpgp: Some(openpgp), rijndael: None, hmac: Some(hmac), ..shared_key(1) }], keyrings)
    }
}

fn fingerprint(name: &str) -> String {
    let keys: serde_json::Value = serde_json::from_slice(&read("keyrings/vectors/keys.json")).expect("JSON");
    keys["keys"][name]["primary"]["fingerprint"].as_str().expect("a fingerprint").to_owned()
}

fn read(path: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn gate(stanzas: Vec<Stanza>, keyrings: Keyrings) -> Gate {
    let rules = GateRules { max_age: Some(WINDOW), http: HttpRules::default() };
    Gate::new(rules, AccessTable::new(stanzas), keyrings, Box::new(Forgetful), GrantId(0))
}

fn keys(number: u32) -> (RijndaelAuth, HmacAuth) {
    let key = RijndaelKey::new(format!("encryption key {number}").into_bytes()).expect("a key");
    let tag = HmacKey::new(format!("tag key {number}").into_bytes()).expect("a key");
    (RijndaelAuth::new(key, Mode::Cbc), HmacAuth::new(Digest::Sha256, &tag))
}

fn shared_key(number: u32) -> Stanza {
    let (rijndael, hmac) = keys(number);
    let lifetime = Lifetime::from_secs(30).expect("not zero");
    Stanza {
        id: StanzaId(number),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: None,
        restrict_ports: None,
        rijndael: Some(rijndael),
        openpgp: None,
        hmac: Some(hmac),
        timeout: lifetime,
        max_timeout: lifetime,
        require_username: None,
        require_source_address: true,
        expires: None,
    }
}

fn message(number: u8) -> Message {
    Message {
        random: RandomValue::new(format!("{number:016}").as_bytes()).expect("digits"),
        user: Username::new("alice").expect("a name"),
        time: NOW,
        version: "3.0.0".into(),
        request: Request::Access { allow: [198, 51, 100, 7].into(), ports: "tcp/22".parse().expect("ports") },
        server_auth: None,
        timeout: None,
        digest: Digest::Sha256,
    }
}

fn sealed(number: u32) -> seal::WireText {
    let (key, tag) = keys(number);
    seal::rijndael(&message(1).encode().expect("a message"), &key, Some(&tag)).expect("a packet")
}

fn datagram(payload: &[u8]) -> Datagram {
    Datagram { payload: payload.to_vec(), origin: Origin::udp([198, 51, 100, 7].into()) }
}

/// Remembers nothing.
struct Forgetful;

impl ReplayStore for Forgetful {
    fn seen(&mut self, _: &ReplayKey) -> Result<Option<Seen>, StoreError> {
        Ok(None)
    }

    fn remember(&mut self, _: &Entry) -> Result<(), StoreError> {
        Ok(())
    }

    fn floor(&self) -> Timestamp {
        Timestamp::from_secs(0)
    }

    fn forget(&mut self, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const WINDOW: Duration = Duration::from_secs(120);
