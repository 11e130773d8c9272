//! Who makes the OpenPGP message: Sequoia, with keys from files or with a signature by the agent of a GnuPG home; or GnuPG
//! itself, when it is asked for.

use std::path::Path;

use super::options::GpgOptions;
use crate::config::EngineChoice;
use crate::crypto::openpgp::agent::{Agent, Terminal, Unlock};
use crate::crypto::openpgp::gpgme::{GnuPg, GpgmeSealer};
use crate::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use crate::crypto::openpgp::{SealError, Sealer, SignerPassphrase};
use crate::keyring::{self, KeyData, PublicKeys};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Why no message can be made. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    File(#[from] keyring::Error),
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
        None => Ok(Box::new(from_home(gpg, passphrase, now)?)),
    }
}

/// Sequoia makes the message, the agent of the home signs: cards and pinentry work, and no gpg is run.
fn from_home(gpg: &GpgOptions, passphrase: SignerPassphrase, now: Timestamp) -> Result<SequoiaSealer, GpgError> {
    let public = PublicKeys::open(&GnuPg { home: gpg.home.clone(), program: gpg.exe.clone() })?;
    let agent = Agent::new(public.home(), unlock(&passphrase));
    let signer = gpg.signer.as_deref().map(|name| (public.named(name), &agent, passphrase));
    Ok(SequoiaSealer::from_home(public.named(&gpg.recipient), signer, now)?)
}

fn unlock(passphrase: &SignerPassphrase) -> Unlock {
    match passphrase {
        SignerPassphrase::Agent => {
            let tty = rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new());
            Unlock::Ask(Terminal::from_environment(tty.ok().and_then(|tty| tty.into_string().ok())))
        }
        // An agent that is told that there is none would ask its user.
        SignerPassphrase::Empty => Unlock::Given(Passphrase::new(String::new())),
        SignerPassphrase::Given(passphrase) => Unlock::Given(passphrase.clone()),
    }
}

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
