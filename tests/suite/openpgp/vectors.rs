//! Every vector of `testdata/spa/gpg.json` through framing, engine, policy and decoding.

use std::fs;
use std::path::{Path, PathBuf};

use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::crypto::openpgp::gpgme::GpgmeEngine;
use fwknop::crypto::openpgp::sequoia::{Found, Keys};
use fwknop::crypto::openpgp::{Engine, Fingerprint, Opened, RecipientRule, SignerRule, Tolerance, framing};
use fwknop::reason::Reason;
use fwknop::secret::Passphrase;
use fwknop::spa::{Digest, Message};
use fwknop::time::Timestamp;
use serde_json::Value;

use super::engines::patiently;

/// The hour in which the vectors were verified: the expired key has expired, the message's age is not looked at.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_298_400);

/// Where we decide otherwise than the original, on purpose: the vector, what we do, and why.
const DEVIATIONS: [(&str, Outcome, &str); 4] = [
    (
        "a-gpg-unknown-signer-ignored",
        Outcome::Refused("gpg-bad-signature"),
        "a signature nobody verified proves nothing",
    ),
    ("a-gpg-revoked-signer-ignored", Outcome::Refused("gpg-bad-signature"), "only expiry may be ignored"),
    ("a-gpg-untrusted-signer", Outcome::Accepted, "listing a key is trusting it"),
    ("a-gpg-other-recipient", Outcome::Refused("wrong-recipient"), "GPG_DECRYPT_ID is enforced"),
];

/// And where one engine cannot do better.
const LIMITS_OF_SEQUOIA: &[(&str, Outcome, &str)] =
    &[("a-gpg-elg2048-signed", Outcome::Refused("gpg-decrypt"), "the engine has no ElGamal")];

/// An engine, and the certificates in which names are looked up.
pub trait Reader: Engine {
    const LIMITS: &'static [(&'static str, Outcome, &'static str)];

    fn certificates(&self) -> &Keys;
}

impl Reader for Keys {
    const LIMITS: &'static [(&'static str, Outcome, &'static str)] = LIMITS_OF_SEQUOIA;

    fn certificates(&self) -> &Keys {
        self
    }
}

impl Reader for GpgmeEngine {
    const LIMITS: &'static [(&'static str, Outcome, &'static str)] = &[];

    fn certificates(&self) -> &Keys {
        GpgmeEngine::certificates(self)
    }
}

/// Keys whose secrets are with gpg-agent, which has ElGamal.
pub struct WithAgent(pub Keys);

impl Engine for WithAgent {
    fn open(&self, message: &[u8], now: Timestamp) -> Result<Opened, Reason> {
        self.0.open(message, now)
    }

    fn is_addressed(&self, message: &[u8]) -> bool {
        self.0.is_addressed(message)
    }
}

impl Reader for WithAgent {
    const LIMITS: &'static [(&'static str, Outcome, &'static str)] = &[];

    fn certificates(&self) -> &Keys {
        &self.0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Refused(&'static str),
}

#[test]
fn every_vector_gets_its_verdict_from_key_files() {
    check_all(keys_from_files);
}

/// The envelope refuses unprotected data by its shape; so must the engine, whatever it is handed.
#[test]
fn the_engine_itself_refuses_what_has_no_integrity_protection() {
    let vectors = load();
    let vector = vectors.iter().find(|vector| vector["id"] == "a-gpg-no-mdc").unwrap();
    let message = framing::decode(framing::Prefix::STANDARD, text(&vector["packet"])).unwrap();
    assert_eq!(vector["expect"]["openpgp_packet_tags"], serde_json::json!([1, 9]));
    assert_eq!(keys_from_files(None).open(&message, NOW).unwrap_err(), Reason::GpgDecrypt);
}

/// Runs all vectors with keyrings that `keyring` makes for a passphrase.
pub fn check_all<R: Reader>(keyring: impl Fn(Option<&str>) -> R) {
    let vectors = load();
    // One keyring per passphrase: a keyring is made once, not per packet.
    let mut keyrings: Vec<(Option<String>, R)> = Vec::new();
    let known: Vec<_> = DEVIATIONS.iter().chain(R::LIMITS).collect();
    let mut wrong = Vec::new();
    let mut deviations = 0;
    let mut seen = 0;
    for vector in &vectors {
        let Some(packet) = vector["packet"].as_str() else { continue };
        seen += 1;
        let passphrase = vector["server"]["GPG_DECRYPT_PW"].as_str().filter(|pw| !pw.is_empty()).map(str::to_owned);
        if !keyrings.iter().any(|(known, _)| *known == passphrase) {
            keyrings.push((passphrase.clone(), keyring(passphrase.as_deref())));
        }
        let keys = &keyrings.iter().find(|(known, _)| *known == passphrase).expect("just made").1;
        let outcome = outcome(vector, packet, keys);
        let id = text(&vector["id"]);
        let deviation = known.iter().find(|(name, _, _)| *name == id);
        deviations += usize::from(deviation.is_some());
        let fits = match deviation {
            Some((_, ours, _)) => outcome == *ours,
            None => {
                matches!(
                    (text(&vector["expect"]["result"]), &outcome),
                    ("accept", Outcome::Accepted) | ("reject", Outcome::Refused(_))
                ) || may_differ(vector, &outcome)
            }
        };
        if !fits {
            wrong.push(format!("{id}: {outcome:?}, expected {}", vector["expect"]["result"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((seen, deviations), (90, known.len()));
}

/// `lenient`: may be refused. `limit`: the original refuses it for a reason of its own, and we read it.
fn may_differ(vector: &Value, outcome: &Outcome) -> bool {
    let lenient = vector["lenient"].as_bool().unwrap_or(false) && *outcome != Outcome::Accepted;
    let limit = vector["limit"].as_bool().unwrap_or(false) && *outcome == Outcome::Accepted;
    lenient || limit
}

fn outcome<R: Reader>(vector: &Value, packet: &str, keys: &R) -> Outcome {
    match judge(vector, packet, keys) {
        Ok(plaintext) => {
            assert_eq!(plaintext, text(&vector["expect"]["plaintext"]), "{}", vector["id"]);
            Outcome::Accepted
        }
        Err(class) => Outcome::Refused(class),
    }
}

fn judge<R: Reader>(vector: &Value, packet: &str, keys: &R) -> Result<String, &'static str> {
    let message = message(vector, packet).ok_or("gpg-decrypt")?;
    let opened = patiently(|| keys.open(&message, NOW)).map_err(|reason| reason.class())?;
    let server = &vector["server"];
    recipient_rule(server, keys.certificates()).judge(opened.recipient.as_ref()).map_err(|reason| reason.class())?;
    signer_rule(server, keys.certificates()).judge(&opened).map_err(|reason| reason.class())?;
    let plaintext = opened.plaintext.expose();
    Message::decode(plaintext).map_err(|reason| reason.class())?;
    Ok(String::from_utf8(plaintext.clone()).expect("a decoded message is ASCII"))
}

/// The prefix is what the tag says, or what the structure leaves.
fn message(vector: &Value, packet: &str) -> Option<Vec<u8>> {
    let expected = &vector["expect"]["structurally_possible_prefixes"];
    let expected: Vec<&str> = expected.as_array().expect("a list").iter().map(text).collect();
    let Some(hmac) = vector["hmac"].as_object() else {
        let candidates = framing::candidates(packet);
        let prefixes: Vec<&str> = candidates.iter().map(|(prefix, _)| prefix.as_str()).collect();
        // Other text than base64 and unprotected data (tag 9) are no candidates here.
        let strict = packet.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
        let protected = vector["expect"]["openpgp_packet_tags"] == serde_json::json!([1, 18]);
        assert_eq!(prefixes, if strict && protected { expected } else { Vec::new() }, "{}", vector["id"]);
        return candidates.into_iter().next().map(|(_, message)| message);
    };
    let digest: Digest = text(&hmac["type"]).parse().expect("a digest");
    let key = HmacKey::new(text(&hmac["key"]["ascii"]).into()).expect("a key");
    let auth = HmacAuth::new(digest, &key);
    let (body, tag) = packet.split_at(packet.len() - auth.tag_len());
    let candidates = framing::candidates(body);
    let genuine = candidates.into_iter().find(|(prefix, _)| auth.verify(prefix.as_str(), body, tag));
    genuine.map(|(prefix, message)| {
        assert_eq!(prefix.as_str(), text(&vector["expect"]["original_prefix"]));
        message
    })
}

fn recipient_rule(server: &Value, keys: &Keys) -> RecipientRule {
    match server["GPG_DECRYPT_ID"].as_str().map(|id| keys.find(id)) {
        None => RecipientRule::Any,
        Some(Found::One(key)) => RecipientRule::Key(key),
        other => panic!("{other:?}"),
    }
}

fn signer_rule(server: &Value, keys: &Keys) -> SignerRule {
    if server["GPG_DISABLE_SIG"] == "Y" {
        return SignerRule::Disabled;
    }
    let lists = ["GPG_REMOTE_ID", "GPG_FINGERPRINT_ID"].into_iter().filter_map(|name| server[name].as_str());
    let list = |text: &str| -> Vec<Fingerprint> { text.split(',').filter_map(|id| one(keys.find(id))).collect() };
    let tolerance = Tolerance { expired: server["GPG_IGNORE_SIG_VERIFY_ERROR"] == "Y", sha1: false };
    SignerRule::Listed { lists: lists.map(list).collect(), tolerance }
}

/// An id that names no key of the keyring is a mistake that a daemon reports at its start; here it is left out.
fn one(found: Found) -> Option<Fingerprint> {
    match found {
        Found::One(key) => Some(key),
        Found::None => None,
        Found::Several(keys) => panic!("ambiguous: {keys:?}"),
    }
}

/// The receiver's keyring: all server keys with their secrets, and the client keys it knows.
pub fn keys_from_files(passphrase: Option<&str>) -> Keys {
    let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
    let mut keys = Keys::default();
    for file in receiver_files() {
        let data = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        keys.add(&data, passphrase.as_ref(), NOW).expect("a key file");
    }
    keys
}

pub fn receiver_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(vector_keys()).expect("the test keys").flatten().map(|entry| entry.path()).collect();
    files.retain(|file| {
        let name = file.file_name().expect("a file").to_string_lossy();
        name == "server-keyring.pub.asc" || name.starts_with("server-") && name.ends_with(".sec.asc")
    });
    files.sort();
    assert_eq!(files.len(), 9);
    files
}

pub fn vector_keys() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/keyrings/vectors"))
}

fn load() -> Vec<Value> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/spa/gpg.json")).expect("the vectors");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    file["vectors"].as_array().expect("a list").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
