//! The keys of the OpenPGP matrix that Sequoia makes. Run by `keyrings/make-matrix`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use sequoia_openpgp as pgp;

use pgp::cert::{CertBuilder, CipherSuite};
use pgp::serialize::SerializeInto;
use pgp::types::KeyFlags;

/// 1 January 2024.
const BORN: Duration = Duration::from_secs(1_704_067_200);

fn main() -> Result<(), Box<dyn Error>> {
    let out: PathBuf = std::env::args_os().nth(1).ok_or("name the directory")?.into();
    let suites = [
        ("sequoia-rsa2048", CipherSuite::RSA2k),
        ("sequoia-rsa3072", CipherSuite::RSA3k),
        ("sequoia-rsa4096", CipherSuite::RSA4k),
        ("sequoia-cv25519", CipherSuite::Cv25519),
        ("sequoia-nistp256", CipherSuite::P256),
        ("sequoia-nistp384", CipherSuite::P384),
        ("sequoia-nistp521", CipherSuite::P521),
    ];
    let primary_signs = KeyFlags::empty().set_certification().set_signing();
    let mut certs = Vec::new();
    for (name, suite) in suites {
        certs.push((name, builder(name, suite).set_primary_key_flags(primary_signs.clone())));
    }
    certs.push((
        "sequoia-subkeys",
        builder("sequoia-subkeys", CipherSuite::Cv25519).add_signing_subkey().add_signing_subkey(),
    ));
    let locked = builder("sequoia-cv25519-locked", CipherSuite::Cv25519).set_primary_key_flags(primary_signs);
    certs.push(("sequoia-cv25519-locked", locked.set_password(Some("pass phrase of the matrix".into()))));
    for (name, builder) in certs {
        let (cert, _) = builder.generate()?;
        fs::write(out.join(name).with_extension("asc"), cert.as_tsk().armored().to_vec()?)?;
        println!("{name} {}", cert.fingerprint());
    }
    Ok(())
}

fn builder(name: &str, suite: CipherSuite) -> CertBuilder<'static> {
    CertBuilder::new()
        .set_cipher_suite(suite)
        .set_creation_time(UNIX_EPOCH + BORN)
        .add_userid(format!("{name}, never in production <{name}@example.org>"))
        .add_transport_encryption_subkey()
}
