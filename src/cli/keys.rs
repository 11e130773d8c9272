//! What the `key` subcommands of both programs share: how a certificate is shown, what is wrong with it, where it is read
//! from, and how a command ends.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::consent::NotDone;
use super::{EXIT_ATTENTION, EXIT_DECLINED, EXIT_FAILURE, EXIT_NOT_FOUND, EXIT_OK, EXIT_UNFIT, EXIT_USAGE};
use crate::config::Complaints;
use crate::crypto::openpgp::sequoia::{About, AboutKey, Certificate};
use crate::crypto::openpgp::{Fingerprint, Role};
use crate::keyring::manage::ManageError;
use crate::reason::SignatureFault;
use crate::secret::Secret;
use crate::time::Timestamp;

/// Why a subcommand ended without doing what it was asked. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("{what}\n     {advice}")]
    Usage { what: String, advice: &'static str },
    #[error("{what}\n     {advice}")]
    NotFound { what: String, advice: &'static str },
    #[error("{what}\n     {advice}")]
    Refused { what: String, advice: String },
    /// It has been said what needs attention.
    #[error("something needs attention")]
    Attention,
    /// It has been said why.
    #[error("the daemon would not work")]
    Unfit,
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error(transparent)]
    Manage(#[from] ManageError),
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be written", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Settings(#[from] Complaints),
    #[error(transparent)]
    Other(Box<dyn std::error::Error>),
}

impl Ended {
    pub fn other(error: impl std::error::Error + 'static) -> Self {
        Ended::Other(Box::new(error))
    }

    pub fn usage(what: impl Into<String>, advice: &'static str) -> Self {
        Ended::Usage { what: what.into(), advice }
    }

    pub fn not_found(what: impl Into<String>, advice: &'static str) -> Self {
        Ended::NotFound { what: what.into(), advice }
    }

    pub fn refused(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Ended::Refused { what: what.into(), advice: advice.into() }
    }

    pub fn code(&self) -> u8 {
        match self {
            Ended::Usage { .. } => EXIT_USAGE,
            Ended::NotFound { .. } | Ended::Manage(ManageError::NoKey { .. }) => EXIT_NOT_FOUND,
            Ended::Attention => EXIT_ATTENTION,
            Ended::Unfit => EXIT_UNFIT,
            Ended::NotDone(NotDone::DryRun) => EXIT_OK,
            Ended::NotDone(_) => EXIT_DECLINED,
            _ => EXIT_FAILURE,
        }
    }
}

/// For people: the fingerprint in full, whose it is, and each key with what it is for.
pub fn shown(about: &About, now: Timestamp) -> String {
    let mut text = format!("{}  {}\n", about.fingerprint, state(about, now));
    for user_id in &about.user_ids {
        let _ = writeln!(text, "    {user_id}");
    }
    for key in &about.keys {
        let use_ = match (key.signs, key.encrypts) {
            (true, true) => "signs, encrypts",
            (true, false) => "signs",
            (false, true) => "encrypts",
            (false, false) => "certifies",
        };
        let until = key.expires.map_or(String::new(), |end| format!(" until {}", day(end)));
        let unusable = if key.valid { "" } else { " (not usable)" };
        let _ = writeln!(text, "    {:<10} {use_:<16} {}{until}{unusable}", key.algorithm, key.fingerprint);
    }
    text
}

pub fn as_json(about: &About, now: Timestamp) -> Value {
    let moment = |time: Option<Timestamp>| time.map(Timestamp::secs);
    let keys: Vec<Value> = about
        .keys
        .iter()
        .map(|key| {
            json!({
                "fingerprint": key.fingerprint.to_string(), "algorithm": key.algorithm, "signs": key.signs,
                "encrypts": key.encrypts, "valid": key.valid, "expires": moment(key.expires),
            })
        })
        .collect();
    json!({
        "fingerprint": about.fingerprint.to_string(), "user_ids": about.user_ids, "state": state(about, now),
        "expires": moment(about.expires), "keys": keys,
    })
}

/// One word, or a few.
pub fn state(about: &About, now: Timestamp) -> String {
    match about.fault {
        Some(SignatureFault::WrongUse) if about.encrypting().is_some() => "valid, does not sign".to_owned(),
        Some(fault) => fault.to_string(),
        None => match about.expires {
            Some(end) if now.until(end) < SOON => format!("expires {}", day(end)),
            _ => "valid".to_owned(),
        },
    }
}

/// Something that needs attention, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub advice: String,
}

impl Finding {
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}

/// What is wrong with a certificate in this role, or soon will be.
pub fn findings(about: &About, role: Role, now: Timestamp) -> Vec<Finding> {
    let key = &about.fingerprint;
    let is_used = |key: &&AboutKey| key.expires.is_none_or(|end| now < end);
    let weak = about.keys.iter().filter(is_used).filter(|key| is_weak(&key.algorithm));
    let mut findings: Vec<Finding> = weak
        .map(|weak| Finding::new(format!("{} {} is weak", weak.algorithm, weak.fingerprint), "make a new key"))
        .collect();
    let prolong = || format!("prolong it with: gpg --quick-set-expire {key} 1y");
    match about.fault {
        None => {}
        Some(SignatureFault::Expired) => findings.push(Finding::new("it has expired", prolong())),
        Some(SignatureFault::Revoked) => {
            findings.push(Finding::new("it is revoked", "make a new key, and have it listed"));
        }
        // What a weak key has signed is as weak.
        Some(SignatureFault::Weak) if !findings.is_empty() => {}
        Some(SignatureFault::Weak) => findings.push(Finding::new(
            "it is bound by weak signatures, such as SHA-1",
            format!("renew them with: gpg --cert-digest-algo SHA256 --quick-set-expire {key} 1y"),
        )),
        Some(SignatureFault::WrongUse) if role == Role::Recipient => {}
        Some(SignatureFault::WrongUse) => findings.push(Finding::new(
            "it has no key that signs",
            format!("add one with: gpg --quick-add-key {key} ed25519 sign"),
        )),
        Some(other) => findings.push(Finding::new(format!("it is {other}"), "compare the clocks, or export it anew")),
    }
    if role == Role::Recipient && about.encrypting().is_none() && findings.is_empty() {
        findings.push(Finding::new(
            "it has no key that encrypts",
            format!("add one with: gpg --quick-add-key {key} cv25519 encr"),
        ));
    }
    if let Some(end) = about.expires.filter(|end| about.fault.is_none() && now.until(*end) < SOON) {
        findings.push(Finding::new(format!("it expires on {}", day(end)), prolong()));
    }
    findings
}

/// RSA and ElGamal below 2048 bits, and DSA, which a bad random number gives away.
fn is_weak(algorithm: &str) -> bool {
    let bits = algorithm.strip_prefix("rsa").or(algorithm.strip_prefix("elg")).and_then(|bits| bits.parse().ok());
    algorithm.starts_with("dsa") || bits.is_some_and(|bits: u32| bits < 2048)
}

/// Expiry is told from two weeks before.
pub const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// `2027-01-15`, UTC.
pub fn day(time: Timestamp) -> String {
    let moment = i64::try_from(time.secs()).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    moment.map_or_else(|| time.to_string(), |moment| moment.strftime("%Y-%m-%d").to_string())
}

/// The content of a file, or of standard input for `-`. It may be secret.
pub fn read(path: &Path) -> Result<Secret<Vec<u8>>, Ended> {
    // Never grown, so no copy of a secret stays behind in freed memory.
    let mut data = Vec::with_capacity(MOST + 1);
    let read = if is_stdin(path) {
        io::stdin().lock().take(MOST as u64 + 1).read_to_end(&mut data)
    } else {
        File::open(path).and_then(|file| file.take(MOST as u64 + 1).read_to_end(&mut data))
    };
    let data = Secret::new(data);
    read.map_err(|source| Ended::Read { path: path.to_owned(), source })?;
    if data.expose().len() > MOST {
        let what = format!("{} is longer than {MOST} bytes", place(path));
        return Err(Ended::refused(what, "name a file that holds nothing but what is wanted"));
    }
    Ok(data)
}

/// Bytes. Keys and stanzas are much shorter.
const MOST: usize = 1 << 20;

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Where something was read from, as people call it.
pub fn place(path: &Path) -> String {
    if is_stdin(path) { "the input".to_owned() } else { path.display().to_string() }
}

/// The one public certificate in `data`: no secret key, and no other beside it unless `wanted` tells which.
pub fn one_certificate(
    data: &[u8],
    wanted: Option<&Fingerprint>,
    path: &Path,
    now: Timestamp,
) -> Result<Certificate, Ended> {
    let place = place(path);
    let mut found = Certificate::read(data, now);
    if found.iter().any(|certificate| certificate.about.has_secrets) {
        return Err(Ended::refused(
            format!("{place} holds a secret key"),
            "it belongs to its owner alone: let him send what fwknop key export (or gpg --export) writes",
        ));
    }
    match (wanted, found.len()) {
        (_, 0) => {
            let what = format!("there is no OpenPGP certificate in {place}");
            Err(Ended::refused(what, "let its owner export it: fwknop key export, or fwknopd key export"))
        }
        (Some(wanted), _) => {
            let there: Vec<String> =
                found.iter().map(|certificate| certificate.about.fingerprint.to_string()).collect();
            found.retain(|certificate| certificate.about.fingerprint == *wanted);
            found.pop().ok_or_else(|| {
                let what = format!("{place} does not hold the key {wanted}, but {}", there.join(" and "));
                Ended::refused(what, "compare the fingerprint with its owner; nothing was changed")
            })
        }
        (None, 1) => Ok(found.remove(0)),
        (None, _) => Err(Ended::refused(
            format!("{place} holds several certificates"),
            "say which one is meant, with --fingerprint",
        )),
    }
}

/// `90d`, `2y`, `6m`, `never`.
pub fn lasting(text: &str) -> Result<Option<Duration>, String> {
    const DAY: u64 = 24 * 3600;
    if text == "never" {
        return Ok(None);
    }
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let days = match unit {
        "d" => 1,
        "w" => 7,
        "m" => 30,
        "y" => 365,
        _ => 0,
    };
    match number.parse::<u64>() {
        Ok(count) if days > 0 && (1..=100_000).contains(&count) => Ok(Some(Duration::from_secs(count * days * DAY))),
        _ => Err(format!("'{text}' is no span of time: write 90d, 6m, 2y or never")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        assert_eq!(lasting("never"), Ok(None));
        assert_eq!(lasting("2y"), Ok(Some(Duration::from_secs(2 * 365 * 24 * 3600))));
        for bad in ["", "y", "2", "0d", "-1d", "2 y", "2é", "999999999999999999999d"] {
            assert!(lasting(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_depends_on_what_a_key_is_for() {
        let now = Timestamp::from_secs(1_800_000_000);
        let about = |name: &str| {
            let path = format!("{}/keyrings/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
            About::read(&std::fs::read(path).unwrap(), now).remove(0)
        };
        let said = |name: &str, role| -> Vec<String> {
            findings(&about(name), role, now).into_iter().map(|finding| finding.what).collect()
        };
        assert!(said("client-ed25519.pub.asc", Role::Signer).is_empty());
        assert_eq!(said("client-ed25519.pub.asc", Role::Recipient), ["it has no key that encrypts"]);
        assert_eq!(said("client-expired.pub.asc", Role::Signer), ["it has expired"]);
        assert_eq!(said("client-revoked.pub.asc", Role::Signer), ["it is revoked"]);
        assert!(said("server-cv25519.pub.asc", Role::Recipient).is_empty());
        for (algorithm, weak) in [("rsa1024", true), ("rsa2048", false), ("dsa3072", true), ("ed25519", false)] {
            assert_eq!(is_weak(algorithm), weak, "{algorithm}");
        }
    }

    #[test]
    fn a_secret_key_is_nobodys_certificate() {
        let file =
            |name: &str| std::fs::read(format!("{}/keyrings/development/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let now = Timestamp::from_secs(1_800_000_000);
        let one = |data: &[u8], wanted| one_certificate(data, wanted, Path::new("x.asc"), now);
        let client = one(&file("client.pub.asc"), None).unwrap();
        assert!(one(&file("client.sec.asc"), None).unwrap_err().to_string().contains("holds a secret key"));
        let both = [file("client.pub.asc"), file("server.pub.asc")].concat();
        assert!(one(&both, None).unwrap_err().to_string().contains("several"));
        let wanted = client.about.fingerprint.clone();
        let chosen = one(&both, Some(&wanted)).unwrap();
        assert_eq!(chosen, client);
        assert_eq!(one(&chosen.data, None).unwrap(), client, "nothing else comes with it");
        let other = one(&file("server.pub.asc"), Some(&wanted)).unwrap_err();
        assert!(other.to_string().contains(&wanted.to_string()));
        assert!(one(b"nothing", None).is_err());
    }
}
