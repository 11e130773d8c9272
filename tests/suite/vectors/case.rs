//! One vector: the packet, the stanza it is for, and what must become of it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

pub const FILES: [&str; 9] = [
    "gpg",
    "http",
    "rijndael-crafted",
    "rijndael-digests",
    "rijndael-hmac",
    "rijndael-keys",
    "rijndael-messages",
    "rijndael-modes",
    "rijndael-users",
];

/// Where we decide otherwise than the vector says, on purpose, and why. Each must occur.
const DEVIATIONS: [(&str, Verdict, &str); 7] = [
    ("a-gpg-unknown-signer-ignored", Verdict::Reject, "a signature nobody verified proves nothing"),
    ("a-gpg-revoked-signer-ignored", Verdict::Reject, "only expiry may be ignored"),
    ("a-gpg-untrusted-signer", Verdict::Accept, "listing a key is trusting it"),
    ("a-gpg-other-recipient", Verdict::Reject, "GPG_DECRYPT_ID is enforced"),
    (ELGAMAL, Verdict::Reject, "this process has no ElGamal; gpg reads it"),
    ("a-crafted-ip-11", Verdict::Accept, "IPv6 addresses are our extension"),
    ("a-crafted-ip-12", Verdict::Accept, "IPv6 addresses are our extension"),
];

const ELGAMAL: &str = "a-gpg-elg2048-signed";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Reject,
}

impl Verdict {
    pub fn of(refused: Option<&str>) -> Self {
        if refused.is_some() { Verdict::Reject } else { Verdict::Accept }
    }
}

pub struct Case {
    pub id: String,
    pub payload: Vec<u8>,
    /// Lines of an access stanza, after `SOURCE`.
    pub stanza: String,
    pub passphrase: Option<String>,
    /// Decoded fields, where the vector has them.
    pub fields: Value,
    /// Why it is refused, in the words of the specification.
    pub class: Option<String>,
    expect: Verdict,
    /// The original takes this by reading loosely; its fields are then not what was written.
    pub lenient: bool,
    limit: bool,
}

/// All vectors of a file that have a packet.
pub fn load(file: &str) -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/spa").join(file).with_extension("json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap();
    file["vectors"].as_array().unwrap().iter().filter_map(Case::read).collect()
}

impl Case {
    fn read(vector: &Value) -> Option<Self> {
        let id = vector["id"].as_str().unwrap().to_owned();
        // One character is one byte (Latin-1).
        let text = vector["packet"].as_str().or(vector["request"].as_str())?;
        let payload = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let expect = &vector["expect"];
        let fields = expect["fields"].clone();
        let flag = |name: &str| vector[name].as_bool().unwrap_or(false);
        // What the daemon makes of it, where it adds a rule of its own to decoding.
        let expected = expect["server"].as_str().or(expect["result"].as_str()).unwrap();
        Some(Self {
            stanza: stanza(&vector["server"]),
            passphrase: vector["server"]["GPG_DECRYPT_PW"].as_str().filter(|pw| !pw.is_empty()).map(str::to_owned),
            class: expect["class"].as_str().map(str::to_owned),
            expect: if expected == "accept" { Verdict::Accept } else { Verdict::Reject },
            lenient: flag("lenient"),
            limit: flag("limit"),
            id,
            payload,
            fields,
        })
    }

    /// Whether `ours` is the right verdict.
    pub fn fits(&self, ours: Verdict) -> bool {
        match DEVIATIONS.iter().find(|(id, ..)| *id == self.id) {
            Some((_, verdict, _)) => *verdict == ours,
            None if self.expect == ours => true,
            // A stricter receiver may refuse what the original takes, a better one take what it refuses for a limit.
            None => {
                if ours == Verdict::Reject {
                    self.lenient
                } else {
                    self.limit
                }
            }
        }
    }

    /// The same where gpg reads: it has ElGamal.
    pub fn fits_with_gpg(&self, ours: Verdict) -> bool {
        if self.id == ELGAMAL { self.expect == ours } else { self.fits(ours) }
    }

    /// For what must be switched on: the reason of the refusal when it is not.
    pub fn switch(&self) -> Option<&'static str> {
        match self.fields["message_type"].as_u64() {
            _ if self.expect == Verdict::Reject => None,
            Some(0) => Some("command-disabled"),
            Some(2 | 4 | 5 | 6) => Some("nat-disabled"),
            _ => None,
        }
    }

    pub fn deviates(&self) -> bool {
        DEVIATIONS.iter().any(|(id, ..)| *id == self.id)
    }
}

/// How many vectors have a packet.
pub const PACKETS: usize = 503;
pub const DEVIATION_COUNT: usize = DEVIATIONS.len();

fn stanza(server: &Value) -> String {
    let Some(settings) = server.as_object() else { return String::new() };
    let mut lines = String::new();
    for (name, value) in settings {
        if value != "" {
            lines.push_str(&format!("{name} {}\n", value.as_str().unwrap()));
        }
    }
    lines
}
