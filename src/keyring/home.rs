//! Keys from a GnuPG home.
//!
//! GnuPG keeps secret keys in files of its own making that only its agent reads, so they are exported: one run of gpg
//! for the certificates, one for the list of secret keys, one for the secret keys themselves. The passphrase goes to
//! gpg in loopback mode: nobody is asked, nothing is cached. An agent that gpg starts for a home is left running, as
//! gpg itself leaves it. Or they stay where they are and gpg reads the messages ([`left_to_gpg`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use gpgme::{Context, ExportMode, PinentryMode};
use zeroize::Zeroizing;

use super::{Error, Keys, Loaded, Notice, Warning, permissions};
use crate::crypto::openpgp::agent::{Agent, Patience, Unlock};
use crate::crypto::openpgp::gpgme::{GnuPg, GpgmeEngine, is_about_passphrase, passphrase_provider};
use crate::crypto::openpgp::{Fingerprint, KeyPath};
use crate::secret::Passphrase;
use crate::time::Timestamp;

/// Which GnuPG, and which home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gpg {
    pub home: PathBuf,
    /// The program; `None`: the one that libgpgme finds.
    pub program: Option<PathBuf>,
}

/// Reads all keys of a home, and unlocks what `passphrase` unlocks.
pub fn from_home(gpg: &Gpg, passphrase: Option<&Passphrase>, now: Timestamp) -> Result<Loaded, Error> {
    let mut warnings = check_home(&gpg.home)?;
    let mut context = gpg.context().map_err(|source| Error::NoGpg { source })?;
    let broken = |source| Error::Gpg { home: gpg.home.clone(), source };
    let (mut keys, mut notices) = certificates(&mut context, gpg, now)?;
    let secrets = list_secrets(&mut context).map_err(broken)?;
    let export = export_secrets(&mut context, &secrets, passphrase);
    // Nothing exported is no error of its own: what is missing is told below.
    notices.extend(keys.add(&export.data, passphrase, now).unwrap_or_default());
    match export.failure {
        Some(problem) => warnings.push(Warning::Export { home: gpg.home.clone(), problem }),
        None => notices.extend(missing(&keys, &notices, &secrets, passphrase.is_some())),
    }
    warnings.extend(notices.into_iter().map(Warning::Key));
    if keys.decrypting().next().is_none() {
        warnings.push(Warning::NothingDecrypts { place: gpg.home.clone() });
    }
    Ok(Loaded { keys, warnings })
}

/// Leaves the secret keys with gpg-agent, which is started if it does not run. Later it is not: whoever ended it may
/// have had a reason.
pub fn left_to_agent(gpg: &Gpg, passphrase: Option<&Passphrase>, now: Timestamp) -> Result<Loaded, Error> {
    let mut warnings = check_home(&gpg.home)?;
    let mut context = gpg.context().map_err(|source| Error::NoGpg { source })?;
    let (mut keys, mut notices) = certificates(&mut context, gpg, now)?;
    let unlock = passphrase.map_or(Unlock::Never, |passphrase| Unlock::Given(passphrase.clone()));
    let agent = Agent::new(&gpg.home, unlock).with_patience(patience(AGENT_MAX_AT_START));
    notices.extend(keys.leave_to(&agent, patience(AGENT_MAX), now)?);
    warnings.extend(notices.into_iter().map(Warning::Key));
    if keys.decrypting().next().is_none() {
        warnings.push(Warning::NothingDecrypts { place: gpg.home.clone() });
    }
    Ok(Loaded { keys, warnings })
}

/// Leaves the secret keys to gpg, which then reads the messages.
pub fn left_to_gpg(
    gpg: &Gpg,
    passphrase: Option<&Passphrase>,
    now: Timestamp,
) -> Result<(GpgmeEngine, Vec<Warning>), Error> {
    let mut warnings = check_home(&gpg.home)?;
    let mut context = gpg.context().map_err(|source| Error::NoGpg { source })?;
    let broken = |source| Error::Gpg { home: gpg.home.clone(), source };
    let (keys, notices) = certificates(&mut context, gpg, now)?;
    warnings.extend(notices.into_iter().map(Warning::Key));
    let secrets = list_secrets(&mut context).map_err(broken)?;
    let decrypting: Vec<KeyPath> = secrets.iter().map(|secret| secret.path.clone()).collect();
    if decrypting.is_empty() {
        warnings.push(Warning::NothingDecrypts { place: gpg.home.clone() });
    }
    let engine = GpgmeEngine::new(gpg.gnupg(), passphrase.cloned(), keys, decrypting);
    let unusable = secrets.into_iter().filter_map(|secret| unusable(gpg, &engine, secret, passphrase.is_some()));
    warnings.extend(unusable.map(Warning::Key));
    Ok((engine, warnings))
}

/// Why gpg cannot use a key, found out by trying. For one on a card the card is looked for: wrong tries use it up.
fn unusable(gpg: &Gpg, engine: &GpgmeEngine, secret: SecretKey, passphrase_given: bool) -> Option<Notice> {
    if secret.on_card {
        let problem = Agent::new(&gpg.home, Unlock::Never).find_card(None).err()?.to_string();
        return Some(Notice::Unusable { key: secret.path.key, user_id: secret.user_id, problem });
    }
    (engine.can_use(&secret.path.key) == Some(false)).then(|| secret.is_locked(passphrase_given))
}

/// All certificates of a home.
fn certificates(context: &mut Context, gpg: &Gpg, now: Timestamp) -> Result<(Keys, Vec<Notice>), Error> {
    let broken = |source| Error::Gpg { home: gpg.home.clone(), source };
    let mut keys = Keys::default();
    let mut exported = Vec::new();
    context.export_all(ExportMode::empty(), &mut exported).map_err(broken)?;
    let notices = keys.add(&exported, None, now).map_err(|_| Error::EmptyHome { home: gpg.home.clone() })?;
    Ok((keys, notices))
}

/// gpg-agent decrypts in milliseconds, a card in a second or two. Whoever waits keeps a worker of the pool.
const AGENT_MAX: Duration = Duration::from_secs(5);

/// To unlock a key is made slow on purpose, and a machine that starts is busy.
const AGENT_MAX_AT_START: Duration = Duration::from_secs(20);

fn patience(machine: Duration) -> Patience {
    Patience { machine, ..Patience::default() }
}

impl Gpg {
    fn gnupg(&self) -> GnuPg {
        GnuPg { home: Some(self.home.clone()), program: self.program.clone() }
    }

    fn context(&self) -> gpgme::Result<Context> {
        let mut context = self.gnupg().context()?;
        context.set_pinentry_mode(PinentryMode::Loopback)?;
        Ok(context)
    }
}

fn check_home(home: &Path) -> Result<Vec<Warning>, Error> {
    let mut warnings = Vec::new();
    let metadata = match permissions::check(home) {
        Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoHome { home: home.into() });
        }
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        return Err(Error::NotADirectory { path: home.into() });
    }
    permissions::warn_if_readable(home, &metadata, &mut warnings);
    permissions::check_home_files(home)?;
    Ok(warnings)
}

/// A key of the home that should be able to decrypt.
struct SecretKey {
    path: KeyPath,
    user_id: String,
    is_primary: bool,
    on_card: bool,
}

impl SecretKey {
    /// Why it cannot be used.
    fn is_locked(&self, passphrase_given: bool) -> Notice {
        let (key, user_id) = (self.path.key.clone(), self.user_id.clone());
        match (self.on_card, passphrase_given) {
            (true, _) => Notice::Elsewhere { key, user_id },
            (false, true) => Notice::WrongPassphrase { key, user_id },
            (false, false) => Notice::NoPassphrase { key, user_id },
        }
    }
}

fn list_secrets(context: &mut Context) -> gpgme::Result<Vec<SecretKey>> {
    let mut secrets = Vec::new();
    for key in context.secret_keys()? {
        let key = key?;
        let user_id = key.user_ids().next().and_then(|id| id.id().ok()).unwrap_or("no user id");
        let Some(primary) = key.fingerprint().ok().and_then(|text| text.parse::<Fingerprint>().ok()) else { continue };
        for (at, subkey) in key.subkeys().enumerate() {
            let Some(fingerprint) = subkey.fingerprint().ok().and_then(|text| text.parse().ok()) else { continue };
            if subkey.can_encrypt() && subkey.is_secret() {
                let (user_id, on_card) = (user_id.to_owned(), subkey.is_card_key());
                let path = KeyPath { primary: primary.clone(), key: fingerprint };
                secrets.push(SecretKey { path, user_id, is_primary: at == 0, on_card });
            }
        }
    }
    Ok(secrets)
}

/// What gpg gave out. A key without the right passphrase is left out and is no failure.
struct Export {
    data: Zeroizing<Vec<u8>>,
    failure: Option<String>,
}

/// Exports only what decrypts: a primary key that just signs stays with gpg.
fn export_secrets(context: &mut Context, secrets: &[SecretKey], passphrase: Option<&Passphrase>) -> Export {
    // Never grown for any usual home, so no copy of a secret stays behind in freed memory.
    let mut export = Export { data: Zeroizing::new(Vec::with_capacity(1 << 20)), failure: None };
    for (primaries, mode) in [(true, ExportMode::SECRET), (false, ExportMode::SECRET_SUBKEY)] {
        // The exclamation mark: this key and no other of the certificate.
        let wanted = secrets.iter().filter(|secret| secret.is_primary == primaries && !secret.on_card);
        let wanted: Vec<String> = wanted.map(|secret| format!("{}!", secret.path.key)).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut part = Zeroizing::new(Vec::with_capacity(1 << 20));
        let result = context.with_passphrase_provider(passphrase_provider(passphrase), |context| {
            context.export(wanted, mode, &mut *part)
        });
        export.data.extend_from_slice(&part);
        if let Err(error) = result
            && !is_about_passphrase(error)
        {
            export.failure = Some(error.to_string());
        }
    }
    export
}

/// The keys that were listed but did not come out usable, and about which nothing has been said yet.
fn missing(keys: &Keys, notices: &[Notice], secrets: &[SecretKey], passphrase_given: bool) -> Vec<Notice> {
    let here = |secret: &&SecretKey| {
        keys.decrypting().any(|path| path.key == secret.path.key)
            || notices.iter().any(|notice| notice.key() == Some(&secret.path.key))
    };
    secrets.iter().filter(|secret| !here(secret)).map(|secret| secret.is_locked(passphrase_given)).collect()
}
