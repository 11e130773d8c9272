//! Why gpg-agent did not do what was asked. Each says what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("gpg-agent of {} cannot be reached\n     start it with: gpgconf --homedir {} --launch gpg-agent", home.display(), home.display())]
    NotRunning {
        home: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("gpg-agent of {} cannot be started: gpgconf {problem}\n     install GnuPG, or start the agent with: gpg-agent --homedir {} --daemon", home.display(), home.display())]
    NotStarted { home: PathBuf, problem: String },
    #[error("the socket {} belongs to user {owner}, who is neither root nor you\n     remove it, and see who made it", socket.display())]
    Foreign { socket: PathBuf, owner: u32 },
    /// It ended, or was restarted. Worth one more try.
    #[error("gpg-agent has gone away in the middle of the work\n     see whether it runs: gpg-connect-agent /bye")]
    Gone(#[source] io::Error),
    #[error("gpg-agent has not answered for {} seconds\n     end it with: gpgconf --kill gpg-agent; it starts again by itself", after.as_secs_f32().ceil())]
    Silent { after: Duration },
    #[error(
        "what answers in place of gpg-agent cannot be understood: {0}\n     end it with: gpgconf --kill gpg-agent; it starts again by itself"
    )]
    Garbled(&'static str),
    #[error("gpg-agent cannot do this with a key of this kind\n     use a key with RSA, Curve25519 or a NIST curve")]
    Unsupported,
    #[error("the message was not encrypted to this key")]
    NotForUs,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Error {
    /// Whether it says something about the agent, and not about a message that anybody can have made.
    pub fn is_trouble(&self) -> bool {
        !matches!(self, Error::NotForUs | Error::Unsupported | Error::Refused(Refusal::Other { .. }))
    }

    /// Whether no key of the agent can be used, and not only this one.
    pub fn is_about_agent(&self) -> bool {
        !matches!(self, Error::NotForUs | Error::Unsupported | Error::Refused(_))
    }

    /// For what concerns a key on a card: what an agent says that has been told to leave cards alone.
    pub(super) fn about_card(self) -> Self {
        const NOT_SUPPORTED: u16 = 60;
        match self {
            Error::Refused(Refusal::Other { code: NOT_SUPPORTED, .. }) => Error::Refused(Refusal::NoCardProgram),
            other => other,
        }
    }

    /// What GnuPG says of a key on a card, by its number for it.
    pub(in crate::crypto::openpgp) fn of_card(number: u32, said: &str) -> Self {
        Error::Refused(Refusal::from_number(number, said)).about_card()
    }

    /// Whether the right passphrase, or somebody to ask for it, is what was missing.
    pub fn is_about_passphrase(&self) -> bool {
        use Refusal::*;
        matches!(self, Error::Refused(Cancelled | NoPinentry | BadPassphrase | NoPassphrase | NoLoopback))
    }
}

/// The agent understood, and did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the passphrase was not entered\n     enter it when gpg-agent asks")]
    Cancelled,
    #[error(
        "gpg-agent cannot ask for the passphrase\n     install a pinentry, or run from a terminal with GPG_TTY set: export GPG_TTY=$(tty)"
    )]
    NoPinentry,
    #[error("the passphrase is wrong\n     give the right one")]
    BadPassphrase,
    #[error("the key has a passphrase, and none is given\n     give it, or let gpg-agent ask for it")]
    NoPassphrase,
    #[error(
        "gpg-agent takes passphrases only from its own dialog\n     take no-allow-loopback-pinentry out of gpg-agent.conf"
    )]
    NoLoopback,
    #[error(
        "gpg-agent does not have the secret key\n     import it with: gpg --import FILE; list what is there with: gpg --list-secret-keys"
    )]
    NoSuchKey,
    #[error(
        "the secret key is on a card, and the card is not there\n     insert it; gpg --card-status shows what is seen"
    )]
    NoCard,
    #[error(
        "another card is in the reader than the one with the secret key\n     insert that one; gpg --card-status shows what is seen"
    )]
    WrongCard,
    #[error(
        "the secret key is on a card, and gpg-agent does not use cards here\n     install scdaemon, and take disable-scdaemon out of gpg-agent.conf"
    )]
    NoCardProgram,
    #[error(
        "the card's PIN is wrong\n     a few wrong ones block the card: gpg --card-status shows how many tries are left"
    )]
    BadPin,
    #[error(
        "the card's PIN is blocked after too many wrong ones\n     unblock it with: gpg --card-edit, then admin and passwd"
    )]
    PinBlocked,
    #[error(
        "gpg-agent could not do it: {said} (code {code})\n     its own log may say more: set log-file in gpg-agent.conf"
    )]
    Other { code: u16, said: String },
}

impl Refusal {
    /// From a line `ERR <number> <words> <origin>`.
    pub(super) fn from_line(rest: &str) -> Option<Self> {
        let (number, words) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Self::from_number(number.parse().ok()?, words.split(" <").next().unwrap_or_default()))
    }

    /// Only the lower half of the number counts: the rest says whose error it is.
    fn from_number(number: u32, said: &str) -> Self {
        let code = (number & 0xffff) as u16;
        match code {
            11 => Refusal::BadPassphrase,
            177 => Refusal::NoPassphrase,
            // Canceled, fully canceled, not confirmed, time-out of the dialog, canceled by us.
            99 | 198 | 114 | 62 | 277 => Refusal::Cancelled,
            // No pinentry, or one that ends at once; ENOTTY, ENXIO and EPIPE.
            85 | 86 | 259 | 16_383 | 32_870 | 32_872 | 32_877 => Refusal::NoPinentry,
            // No secret key, not found, ENOENT.
            17 | 27 | 32_849 => Refusal::NoSuchKey,
            // Card removed or not there, no reader.
            110 | 112 | 32_848 => Refusal::NoCard,
            119 | 120 => Refusal::NoCardProgram,
            91 => Refusal::WrongCard,
            87 => Refusal::BadPin,
            130 => Refusal::PinBlocked,
            _ => Refusal::Other { code, said: said.to_owned() },
        }
    }
}
