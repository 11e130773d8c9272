//! What the configuration says about the firewall, as plain data.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ipfw::Numbers;
use super::iptables::TablesSettings;
use super::known::BackendName;
use super::nftables::NFTABLES;
use super::pf::Anchor;

/// Which firewall, and where in it. Built by `config`, consumed by [`Firewall`](super::Firewall).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallSettings {
    pub backend: BackendName,
    /// `FIREWALL_EXE`. `None`: the back-end's own program, searched in `PATH`.
    pub program: Option<PathBuf>,
    /// `NFT_INPUT_ACCESS`. `None`: found in the ruleset, when there is exactly one candidate.
    pub input: Option<ChainPlace>,
    /// `NFT_FORWARD_ACCESS`, likewise.
    pub forward: Option<ChainPlace>,
    /// `NFT_OUTPUT_ACCESS`, likewise.
    pub output: Option<ChainPlace>,
    pub features: Features,
    /// The `IPT_*` or `FIREWD_*` settings.
    pub tables: TablesSettings,
    /// The `IPFW_*` settings.
    pub numbers: Numbers,
    /// `PF_ANCHOR_NAME`
    pub anchor: Anchor,
}

impl Default for FirewallSettings {
    fn default() -> Self {
        let backend = NFTABLES;
        let (features, tables) = (Features::default(), TablesSettings::default());
        let (numbers, anchor) = (Numbers::default(), Anchor::default());
        Self { backend, program: None, input: None, forward: None, output: None, features, tables, numbers, anchor }
    }
}

impl FirewallSettings {
    /// Whether this is the same firewall in the same place, whatever may be asked of it.
    pub fn is_at_same_place(&self, other: &FirewallSettings) -> bool {
        FirewallSettings { features: other.features, ..self.clone() } == *other
    }
}

impl Features {
    /// With all that was needed before as well.
    pub fn besides(self, former: Features) -> Self {
        Self {
            forwarding: self.forwarding || former.forwarding,
            local_nat: self.local_nat || former.local_nat,
            source_nat: self.source_nat || former.source_nat,
            output: self.output || former.output,
            destination: self.destination,
        }
    }
}

/// What may be asked of the firewall besides opening ports of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub forwarding: bool,
    pub local_nat: bool,
    /// Some of what is forwarded is sent on in another name.
    pub source_nat: bool,
    /// Replies need an opening of their own.
    pub output: bool,
    /// Ports are opened for one address of ours only.
    pub destination: bool,
}

/// Where packets are decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Input,
    Forward,
    Output,
}

impl Hook {
    /// The setting that names the chain.
    pub fn setting(self) -> &'static str {
        match self {
            Hook::Input => "NFT_INPUT_ACCESS",
            Hook::Forward => "NFT_FORWARD_ACCESS",
            Hook::Output => "NFT_OUTPUT_ACCESS",
        }
    }

    /// What passes there: `incoming packets`.
    pub fn packets(self) -> &'static str {
        match self {
            Hook::Input => "incoming packets",
            Hook::Forward => "forwarded packets",
            Hook::Output => "outgoing packets",
        }
    }

    /// What an opening there is for.
    pub fn services(self) -> &'static str {
        match self {
            Hook::Input => "this machine's own services",
            Hook::Forward => "hosts behind this machine",
            Hook::Output => "what this machine sends",
        }
    }
}

/// As nft calls it.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
        })
    }
}

/// The administrator's chain that gets our jump, written `inet filter input`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChainPlace {
    pub family: Family,
    pub table: Name,
    pub chain: Name,
}

impl fmt::Display for ChainPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.chain)
    }
}

impl FromStr for ChainPlace {
    type Err = ChainPlaceError;

    fn from_str(text: &str) -> Result<Self, ChainPlaceError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(family), Some(table), Some(chain), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(ChainPlaceError);
        };
        Ok(Self { family: family.parse()?, table: table.parse()?, chain: chain.parse()? })
    }
}

/// The table families whose input hook sees IP packets before they are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    Ip,
    Ip6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Ip6 => "ip6",
        })
    }
}

impl FromStr for Family {
    type Err = ChainPlaceError;

    fn from_str(text: &str) -> Result<Self, ChainPlaceError> {
        match text {
            "inet" => Ok(Family::Inet),
            "ip" => Ok(Family::Ip),
            "ip6" => Ok(Family::Ip6),
            _ => Err(ChainPlaceError),
        }
    }
}

/// The name of a table or chain as nft writes it without quotes: it can stand in a script without changing its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = ChainPlaceError;

    /// The kernel takes up to 255 bytes (`NFT_NAME_MAXLEN`).
    fn from_str(text: &str) -> Result<Self, ChainPlaceError> {
        let letter_first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b));
        if letter_first && plain && text.len() < 256 { Ok(Self(text.to_owned())) } else { Err(ChainPlaceError) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a family (inet, ip or ip6), a table and a chain, like 'inet filter input'")]
pub struct ChainPlaceError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_access_point_is_three_words() {
        let access: ChainPlace = " inet  filter input ".parse().unwrap();
        assert_eq!(access.to_string(), "inet filter input");
        for bad in [
            "",
            "inet filter",
            "inet filter input 1",
            "arp filter input",
            "INET filter input",
            "inet fil;ter input",
            "inet filter in\"put",
            "inet 1filter input",
            "inet filter {",
        ] {
            assert!(bad.parse::<ChainPlace>().is_err(), "{bad:?} was read");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_again(text in "\\PC{0,40}") {
            if let Ok(access) = text.parse::<ChainPlace>() {
                prop_assert_eq!(access.to_string().parse::<ChainPlace>().unwrap(), access);
            }
        }
    }
}
