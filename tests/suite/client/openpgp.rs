//! Messages for GnuPG: each is read back by gpg in the server's home.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use fwknop::crypto::hmac::{HmacAuth, HmacKey};
use fwknop::spa::{Digest, Message};

use super::Home;
use crate::support::gpg::{self, Key, keys};

/// The client's and the server's key rings, and the client's home directory.
struct Both {
    client: gpg::Home,
    server: gpg::Home,
    home: Home,
}

impl Both {
    fn new(signer: &Key, recipient: &Key) -> Self {
        let (client, server) = (gpg::Home::new(), gpg::Home::new());
        import(&client, signer, true);
        import(&client, recipient, false);
        import(&server, recipient, true);
        import(&server, signer, false);
        Self { client, server, home: Home::new() }
    }

    fn ask<'a>(&'a self, recipient: &'a Key, more: &[&'a str]) -> Vec<&'a str> {
        let home = self.client.path().to_str().unwrap();
        let ask = ["--no-rc-file", "-A", "tcp/22", "-s", "-U", "alice", "--gpg-home-dir", home];
        [&ask[..], &["--gpg-recipient-key", &recipient.fingerprint], more].concat()
    }
}

fn import(home: &gpg::Home, key: &Key, secret: bool) {
    home.import(if secret { &key.secret } else { &key.public });
}

/// The message, and the fingerprint of whoever signed it.
pub fn unseal(server: &gpg::Home, packet: &str) -> (Message, Option<String>) {
    assert!((400..1500).contains(&packet.len()), "{} characters", packet.len());
    let (output, status) = decrypted(server, packet);
    assert!(output.status.success(), "{status}");
    let signer = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG ")?.split(' ').next_back());
    (Message::decode(&output.stdout).unwrap(), signer.map(str::to_owned))
}

/// The key that made the signature, by its own fingerprint.
pub fn signing_key(server: &gpg::Home, packet: &str) -> String {
    let (_, status) = decrypted(server, packet);
    let key = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG ")?.split(' ').next());
    key.unwrap_or_else(|| panic!("{status}")).to_owned()
}

/// What gpg says to a packet.
fn decrypted(server: &gpg::Home, packet: &str) -> (Output, String) {
    let binary = STANDARD_NO_PAD.decode(format!("hQ{packet}")).unwrap();
    let file = server.path().join("message");
    std::fs::write(&file, binary).unwrap();
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(server.path()).args(["--no-auto-check-trustdb", "--status-fd", "2", "--decrypt"]);
    let output = command.arg(&file).stdin(Stdio::null()).output().unwrap();
    let status = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, status)
}

#[test]
fn signed_messages_are_read_by_gnupg() {
    let keys = keys();
    for (signer, recipient) in [(&keys.client_rsa, &keys.server_rsa), (&keys.client_ed25519, &keys.server_cv25519)] {
        let both = Both::new(signer, recipient);
        let args = both.ask(recipient, &["--gpg-signer-key", &signer.fingerprint, "--gpg-no-signing-pw"]);
        let packet = both.home.packet(&args).unwrap_or_else(|run| panic!("{}", run.err));
        let (message, by) = unseal(&both.server, &packet);
        assert_eq!(message.user.as_str(), "alice");
        assert_eq!(by.as_deref(), Some(signer.fingerprint.as_str()));
    }
}

#[test]
fn without_a_signer_the_message_is_long_enough_all_the_same() {
    let keys = keys();
    let both = Both::new(&keys.client_ed25519, &keys.server_cv25519);
    let run = both.home.run(&[&both.ask(&keys.server_cv25519, &[])[..], &["-T", "-v", "-B", "packet"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.err.contains("only the holder of the server's key can decrypt"), "{}", run.err);
    for row in [
        "Encryption Type: 2 (GPG)",
        "Encryption Mode: 7 (Asymmetric)",
        "     GPG signer: <NULL>",
        " GPG sig status: -1",
    ] {
        assert!(run.out.contains(&format!("{row}\n")), "no '{row}' in {}", run.out);
    }
    let packet = std::fs::read_to_string(both.home.0.join("packet")).unwrap();
    assert_eq!(unseal(&both.server, packet.trim_end()).1, None);
}

#[test]
fn passphrases_come_from_rc_file_or_standard_input() {
    let keys = keys();
    let (signer, recipient) = (&keys.client_ed25519_locked, &keys.server_cv25519);
    let passphrase = signer.passphrase.unwrap();
    let both = Both::new(signer, recipient);
    let rc = format!("[default]\n[gpg]\nGPG_SIGNING_PW \"{passphrase}\"\n");
    both.home.0.write(".fwknoprc", &rc);
    let args = &both.ask(recipient, &["--gpg-signer-key", &signer.fingerprint])[1..];
    let stdin = [args, &["-T", "--stdin", "--use-hmac", "-B", "packet"]].concat();
    // Before gpg-agent has seen the right one, and remembers it.
    let run = both.home.run_with(&stdin, &[], "wrong\nmac\n");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("the passphrase of the signing key") && !run.err.contains("wrong\n"), "{}", run.err);

    let packet = both.home.packet(&[&["-n", "gpg"], args].concat()).unwrap_or_else(|run| panic!("{}", run.err));
    assert_eq!(unseal(&both.server, &packet).1.as_deref(), Some(signer.fingerprint.as_str()));

    let run = both.home.run_with(&stdin, &[], &format!("{passphrase}\nmac\n"));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let packet = std::fs::read_to_string(both.home.0.join("packet")).unwrap();
    let (body, tag) = packet.trim_end().split_at(packet.trim_end().len() - 43);
    let hmac = HmacAuth::new(Digest::Sha256, &HmacKey::new(b"mac".to_vec()).unwrap());
    assert!(hmac.verify("hQ", body, tag));
    assert_eq!(unseal(&both.server, body).1.as_deref(), Some(signer.fingerprint.as_str()));
}

/// Keys for other servers are not shown to GnuPG.
#[test]
fn a_key_of_the_rc_file_is_a_passphrase_only_beside_openpgp_settings() {
    let keys = keys();
    let (signer, recipient) = (&keys.client_ed25519_locked, &keys.server_cv25519);
    let home = Home::new();
    home.0.write("server.asc", &recipient.public);
    home.0.write("me.asc", &signer.secret);
    let passphrase = signer.passphrase.unwrap();
    let files = "USE_GPG Y\nGPG_RECIPIENT server.asc\nGPG_SIGNER me.asc\n";
    let rc = format!(
        "[default]\nACCESS tcp/22\nALLOW_IP source\nKEY shared-with-others\n\
         [apart]\n{files}[beside]\n{files}KEY \"{passphrase}\"\n\
         [signing]\nGPG_SIGNING_PW \"{passphrase}\"\n[off]\nUSE_GPG N\nKEY \"{passphrase}\"\n"
    );
    home.0.write(".fwknoprc", &rc);
    for args in [
        &["-n", "beside"][..],
        &["-n", "signing", "--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me.asc"],
        &["-n", "apart", "--key-rijndael", passphrase],
    ] {
        home.packet(args).unwrap_or_else(|run| panic!("{args:?}: {}", run.err));
    }
    // Without a terminal the passphrase cannot be asked for, and no other is tried.
    for args in
        [&["-n", "apart"][..], &["-n", "off", "--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me.asc"]]
    {
        let mut command = home.command("setsid");
        let run = super::run(command.arg("-w").arg(super::PROGRAM).arg("-T").args(args), "");
        assert_eq!(run.code, Some(1));
        assert!(run.err.contains("the passphrase cannot be asked for"), "{args:?}: {}", run.err);
    }
}

#[test]
fn key_files_that_others_can_read_or_change_are_mentioned() {
    let keys = keys();
    let home = Home::new();
    home.0.write("server.asc", &keys.server_cv25519.public);
    let signer = home.0.write("me.asc", &keys.client_ed25519.secret);
    let files = ["--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me.asc", "--gpg-no-signing-pw"];
    let run = |mode| {
        std::fs::set_permissions(&signer, std::fs::Permissions::from_mode(mode)).unwrap();
        home.run(&[&["--no-rc-file", "-T", "-A", "tcp/22", "-s"], &files[..]].concat())
    };
    assert!(!run(0o600).err.contains("me.asc"));
    let open = run(0o644);
    assert_eq!(open.code, Some(0), "{}", open.err);
    assert_eq!(open.err.matches("warning: me.asc can be read by other users").count(), 1, "{}", open.err);
    let writable = run(0o660);
    assert_eq!(writable.code, Some(1));
    assert!(writable.err.contains("me.asc can be changed by other users"), "{}", writable.err);
    let long = std::fs::File::create(&signer).unwrap();
    long.set_len(17 << 20).unwrap();
    assert!(run(0o600).err.contains("too long for a key file"));
}

#[test]
fn keys_may_be_named_by_their_files() {
    let keys = keys();
    let (signer, recipient) = (&keys.client_ed25519_locked, &keys.server_cv25519);
    let both = Both::new(signer, recipient);
    both.home.0.write("server.asc", &recipient.public);
    both.home.0.write("me.asc", &signer.secret);
    let files = ["--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me.asc"];
    let args = [&["--no-rc-file", "-T", "-B", "packet", "-A", "tcp/22", "-s", "--stdin"], &files[..]].concat();
    let run = both.home.run_with(&args, &[], &format!("{}\n", signer.passphrase.unwrap()));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let packet = std::fs::read_to_string(both.home.0.join("packet")).unwrap();
    assert_eq!(unseal(&both.server, packet.trim_end()).1.as_deref(), Some(signer.fingerprint.as_str()));
    assert!(!both.home.0.join(".gnupg").exists());

    let mixed =
        ["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-recipient-key", "server.asc", "--gpg-signer-key", "me"];
    let run = both.home.run(&mixed);
    assert!(run.err.contains("'server.asc' is a key file, but 'me' is none\n     name both as files"), "{}", run.err);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let keys = keys();
    let both = Both::new(&keys.client_rsa, &keys.server_rsa);
    let home = both.client.path().to_str().unwrap();
    for (more, complaint) in [
        (&["--gpg-recipient-key", "nobody"][..], "no key for the recipient 'nobody'"),
        (&["--gpg-recipient-key", "example.org"], "the recipient 'example.org' means several keys"),
        (
            &["--gpg-recipient-key", "server-rsa", "--gpg-signer-key", "server-rsa"],
            "no key for the signer 'server-rsa'",
        ),
    ] {
        let ask = ["--no-rc-file", "-T", "-A", "tcp/22", "-s", "--gpg-no-signing-pw", "--gpg-home-dir", home];
        let run = both.home.run(&[&ask[..], more].concat());
        assert_eq!(run.code, Some(1), "{more:?}");
        assert!(run.err.contains(complaint) && run.err.contains("\n     "), "{more:?}: {}", run.err);
    }
}

/// Keys of the vectors: RSA-4096 among them, without expiry.
fn vector_key(name: &str) -> String {
    format!("{}/keyrings/vectors/{name}.asc", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn large_keys_are_refused_or_noted() {
    let home = Home::new();
    // Copied, because whoever checked the vectors out need not be we.
    let copied = |name: &str| {
        let content = std::fs::read_to_string(vector_key(name)).unwrap();
        home.0.write(&format!("{name}.asc"), &content).to_str().unwrap().to_owned()
    };
    let ask = |recipient: &str, signer: &str| {
        let (recipient, signer) = (copied(&format!("server-{recipient}.pub")), copied(&format!("client-{signer}.sec")));
        let keys = ["--gpg-recipient-key", &recipient, "--gpg-signer-key", &signer, "--gpg-no-signing-pw"];
        home.run(&[&["--no-rc-file", "-T", "-v", "-A", "tcp/22", "-s", "-U", "alice"], &keys[..]].concat())
    };
    let run = ask("rsa4096", "rsa4096");
    assert_eq!(run.code, Some(1));
    assert!(
        run.err.contains(" characters long, but only 1472 arrive in one piece\n     sign with an Ed25519 subkey (")
    );
    assert!(run.err.contains(" characters), or let the server have a Cv25519 key ("), "{}", run.err);
    let run = ask("rsa3072", "rsa3072");
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(
        run.err.contains("over 1232 it may be fragmented on the way and lost\n     sign with an Ed25519"),
        "{}",
        run.err
    );
    let run = ask("rsa2048", "rsa2048");
    assert!(run.code == Some(0) && !run.err.contains("fragmented"), "{}", run.err);
}

/// Too long as gpg makes it, which is what the original sends; ours is shorter.
const FITS: &str = "a-gpg-rsa4096-signed-rsa2048-both-sha512";

#[test]
fn what_the_original_refuses_for_its_size_is_refused_unless_ours_is_shorter() {
    let client = gpg::Home::new();
    for name in
        ["client-rsa2048.sec", "client-rsa3072.sec", "client-rsa4096.sec", "server-rsa3072.pub", "server-rsa4096.pub"]
    {
        client.import(&std::fs::read_to_string(vector_key(name)).unwrap());
    }
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/spa/gpg.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut seen = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        if vector["expect"]["result"] != "client-refuses" {
            continue;
        }
        let args = vector["client_args"].as_array().unwrap().iter().map(|arg| match arg.as_str().unwrap() {
            "<CLIENT_GNUPGHOME>" => client.path().to_str().unwrap(),
            word => word,
        });
        let args: Vec<&str> = ["-T", "--no-rc-file"].into_iter().chain(args).collect();
        let run = Home::new().run(&args);
        seen += 1;
        if vector["id"] == FITS {
            assert_eq!(run.code, Some(0), "{}", run.err);
            continue;
        }
        assert_eq!(run.code, Some(1), "{}", vector["id"]);
        assert!(
            run.err.contains("characters long, but only 1472 arrive in one piece"),
            "{}: {}",
            vector["id"],
            run.err
        );
    }
    assert_eq!(seen, 4);
}
