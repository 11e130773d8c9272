//! `docs/openpgp-sizes.md` says what is true: of our predictions, of our packets, and of gpg's.

use std::fs;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::openpgp::gpgme::{GnuPg, GpgmeSealer};
use fwknop::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use fwknop::crypto::openpgp::size::{KeyKind, ONE_DATAGRAM, Pair, UNFRAGMENTED};
use fwknop::crypto::openpgp::{Role, Sealer, SignerPassphrase, framing};
use fwknop::spa::{Digest, Message};
use fwknop::time::Timestamp;

use crate::support::gpg::{Home, Key};

/// The columns of the tables.
const SIGNERS: [KeyKind; 6] = [
    KeyKind::Curve25519,
    KeyKind::Nist { bits: 256 },
    KeyKind::Nist { bits: 384 },
    KeyKind::Rsa { bits: 2048 },
    KeyKind::Rsa { bits: 3072 },
    KeyKind::Rsa { bits: 4096 },
];

/// The rows.
const RECIPIENTS: [KeyKind; 8] = [
    KeyKind::Curve25519,
    KeyKind::Nist { bits: 256 },
    KeyKind::Nist { bits: 384 },
    KeyKind::Nist { bits: 521 },
    KeyKind::Rsa { bits: 2048 },
    KeyKind::Rsa { bits: 3072 },
    KeyKind::Rsa { bits: 4096 },
    ELGAMAL,
];

/// Such messages are made by gpg.
const ELGAMAL: KeyKind = KeyKind::ElGamal { bits: 2048 };

/// An integer in a message may begin with zeros, and there are up to three.
const VARIATION: usize = 4;

#[test]
fn the_table_of_sizes_is_that_of_the_predictions() {
    let mut expected = String::new();
    for hmac in [None, Some(Digest::Sha256)] {
        expected.push_str(&table(hmac, |pair, column| cell(pair, column, hmac)));
    }
    assert_eq!(gpg_figures().len(), 2 * RECIPIENTS.len() * SIGNERS.len());
    let document = document();
    for row in expected.lines() {
        assert!(document.contains(row), "docs/openpgp-sizes.md lacks this line:\n{row}\nall of it:\n{expected}");
    }
}

/// What the document says of a packet is at least what it takes, and hardly more; and gpg's is never smaller.
#[test]
fn no_packet_of_ours_is_longer_than_gpgs() {
    let keys = keyring();
    let mut measured = Vec::new();
    for recipient in RECIPIENTS {
        for signer in SIGNERS {
            let pair = Pair { recipient, signer: Some(signer) };
            let (to, by) = (keys.recipient(recipient), keys.signer(signer));
            let ours = on_the_wire(&keys.seal(to, by));
            let gpgs = on_the_wire(&keys.gpg_seals(to, by));
            let said = pair.characters(text().len(), None);
            if recipient == ELGAMAL {
                assert!(said <= ours + VARIATION, "{pair}: {ours}, said {said}");
            } else {
                assert!(ours <= said && said <= ours + VARIATION * 4 / 3 + 1, "{pair}: {ours}, said {said}");
            }
            assert!(ours <= gpgs + VARIATION, "{pair}: ours {ours}, gpg's {gpgs}");
            measured.push((pair, gpgs));
        }
    }
    let written = gpg_figures();
    for (at, (pair, gpgs)) in measured.iter().enumerate() {
        let off = written[at].abs_diff(*gpgs);
        assert!(
            off <= VARIATION * 4 / 3 + 1,
            "{pair}: gpg needs {gpgs}, written is {}; all: {measured:?}",
            written[at]
        );
    }
}

/// The kinds are found with public keys alone.
#[test]
fn the_size_is_known_from_two_certificates() {
    fn file(key: &Key) -> KeyFile<'_> {
        KeyFile { data: key.public.as_bytes(), wanted: None, place: "a file" }
    }
    let keys = keyring();
    for signer in SIGNERS {
        let recipient = KeyKind::Rsa { bits: 3072 };
        let found = Pair::of(file(keys.recipient(recipient)), Some(file(keys.signer(signer))), Timestamp::now());
        assert_eq!(found.expect("good keys"), Pair { recipient, signer: Some(signer) });
    }
}

/// One of the tables. A cell has our figure and gpg's.
fn table(hmac: Option<Digest>, cell: impl Fn(Pair, usize) -> String) -> String {
    let columns: Vec<String> = SIGNERS.iter().map(|signer| signer.name(Role::Signer)).collect();
    let mut table =
        format!("| {} | {} |\n", hmac.map_or("no HMAC".into(), |hmac| hmac.to_string()), columns.join(" | "));
    for recipient in RECIPIENTS {
        let cells: Vec<String> = SIGNERS
            .iter()
            .enumerate()
            .map(|(column, signer)| cell(Pair { recipient, signer: Some(*signer) }, column))
            .collect();
        table.push_str(&format!("| {} | {} |\n", recipient.name(Role::Recipient), cells.join(" | ")));
    }
    table
}

fn cell(pair: Pair, column: usize, hmac: Option<Digest>) -> String {
    let row = RECIPIENTS.iter().position(|recipient| *recipient == pair.recipient).expect("of the rows");
    let at = row * SIGNERS.len() + column;
    let gpgs = gpg_figures()[at] + hmac.map_or(0, Digest::text_len);
    let ours = if pair.recipient == ELGAMAL { gpgs } else { pair.characters(text().len(), hmac) };
    let mark = |length: usize| match length {
        short if short <= UNFRAGMENTED => format!("{length}"),
        short if short <= ONE_DATAGRAM => format!("{length} !"),
        _ => format!("~~{length}~~"),
    };
    format!("{} ({})", mark(ours), mark(gpgs))
}

/// gpg's figures as the document has them, both tables, row by row.
fn gpg_figures() -> Vec<usize> {
    let figures = |row: &str| -> Vec<usize> {
        let in_brackets = row.split('(').skip(1).filter_map(|rest| rest.split(')').next());
        in_brackets.filter_map(|text| text.trim_matches('~').trim_end_matches(" !").parse().ok()).collect()
    };
    let rows = RECIPIENTS.map(|recipient| format!("| {} |", recipient.name(Role::Recipient)));
    document().lines().filter(|line| rows.iter().any(|row| line.starts_with(row))).flat_map(figures).collect()
}

fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openpgp-sizes.md")).unwrap())
}

/// The request of the document: alice asks for tcp/22 for an IPv4 address.
fn text() -> Vec<u8> {
    const FIELDS: &str = "1644722707182026:YWxpY2U:1795294448:3.0.0:1:MTk4LjUxLjEwMC43LHRjcC8yMg";
    let digest = STANDARD_NO_PAD.encode(Digest::Sha256.hash(FIELDS.as_bytes()));
    let text = format!("{FIELDS}:{digest}").into_bytes();
    let message = Message::decode(&text).expect("a message");
    assert_eq!((message.user.as_str(), text.len()), ("alice", 114));
    assert_eq!(message.request_text(), b"198.51.100.7,tcp/22");
    text
}

fn on_the_wire(message: &[u8]) -> usize {
    let framed = framing::reframe(message.to_vec()).expect("a message to a key");
    STANDARD_NO_PAD.encode(framed).len() - 2
}

/// A key of each kind, all in one GnuPG home.
struct Keyring {
    home: Home,
    keys: Vec<(KeyKind, Role, Key)>,
}

fn keyring() -> Keyring {
    let home = Home::new();
    let vector = |name: &'static str| -> Key {
        let read = |part: &str| {
            let path = super::vectors::vector_keys().join(format!("{name}.{part}.asc"));
            fs::read_to_string(path).expect("a test key")
        };
        let known: serde_json::Value = serde_json::from_str(
            &fs::read_to_string(super::vectors::vector_keys().join("keys.json")).expect("their list"),
        )
        .expect("JSON");
        let fingerprint = known["keys"][name]["primary"]["fingerprint"].as_str().expect("a fingerprint").to_owned();
        let key = Key { name, fingerprint, public: read("pub"), secret: read("sec"), passphrase: None };
        home.import(&key.secret);
        key
    };
    let rsa = |bits| KeyKind::Rsa { bits };
    let mut keys: Vec<(KeyKind, Role, Key)> = [
        (rsa(2048), Role::Recipient, "server-rsa2048"),
        (rsa(3072), Role::Recipient, "server-rsa3072"),
        (rsa(4096), Role::Recipient, "server-rsa4096"),
        (ELGAMAL, Role::Recipient, "server-elg2048"),
        (KeyKind::Curve25519, Role::Recipient, "server-cv25519"),
        (rsa(2048), Role::Signer, "client-rsa2048"),
        (rsa(3072), Role::Signer, "client-rsa3072"),
        (rsa(4096), Role::Signer, "client-rsa4096"),
        (KeyKind::Curve25519, Role::Signer, "client-ed25519"),
    ]
    .map(|(kind, role, name)| (kind, role, vector(name)))
    .into();
    for (bits, curve, names) in [
        (256, "nistp256", ["server-p256", "client-p256"]),
        (384, "nistp384", ["server-p384", "client-p384"]),
        (521, "nistp521", ["server-p521", "client-p521"]),
    ] {
        for (role, name) in [Role::Recipient, Role::Signer].into_iter().zip(names) {
            keys.push((KeyKind::Nist { bits }, role, home.generate(name, (curve, curve), None)));
        }
    }
    Keyring { home, keys }
}

impl Keyring {
    fn recipient(&self, kind: KeyKind) -> &Key {
        self.key(kind, Role::Recipient)
    }

    fn signer(&self, kind: KeyKind) -> &Key {
        self.key(kind, Role::Signer)
    }

    fn key(&self, kind: KeyKind, role: Role) -> &Key {
        let found = self.keys.iter().find(|(its_kind, its_role, _)| *its_kind == kind && *its_role == role);
        &found.expect("one of each").2
    }

    fn seal(&self, recipient: &Key, signer: &Key) -> Vec<u8> {
        let home = GnuPg { home: Some(self.home.path().into()), program: None };
        let file = |data| KeyFile { data, wanted: None, place: "a file" };
        let sealer: Box<dyn Sealer> = if recipient.name == "server-elg2048" {
            let signer = Some((signer.fingerprint.as_str(), SignerPassphrase::Empty));
            Box::new(GpgmeSealer::new(&home, &recipient.fingerprint, signer).expect("good keys"))
        } else {
            let signer = Some((file(signer.secret.as_bytes()), None));
            let sealer = SequoiaSealer::new(file(recipient.public.as_bytes()), signer, Timestamp::now());
            Box::new(sealer.expect("good keys"))
        };
        sealer.seal(&text()).expect("sealed")
    }

    /// As short as it gets: no compression, no file name, no user id.
    fn gpg_seals(&self, recipient: &Key, signer: &Key) -> Vec<u8> {
        let output = self.home.path().join("message.gpg");
        let output = output.to_string_lossy();
        let names = ["--recipient", &recipient.fingerprint, "--local-user", &signer.fingerprint];
        let how = ["--yes", "--trust-model", "always", "-z", "0", "--output", &output, "--sign", "--encrypt"];
        self.home.feed(&[&names[..], &how].concat(), &String::from_utf8_lossy(&text()));
        fs::read(&*output).expect("gpg wrote it")
    }
}
