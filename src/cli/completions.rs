//! Shell completions of both programs. The script that a shell loads asks the program itself for each completion, so that
//! what it offers is what is there: options, subcommands, names of stanzas, fingerprints.

use std::ffi::OsString;

use clap::ValueEnum;
use clap_complete::env::{CompleteEnv, EnvCompleter as _};
use clap_complete::{ArgValueCandidates, CompletionCandidate};

/// For whom there is a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Answers and ends the program if a shell is asking. Comes first: nothing else must have been printed.
pub fn answer(definition: impl Fn() -> clap::Command) {
    CompleteEnv::with_factory(definition).var(VARIABLE).complete();
}

/// What the shell loads, for instance with `source <(fwknop completions bash)`.
pub fn script(shell: Shell, program: &str) -> String {
    use clap_complete::env::{Bash, Fish, Zsh};
    let mut script = Vec::new();
    let written = match shell {
        Shell::Bash => Bash.write_registration(VARIABLE, program, program, program, &mut script),
        Shell::Zsh => Zsh.write_registration(VARIABLE, program, program, program, &mut script),
        Shell::Fish => Fish.write_registration(VARIABLE, program, program, program, &mut script),
    };
    // Memory takes all that is written, and it is text.
    written.ok().and_then(|()| String::from_utf8(script).ok()).unwrap_or_default()
}

/// Values that are looked up when they are asked for, each with what it stands for.
pub fn values(values: impl Fn() -> Vec<(String, String)> + Send + Sync + 'static) -> ArgValueCandidates {
    let candidate = |(value, help): (String, String)| {
        CompletionCandidate::new(OsString::from(value)).help((!help.is_empty()).then(|| help.into()))
    };
    ArgValueCandidates::new(move || values().into_iter().map(candidate).collect())
}

/// Set by the script when it asks. Not the usual `COMPLETE`, which somebody may have set for something else.
const VARIABLE: &str = "_FWKNOP_COMPLETE";
