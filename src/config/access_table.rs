//! The variables of access stanzas (`spec/access.md` 3), in the order of the documents.

use super::server_table;
use super::value::Kind;
use super::variable::State::{self, Built};
use super::variable::{Table, Variable};

pub static TABLE: Table = Table {
    file: "an access file",
    document: "docs/configuration.md",
    variables: VARIABLES,
    expands: false,
    sibling: Some(&server_table::TABLE),
};

/// What a file named by `%include_keys` may set (`spec/access.md` 2).
pub static KEYS: &[&str] = &[
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "GPG_DECRYPT_ID",
    "GPG_DECRYPT_PW",
    "GPG_ALLOW_NO_PW",
    "GPG_REQUIRE_SIG",
    "GPG_DISABLE_SIG",
    "GPG_IGNORE_SIG_VERIFY_ERROR",
    "GPG_ALLOW_WEAK_SIG",
    "GPG_REMOTE_ID",
    "GPG_FINGERPRINT_ID",
];

const fn v(name: &'static str, kind: Kind, default: &'static str, state: State, doc: &'static str) -> Variable {
    Variable { name, kind, default, state, doc }
}

const SECONDS: Kind = Kind::Number { min: 0, max: 8_388_608 };

static VARIABLES: &[Variable] = &[
    v("SOURCE", Kind::Addresses, "", Built, "where packets may come from; starts the stanza"),
    v("DESTINATION", Kind::Addresses, "ANY", Built, "where packets must go to"),
    v("OPEN_PORTS", Kind::Ports, "", Built, "what may be asked for; without it everything"),
    v("RESTRICT_PORTS", Kind::Ports, "", Built, "what may never be asked for"),
    v("KEY", Kind::Secret, "", Built, "takes Rijndael packets: the passphrase, 1 to 32 bytes"),
    v("KEY_BASE64", Kind::SecretBase64, "", Built, "KEY as base64"),
    v("HMAC_KEY", Kind::Secret, "", Built, "HMAC key, 1 to 136 bytes"),
    v("HMAC_KEY_BASE64", Kind::SecretBase64, "", Built, "HMAC_KEY as base64"),
    v("HMAC_DIGEST_TYPE", Kind::Digest, "SHA256", Built, "digest of the HMAC"),
    v("ENCRYPTION_MODE", Kind::Mode, "CBC", Built, "Rijndael mode"),
    v("FW_ACCESS_TIMEOUT", SECONDS, "30", Built, "how long access lasts when the client does not say, in seconds"),
    v("MAX_FW_TIMEOUT", SECONDS, "300", Built, "how long access lasts at most, in seconds"),
    v("REQUIRE_USERNAME", Kind::Text, "", Built, "the user name that a packet must carry, exactly"),
    v("REQUIRE_SOURCE_ADDRESS", Kind::YesNo, "N", Built, "refuse packets that ask for the address they come from"),
    v("REQUIRE_SOURCE", Kind::YesNo, "N", Built, "short for REQUIRE_SOURCE_ADDRESS"),
    v("ACCESS_EXPIRE", Kind::Date, "", Built, "the stanza ends at the beginning of this day, local time"),
    v(
        "ACCESS_EXPIRE_EPOCH",
        Kind::Number { min: 0, max: 253_402_300_799 },
        "",
        Built,
        "the stanza ends then, in seconds since 1970; 0 is never",
    ),
    // OpenPGP
    v("GPG_HOME_DIR", Kind::Path, "", Built, "keyring; without it the one of fwknopd.conf"),
    v("GPG_KEY_FILES", Kind::List, "", Built, "key files instead of a keyring (ours)"),
    v("GPG_DECRYPT_ID", Kind::Text, "", Built, "the key a packet must be encrypted to"),
    v("GPG_DECRYPT_PW", Kind::Secret, "", Built, "take OpenPGP packets; this unlocks the server key"),
    v("GPG_ALLOW_NO_PW", Kind::YesNo, "N", Built, "take OpenPGP packets; the server key has no passphrase"),
    v("GPG_REMOTE_ID", Kind::List, "", Built, "who may sign: key ids or fingerprints"),
    v("GPG_FINGERPRINT_ID", Kind::List, "", Built, "who may sign: fingerprints"),
    v("GPG_REQUIRE_SIG", Kind::YesNo, "Y", Built, "require signatures, which is so anyway; off has no effect"),
    v(
        "GPG_DISABLE_SIG",
        Kind::YesNo,
        "N",
        Built,
        "take OpenPGP packets without signature; then the lists are not looked at",
    ),
    v(
        "GPG_IGNORE_SIG_VERIFY_ERROR",
        Kind::YesNo,
        "N",
        Built,
        "take signatures of keys that have expired, and of no others",
    ),
    v("GPG_ALLOW_WEAK_SIG", Kind::YesNo, "N", Built, "take signatures over SHA-1 as well (ours)"),
    v("GPG_EXE", Kind::Path, "", Built, "gpg program that hands over the keys at start"),
    // Command messages and cycles
    v("ENABLE_CMD_EXEC", Kind::YesNo, "N", Built, "run commands that packets carry"),
    v("CMD_EXEC_USER", Kind::Text, "", Built, "run them as this user; without it as the daemon's"),
    v("CMD_EXEC_GROUP", Kind::Text, "", Built, "run them as this group; without it as the user's"),
    v("ENABLE_CMD_SUDO_EXEC", Kind::YesNo, "N", Built, "run them through sudo"),
    v("CMD_SUDO_EXEC_USER", Kind::Text, "", Built, "let sudo run them as this user"),
    v("CMD_SUDO_EXEC_GROUP", Kind::Text, "", Built, "let sudo run them as this group"),
    v("CMD_CYCLE_OPEN", Kind::Text, "", Built, "a command instead of a firewall rule"),
    v("CMD_CYCLE_CLOSE", Kind::Text, "", Built, "the command that undoes it, or NONE"),
    v(
        "CMD_CYCLE_TIMER",
        Kind::Number { min: 1, max: 8_388_608 },
        "",
        Built,
        "seconds between the two, if the client does not say",
    ),
    // NAT
    v("NAT_DESTINATIONS", Kind::Addresses, "", Built, "the inner hosts a packet may name; without it all (ours)"),
    v("FORCE_NAT", Kind::Target, "", Built, "every request leads to this address and port"),
    v("FORCE_SNAT", Kind::Address, "", Built, "source address of what is forwarded"),
    v("FORCE_MASQUERADE", Kind::YesNo, "N", Built, "what is forwarded gets the source address of this host"),
    v("FORWARD_ALL", Kind::YesNo, "N", Built, "NAT requests forward all ports"),
    v("DISABLE_DNAT", Kind::YesNo, "N", Built, "forward what is addressed to the inner host itself, without DNAT"),
];
