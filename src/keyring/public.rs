//! Certificates of a GnuPG home by name, for sealing: from its keybox where that can be read, else from gpg.

use std::fs;
use std::path::Path;

use gpgme::ExportMode;

use super::keybox::blobs;
use crate::crypto::openpgp::gpgme::GnuPg;

/// The certificates that these names can mean, one after the other, and perhaps a few more. Empty if there are none.
pub fn certificates_named(gpg: &GnuPg, home: &Path, names: &[&str]) -> gpgme::Result<Vec<u8>> {
    if let Some(keybox) = keybox(home) {
        let named = blobs(&keybox).filter(|blob| names.iter().any(|name| blob.may_be(name)));
        let certificates: Vec<u8> = named.flat_map(|blob| blob.certificate.to_vec()).collect();
        if !certificates.is_empty() {
            return Ok(certificates);
        }
    }
    // An older home, keyboxd, other keyrings named in gpg.conf: gpg knows.
    exported(gpg)
}

/// All certificates of a home, one after the other. Nothing is made that was not there before, and no gpg is run where
/// the keybox can be read.
pub fn all_certificates(gpg: &GnuPg, home: &Path) -> gpgme::Result<Vec<u8>> {
    const OF_GPG: [&str; 5] = ["pubring.kbx", "pubring.gpg", "public-keys.d", "common.conf", "gpg.conf"];
    if !OF_GPG.iter().any(|name| home.join(name).exists()) {
        return Ok(Vec::new());
    }
    match keybox(home) {
        Some(keybox) => Ok(blobs(&keybox).flat_map(|blob| blob.certificate.to_vec()).collect()),
        None => exported(gpg),
    }
}

fn exported(gpg: &GnuPg) -> gpgme::Result<Vec<u8>> {
    let mut exported = Vec::new();
    gpg.context()?.export_all(ExportMode::empty(), &mut exported)?;
    Ok(exported)
}

/// `None`: there is none, or it is not where gpg looks.
fn keybox(home: &Path) -> Option<Vec<u8>> {
    let uses_keyboxd = fs::read_to_string(home.join("common.conf"))
        .is_ok_and(|text| text.lines().any(|line| line.trim().starts_with("use-keyboxd")));
    if uses_keyboxd || home.join("pubring.gpg").exists() {
        return None;
    }
    let path = home.join("pubring.kbx");
    let length = fs::metadata(&path).ok()?.len();
    if length > MOST { None } else { fs::read(path).ok() }
}

/// Bytes: some ten thousand certificates.
const MOST: u64 = 256 << 20;
