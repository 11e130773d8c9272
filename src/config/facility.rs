//! The syslog facilities the original knows.

use std::str::FromStr;

/// `LOG_DAEMON`, `LOG_LOCAL0` to `LOG_LOCAL7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Facility {
    #[default]
    Daemon,
    /// 0 to 7.
    Local(u8),
}

impl FromStr for Facility {
    type Err = UnknownFacility;

    fn from_str(text: &str) -> Result<Self, UnknownFacility> {
        match text.strip_prefix("LOG_LOCAL").map(str::as_bytes) {
            Some([digit @ b'0'..=b'7']) => Ok(Self::Local(digit - b'0')),
            None if text == "LOG_DAEMON" => Ok(Self::Daemon),
            _ => Err(UnknownFacility),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not LOG_DAEMON or LOG_LOCAL0 to LOG_LOCAL7")]
pub struct UnknownFacility;
