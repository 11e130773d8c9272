//! Every byte of a frame is a stranger's. The first byte chooses the link type, the rest is the frame.
#![no_main]

use fwknop::capture::frame::{Link, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, frame)) = data.split_first() else { return };
    let link = Link::ALL[usize::from(*choice) % Link::ALL.len()];
    if let Ok(datagram) = decode(link, frame) {
        assert!(!datagram.payload.is_empty(), "a datagram without payload");
        assert!(datagram.payload.len() < frame.len(), "a payload from nowhere");
        assert!(datagram.origin.dst.is_some(), "a captured datagram without destination");
    }
});
