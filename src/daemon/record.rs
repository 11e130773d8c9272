//! Who knocked, as it is kept with each grant.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::crypto::Signer;
use crate::grant::{KeyMark, Knock, StanzaId};
use crate::net::Origin;

#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    stanza: u32,
    name: String,
    mark: Option<[u8; 16]>,
    user: String,
    signer: By,
    src: IpAddr,
    dst: Option<IpAddr>,
    proto: u8,
    src_port: u16,
    dst_port: u16,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum By {
    SharedKey,
    Unsigned,
    Certificate { primary: String, signing: String, user_id: Option<String> },
}

impl Record {
    pub fn of(knock: &Knock) -> Self {
        let Origin { src, dst, proto, src_port, dst_port } = knock.origin;
        Self {
            stanza: knock.stanza.0,
            name: knock.name.to_string(),
            mark: knock.mark.map(|KeyMark(mark)| mark),
            user: knock.user.clone(),
            signer: match &knock.signer {
                Signer::SharedKey => By::SharedKey,
                Signer::Unsigned => By::Unsigned,
                Signer::Certificate { primary, signing, user_id } => By::Certificate {
                    primary: primary.to_string(),
                    signing: signing.to_string(),
                    user_id: user_id.clone(),
                },
            },
            src,
            dst,
            proto,
            src_port,
            dst_port,
        }
    }

    /// `None`: written by another version.
    pub fn into_knock(self) -> Option<Knock> {
        let Self { stanza, name, mark, user, signer, src, dst, proto, src_port, dst_port } = self;
        Some(Knock {
            stanza: StanzaId(stanza),
            name: name.into(),
            mark: mark.map(KeyMark),
            user,
            signer: match signer {
                By::SharedKey => Signer::SharedKey,
                By::Unsigned => Signer::Unsigned,
                By::Certificate { primary, signing, user_id } => {
                    Signer::Certificate { primary: primary.parse().ok()?, signing: signing.parse().ok()?, user_id }
                }
            },
            origin: Origin { src, dst, proto, src_port, dst_port },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::openpgp::Fingerprint;

    #[test]
    fn what_is_written_is_read() {
        let key = |octet: u8| Fingerprint::from_bytes(&[octet; 20]).unwrap();
        let certificate =
            Signer::Certificate { primary: key(1), signing: key(2), user_id: Some("Ann \"x\"\n".to_owned()) };
        for signer in [Signer::SharedKey, Signer::Unsigned, certificate] {
            let knock = Knock {
                stanza: StanzaId(7),
                name: "alice".into(),
                mark: Some(KeyMark([9; 16])),
                user: "al\u{7f}ice".into(),
                signer,
                origin: Origin {
                    dst: Some("2001:db8::1".parse().unwrap()),
                    ..Origin::udp("192.0.2.1".parse().unwrap())
                },
            };
            let text = serde_json::to_string(&Record::of(&knock)).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(read.into_knock(), Some(knock));
        }
    }
}
