//! What one packet costs the daemon, without capture and firewall: `make bench`.
//!
//! Each packet takes the whole way through the gate. The replay memory is one that forgets, so that the same packet can be
//! measured again and again; what the durable one adds is measured for itself.

#[path = "../../tests/suite/support/mod.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod support;

mod engines;
mod openpgp;

use std::time::Duration;

use divan::{Bencher, black_box};
use fwknop::access::{AccessTable, NatRule, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
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
    refuses(bencher, &mut gate, &datagram(&random_text()));
}

/// The same with a hundred stanzas, each of which has to look.
#[divan::bench]
fn junk_at_100_stanzas(bencher: Bencher) {
    let mut gate = gate((1..=100).map(shared_key).collect(), Keyrings::default());
    refuses(bencher, &mut gate, &datagram(&random_text()));
}

#[divan::bench]
fn knock_rijndael_hmac(bencher: Bencher) {
    let mut gate = gate(vec![shared_key(1)], Keyrings::default());
    opens(bencher, &mut gate, &datagram(sealed(1).as_bytes()), NOW);
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
        let until = Some(NOW.plus(WINDOW));
        let entry = Entry { keys, seen, stamped: NOW, until, grant: GrantId(number) };
        state.remember(&entry).and_then(|()| state.settle()).expect("a disk");
    });
}

/// Random text of the right alphabet and length.
fn random_text() -> Vec<u8> {
    (0..600u32).map(|i| b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"[(i * 7 % 31) as usize]).collect()
}

fn opens(bencher: Bencher, gate: &mut Gate, packet: &Datagram, now: Timestamp) {
    bencher.bench_local(|| match gate.handle(black_box(packet), now) {
        Verdict::Open(opening) => gate.withdraw(&opening).expect("a store"),
        other => panic!("not opened: {other:?}"),
    });
}

fn refuses(bencher: Bencher, gate: &mut Gate, packet: &Datagram) {
    bencher.bench_local(|| match gate.handle(black_box(packet), NOW) {
        Verdict::Refuse(refusal) => refusal,
        permitted => panic!("permitted: {permitted:?}"),
    });
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
        name: "access".into(),
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
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    }
}

fn message(number: u64) -> Message {
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
