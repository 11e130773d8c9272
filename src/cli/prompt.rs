//! Secrets typed at the controlling terminal, whatever standard input is.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

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
    let interrupts_end_us = interrupts_end_us()?;
    let config = ConfigBuilder::new().password_feedback_hide().build();
    interrupts_end_us.store(false, Ordering::SeqCst);
    let answer = rpassword::prompt_password_with_config(prompt, config);
    interrupts_end_us.store(true, Ordering::SeqCst);
    answer.map(Secret::new).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::UnexpectedEof => PromptError::Stopped,
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => PromptError::NoTerminal(error),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => PromptError::NoTerminal(error),
        _ => PromptError::Terminal(error),
    })
}

/// On Ctrl-C the prompt raises SIGINT while the terminal is still silent. The signal is held back until the terminal has
/// its echo again; at all other times it ends the program as usual.
fn interrupts_end_us() -> Result<Arc<AtomicBool>, PromptError> {
    static SWITCH: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(switch) = SWITCH.get() {
        return Ok(switch.clone());
    }
    let switch = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(SIGINT, switch.clone()).map_err(PromptError::Terminal)?;
    Ok(SWITCH.get_or_init(|| switch).clone())
}
