//! The engines, each opened as the daemon opens it. A new one needs a line here, and is then held against everything.

use std::path::Path;

use fwknop::crypto::openpgp::{Engine, Opened};
use fwknop::keyring::{self, Gpg};
use fwknop::reason::Reason;
use fwknop::secret::Passphrase;
use fwknop::time::Timestamp;

use crate::support::gpg::Home;

/// One way to read messages.
pub struct Kind {
    pub name: &'static str,
    /// What selects it in `fwknopd.conf`.
    pub conf: &'static str,
    open: fn(&Path, Option<&Passphrase>) -> Ring,
    /// Has the arithmetic of ElGamal and brainpool for server keys, itself or by its agent.
    pub decrypts_everything: bool,
    /// The same for signers' keys; and knows GnuPG's own OCB packet.
    pub reads_everything: bool,
    /// Is told for whom a signer says that a message is.
    pub knows_the_intended: bool,
    /// Goes on after a signature that has itself expired, so that a stanza may ignore it.
    pub reads_expired_signatures: bool,
    /// How many damaged messages are held against it.
    pub affords: usize,
    /// Uses a passphrase that gpg-agent remembers.
    pub asks_the_agent: bool,
    /// Why a message is refused whose key has a passphrase that nobody gives.
    pub locked: Reason,
}

pub static ENGINES: [Kind; 3] = [
    Kind {
        name: "sequoia, keys in memory",
        conf: "GPG_ENGINE sequoia;\n",
        open: in_memory,
        decrypts_everything: false,
        reads_everything: false,
        knows_the_intended: true,
        reads_expired_signatures: true,
        affords: 1000,
        asks_the_agent: false,
        locked: Reason::GpgDecrypt,
    },
    Kind {
        name: "sequoia, keys with gpg-agent",
        conf: "GPG_ENGINE sequoia;\nGPG_SECRET_KEYS agent;\n",
        open: left_to_agent,
        decrypts_everything: true,
        reads_everything: false,
        knows_the_intended: true,
        reads_expired_signatures: true,
        affords: 200,
        asks_the_agent: true,
        // It may yet become known.
        locked: Reason::GpgEngine,
    },
    Kind {
        name: "gpgme",
        conf: "GPG_ENGINE gpgme;\n",
        open: left_to_gpg,
        decrypts_everything: true,
        reads_everything: true,
        knows_the_intended: false,
        reads_expired_signatures: false,
        affords: 60,
        asks_the_agent: true,
        locked: Reason::GpgDecrypt,
    },
];

impl Kind {
    pub fn open(&self, home: &Home, passphrase: Option<&str>) -> Ring {
        let passphrase = passphrase.map(|text| Passphrase::new(text.into()));
        (self.open)(home.path(), passphrase.as_ref())
    }
}

/// An engine with the keys of a home.
pub struct Ring {
    pub engine: Box<dyn Engine>,
    /// What the operator is told when it is opened.
    pub warnings: Vec<String>,
}

impl Ring {
    pub fn read(&self, message: &[u8]) -> Result<Opened, Reason> {
        patiently(|| self.engine.open(message, Timestamp::now()))
    }
}

/// Whatever else is started in this process while GPGME makes its pipes inherits them, and a run of gpg then seems to last as
/// long as that. It happens to nobody but a test program with many threads: asks again, three times at most.
pub fn patiently(mut read: impl FnMut() -> Result<Opened, Reason>) -> Result<Opened, Reason> {
    let mut tries = (0..3).map(|_| read());
    tries.find(|opened| !matches!(opened, Err(Reason::GpgEngine))).unwrap_or(Err(Reason::GpgEngine))
}

fn in_memory(home: &Path, passphrase: Option<&Passphrase>) -> Ring {
    let loaded = keyring::from_home(&gpg(home), passphrase, Timestamp::now()).unwrap_or_else(|error| panic!("{error}"));
    ring(loaded.keys, loaded.warnings)
}

fn left_to_agent(home: &Path, passphrase: Option<&Passphrase>) -> Ring {
    let loaded = keyring::left_to_agent(&gpg(home), passphrase, Timestamp::now());
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    ring(loaded.keys, loaded.warnings)
}

fn left_to_gpg(home: &Path, passphrase: Option<&Passphrase>) -> Ring {
    let opened = keyring::left_to_gpg(&gpg(home), passphrase, Timestamp::now());
    let (engine, warnings) = opened.unwrap_or_else(|error| panic!("{error}"));
    ring(engine, warnings)
}

fn ring(engine: impl Engine + 'static, warnings: Vec<keyring::Warning>) -> Ring {
    Ring { engine: Box::new(engine), warnings: warnings.iter().map(ToString::to_string).collect() }
}

fn gpg(home: &Path) -> Gpg {
    Gpg { home: home.into(), program: None }
}
