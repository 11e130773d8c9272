//! Values: from text to what it means, each kind fully read and range-checked.

use std::net::IpAddr;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::complaint::Fault;
use super::raw::Value;
use super::source::Syntax;
use super::{address, date, port};
use crate::crypto::rijndael::Mode;
use crate::firewall::{ChainPlace, TableChain, TableChainError};
use crate::net::{AddrSet, Port, PortSet, parse_port};
use crate::secret::Secret;
use crate::spa::Digest;
use crate::time::Timestamp;

/// What a variable takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    YesNo,
    /// A whole number in this range.
    Number {
        min: u64,
        max: u64,
    },
    Text,
    /// A path; a relative one is relative to the working directory at start.
    Path,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A list of words.
    List,
    /// A list like `tcp/22, udp/53`.
    Ports,
    /// `ANY`, or a list of addresses and networks.
    Addresses,
    /// A key or passphrase as text.
    Secret,
    /// A key as base64.
    SecretBase64,
    Digest,
    /// A Rijndael mode, or `Asymmetric`.
    Mode,
    /// `MM/DD/YYYY`: the beginning of that day, local time.
    Date,
    /// The six fields of the original's chain variables.
    Chain,
    /// `inet filter input`.
    NftChain,
    /// One address.
    Address,
    /// `10.1.2.3 22`: an address and a port.
    Target,
}

/// A value that has been understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<String>),
    Ports(PortSet),
    Addresses(AddrSet),
    Secret(Secret<Vec<u8>>),
    Digest(Digest),
    /// `None`: `Asymmetric`.
    Mode(Option<Mode>),
    Date(Timestamp),
    TableChain(TableChain),
    NftChain(ChainPlace),
    Address(IpAddr),
    Target(IpAddr, Port),
}

/// Stands in the sample files where a key belongs.
pub const PLACEHOLDER: &str = "__CHANGEME__";

impl Kind {
    /// Reads `value` as its syntax writes it.
    pub fn check(self, value: &Value, syntax: Syntax) -> Result<Checked, Fault> {
        match (self, value) {
            (_, Value::Unusable(what)) => Err(Fault::new(format!("is {what}"), self.advice(syntax))),
            (Kind::YesNo, Value::Flag(flag)) => Ok(Checked::Flag(*flag)),
            (Kind::Number { min, max }, Value::Number(number)) => {
                in_range(u64::try_from(*number).ok(), min, max).ok_or_else(|| self.fault(&number.to_string(), syntax))
            }
            (Kind::List | Kind::Ports | Kind::Addresses, Value::List(items)) => {
                let texts: Option<Vec<&str>> = items.iter().map(text_of).collect();
                let texts = texts.ok_or_else(|| Fault::new("an entry is not a text", "put each entry in quotes"))?;
                self.check_list(texts)
            }
            // In TOML a flag or number in quotes is a text: one way to write each thing.
            (Kind::YesNo | Kind::Number { .. }, Value::Text(_)) if syntax == Syntax::Toml => {
                Err(Fault::new("is a text in quotes", self.advice(syntax)))
            }
            (_, Value::Text(text)) => self.check_text(text.expose(), syntax),
            (_, Value::List(_)) => Err(Fault::new("is a list", self.advice(syntax))),
            (_, Value::Flag(_)) => Err(Fault::new("is true or false", self.advice(syntax))),
            (_, Value::Number(_)) => Err(Fault::new("is a number", self.advice(syntax))),
        }
    }

    /// Reads a text.
    pub fn check_text(self, text: &str, syntax: Syntax) -> Result<Checked, Fault> {
        if text.trim().is_empty() {
            return Err(Fault::new("is empty", self.advice(syntax)));
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Fault::new("contains a control character", self.advice(syntax)));
        }
        let fault = || self.fault(text, syntax);
        match self {
            Kind::YesNo => yes_no(text).map(Checked::Flag).ok_or_else(fault),
            Kind::Number { min, max } => in_range(digits(text), min, max).ok_or_else(fault),
            Kind::Text | Kind::Path => Ok(Checked::Text(text.to_owned())),
            Kind::Choice(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).ok_or_else(fault)?;
                Ok(Checked::Text((*word).to_owned()))
            }
            Kind::List | Kind::Ports | Kind::Addresses => self.check_list(text.split(',').collect()),
            Kind::Secret => secret(text.as_bytes().to_vec()),
            Kind::SecretBase64 if text == PLACEHOLDER => secret(text.as_bytes().to_vec()),
            Kind::SecretBase64 => BASE64.decode(text).map_err(|_| fault()).and_then(secret),
            Kind::Digest => text.parse().map(Checked::Digest).map_err(|_| fault()),
            Kind::Mode if text.eq_ignore_ascii_case("Asymmetric") => Ok(Checked::Mode(None)),
            Kind::Mode => text.parse().map(|mode| Checked::Mode(Some(mode))).map_err(|_| fault()),
            Kind::Date => date::parse(text).map(Checked::Date).ok_or_else(fault),
            Kind::Chain => text
                .parse()
                .map(Checked::TableChain)
                .map_err(|error: TableChainError| Fault::new(error.to_string(), self.advice(syntax))),
            Kind::NftChain => text.parse().map(Checked::NftChain).map_err(|_| fault()),
            Kind::Address => text.parse().map(Checked::Address).map_err(|_| fault()),
            Kind::Target => target(text).ok_or_else(fault),
        }
    }

    fn check_list(self, items: Vec<&str>) -> Result<Checked, Fault> {
        let items: Vec<&str> = items.into_iter().map(str::trim).collect();
        if items.is_empty() || items.contains(&"") {
            return Err(Fault::new("an entry of the list is empty", "remove the surplus comma, or write the entry"));
        }
        match self {
            Kind::Ports => port::parse(&items).map(Checked::Ports),
            Kind::Addresses => address::parse(&items).map(Checked::Addresses),
            _ => Ok(Checked::List(items.into_iter().map(str::to_owned).collect())),
        }
    }

    /// Whether a value may be shown to people.
    fn is_secret(self) -> bool {
        matches!(self, Kind::Secret | Kind::SecretBase64)
    }

    fn fault(self, text: &str, syntax: Syntax) -> Fault {
        let what = match self {
            _ if self.is_secret() => "is not base64".to_owned(),
            Kind::Number { min, max } if digits(text).is_some() => format!("'{text}' is not in {min} to {max}"),
            Kind::Number { .. } => format!("'{text}' is not a whole number"),
            Kind::YesNo => format!("'{text}' is neither yes nor no"),
            Kind::Date => format!("'{text}' is not a date"),
            _ => format!("'{text}' cannot be used here"),
        };
        Fault::new(what, self.advice(syntax))
    }

    /// What to write.
    fn advice(self, syntax: Syntax) -> String {
        let quoted = if syntax == Syntax::Toml { ", in quotes" } else { "" };
        match self {
            Kind::YesNo => format!("write {}", syntax.yes_no()),
            Kind::Number { min, max } if syntax == Syntax::Toml => {
                format!("write a whole number from {min} to {max}, without quotes")
            }
            Kind::Number { min, max } => format!("write a whole number from {min} to {max}"),
            Kind::Text => format!("write one text{quoted}"),
            Kind::Path => format!("write one path{quoted}"),
            Kind::Choice(words) => format!("write one of {}{quoted}", words.join(", ")),
            Kind::List => format!("write entries with commas between them{quoted}"),
            Kind::Ports => format!("write ports like tcp/22, udp/53{quoted}"),
            Kind::Addresses => format!("write ANY, or addresses and networks like 192.0.2.1, 198.51.100.0/24{quoted}"),
            Kind::Secret => format!("write the key or passphrase{quoted}"),
            Kind::SecretBase64 => format!("write the key as base64{quoted}; fwknop --key-gen makes one"),
            Kind::Digest => format!("write one of md5, sha1, sha256, sha384, sha512, sha3_256, sha3_512{quoted}"),
            Kind::Mode => format!("write one of CBC, ECB, CFB, OFB, CTR, legacy, Asymmetric{quoted}"),
            Kind::Date => format!("write it as MM/DD/YYYY{quoted}"),
            Kind::Chain => {
                format!("write target, table, from chain, jump position, to chain, rule position{quoted}")
            }
            Kind::NftChain => format!("write family, table and chain, like inet filter input{quoted}"),
            Kind::Address => format!("write one address, like 192.0.2.1{quoted}"),
            Kind::Target => format!("write address and port, like 10.1.2.3 22{quoted}"),
        }
    }
}

/// The text of a value that is one.
pub fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text.expose()),
        _ => None,
    }
}

/// `Y`, `N`, or the words they stand for. The original looks at the first letter only and takes the rest for no.
pub fn yes_no(text: &str) -> Option<bool> {
    let is = |words: [&str; 2]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["y", "yes"]) {
        Some(true)
    } else if is(["n", "no"]) {
        Some(false)
    } else {
        None
    }
}

/// A decimal number without sign.
pub fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn in_range(number: Option<u64>, min: u64, max: u64) -> Option<Checked> {
    number.filter(|number| (min..=max).contains(number)).map(Checked::Number)
}

fn secret(bytes: Vec<u8>) -> Result<Checked, Fault> {
    let secret = Secret::new(bytes);
    if secret.expose() == PLACEHOLDER.as_bytes() {
        return Err(Fault::new("is still the placeholder of the sample file", "make keys with: fwknop --key-gen"));
    }
    Ok(Checked::Secret(secret))
}

fn target(text: &str) -> Option<Checked> {
    let (address, port) = text.trim().split_once(|c: char| c.is_ascii_whitespace())?;
    Some(Checked::Target(address.parse().ok()?, parse_port(port.trim_start())?))
}

/// Padding may be missing; the alphabet and the unused bits are checked.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
