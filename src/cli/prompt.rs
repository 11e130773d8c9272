//! Secrets typed at the controlling terminal, whatever standard input is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpassword::ConfigBuilder;
use signal_hook::consts::SIGINT;

use crate::secret::Secret;

#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    #[error("there is no terminal to ask for it")]
    NoTerminal(#[source] io::Error),
    #[error("stopped")]
    Stopped,
    #[error("the terminal cannot be read")]
    Terminal(#[source] io::Error),
}

/// Shows `prompt` and reads a line without echo. Backspace and Ctrl-U edit it; Ctrl-C and Ctrl-D stop.
pub fn secret(prompt: &str) -> Result<Secret<String>, PromptError> {
    // On Ctrl-C the prompt raises SIGINT while the terminal is still silent. It is held back here, so that the terminal
    // gets its echo back before we end.
    let prompting_is_over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_default(SIGINT, prompting_is_over.clone())
        .map_err(PromptError::Terminal)?;
    let config = ConfigBuilder::new().password_feedback_hide().build();
    let answer = rpassword::prompt_password_with_config(prompt, config);
    prompting_is_over.store(true, Ordering::SeqCst);
    answer.map(Secret::new).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => PromptError::Stopped,
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => PromptError::NoTerminal(error),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => PromptError::NoTerminal(error),
        _ => PromptError::Terminal(error),
    })
}
