//! Talking to the running daemon: by signals to its process, as the original does, and through its control socket.

mod answer;
pub mod ask;
pub mod process;
pub mod protocol;
pub mod socket;
