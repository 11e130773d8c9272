//! What they send. A letter is a knock, and each is another one: the same text twice would be a replay.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::openpgp::framing;
use fwknop::spa::Digest;
use sequoia_openpgp as pgp;

use pgp::crypto::KeyPair;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::packet::signature::SignatureBuilder;
use pgp::packet::{Key, Literal, OnePassSig, Signature};
use pgp::serialize::Serialize as _;
use pgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient, Signer};
use pgp::types::{DataFormat, Features, HashAlgorithm, SignatureType};
use pgp::{Cert, Fingerprint, Packet};

#[derive(Clone, Default)]
pub struct Letter<'a> {
    to: Vec<&'a Cert>,
    hidden: bool,
    signers: Vec<KeyPair>,
    hash: Option<HashAlgorithm>,
    signed: Option<SystemTime>,
    valid_for: Option<Duration>,
    intended: Option<&'a Cert>,
    /// The signature is over another text.
    forged: bool,
}

impl<'a> Letter<'a> {
    pub fn to(recipient: &'a Cert) -> Self {
        Self { to: vec![recipient], ..Self::default() }
    }

    pub fn and(mut self, recipient: &'a Cert) -> Self {
        self.to.push(recipient);
        self
    }

    pub fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// With the primary key.
    pub fn by(self, signer: &Cert) -> Self {
        self.by_key(signer, &signer.fingerprint())
    }

    pub fn by_key(mut self, signer: &Cert, key: &Fingerprint) -> Self {
        let key = signer.keys().secret().find(|secret| secret.key().fingerprint() == *key).expect("a secret key");
        self.signers.push(key.key().clone().into_keypair().expect("no passphrase"));
        self
    }

    pub fn hash(self, hash: HashAlgorithm) -> Self {
        Self { hash: Some(hash), ..self }
    }

    pub fn signed(self, at: SystemTime) -> Self {
        Self { signed: Some(at), ..self }
    }

    pub fn valid_for(self, span: Duration) -> Self {
        Self { valid_for: Some(span), ..self }
    }

    pub fn meant_for(self, intended: &'a Cert) -> Self {
        Self { intended: Some(intended), ..self }
    }

    pub fn forged(self) -> Self {
        Self { forged: true, ..self }
    }

    /// As it goes over the wire.
    pub fn sealed(self) -> String {
        wire(self.message())
    }

    /// The same with one octet of the ciphertext changed.
    pub fn damaged(self) -> String {
        let mut message = self.message();
        let last = message.len() - 30;
        message[last] ^= 1;
        wire(message)
    }

    fn message(self) -> Vec<u8> {
        let keys: Vec<Key<PublicParts, UnspecifiedRole>> = self.to.iter().map(|cert| encrypts(cert)).collect();
        let recipients = keys.iter().map(|key| {
            let handle = (!self.hidden).then(|| key.key_handle());
            Recipient::new(Features::empty().set_seipdv1(), handle, key)
        });
        let mut sealed = Vec::new();
        let message = Encryptor::for_recipients(Message::new(&mut sealed), recipients).build().unwrap();
        let text = knock();
        if self.forged {
            self.write_forged(message, &text)
        } else {
            self.write_signed(message, &text)
        }
        sealed
    }

    fn write_signed(mut self, mut message: Message<'_>, text: &[u8]) {
        if !self.signers.is_empty() {
            let mut template = SignatureBuilder::new(SignatureType::Binary);
            if let Some(span) = self.valid_for {
                template = template.set_signature_validity_period(span).unwrap();
            }
            let first = self.signers.remove(0);
            let mut signer = Signer::with_template(message, first, template).unwrap();
            signer = signer.hash_algo(self.hash.unwrap_or(HashAlgorithm::SHA256)).unwrap();
            signer = signer.creation_time(self.signed.unwrap_or_else(SystemTime::now));
            if let Some(intended) = self.intended {
                signer = signer.add_intended_recipient(intended);
            }
            for pair in self.signers {
                signer = signer.add_signer(pair).unwrap();
            }
            message = signer.build().unwrap();
        }
        let mut literal = LiteralWriter::new(message).build().unwrap();
        literal.write_all(text).unwrap();
        literal.finalize().unwrap();
    }

    /// What a thief of an old signature would do: put it around another text.
    fn write_forged(mut self, mut message: Message<'_>, text: &[u8]) {
        let signature: Signature = SignatureBuilder::new(SignatureType::Binary)
            .set_hash_algo(HashAlgorithm::SHA256)
            .sign_message(&mut self.signers[0], b"something else")
            .unwrap();
        let announcement = OnePassSig::try_from(&signature).unwrap();
        let mut literal = Literal::new(DataFormat::Binary);
        literal.set_body(text.to_vec());
        for packet in [Packet::from(announcement), literal.into(), signature.into()] {
            packet.serialize(&mut message).unwrap();
        }
        message.finalize().unwrap();
    }
}

fn encrypts(cert: &Cert) -> Key<PublicParts, UnspecifiedRole> {
    cert.keys().subkeys().next().expect("the first subkey encrypts").key().clone().role_into_unspecified()
}

pub fn wire(message: Vec<u8>) -> String {
    STANDARD_NO_PAD.encode(framing::reframe(message).expect("a message to a key"))[2..].to_owned()
}

pub fn knock() -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(1_000_000_000_000_000);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let request = STANDARD_NO_PAD.encode("192.0.2.77,tcp/20001");
    let fields = format!("{number}:Ym9i:1795294448:3.0.0:1:{request}");
    let digest = STANDARD_NO_PAD.encode(Digest::Sha256.hash(fields.as_bytes()));
    format!("{fields}:{digest}").into_bytes()
}
