//! `--key-gen` of the daemon: the same keys in the same form as the client's.

use std::process::ExitCode;

use super::args::Args;
use super::start::Failed;
use crate::cli::key_gen::{KeyLengths, NewKeys};
use crate::cli::private_file;
use crate::crypto::rijndael::RijndaelKey;
use crate::spa::Digest;

/// To standard output, or into a file that only its owner can read.
pub fn generate(args: &Args) -> Result<ExitCode, Failed> {
    let keys = NewKeys::generate(lengths(args)?)?;
    match &args.key_gen_file {
        None => print!("{}", keys.lines().expose()),
        Some(path) => {
            private_file::write(path, keys.lines().expose()).map_err(|error| Failed::Usage {
                what: format!("the key file {} cannot be written: {error}", path.display()),
                advice: "name another file".into(),
            })?;
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
