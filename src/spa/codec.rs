//! Message ⇄ plaintext (`spec/wire.md` 2 and 3): colon-separated fields, and a digest over them at the end.
//!
//! Strict where the original is lenient (numbers, octal addresses, NUL bytes, NAT hosts), but never refusing what a real
//! client sends. The digest is not keyed and guards against accidents only.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::net::{PortSet, parse_port};
use crate::reason::Reason;
use crate::secret::{Secret, constant_time_eq};
use crate::spa::{ClientTimeout, Digest, Message, NatTarget, RandomValue, Request, Username};
use crate::time::Timestamp;

/// What is encrypted: the fields and their digest, 36 to 1499 printable ASCII characters.
#[derive(Debug)]
pub struct Plaintext(Secret<Vec<u8>>);

impl Plaintext {
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// Why a message cannot be encoded: no server would take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the request is {0} bytes long, but a server takes {max} at most", max = MAX_TEXT)]
    RequestTooLong(usize),
    #[error("the NAT target is {0} bytes long, but a server takes {max} at most", max = MAX_TEXT)]
    NatTooLong(usize),
    #[error("the server authentication is {0} bytes long, but a server takes {max} at most", max = MAX_TEXT)]
    ServerAuthTooLong(usize),
    #[error("a command cannot be empty or contain a NUL byte")]
    Command,
    #[error("the version is not 1 to 8 printable characters without a colon")]
    Version,
}

impl Message {
    /// The text that is encrypted, digest included.
    pub fn encode(&self) -> Result<Plaintext, MessageError> {
        let text = self.encode_fields()?;
        let digest = STANDARD_NO_PAD.encode(self.digest.hash(text.as_bytes()));
        Ok(Plaintext(Secret::new(format!("{text}:{digest}").into_bytes())))
    }

    /// The clear text fields without the digest: what the client's field table calls "Encoded Data".
    pub fn encode_fields(&self) -> Result<String, MessageError> {
        self.check()?;
        let mut fields = vec![
            self.random.to_string(),
            STANDARD_NO_PAD.encode(self.user.as_str()),
            self.time.secs().to_string(),
            self.version.clone(),
            self.type_number().to_string(),
            STANDARD_NO_PAD.encode(self.request_text()),
        ];
        fields.extend(self.nat_text().map(|text| STANDARD_NO_PAD.encode(text)));
        fields.extend(self.server_auth.as_ref().map(|auth| STANDARD_NO_PAD.encode(auth)));
        if !matches!(self.request, Request::Command { .. }) {
            fields.extend(self.timeout.map(|timeout| timeout.secs().to_string()));
        }
        Ok(fields.join(":"))
    }

    /// `address,services` or `address,command`.
    pub fn request_text(&self) -> Vec<u8> {
        match &self.request {
            Request::Access { allow, ports } | Request::Nat { allow, ports, .. } => format!("{allow},{ports}").into(),
            Request::Command { allow, command } => [format!("{allow},").as_bytes(), command].concat(),
        }
    }

    /// `host,port` of a NAT request.
    pub fn nat_text(&self) -> Option<String> {
        match &self.request {
            Request::Nat { target, .. } => Some(target.to_string()),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), MessageError> {
        let version_ok = (1..=MAX_VERSION).contains(&self.version.len())
            && self.version.bytes().all(|b| matches!(b, 0x20..=0x7e) && b != b':');
        if !version_ok {
            return Err(MessageError::Version);
        }
        let request = self.request_text().len();
        let nat = self.nat_text().map_or(0, |text| text.len());
        let auth = self.server_auth.as_ref().map_or(0, Vec::len);
        match &self.request {
            Request::Command { command, .. } if command.is_empty() || command.contains(&0) => {
                Err(MessageError::Command)
            }
            _ if request > MAX_TEXT => Err(MessageError::RequestTooLong(request)),
            _ if nat > MAX_TEXT => Err(MessageError::NatTooLong(nat)),
            _ if auth > MAX_TEXT => Err(MessageError::ServerAuthTooLong(auth)),
            _ => Ok(()),
        }
    }

    pub fn decode(plaintext: &[u8]) -> Result<Self, Reason> {
        let (fields, digest) = check_digest(plaintext)?;
        let mut fields = fields.split(':');
        let mut next = || fields.next().unwrap_or_default();

        let random = RandomValue::new(next().as_bytes()).ok_or(Reason::RandomValue)?;
        let user = decode_user(next())?;
        let time = decode_time(next())?;
        let version = sized(next(), MAX_VERSION, Reason::VersionMissing, Reason::VersionTooLong)?.to_owned();
        let kind = decode_kind(next())?;
        let rest: Vec<&str> = fields.collect();
        let (request, rest) = decode_request(kind, &rest)?;
        let (server_auth, timeout) = decode_tail(kind, rest)?;
        Ok(Self { random, user, time, version, request, server_auth, timeout, digest })
    }
}

/// Size and alphabet, then the digest behind the last colon.
fn check_digest(plaintext: &[u8]) -> Result<(&str, Digest), Reason> {
    if !(MIN_PLAINTEXT..=MAX_PLAINTEXT).contains(&plaintext.len()) {
        return Err(Reason::PlaintextLength);
    }
    let text = std::str::from_utf8(plaintext).map_err(|_| Reason::NonPrintable)?;
    if !text.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        return Err(Reason::NonPrintable);
    }
    let (fields, found) = text.rsplit_once(':').ok_or(Reason::TooFewFields)?;
    // Random value, user, time, version, type, message, digest.
    if fields.matches(':').count() < 5 {
        return Err(Reason::TooFewFields);
    }
    // The algorithm is not named: several have the same length, and the right one is the one that fits.
    let mut possible = Digest::ALL.into_iter().filter(|d| d.text_len() == found.len()).peekable();
    if possible.peek().is_none() {
        return Err(Reason::DigestLength);
    }
    let fits = |digest: &Digest| {
        let expected = STANDARD_NO_PAD.encode(digest.hash(fields.as_bytes()));
        constant_time_eq(expected.as_bytes(), found.as_bytes())
    };
    let digest = possible.find(fits).ok_or(Reason::DigestMismatch)?;
    Ok((fields, digest))
}

fn decode_user(field: &str) -> Result<Username, Reason> {
    let field = sized(field, 64, Reason::UsernameMissing, Reason::UsernameTooLong)?;
    let bytes = STANDARD_NO_PAD.decode(field).map_err(|_| Reason::UsernameBase64)?;
    let name = String::from_utf8(bytes).map_err(|_| Reason::UsernameChars)?;
    Username::new(&name).ok_or(Reason::UsernameChars)
}

fn decode_time(field: &str) -> Result<Timestamp, Reason> {
    let field = sized(field, 12, Reason::TimestampMissing, Reason::TimestampTooLong)?;
    number(field).map(Timestamp::from_secs).ok_or(Reason::TimestampRange)
}

/// The type number, split into what it says.
#[derive(Clone, Copy)]
struct Kind {
    nat: Option<Nat>,
    timeout: bool,
    command: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Nat {
    Forward,
    Local,
}

fn decode_kind(field: &str) -> Result<Kind, Reason> {
    let field = sized(field, 2, Reason::TypeMissing, Reason::TypeTooLong)?;
    let (nat, timeout) = match number(field).ok_or(Reason::TypeRange)? {
        0 => return Ok(Kind { nat: None, timeout: false, command: true }),
        1 => (None, false),
        2 => (Some(Nat::Forward), false),
        3 => (None, true),
        4 => (Some(Nat::Forward), true),
        5 => (Some(Nat::Local), false),
        6 => (Some(Nat::Local), true),
        _ => return Err(Reason::TypeRange),
    };
    Ok(Kind { nat, timeout, command: false })
}

fn decode_request<'a>(kind: Kind, fields: &'a [&'a str]) -> Result<(Request, &'a [&'a str]), Reason> {
    // Message, NAT target, server authentication, timeout.
    let most = 2 + usize::from(kind.nat.is_some()) + usize::from(kind.timeout);
    if fields.len() > most {
        return Err(Reason::FieldCount);
    }
    let (message, rest) = fields.split_first().ok_or(Reason::MessageMissing)?;
    let message = sized(message, MAX_FIELD, Reason::MessageMissing, Reason::MessageTooLong)?;
    let message = STANDARD_NO_PAD.decode(message).map_err(|_| Reason::MessageBase64)?;
    if kind.command {
        return Ok((decode_command(&message)?, rest));
    }
    let (allow, ports) = decode_access(&message)?;
    let Some(nat) = kind.nat else {
        return Ok((Request::Access { allow, ports }, rest));
    };
    let (target, rest) = rest.split_first().ok_or(Reason::NatMissing)?;
    let target = decode_nat(target)?;
    Ok((Request::Nat { allow, ports, target, local: nat == Nat::Local }, rest))
}

fn decode_command(message: &[u8]) -> Result<Request, Reason> {
    let comma = message.iter().position(|b| *b == b',').ok_or(Reason::MessageCommand)?;
    let (address, command) = (&message[..comma], &message[comma + 1..]);
    if command.is_empty() || command.contains(&0) {
        return Err(Reason::MessageCommand);
    }
    let allow = decode_address(address).ok_or(Reason::MessageCommand)?;
    Ok(Request::Command { allow, command: command.to_vec() })
}

fn decode_access(message: &[u8]) -> Result<(IpAddr, PortSet), Reason> {
    let text = std::str::from_utf8(message).map_err(|_| Reason::MessageAccess)?;
    let (address, ports) = text.split_once(',').ok_or(Reason::MessageAccess)?;
    let allow = decode_address(address.as_bytes()).ok_or(Reason::MessageAccess)?;
    Ok((allow, ports.parse().map_err(|_| Reason::MessageAccess)?))
}

/// Dotted quads without leading zeros (the original reads those as octal), or IPv6, our extension.
fn decode_address(text: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

fn decode_nat(field: &str) -> Result<NatTarget, Reason> {
    let field = sized(field, MAX_FIELD, Reason::NatMissing, Reason::NatTooLong)?;
    let bytes = STANDARD_NO_PAD.decode(field).map_err(|_| Reason::NatBase64)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Reason::NatFormat)?;
    let (host, port) = text.split_once(',').ok_or(Reason::NatFormat)?;
    parse_port(port).and_then(|port| NatTarget::new(host, port)).ok_or(Reason::NatFormat)
}

/// Server authentication and client timeout: the last field is the timeout when the type has one.
fn decode_tail(kind: Kind, fields: &[&str]) -> Result<(Option<Vec<u8>>, Option<ClientTimeout>), Reason> {
    let (auth, timeout) = match (kind.timeout, fields) {
        (false, []) => ("", None),
        (false, [auth, ..]) => (*auth, None),
        (true, []) => return Err(Reason::TimeoutMissing),
        (true, [timeout]) => ("", Some(*timeout)),
        (true, [auth, timeout, ..]) => (*auth, Some(*timeout)),
    };
    if auth.len() > MAX_FIELD {
        return Err(Reason::ServerAuthTooLong);
    }
    let auth = STANDARD_NO_PAD.decode(auth).map_err(|_| Reason::ServerAuthBase64)?;
    let auth = (!auth.is_empty()).then_some(auth);
    Ok((auth, timeout.map(decode_timeout).transpose()?))
}

fn decode_timeout(field: &str) -> Result<ClientTimeout, Reason> {
    let field = sized(field, 10, Reason::TimeoutMissing, Reason::TimeoutTooLong)?;
    let secs = number(field).ok_or(Reason::TimeoutDigits)?;
    u32::try_from(secs).ok().and_then(ClientTimeout::new).ok_or(Reason::TimeoutRange)
}

/// Digits only: no sign, no blank, nothing behind them.
fn number(field: &str) -> Option<u64> {
    field.bytes().all(|b| b.is_ascii_digit()).then(|| field.parse().ok())?
}

fn sized(field: &str, max: usize, missing: Reason, too_long: Reason) -> Result<&str, Reason> {
    match field.len() {
        0 => Err(missing),
        len if len > max => Err(too_long),
        _ => Ok(field),
    }
}

const MIN_PLAINTEXT: usize = 36;
const MAX_PLAINTEXT: usize = 1499;
/// Longest base64 field, and what it decodes to.
const MAX_FIELD: usize = 256;
const MAX_TEXT: usize = 192;
const MAX_VERSION: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(request: Request) -> Message {
        Message {
            random: RandomValue::new(b"0123456789012345").unwrap(),
            user: Username::new("alice").unwrap(),
            time: Timestamp::from_secs(1_795_294_448),
            version: "3.0.0".into(),
            request,
            server_auth: None,
            timeout: None,
            digest: Digest::Sha256,
        }
    }

    fn access(allow: &str, ports: &str) -> Request {
        Request::Access { allow: allow.parse().unwrap(), ports: ports.parse().unwrap() }
    }

    fn with_digest(fields: &str) -> Vec<u8> {
        let digest = STANDARD_NO_PAD.encode(Digest::Sha256.hash(fields.as_bytes()));
        format!("{fields}:{digest}").into_bytes()
    }

    #[test]
    fn the_worked_example_of_the_specification() {
        let text = b"1644722707182026:c3ZjLWJhY2t1cA:1795294448:3.0.0:1:MjAzLjAuMTEzLjksdWRwLzQ0Mw:9YVgFChiUYR7yzHdY8jYa3YVLFcO3UAlg4P7kLEEif4";
        let message = Message::decode(text).unwrap();
        assert_eq!(message.user.as_str(), "svc-backup");
        assert_eq!(message.request, access("203.0.113.9", "udp/443"));
        assert_eq!(message.encode().unwrap().expose(), text);
    }

    #[test]
    fn ipv6_is_our_extension() {
        let ours = message(access("2001:db8::7", "tcp/22"));
        assert_eq!(Message::decode(ours.encode().unwrap().expose()).unwrap(), ours);
    }

    #[test]
    fn numbers_are_read_whole_or_not_at_all() {
        let head = "0123456789012345:YWxpY2U";
        let request = STANDARD_NO_PAD.encode("10.1.2.3,tcp/22");
        let refused = |time: &str, kind: &str, tail: &str| {
            Message::decode(&with_digest(&format!("{head}:{time}:3.0.0:{kind}:{request}{tail}"))).unwrap_err()
        };
        assert_eq!(refused("12x", "1", ""), Reason::TimestampRange);
        assert_eq!(refused("+12", "1", ""), Reason::TimestampRange);
        assert_eq!(refused("1234567890123", "1", ""), Reason::TimestampTooLong);
        assert_eq!(refused("12", "x", ""), Reason::TypeRange);
        assert_eq!(refused("12", "7", ""), Reason::TypeRange);
        assert_eq!(refused("12", "001", ""), Reason::TypeTooLong);
        assert_eq!(refused("12", "3", ""), Reason::TimeoutMissing);
        assert_eq!(refused("12", "3", ":x"), Reason::TimeoutDigits);
        assert_eq!(refused("12", "3", ":65537"), Reason::TimeoutRange);
        assert_eq!(refused("12", "1", ":a:b"), Reason::FieldCount);
    }

    #[test]
    fn what_no_server_takes_is_not_encoded() {
        let command = |len: usize| Request::Command { allow: "10.1.2.3".parse().unwrap(), command: vec![b'x'; len] };
        assert!(message(command(192 - 9)).encode().is_ok());
        assert_eq!(message(command(193 - 9)).encode().unwrap_err(), MessageError::RequestTooLong(193));
        assert_eq!(message(command(0)).encode().unwrap_err(), MessageError::Command);
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let ports = prop::collection::vec((any::<bool>(), 1u16..), 1..8).prop_map(|ports| {
            let list: Vec<String> =
                ports.iter().map(|(tcp, port)| format!("{}/{port}", if *tcp { "tcp" } else { "udp" })).collect();
            list.join(",").parse::<PortSet>().unwrap()
        });
        let target = ("[a-z][a-z0-9]{0,9}", 1u16..)
            .prop_map(|(host, port)| NatTarget::new(&host, port.try_into().unwrap()).unwrap());
        (any::<std::net::Ipv4Addr>(), ports, prop::option::of((target, any::<bool>())), any::<Option<[u8; 20]>>())
            .prop_map(|(allow, ports, nat, command)| match (nat, command) {
                (Some((target, local)), _) => Request::Nat { allow: allow.into(), ports, target, local },
                (None, None) => Request::Access { allow: allow.into(), ports },
                (None, Some(bytes)) => {
                    Request::Command { allow: allow.into(), command: bytes.iter().map(|b| b | 1).collect() }
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            request in any_request(),
            auth in prop::option::of(prop::collection::vec(any::<u8>(), 1..64)),
            timeout in prop::option::of(0u32..=65536),
            digest in prop::sample::select(Digest::ALL.to_vec()),
        ) {
            let mut message = message(request);
            message.server_auth = auth;
            message.digest = digest;
            if !matches!(message.request, Request::Command { .. }) {
                message.timeout = timeout.and_then(ClientTimeout::new);
            }
            prop_assert_eq!(Message::decode(message.encode().unwrap().expose()).unwrap(), message);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn arbitrary_fields_with_a_right_digest_never_panic(fields in "[ -~:]{0,200}") {
            let _ = Message::decode(&with_digest(&fields));
        }
    }
}
