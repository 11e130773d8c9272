//! firewalld, over the system's bus: what `firewall-cmd --direct --passthrough` would do, which starts an interpreter for
//! each command and takes forty times as long.
//!
//! A connection lasts as long as the steps that are done one after the other: none is ever found stale.

use std::time::Duration;
use std::{env, iter};

use zbus::DBusError as _;
use zbus::connection::{Builder, Connection};

use super::backend::{Line, Output, Pass};
use super::error::Error;
use super::iptables;
use super::runner::{Failed, System};

/// A connection to the bus on which firewalld is, if it runs.
struct Firewalld {
    bus: Connection,
    patience: Duration,
}

impl Firewalld {
    fn connect(patience: Duration) -> Result<Self, Error> {
        match zbus::block_on(Builder::system().method_timeout(patience).build()) {
            Ok(bus) => Ok(Self { bus, patience }),
            Err(source) => {
                let place = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| SYSTEM_BUS.to_owned());
                Err(Error::NoBus { place, why: Box::new(source) })
            }
        }
    }

    /// Lets firewalld run iptables with these words; what it printed.
    fn pass(&self, pass: &Pass) -> Result<String, Error> {
        let step = || pass.to_string();
        let refused = |name: &str, said: &str| refusal(pass, name, said);
        let words = (pass.protocol, &pass.args);
        let call = self.bus.call_method(Some(NAME), PATH, Some(INTERFACE), "passthrough", &words);
        match zbus::block_on(call).and_then(|reply| reply.body().deserialize::<String>()) {
            Ok(text) => Ok(text),
            Err(zbus::Error::FDO(error)) => Err(refused(&error.name(), error.description().unwrap_or_default())),
            Err(zbus::Error::MethodError(name, said, _)) => Err(refused(&name, &said.unwrap_or_default())),
            Err(zbus::Error::InputOutput(late)) if late.kind() == std::io::ErrorKind::TimedOut => {
                Err(Error::Stuck { program: "firewalld", step: step(), seconds: self.patience.as_secs() })
            }
            Err(source) => Err(Error::Hung { step: step(), why: Box::new(source) }),
        }
    }
}

/// The connection that is used while steps are done one after the other.
#[derive(Default)]
pub struct Way {
    open: Option<Firewalld>,
    is_away: bool,
}

impl Way {
    fn to(&mut self, patience: Duration) -> Result<&Firewalld, Error> {
        let open = self.open.take().filter(|open| open.patience == patience);
        Ok(self.open.insert(open.map_or_else(|| Firewalld::connect(patience), Ok)?))
    }
}

impl System {
    /// By firewalld. But many at once by iptables itself, since firewalld takes its time with each: they are as firewalld
    /// would have made them, and it remembers nothing of what it passes on.
    pub(super) fn passes(&self, way: &mut Way, passes: &[&Pass]) -> Result<Vec<Output>, Failed> {
        let lines: Vec<Line> = passes.iter().filter_map(|pass| iptables::directly(pass)).collect();
        let many = lines.len() == passes.len() && lines.len() > iptables::FEW;
        if many && self.transaction(lines.iter().collect()).is_ok() {
            let made = iter::once(Output::Made(1)).chain(iter::repeat(Output::Done));
            return Ok(made.take(passes.len()).collect());
        }
        let mut outputs = Vec::new();
        for pass in passes {
            outputs.push(self.pass(way, pass).map_err(|error| Failed { done: outputs.len(), error })?);
        }
        Ok(outputs)
    }

    /// What ends is closed even if firewalld is away, or has stopped answering.
    fn pass(&self, way: &mut Way, pass: &Pass) -> Result<Output, Error> {
        let Some(removal) = iptables::directly(pass).filter(|_| pass.is_removal()) else {
            return Ok(told(pass, way.to(PATIENCE)?.pass(pass)?));
        };
        let by_ourselves = || self.transaction(vec![&removal]).map(|_| Output::Made(1));
        if way.is_away
            && let Ok(done) = by_ourselves()
        {
            return Ok(done);
        }
        match way.to(HASTE).and_then(|open| open.pass(pass)) {
            Err(away) if away.keeps_from_firewalld() => {
                way.is_away = true;
                by_ourselves().map_err(|_| away)
            }
            done => Ok(told(pass, done?)),
        }
    }
}

/// A change is a transaction of its own.
fn told(pass: &Pass, text: String) -> Output {
    if pass.is_change() { Output::Made(1) } else { Output::Text(text) }
}

fn refusal(pass: &Pass, name: &str, said: &str) -> Error {
    let short = super::runner::shorten(said);
    match name.rsplit('.').next().unwrap_or_default() {
        "ServiceUnknown" | "NameHasNoOwner" => Error::NotRunning,
        "UnknownMethod" | "UnknownInterface" | "UnknownObject" => Error::NoDirect,
        "AccessDenied" => Error::BusDenied { said: short },
        "NotAuthorizedException" => Error::NotAuthorized { said: short },
        _ if said.starts_with("ACCESS_DENIED") => Error::LockedDown,
        _ if said.contains("INVALID_IPV") => Error::NoIptables { protocol: pass.protocol },
        _ => Error::Refused { program: "firewalld", step: pass.to_string(), said: short },
    }
}

/// For one call. While it reloads, all have to wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// For closing, which is urgent, and can be done otherwise.
const HASTE: Duration = Duration::from_secs(1);

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const INTERFACE: &str = "org.fedoraproject.FirewallD1.direct";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
