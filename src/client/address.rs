//! `-R`: the address at which a web service sees us (`spec/client.md` 10). Over HTTPS by ourselves, by a wget that the user
//! names, or over plain HTTP. The answer is one address and nothing else, of a kind at which the server can meet us.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ureq::config::IpFamily;
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use super::wget;
use crate::config::Fault;
use crate::net::can_be_host;

/// How the address is looked up.
#[derive(Debug)]
pub struct LookUp {
    pub by: By,
    /// The one the user names, or else the original's.
    pub service: Option<Uri>,
    pub user_agent: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum By {
    Https,
    /// Plain, and nothing else.
    Http,
    Wget {
        program: PathBuf,
        names_itself: bool,
    },
}

/// The kinds of addresses the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub v4: bool,
    pub v6: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("{service} cannot be asked for our address: packet not sent\n     {ADVICE}")]
    Ask {
        service: String,
        #[source]
        source: Box<ureq::Error>,
    },
    #[error("{} cannot be run: packet not sent\n     check the path given with --wget-cmd", program.display())]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} {what}: packet not sent\n     {ADVICE}", program.display())]
    Wget { program: PathBuf, what: String },
    #[error("what {service} says is not an address: '{answer}': packet not sent\n     {ADVICE}")]
    Answer { service: String, answer: String },
    #[error("{service} sees us at {address}, where the server cannot meet us: packet not sent\n     {ADVICE}")]
    Kind { service: String, address: IpAddr },
}

const ADVICE: &str = "name another service with --resolve-url, give the address with -a, or use -s";

/// What the original asks. Over plain HTTP the second is tried when the first fails.
const OVER_HTTPS: &str = "https://www.cipherdyne.org/cgi-bin/myip";
const OVER_HTTP: &str = "http://www.cipherdyne.org/cgi-bin/myip";
const OVER_HTTP_TOO: &str = "http://www.cipherdyne.com/cgi-bin/myip";

/// Longer than any answer and than most people wait.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// More than an answer that is an address has.
pub const LONGEST: u64 = 2000;

/// Reads a URL; without a scheme it is one of HTTP.
pub fn service(text: &str) -> Result<Uri, Fault> {
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let is_fit =
        |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty());
    full.parse().ok().filter(is_fit).ok_or_else(|| {
        Fault::new(format!("'{text}' is not a web address"), "write one like https://address.example/ip")
    })
}

pub fn is_https(service: &Uri) -> bool {
    service.scheme_str() == Some("https")
}

impl LookUp {
    /// Whether somebody on the way could put an address of theirs into the answer.
    pub fn is_open(&self) -> bool {
        self.by == By::Http || self.service.as_ref().is_some_and(|service| !is_https(service))
    }

    pub fn find(&self, kinds: Kinds, user_agent: &str) -> Result<IpAddr, AddressError> {
        let ask = |service: &str| self.ask(service, kinds, user_agent);
        match (&self.service, &self.by) {
            (Some(service), _) => ask(&service.to_string()),
            (None, By::Http) => ask(OVER_HTTP).or_else(|error| ask(OVER_HTTP_TOO).map_err(|_| error)),
            (None, _) => ask(OVER_HTTPS),
        }
    }

    fn ask(&self, service: &str, kinds: Kinds, user_agent: &str) -> Result<IpAddr, AddressError> {
        let user_agent = self.user_agent.as_deref().unwrap_or(user_agent);
        let answer = match &self.by {
            By::Wget { program, names_itself } => {
                let user_agent = Some(user_agent).filter(|_| !names_itself);
                wget::run(program, user_agent, service)?
            }
            _ => self
                .request(service, kinds, user_agent)
                .map_err(|source| AddressError::Ask { service: service.to_owned(), source: Box::new(source) })?,
        };
        judge(service, &answer, kinds)
    }

    fn request(&self, service: &str, kinds: Kinds, user_agent: &str) -> Result<String, ureq::Error> {
        let is_https = service.starts_with("https:");
        // The authorities of this system, as a browser or wget would take them.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // No redirection gives up what the user asked for.
            .https_only(is_https)
            .tls_config(tls)
            .user_agent(user_agent)
            .ip_family(family(service, kinds));
        if self.by == By::Http {
            config = config.proxy(None);
        }
        let mut response = config.build().new_agent().get(service).call()?;
        response.body_mut().with_config().limit(LONGEST).read_to_string()
    }
}

/// The service must see the address that the server will see. One that is named by its address can be asked only there.
fn family(service: &str, kinds: Kinds) -> IpFamily {
    let host = service.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    match (host.trim_matches(['[', ']']).parse::<IpAddr>(), kinds.v4) {
        (Ok(_), _) => IpFamily::Any,
        (Err(_), true) => IpFamily::Ipv4Only,
        (Err(_), false) => IpFamily::Ipv6Only,
    }
}

fn judge(service: &str, answer: &str, kinds: Kinds) -> Result<IpAddr, AddressError> {
    let answer = answer.trim();
    let address = answer.parse::<IpAddr>().map_err(|_| AddressError::Answer {
        service: service.to_owned(),
        answer: answer.chars().take(40).flat_map(char::escape_debug).collect(),
    })?;
    let can_meet = if address.is_ipv4() { kinds.v4 } else { kinds.v6 };
    if can_be_host(address) && can_meet {
        return Ok(address);
    }
    Err(AddressError::Kind { service: service.to_owned(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_address_of_a_host_that_the_server_can_meet() {
        let judged =
            |answer: &str, v4, v6| judge("http://x", answer, Kinds { v4, v6 }).map_err(|error| error.to_string());
        for good in ["192.0.2.7", "192.0.2.7\n", "\r\n 192.0.2.7 \r\n"] {
            assert_eq!(judged(good, true, false).unwrap().to_string(), "192.0.2.7");
        }
        assert_eq!(judged("2001:db8::7\n", false, true).unwrap().to_string(), "2001:db8::7");
        for bad in ["", "192.0.2.7 192.0.2.8", "<b>192.0.2.7</b>", "192.0.2.7:80", "192.0.2.07", "192.0.2", "gate"] {
            assert!(judged(bad, true, true).unwrap_err().contains("is not an address"), "{bad}");
        }
        for (nobody, v4, v6) in [
            ("0.0.0.0", true, true),
            ("::", true, true),
            ("255.255.255.255", true, true),
            ("224.0.0.1", true, true),
            ("::ffff:192.0.2.7", true, true),
            ("2001:db8::7", true, false),
            ("192.0.2.7", false, true),
        ] {
            assert!(judged(nobody, v4, v6).unwrap_err().contains("cannot meet us"), "{nobody}");
        }
        assert!(judged(&"\u{1b}".repeat(99), true, true).unwrap_err().len() < 400);
    }

    #[test]
    fn services_are_web_addresses() {
        assert_eq!(service("address.example/ip").unwrap().to_string(), "http://address.example/ip");
        assert!(is_https(&service("https://address.example").unwrap()));
        for bad in ["", "ftp://x/", "https://", "http://a b", "file:///etc/passwd", "https:///ip"] {
            assert!(service(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_service_is_asked_the_way_the_server_is_reached() {
        let (v4, v6) = (Kinds { v4: true, v6: true }, Kinds { v4: false, v6: true });
        assert_eq!(family("http://x/ip", v4), IpFamily::Ipv4Only);
        assert_eq!(family("http://x:80/ip", v6), IpFamily::Ipv6Only);
        assert_eq!(family("http://[::1]:80/ip", v4), IpFamily::Any);
    }
}
