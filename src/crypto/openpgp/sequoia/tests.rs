//! The engine with keys and messages made here: what GnuPG would not make, and what only an attacker would.

use std::io::Write;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CertRevocationBuilder, CipherSuite};
use pgp::packet::Tag;
use pgp::packet::signature::SignatureBuilder;
use pgp::policy::StandardPolicy;
use pgp::serialize::SerializeInto;
use pgp::serialize::stream::{ArbitraryWriter, Compressor, Encryptor, LiteralWriter, Message, Recipient, Signer};
use pgp::types::{CompressionAlgorithm, Features, KeyFlags, ReasonForRevocation, SignatureType};
use pgp::{Cert, Packet};

use super::*;
use crate::crypto::openpgp::{Fingerprint, Signature, SignerRule, Tolerance};
use crate::reason::SignatureFault;
use crate::secret::Passphrase;

const BORN: u64 = 1_700_000_000;
const NOW: Timestamp = Timestamp::from_secs(BORN + 1_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn at(secs: u64) -> SystemTime {
    Timestamp::from_secs(secs).to_system_time()
}

fn builder(name: &str) -> CertBuilder<'static> {
    CertBuilder::new()
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_creation_time(at(BORN))
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .add_userid(format!("{name} <{name}@example.org>"))
        .add_transport_encryption_subkey()
}

fn cert(name: &str) -> Cert {
    builder(name).generate().unwrap().0
}

fn keyring(secret: &[&Cert], public: &[&Cert]) -> Keys {
    let mut keys = Keys::default();
    for cert in secret {
        let notices = keys.add(&cert.as_tsk().to_vec().unwrap(), None, NOW).unwrap();
        assert_eq!(notices, []);
    }
    for cert in public {
        keys.add(&cert.to_vec().unwrap(), None, NOW).unwrap();
    }
    keys
}

/// How to make a message.
#[derive(Default)]
struct Plan<'a> {
    to: Vec<&'a Cert>,
    hidden: bool,
    signers: Vec<&'a Cert>,
    /// Seconds since the epoch; `None`: now.
    signed: Option<u64>,
    valid_for: Option<Duration>,
    intended: Option<&'a Cert>,
    compressions: usize,
    /// A packet of padding of so many octets before the text.
    padding: usize,
}

impl Plan<'_> {
    fn make(&self, text: &[u8]) -> Vec<u8> {
        let policy = StandardPolicy::new();
        let mut sealed = Vec::new();
        let mut subkeys = Vec::new();
        for cert in &self.to {
            let valid = cert.with_policy(&policy, NOW.to_system_time()).unwrap();
            subkeys.push(valid.keys().for_transport_encryption().next().unwrap().key().clone());
        }
        let recipients = subkeys.iter().map(|key| {
            let handle = (!self.hidden).then(|| key.key_handle());
            Recipient::new(Features::empty().set_seipdv1(), handle, key)
        });
        let mut message = Encryptor::for_recipients(Message::new(&mut sealed), recipients).build().unwrap();
        for _ in 0..self.compressions {
            message = Compressor::new(message).algo(CompressionAlgorithm::Zlib).build().unwrap();
        }
        if self.padding > 0 {
            let mut padding = ArbitraryWriter::new(message, Tag::Padding).unwrap();
            padding.write_all(&vec![0; self.padding]).unwrap();
            message = padding.finalize_one().unwrap().unwrap();
        }
        let mut pairs = self
            .signers
            .iter()
            .map(|cert| cert.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap());
        if let Some(first) = pairs.next() {
            let mut template = pgp::packet::signature::SignatureBuilder::new(pgp::types::SignatureType::Binary);
            if let Some(span) = self.valid_for {
                template = template.set_signature_validity_period(span).unwrap();
            }
            let signed = self.signed.map_or(NOW.to_system_time(), at);
            let mut signer = Signer::with_template(message, first, template).unwrap().creation_time(signed);
            if let Some(intended) = self.intended {
                signer = signer.add_intended_recipient(intended);
            }
            for pair in pairs {
                signer = signer.add_signer(pair).unwrap();
            }
            message = signer.build().unwrap();
        }
        let mut literal = LiteralWriter::new(message).build().unwrap();
        literal.write_all(text).unwrap();
        literal.finalize().unwrap();
        sealed
    }
}

fn listed(cert: &Cert) -> SignerRule {
    let key = Fingerprint::from_bytes(cert.fingerprint().as_bytes()).unwrap();
    SignerRule::Listed { lists: vec![vec![key]], tolerance: Tolerance::default() }
}

/// What is wrong with the one signature.
fn fault(keys: &Keys, message: &[u8], now: Timestamp) -> Option<SignatureFault> {
    let opened = keys.open(message, now).unwrap();
    assert_eq!(opened.signatures.len(), 1);
    opened.signatures[0].fault
}

#[test]
fn a_message_for_others_costs_no_secret_key_operation() {
    let (server, other, client) = (cert("server"), cert("other"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let message = Plan { to: vec![&other; 5], signers: vec![&client], ..Plan::default() }.make(b"x");
    let (opened, operations) = keys.open_counting(&message, NOW);
    assert_eq!((opened.unwrap_err(), operations), (Reason::GpgDecrypt, 0));

    let message = Plan { to: vec![&other, &server], signers: vec![&client], ..Plan::default() }.make(b"x");
    let (opened, operations) = keys.open_counting(&message, NOW);
    assert_eq!((opened.unwrap().plaintext.expose().as_slice(), operations), (&b"x"[..], 1));
}

#[test]
fn each_of_our_keys_is_used_at_most_once_per_message() {
    let (server, second, other) = (cert("server"), cert("second"), cert("other"));
    let keys = keyring(&[&server, &second], &[]);
    // The session keys are for somebody else, but say that they are for our key, again and again.
    let mut message = Plan { to: vec![&other; 9], ..Plan::default() }.make(b"x");
    let [theirs, ours] = [&other, &server].map(|cert| {
        let key = cert.keys().subkeys().next().unwrap();
        key.key().keyid().as_bytes().to_vec()
    });
    let places: Vec<usize> = message.windows(8).enumerate().filter(|(_, id)| *id == theirs).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 9);
    places.iter().for_each(|at| message[*at..at + 8].copy_from_slice(&ours));
    let (opened, operations) = keys.open_counting(&message, NOW);
    assert_eq!((opened.unwrap_err(), operations), (Reason::GpgDecrypt, 1));

    let hidden = Plan { to: vec![&other; 9], hidden: true, ..Plan::default() }.make(b"x");
    let (opened, operations) = keys.open_counting(&hidden, NOW);
    assert_eq!((opened.unwrap_err(), operations), (Reason::GpgDecrypt, 2));
}

#[test]
fn hidden_recipients_are_tried_with_all_keys() {
    let (first, second) = (cert("first"), cert("second"));
    let keys = keyring(&[&first, &second], &[]);
    for server in [&first, &second] {
        let message = Plan { to: vec![server], hidden: true, ..Plan::default() }.make(b"x");
        let opened = keys.open(&message, NOW).unwrap();
        let recipient = opened.recipient.unwrap();
        assert_eq!(recipient.primary.as_bytes(), server.fingerprint().as_bytes());
        assert_ne!(recipient.primary, recipient.key);
    }
}

#[test]
fn no_more_is_unpacked_than_a_plaintext_may_be_long() {
    let server = cert("server");
    let keys = keyring(&[&server], &[]);
    for compressions in [0, 1] {
        let plan = Plan { to: vec![&server], compressions, ..Plan::default() };
        assert_eq!(keys.open(&plan.make(&[b'x'; 1500]), NOW).unwrap().plaintext.expose().len(), 1500);
        assert_eq!(keys.open(&plan.make(&[b'x'; 1501]), NOW).unwrap_err(), Reason::GpgDecrypt);
    }
}

/// A hundred megabytes in a hundred kilobytes, and a bomb in a bomb: refused sooner than they can be unpacked.
#[test]
fn bombs_do_not_go_off() {
    let server = cert("server");
    let keys = keyring(&[&server], &[]);
    let plan = |compressions, padding| Plan { to: vec![&server], compressions, padding, ..Plan::default() };
    let bombs = [plan(1, 0).make(&vec![0; 100_000_000]), plan(2, 0).make(b"x"), plan(3, 0).make(&vec![0; 10_000_000])];
    assert!(bombs[0].len() < 200_000);
    // Processor time of this thread, whatever else the machine does.
    let used = || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap();
    let start = used();
    for bomb in bombs {
        assert_eq!(keys.open(&bomb, NOW).unwrap_err(), Reason::GpgDecrypt);
    }
    let took = used() - start;
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert!(keys.open(&plan(1, 1000).make(b"x"), NOW).is_ok(), "some padding is allowed");
}

#[test]
fn more_than_a_handful_of_signatures_is_refused() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let plan = |count| Plan { to: vec![&server], signers: vec![&client; count], ..Plan::default() };
    let four = keys.open(&plan(4).make(b"x"), NOW).unwrap();
    assert_eq!(four.signatures.len(), 4);
    assert!(listed(&client).judge(&four).is_ok());
    assert_eq!(keys.open(&plan(5).make(b"x"), NOW).unwrap_err(), Reason::GpgDecrypt);
}

#[test]
fn a_signature_is_judged_as_of_now_not_as_of_its_date() {
    let server = cert("server");
    let expiring = builder("expiring").set_validity_period(DAY).generate().unwrap().0;
    let revoked = cert("revoked");
    let revocation = CertRevocationBuilder::new()
        .set_signature_creation_time(at(BORN + 500_000))
        .unwrap()
        .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"")
        .unwrap();
    let mut signer = revoked.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let revocation = revocation.build(&mut signer, &revoked, None).unwrap();
    let revoked = revoked.insert_packets(revocation).unwrap().0;
    let keys = keyring(&[&server], &[&expiring, &revoked]);

    let signed_by = |client, signed| {
        Plan { to: vec![&server], signers: vec![client], signed: Some(signed), ..Plan::default() }.make(b"x")
    };
    let message = signed_by(&expiring, BORN + 100);
    assert_eq!(fault(&keys, &message, Timestamp::from_secs(BORN + 200)), None);
    assert_eq!(fault(&keys, &message, NOW), Some(SignatureFault::Expired));
    let message = signed_by(&revoked, BORN + 100);
    assert_eq!(fault(&keys, &message, Timestamp::from_secs(BORN + 200)), None);
    assert_eq!(fault(&keys, &message, NOW), Some(SignatureFault::Revoked));
}

/// What is said at load about a listed signer is what will be said about its signatures.
#[test]
fn the_standing_of_a_key_is_that_of_its_signatures() {
    let server = cert("server");
    let expiring = builder("expiring").set_validity_period(DAY).generate().unwrap().0;
    let subkey = builder("subkey").set_primary_key_flags(KeyFlags::empty().set_certification()).add_signing_subkey();
    let subkey = subkey.generate().unwrap().0;
    let encrypting = builder("encrypting").set_primary_key_flags(KeyFlags::empty().set_certification());
    let encrypting = encrypting.generate().unwrap().0;
    let keys = keyring(&[&server], &[&expiring, &subkey, &encrypting]);
    let name = |fingerprint: pgp::Fingerprint| Fingerprint::from_bytes(fingerprint.as_bytes()).unwrap();
    let standing = |cert: &Cert| keys.standing(&name(cert.fingerprint()), NOW);
    assert_eq!(standing(&server), None);
    assert_eq!(standing(&subkey), None, "one of its keys signs");
    assert_eq!(standing(&expiring), Some(SignatureFault::Expired));
    assert_eq!(keys.standing(&name(expiring.fingerprint()), Timestamp::from_secs(BORN + 9)), None);
    assert_eq!(standing(&encrypting), Some(SignatureFault::WrongUse));
    assert_eq!(standing(&cert("nobody")), Some(SignatureFault::UnknownSigner));
    let encrypts = server.keys().subkeys().next().unwrap().key().fingerprint();
    assert_eq!(keys.standing(&name(encrypts), NOW), Some(SignatureFault::WrongUse));
}

#[test]
fn dates_of_signatures() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let plan = |signed, valid_for| Plan {
        to: vec![&server],
        signers: vec![&client],
        signed: Some(signed),
        valid_for,
        ..Plan::default()
    };
    let (now, hour) = (NOW.secs(), 3600);
    assert_eq!(fault(&keys, &plan(now - hour, None).make(b"x"), NOW), None);
    assert_eq!(fault(&keys, &plan(now + 120, None).make(b"x"), NOW), None, "a clock that is ahead");
    assert_eq!(fault(&keys, &plan(now + hour, None).make(b"x"), NOW), Some(SignatureFault::NotYetValid));
    assert_eq!(fault(&keys, &plan(BORN - hour, None).make(b"x"), NOW), Some(SignatureFault::NotYetValid));
    let minute = Some(Duration::from_secs(60));
    assert_eq!(fault(&keys, &plan(now, minute).make(b"x"), NOW), None);
    assert_eq!(fault(&keys, &plan(now - 60, minute).make(b"x"), NOW), Some(SignatureFault::Expired));
}

/// A client with a clock that is ahead makes a key and uses it at once.
#[test]
fn a_key_may_be_as_young_as_its_signature() {
    let server = cert("server");
    let now = NOW.secs();
    let young = builder("young").set_creation_time(at(now + 60)).generate().unwrap().0;
    let keys = keyring(&[&server], &[&young]);
    let message = Plan { to: vec![&server], signers: vec![&young], signed: Some(now + 70), ..Plan::default() };
    assert_eq!(fault(&keys, &message.make(b"x"), NOW), None);
}

#[test]
fn a_key_that_may_not_sign_signs_in_vain() {
    let server = cert("server");
    let certifier = builder("certifier").set_primary_key_flags(KeyFlags::empty().set_certification());
    let certifier = certifier.generate().unwrap().0;
    let keys = keyring(&[&server], &[&certifier]);
    let message = Plan { to: vec![&server], signers: vec![&certifier], ..Plan::default() }.make(b"x");
    assert_eq!(fault(&keys, &message, NOW), Some(SignatureFault::WrongUse));
}

/// Otherwise anybody who is let in could shut others out.
#[test]
fn a_key_that_another_certificate_claims_still_signs_for_its_owner() {
    use pgp::packet::signature::SignatureBuilder;
    use pgp::types::SignatureType;
    let server = cert("server");
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let (alice, mallory) = (cert("alice"), cert("mallory"));
        let message = Plan { to: vec![&server], signers: vec![&alice], ..Plan::default() }.make(b"x");
        let mut signer = mallory.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
        let claimed = alice.primary_key().key().clone().parts_into_public().role_into_subordinate();
        let claim = SignatureBuilder::new(SignatureType::SubkeyBinding)
            .set_signature_creation_time(at(BORN))
            .unwrap()
            .set_key_flags(KeyFlags::empty().set_storage_encryption())
            .unwrap();
        let claim = claimed.bind(&mut signer, &mallory, claim).unwrap();
        let mallory = mallory.insert_packets([pgp::Packet::from(claimed), claim.into()]).unwrap().0;
        let keys = keyring(&[&server], &[&alice, &mallory]);
        let opened = keys.open(&message, NOW).unwrap();
        assert!(listed(&alice).judge(&opened).is_ok(), "{:?}", opened.signatures);
        assert!(listed(&mallory).judge(&opened).is_err(), "claiming a key is not having it");
        orders.insert(mallory.fingerprint() < alice.fingerprint());
        if orders.len() == 2 {
            return;
        }
    }
    panic!("the same order 64 times");
}

#[test]
fn a_signer_we_do_not_know_is_nobody() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[]);
    let message = Plan { to: vec![&server], signers: vec![&client], ..Plan::default() }.make(b"x");
    let opened = keys.open(&message, NOW).unwrap();
    let nobody = Signature { by: None, user_id: None, fault: Some(SignatureFault::UnknownSigner), sha1: false };
    assert_eq!(opened.signatures, [nobody]);
}

/// What one server was sent, its administrator must not be able to use at another.
#[test]
fn a_message_meant_for_another_server_is_refused() {
    let (ours, theirs, client) = (cert("ours"), cert("theirs"), cert("client"));
    let keys = keyring(&[&ours], &[&client]);
    let plan = |intended| Plan { to: vec![&ours], signers: vec![&client], intended: Some(intended), ..Plan::default() };
    assert_eq!(fault(&keys, &plan(&ours).make(b"x"), NOW), None);
    assert_eq!(fault(&keys, &plan(&theirs).make(b"x"), NOW), Some(SignatureFault::Bad));
}

#[test]
fn a_user_id_cannot_write_to_the_terminal() {
    let server = cert("server");
    let client = builder("client").add_userid("\x1b[2Jx\nopen grant=1").generate().unwrap().0;
    let keys = keyring(&[&server], &[&client]);
    assert!(keys.certificates().all(|(_, id)| !id.contains(char::is_control)));
    let message = Plan { to: vec![&server], signers: vec![&client], ..Plan::default() }.make(b"x");
    let opened = keys.open(&message, NOW).unwrap();
    assert!(!opened.signatures[0].user_id.as_ref().unwrap().contains(char::is_control));
}

#[test]
fn plain_and_merely_signed_messages_are_refused() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let mut plain = Vec::new();
    let mut literal = LiteralWriter::new(Message::new(&mut plain)).build().unwrap();
    literal.write_all(b"x").unwrap();
    literal.finalize().unwrap();
    assert_eq!(keys.open(&plain, NOW).unwrap_err(), Reason::GpgDecrypt);

    let mut encrypted = Vec::new();
    let message = Encryptor::with_passwords(Message::new(&mut encrypted), ["password"]).build().unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    literal.write_all(b"x").unwrap();
    literal.finalize().unwrap();
    assert_eq!(keys.open(&encrypted, NOW).unwrap_err(), Reason::GpgDecrypt);
}

#[test]
fn keys_are_found_by_what_users_write() {
    let (bob, jbob) = (cert("bob"), cert("jbob"));
    let keys = keyring(&[], &[&bob, &jbob]);
    let name = |cert: &Cert| Fingerprint::from_bytes(cert.fingerprint().as_bytes()).unwrap();
    let full = name(&bob).to_string();
    let spaced: String = full.as_bytes().chunks(4).map(|four| format!("{} ", String::from_utf8_lossy(four))).collect();
    let forms = [full.clone(), full.to_lowercase(), format!("0x{}", &full[24..]), full[32..].to_owned(), spaced];
    for form in
        forms.iter().map(String::as_str).chain(["bob@example.org", "<BOB@example.org>", "jbob", " jbob@EXAMPLE "])
    {
        let expected = if form.contains("jbob") { &jbob } else { &bob };
        assert_eq!(keys.find(form), Found::One(name(expected)), "{form:?}");
    }
    let mut both = vec![name(&bob), name(&jbob)];
    both.sort();
    assert_eq!(keys.find("bob"), Found::Several(both));
    for nobody in ["", "<>", "alice", "00000000", &full[..16], &full[33..]] {
        assert_eq!(keys.find(nobody), Found::None, "{nobody:?}");
    }
    let subkey = bob.keys().subkeys().next().unwrap().key().fingerprint();
    let subkey = Fingerprint::from_bytes(subkey.as_bytes()).unwrap();
    assert_eq!(keys.find(&subkey.short_id()), Found::One(subkey));
}

#[test]
fn protected_keys_are_unlocked_or_told() {
    let server = builder("server").set_password(Some("right".into())).generate().unwrap().0;
    let data = server.as_tsk().to_vec().unwrap();
    let add = |passphrase: Option<&str>| {
        let mut keys = Keys::default();
        let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
        let notices = keys.add(&data, passphrase.as_ref(), NOW).unwrap();
        (keys.decrypting().count(), notices)
    };
    assert_eq!(add(Some("right")), (1, vec![]));
    assert!(matches!(add(Some("wrong")), (0, told) if matches!(told[..], [Notice::WrongPassphrase { .. }])));
    assert!(matches!(add(None), (0, told) if matches!(told[..], [Notice::NoPassphrase { .. }])));
}

/// A passphrase that comes later, with the same certificate from another file.
#[test]
fn certificates_are_merged_and_no_key_counted_twice() {
    let server = cert("server");
    let mut keys = keyring(&[&server, &server], &[&server]);
    assert_eq!((keys.certificates().count(), keys.decrypting().count()), (1, 1));
    assert!(keys.add(b"nothing", None, NOW).is_err());
}

#[test]
fn any_time_is_taken() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let message = Plan { to: vec![&server], signers: vec![&client], ..Plan::default() }.make(b"x");
    assert_eq!(fault(&keys, &message, Timestamp::from_secs(0)), Some(SignatureFault::NotYetValid));
    for secs in [u64::from(u32::MAX), 1 << 40, u64::MAX] {
        let _ = keys.open(&message, Timestamp::from_secs(secs));
    }
}

/// RFC 9580's own encryption, as far as the library has it.
#[test]
fn authenticated_encryption_is_read() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let key = server.keys().subkeys().next().unwrap().key().clone().role_into_unspecified();
    let recipient = Recipient::new(Features::empty().set_seipdv2(), key.key_handle(), &key);
    let mut sealed = Vec::new();
    let message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]);
    let message = message.aead_algo(pgp::types::AEADAlgorithm::EAX).build().unwrap();
    let pair = client.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let message = Signer::new(message, pair).unwrap().creation_time(NOW.to_system_time()).build().unwrap();
    let mut literal = LiteralWriter::new(message).build().unwrap();
    literal.write_all(b"x").unwrap();
    literal.finalize().unwrap();
    assert_eq!(fault(&keys, &sealed, NOW), None);
    let last = sealed.len() - 20;
    sealed[last] ^= 1;
    assert_eq!(keys.open(&sealed, NOW).unwrap_err(), Reason::GpgDecrypt);
}

/// Our own messages have the signature before the text, for which Sequoia has no hash ready (RFC 9580 section 10.3).
#[test]
fn a_signature_before_the_text_is_for_that_text_alone() {
    let (server, client) = (cert("server"), cert("client"));
    let keys = keyring(&[&server], &[&client]);
    let pair = client.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
    let signed = |kind, text: &[u8]| {
        let builder = SignatureBuilder::new(kind).set_signature_creation_time(NOW.to_system_time()).unwrap();
        let mut hash = pgp::types::HashAlgorithm::SHA512.context().unwrap().for_signature(4);
        hash.update(text);
        Packet::from(builder.sign_hash(&mut pair.clone(), hash).unwrap()).to_vec().unwrap()
    };
    let literal = |text: &[u8]| {
        let mut literal = pgp::packet::Literal::new(pgp::types::DataFormat::Binary);
        literal.set_body(text.to_vec());
        Packet::from(literal).to_vec().unwrap()
    };
    let good = signed(SignatureType::Binary, b"the text");
    assert_eq!(fault(&keys, &seal_raw(&server, &[&good[..], &literal(b"the text")].concat()), NOW), None);
    for (signature, text) in [
        (&good, &b"another text"[..]),
        (&good, b""),
        (&signed(SignatureType::Standalone, b"the text"), b"the text"),
        (&signed(SignatureType::GenericCertification, b"the text"), b"the text"),
    ] {
        let forged = seal_raw(&server, &[&signature[..], &literal(text)].concat());
        assert_eq!(fault(&keys, &forged, NOW), Some(SignatureFault::Bad), "{text:?}");
    }
    let stranger = keyring(&[&server], &[]);
    let message = seal_raw(&server, &[&good[..], &literal(b"the text")].concat());
    assert_eq!(fault(&stranger, &message, NOW), Some(SignatureFault::UnknownSigner));
    assert!(keys.open(&seal_raw(&server, &good), NOW).is_err(), "a signature of nothing");
    assert!(keys.open(&seal_raw(&server, &[&good[..], &literal(b"a"), &literal(b"the text")].concat()), NOW).is_err());
    let late = [&literal(b"the text")[..], &good].concat();
    let late = keys.open(&seal_raw(&server, &late), NOW);
    assert!(!late.is_ok_and(|opened| listed(&client).judge(&opened).is_ok()), "behind the text without announcement");
}

/// Encrypts any octets as the content of a message.
fn seal_raw(server: &Cert, content: &[u8]) -> Vec<u8> {
    let key = server.keys().subkeys().next().unwrap().key().clone().role_into_unspecified();
    let recipient = Recipient::new(Features::empty().set_seipdv1(), key.key_handle(), &key);
    let mut sealed = Vec::new();
    let mut message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build().unwrap();
    message.write_all(content).unwrap();
    message.finalize().unwrap();
    sealed
}

/// The keys and one message, made once for all mutations.
fn scene() -> &'static (Keys, Cert, Vec<u8>) {
    static SCENE: std::sync::OnceLock<(Keys, Cert, Vec<u8>)> = std::sync::OnceLock::new();
    SCENE.get_or_init(|| {
        let (server, client) = (cert("server"), cert("client"));
        let keys = keyring(&[&server], &[&client]);
        let message = Plan { to: vec![&server], signers: vec![&client], ..Plan::default() }.make(b"the text");
        (keys, client, message)
    })
}

proptest! {
    /// What is accepted after a change says what was signed: a header can be spelled in several ways, nothing else.
    #[test]
    fn a_changed_message_is_refused(at in any::<prop::sample::Index>(), octet in any::<u8>(), kind in 0..3) {
        let (keys, client, message) = scene();
        let mut changed = message.clone();
        let at = at.index(changed.len());
        match kind {
            0 => changed[at] = octet,
            1 => changed.insert(at, octet),
            _ => drop(changed.remove(at)),
        }
        prop_assume!(changed != *message);
        if let Ok(opened) = keys.open(&changed, NOW) {
            prop_assert_eq!(opened.plaintext.expose().as_slice(), b"the text");
            prop_assert!(listed(client).judge(&opened).is_ok());
            prop_assert!(at < 16, "a change at octet {} was not noticed", at);
        }
    }

    /// Whoever has our public key can write anything inside, but cannot sign.
    #[test]
    fn junk_to_us_carries_no_valid_signature(tag in 0u8..64, junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        static SERVER: std::sync::OnceLock<(Keys, Cert)> = std::sync::OnceLock::new();
        let (keys, server) = SERVER.get_or_init(|| {
            let server = cert("server");
            (keyring(&[&server], &[]), server)
        });
        let packet = [&[0xc0 | tag, 0xff, 0, 0, 0, junk.len() as u8][..], &junk].concat();
        let inside = [&packet[..], &[0xcb, 7, b'b', 0, 0, 0, 0, 0, b'x']].concat();
        for inside in [&junk, &packet, &inside] {
            if let Ok(opened) = keys.open(&seal_raw(server, inside), NOW) {
                prop_assert!(opened.signatures.iter().all(|signature| signature.fault.is_some()));
            }
        }
    }

    #[test]
    fn junk_is_refused(junk in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (keys, _, _) = scene();
        prop_assert_eq!(keys.open(&junk, NOW).unwrap_err(), Reason::GpgDecrypt);
        // A few bytes can be a bare public key: it has no user id, decrypts nothing, and signs for nobody.
        let mut others = Keys::default();
        if others.add(&junk, None, NOW).is_ok() {
            prop_assert_eq!(others.decrypting().count(), 0);
            for (key, _) in others.certificates() {
                prop_assert!(others.standing(&key, NOW).is_some());
            }
        }
    }
}

#[test]
fn a_bare_public_key_is_worth_nothing() {
    let mut keys = Keys::default();
    assert!(keys.add(&[198, 7, 4, 0, 0, 0, 0, 4, 0], None, NOW).is_ok());
    assert_eq!((keys.certificates().count(), keys.decrypting().count()), (1, 0));
    let key = keys.certificates().next().unwrap().0;
    assert!(keys.standing(&key, NOW).is_some());
}
