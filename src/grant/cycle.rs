//! Commands that stand in for a firewall rule: one when a grant begins, one when it ends (`spec/access.md` 8).

use std::fmt;
use std::net::IpAddr;

use super::words::{Unsplit, split};
use super::{Access, Errand, Grant, RunAs, Task};
use crate::net::{Origin, PortSet};
use crate::time::Timestamp;

/// What a stanza runs instead of changing the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandCycle {
    pub open: Template,
    /// `None`: nothing is to be undone.
    pub close: Option<Template>,
    pub run_as: RunAs,
}

/// The cycle of one grant: all is known but the times, which a later knock may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub ports: PortSet,
    pub open: Template,
    pub close: Option<Template>,
    pub run_as: RunAs,
    /// When the message was made.
    pub stamped: Timestamp,
    /// The opening command was started, or is about to be: it must not be started again.
    pub begun: bool,
}

/// Which command of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Open,
    Close,
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Half::Open => "open",
            Half::Close => "close",
        })
    }
}

/// A command cut into words, some of which hold variables. What is filled in stays within its word, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<String>);

/// What only a packet tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    Allow,
    PacketSource,
    PacketDestination,
    Port,
    Proto,
    /// When it ends, in seconds since 1970.
    End,
    /// How long it lasts, in seconds.
    Lasts,
}

/// None of the names begins another.
const VARIABLES: [(&str, Variable); 8] = [
    ("IP", Variable::Allow),
    ("SRC", Variable::Allow),
    ("PKT_SRC", Variable::PacketSource),
    ("DST", Variable::PacketDestination),
    ("PORT", Variable::Port),
    ("PROTO", Variable::Proto),
    ("TIMEOUT", Variable::End),
    ("CLIENT_TIMEOUT", Variable::Lasts),
];

impl CommandCycle {
    pub fn of(&self, allow: IpAddr, ports: &PortSet, origin: &Origin, stamped: Timestamp) -> Cycle {
        let first = ports.first();
        let value = |variable| match variable {
            Variable::Allow => Some(allow.to_string()),
            Variable::PacketSource => Some(origin.src.to_canonical().to_string()),
            Variable::PacketDestination => Some(origin.dst_or_unspecified().to_canonical().to_string()),
            Variable::Port => Some(first.port.to_string()),
            Variable::Proto => Some(first.proto.number().to_string()),
            Variable::End | Variable::Lasts => None,
        };
        Cycle {
            ports: ports.clone(),
            open: self.open.fill(value),
            close: self.close.as_ref().map(|close| close.fill(value)),
            run_as: self.run_as.clone(),
            stamped,
            begun: false,
        }
    }
}

impl Cycle {
    /// Whether the end of this is also the end of `older`: the same command of the same user.
    pub(super) fn undoes(&self, older: &Cycle) -> bool {
        self.close == older.close && self.run_as == older.run_as
    }
}

impl Grant {
    /// Takes the place of an older grant that the same command closes: what that opened stays open to the later end.
    pub fn take_over(&mut self, older: &Grant) {
        if let (Access::Cycle(cycle), Some(ports)) = (&mut self.access, older.access.ports()) {
            cycle.ports = cycle.ports.with(ports);
            self.until = self.until.max(older.until);
        }
    }

    pub fn cycle(&self) -> Option<&Cycle> {
        match &self.access {
            Access::Cycle(cycle) => Some(cycle),
            _ => None,
        }
    }

    /// Whether something has to be run when it ends.
    pub fn is_closed_by_command(&self) -> bool {
        self.cycle().is_some_and(|cycle| cycle.close.is_some())
    }

    /// One command of its cycle, if it has that.
    pub fn errand(&self, half: Half) -> Option<Errand> {
        let cycle = self.cycle()?;
        let template = match half {
            Half::Open => &cycle.open,
            Half::Close => cycle.close.as_ref()?,
        };
        let lasts = self.lifetime;
        let filled = template.fill(|variable| match variable {
            Variable::End => Some(cycle.stamped.plus(lasts.as_duration()).to_string()),
            Variable::Lasts => Some(lasts.secs().to_string()),
            _ => None,
        });
        Some(Errand {
            id: self.id,
            allow: self.allow,
            task: Task::Cycle { half, words: filled.0, ports: cycle.ports.clone(), lifetime: lasts, until: self.until },
            run_as: cycle.run_as.clone(),
            stamped: cycle.stamped,
            knock: self.knock.clone()?,
        })
    }
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, Unsplit> {
        let words = split(text.as_bytes())?;
        Ok(Self(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()))
    }

    /// What has been filled in before.
    pub fn from_words(words: Vec<String>) -> Self {
        Self(words)
    }

    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// What follows a `$` and is no variable, up to the next character that is in no name.
    pub fn strangers(&self) -> Vec<String> {
        let behind = self.0.iter().flat_map(|word| word.split('$').skip(1));
        let unknown = behind.filter(|rest| !VARIABLES.iter().any(|(name, _)| rest.starts_with(name)));
        let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
        unknown.map(|rest| rest.chars().take_while(|c| named(*c)).collect()).collect()
    }

    /// A variable without a value stays. Any other `$` vanishes, as in the original.
    fn fill(&self, value: impl Fn(Variable) -> Option<String>) -> Self {
        Self(self.0.iter().map(|word| fill(word, &value)).collect())
    }
}

fn fill(word: &str, value: impl Fn(Variable) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('$') {
        filled.push_str(before);
        rest = behind;
        let Some((name, variable)) = VARIABLES.iter().find(|(name, _)| behind.starts_with(name)) else { continue };
        filled.push_str(&value(*variable).unwrap_or_else(|| format!("${name}")));
        rest = &behind[name.len()..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cycle(open: &str, close: &str) -> Cycle {
        let run_as = RunAs { user: None, group: None, sudo: None, timeout: Duration::from_secs(30) };
        let of = |text| Template::parse(text).unwrap();
        let commands = CommandCycle { open: of(open), close: Some(of(close)), run_as };
        let origin = Origin { dst: Some("192.0.2.9".parse().unwrap()), ..Origin::udp("198.51.100.7".parse().unwrap()) };
        let ports = "udp/53,tcp/22".parse().unwrap();
        commands.of("10.1.2.3".parse().unwrap(), &ports, &origin, Timestamp::from_secs(1000))
    }

    #[test]
    fn every_variable_is_filled_in_within_its_word() {
        let open =
            cycle("/x $IP $SRC $PKT_SRC $DST $PORT $PROTO a$IP:$PORT-b '$IP $PORT' $FOO $IPX $$IP 5$", "/y").open;
        let expected = [
            "/x",
            "10.1.2.3",
            "10.1.2.3",
            "198.51.100.7",
            "192.0.2.9",
            "53",
            "17",
            "a10.1.2.3:53-b",
            "10.1.2.3 53",
            "FOO",
            "10.1.2.3X",
            "10.1.2.3",
            "5",
        ];
        assert_eq!(open.words(), expected);
    }

    #[test]
    fn times_are_filled_in_when_they_are_known() {
        let close = cycle("/x", "/y $TIMEOUT,$CLIENT_TIMEOUT").close.unwrap();
        assert_eq!(close.words(), ["/y", "$TIMEOUT,$CLIENT_TIMEOUT"]);
        let filled = close.fill(|variable| Some(if variable == Variable::End { "1030" } else { "30" }.to_owned()));
        assert_eq!(filled.words(), ["/y", "1030,30"]);
    }

    #[test]
    fn the_same_command_undoes_the_same() {
        assert!(cycle("/x", "/y $IP").undoes(&cycle("/z", "/y $SRC $FOO".trim_end_matches(" $FOO"))));
        assert!(!cycle("/x", "/y $IP").undoes(&cycle("/x", "/y $PORT")));
    }

    #[test]
    fn what_is_no_variable_is_named() {
        let of = |text: &str| Template::parse(text).unwrap().strangers();
        assert_eq!(of("/x $IP a$FOO-$b_1 $ $TIMEOUT"), ["FOO", "b_1", ""]);
    }
}
