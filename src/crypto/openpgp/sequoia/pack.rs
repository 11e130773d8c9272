//! A knock as an OpenPGP message, packed by hand: one recipient, at most one signature, no octet that is not needed.
//!
//! * The signature stands before the text (RFC 9580 section 10.3), not behind it with an announcement before it: 15 octets
//!   less. gpg 2.2 reads that, and so does each engine here; a knock is no stream that would have to be hashed on the way.
//! * Sequoia's own writer puts a random notation of 72 octets into each signature. It guards keys with deterministic
//!   signatures against faults that are provoked while the same text is signed twice. A text of ours holds 16 random digits
//!   and is signed once, so the notation is left out.
//! * The issuer is named by its key id. The fingerprint would tell a receiver no more, as it tries each key that it has with
//!   that id; and with the fingerprint alone, gpg says that the signer is `0000000000000000`.
//! * Unlike gpg's, the signature names its intended recipient wherever there is room ([`Shape`]), so that no other server
//!   can be knocked at with it. It takes as much room as the issuer's fingerprint in gpg's.
//!
//! So a message is never longer than the one gpg makes; `docs/openpgp-sizes.md` has both.

use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::Packet;
use pgp::crypto;
use pgp::crypto::hash::Hash as _;
use pgp::crypto::mpi;
use pgp::packet::key::{PublicParts, UnspecifiedRole};
use pgp::packet::signature::Signature4;
use pgp::packet::signature::subpacket::{Subpacket, SubpacketArea, SubpacketValue};
use pgp::packet::{Key, Literal, Signature};
use pgp::serialize::Serialize as _;
use pgp::serialize::stream::{Encryptor, Message, Recipient};
use pgp::types::{DataFormat, Features, HashAlgorithm, PublicKeyAlgorithm, SignatureType};

use crate::crypto::openpgp::size::Shape;

/// For whom a message is, and what goes into it beside the text.
pub(super) struct Packing<'a> {
    pub recipient: &'a pgp::Fingerprint,
    pub encryption: &'a Key<PublicParts, UnspecifiedRole>,
    pub made: SystemTime,
    pub shape: Shape,
}

impl Packing<'_> {
    pub fn pack(&self, text: &[u8], signer: Option<&mut dyn crypto::Signer>) -> pgp::Result<Vec<u8>> {
        let signature = signer.map(|signer| self.sign(text, signer)).transpose()?;
        let mut literal = Literal::new(DataFormat::Binary);
        literal.set_filename("x".repeat(self.shape.name_length))?;
        literal.set_body(text.to_vec());

        let mut sealed = Vec::new();
        // Version 1 and its modification detection code: what every GnuPG reads.
        let recipient = Recipient::new(Features::empty().set_seipdv1(), self.encryption.key_handle(), self.encryption);
        let mut message = Encryptor::for_recipients(Message::new(&mut sealed), [recipient]).build()?;
        if let Some(signature) = signature {
            Packet::from(signature).serialize(&mut message)?;
        }
        Packet::from(literal).serialize(&mut message)?;
        message.finalize()?;
        Ok(sealed)
    }

    fn sign(&self, text: &[u8], signer: &mut dyn crypto::Signer) -> pgp::Result<Signature> {
        let (algorithm, hash) = (signer.public().pk_algo(), hash_for(signer.public()));
        let area = self.subpackets(signer.public())?;
        let signature = |prefix, value| {
            let unhashed = SubpacketArea::default();
            Signature4::new(SignatureType::Binary, algorithm, hash, area.clone(), unhashed, prefix, value)
        };
        // The value is not part of what is hashed.
        let unsigned = signature([0; 2], mpi::Signature::RSA { s: mpi::MPI::new(&[1]) });
        let mut context = hash.context()?.for_signature(unsigned.version());
        context.update(text);
        unsigned.hash(&mut context)?;
        let digest = context.into_digest()?;
        let value = signer.sign(hash, &digest)?;
        Ok(signature([digest[0], digest[1]], value).into())
    }

    fn subpackets(&self, key: &Key<PublicParts, UnspecifiedRole>) -> pgp::Result<SubpacketArea> {
        let made = SubpacketValue::SignatureCreationTime(self.made.try_into()?);
        let mut values = vec![Subpacket::new(made, true)?, Subpacket::new(SubpacketValue::Issuer(key.keyid()), false)?];
        if self.shape.names_recipient {
            let recipient = SubpacketValue::IntendedRecipient(self.recipient.clone());
            values.push(Subpacket::new(recipient, false)?);
        }
        SubpacketArea::new(values)
    }
}

/// At least as long as the curve demands (RFC 9580 section 5.2.3.2).
fn hash_for(key: &Key<PublicParts, UnspecifiedRole>) -> HashAlgorithm {
    match (key.pk_algo(), key.mpis().bits()) {
        (PublicKeyAlgorithm::ECDSA, Some(385..)) => HashAlgorithm::SHA512,
        (PublicKeyAlgorithm::ECDSA, Some(257..)) => HashAlgorithm::SHA384,
        (PublicKeyAlgorithm::Ed448, _) => HashAlgorithm::SHA512,
        _ => HashAlgorithm::SHA256,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use pgp::crypto::KeyPair;
    use pgp::packet::key::{Key4, SecretParts};
    use pgp::types::Curve;

    use super::*;
    use crate::crypto::openpgp::seal::framed;
    use crate::crypto::openpgp::size::{KeyKind, Pair};
    use crate::crypto::openpgp::{MIN_TEXT, Role};

    type SecretKey = Key<SecretParts, UnspecifiedRole>;

    /// One key of each kind that signs, and one of each that encrypts.
    fn keys(role: Role) -> &'static [SecretKey] {
        static KEYS: OnceLock<[Vec<SecretKey>; 2]> = OnceLock::new();
        let [signers, recipients] = KEYS.get_or_init(|| {
            let rsa: Vec<SecretKey> = [2048, 3072, 4096].map(|bits| Key4::generate_rsa(bits).unwrap().into()).to_vec();
            let on = |sign, curve| SecretKey::from(Key4::generate_ecc(sign, curve).unwrap());
            let nist = |sign| [Curve::NistP256, Curve::NistP384, Curve::NistP521].map(|curve| on(sign, curve));
            let dsa = Key4::generate_dsa(2048).unwrap().into();
            let signers = [on(true, Curve::Ed25519), Key4::generate_ed25519().unwrap().into(), dsa];
            let recipients = [on(false, Curve::Cv25519), Key4::generate_x25519().unwrap().into()];
            [[&rsa[..], &nist(true), &signers].concat(), [&rsa[..], &nist(false), &recipients].concat()]
        });
        if role == Role::Signer { signers } else { recipients }
    }

    fn kind(key: &SecretKey) -> KeyKind {
        KeyKind::of(key.parts_as_public()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Never longer than said beforehand, and shorter only by the zeros that three integers may begin with.
        #[test]
        fn the_size_is_known_beforehand(recipient: prop::sample::Index, signer: Option<prop::sample::Index>, text in 70usize..1200) {
            let recipient = recipient.get(keys(Role::Recipient));
            let signer = signer.map(|signer| signer.get(keys(Role::Signer)));
            let pair = Pair { recipient: kind(recipient), signer: signer.map(kind) };
            let to = recipient.fingerprint();
            let packing = Packing {
                recipient: &to,
                encryption: recipient.parts_as_public(),
                made: SystemTime::now(),
                shape: pair.shape(text),
            };
            let text = vec![b'x'; text];
            let mut signer: Option<KeyPair> = signer.map(|key| key.clone().into_keypair().unwrap());
            let sealed = packing.pack(&text, signer.as_mut().map(|key| key as &mut dyn crypto::Signer)).unwrap();
            let sealed = framed(sealed).unwrap();
            let said = pair.octets(text.len());
            prop_assert!(sealed.len() <= said && said <= sealed.len() + 4, "{}: {} said {}", pair, sealed.len(), said);
            prop_assert!((sealed.len() * 4).div_ceil(3) >= MIN_TEXT);
        }
    }
}
