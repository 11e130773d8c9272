//! Shell completions, as the shells ask for them.

use super::{PROGRAM, Run, User, run};
use crate::support::gpg::keys;

fn user() -> User {
    let user = User::new(&[&keys().client_ed25519], &[&keys().server_cv25519]);
    user.file(".fwknoprc", "[gate]\nSPA_SERVER x\nKEY secret\n[office]\nSPA_SERVER y\nKEY secret\n");
    user
}

#[test]
fn bash_completes_words_names_and_fingerprints() {
    let user = user();
    let server = &keys().server_cv25519.fingerprint;
    let script = "source <(\"$PROGRAM\" completions bash)\n\
        fwknop() { \"$PROGRAM\" \"$@\"; }\n\
        try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMPREPLY=()\n\
            _clap_complete_fwknop fwknop \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"\n\
            echo \"${COMPREPLY[*]}\"; }\n\
        try fwknop -n ''\ntry fwknop -n o\ntry fwknop ser\ntry fwknop key ''\ntry fwknop server remove g\n\
        try fwknop --gpg-recip\ntry fwknop key remove \"${SERVER:0:6}\"\ntry fwknop key list --server ''\n";
    let mut command = user.command("bash");
    let done = run(command.env("PROGRAM", PROGRAM).env("SERVER", server).args(["--norc", "-c", script]), "");
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(
        lines[..6],
        ["gate office", "office", "server", lines[3], "gate", "--gpg-recipient-key"],
        "{}{}",
        done.out,
        done.err
    );
    for verb in ["list", "generate", "export", "import", "remove", "check", "qr"] {
        assert!(lines[3].split(' ').any(|word| word == verb), "{}", lines[3]);
    }
    assert_eq!(lines[6..], [server.as_str(), "gate office"]);
}

/// The other shells need not be here: their scripts call the program like this.
#[test]
fn zsh_and_fish_are_answered() {
    let user = user();
    let ask = |shell: &str, words: &[&str]| -> Run {
        let mut command = user.command(PROGRAM);
        command.env("_FWKNOP_COMPLETE", shell).env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        run(command.env("_CLAP_IFS", "\n").arg("--").args(words), "")
    };
    let server = &keys().server_cv25519.fingerprint;
    for shell in ["zsh", "fish"] {
        let script = user.run(&["completions", shell]);
        assert_eq!(script.code, Some(0));
        assert!(script.out.contains("_FWKNOP_COMPLETE") && script.out.contains("fwknop"), "{}", script.out);
        let names = ask(shell, &["fwknop", "server", "remove", ""]);
        assert!(names.out.contains("gate") && names.out.contains("office"), "{shell}: {}{}", names.out, names.err);
        let keys = ask(shell, &["fwknop", "key", "export", ""]);
        assert!(keys.out.contains(server) && keys.out.contains("server-cv25519@example.org"), "{shell}: {}", keys.out);
    }
}

#[test]
fn a_run_without_the_question_is_no_completion() {
    let user = user();
    let mut command = user.command(PROGRAM);
    // A variable that others use for the same.
    let done = run(command.env("COMPLETE", "bash").args(["--stanza-list"]), "");
    assert!(done.out.contains(" - gate\n"), "{}", done.out);
}
