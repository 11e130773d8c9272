//! Signals as something to poll: a pipe that becomes readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Stop { signal: &'static str },
    Reload,
}

/// Installed handlers.
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    pub fn install() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        // USR1 and USR2 are caught only so that they do not end us.
        let caught = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2];
        SignalDelivery::with_pipe(read, write, SignalOnly, caught).map(Self)
    }

    /// What came in since the last call. A request to stop wins over a reload.
    pub fn asked(&mut self) -> Option<Asked> {
        let mut asked = None;
        for signal in self.0.pending() {
            asked = match (signal, asked) {
                (_, Some(Asked::Stop { signal })) => Some(Asked::Stop { signal }),
                (SIGTERM, _) => Some(Asked::Stop { signal: "SIGTERM" }),
                (SIGINT, _) => Some(Asked::Stop { signal: "SIGINT" }),
                (SIGHUP, _) => Some(Asked::Reload),
                (_, asked) => asked,
            };
        }
        asked
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}
