//! Where journal lines go: the terminal, syslog, or both (`spec/server.md` 9).

use std::io::Write as _;

use syslog::{Formatter3164, Logger, LoggerBackend};

use super::Level;
use crate::config::Facility;

/// A destination for lines. One that fails is passed over: a full log must not stop a knock.
pub struct Sink {
    stderr: bool,
    syslog: Option<Logger<LoggerBackend, Formatter3164>>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot reach syslog")]
pub struct SinkError(#[source] syslog::Error);

impl Sink {
    pub fn stderr() -> Self {
        Self { stderr: true, syslog: None }
    }

    /// Adds syslog.
    pub fn with_syslog(mut self, identity: &str, facility: Facility) -> Result<Self, SinkError> {
        let formatter = Formatter3164 {
            facility: code(facility),
            hostname: None,
            process: identity.to_owned(),
            pid: std::process::id(),
        };
        self.syslog = Some(syslog::unix(formatter).map_err(SinkError)?);
        Ok(self)
    }

    pub fn detach(&mut self) {
        self.stderr = false;
    }

    pub fn write(&mut self, level: Level, text: &str) {
        if self.stderr {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        if let Some(syslog) = &mut self.syslog {
            let _ = match level {
                Level::Error => syslog.err(text),
                Level::Warning => syslog.warning(text),
                Level::Info => syslog.info(text),
                Level::Debug => syslog.debug(text),
            };
        }
    }
}

fn code(facility: Facility) -> syslog::Facility {
    use syslog::Facility as Code;
    match facility {
        Facility::Daemon => Code::LOG_DAEMON,
        Facility::Local(0) => Code::LOG_LOCAL0,
        Facility::Local(1) => Code::LOG_LOCAL1,
        Facility::Local(2) => Code::LOG_LOCAL2,
        Facility::Local(3) => Code::LOG_LOCAL3,
        Facility::Local(4) => Code::LOG_LOCAL4,
        Facility::Local(5) => Code::LOG_LOCAL5,
        Facility::Local(6) => Code::LOG_LOCAL6,
        Facility::Local(_) => Code::LOG_LOCAL7,
    }
}
