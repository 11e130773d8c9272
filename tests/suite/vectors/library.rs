//! Through the library: configuration, gate, and each field of the message.

use std::path::Path;

use fwknop::access::{AccessTable, Stanza};
use fwknop::config::{self, Complaints, KeyringPlace, Keyrings, OpenedKeyring, ServerSettings};
use fwknop::crypto::openpgp::sequoia::{Found, Keys};
use fwknop::crypto::openpgp::{Fingerprint, KeyringId};
use fwknop::crypto::unseal::{self, Unsealing};
use fwknop::gate::{Gate, Verdict as GateVerdict};
use fwknop::grant::GrantId;
use fwknop::net::Origin;
use fwknop::reason::SignatureFault;
use fwknop::replay::MemoryStore;
use fwknop::spa::{Datagram, Envelope, Message};
use serde_json::Value;

use super::case::{self, Case, Verdict};
use super::running::NOT_LOADED;
use crate::openpgp::vectors::{NOW, keys_from_files};

#[test]
fn every_vector_gets_its_verdict_and_its_fields() {
    let (mut wrong, mut seen, mut accepted, mut deviations) = (Vec::new(), 0, 0, 0);
    for case in case::FILES.iter().flat_map(|file| case::load(file)) {
        let ours = judge(&case);
        seen += 1;
        accepted += usize::from(ours == Ok(Verdict::Accept));
        deviations += usize::from(case.deviates());
        match ours {
            Ok(verdict) if case.fits(verdict) => {}
            ours => wrong.push(format!("{}: {ours:?}", case.id)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((seen, deviations), (case::PACKETS, case::DEVIATION_COUNT));
    assert!(accepted > 200, "only {accepted}");
}

/// Where the same refusal comes at another step than in the original: the class of the vector, and ours.
const OTHER_NAMES: &[(&str, &str)] = &[
    // A daemon looks at the length of the text first, the library that made these verdicts does not.
    ("packet-length", "packet-too-short"),
    ("packet-length", "packet-too-long"),
    ("ciphertext-length", "packet-too-short"),
    ("hmac-length", "packet-too-short"),
    ("digest-length", "packet-too-short"),
    ("too-few-fields", "packet-too-short"),
    // Text that has not the shape of anything the stanza has keys for.
    ("ciphertext-length", "no-key"),
    ("decrypt-failed", "no-key"),
    ("type-by-length", "no-key"),
    // Only one spelling is read at all.
    ("ciphertext-length", "not-canonical"),
    ("hmac-mismatch", "not-canonical"),
    ("non-printable", "not-canonical"),
    // Wrong padding is refused as such, not left on the text to be found out later.
    ("non-printable", "decrypt-failed"),
    ("digest-mismatch", "decrypt-failed"),
    // The random value is a field to us, and looked at after the digest.
    ("decrypt-failed", "random-value"),
    ("decrypt-failed", "too-few-fields"),
    ("decrypt-failed", "digest-mismatch"),
    // All characters are looked at, also behind a NUL.
    ("digest-mismatch", "non-printable"),
    ("digest-length", "field-count"),
    ("timeout-range", "timeout-too-long"),
    ("username-chars", "username-base64"),
];

/// Through the gate, and then once more step by step for the fields. `Err`: something other than the verdict is wrong.
fn judge(case: &Case) -> Result<Verdict, String> {
    let (stanzas, keys) = match load(case) {
        Ok(loaded) => loaded,
        // A stanza that cannot work is refused when it is loaded; which ones those are is known.
        Err(_) if NOT_LOADED.contains(&case.id.as_str()) => return Ok(Verdict::Reject),
        Err(complaints) => return Err(format!("the stanza does not load: {complaints}")),
    };
    let datagram = datagram(&case.payload);
    let message = Envelope::recognise(&datagram.payload, server().gate.http).ok().and_then(|envelope| {
        let plaintext = Unsealing::new(&envelope, &keys).unseal(&stanzas[0], NOW).ok()?;
        Message::decode(plaintext.value().expose()).ok()
    });

    let refused = match gate(stanzas, keys).handle(&datagram, NOW) {
        GateVerdict::Open(_) | GateVerdict::Run(_) => None,
        GateVerdict::Refuse(refusal) => Some(refusal.reason.class()),
    };
    let verdict = Verdict::of(refused);
    if let (Some(class), Some(ours)) = (&case.class, refused)
        && class != ours
        && !OTHER_NAMES.contains(&(class, ours))
    {
        return Err(format!("refused as {ours}, expected {class}"));
    }
    match (verdict, message) {
        (Verdict::Accept, None) => Err("accepted, but not decoded".into()),
        (Verdict::Accept, Some(message)) if !case.fields.is_null() && !case.deviates() && !case.lenient => {
            check_fields(&message, &case.fields).map(|()| verdict)
        }
        _ => Ok(verdict),
    }
}

fn check_fields(message: &Message, fields: &Value) -> Result<(), String> {
    let optional = |value: &Value| value.as_str().map(str::to_owned);
    let bytes = |value: &Value| value.as_str().map(|text| text.as_bytes().to_vec());
    let found = (
        message.random.to_string(),
        message.user.to_string(),
        message.time.secs(),
        message.version.clone(),
        u64::from(message.type_number()),
        message.nat_text(),
        message.server_auth.clone(),
        message.timeout.map(|timeout| u64::from(timeout.secs())),
        message.digest.name().to_owned(),
    );
    let expected = (
        optional(&fields["random_value"]).unwrap(),
        optional(&fields["username"]).unwrap(),
        fields["timestamp"].as_u64().unwrap(),
        optional(&fields["version"]).unwrap(),
        fields["message_type"].as_u64().unwrap(),
        optional(&fields["nat_access"]),
        bytes(&fields["server_auth"]),
        fields["client_timeout"].as_u64(),
        optional(&fields["digest_type"]).unwrap(),
    );
    if found != expected {
        return Err(format!("{found:?}, expected {expected:?}"));
    }
    let request = String::from_utf8_lossy(&message.request_text()).into_owned();
    let expected = fields["message"].as_str().unwrap();
    // Ports are numbers to us: leading zeros do not come back.
    let same = request == expected || request == expected.replace("/0", "/").replace("/0", "/").replace("/0", "/");
    if same { Ok(()) } else { Err(format!("{request:?}, expected {expected:?}")) }
}

/// The stanza of a vector, and the keyring it names.
pub fn load(case: &Case) -> Result<(Vec<Stanza>, unseal::Keyrings), Complaints> {
    let mut keyrings = FromFiles::default();
    let text = format!("SOURCE ANY\n{}", case.stanza);
    let (stanzas, _) = config::parse_access(Path::new("/access.conf"), &text, &server(), &mut keyrings, NOW)?;
    Ok((stanzas, keyrings.into_engines()))
}

pub fn gate(stanzas: Vec<Stanza>, keys: unseal::Keyrings) -> Gate {
    Gate::new(server().gate, AccessTable::new(stanzas), keys, Box::new(MemoryStore::default()), GrantId(0))
}

pub fn datagram(payload: &[u8]) -> Datagram {
    Datagram { payload: payload.to_vec(), origin: Origin::udp("192.0.2.1".parse().unwrap()) }
}

/// As the original was set up when the vectors were verified.
pub fn server() -> ServerSettings {
    config::parse_server(Path::new("/fwknopd.conf"), super::running::CONF).expect("the settings").0
}

/// The receiver's keys, from files.
#[derive(Default)]
struct FromFiles(Vec<Keys>);

impl FromFiles {
    fn into_engines(self) -> unseal::Keyrings {
        let mut engines = unseal::Keyrings::default();
        for keys in self.0 {
            engines.add(Box::new(keys));
        }
        engines
    }
}

impl Keyrings for FromFiles {
    fn open(&mut self, place: &KeyringPlace) -> Result<OpenedKeyring, fwknop::keyring::Error> {
        self.0.push(keys_from_files(place.passphrase.as_ref().map(|passphrase| passphrase.expose())));
        Ok(OpenedKeyring { id: KeyringId(self.0.len() - 1), warnings: Vec::new() })
    }

    fn find(&self, keyring: KeyringId, name: &str) -> Found {
        self.0[keyring.0].find(name)
    }

    fn decrypts(&self, keyring: KeyringId, key: &Fingerprint) -> bool {
        self.0[keyring.0].decrypting().any(|path| path.is(key))
    }

    fn standing(&self, keyring: KeyringId, key: &Fingerprint) -> Option<SignatureFault> {
        self.0[keyring.0].standing(key, NOW)
    }
}
