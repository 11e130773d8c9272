//! Signed knocks, beside the bare cost of their mathematics: one operation with the server's secret key, and one
//! verification, by the same library.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use divan::{Bencher, black_box};
use fwknop::access::{OpenPgpAccess, Stanza};
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::openpgp::sequoia::{KeyFile, Keys, SequoiaSealer};
use fwknop::crypto::openpgp::{Fingerprint, RecipientRule, Sealer, SignerRule, Tolerance};
use fwknop::crypto::seal;
use fwknop::crypto::unseal::Keyrings;
use fwknop::gate::{Gate, Verdict};
use fwknop::spa::Digest;
use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CipherSuite};
use pgp::crypto::{Decryptor as _, KeyPair, SessionKey, Signer as _};
use pgp::packet::PKESK;
use pgp::packet::pkesk::PKESK3;
use pgp::serialize::SerializeInto as _;
use pgp::types::{HashAlgorithm, KeyFlags, SymmetricAlgorithm};
use pgp::{Cert, Fingerprint as Name};

use super::{NOW, datagram, gate, message, random_text, refuses, shared_key};

/// The kinds of keys that are compared.
const SUITES: [Suite; 2] = [Suite::Rsa2048, Suite::Curve25519];

/// One user, and the team that `docs/keys.md` has in mind twenty times over.
const USERS: [usize; 2] = [1, 200];

/// What no daemon can do without.
#[divan::bench(args = SUITES)]
fn bare_mathematics(bencher: Bencher, suite: Suite) {
    let (server, client) = (suite.cert("server"), suite.cert("client"));
    let mut secret = pair(&server, 1);
    let public = secret.public().clone();
    let session_key = SessionKey::from(vec![7; 32]);
    let pkesk = PKESK3::for_recipient(SymmetricAlgorithm::AES256, &session_key, &public).expect("a key for encryption");
    let PKESK::V3(pkesk) = PKESK::from(pkesk) else { panic!("version 3 was made") };
    // The cipher's number and a sum around the key; ECDH fills that up, but tells the length itself.
    let length = (suite == Suite::Rsa2048).then_some(1 + 32 + 2);
    let mut signer = pair(&client, 0);
    let digest = [9; 32];
    let signature = signer.sign(HashAlgorithm::SHA256, &digest).expect("a signature");
    let by = signer.public().clone();
    bencher.bench_local(|| {
        secret.decrypt(black_box(pkesk.esk()), length).expect("decrypted");
        by.verify(black_box(&signature), HashAlgorithm::SHA256, &digest).expect("valid");
    });
}

#[divan::bench(args = SUITES)]
fn knock(bencher: Bencher, suite: Suite) {
    let team = Team::new(suite, 1, true);
    team.knocks(bencher);
}

/// The last of the users knocks.
#[divan::bench(args = USERS)]
fn knock_among_users(bencher: Bencher, users: usize) {
    let team = Team::new(Suite::Curve25519, users, false);
    team.knocks(bencher);
}

#[divan::bench(args = USERS)]
fn knock_among_users_with_hmac_keys(bencher: Bencher, users: usize) {
    let team = Team::new(Suite::Curve25519, users, true);
    team.knocks(bencher);
}

#[divan::bench(args = USERS)]
fn random_text_to_users(bencher: Bencher, users: usize) {
    let team = Team::new(Suite::Curve25519, users, false);
    refuses(bencher, &mut team.gate(), &datagram(&random_text()));
}

#[divan::bench(args = USERS)]
fn random_text_to_users_with_hmac_keys(bencher: Bencher, users: usize) {
    let team = Team::new(Suite::Curve25519, users, true);
    refuses(bencher, &mut team.gate(), &datagram(&random_text()));
}

/// A good message for somebody else: all that can be told from outside is its recipient's id.
#[divan::bench(args = USERS)]
fn message_to_another_server(bencher: Bencher, users: usize) {
    let (team, other) = (Team::new(Suite::Curve25519, users, false), Team::new(Suite::Curve25519, 1, false));
    let mut gate = team.gate();
    let packets = bencher.with_inputs(|| datagram(other.packet().as_bytes()));
    packets.bench_local_refs(|packet| match gate.handle(black_box(packet), NOW) {
        Verdict::Refuse(refusal) => refusal,
        permitted => panic!("permitted: {permitted:?}"),
    });
}

/// A packet with a valid HMAC by somebody who may not sign: the dearest refusal there is.
#[divan::bench(args = SUITES)]
fn not_listed(bencher: Bencher, suite: Suite) {
    let mut team = Team::new(suite, 1, true);
    let others = std::mem::replace(&mut team.users, vec![suite.cert("listed")]);
    let mut gate = team.gate();
    team.users = others;
    let packets = bencher.with_inputs(|| datagram(team.packet().as_bytes()));
    packets.bench_local_refs(|packet| match gate.handle(black_box(packet), NOW) {
        Verdict::Refuse(refusal) => refusal,
        permitted => panic!("permitted: {permitted:?}"),
    });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Rsa2048,
    Curve25519,
}

impl Suite {
    /// A primary key that signs, and a subkey that decrypts.
    fn cert(self, name: &str) -> Cert {
        let suite = match self {
            Suite::Rsa2048 => CipherSuite::RSA2k,
            Suite::Curve25519 => CipherSuite::Cv25519,
        };
        CertBuilder::new()
            .set_cipher_suite(suite)
            .set_creation_time(NOW.to_system_time() - Duration::from_secs(86_400))
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .add_userid(format!("{name} <{name}@example.org>"))
            .add_transport_encryption_subkey()
            .generate()
            .expect("a key")
            .0
    }
}

/// The key at this place in a certificate.
fn pair(cert: &Cert, at: usize) -> KeyPair {
    let key = cert.keys().secret().nth(at).expect("a secret key").key().clone();
    key.into_keypair().expect("no passphrase")
}

/// No two messages are alike.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A server and its users, with a stanza for each.
struct Team {
    server: Cert,
    users: Vec<Cert>,
    hmac: bool,
}

impl Team {
    fn new(suite: Suite, users: usize, hmac: bool) -> Self {
        let users = (0..users).map(|number| suite.cert(&format!("user{number}"))).collect();
        Self { server: suite.cert("server"), users, hmac }
    }

    fn gate(&self) -> Gate {
        let mut keys = Keys::default();
        keys.add(&self.server.as_tsk().to_vec().expect("octets"), None, NOW).expect("a key");
        let mut keyrings = Keyrings::default();
        for user in &self.users {
            keys.add(&user.to_vec().expect("octets"), None, NOW).expect("a key");
        }
        let keyring = keyrings.add(Box::new(keys));
        let stanzas = self.users.iter().zip(1..).map(|(user, number)| {
            let signer =
                SignerRule::Listed { lists: vec![vec![listed(&user.fingerprint())]], tolerance: Tolerance::default() };
            let openpgp = OpenPgpAccess { keyring, recipient: RecipientRule::Any, signer };
            Stanza { openpgp: Some(openpgp), rijndael: None, hmac: self.hmac(number), ..shared_key(number) }
        });
        gate(stanzas.collect(), keyrings)
    }

    /// Each packet once: the library knows a signature again that it has verified before.
    fn knocks(&self, bencher: Bencher) {
        let mut gate = self.gate();
        let packets = bencher.with_inputs(|| datagram(self.packet().as_bytes()));
        packets.bench_local_refs(|packet| match gate.handle(black_box(packet), NOW) {
            Verdict::Open(opening) => gate.withdraw(&opening),
            other => panic!("not opened: {other:?}"),
        });
    }

    fn hmac(&self, number: u32) -> Option<HmacAuth> {
        let key = HmacKey::new(format!("tag key {number}").into_bytes()).expect("a key");
        self.hmac.then(|| HmacAuth::new(Digest::Sha256, &key))
    }

    /// Of the last user.
    fn packet(&self) -> String {
        let user = self.users.last().expect("one at least");
        let (server, secret) = (self.server.to_vec().expect("octets"), user.as_tsk().to_vec().expect("octets"));
        let file = |data| KeyFile { data, wanted: None, place: "here" };
        let sealer = SequoiaSealer::new(file(&server), Some((file(&secret), None)), NOW).expect("good keys");
        let sealed = sealer
            .seal(message(NEXT.fetch_add(1, Ordering::Relaxed)).encode().expect("a message").expose())
            .expect("sealed");
        let number = u32::try_from(self.users.len()).expect("few");
        seal::openpgp(sealed, self.hmac(number).as_ref()).expect("short").to_string()
    }
}

fn listed(name: &Name) -> Fingerprint {
    Fingerprint::from_bytes(name.as_bytes()).expect("version 4")
}
