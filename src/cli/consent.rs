//! How every command that changes something does it: it shows what it will do, asks, and only then acts. `--yes` does
//! not ask, `--dry-run` ends after showing; with `--json` what was done, or would be, is told as JSON as well.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};

use serde_json::{Map, Value, json};

/// The options of each command that changes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Consent {
    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
    /// Show what would be done, and end
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Tell what was done as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What a command is about to do: one line per step, as a person would say it ("write /etc/fwknop/users/alice.conf").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(Vec<String>);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// `--dry-run`: not a failure.
    #[error("nothing was changed")]
    DryRun,
    #[error("nothing was changed")]
    Declined,
    #[error("there is nobody to ask\n     look at it with --dry-run, and do it with --yes")]
    NoTerminal(#[source] io::Error),
    #[error("the plan cannot be shown")]
    Output(#[source] io::Error),
}

impl Plan {
    pub fn step(&mut self, what: impl Into<String>) -> &mut Self {
        self.0.push(what.into());
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

impl Consent {
    /// Shows `plan` on standard error, so that standard output stays for results, and returns once it may be done.
    /// The answer is read from the terminal: standard input may be where a key comes from.
    pub fn obtain(self, plan: &Plan) -> Result<(), NotDone> {
        write!(io::stderr(), "{plan}").map_err(NotDone::Output)?;
        match self {
            Consent { dry_run: true, json, .. } => {
                if json {
                    tell(plan, false, Map::new())?;
                }
                Err(NotDone::DryRun)
            }
            Consent { yes: true, .. } => Ok(()),
            _ => ask("Do this?"),
        }
    }

    /// Says on standard output that it was done, and what came of it: as JSON if that was asked for, else by these words.
    pub fn done(
        self,
        plan: &Plan,
        result: impl IntoIterator<Item = (&'static str, Value)>,
        words: &str,
    ) -> Result<(), NotDone> {
        if self.json {
            return tell(plan, true, result.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        }
        write!(io::stdout(), "{words}").map_err(NotDone::Output)
    }
}

/// For programs: the steps, whether they were taken, and what came of them.
fn tell(plan: &Plan, done: bool, result: Map<String, Value>) -> Result<(), NotDone> {
    let mut told = Map::from_iter([("done".to_owned(), json!(done)), ("steps".to_owned(), json!(plan.steps()))]);
    told.extend(result);
    writeln!(io::stdout(), "{}", Value::Object(told)).map_err(NotDone::Output)
}

/// A question that only an explicit yes answers.
pub fn ask(question: &str) -> Result<(), NotDone> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(NotDone::NoTerminal)?;
    write!(&terminal, "{question} [y/N] ").map_err(NotDone::NoTerminal)?;
    let mut answer = String::new();
    BufReader::new(&terminal).read_line(&mut answer).map_err(NotDone::NoTerminal)?;
    if is_yes(&answer) { Ok(()) } else { Err(NotDone::Declined) }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("n", false), ("yess", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }

    #[test]
    fn a_dry_run_ends_after_showing_and_yes_goes_on() {
        let mut plan = Plan::default();
        plan.step("write a file").step("import a key");
        assert_eq!(plan.to_string(), "  write a file\n  import a key\n");
        let dry = Consent { dry_run: true, ..Consent::default() };
        assert!(matches!(dry.obtain(&plan), Err(NotDone::DryRun)));
        assert!(Consent { yes: true, ..Consent::default() }.obtain(&plan).is_ok());
    }
}
