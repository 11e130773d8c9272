//! The keys of `keyrings/matrix`: each is a server's in some cells and a client's in others.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use fwknop::crypto::openpgp::Fingerprint;
use fwknop::crypto::openpgp::sequoia::Keys;
use fwknop::time::Timestamp;
use sequoia_openpgp as pgp;

use pgp::Cert;
use pgp::parse::Parse;
use pgp::policy::StandardPolicy;
use pgp::serialize::SerializeInto;

use crate::support::gpg::Home;

/// Unlocks the specimens whose name ends in `-locked`.
pub const PASSPHRASE: &str = "pass phrase of the matrix";

pub struct Specimen {
    /// Who made it, and what it is made of: `gpg-rsa2048`.
    pub name: String,
    /// Armored, with secrets.
    pub secret: String,
    /// Armored, without.
    pub public: String,
    pub primary: Fingerprint,
    /// The subkey that encrypts.
    pub encrypts: Fingerprint,
    /// The keys that sign: the primary key, subkeys, or both.
    pub sign: Vec<Fingerprint>,
}

impl Specimen {
    fn read(file: PathBuf) -> Self {
        let secret = fs::read_to_string(&file).expect("a key file");
        let cert = Cert::from_bytes(&secret).expect("a key").strip_secret_key_material();
        let public = String::from_utf8(cert.armored().to_vec().expect("armor")).expect("armor is text");
        // As it was meant, whatever anybody thinks of ElGamal today.
        let policy = StandardPolicy::at(std::time::UNIX_EPOCH);
        let valid = cert.with_policy(&policy, None).ok();
        let of = |key: &pgp::Fingerprint| Fingerprint::from_bytes(key.as_bytes()).expect("version 4");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let sign: Vec<_> = match &valid {
            Some(cert) => cert.keys().for_signing().map(|key| of(&key.key().fingerprint())).collect(),
            None => vec![of(&cert.fingerprint())],
        };
        let encrypts = match &valid {
            Some(cert) => cert.keys().for_transport_encryption().map(|key| of(&key.key().fingerprint())).collect(),
            None => cert.keys().subkeys().map(|key| of(&key.key().fingerprint())).collect::<Vec<_>>(),
        };
        let [encrypts] = &encrypts[..] else { panic!("{name}: {encrypts:?}") };
        Self { primary: of(&cert.fingerprint()), encrypts: encrypts.clone(), sign, name, secret, public }
    }

    pub fn is_locked(&self) -> bool {
        self.name.ends_with("-locked")
    }

    pub fn passphrase(&self) -> Option<&'static str> {
        self.is_locked().then_some(PASSPHRASE)
    }

    /// Which kinds of keys this process has no arithmetic for.
    pub fn is_beyond_nettle(&self) -> bool {
        self.cannot_sign_here() || self.name.contains("elg")
    }

    pub fn cannot_sign_here(&self) -> bool {
        self.name.contains("brainpool")
    }
}

/// All of them, by name.
pub fn specimens() -> &'static [Specimen] {
    static SPECIMENS: OnceLock<Vec<Specimen>> = OnceLock::new();
    SPECIMENS.get_or_init(|| {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/keyrings/matrix"));
        let entries = fs::read_dir(directory).expect("the keys; make them with keyrings/make-matrix");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        assert_eq!(files.len(), 22, "{files:?}");
        files.into_iter().map(Specimen::read).collect()
    })
}

pub fn specimen(name: &str) -> &'static Specimen {
    specimens().iter().find(|known| known.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// Without GnuPG: the same keys from their files.
pub fn from_files(specimens: &[&Specimen]) -> Keys {
    let mut keys = Keys::default();
    for specimen in specimens {
        keys.add(specimen.secret.as_bytes(), None, Timestamp::now()).expect("a key");
    }
    keys
}

/// A home with all specimens that have a passphrase, or all that have none.
pub fn home(locked: bool) -> Home {
    let home = Home::new();
    let wanted = specimens().iter().filter(|specimen| specimen.is_locked() == locked);
    home.import(&wanted.map(|specimen| specimen.secret.as_str()).collect::<String>());
    home
}
