//! From options to the message: pure. Whatever no server would take is refused here, before anything is sent.

use std::net::IpAddr;
use std::str::FromStr;

use crate::config::Fault;
use crate::net::{Port, PortSet, Service};
use crate::spa::{ClientTimeout, Digest, Message, NatTarget, RandomValue, Request, Username};
use crate::time::Timestamp;

/// What the user asks for.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// `0.0.0.0` and `::` stand for the packet's source.
    pub allow: Option<IpAddr>,
    pub ports: Option<PortSet>,
    /// Wins over ports and NAT.
    pub command: Option<Vec<u8>>,
    /// Never zero.
    pub timeout: Option<ClientTimeout>,
    pub nat: NatAsk,
    pub user: Option<String>,
    pub time_offset: TimeOffset,
    pub digest: Digest,
    /// As given to `-D`: the NAT target of `--nat-local` without `-N`.
    pub destination: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct NatAsk {
    pub target: Option<NatWish>,
    pub local: bool,
    pub outer: OuterPort,
}

/// An inner host, with the port of the first service asked for unless another is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatWish {
    host: String,
    port: Option<Port>,
}

impl NatWish {
    /// `None` when `host` is neither an address nor a host name.
    pub fn new(host: &str, port: Option<Port>) -> Option<Self> {
        NatTarget::new(host, port.unwrap_or(Port::MIN)).map(|target| Self { host: target.host().to_owned(), port })
    }

    pub fn into_parts(self) -> (String, Option<Port>) {
        (self.host, self.port)
    }
}

/// The port that is opened on the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterPort {
    /// The one in `-A`.
    #[default]
    AsAsked,
    Fixed(Port),
    Random,
}

/// What `compose` needs from outside.
#[derive(Debug)]
pub struct Circumstances {
    pub now: Timestamp,
    pub random: RandomValue,
    /// For [`OuterPort::Random`].
    pub random_port: Port,
    /// Names the user has in the environment and the system, best first (`spec/wire.md` 2.4).
    pub user_names: Vec<String>,
}

/// Why there is no message. The second line says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComposeError {
    #[error(
        "whom to let in is not said\n     give an address with -a, -s for the packet's source, or -R to ask a web service"
    )]
    NoAddress,
    #[error("nothing is asked for\n     name ports with -A, like -A tcp/22")]
    NoPorts,
    #[error("NAT for several ports is not possible\n     ask for one port with --nat-port and --nat-rand-port")]
    SeveralPorts,
    #[error("--nat-port and --nat-rand-port have no effect without NAT\n     add -N <host:port> or --nat-local")]
    OuterPortWithoutNat,
    #[error("--nat-local needs to know the server's address\n     name it with -D, or the inner host with -N")]
    NoNatTarget,
    #[error("'{0}' cannot be a NAT target\n     name the inner host with -N")]
    NatHost(String),
    #[error(
        "the user name '{0}' cannot be sent\n     give one of 1 to {max} printable ASCII characters without \"/\\[]:;|=,+*?<> with -U",
        max = Username::MAX
    )]
    User(String),
    #[error("the time stamp lies outside of what can be sent\n     give a smaller time offset")]
    Time,
}

pub fn compose(ask: &Ask, here: Circumstances) -> Result<Message, ComposeError> {
    let allow = ask.allow.ok_or(ComposeError::NoAddress)?;
    let user = ask.user.clone().or_else(|| here.user_names.into_iter().next()).unwrap_or_else(|| NO_USER.into());
    let request = match &ask.command {
        Some(command) => Request::Command { allow, command: command.clone() },
        None => ports_request(ask, allow, here.random_port)?,
    };
    Ok(Message {
        random: here.random,
        user: Username::new(&user).ok_or(ComposeError::User(user))?,
        time: ask.time_offset.apply(here.now).ok_or(ComposeError::Time)?,
        version: VERSION.to_owned(),
        timeout: ask.timeout.filter(|_| ask.command.is_none()),
        request,
        server_auth: None,
        digest: ask.digest,
    })
}

/// The protocol version of the messages we make.
pub const VERSION: &str = "3.0.0";

const NO_USER: &str = "NO_USER";

/// Access, or NAT: there the outside port stands in the message and the inside address and port in the NAT target
/// (`spec/client.md` 11.3).
fn ports_request(ask: &Ask, allow: IpAddr, random_port: Port) -> Result<Request, ComposeError> {
    let asked = ask.ports.clone().ok_or(ComposeError::NoPorts)?;
    let outer = match ask.nat.outer {
        OuterPort::AsAsked => None,
        OuterPort::Fixed(port) => Some(port),
        OuterPort::Random => Some(random_port),
    };
    if ask.nat.target.is_none() && !ask.nat.local {
        return match outer {
            None => Ok(Request::Access { allow, ports: asked }),
            Some(_) => Err(ComposeError::OuterPortWithoutNat),
        };
    }
    let inner = asked.first();
    let ports = match outer {
        None => asked,
        Some(_) if asked.iter().count() > 1 => return Err(ComposeError::SeveralPorts),
        // One service is never an empty set.
        Some(port) => PortSet::new([Service { proto: inner.proto, port }]).unwrap_or(asked),
    };
    let (host, port) = match (&ask.nat.target, &ask.destination) {
        (Some(target), _) => (target.host.as_str(), target.port.unwrap_or(inner.port)),
        (None, Some(server)) => (server.as_str(), inner.port),
        (None, None) => return Err(ComposeError::NoNatTarget),
    };
    let target = NatTarget::new(host, port).ok_or_else(|| ComposeError::NatHost(host.to_owned()))?;
    Ok(Request::Nat { allow, ports, target, local: ask.nat.local })
}

/// Seconds to add to the time stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffset(i64);

impl TimeOffset {
    const MAX: i64 = 65536;

    pub fn secs(self) -> i64 {
        self.0
    }

    fn apply(self, now: Timestamp) -> Option<Timestamp> {
        now.secs().checked_add_signed(self.0).map(Timestamp::from_secs)
    }
}

/// `60`, `60sec`, `2m`, `3H`, `1day`, each with a minus for the past. Unlike the original, which skips what it does not
/// understand, anything else is refused.
impl FromStr for TimeOffset {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let fault =
            |what: &str| Fault::new(format!("'{text}' {what}"), "write a number and s, m, h or d, like 90s or 2m");
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| fault("is not a time"))?;
        if number > Self::MAX {
            return Err(Fault::new(format!("'{text}' is too large"), format!("write a number up to {}", Self::MAX)));
        }
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => 86_400,
            _ => return Err(fault("is not a time")),
        };
        Ok(Self(sign * number * factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Circumstances {
        Circumstances {
            now: Timestamp::from_secs(1_000_000),
            random: RandomValue::new(b"0123456789012345").unwrap(),
            random_port: Port::new(20_962).unwrap(),
            user_names: vec!["alice".into()],
        }
    }

    fn asking(ports: &str) -> Ask {
        Ask {
            allow: Some("192.0.2.7".parse().unwrap()),
            ports: Some(ports.parse().unwrap()),
            destination: Some("gate.example".into()),
            ..Ask::default()
        }
    }

    fn nat(target: Option<(&str, Option<u16>)>, local: bool, outer: OuterPort) -> NatAsk {
        let target = target.map(|(host, port)| NatWish::new(host, port.and_then(Port::new)).unwrap());
        NatAsk { target, local, outer }
    }

    #[test]
    fn nat_strings_are_those_of_the_table() {
        let fixed = OuterPort::Fixed(Port::new(5555).unwrap());
        for (ports, nat, target, message) in [
            ("tcp/22", nat(Some(("10.1.2.3", Some(5555))), false, OuterPort::AsAsked), "10.1.2.3,5555", "tcp/22"),
            ("tcp/22", nat(Some(("10.1.2.3", None)), false, OuterPort::AsAsked), "10.1.2.3,22", "tcp/22"),
            ("tcp/22", nat(Some(("host.example", Some(99))), false, OuterPort::AsAsked), "host.example,99", "tcp/22"),
            ("tcp/22", nat(None, true, OuterPort::AsAsked), "gate.example,22", "tcp/22"),
            ("tcp/22", nat(None, true, fixed), "gate.example,22", "tcp/5555"),
            ("tcp/22", nat(Some(("10.0.0.5", Some(2222))), true, OuterPort::AsAsked), "10.0.0.5,2222", "tcp/22"),
            ("tcp/22", nat(Some(("10.0.0.5", Some(99))), false, OuterPort::Random), "10.0.0.5,99", "tcp/20962"),
            (
                "tcp/22,udp/53",
                nat(Some(("10.0.0.5", Some(99))), false, OuterPort::AsAsked),
                "10.0.0.5,99",
                "tcp/22,udp/53",
            ),
        ] {
            let local = nat.local;
            let message_made = compose(&Ask { nat, ..asking(ports) }, here()).unwrap();
            let Request::Nat { ports, target: made, local: made_local, .. } = message_made.request else { panic!() };
            assert_eq!((made.to_string().as_str(), ports.to_string().as_str()), (target, message));
            assert_eq!(made_local, local);
        }
    }

    #[test]
    fn what_no_server_takes_is_refused() {
        let fixed = OuterPort::Fixed(Port::new(5555).unwrap());
        let refused = |ask: Ask| compose(&ask, here()).unwrap_err();
        assert_eq!(refused(Ask { allow: None, ..asking("tcp/22") }), ComposeError::NoAddress);
        assert_eq!(refused(Ask { ports: None, ..asking("tcp/22") }), ComposeError::NoPorts);
        assert_eq!(refused(Ask { nat: nat(None, true, fixed), ..asking("tcp/22,tcp/23") }), ComposeError::SeveralPorts);
        assert_eq!(
            refused(Ask { nat: nat(None, false, fixed), ..asking("tcp/22") }),
            ComposeError::OuterPortWithoutNat
        );
        let local = nat(None, true, OuterPort::AsAsked);
        assert_eq!(refused(Ask { nat: local, destination: None, ..asking("tcp/22") }), ComposeError::NoNatTarget);
        let long = "u".repeat(49);
        assert_eq!(refused(Ask { user: Some(long.clone()), ..asking("tcp/22") }), ComposeError::User(long));
    }

    #[test]
    fn a_command_wins_and_carries_no_timeout() {
        let ask = Ask { command: Some(b"id".to_vec()), timeout: ClientTimeout::new(30), ..asking("tcp/22") };
        let message = compose(&ask, here()).unwrap();
        assert_eq!(message.type_number(), 0);
        assert_eq!(message.timeout, None);
    }

    #[test]
    fn the_first_user_name_there_is_goes_in() {
        assert_eq!(compose(&asking("tcp/22"), here()).unwrap().user.as_str(), "alice");
        let nobody = Circumstances { user_names: Vec::new(), ..here() };
        assert_eq!(compose(&asking("tcp/22"), nobody).unwrap().user.as_str(), "NO_USER");
        let ask = Ask { user: Some("bob".into()), ..asking("tcp/22") };
        assert_eq!(compose(&ask, here()).unwrap().user.as_str(), "bob");
    }

    #[test]
    fn time_offsets_are_read_and_applied() {
        for (text, secs) in [("60", 60), ("60sec", 60), ("2m", 120), ("3H", 10_800), ("1day", 86_400), ("-2m", -120)] {
            assert_eq!(text.parse::<TimeOffset>().unwrap().secs(), secs, "{text}");
        }
        for bad in ["", "m5", "1s30", "--5", "65537", "5x", "99999999999999999999"] {
            assert!(bad.parse::<TimeOffset>().is_err(), "{bad}");
        }
        let ask = Ask { time_offset: TimeOffset(-120), ..asking("tcp/22") };
        assert_eq!(compose(&ask, here()).unwrap().time, Timestamp::from_secs(999_880));
        let ask = Ask { time_offset: TimeOffset(-1_000_001), ..asking("tcp/22") };
        assert_eq!(compose(&ask, here()), Err(ComposeError::Time));
    }

    proptest::proptest! {
        #[test]
        fn offsets_are_read_or_refused_but_never_misread(text in "-?[0-9]{0,6} ?[smhdSMHDx]{0,2}") {
            if let Ok(offset) = text.parse::<TimeOffset>() {
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let number: i64 = digits.parse().unwrap();
                proptest::prop_assert_eq!(offset.secs().abs() % number.max(1), 0);
                proptest::prop_assert!(offset.secs() == 0 || (offset.secs() < 0) == text.starts_with('-'));
            }
        }
    }
}
