//! The variables of the rc file (`spec/client.md` 4), in the order in which a stanza is written (`spec/client.md` 6).

use crate::config::State::{self, Built};
use crate::config::{Kind, Table, Variable};

pub static TABLE: Table =
    Table { file: "the rc file", document: "docs/client.md", variables: VARIABLES, expands: false, sibling: None };

const fn v(name: &'static str, kind: Kind, default: &'static str, state: State, doc: &'static str) -> Variable {
    Variable { name, kind, default, state, doc }
}

const PORT_OR_NONE: Kind = Kind::Number { min: 0, max: 65535 };

static VARIABLES: &[Variable] = &[
    v("DIGEST_TYPE", Kind::Digest, "sha256", Built, "digest inside the packet"),
    v(
        "SPA_SERVER_PROTO",
        Kind::Choice(PROTOCOLS),
        "udp",
        Built,
        "transport: udp, tcp or http; raw: udpraw, tcpraw or icmp",
    ),
    v("SPA_SERVER_PORT", PORT_OR_NONE, "62201", Built, "destination port; 80 is the default for http"),
    v("SPA_SOURCE_PORT", PORT_OR_NONE, "0", Built, "source port; 0: the system chooses"),
    v("FW_TIMEOUT", Kind::Number { min: 0, max: 65536 }, "0", Built, "seconds of access; 0: the server decides"),
    v(
        "ALLOW_IP",
        Kind::Text,
        "",
        Built,
        "address to let in, or source: the packet's own; or resolve: ask a web service",
    ),
    v("TIME_OFFSET", Kind::Text, "0", Built, "added to the time stamp: 60, 2m, -3h, 1d"),
    v("ENCRYPTION_MODE", Kind::Mode, "CBC", Built, "AES mode, or Asymmetric with GnuPG"),
    v("USE_GPG", Kind::YesNo, "N", Built, "encrypt with GnuPG instead of AES"),
    v("USE_GPG_AGENT", Kind::YesNo, "N", Built, "gpg-agent asks for the passphrase, also when one is configured"),
    v("GPG_RECIPIENT", Kind::Text, "", Built, "the server's key: fingerprint, key ID, name, or certificate file"),
    v("GPG_SIGNER", Kind::Text, "", Built, "our key to sign with: fingerprint, key ID, name, or key file"),
    v("GPG_HOMEDIR", Kind::Path, "", Built, "key ring directory; GnuPG's own by default"),
    v("GPG_EXE", Kind::Path, "", Built, "GnuPG program, which then makes the message"),
    v(
        "GPG_ENGINE",
        Kind::Choice(&["sequoia", "gpgme"]),
        "sequoia",
        Built,
        "who makes the message: this process, with a signature by gpg-agent, or gpg itself (ours)",
    ),
    v("GPG_SIGNING_PW", Kind::Secret, "", Built, "passphrase of the signing key"),
    v("GPG_SIGNING_PW_BASE64", Kind::SecretBase64, "", Built, "the same in base64"),
    v("GPG_NO_SIGNING_PW", Kind::YesNo, "N", Built, "the signing key has no passphrase"),
    v("SPOOF_USER", Kind::Text, "", Built, "user name inside the packet; the login name by default"),
    v("SPOOF_SOURCE_IP", Kind::Text, "", Built, "source address of raw packets, where it is not ours"),
    v("ACCESS", Kind::Ports, "", Built, "ports to open: tcp/22,udp/1194"),
    v("SPA_SERVER", Kind::Text, "", Built, "the server: host name or address"),
    v("RAND_PORT", Kind::YesNo, "N", Built, "random destination port, 10000 to 65534"),
    v("KEY", Kind::Secret, "", Built, "encryption key, 1 to 32 bytes"),
    v("KEY_BASE64", Kind::SecretBase64, "", Built, "the same in base64"),
    v("HMAC_DIGEST_TYPE", Kind::Digest, "sha256", Built, "digest of the HMAC"),
    v("HMAC_KEY_BASE64", Kind::SecretBase64, "", Built, "HMAC key in base64; turns the HMAC on"),
    v("HMAC_KEY", Kind::Secret, "", Built, "HMAC key, 1 to 128 bytes; turns the HMAC on"),
    v("USE_HMAC", Kind::YesNo, "N", Built, "add an HMAC"),
    v("USE_WGET_USER_AGENT", Kind::YesNo, "N", Built, "let the wget of WGET_CMD name itself"),
    v("KEY_FILE", Kind::Path, "", Built, "file with encryption keys by destination"),
    v("HMAC_KEY_FILE", Kind::Path, "", Built, "file with HMAC keys by destination; turns the HMAC on"),
    v("NAT_ACCESS", Kind::Text, "", Built, "forward to this inner host[:port]"),
    v("HTTP_PROXY", Kind::Text, "", Built, "HTTP proxy, host[:port]; the transport is then http (ours)"),
    v("ICMP_TYPE", Kind::Number { min: 0, max: 40 }, "0", Built, "of a packet over icmp; 0: an echo reply (ours)"),
    v("ICMP_CODE", Kind::Number { min: 0, max: 15 }, "0", Built, "of a packet over icmp (ours)"),
    v("HTTP_USER_AGENT", Kind::Text, "", Built, "User-Agent for http and for looking up the address"),
    v("RESOLVE_URL", Kind::Text, "", Built, "web service that tells our address"),
    v("SERVER_RESOLVE_IPV4", Kind::YesNo, "N", Built, "use only IPv4 addresses of the server's name"),
    v("NAT_LOCAL", Kind::YesNo, "N", Built, "translate to a service on the server itself"),
    v("NAT_RAND_PORT", Kind::YesNo, "N", Built, "choose the outer port at random"),
    v("NAT_PORT", PORT_OR_NONE, "0", Built, "outer port instead of the one in ACCESS"),
    v("VERBOSE", Kind::Choice(&["Y", "N", "0", "1", "2", "3", "4"]), "N", Built, "how much is printed"),
    v("RESOLVE_IP_HTTP", Kind::YesNo, "N", Built, "as ALLOW_IP resolve"),
    v("RESOLVE_IP_HTTPS", Kind::YesNo, "N", Built, "as ALLOW_IP resolve"),
    v("RESOLVE_HTTP_ONLY", Kind::YesNo, "N", Built, "ask over plain HTTP"),
    v("WGET_CMD", Kind::Path, "", Built, "a wget to ask with"),
    v("NO_SAVE_ARGS", Kind::YesNo, "N", Built, "do not store the command line"),
];

const PROTOCOLS: &[&str] = &["udp", "tcp", "http", "udpraw", "tcpraw", "icmp"];
