//! The field table of `-v` and `-T`, in the form of the original (`spec/client.md` 15). No key is in it.

use std::fmt;

use super::options::{GpgOptions, Scheme};
use crate::spa::{Digest, Message, MessageError};

/// Everything the table shows.
#[derive(Debug)]
pub struct FieldTable<'a> {
    pub message: &'a Message,
    pub encoded: String,
    pub digest_text: String,
    pub scheme: &'a Scheme,
    pub hmac: Option<Digest>,
    /// The tag at the end of the text.
    pub tag: Option<&'a str>,
    pub text: &'a str,
}

impl<'a> FieldTable<'a> {
    pub fn new(
        message: &'a Message,
        scheme: &'a Scheme,
        hmac: Option<Digest>,
        text: &'a str,
    ) -> Result<Self, MessageError> {
        let plaintext = message.encode()?;
        let (encoded, digest_text) = match String::from_utf8_lossy(plaintext.expose()).rsplit_once(':') {
            Some((fields, digest)) => (fields.to_owned(), digest.to_owned()),
            None => (String::new(), String::new()),
        };
        let tag_len = hmac.map_or(0, Digest::text_len);
        let tag = text.len().checked_sub(tag_len).and_then(|at| text.get(at..)).filter(|tag| !tag.is_empty());
        Ok(Self { message, encoded, digest_text, scheme, hmac, tag, text })
    }

    /// As the original shows a packet it has decoded again: the last line without the tag.
    pub fn decoded(mut self) -> Self {
        self.text = self.tag.and_then(|tag| self.text.strip_suffix(tag)).unwrap_or(self.text);
        self
    }
}

impl fmt::Display for FieldTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message;
        writeln!(f, "SPA Field Values:\n=================")?;
        row(f, "Random Value", message.random)?;
        row(f, "Username", &message.user)?;
        row(f, "Timestamp", message.time)?;
        row(f, "FKO Version", &message.version)?;
        row(f, "Message Type", format_args!("{} ({})", message.type_number(), message.type_name()))?;
        row(f, "Message String", printable(&message.request_text()))?;
        row(f, "Nat Access", message.nat_text().as_deref().unwrap_or(NULL))?;
        row(f, "Server Auth", message.server_auth.as_deref().map_or(NULL.to_owned(), printable))?;
        row(f, "Client Timeout", message.timeout.map_or(0, |timeout| timeout.secs()))?;
        row(f, "Digest Type", format_args!("{} ({})", message.digest.number(), message.digest))?;
        match self.hmac {
            Some(digest) => row(f, "HMAC Type", format_args!("{} ({digest})", digest.number()))?,
            None => row(f, "HMAC Type", "0 (None)")?,
        }
        self.scheme_rows(f)?;
        row(f, "Encoded Data", &self.encoded)?;
        row(f, "SPA Data Digest", &self.digest_text)?;
        row(f, "HMAC", self.tag.unwrap_or(NULL))?;
        row(f, "Final SPA Data", self.text)
    }
}

impl FieldTable<'_> {
    fn scheme_rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Rijndael { mode, .. } => {
                row(f, "Encryption Type", "1 (Rijndael)")?;
                row(f, "Encryption Mode", format_args!("{} ({mode})", mode.number()))
            }
            Scheme::OpenPgp(gpg) => {
                row(f, "Encryption Type", "2 (GPG)")?;
                row(f, "Encryption Mode", "7 (Asymmetric)")?;
                gpg_rows(f, gpg)
            }
        }
    }
}

/// What is known of a signature is known only to whoever verifies it: those rows are as in the original's first table.
fn gpg_rows(f: &mut fmt::Formatter<'_>, gpg: &GpgOptions) -> fmt::Result {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map_or(NULL.to_owned(), |p| p.display().to_string());
    row(f, "GPG signer", gpg.signer.as_deref().unwrap_or(NULL))?;
    row(f, "GPG recipient", &gpg.recipient)?;
    row(f, "GPG sig verify", "Yes")?;
    row(f, "GPG ignore sig", "No")?;
    row(f, "GPG sig ID", NULL)?;
    row(f, "GPG sig fpr", NULL)?;
    row(f, "GPG sig summary", -1)?;
    row(f, "GPG sig status", -1)?;
    row(f, "GPG home dir", path(&gpg.home))?;
    row(f, "GPG exe", path(&gpg.exe))
}

const NULL: &str = "<NULL>";

fn row(f: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{label:>15}: {value}")
}

/// Text for a terminal: a command may hold anything.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::rijndael::Mode;
    use crate::spa::{ClientTimeout, RandomValue, Request, Username};
    use crate::time::Timestamp;

    #[test]
    fn the_table_is_that_of_the_original() {
        // What `fwknop` 2.6.10 printed for this message.
        let shown = "\
SPA Field Values:
=================
   Random Value: 1268316683193868
       Username: bob
      Timestamp: 1795302040
    FKO Version: 3.0.0
   Message Type: 3 (Client timeout access msg)
 Message String: 1.2.3.4,tcp/22
     Nat Access: <NULL>
    Server Auth: <NULL>
 Client Timeout: 30
    Digest Type: 3 (SHA256)
      HMAC Type: 3 (SHA256)
Encryption Type: 1 (Rijndael)
Encryption Mode: 2 (CBC)
   Encoded Data: 1268316683193868:Ym9i:1795302040:3.0.0:3:MS4yLjMuNCx0Y3AvMjI:30
SPA Data Digest: B5EnsPKVBiV3uUATYjZ/zkCK+4jLw+xjY/tAxfVr/Pg
           HMAC: s/rXThJb+u8zZRGh7Qw/n3HZUAx9QJ0CDez2n1aXXRI
 Final SPA Data: BODYs/rXThJb+u8zZRGh7Qw/n3HZUAx9QJ0CDez2n1aXXRI
";
        let message = Message {
            random: RandomValue::new(b"1268316683193868").unwrap(),
            user: Username::new("bob").unwrap(),
            time: Timestamp::from_secs(1_795_302_040),
            version: "3.0.0".into(),
            request: Request::Access { allow: "1.2.3.4".parse().unwrap(), ports: "tcp/22".parse().unwrap() },
            server_auth: None,
            timeout: ClientTimeout::new(30),
            digest: Digest::Sha256,
        };
        let scheme = Scheme::Rijndael { mode: Mode::Cbc, key: None };
        let text = "BODYs/rXThJb+u8zZRGh7Qw/n3HZUAx9QJ0CDez2n1aXXRI";
        let table = FieldTable::new(&message, &scheme, Some(Digest::Sha256), text).unwrap();
        assert_eq!(table.to_string(), shown);
        let decoded = table.decoded().to_string();
        assert!(decoded.ends_with("\n Final SPA Data: BODY\n"), "{decoded}");
    }
}
