//! GnuPG itself, through GPGME, for keys that live in a GnuPG home. It makes messages ([`GpgmeSealer`]) and reads them
//! ([`GpgmeEngine`]). GPGME runs gpg for each operation.

mod engine;
mod run;
mod sealer;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ::gpgme::{Context, Error, PassphraseRequest, Protocol};
use zeroize::Zeroizing;

pub use engine::GpgmeEngine;
pub use sealer::GpgmeSealer;

use crate::secret::Passphrase;

/// Which GnuPG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GnuPg {
    /// `None`: what gpg takes by itself, `$GNUPGHOME` or `~/.gnupg`.
    pub home: Option<PathBuf>,
    /// `None`: the gpg that libgpgme finds.
    pub program: Option<PathBuf>,
}

impl GnuPg {
    /// A context for this home, in binary and without network.
    pub fn context(&self) -> Result<Context, Error> {
        let mut context = Context::from_protocol(Protocol::OpenPgp)?;
        if let Some(program) = &self.program {
            context.set_engine_path(octets(program))?;
        }
        if let Some(home) = &self.home {
            // gpg may change its directory: only an absolute path means the same to it.
            context.set_engine_home_dir(octets(&std::path::absolute(home).unwrap_or_else(|_| home.clone())))?;
        }
        // libgpgme takes any path, calls what is not there version 1.0.0, and finds no keys with it.
        if !context.engine_info().check_version("2.1.0") {
            return Err(Error::INV_ENGINE);
        }
        context.set_offline(true);
        context.set_armor(false);
        Ok(context)
    }

    /// The home itself. `None`: there is neither `GNUPGHOME` nor a home directory of the user.
    pub fn directory(&self) -> Option<PathBuf> {
        let set = || std::env::var_os("GNUPGHOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let directory = self.home.clone().or_else(set).or_else(|| Some(std::env::home_dir()?.join(".gnupg")))?;
        Some(std::path::absolute(&directory).unwrap_or(directory))
    }

    /// The home, for messages.
    pub fn place(&self) -> String {
        match &self.home {
            Some(home) => home.display().to_string(),
            None => "your GnuPG keyring".to_owned(),
        }
    }
}

fn octets(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Hands a passphrase to gpg in loopback mode; an empty one if there is none, so that gpg fails instead of asking.
pub fn passphrase_provider(passphrase: Option<&Passphrase>) -> impl ::gpgme::PassphraseProvider + use<> {
    let secret = Zeroizing::new(passphrase.map_or_else(String::new, |passphrase| passphrase.expose().to_owned()));
    move |_: PassphraseRequest<'_>, out: &mut dyn Write| out.write_all(secret.as_bytes()).map_err(Error::from)
}

/// Whether gpg failed for want of the right passphrase. The code alone counts: an agent's error carries its name too.
pub fn is_about_passphrase(error: Error) -> bool {
    const PASSPHRASE: [Error; 7] = [
        Error::BAD_PASSPHRASE,
        Error::NO_PASSPHRASE,
        Error::NO_DATA,
        Error::CANCELED,
        Error::FULLY_CANCELED,
        Error::NO_PIN_ENTRY,
        // A pinentry for terminals, and no terminal.
        Error::ENOTTY,
    ];
    PASSPHRASE.iter().any(|known| known.code() == error.code())
}
