//! `--key-gen` of the daemon: the same keys in the same form as the client's.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::ExitCode;

use super::args::Args;
use super::start::Failed;
use crate::cli::key_gen::{KeyLengths, NewKeys};
use crate::crypto::rijndael::RijndaelKey;
use crate::spa::Digest;

/// To standard output, or into a file that only its owner can read.
pub fn generate(args: &Args) -> Result<ExitCode, Failed> {
    let keys = NewKeys::generate(lengths(args)?)?;
    match &args.key_gen_file {
        None => print!("{}", keys.lines().expose()),
        Some(path) => {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
            // One that was there keeps its permissions otherwise.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(keys.lines().expose().as_bytes())?;
            println!("[+] Wrote Rijndael and HMAC keys to: {}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lengths(args: &Args) -> Result<KeyLengths, Failed> {
    let digest = match &args.hmac_digest_type {
        None => Digest::default(),
        Some(name) => name.parse().map_err(|error| usage(&format!("--hmac-digest-type {name} is {error}")))?,
    };
    let mut lengths = KeyLengths::for_digest(digest);
    lengths.encryption = in_range("--key-len", args.key_len, RijndaelKey::MAX)?.unwrap_or(lengths.encryption);
    lengths.hmac = in_range("--hmac-key-len", args.hmac_key_len, MAX_HMAC)?.unwrap_or(lengths.hmac);
    Ok(lengths)
}

fn in_range(option: &str, bytes: Option<usize>, most: usize) -> Result<Option<usize>, Failed> {
    match bytes {
        Some(bytes) if !(1..=most).contains(&bytes) => Err(usage(&format!("{option} {bytes} is not 1 to {most}"))),
        bytes => Ok(bytes),
    }
}

fn usage(what: &str) -> Failed {
    Failed::Usage { what: what.into(), advice: "see fwknopd --help".into() }
}

/// The longest HMAC key a client of the original takes.
const MAX_HMAC: usize = 128;
