//! Why a packet was refused: a closed list, one variant per class of `spec/wire.md` 11, named as there.
//!
//! A refused packet is not an error of ours. The core returns reasons; the daemon's loop writes them to the journal.

use std::fmt;

use crate::crypto::openpgp::Fingerprint;
use crate::time::Age;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $(($data:ty))? = $class:literal;)*) => {
        /// Why a packet was refused.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Reason { $($(#[$doc])* $variant $(($data))?,)* }

        impl Reason {
            /// The class name: what the journal writes and the vectors expect.
            pub fn class(&self) -> &'static str {
                match self { $(reasons!(@pattern $variant $(($data))?) => $class,)* }
            }

            /// All class names, for the documents and the tests that keep them complete.
            pub const CLASSES: &'static [&'static str] = &[$($class),*];
        }
    };
    (@pattern $variant:ident) => { Reason::$variant };
    (@pattern $variant:ident ($data:ty)) => { Reason::$variant(_) };
}

reasons! {
    // The payload as captured: nothing has been decrypted.
    PacketTooShort = "packet-too-short";
    PacketTooLong = "packet-too-long";
    /// The text starts with the prefix that is never sent: somebody put it back to replay a packet.
    PrefixPresent = "prefix-present";
    NotBase64 = "not-base64";
    /// Base64 with unused bits set: another spelling of a packet that may have been seen already.
    NotCanonical = "not-canonical";
    /// An HTTP request that carries no SPA text, or HTTP while it is switched off.
    NotHttpSpa = "not-http-spa";
    NoSourceMatch = "no-source-match";
    Replay = "replay";
    /// The replay store could not be read or written: without it nothing may be opened.
    ReplayStore = "replay-store";

    // Per stanza, before decryption.
    StanzaExpired = "stanza-expired";
    /// The stanza has no key for this kind of packet.
    NoKey = "no-key";
    HmacLength = "hmac-length";
    HmacMismatch = "hmac-mismatch";

    // Decryption.
    CiphertextBase64 = "ciphertext-base64";
    CiphertextLength = "ciphertext-length";
    /// The ciphertext does not begin with `Salted__`.
    CiphertextMagic = "ciphertext-magic";
    DecryptFailed = "decrypt-failed";
    /// No key, damaged, not OpenPGP, or without integrity protection.
    GpgDecrypt = "gpg-decrypt";
    /// gpg itself was to read it, and cannot be started or did not answer in time.
    GpgEngine = "gpg-engine";
    GpgNoSignature = "gpg-no-signature";
    GpgBadSignature(SignatureFault) = "gpg-bad-signature";
    SignerNotListed(Fingerprint) = "signer-not-listed";
    /// Encrypted to a key of ours, but not to the one the stanza names in `GPG_DECRYPT_ID`.
    WrongRecipient = "wrong-recipient";

    // The plaintext and its fields.
    PlaintextLength = "plaintext-length";
    NonPrintable = "non-printable";
    TooFewFields = "too-few-fields";
    DigestLength = "digest-length";
    DigestMismatch = "digest-mismatch";
    RandomValue = "random-value";
    UsernameMissing = "username-missing";
    UsernameTooLong = "username-too-long";
    UsernameBase64 = "username-base64";
    UsernameChars = "username-chars";
    TimestampMissing = "timestamp-missing";
    TimestampTooLong = "timestamp-too-long";
    TimestampRange = "timestamp-range";
    VersionMissing = "version-missing";
    VersionTooLong = "version-too-long";
    TypeMissing = "type-missing";
    TypeTooLong = "type-too-long";
    TypeRange = "type-range";
    FieldCount = "field-count";
    MessageMissing = "message-missing";
    MessageTooLong = "message-too-long";
    MessageBase64 = "message-base64";
    MessageCommand = "message-command";
    MessageAccess = "message-access";
    NatMissing = "nat-missing";
    NatTooLong = "nat-too-long";
    NatBase64 = "nat-base64";
    NatFormat = "nat-format";
    ServerAuthTooLong = "server-auth-too-long";
    ServerAuthBase64 = "server-auth-base64";
    TimeoutMissing = "timeout-missing";
    TimeoutTooLong = "timeout-too-long";
    TimeoutDigits = "timeout-digits";
    TimeoutRange = "timeout-range";

    // Policy.
    TooOld(Age) = "too-old";
    SourceAddressRequired = "source-address-required";
    UsernameMismatch(Box<UserMismatch>) = "username-mismatch";
    NatDisabled = "nat-disabled";
    /// No host that this stanza forwards to.
    NatTarget = "nat-target";
    /// A name where only addresses are taken.
    NatName = "nat-name";
    /// The way in is to be limited to the address the packet was sent to, and that is not known or of another family.
    DestinationUnknown = "destination-unknown";
    CommandDisabled = "command-disabled";
    PortDenied = "port-denied";
    /// The table of open grants is full.
    TooManyGrants = "too-many-grants";

    // Not decided at all.
    /// There is more public-key work than may be done: the same packet may be sent again.
    Busy = "busy";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class())
    }
}

/// What was wrong with a signature that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// Does not fit the data.
    Bad,
    /// We have no certificate for its issuer: nothing was verified.
    UnknownSigner,
    Expired,
    Revoked,
    NotYetValid,
    /// An algorithm the policy refuses, such as MD5, in the signature or in what binds its key.
    Weak,
    /// An algorithm that this process has no arithmetic for: nothing was verified.
    Unsupported,
    /// Made by a key that may not sign.
    WrongUse,
}

impl fmt::Display for SignatureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SignatureFault::Bad => "bad",
            SignatureFault::UnknownSigner => "unknown-signer",
            SignatureFault::Expired => "expired",
            SignatureFault::Revoked => "revoked",
            SignatureFault::NotYetValid => "not-yet-valid",
            SignatureFault::Weak => "weak",
            SignatureFault::Unsupported => "unsupported",
            SignatureFault::WrongUse => "wrong-use",
        })
    }
}

/// The name a message carried and the one its stanza demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMismatch {
    pub found: String,
    pub required: String,
}
