//! What acts here: runs programs, and speaks to the kernel and, through `firewalld.rs`, to firewalld.

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::backend::{Command, Element, Line, Output, Pass, Step, Verb};
use super::error::Error;
use super::firewalld::Way;
use super::iptables::{self, Sweep};
use super::kernel::Kernel;
use super::known::BackendName;
use super::listed::{Edit, Part};

/// Does what a back-end rendered.
pub trait Runner {
    /// Runs the steps in order and stops at the first that fails. Neighbouring changes of elements are one transaction:
    /// all of them or none.
    fn run(&mut self, steps: &[Step]) -> Result<Vec<Output>, Failed>;
}

/// A run that stopped.
#[derive(Debug)]
pub struct Failed {
    /// How many steps took effect, from the first.
    pub done: usize,
    pub error: Error,
}

/// Before anything took effect.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { done: 0, error }
    }
}

/// This machine.
pub struct System {
    /// Instead of the program a step names.
    program: Option<PathBuf>,
    /// How long a program may take.
    patience: Duration,
    kernel: Option<Kernel>,
}

impl System {
    pub fn new(program: Option<PathBuf>) -> Self {
        Self { program, patience: PATIENCE, kernel: None }
    }

    fn command(&self, command: &Command) -> Result<Output, Error> {
        // What else a step needs is not called like the firewall's own program.
        let exe = self.program.as_deref().filter(|_| owner(command.program).is_some());
        let program = find_program(&iptables::program(exe, command.program))?;
        let step = || Command { stdin: None, ..command.clone() }.to_string();
        let output = match output_of(&program, command, self.patience) {
            Ok(output) => output,
            Err(late) if late.kind() == io::ErrorKind::TimedOut => {
                let seconds = self.patience.as_secs();
                return Err(Error::Stuck { program: command.program, step: step(), seconds });
            }
            Err(source) => return Err(Error::Start { program: program.display().to_string(), source }),
        };
        if output.status.success() {
            return Ok(Output::Text(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        let said = match shorten(&String::from_utf8_lossy(&output.stderr)) {
            said if said.is_empty() => format!("nothing, but ended with {}", output.status),
            said => said,
        };
        Err(Error::Refused { program: command.program, step: step(), said })
    }

    /// All of the lines or none. What is said then is said of the line that was refused.
    pub(super) fn transaction(&self, lines: Vec<&Line>) -> Result<Vec<Output>, Error> {
        let command = iptables::transaction(&lines);
        match self.command(&command) {
            Ok(_) => Ok(vec![Output::Done; lines.len()]),
            Err(Error::Refused { program, said, .. }) => {
                let line = iptables::refused_line(&command, &said).unwrap_or_else(|| lines[0].to_string());
                Err(Error::Refused { program, step: line, said })
            }
            Err(error) => Err(error),
        }
    }

    /// Lists, and does what follows from that.
    fn edit(&self, edits: &[&Edit]) -> Result<Vec<Output>, Failed> {
        let mut done = 0;
        for Part { command, makes } in self.parts(edits)? {
            self.command(&command).map_err(|error| Failed { done, error })?;
            done += makes;
        }
        Ok(vec![Output::Done; edits.len()])
    }

    fn parts(&self, edits: &[&Edit]) -> Result<Vec<Part>, Error> {
        let Some(first) = edits.first() else { return Ok(Vec::new()) };
        let mut listing = String::new();
        for command in first.firewall.list() {
            if let Output::Text(text) = self.command(&command)? {
                listing.push_str(&text);
            }
        }
        first.firewall.commands(&listing, edits)
    }

    /// Looks the rules up and removes them by their numbers, if nobody has changed anything in between.
    fn sweep(&mut self, sweep: &Sweep) -> Result<Output, Error> {
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let number = self.kernel()?.generation()?;
            let places = sweep.places(&self.command(&sweep.list())?)?;
            match self.kernel()?.sweep(sweep, &places, number) {
                Err(changed) if changed.is_outdated() && tries > 0 => {}
                done => return done.map(Output::Made),
            }
        }
    }

    /// Opened at first use: a dry run needs no kernel.
    fn kernel(&mut self) -> Result<&mut Kernel, Error> {
        match &mut self.kernel {
            Some(kernel) => Ok(kernel),
            none => Ok(none.insert(Kernel::open()?)),
        }
    }
}

impl Runner for System {
    fn run(&mut self, steps: &[Step]) -> Result<Vec<Output>, Failed> {
        let mut outputs = Vec::with_capacity(steps.len());
        let mut firewalld = Way::default();
        while let Some(step) = steps.get(outputs.len()) {
            let changes = leading_changes(&steps[outputs.len()..]);
            let result = match step {
                Step::Edit(_) | Step::Pass(_) => {
                    let rest = &steps[outputs.len()..];
                    let several = match step {
                        Step::Edit(_) => self.edit(&leading_edits(rest)),
                        _ => self.passes(&mut firewalld, &leading_passes(rest)),
                    };
                    outputs.extend(several.map_err(|failed| Failed { done: outputs.len() + failed.done, ..failed })?);
                    continue;
                }
                Step::Command(command) => self.command(command).map(|output| vec![output]),
                Step::Line(_) => self.transaction(leading_lines(&steps[outputs.len()..])),
                Step::Sweep(sweep) => self.sweep(sweep).map(|output| vec![output]),
                Step::Generation => {
                    self.kernel().and_then(Kernel::generation).map(|number| vec![Output::Generation(number)])
                }
                Step::Handle(family, table) => {
                    self.kernel().and_then(|kernel| kernel.handle(*family, table)).map(|output| vec![output])
                }
                Step::Element(Verb::Get, element) => {
                    self.kernel().and_then(|kernel| kernel.get(element)).map(|output| vec![output])
                }
                Step::Element(..) => {
                    self.kernel().and_then(|kernel| kernel.change(&changes)).map(|()| vec![Output::Done; changes.len()])
                }
            };
            match result {
                Ok(more) => outputs.extend(more),
                Err(error) => return Err(Failed { done: outputs.len(), error }),
            }
        }
        Ok(outputs)
    }
}

/// How many transactions of the kernel's nf_tables these steps were, all of which succeeded.
pub fn transactions(steps: &[Step], outputs: &[Output]) -> u32 {
    let told = |output: &Output| if let Output::Made(count) = output { *count } else { 0 };
    let (mut rest, mut count) = (steps, outputs.iter().map(told).sum::<u32>());
    while let Some(step) = rest.first() {
        let together = match step {
            Step::Element(Verb::Add | Verb::Delete, _) => leading_changes(rest).len(),
            Step::Line(_) => leading_lines(rest).len(),
            _ => 1,
        };
        count += match step {
            Step::Generation | Step::Handle(..) | Step::Sweep(_) | Step::Element(Verb::Get, _) => 0,
            // What was passed on says so.
            Step::Pass(_) => 0,
            // A look of iptables.
            Step::Command(command) if command.args.iter().any(|arg| arg == "-C") => 0,
            _ => 1,
        };
        rest = &rest[together.max(1)..];
    }
    count
}

fn leading_changes(steps: &[Step]) -> Vec<(Verb, &Element)> {
    let change = |step| match step {
        &Step::Element(verb @ (Verb::Add | Verb::Delete), ref element) => Some((verb, element)),
        _ => None,
    };
    steps.iter().map_while(change).collect()
}

fn leading_edits(steps: &[Step]) -> Vec<&Edit> {
    let same = |first: &Edit, next: &Edit| next.is_for_the_same(first);
    leading(steps, |step| if let Step::Edit(edit) = step { Some(edit) } else { None }, same)
}

/// For one table, as many as are sent to iptables at once.
fn leading_passes(steps: &[Step]) -> Vec<&Pass> {
    let same = |first: &Pass, next: &Pass| next.place() == first.place();
    let mut passes = leading(steps, |step| if let Step::Pass(pass) = step { Some(pass) } else { None }, same);
    passes.truncate(iptables::AT_ONCE);
    passes
}

fn leading_lines(steps: &[Step]) -> Vec<&Line> {
    let same = |first: &Line, next: &Line| (next.program, &next.table) == (first.program, &first.table);
    let mut lines = leading(steps, |step| if let Step::Line(line) = step { Some(line) } else { None }, same);
    if lines.first().is_some_and(|first| first.bounded) {
        lines.truncate(iptables::AT_ONCE);
    }
    lines
}

/// Those of one kind that go together with the first.
fn leading<'a, T>(
    steps: &'a [Step],
    one: impl Fn(&'a Step) -> Option<&'a T>,
    together: impl Fn(&T, &T) -> bool,
) -> Vec<&'a T> {
    let Some(first) = steps.first().and_then(&one) else { return Vec::new() };
    steps.iter().map_while(&one).take_while(|next| together(first, next)).collect()
}

/// An absolute path. `PATH` of an ordinary user often lacks the directories where firewall tools are.
pub fn find_program(program: &Path) -> Result<PathBuf, Error> {
    if program.is_absolute() {
        return if program.is_file() { Ok(program.to_owned()) } else { Err(missing(program)) };
    }
    if program.components().count() != 1 {
        return Err(missing(program));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    // A relative directory would let whoever owns the working directory choose what root runs.
    directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| missing(program))
}

/// Tells where the program is to be had.
pub fn missing(program: &Path) -> Error {
    let name = program.to_string_lossy();
    let advice = match owner(&name) {
        _ if program.is_absolute() => "correct the path in FIREWALL_EXE".to_owned(),
        _ if program.components().count() != 1 => "write its absolute path to FIREWALL_EXE".to_owned(),
        Some(firewall) => format!("{}, or write its absolute path to FIREWALL_EXE", firewall.advice_when_missing()),
        None => "it belongs to the system: see why it is not in /sbin or /usr/sbin".to_owned(),
    };
    Error::Missing { program: name.into_owned(), advice }
}

/// The firewall that a program belongs to, or the helper of one.
fn owner(name: &str) -> Option<BackendName> {
    let bare = ["-restore", "-save"].into_iter().find_map(|verb| name.strip_suffix(verb)).unwrap_or(name);
    BackendName::of_program(bare)
}

/// Writes standard input while it reads all output, so that neither side waits for the other. A program that takes too
/// long is stopped, with all it started: the daemon must not become deaf because of it.
fn output_of(program: &Path, command: &Command, patience: Duration) -> io::Result<process::Output> {
    let mut child = process::Command::new(program)
        .args(&command.args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        // A Ctrl-C at the terminal ends the daemon, not its clean-up.
        .process_group(0)
        .stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        if let (Some(mut stdin), Some(text)) = (stdin, &command.stdin) {
            // A program that ends before it has read all tells why by its status.
            scope.spawn(move || stdin.write_all(text.as_bytes()));
        }
        // Nothing is ever sent: both readers hang up when they have read all.
        let (reading, both) = mpsc::channel::<()>();
        let also_reading = reading.clone();
        let stdout = scope.spawn(|| read_all(stdout, reading));
        let stderr = scope.spawn(|| read_all(stderr, also_reading));
        let late = both.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
        if late {
            // Not yet waited for, so the number is still its own.
            rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL)?;
        }
        let status = child.wait()?;
        let join = |reader: ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
            reader.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        };
        let output = process::Output { status, stdout: join(stdout)?, stderr: join(stderr)? };
        if late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(output) }
    })
}

fn read_all(from: Option<impl Read>, _until_done: Sender<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.map_or(Ok(0), |mut from| from.read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// The first lines of a complaint, on one line.
pub fn shorten(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('^'));
    let said: Vec<String> = lines.by_ref().take(3).map(|line| line.chars().take(200).collect()).collect();
    said.join("; ")
}

/// Somebody who changes the ruleset all the time must not hold us up.
const TRIES: u32 = 3;

/// nft reads 10,000 elements in a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::{Kind, Spot};

    fn run(program: &str, command: Command) -> Result<Output, Error> {
        System::new(Some(PathBuf::from(program))).command(&command)
    }

    #[test]
    fn a_program_gets_arguments_and_input_untouched() {
        let echo = run("/bin/echo", Command::new("echo", ["$HOME", "a b", ";"]));
        assert_eq!(echo.unwrap(), Output::Text("$HOME a b ;\n".to_owned()));
        let text = "0123456789abcdef".repeat(64 * 1024); // more than two pipes hold
        let cat = run("/bin/cat", Command::new("cat", ["-"; 1]).with_stdin(text.clone()));
        assert!(cat.unwrap() == Output::Text(text));
    }

    #[test]
    fn programs_see_almost_no_environment() {
        let Output::Text(text) = run("/usr/bin/env", Command::new("env", [""; 0])).unwrap() else { panic!() };
        let mut names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["LC_ALL", "PATH"]);
    }

    #[test]
    fn a_failing_program_is_quoted() {
        let error = run("/bin/cat", Command::new("nft", ["/no/such/file"])).unwrap_err().to_string();
        assert!(error.starts_with("nft refused 'nft /no/such/file': "), "{error}");
        assert!(error.contains("No such file or directory"), "{error}");
        let silent = run("/bin/false", Command::new("nft", [""; 0])).unwrap_err().to_string();
        assert!(silent.contains("exit status: 1"), "{silent}");
    }

    #[test]
    fn a_program_that_hangs_is_stopped_with_all_it_started() {
        let system = System { patience: Duration::from_millis(200), ..System::new(Some("/bin/sh".into())) };
        let start = std::time::Instant::now();
        let error = system.command(&Command::new("nft", ["-c", "sleep 60; true"])).unwrap_err();
        assert!(matches!(error, Error::Stuck { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30), "waited for the sleep");
    }

    #[test]
    fn a_missing_program_says_what_to_do() {
        let error = find_program(Path::new("nft-that-nobody-has")).unwrap_err().to_string();
        assert!(error.contains("/usr/sbin"), "{error}");
        let error = find_program(Path::new("/no/nft")).unwrap_err().to_string();
        assert!(error.contains("correct the path in FIREWALL_EXE"), "{error}");
        let error = find_program(Path::new("bin/nft")).unwrap_err().to_string();
        assert!(error.contains("absolute path"), "{error}");
    }

    #[test]
    fn only_neighbouring_changes_are_one_transaction() {
        let element = Element {
            family: super::super::Family::Ip,
            table: "t".parse().unwrap(),
            set: "s".to_owned(),
            spot: Spot {
                kind: Kind::Input,
                address: [192, 0, 2, 1].into(),
                peer: None,
                service: Some("tcp/22".parse().unwrap()),
            },
            to: None,
            timeout: None,
            comment: None,
        };
        let steps = [
            Step::Element(Verb::Delete, element.clone()),
            Step::Element(Verb::Add, element.clone()),
            Step::Element(Verb::Get, element.clone()),
            Step::Element(Verb::Add, element),
        ];
        assert_eq!(transactions(&steps, &[]), 2, "a question is none");
        assert_eq!(transactions(&steps, &[Output::Done, Output::Made(3)]), 5);
        assert_eq!(leading_changes(&steps).len(), 2);
        assert!(leading_changes(&steps[2..]).is_empty());
    }
}
