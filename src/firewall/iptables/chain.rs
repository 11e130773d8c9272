//! Where rules go: the chains of the original's six settings.

use std::fmt;
use std::str::FromStr;

use crate::firewall::Kind;

/// What the `IPT_*` settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablesSettings {
    pub chains: Chains,
    /// `ENABLE_RULE_PREPEND`: new rules first.
    pub prepend: bool,
    /// `ENABLE_IPT_COMMENT_CHECK`: try the comment match before anything is opened.
    pub comment_check: bool,
}

impl Default for TablesSettings {
    fn default() -> Self {
        Self { chains: Chains::default(), prepend: false, comment_check: true }
    }
}

/// One chain of ours for each kind of rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chains([TableChain; 6]);

impl Default for Chains {
    fn default() -> Self {
        Self(Role::ALL.map(|role| {
            let (table, from) = match role {
                Role::Input => ("filter", "INPUT"),
                Role::Output => ("filter", "OUTPUT"),
                Role::Forward => ("filter", "FORWARD"),
                Role::Dnat => ("nat", "PREROUTING"),
                Role::Snat | Role::Masquerade => ("nat", "POSTROUTING"),
            };
            let to = if role == Role::Masquerade { "MASQUERADE" } else { from };
            TableChain {
                target: role.target().unwrap_or("ACCEPT").to_owned(),
                table: table.to_owned(),
                from: from.to_owned(),
                position: 1,
                to: format!("FWKNOP_{to}"),
            }
        }))
    }
}

impl Chains {
    pub fn of(&self, role: Role) -> &TableChain {
        &self.0[role as usize]
    }

    pub fn set(&mut self, role: Role, chain: TableChain) {
        self.0[role as usize] = chain;
    }
}

/// What a chain of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Input,
    Output,
    Forward,
    Dnat,
    Snat,
    Masquerade,
}

impl Role {
    pub const ALL: [Role; 6] = [Role::Input, Role::Output, Role::Forward, Role::Dnat, Role::Snat, Role::Masquerade];

    pub fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Input => Role::Input,
            Kind::Output => Role::Output,
            Kind::Forward => Role::Forward,
            Kind::DnatAddress => Role::Dnat,
            Kind::Snat => Role::Snat,
            Kind::Masquerade => Role::Masquerade,
            Kind::Local | Kind::Redirect | Kind::DnatPort => return None,
        })
    }

    pub fn kind(self) -> Kind {
        match self {
            Role::Input => Kind::Input,
            Role::Output => Kind::Output,
            Role::Forward => Kind::Forward,
            Role::Dnat => Kind::DnatAddress,
            Role::Snat => Kind::Snat,
            Role::Masquerade => Kind::Masquerade,
        }
    }

    /// The only target that does it. `None`: any that accepts.
    pub fn target(self) -> Option<&'static str> {
        match self {
            Role::Input | Role::Output | Role::Forward => None,
            Role::Dnat => Some("DNAT"),
            Role::Snat => Some("SNAT"),
            Role::Masquerade => Some("MASQUERADE"),
        }
    }

    /// `IPT_INPUT_ACCESS`, after the word for the firewall.
    pub fn setting(self, firewall: &str) -> String {
        let word = match self {
            Role::Input => "INPUT",
            Role::Output => "OUTPUT",
            Role::Forward => "FORWARD",
            Role::Dnat => "DNAT",
            Role::Snat => "SNAT",
            Role::Masquerade => "MASQUERADE",
        };
        format!("{firewall}_{word}_ACCESS")
    }
}

/// `ACCEPT, filter, INPUT, 1, FWKNOP_INPUT, 1`. The last field has no meaning in the original either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChain {
    /// What our rules do.
    pub target: String,
    pub table: String,
    /// The administrator's chain that jumps to ours …
    pub from: String,
    /// … by its rule with this number.
    pub position: usize,
    pub to: String,
}

impl TableChain {
    /// The rule that leads there.
    pub fn jump(&self) -> String {
        format!("{} -j {}", self.from, self.to)
    }
}

impl fmt::Display for TableChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, table, from, position, to } = self;
        write!(f, "{target}, {table}, {from}, {position}, {to}, 1")
    }
}

impl FromStr for TableChain {
    type Err = TableChainError;

    fn from_str(text: &str) -> Result<Self, TableChainError> {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let [target, table, from, position, to, last] = fields[..] else {
            return Err(TableChainError::Fields(fields.len()));
        };
        // A chain's name is shorter than 29 bytes (`XT_EXTENSION_MAXNAMELEN`).
        let named = |name: &str, longest: usize| {
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let good = plain && (1..=longest).contains(&name.len());
            if good { Ok(name.to_owned()) } else { Err(TableChainError::Name(name.to_owned())) }
        };
        let number = |text: &str, least: usize| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = if digits { text.parse().ok() } else { None };
            number
                .filter(|number| (least..=65536).contains(number))
                .ok_or_else(|| TableChainError::Position(text.to_owned()))
        };
        number(last, 0)?;
        Ok(Self {
            target: named(target, 28)?,
            table: named(table, 31)?,
            from: named(from, 28)?,
            position: number(position, 1)?,
            to: named(to, 28)?,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableChainError {
    #[error("has {0} fields with commas between them, not six")]
    Fields(usize),
    #[error("'{0}' is not a name of up to 28 letters, digits and _")]
    Name(String),
    #[error("'{0}' is not a position: the first is 1, the last 65536")]
    Position(String),
}
