//! `--key-gen` and `--save-rc-stanza`: making keys and putting them, or options, where they are found again.

use std::io;
use std::path::Path;

use super::args::Args;
use super::layers::Layers;
use super::output::{print, warn, write_private};
use super::{Failure, options, rc, stanza};
use crate::cli::key_gen::{KeyLengths, NewKeys};
use crate::config::{Complaints, Setting};

pub(super) fn generate(args: &Args, layers: &Layers) -> Result<NewKeys, Failure> {
    let usual = KeyLengths::for_digest(options::digest(layers, "HMAC_DIGEST_TYPE"));
    let lengths = KeyLengths {
        encryption: args.keys.key_len.map_or(usual.encryption, usize::from),
        hmac: args.keys.hmac_key_len.map_or(usual.hmac, usize::from),
    };
    NewKeys::generate(lengths).map_err(Failure::Random)
}

/// Whether the stanza to be written is for GnuPG, where no encryption key is shared. In the rc file one would only be taken
/// for the passphrase of the signing key.
pub(super) fn are_for_openpgp(args: &Args, rc_file: &Path) -> bool {
    // Mistakes have been reported, or are about a stanza that is not there yet.
    let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
    rc::add_layers(rc_file, stanza_name(args), &mut layers, &mut complaints);
    layers.add_command_line(args.settings(), &mut complaints);
    layers.flag("USE_GPG")
}

/// Says where new keys are, or shows them when they are nowhere.
pub(super) fn hand_out(args: &Args, saved_in: Option<&Path>, keys: &NewKeys) -> Result<(), Failure> {
    let for_openpgp = saved_in.is_some_and(|path| are_for_openpgp(args, path));
    let (lines, what) = match for_openpgp {
        true => (keys.hmac_line(), "the HMAC key (GnuPG needs no Rijndael key)"),
        false => (keys.lines(), "Rijndael and HMAC keys"),
    };
    if let Some(path) = &args.keys.key_gen_file {
        write_private(path, lines.expose(), false)?;
        return print(&format!("[+] Wrote {what} to: {}\n", path.display()));
    }
    match saved_in {
        Some(path) => print(&format!("[+] Wrote {what} to rc file: {}\n", path.display())),
        None => print(lines.expose()),
    }
}

fn stanza_name(args: &Args) -> Option<&str> {
    args.files.named_config.as_deref().or(args.destination())
}

pub(super) fn save_stanza(args: &Args, path: &Path, new_keys: Option<&NewKeys>) -> Result<(), Failure> {
    let name = stanza_name(args).ok_or(stanza::SaveError::NoName)?;
    let mut settings = args.settings();
    if let Some(keys) = new_keys {
        settings.retain(|setting| !["KEY", "KEY_FILE", "HMAC_KEY", "HMAC_KEY_FILE"].contains(&setting.name.as_str()));
        if !are_for_openpgp(args, path) {
            settings.push(Setting::from_option("KEY_BASE64", keys.encryption.expose(), "--key-gen"));
        }
        settings.push(Setting::from_option("HMAC_KEY_BASE64", keys.hmac.expose(), "--key-gen"));
    }
    let overwrite = |variable: &str| args.files.force_stanza || confirm(args, variable, name);
    let saved = stanza::save(path, name, &stanza::new_lines(settings), overwrite, new_keys.is_some())?;
    if saved.kept.is_empty() {
        return Ok(());
    }
    let kept = saved.kept.join(", ");
    if new_keys.is_some() {
        let advice = "answer y, or use --force-stanza, or save under another name with -n";
        return Err(Failure::refused(format!("nothing was saved: the stanza {name} keeps its {kept}"), advice));
    }
    warn(&format!("note: the stanza {name} keeps its {kept}"));
    Ok(())
}

/// Asks on standard output and reads standard input, unless the keys come from there.
fn confirm(args: &Args, variable: &str, stanza: &str) -> bool {
    let question = format!("Variable '{variable}' found in stanza '{stanza}'. Overwrite [N/y] ? ");
    if args.keys.stdin || args.keys.fd == Some(0) || print(&question).is_err() {
        return false;
    }
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && answer.trim_start().starts_with(['y', 'Y'])
}
