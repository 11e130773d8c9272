//! A knock as an OpenPGP message, packed by hand: one recipient, at most one signature, no octet that is not needed.
//!
//! Sequoia's own writer puts a random notation of 72 octets into each signature. It guards keys with deterministic
//! signatures against faults that are provoked while the same text is signed twice. A message of ours holds 16 random digits
//! and is signed once, so it is left out, and a message is never longer than the one gpg makes. Unlike gpg's it names its
//! intended recipient wherever there is room, so that no other server can be knocked at with it.
//!
//! How long a message will be is known before it is signed: it is packed with a [`StandIn`] for the signature, as long as
//! the longest one. So nobody is asked for a passphrase or a PIN in vain, or twice.

use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::Packet;
use pgp::crypto::hash::Hash as _;
use pgp::crypto::{self, mpi};
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::packet::one_pass_sig::OnePassSig3;
use pgp::packet::signature::Signature4;
use pgp::packet::signature::subpacket::{Subpacket, SubpacketArea, SubpacketValue};
use pgp::packet::{Key, Literal, OnePassSig, Signature};
use pgp::serialize::Serialize as _;
use pgp::serialize::stream::{Encryptor, Message, Recipient};
use pgp::types::{DataFormat, Features, HashAlgorithm, PublicKeyAlgorithm, SignatureType};

/// For whom a message is, and what goes into it beside the text.
pub(super) struct Packing<'a> {
    pub recipient: &'a pgp::Fingerprint,
    pub encryption: &'a Key<PublicParts, UnspecifiedRole>,
    pub made: SystemTime,
    pub shape: Shape,
}

/// What may be left out or added to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The signature says for whom the message is.
    pub names_recipient: bool,
    /// A literal file name of so many characters: the one part of a message that may be of any length and means nothing
    /// to any receiver.
    pub name_length: usize,
}

impl Shape {
    /// Octets that naming the recipient takes.
    pub const RECIPIENT: usize = 23;
}

impl Packing<'_> {
    pub fn pack(&self, text: &[u8], signer: Option<&mut dyn crypto::Signer>) -> pgp::Result<Vec<u8>> {
        let mut literal = Literal::new(DataFormat::Binary);
        literal.set_filename("x".repeat(self.shape.name_length))?;
        literal.set_body(text.to_vec());

        let mut sealed = Vec::new();
        // Version 1 and its modification detection code: what every GnuPG reads.
        let recipient = Recipient::new(Features::empty().set_seipdv1(), self.encryption.key_handle(), self.encryption);
        let mut message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build()?;
        match signer {
            None => Packet::from(literal).serialize(&mut message)?,
            Some(signer) => {
                let signature = self.sign(text, signer)?;
                Packet::from(announcement(&signature, signer.public())).serialize(&mut message)?;
                Packet::from(literal).serialize(&mut message)?;
                Packet::from(Signature::from(signature)).serialize(&mut message)?;
            }
        }
        message.finalize()?;
        Ok(sealed)
    }

    fn sign(&self, text: &[u8], signer: &mut dyn crypto::Signer) -> pgp::Result<Signature4> {
        let (algorithm, hash) = (signer.public().pk_algo(), hash_for(signer.public()));
        let area = self.subpackets(signer.public())?;
        let signature = |prefix, value| {
            Signature4::new(
                SignatureType::Binary,
                algorithm,
                hash,
                area.clone(),
                SubpacketArea::default(),
                prefix,
                value,
            )
        };
        let unsigned = signature([0; 2], mpi::Signature::RSA { s: mpi::MPI::new(&[1]) });
        let mut context = hash.context()?.for_signature(4);
        context.update(text);
        unsigned.hash(&mut context)?;
        let digest = context.into_digest()?;
        let value = signer.sign(hash, &digest)?;
        Ok(signature([digest[0], digest[1]], value))
    }

    /// With the id alone, GnuPG before 2.1.16 and others find the key; with the fingerprint alone, gpg says that the signer
    /// is `0000000000000000`.
    fn subpackets(&self, key: &Key<PublicParts, UnspecifiedRole>) -> pgp::Result<SubpacketArea> {
        let made = SubpacketValue::SignatureCreationTime(self.made.try_into()?);
        let mut values = vec![
            Subpacket::new(made, true)?,
            Subpacket::new(SubpacketValue::IssuerFingerprint(key.fingerprint()), false)?,
            Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?,
        ];
        if self.shape.names_recipient {
            let recipient = SubpacketValue::IntendedRecipient(self.recipient.clone());
            values.push(Subpacket::new(recipient, false)?);
        }
        SubpacketArea::new(values)
    }
}

/// What stands before the text, so that it can be hashed while it is read.
fn announcement(signature: &Signature4, key: &Key<PublicParts, UnspecifiedRole>) -> OnePassSig {
    let mut announcement = OnePassSig3::new(signature.typ());
    announcement.set_hash_algo(signature.hash_algo());
    announcement.set_pk_algo(signature.pk_algo());
    announcement.set_issuer(key.keyid());
    announcement.set_last(true);
    announcement.into()
}

/// At least as long as the curve demands (RFC 9580 section 5.2.3.2).
fn hash_for(key: &Key<PublicParts, UnspecifiedRole>) -> HashAlgorithm {
    match (key.pk_algo(), key.mpis().bits()) {
        (PublicKeyAlgorithm::ECDSA, Some(385..)) => HashAlgorithm::SHA512,
        (PublicKeyAlgorithm::ECDSA, Some(257..)) => HashAlgorithm::SHA384,
        _ => HashAlgorithm::SHA256,
    }
}

/// Signs nothing, but takes as much room as the key's signatures ever do.
pub(super) struct StandIn<'a>(pub &'a Key<PublicParts, UnspecifiedRole>);

impl crypto::Signer for StandIn<'_> {
    fn public(&self) -> &Key<PublicParts, UnspecifiedRole> {
        self.0
    }

    fn sign(&mut self, _: HashAlgorithm, _: &[u8]) -> pgp::Result<mpi::Signature> {
        let longest = |bits: usize| mpi::MPI::new(&vec![0xff; bits.div_ceil(8)]);
        let bits = self.0.mpis().bits().unwrap_or(512);
        Ok(match self.0.mpis() {
            mpi::PublicKey::RSA { .. } => mpi::Signature::RSA { s: longest(bits) },
            mpi::PublicKey::DSA { q, .. } => mpi::Signature::DSA { r: longest(q.bits()), s: longest(q.bits()) },
            mpi::PublicKey::ECDSA { .. } => mpi::Signature::ECDSA { r: longest(bits), s: longest(bits) },
            _ => mpi::Signature::EdDSA { r: longest(256), s: longest(256) },
        })
    }
}
