//! Where keys come from (`spec/client.md` 9): options and rc file, key files, `--stdin` or `--fd`, the terminal.
//! Nothing goes out under an empty key, and none is ever stored or shown.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::gpg::{self, GpgError};
use super::options::{KeySource, Options, PassphraseSource, Scheme};
use crate::cli::prompt::{self, PromptError};
use crate::crypto::hmac::{HmacAuth, HmacKey};
use crate::crypto::openpgp::{Sealer, SignerPassphrase};
use crate::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use crate::secret::{Passphrase, Secret};
use crate::spa::Digest;
use crate::time::Timestamp;

/// What one packet is sealed with.
pub struct Keys {
    pub seal: SealKey,
    pub hmac: Option<HmacAuth>,
}

pub enum SealKey {
    Rijndael(RijndaelAuth),
    OpenPgp(Box<dyn Sealer>),
}

/// Why there is no key. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the {0} is empty\n     anybody could read or make such a packet; make keys with: fwknop --key-gen")]
    Empty(What),
    #[error("the encryption key is {0} bytes long\n     a server takes 1 to {max} bytes", max = RijndaelKey::MAX)]
    Length(usize),
    #[error("the HMAC key is {0} bytes long\n     a server takes 1 to {HMAC_MAX} bytes")]
    HmacLength(usize),
    #[error("the {0} and the HMAC key are the same\n     use two keys; make them with: fwknop --key-gen")]
    Identical(What),
    #[error("the passphrase is not UTF-8 text\n     let gpg-agent ask for it, with --gpg-agent")]
    PassphraseText,
    #[error("the {what} cannot be asked for\n     {ADVICE}")]
    Prompt {
        what: What,
        #[source]
        source: PromptError,
    },
    #[error("stopped, nothing was sent")]
    Stopped,
    #[error(
        "the {what} cannot be read from {from}\n     write one key per line: the encryption key, then the HMAC key"
    )]
    Line {
        what: What,
        from: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{from} ended before the {what}\n     write one key per line: the encryption key, then the HMAC key")]
    NoLine { what: What, from: &'static str },
    #[error("the key file {} cannot be read", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key file {} has no {what} for '{destination}'\n     add a line: {destination}: <key>", file.display())]
    NotInFile { what: What, file: PathBuf, destination: String },
    #[error(transparent)]
    Gpg(#[from] GpgError),
    #[error("a key file can only be used with a destination\n     name the server with -D")]
    NoDestination,
}

const ADVICE: &str = "put it into the rc file or a key file, or write it to standard input and use --stdin";
/// The client's limit: servers read no more of a line.
const HMAC_MAX: usize = 128;

/// The HMAC key in a file: base64 alone, or behind its name as `fwknop --key-gen-file` writes it.
pub fn hmac_key_in(data: &Secret<Vec<u8>>) -> Option<Secret<String>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(data.expose()).ok()?;
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let named =
        lines().find_map(|line| line.strip_prefix("HMAC_KEY_BASE64")).map(|rest| rest.trim_start_matches(':').trim());
    let key = named.or_else(|| lines().next().filter(|_| lines().count() == 1))?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(key).map(Zeroizing::new).ok()?;
    (!decoded.is_empty()).then(|| Secret::new(key.to_owned()))
}

/// A key as people call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    EncryptionKey,
    HmacKey,
    Passphrase,
}

impl What {
    fn sealing(scheme: &Scheme) -> Self {
        match scheme {
            Scheme::Rijndael { .. } => What::EncryptionKey,
            Scheme::OpenPgp(_) => What::Passphrase,
        }
    }

    fn prompt(self) -> &'static str {
        match self {
            What::EncryptionKey => "Enter encryption key: ",
            What::HmacKey => "Enter HMAC key: ",
            What::Passphrase => "Enter passphrase for signing: ",
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            What::EncryptionKey => "encryption key",
            What::HmacKey => "HMAC key",
            What::Passphrase => "passphrase",
        })
    }
}

/// Fetches keys, and remembers what the user should be told about them.
pub struct KeyReader {
    lines: Option<KeyLines>,
    destination: Option<String>,
    now: Timestamp,
    pub warnings: Vec<String>,
}

impl KeyReader {
    pub fn new(lines: Option<KeyLines>, destination: Option<String>, now: Timestamp) -> Self {
        Self { lines, destination, now, warnings: Vec::new() }
    }

    /// All keys the options call for, in the order in which they are asked for: encryption, then HMAC.
    pub fn read(&mut self, options: &Options) -> Result<Keys, KeyError> {
        let secret = self.seal_secret(&options.scheme)?;
        let hmac = match options.hmac {
            Some(digest) => {
                let key = self.obtain(What::HmacKey, options.hmac_key.as_ref())?;
                if secret.as_ref() == Some(&key) {
                    return Err(KeyError::Identical(What::sealing(&options.scheme)));
                }
                Some(hmac_auth(digest, key)?)
            }
            None => None,
        };
        let seal = match &options.scheme {
            Scheme::Rijndael { mode, .. } => self.rijndael(*mode, secret)?,
            Scheme::OpenPgp(gpg) => {
                let passphrase = passphrase(&gpg.passphrase, secret)?;
                SealKey::OpenPgp(gpg::sealer(gpg, passphrase, self.now, &mut self.warnings)?)
            }
        };
        Ok(Keys { seal, hmac })
    }

    /// The encryption key, or the passphrase of the signing key when we are to give it.
    fn seal_secret(&mut self, scheme: &Scheme) -> Result<Option<Secret<Vec<u8>>>, KeyError> {
        let source = match scheme {
            Scheme::Rijndael { key, .. } => key.as_ref(),
            Scheme::OpenPgp(gpg) => match (&gpg.signer, &gpg.passphrase) {
                (Some(_), PassphraseSource::From(source)) => Some(source),
                (Some(_), PassphraseSource::Agent) if gpg::is_locked_file(gpg, self.now)? => None,
                _ => return Ok(None),
            },
        };
        self.obtain(What::sealing(scheme), source).map(Some)
    }

    fn rijndael(&mut self, mode: Mode, secret: Option<Secret<Vec<u8>>>) -> Result<SealKey, KeyError> {
        let mut bytes = Zeroizing::new(secret.map(|key| key.expose().clone()).unwrap_or_default());
        if mode == Mode::Legacy && bytes.len() > LEGACY_MAX {
            self.warnings.push(format!("legacy mode uses only the first {LEGACY_MAX} bytes of the encryption key"));
            bytes.truncate(LEGACY_MAX);
        }
        let key = RijndaelKey::new(bytes.to_vec()).ok_or(KeyError::Length(bytes.len()))?;
        Ok(SealKey::Rijndael(RijndaelAuth::new(key, mode)))
    }

    /// Never empty.
    fn obtain(&mut self, what: What, source: Option<&KeySource>) -> Result<Secret<Vec<u8>>, KeyError> {
        let secret = match source {
            Some(KeySource::Given(secret)) => secret.clone(),
            Some(KeySource::File(file)) => self.look_up(what, file)?,
            Some(KeySource::Line) => self.line(what)?,
            None => prompt::secret(what.prompt()).map(|text| Secret::new(text.expose().clone().into_bytes())).map_err(
                |source| match source {
                    PromptError::Stopped => KeyError::Stopped,
                    source => KeyError::Prompt { what, source },
                },
            )?,
        };
        if secret.expose().is_empty() { Err(KeyError::Empty(what)) } else { Ok(secret) }
    }

    fn line(&mut self, what: What) -> Result<Secret<Vec<u8>>, KeyError> {
        let lines = self.lines.as_mut().ok_or(KeyError::NoLine { what, from: "standard input" })?;
        let from = lines.name;
        match lines.next() {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(KeyError::NoLine { what, from }),
            Err(source) => Err(KeyError::Line { what, from, source }),
        }
    }

    fn look_up(&mut self, what: What, file: &Path) -> Result<Secret<Vec<u8>>, KeyError> {
        let destination = self.destination.clone().ok_or(KeyError::NoDestination)?;
        let failed = |source| KeyError::File { file: file.to_owned(), source };
        let mut opened = File::open(file).map_err(failed)?;
        let metadata = opened.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            self.warnings.push(format!(
                "{} is open to others (mode {:04o})\n     run: chmod 600 {}",
                file.display(),
                metadata.mode() & 0o7777,
                file.display()
            ));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
        opened.read_to_end(&mut text).map_err(failed)?;
        let key = find_key(&text, destination.as_bytes()).map(|key| Secret::new(key.to_vec()));
        key.ok_or_else(|| KeyError::NotInFile { what, file: file.to_owned(), destination })
    }
}

/// What peers before 2.5 used of a key.
const LEGACY_MAX: usize = 16;

fn hmac_auth(digest: Digest, key: Secret<Vec<u8>>) -> Result<HmacAuth, KeyError> {
    let len = key.expose().len();
    let key = HmacKey::new(key.expose().clone()).filter(|_| len <= HMAC_MAX).ok_or(KeyError::HmacLength(len))?;
    Ok(HmacAuth::new(digest, &key))
}

fn passphrase(source: &PassphraseSource, secret: Option<Secret<Vec<u8>>>) -> Result<SignerPassphrase, KeyError> {
    match (source, secret) {
        (_, Some(secret)) => {
            let text = String::from_utf8(secret.expose().clone()).map_err(|_| KeyError::PassphraseText)?;
            Ok(SignerPassphrase::Given(Passphrase::new(text)))
        }
        (PassphraseSource::None, None) => Ok(SignerPassphrase::Empty),
        (PassphraseSource::Agent | PassphraseSource::From(_), None) => Ok(SignerPassphrase::Agent),
    }
}

/// The key of the last line `destination: key`. Blanks, tabs and `=` before either are skipped; names compare as text.
fn find_key<'t>(text: &'t [u8], destination: &[u8]) -> Option<&'t [u8]> {
    let skip = |line: &'t [u8]| {
        let start = line.iter().position(|byte| !b" \t=".contains(byte)).unwrap_or(line.len());
        &line[start..]
    };
    let key_of = |line: &'t [u8]| {
        let line = skip(line.strip_suffix(b"\r").unwrap_or(line));
        if line.starts_with(b"#") || line.starts_with(b";") {
            return None;
        }
        line.strip_prefix(destination)?.strip_prefix(b":").map(skip)
    };
    text.split(|byte| *byte == b'\n').filter_map(key_of).next_back()
}

/// Standard input or another descriptor: one key per line. Read byte by byte, so that nothing of what follows is taken
/// from whoever reads on.
pub struct KeyLines {
    name: &'static str,
    input: Box<dyn Read>,
}

impl KeyLines {
    pub fn stdin() -> Self {
        Self { name: "standard input", input: Box::new(Stdin) }
    }

    /// Opens the descriptor anew by its name, which needs no `unsafe`; for a pipe that is the same pipe.
    pub fn descriptor(number: u16) -> Result<Self, KeyError> {
        let name = "the descriptor";
        let file = match number {
            0 => return Ok(Self::stdin()),
            number => File::open(format!("/dev/fd/{number}")),
        };
        let file = file.map_err(|source| KeyError::Line { what: What::EncryptionKey, from: name, source })?;
        Ok(Self { name, input: Box::new(file) })
    }

    /// `None` at the end of the input.
    fn next(&mut self) -> io::Result<Option<Secret<Vec<u8>>>> {
        const LINE_MAX: usize = 1023;
        let mut line = Zeroizing::new(Vec::with_capacity(LINE_MAX));
        let mut byte = Zeroizing::new([0u8]);
        loop {
            match self.input.read(&mut *byte) {
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() == LINE_MAX => return Err(io::Error::other("the line is too long")),
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let key = line.strip_suffix(b"\r").unwrap_or(&line);
        Ok(Some(Secret::new(key.to_vec())))
    }
}

/// Standard input without the library's buffer, which would keep a copy of the keys.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> KeyLines {
        KeyLines { name: "test", input: Box::new(io::Cursor::new(text.as_bytes().to_vec())) }
    }

    #[test]
    fn key_files_are_searched_by_destination() {
        let text = b"# gate.example: no\n;gate.example: no\n gate.example: first\nGate.example: other\n\
            \t=gate.example:\t = a key = with blanks \r\nlast.example:end";
        assert_eq!(find_key(text, b"gate.example"), Some(&b"a key = with blanks "[..]));
        assert_eq!(find_key(text, b"last.example"), Some(&b"end"[..]));
        assert_eq!(find_key(text, b"gate"), None);
        assert_eq!(find_key(b"2001:db8::1: k", b"2001:db8::1"), Some(&b"k"[..]));
    }

    #[test]
    fn one_key_per_line_is_read() {
        let mut reader = KeyReader::new(Some(lines("one\r\ntwo\n\nlast")), None, Timestamp::from_secs(0));
        let mut next = || reader.obtain(What::EncryptionKey, Some(&KeySource::Line));
        assert_eq!(next().unwrap().expose(), b"one");
        assert_eq!(next().unwrap().expose(), b"two");
        assert!(matches!(next(), Err(KeyError::Empty(_))));
        assert_eq!(next().unwrap().expose(), b"last");
        assert!(matches!(next(), Err(KeyError::NoLine { .. })));
    }
}
