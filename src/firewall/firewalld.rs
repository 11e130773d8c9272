//! firewalld, over the system's bus: what `firewall-cmd --direct --passthrough` would do, which starts an interpreter for
//! each command and takes forty times as long.
//!
//! A connection lasts as long as the steps that are done one after the other: none is ever found stale.

use std::env;
use std::time::Duration;

use zbus::DBusError as _;
use zbus::connection::{Builder, Connection};

use super::backend::Pass;
use super::error::Error;

/// A connection to the bus on which firewalld is, if it runs.
pub struct Firewalld {
    bus: Connection,
    patience: Duration,
}

impl Firewalld {
    pub fn connect(patience: Duration) -> Result<Self, Error> {
        match zbus::block_on(Builder::system().method_timeout(patience).build()) {
            Ok(bus) => Ok(Self { bus, patience }),
            Err(source) => {
                let place = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|_| SYSTEM_BUS.to_owned());
                Err(Error::NoBus { place, why: Box::new(source) })
            }
        }
    }

    /// Lets firewalld run iptables with these words; what it printed.
    pub fn pass(&self, pass: &Pass) -> Result<String, Error> {
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

const NAME: &str = "org.fedoraproject.FirewallD1";
const PATH: &str = "/org/fedoraproject/FirewallD1";
const INTERFACE: &str = "org.fedoraproject.FirewallD1.direct";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
