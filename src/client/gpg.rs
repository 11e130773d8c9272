//! Who makes the OpenPGP message: Sequoia, with keys from files or with a signature by the agent of a GnuPG home; or GnuPG
//! itself, when it is asked for.

use std::path::Path;
use std::time::Duration;

use super::options::GpgOptions;
use crate::config::EngineChoice;
use crate::crypto::openpgp::agent::{Agent, AgentHome, Asking};
use crate::crypto::openpgp::gpgme::{GnuPg, GpgmeSealer};
use crate::crypto::openpgp::sequoia::{HomeKeys, HomeSigner, KeyFile, SequoiaSealer};
use crate::crypto::openpgp::{SealError, Sealer, SignerPassphrase};
use crate::keyring::{self, KeyData};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Why no message can be made. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    File(#[from] keyring::Error),
    #[error("there is no GnuPG home: neither GNUPGHOME nor HOME is set\n     name it with --gpg-home-dir")]
    NoHome,
    #[error(
        "'{file}' is a key file, but '{other}' is none\n     name both as files, or import the file with gpg --import and name its key"
    )]
    Mixed { file: String, other: String },
}

/// The maker of the message, with both keys found and checked. Adds what the user should know about their files.
pub fn sealer(
    gpg: &GpgOptions,
    passphrase: SignerPassphrase,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn Sealer>, GpgError> {
    match files(gpg)? {
        Some(files) => {
            warnings.extend(files.warning());
            let passphrase = match &passphrase {
                SignerPassphrase::Given(passphrase) => Some(passphrase),
                SignerPassphrase::Agent | SignerPassphrase::Empty => None,
            };
            Ok(Box::new(files.sealer(passphrase, now)?))
        }
        None if gpg.engine == EngineChoice::Gpgme => {
            let home = GnuPg { home: gpg.home.clone(), program: gpg.exe.clone() };
            let signer = gpg.signer.as_deref().map(|signer| (signer, passphrase));
            Ok(Box::new(GpgmeSealer::new(&home, &gpg.recipient, signer)?))
        }
        None => from_home(gpg, passphrase, now),
    }
}

/// Sequoia makes the message, the agent of the home signs: cards and pinentry work, and no gpg is run.
fn from_home(gpg: &GpgOptions, passphrase: SignerPassphrase, now: Timestamp) -> Result<Box<dyn Sealer>, GpgError> {
    let home = AgentHome::new(gpg.home.as_deref()).ok_or(GpgError::NoHome)?;
    let gnupg = GnuPg { home: gpg.home.clone(), program: gpg.exe.clone() };
    let names: Vec<&str> = [Some(gpg.recipient.as_str()), gpg.signer.as_deref()].into_iter().flatten().collect();
    let certificates = keyring::certificates_named(&gnupg, home.directory(), &names);
    let certificates = certificates.map_err(|source| SealError::NoGpg { source })?;
    let keys = HomeKeys {
        certificates: &certificates,
        place: gpg.home.as_ref().map_or("your GnuPG keyring".to_owned(), |home| home.display().to_string()),
    };
    let signer = gpg.signer.as_deref().map(|name| {
        let asking = match &passphrase {
            SignerPassphrase::Agent => Asking::User,
            SignerPassphrase::Empty => Asking::Given(Passphrase::new(String::new())),
            SignerPassphrase::Given(passphrase) => Asking::Given(passphrase.clone()),
        };
        // A user takes his time to answer; without one there is nothing to wait for.
        let patience = (asking != Asking::User).then_some(PATIENCE);
        HomeSigner { name, agent: Agent::new(home, asking, patience), passphrase }
    });
    Ok(Box::new(SequoiaSealer::from_home(&keys, &gpg.recipient, signer, now)?))
}

/// An agent on a loaded machine needs a second at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the signing key is in a file and has a passphrase: then no agent can ask for it.
pub fn is_locked_file(gpg: &GpgOptions, now: Timestamp) -> Result<bool, GpgError> {
    let Some(files) = files(gpg)? else { return Ok(false) };
    match files.sealer(None, now) {
        Ok(_) => Ok(false),
        Err(SealError::Passphrase { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The keys as files, by their names.
struct KeyFiles<'a> {
    recipient: (&'a str, KeyData),
    signer: Option<(&'a str, KeyData)>,
}

impl KeyFiles<'_> {
    fn warning(&self) -> Option<String> {
        let (path, _) = self.signer.as_ref().filter(|(_, file)| file.open_to_others)?;
        Some(keyring::Warning::ReadableByOthers { path: path.into() }.to_string())
    }

    fn sealer(&self, passphrase: Option<&Passphrase>, now: Timestamp) -> Result<SequoiaSealer, SealError> {
        let signer = self.signer.as_ref().map(|signer| (key_file(signer), passphrase));
        SequoiaSealer::new(key_file(&self.recipient), signer, now)
    }
}

fn key_file<'k>((place, file): &'k (&str, KeyData)) -> KeyFile<'k> {
    KeyFile { data: file.data.expose(), wanted: None, place }
}

/// A path, or a name that ends as key files do: a file that merely happens to be called like a key must not replace it.
pub(super) fn is_file(name: &str) -> bool {
    let path = Path::new(name);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    (name.contains('/') || ["asc", "gpg", "pgp", "key"].contains(&ending)) && path.is_file()
}

fn files(gpg: &GpgOptions) -> Result<Option<KeyFiles<'_>>, GpgError> {
    let read = |file: &str| keyring::read_file(Path::new(file));
    let mixed = |file: &str, other: &str| GpgError::Mixed { file: file.to_owned(), other: other.to_owned() };
    let recipient = gpg.recipient.as_str();
    match gpg.signer.as_deref() {
        None if is_file(recipient) => Ok(Some(KeyFiles { recipient: (recipient, read(recipient)?), signer: None })),
        None => Ok(None),
        Some(signer) => match (is_file(recipient), is_file(signer)) {
            (true, true) => {
                Ok(Some(KeyFiles { recipient: (recipient, read(recipient)?), signer: Some((signer, read(signer)?)) }))
            }
            (true, false) => Err(mixed(recipient, signer)),
            (false, true) => Err(mixed(signer, recipient)),
            (false, false) => Ok(None),
        },
    }
}
