//! `fwknopd user add`: a certificate and what it may open become a user.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::key::Keyring;
use super::super::{Places, say};
use super::folder::{Folder, MARK, State, Undo, remove, write};
use crate::cli::consent::{Consent, Plan};
use crate::cli::handout::Handout;
use crate::cli::keys::{self, Ended};
use crate::config::{Kind, Syntax, parse_date};
use crate::crypto::openpgp::Fingerprint;
use crate::crypto::openpgp::sequoia::About;
use crate::net::PortSet;
use crate::secret::Secret;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Add {
    /// The certificate: a file, or - for standard input
    certificate: PathBuf,
    /// What to call the user [default: from the certificate]
    #[arg(long)]
    name: Option<String>,
    /// The only fingerprint that is taken
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<Fingerprint>,
    /// What may be asked for: tcp/22 or tcp/22,udp/1194
    #[arg(long, value_name = "PROTO/PORT,...")]
    open: PortSet,
    /// Where knocks may come from
    #[arg(long, default_value = "ANY", value_name = "ADDRESSES")]
    source: String,
    /// How long the user may knock: 90d, 6m, 2y, never, to a date (2027-01-31) or second since 1970
    #[arg(long, default_value = "never", value_name = "WHEN")]
    until: String,
    /// How long a port stays open, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    timeout: u32,
    /// How long at most, in seconds, where the client asks for a time [default: 300, or the timeout if that is longer]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    max_timeout: Option<u32>,
    /// Without an HMAC key: a stranger then costs a decryption
    #[arg(long)]
    no_hmac: bool,
    /// Write here, or with - to standard output, what the user needs: it holds a secret
    #[arg(long, value_name = "FILE")]
    stanza: Option<PathBuf>,
    /// The host in it [default: the name of this one]
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

impl Add {
    pub fn run(self, places: &Places, now: Timestamp) -> Result<(), Ended> {
        let server = places.server()?;
        let mut keyring = Keyring::open(&places.gpg()?, now)?;
        let folder = Folder::of(&server.access)?;
        let data = keys::read(&self.certificate)?;
        let read = keys::one_certificate(data.expose(), self.fingerprint.as_ref(), &self.certificate, now)?;
        let about = &read.about;
        if let Some(fault) = about.fault {
            let what = format!("nobody could knock with the certificate {}: it is {fault}", about.fingerprint);
            return Err(Ended::refused(what, "ask its owner for a current one: fwknop key check says what is wrong"));
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(about),
        };
        check_name(&name)?;
        if folder.users()?.iter().any(|known| known.name == name) {
            let what = format!("there is a user '{name}' already");
            return Err(Ended::refused(what, "choose another name with --name, or remove him first"));
        }
        Kind::Addresses.check_text(&self.source, Syntax::Fwknop).map_err(|_| {
            Ended::usage(
                format!("'{}' is no list of addresses", self.source),
                "write ANY, addresses or networks: 192.0.2.0/24",
            )
        })?;
        let until =
            until(&self.until, now).map_err(|what| Ended::usage(what, "it says how long the user may knock"))?;
        if self.max_timeout.is_some_and(|most| most < self.timeout) {
            return Err(Ended::usage("--max-timeout is shorter than --timeout", "raise it, or lower the timeout"));
        }
        keyring.must_decrypt()?;
        let hmac = if self.no_hmac { None } else { Some(hmac_key()?) };
        let text = self.access_text(about, until, hmac.as_ref(), &keyring);
        let handout = match &self.stanza {
            None => None,
            Some(file) => Some((file, self.handout(hmac.as_ref(), &mut keyring)?)),
        };

        let file = folder.file(&name, State::Active);
        let mut plan = Plan::default();
        let ports = &self.open;
        plan.step(format!(
            "let {} in, who signs with {}, to {ports} for {}s{}",
            about.name(),
            about.fingerprint,
            self.timeout,
            until.map_or(String::new(), |end| format!(", until {}", keys::day(end))),
        ));
        if keyring.about(&about.fingerprint).is_none() {
            plan.step(format!("import the certificate into {}", keyring.path.display()));
        }
        if let Some(access) = &folder.missing {
            plan.step(format!("add '%include_folder {}' to {}", folder.path.display(), access.display()));
        }
        plan.step(format!("write {}", file.display()));
        if let Some((file, _)) = &handout {
            let place = if is_stdout(file) { "to standard output".into() } else { file.display().to_string() };
            plan.step(format!("write {place}, which holds a secret: hand it to {name} alone"));
        }
        // Before anything is written: the file for itself, and all that is there already.
        let would_not_work = |complaints: &dyn std::fmt::Display| {
            let what = format!("with {name} the configuration would not work:\n{complaints}");
            Ended::refused(what, "mend that first; the user was not added")
        };
        places.check_file(&file, &text, now).map_err(|complaints| would_not_work(&complaints))?;
        if folder.missing.is_none() {
            places.check().map_err(|complaints| would_not_work(&complaints))?;
        }
        self.consent.obtain(&plan)?;

        if let Some((file, text)) = handout.as_ref().filter(|(file, _)| !is_stdout(file)) {
            write(file, text.expose())?;
        }
        let mut undo = None;
        let done = folder.make().and_then(|made| {
            undo = Some(made);
            write(&file, text.expose())?;
            places.check().map_err(|complaints| would_not_work(&complaints))?;
            Ok(keyring.home.import(&read.data)?)
        });
        if let Err(error) = done {
            if file.exists() {
                remove(&file)?;
            }
            undo.map_or(Ok(()), Undo::run)?;
            if let Some((file, _)) = handout.filter(|(file, _)| !is_stdout(file)) {
                remove(file)?;
            }
            return Err(error);
        }
        if let Some((_, text)) = handout.filter(|(file, _)| is_stdout(file)) {
            say(text.expose())?;
        }
        places.tell_daemon()?;
        let told =
            [("name", json!(name)), ("fingerprint", json!(about.fingerprint.to_string())), ("file", json!(file))];
        Ok(self.consent.done(&plan, told, "")?)
    }

    fn access_text(
        &self,
        about: &About,
        until: Option<Timestamp>,
        hmac: Option<&Secret<String>>,
        keyring: &Keyring,
    ) -> Secret<String> {
        let mut text = Zeroizing::new(format!(
            "# {} {}\n{MARK}; this file alone decides what he may do\n",
            about.name(),
            about.fingerprint
        ));
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<19} {value}\n"));
        line("SOURCE", &self.source);
        line("OPEN_PORTS", &self.open.to_string());
        line("FW_ACCESS_TIMEOUT", &self.timeout.to_string());
        // Longer than what counts where nothing is said.
        if let Some(most) = self.max_timeout.or((self.timeout > 300).then_some(self.timeout)) {
            line("MAX_FW_TIMEOUT", &most.to_string());
        }
        if let Some(until) = until {
            line("ACCESS_EXPIRE_EPOCH", &until.secs().to_string());
        }
        line("GPG_HOME_DIR", &keyring.path.display().to_string());
        line("GPG_FINGERPRINT_ID", &about.fingerprint.to_string());
        if let Some(key) = hmac {
            line("HMAC_KEY_BASE64", key.expose());
        }
        text.push_str(&keyring.unlocking());
        Secret::new(text.to_string())
    }

    fn handout(&self, hmac: Option<&Secret<String>>, keyring: &mut Keyring) -> Result<Secret<String>, Ended> {
        let recipient = keyring.current()?.fingerprint.clone();
        let host = match &self.server {
            Some(host) => host.clone(),
            None => host_name()?,
        };
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut settings = vec![
            ("SPA_SERVER", plain(&host)),
            ("ACCESS", plain(&self.open.to_string())),
            ("ALLOW_IP", plain("source")),
            ("USE_GPG", plain("Y")),
            ("GPG_RECIPIENT", plain(&recipient.to_string())),
        ];
        if let Some(key) = hmac {
            settings.push(("USE_HMAC", plain("Y")));
            settings.push(("HMAC_KEY_BASE64", key.clone()));
        }
        let certificate = keyring.home.export(&recipient)?;
        Handout::write(&host, &settings, Some(&certificate)).map_err(|error| Ended::Other(Box::new(error)))
    }
}

fn is_stdout(file: &Path) -> bool {
    file == Path::new("-")
}

/// `None`: for ever.
fn until(text: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let end = if text.len() >= 9 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok().map(Timestamp::from_secs)
    } else if text.contains(['/', '-']) {
        parse_date(text)
    } else {
        match keys::lasting(text) {
            Ok(None) => return Ok(None),
            Ok(Some(span)) => Some(now.plus(span)),
            Err(_) => None,
        }
    };
    match end {
        None => Err(format!("'{text}' is no span of time, date or second: write 90d, 2y, never or 2027-01-31")),
        Some(end) if end <= now => Err(format!("'{text}' is past")),
        Some(end) => Ok(Some(end)),
    }
}

/// What stands before the `@` of the first address, or the first word.
fn name_of(about: &About) -> String {
    let user_id = about.name();
    let address = user_id.split_once('<').map_or(user_id, |(_, rest)| rest);
    let local = address.split('@').next().unwrap_or_default();
    local.split([' ', '>']).next().unwrap_or_default().to_ascii_lowercase()
}

/// It becomes the name of a file.
fn check_name(name: &str) -> Result<(), Ended> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && !name.starts_with(['.', '-']) && name.chars().all(plain) {
        return Ok(());
    }
    let what = format!("'{}' cannot be the name of a user", name.escape_default());
    Err(Ended::usage(what, "choose one with --name: letters, digits, '-', '_' and '.'"))
}

fn host_name() -> Result<String, Ended> {
    let path = Path::new("/proc/sys/kernel/hostname");
    let name = fs::read_to_string(path).map_err(|source| Ended::Read { path: path.to_owned(), source })?;
    let name = name.trim().to_owned();
    if name.is_empty() { Err(Ended::usage("this host has no name", "name it with --server")) } else { Ok(name) }
}

/// 64 random bytes, the block size of SHA-256, as base64.
fn hmac_key() -> Result<Secret<String>, Ended> {
    let mut key = Zeroizing::new([0; 64]);
    getrandom::fill(&mut *key).map_err(|error| Ended::Other(Box::new(error)))?;
    Ok(Secret::new(STANDARD.encode(*key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_end_after_a_span_at_a_date_or_at_a_second() {
        let now = Timestamp::from_secs(1_800_000_000);
        let secs = |text: &str| until(text, now).map(|end| end.map(Timestamp::secs));
        assert_eq!(secs("never"), Ok(None));
        assert_eq!(secs("90d"), Ok(Some(1_800_000_000 + 90 * 24 * 3600)));
        assert_eq!(secs("1900000000"), Ok(Some(1_900_000_000)));
        assert_eq!(secs("2030-12-31"), secs("12/31/2030"));
        assert!(secs("2030-12-31").unwrap().unwrap() > 1_900_000_000);
        for bad in ["", "soon", "1", "2020-01-01", "1799999999", "2030-13-01", "2030-1", "99999999999999999999999"] {
            assert!(until(bad, now).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_a_plain_word() {
        for good in ["alice", "a.b-c_1", "X"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "..", ".a", "-a", "a b", "ä", "a\n", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
