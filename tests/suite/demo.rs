//! `make demo` itself, with the programs under test.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::peers::{Maker, bounded, said};

#[test]
fn the_demo_shows_what_it_promises_within_a_minute() {
    let programs = Path::new(Maker::Ours.daemon()).parent().expect("a directory");
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/demo/run"));
    command.arg(programs);
    let output = bounded(command, Duration::from_secs(60));
    let text = said(&output);
    assert!(output.status.success(), "{}\n{text}", output.status);
    for promise in [
        "22/tcp is filtered",
        "22/tcp is open",
        "the journal says who: Alice's key",
        "reason=expired",
        "the same packet again, from the wire",
        "reason=replay",
        "a knock signed by a stranger",
        "a knock with a guessed key",
        "the daemon ends and leaves nothing behind",
    ] {
        assert!(text.contains(promise), "nothing of {promise:?} in:\n{text}");
    }
}
