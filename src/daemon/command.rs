//! Runs a command, of a message or of a cycle: never by a shell, under the user its stanza names, for a limited time, and with nothing of
//! ours but a few variables that say who asked for it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::crypto::Signer;
use crate::grant::{Errand, RunAs, Task};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub after: Duration,
    /// It was told to end.
    pub late: bool,
    /// Both streams, as they came, up to [`OUTPUT`] bytes.
    pub said: Vec<u8>,
    /// How many more there were.
    pub unsaid: u64,
}

/// Why there was none.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {program}")]
pub struct Error {
    program: String,
    #[source]
    source: io::Error,
}

/// Takes as long as the command does, up to its timeout and a little more.
pub fn run(errand: &Errand, words: &[Vec<u8>]) -> Result<Ended, Error> {
    let mut command = command(words, &errand.run_as);
    command.env_clear().envs(environment(errand));
    let failed = |source| Error { program: command_name(words), source };
    let (reader, writer) = io::pipe().map_err(failed)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK).map_err(|errno| failed(errno.into()))?;
    command.stdin(Stdio::null()).stderr(writer.try_clone().map_err(failed)?).stdout(writer);
    let child = command.spawn().map_err(failed)?;
    // With it go our ends of what the command writes to.
    drop(command);
    Watch::new(child, reader).and_then(|watch| watch.until_end(errand.run_as.timeout)).map_err(failed)
}

fn command(words: &[Vec<u8>], run_as: &RunAs) -> Command {
    let mut words = words.iter().map(|word| OsString::from_vec(word.clone()));
    let mut command = match &run_as.sudo {
        None => Command::new(words.next().unwrap_or_default()),
        Some(sudo) => {
            let mut command = Command::new(&sudo.program);
            // Nobody is there to be asked; and no word of a stranger is an option of sudo.
            command.arg("-n");
            for (option, name) in [("-u", &sudo.user), ("-g", &sudo.group)] {
                command.args(name.iter().flat_map(|name| [option, name]));
            }
            command.arg("--");
            command
        }
    };
    command.args(words).current_dir("/").process_group(0);
    // Setting the user takes all further groups away.
    if let Some(gid) = run_as.group.as_ref().or(run_as.user.as_ref()).map(|account| account.gid) {
        command.gid(gid);
    }
    if let Some(user) = &run_as.user {
        command.uid(user.id);
    }
    command
}

/// Who asked, from where, and when. All of it was authenticated, but for the source of the packet.
fn environment(errand: &Errand) -> Vec<(&'static str, String)> {
    let knock = &errand.knock;
    let mut variables = vec![
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("LC_ALL", "C".to_owned()),
        ("FWKNOP_ID", errand.id.to_string()),
        ("FWKNOP_STANZA", knock.stanza.to_string()),
        ("FWKNOP_USER", knock.user.clone()),
        ("FWKNOP_SRC", knock.origin.src.to_string()),
        ("FWKNOP_ALLOW", errand.allow.to_string()),
        ("FWKNOP_TIME", errand.stamped.to_string()),
    ];
    variables.extend(knock.origin.dst.map(|dst| ("FWKNOP_DST", dst.to_string())));
    if let Task::Cycle { half, ports, lifetime, until, .. } = &errand.task {
        variables.extend([
            ("FWKNOP_CYCLE", half.to_string()),
            ("FWKNOP_PORTS", ports.to_string()),
            ("FWKNOP_TIMEOUT", lifetime.secs().to_string()),
            ("FWKNOP_UNTIL", until.to_string()),
        ]);
    }
    if let Signer::Certificate { primary, user_id, .. } = &knock.signer {
        variables.push(("FWKNOP_SIGNER", primary.to_string()));
        // A NUL would make it no variable at all.
        variables.extend(user_id.as_ref().map(|name| ("FWKNOP_SIGNER_UID", name.replace('\0', "?"))));
    }
    variables
}

fn command_name(words: &[Vec<u8>]) -> String {
    words.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
}

/// A command that runs.
struct Watch {
    child: Child,
    /// Readable when it has ended. Until it is waited for, its number is its own.
    handle: OwnedFd,
    /// What it says. `None`: it says no more.
    from: Option<io::PipeReader>,
    said: Vec<u8>,
    unsaid: u64,
}

impl Watch {
    fn new(child: Child, from: io::PipeReader) -> io::Result<Self> {
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child, handle, from: Some(from), said: Vec::new(), unsaid: 0 })
    }

    /// Waits for the end, or makes it: first asks, then insists, and then of all that belongs to the command.
    fn until_end(mut self, timeout: Duration) -> io::Result<Ended> {
        let begun = Instant::now();
        let mut late = None;
        let mut end = begun + timeout;
        let mut measures = [Signal::TERM, Signal::KILL].into_iter();
        while !self.ended_before(end)? {
            late.get_or_insert_with(|| begun.elapsed());
            let signal = measures.next().unwrap_or(Signal::KILL);
            self.signal(signal);
            end = Instant::now() + GRACE;
        }
        if late.is_some() {
            self.signal(Signal::KILL);
        }
        // What it left behind may go on talking, and is not waited for.
        for _ in 0..OUTPUT / CHUNK {
            if !self.hear() {
                break;
            }
        }
        let status = self.child.wait()?;
        Ok(Ended { status, after: begun.elapsed(), late: late.is_some(), said: self.said, unsaid: self.unsaid })
    }

    fn signal(&self, signal: Signal) {
        // It may have no processes left but the one that waits for us.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// `false`: it goes on at that time. What it says meanwhile is taken in, however much it is.
    fn ended_before(&mut self, end: Instant) -> io::Result<bool> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let mut fds = vec![PollFd::new(&self.handle, PollFlags::IN)];
            fds.extend(self.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN)));
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Err(Errno::INTR) => continue,
                polled => polled?,
            };
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return Ok(true);
            }
            if ready.get(1) == Some(&true) {
                self.hear();
            }
        }
    }

    /// Takes in what there is, and keeps the beginning. `false`: there was nothing.
    fn hear(&mut self) -> bool {
        let Some(from) = &mut self.from else { return false };
        let mut chunk = [0; CHUNK];
        match from.read(&mut chunk) {
            Ok(0) => self.from = None,
            Ok(length) => {
                let kept = (OUTPUT - self.said.len()).min(length);
                self.said.extend_from_slice(&chunk[..kept]);
                self.unsaid += (length - kept) as u64;
                return true;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.from = None,
        }
        false
    }
}

impl Ended {
    /// As the journal has it: `status=0`, `signal=15`.
    pub fn outcome(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("status={code}"),
            (None, Some(signal)) => format!("signal={signal}"),
            (None, None) => "status=unknown".to_owned(),
        }
    }
}

/// So much of what a command says is kept.
const OUTPUT: usize = 4096;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(3);
/// What is read at once.
const CHUNK: usize = 1024;
