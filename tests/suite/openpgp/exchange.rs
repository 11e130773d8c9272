//! Our engine and our sealers against GnuPG, in both directions.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::openpgp::gpgme::{GnuPg, GpgmeSealer};
use fwknop::crypto::openpgp::sequoia::{KeyFile, Keys, SequoiaSealer};
use fwknop::crypto::openpgp::{Engine, Opened, SealError, Sealer, SignerPassphrase, SignerRule, Tolerance, framing};
use fwknop::reason::{Reason, SignatureFault};
use fwknop::secret::Passphrase;
use fwknop::time::Timestamp;

use crate::support::gpg::{Home, Key, keys};
use crate::support::scratch::Scratch;

const TEXT: &str = "1644722707182026:Ym9i:1795294448:3.0.0:1:MTkyLjAuMi43Nyx0Y3AvMjAwMDE:EngcL4beXxDvUsyjNvXS";

/// Every kind of server key with every kind of client key, GnuPG as the client.
#[test]
fn what_gpg_seals_is_opened() {
    for server in [&keys().server_rsa, &keys().server_cv25519, p256()] {
        for client in [&keys().client_rsa, &keys().client_ed25519] {
            let message = gpg_seals(server, Some(client), &[]);
            let opened = open_as_sent(&message, server, client, &[client, &keys().stranger]);
            assert_eq!(opened.recipient.as_ref().expect("known").primary.to_string(), server.fingerprint);
            assert!(listed(client).judge(&opened).is_ok());
            let refused = listed(&keys().stranger).judge(&opened);
            assert!(matches!(refused, Err(Reason::SignerNotListed(_))), "{refused:?}");
        }
    }
}

#[test]
fn whatever_gpg_is_told_to_use_is_read() {
    let (server, client) = (&keys().server_cv25519, &keys().client_ed25519);
    let accepted: [&[&str]; 9] = [
        &["-z", "0"],
        &["--compress-algo", "zip"],
        &["--compress-algo", "zlib", "-z", "9"],
        &["--textmode"],
        &["--throw-keyids"],
        &["--set-filename", "a long name of no importance"],
        &["--cipher-algo", "3DES"],
        &["--cipher-algo", "CAMELLIA256"],
        &["--digest-algo", "SHA512"],
    ];
    for options in accepted {
        let opened = open_as_sent(&gpg_seals(server, Some(client), options), server, client, &[client]);
        assert!(listed(client).judge(&opened).is_ok(), "{options:?}: {:?}", opened.signatures);
    }
}

/// Limits of the engine, and of the policy.
#[test]
fn what_is_not_taken_from_gpg() {
    let (server, client) = (&keys().server_cv25519, &keys().client_ed25519);
    let ring = keyring(server, &[client]);

    let bzip2 = gpg_seals(server, Some(client), &["--compress-algo", "bzip2"]);
    assert!(matches!(ring.open(&bzip2, Timestamp::now()), Err(Reason::GpgDecrypt)));

    let sha1 = gpg_seals(server, Some(client), &["--digest-algo", "SHA1", "--allow-weak-digest-algos"]);
    let opened = ring.open(&sha1, Timestamp::now()).expect("it can be decrypted");
    assert_eq!(listed(client).judge(&opened), Err(Reason::GpgBadSignature(SignatureFault::Weak)));

    let to_another = gpg_seals(&keys().server_rsa, Some(client), &[]);
    assert!(matches!(ring.open(&to_another, Timestamp::now()), Err(Reason::GpgDecrypt)));
}

#[test]
fn one_of_several_signatures_is_enough() {
    let (server, client, other) = (&keys().server_rsa, &keys().client_ed25519, &keys().stranger);
    let message = gpg_seals(server, Some(client), &["--local-user", &other.fingerprint]);
    let opened = keyring(server, &[client]).open(&message, Timestamp::now()).expect("ours");
    assert_eq!(opened.signatures.len(), 2);
    assert!(listed(client).judge(&opened).is_ok());
    assert!(opened.signatures.iter().any(|s| s.fault == Some(SignatureFault::UnknownSigner) && s.by.is_none()));
}

#[test]
fn what_we_seal_from_files_gpg_reads() {
    for server in [&keys().server_rsa, &keys().server_cv25519, p256()] {
        for client in [Some(&keys().client_rsa), Some(&keys().client_ed25519), Some(p256()), None] {
            let sealed = from_files(server, client, None).expect("good keys").seal(TEXT.as_bytes()).expect("sealed");
            check_sealed(&sealed, server, client);
        }
    }
}

#[test]
fn what_we_seal_through_gpgme_gpg_reads() {
    for server in [&keys().server_rsa, &keys().server_cv25519, p256()] {
        for client in [Some(&keys().client_rsa), Some(&keys().client_ed25519), None] {
            let home = client_home(&[server], client.as_slice());
            let signer = client.map(|client| (client.fingerprint.as_str(), SignerPassphrase::Empty));
            let sealer = GpgmeSealer::new(&gnupg(&home), server.name, signer).expect("good keys");
            check_sealed(&sealer.seal(TEXT.as_bytes()).expect("sealed"), server, client);
        }
    }
}

#[test]
fn passphrases_given_wrong_and_missing() {
    let (server, client) = (&keys().server_rsa, &keys().client_rsa_locked);
    let right = Passphrase::new(client.passphrase.expect("it has one").into());
    let wrong = Passphrase::new("wrong".into());

    let sealed = from_files(server, Some(client), Some(&right)).expect("unlocked").seal(TEXT.as_bytes());
    check_sealed(&sealed.expect("sealed"), server, Some(client));
    for passphrase in [None, Some(&wrong)] {
        assert!(matches!(from_files(server, Some(client), passphrase), Err(SealError::Passphrase { .. })));
    }

    // A fresh home each time: the agent remembers what it was told once.
    let seal = |passphrase| {
        let home = client_home(&[server], &[client]);
        GpgmeSealer::new(&gnupg(&home), server.name, Some((client.name, passphrase)))?.seal(TEXT.as_bytes())
    };
    check_sealed(&seal(SignerPassphrase::Given(right)).expect("sealed"), server, Some(client));
    for passphrase in [SignerPassphrase::Given(wrong), SignerPassphrase::Empty] {
        let error = seal(passphrase).expect_err("must fail");
        assert!(matches!(error, SealError::Passphrase { .. }), "{error:?}");
        assert!(error.to_string().contains(&client.fingerprint), "{error}");
    }
}

#[test]
fn options_in_gpg_conf_do_not_spoil_a_message() {
    let (server, client) = (&keys().server_cv25519, &keys().client_ed25519);
    let home = client_home(&[server], &[client]);
    let conf = format!("batch\nno-tty\narmor\nencrypt-to {}\nno-emit-version\n", client.fingerprint);
    fs::write(home.path().join("gpg.conf"), conf).expect("our own home");
    let sealer = GpgmeSealer::new(&gnupg(&home), server.name, Some((client.name, SignerPassphrase::Empty)));
    check_sealed(&sealer.expect("good keys").seal(TEXT.as_bytes()).expect("sealed"), server, Some(client));
}

#[test]
fn names_that_mean_no_key_or_several_are_told_with_advice() {
    let (server, client) = (&keys().server_rsa, &keys().client_ed25519);
    let home = client_home(&[server, &keys().server_cv25519], &[client, &keys().client_rsa]);
    let through_gpg = |recipient: &str, signer: &str| {
        let sealer = GpgmeSealer::new(&gnupg(&home), recipient, Some((signer, SignerPassphrase::Empty)));
        sealer.expect_err("must be refused").to_string()
    };
    assert!(through_gpg("nobody", client.name).contains("fwknop key import"));
    assert!(through_gpg("server-", client.name).contains(&keys().server_cv25519.fingerprint));
    assert!(through_gpg(server.name, "nobody").contains("fwknop key list"));
    assert!(through_gpg(server.name, server.name).contains("fwknop key list"), "no secret part");
    assert!(through_gpg(server.name, "client-").contains("several keys"));

    let scratch = Scratch::new();
    let none = GnuPg { home: Some(scratch.path().into()), program: Some("/nonexistent/gpg".into()) };
    let error = GpgmeSealer::new(&none, "x", None).expect_err("no gpg");
    assert!(matches!(error, SealError::NoGpg { .. }), "{error:?}");

    let both = [server.public.as_str(), &keys().server_cv25519.public].concat();
    let pick = |wanted| {
        let recipient = KeyFile { data: both.as_bytes(), wanted, place: "servers.asc" };
        SequoiaSealer::new(recipient, None, Timestamp::now())
    };
    assert!(matches!(pick(None), Err(SealError::SeveralKeys { .. })));
    assert!(matches!(pick(Some("nobody")), Err(SealError::NoKey { .. })));
    assert!(pick(Some(&server.fingerprint)).is_ok());
    // A public key cannot sign.
    let recipient = KeyFile { data: both.as_bytes(), wanted: Some(server.name), place: "servers.asc" };
    let signer = KeyFile { data: client.public.as_bytes(), wanted: None, place: "me.asc" };
    let refused = SequoiaSealer::new(recipient, Some((signer, None)), Timestamp::now());
    assert!(matches!(refused, Err(SealError::Unusable { .. })));
}

/// Two RSA keys of 3072 bits just fit a packet with an HMAC.
#[test]
fn long_keys_still_make_a_message_that_can_be_sent() {
    let read = |name: &str| fs::read(super::vectors::vector_keys().join(name)).expect("a test key");
    let (server, client) = (read("server-rsa3072.pub.asc"), read("client-rsa3072.sec.asc"));
    let file = |data| KeyFile { data, wanted: None, place: "vectors" };
    let sealer = SequoiaSealer::new(file(&server), Some((file(&client), None)), super::vectors::NOW);
    let sealed = sealer.expect("good keys").seal(TEXT.as_bytes()).expect("sealed");
    let text = STANDARD_NO_PAD.encode(sealed);
    assert!(text.len() - 2 + 43 <= 1499, "{} characters", text.len());
}

#[test]
fn the_development_keys_work() {
    let read = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/keyrings/development/");
        fs::read([path, name].concat()).unwrap_or_else(|error| panic!("{name}: {error}; run keyrings/make"))
    };
    let [server, client, stranger] = ["server.sec.asc", "client.sec.asc", "stranger.sec.asc"].map(read);
    let mut ring = Keys::default();
    ring.add(&server, None, Timestamp::now()).expect("a secret key");
    ring.add(&read("client.pub.asc"), None, Timestamp::now()).expect("a public key");
    let file = |data| KeyFile { data, wanted: None, place: "development" };
    for (signer, fault) in [(&client, None), (&stranger, Some(SignatureFault::UnknownSigner))] {
        let sealer = SequoiaSealer::new(file(&server), Some((file(signer), None)), Timestamp::now());
        let sealed = sealer.expect("good keys").seal(TEXT.as_bytes()).expect("sealed");
        let opened = ring.open(&sealed, Timestamp::now()).expect("ours");
        assert_eq!(opened.signatures[0].fault, fault);
    }
}

/// A message as every receiver wants it: framed, long enough, readable by gpg and by our engine, by the right signer.
fn check_sealed(sealed: &[u8], server: &Key, client: Option<&Key>) {
    let text = STANDARD_NO_PAD.encode(sealed);
    assert!(text.starts_with("hQ") && text.len() >= 402, "{} characters: {text}", text.len());
    assert!(framing::plausible(sealed));
    let body = &text[2..];
    assert_eq!(framing::candidates(body)[0].1, sealed);

    let others: Vec<&Key> = client.into_iter().collect();
    let opened = keyring(server, &others).open(sealed, Timestamp::now()).expect("ours");
    assert_eq!(opened.plaintext.expose(), TEXT.as_bytes());
    match client {
        Some(client) => assert!(listed(client).judge(&opened).is_ok(), "{:?}", opened.signatures),
        None => assert!(opened.signatures.is_empty()),
    }

    let home = client_home(&others, &[server]);
    let (plaintext, status) = gpg_opens(&home, sealed);
    assert_eq!(plaintext, TEXT, "{status}");
    assert!(status.contains("GOODMDC"), "{status}");
    if let Some(client) = client {
        assert!(status.contains("GOODSIG"), "{status}");
        assert!(status.contains(&format!(" {}\n", client.fingerprint)), "VALIDSIG ends with the primary: {status}");
    }
}

/// Through base64 and back, without the two characters that are cut off: as the daemon gets it.
fn open_as_sent(message: &[u8], server: &Key, client: &Key, others: &[&Key]) -> Opened {
    let text = STANDARD_NO_PAD.encode(message);
    let candidates = framing::candidates(&text[2..]);
    let (prefix, candidate) = &candidates[0];
    assert!(text.starts_with(prefix.as_str()) && candidate == message, "{candidates:?}");
    let reframed = framing::reframe(message.to_vec()).expect("a message to a key");
    let ring = keyring(server, others);
    assert!(ring.open(&reframed, Timestamp::now()).is_ok());

    let home = client_home(&[client], &[server]);
    assert_eq!(gpg_opens(&home, &reframed).0, TEXT, "gpg reads the reframed message");
    ring.open(message, Timestamp::now()).expect("ours")
}

fn keyring(server: &Key, others: &[&Key]) -> Keys {
    let mut ring = Keys::default();
    let notices = ring.add(server.secret.as_bytes(), None, Timestamp::now()).expect("a secret key");
    assert!(notices.is_empty(), "{notices:?}");
    for key in others {
        ring.add(key.public.as_bytes(), None, Timestamp::now()).expect("a public key");
    }
    ring
}

fn listed(key: &Key) -> SignerRule {
    let fingerprint = key.fingerprint.parse().expect("a fingerprint");
    SignerRule::Listed { lists: vec![vec![fingerprint]], tolerance: Tolerance::default() }
}

fn from_files(server: &Key, client: Option<&Key>, passphrase: Option<&Passphrase>) -> Result<SequoiaSealer, SealError> {
    let recipient = KeyFile { data: server.public.as_bytes(), wanted: None, place: "server.asc" };
    let signer = client.map(|client| KeyFile { data: client.secret.as_bytes(), wanted: None, place: "me.asc" });
    SequoiaSealer::new(recipient, signer.map(|signer| (signer, passphrase)), Timestamp::now())
}

fn gnupg(home: &Home) -> GnuPg {
    GnuPg { home: Some(home.path().into()), program: None }
}

fn client_home(public: &[&Key], secret: &[&Key]) -> Home {
    let home = Home::new();
    public.iter().for_each(|key| home.import(&key.public));
    secret.iter().for_each(|key| home.import(&key.secret));
    home
}

fn gpg_seals(server: &Key, client: Option<&Key>, options: &[&str]) -> Vec<u8> {
    let home = client_home(&[server], &[&keys().client_rsa, &keys().client_ed25519, &keys().stranger]);
    let output = home.path().join("message.gpg");
    let output = output.to_string_lossy();
    let mut args = vec!["--trust-model", "always", "--output", &output, "--recipient", &server.fingerprint];
    if let Some(client) = client {
        args.extend(["--sign", "--local-user", &client.fingerprint]);
    }
    args.extend(options);
    args.push("--encrypt");
    home.feed(&args, TEXT);
    fs::read(&*output).expect("gpg wrote it")
}

/// The plaintext and the status lines.
fn gpg_opens(home: &Home, message: &[u8]) -> (String, String) {
    let file = home.path().join("in.gpg");
    fs::write(&file, message).expect("our own home");
    let output = Command::new("gpg")
        .arg("--homedir")
        .arg(home.path())
        .args(["--trust-model", "always", "--status-fd", "2", "--decrypt"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("gpg runs");
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

/// A P-256 key, made once.
fn p256() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Home::new().generate("p256", ("nistp256", "nistp256"), None))
}
