//! What a client says: who, when, and what is asked (`spec/wire.md` 2).

use std::fmt;
use std::net::IpAddr;

use crate::net::{Port, PortSet};
use crate::spa::Digest;
use crate::time::Timestamp;

/// The decrypted content of an SPA packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub random: RandomValue,
    pub user: Username,
    /// Whole seconds.
    pub time: Timestamp,
    /// At most 8 characters; not looked at.
    pub version: String,
    pub request: Request,
    /// Carried for compatibility, without effect. At most 192 bytes.
    pub server_auth: Option<Vec<u8>>,
    /// How long the client wants access. Absent: the stanza decides.
    pub timeout: Option<ClientTimeout>,
    pub digest: Digest,
}

/// What is asked for. In all of them `0.0.0.0` or `::` as `allow` means "the address the packet comes from".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Types 1 and 3.
    Access { allow: IpAddr, ports: PortSet },
    /// Types 2 and 4 (forwarding to an inner host), 5 and 6 (`local`: translation on the server itself).
    Nat { allow: IpAddr, ports: PortSet, target: NatTarget, local: bool },
    /// Type 0. The command is not interpreted here: any bytes but NUL.
    Command { allow: IpAddr, command: Vec<u8> },
}

impl Request {
    pub fn allow(&self) -> IpAddr {
        match self {
            Request::Access { allow, .. } | Request::Nat { allow, .. } | Request::Command { allow, .. } => *allow,
        }
    }

    pub fn ports(&self) -> Option<&PortSet> {
        match self {
            Request::Access { ports, .. } | Request::Nat { ports, .. } => Some(ports),
            Request::Command { .. } => None,
        }
    }
}

impl Message {
    /// The number on the wire, 0 to 6 (`spec/wire.md` 2.6).
    pub fn type_number(&self) -> u8 {
        match (&self.request, self.timeout.is_some()) {
            (Request::Command { .. }, _) => 0,
            (Request::Access { .. }, false) => 1,
            (Request::Nat { local: false, .. }, false) => 2,
            (Request::Access { .. }, true) => 3,
            (Request::Nat { local: false, .. }, true) => 4,
            (Request::Nat { local: true, .. }, false) => 5,
            (Request::Nat { local: true, .. }, true) => 6,
        }
    }

    /// The name the field table shows for the type (`spec/client.md` 15).
    pub fn type_name(&self) -> &'static str {
        const NAMES: [&str; 7] = [
            "Command msg",
            "Access msg",
            "NAT access msg",
            "Client timeout access msg",
            "Client timeout NAT access msg",
            "Local NAT access msg",
            "Client timeout local NAT access msg",
        ];
        NAMES[usize::from(self.type_number())]
    }
}

/// Sixteen decimal digits that make each message unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomValue([u8; 16]);

impl RandomValue {
    /// `None` unless `text` is exactly sixteen digits.
    pub fn new(text: &[u8]) -> Option<Self> {
        let digits: [u8; 16] = text.try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// Sixteen independent uniform digits from the system's random source.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut digits = [0u8; 16];
        for digit in &mut digits {
            // 250 is the largest multiple of ten in a byte: what lies above would favour small digits.
            let mut byte = [u8::MAX];
            while byte[0] >= 250 {
                getrandom::fill(&mut byte)?;
            }
            *digit = b'0' + byte[0] % 10;
        }
        Ok(Self(digits))
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RandomValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

/// A user name the protocol can carry: 1 to 48 bytes of printable ASCII without `"/\[]:;|=,+*?<>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    pub const MAX: usize = 48;

    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len());
        (fits && text.bytes().all(Self::allows)).then(|| Self(text.to_owned()))
    }

    fn allows(byte: u8) -> bool {
        matches!(byte, 0x20..=0x7e) && !br#""/\[]:;|=,+*?<>"#.contains(&byte)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a NAT request points: an address or a host name, and a port. Written `host,port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatTarget {
    host: String,
    pub port: Port,
}

impl NatTarget {
    /// The longest host a decoder of the original takes.
    pub const MAX_HOST: usize = 70;

    /// Stricter than the original: a host is an address, or a name of letters, digits, dots and hyphens whose labels are
    /// not empty and neither begin nor end with a hyphen. What could be read as an address but is none is refused.
    pub fn new(host: &str, port: Port) -> Option<Self> {
        let valid = host.len() <= Self::MAX_HOST && (host.parse::<IpAddr>().is_ok() || is_host_name(host));
        valid.then(|| Self { host: host.to_owned(), port })
    }

    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for NatTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.host, self.port)
    }
}

fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // `999.1.1.1` is no address and must not become a look-up either.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.split('.').all(label_ok) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// The lifetime a client asks for, in seconds: 0 to 65536, where 0 means "as the stanza says".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeout(u32);

impl ClientTimeout {
    pub const MAX: u32 = 65536;

    pub fn new(secs: u32) -> Option<Self> {
        (secs <= Self::MAX).then_some(Self(secs))
    }

    pub fn secs(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_checked_character_by_character() {
        for good in ["bob", " Dr. No", "a!#$%&'()-.@^_`{}~"] {
            assert!(Username::new(good).is_some(), "{good:?}");
        }
        assert!(Username::new(&"u".repeat(48)).is_some());
        for bad in ["", "a/b", "a:b", "a\u{7f}", "jos\u{e9}", &"u".repeat(49)] {
            assert!(Username::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn nat_hosts_are_addresses_or_names() {
        let port = Port::new(22).unwrap();
        for good in ["10.1.2.3", "host.example", "a", "2001:db8::1", "host.example."] {
            assert!(NatTarget::new(good, port).is_some(), "{good:?}");
        }
        for bad in ["", "999.1.1.1", "a;b", "some_host!$(x)", "-a", "a-", "a..b", "."] {
            assert!(NatTarget::new(bad, port).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn random_values_are_sixteen_digits_and_differ() {
        let (a, b) = (RandomValue::generate().unwrap(), RandomValue::generate().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 16);
        assert!(RandomValue::new(b"123456789012345x").is_none());
    }
}
