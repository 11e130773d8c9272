//! What a server's administrator hands to a user: a stanza for the client, as `fwknopd user add --stanza FILE` writes it
//! and `fwknop server add NAME --stanza FILE` takes it. One file, so that nothing has to be typed:
//!
//! ```text
//! [gate]
//! SPA_SERVER                  gate.example.org
//! ACCESS                      tcp/22
//! ALLOW_IP                    source
//! USE_GPG                     Y
//! GPG_RECIPIENT               <the server's key: its full fingerprint>
//! GPG_SIGNER                  <the user's key: its full fingerprint>
//! USE_HMAC                    Y
//! HMAC_KEY_BASE64             …
//!
//! -----BEGIN PGP PUBLIC KEY BLOCK-----
//! …
//! ```
//!
//! First one section of an rc file, then, if the server has an OpenPGP key, its certificate in armor. Blank lines and
//! comments may stand anywhere above the certificate. The file holds a secret as soon as there is an HMAC or encryption
//! key in it.

use std::path::Path;

use zeroize::Zeroizing;

use crate::config::{Complaints, Place, Setting, parse_sections, rc_line};
use crate::secret::Secret;

/// A stanza on its way from a server to a client.
#[derive(Clone, Debug)]
pub struct Handout {
    /// The name the server gives itself. The user may choose another.
    pub name: String,
    /// As written, not checked.
    pub settings: Vec<Setting>,
    /// The armored part. `None`: there is none.
    pub certificate: Option<String>,
}

/// Why there is no text for a setting.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    #[error(
        "the value of {0} cannot be written into a stanza\n     leave out the double quotes and control characters, or give a key as base64"
    )]
    Value(String),
    #[error("{0} is not for others to say\n     only what describes a server is handed out")]
    Name(String),
}

impl Handout {
    /// The text of a handout. `certificate` is armored.
    pub fn write(
        name: &str,
        settings: &[(&str, Secret<String>)],
        certificate: Option<&str>,
    ) -> Result<Secret<String>, Unwritable> {
        let mut text = Zeroizing::new(format!("[{name}]\n"));
        for (name, value) in settings {
            if !Self::may_say(name) {
                return Err(Unwritable::Name((*name).to_owned()));
            }
            let line = rc_line(name, value).ok_or_else(|| Unwritable::Value((*name).to_owned()))?;
            text.push_str(line.expose());
        }
        if let Some(certificate) = certificate {
            text.push('\n');
            text.push_str(certificate.trim_end());
            text.push('\n');
        }
        Ok(Secret::new(text.to_string()))
    }

    /// Reads what `write` wrote, or a person. `place` is the file's name, for complaints.
    pub fn read(place: &Path, text: &str) -> Result<Self, Complaints> {
        let (lines, certificate) = match text.find(ARMOR) {
            Some(at) => (&text[..at], Some(text[at..].to_owned())),
            None => (text, None),
        };
        let (mut sections, mut complaints) = parse_sections(place, lines)?;
        let here = Place::File(place.into());
        for complaint in sections.iter().flat_map(|section| &section.complaints) {
            complaints.push(complaint.clone());
        }
        for setting in sections.iter().flat_map(|section| &section.settings) {
            if !Self::may_say(&setting.name) {
                let what = format!("{} is not for others to say", setting.name);
                complaints.error(&setting.place, what, "take the line out, and set it yourself if you want it");
            }
        }
        let handout = match (sections.pop(), sections.is_empty()) {
            (None, _) => {
                complaints.error(&here, "there is no stanza in it", "it begins with the server's name: [gate]");
                None
            }
            (Some(_), false) => {
                complaints.error(&here, "there are several stanzas in it", "write each into a file of its own");
                None
            }
            (Some(section), true) => Some(Self { name: section.name, settings: section.settings, certificate }),
        };
        complaints.judge(handout).map(|(handout, _)| handout)
    }
}

impl Handout {
    /// Whether a handout may contain this setting: only what describes the server and the request. Nobody else decides
    /// which programs run here, and where keys are.
    pub fn may_say(name: &str) -> bool {
        MAY_SAY.contains(&name)
    }
}

const MAY_SAY: [&str; 24] = [
    "SPA_SERVER",
    "SPA_SERVER_PORT",
    "SPA_SERVER_PROTO",
    "RAND_PORT",
    "SERVER_RESOLVE_IPV4",
    "HTTP_USER_AGENT",
    "ACCESS",
    "ALLOW_IP",
    "FW_TIMEOUT",
    "NAT_ACCESS",
    "NAT_LOCAL",
    "NAT_PORT",
    "SPOOF_USER",
    "DIGEST_TYPE",
    "ENCRYPTION_MODE",
    "KEY",
    "KEY_BASE64",
    "USE_GPG",
    "GPG_RECIPIENT",
    "GPG_SIGNER",
    "USE_HMAC",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "HMAC_DIGEST_TYPE",
];

const ARMOR: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEaaaa\n-----END PGP PUBLIC KEY BLOCK-----\n";

    fn read(text: &str) -> Result<Handout, Complaints> {
        Handout::read(Path::new("alice.stanza"), text)
    }

    #[test]
    fn what_is_written_is_read() {
        let settings =
            [("SPA_SERVER", "gate.example.org"), ("SPOOF_USER", "two words"), ("HMAC_KEY_BASE64", "c2VjcmV0")];
        let settings = settings.map(|(name, value)| (name, Secret::new(value.to_owned())));
        for certificate in [None, Some(CERTIFICATE)] {
            let text = Handout::write("gate", &settings, certificate).unwrap();
            let read = read(text.expose()).unwrap();
            assert_eq!(read.name, "gate");
            assert_eq!(read.certificate.as_deref(), certificate);
            let names: Vec<&str> = read.settings.iter().map(|setting| setting.name.as_str()).collect();
            assert_eq!(names, ["SPA_SERVER", "SPOOF_USER", "HMAC_KEY_BASE64"]);
        }
        let quote = [("SPOOF_USER", Secret::new("say \"so\"".to_owned()))];
        assert!(Handout::write("gate", &quote, None).unwrap_err().to_string().contains("SPOOF_USER"));
        let program = [("GPG_EXE", Secret::new("/tmp/evil".to_owned()))];
        assert!(
            Handout::write("gate", &program, None).unwrap_err().to_string().starts_with("GPG_EXE is not for others")
        );
    }

    #[test]
    fn a_handout_is_one_stanza() {
        for (text, said) in [
            ("", "alice.stanza: there is no stanza in it"),
            (CERTIFICATE, "alice.stanza: there is no stanza in it"),
            ("[a]\nACCESS tcp/22\n[b]\nACCESS tcp/22\n", "alice.stanza: there are several stanzas in it"),
            ("[a]\nACCESS tcp/22\nGPG_EXE /tmp/evil\n", "alice.stanza:3: GPG_EXE is not for others to say"),
            ("[a]\nACCESS\n", "alice.stanza:2: ACCESS has no value"),
        ] {
            let complaints = read(text).unwrap_err().to_string();
            assert!(complaints.starts_with(said), "{complaints}");
        }
    }
}
