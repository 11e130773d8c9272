//! Where journal lines go: the terminal, syslog, or both (`spec/server.md` 9).

use std::io::Write as _;

use super::Level;
use crate::daemon::syslog::Syslog;

/// A destination for lines. One that fails is passed over: a full log must not stop a knock.
pub struct Sink {
    stderr: bool,
    syslog: Option<Syslog>,
}

impl Sink {
    pub fn stderr() -> Self {
        Self { stderr: true, syslog: None }
    }

    /// Adds syslog.
    pub fn with_syslog(mut self, syslog: Syslog) -> Self {
        self.syslog = Some(syslog);
        self
    }

    pub fn detach(&mut self) {
        self.stderr = false;
    }

    pub fn write(&mut self, level: Level, text: &str) {
        if self.stderr {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        if let Some(syslog) = &mut self.syslog {
            syslog.write(level, text);
        }
    }
}
