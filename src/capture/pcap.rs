//! libpcap: a device, or a savefile.
//!
//! A device is opened in immediate mode, so a knock is seen in microseconds and not when a buffer fills, and never
//! blocks: the loop polls the descriptor and then drains it. The descriptor is closed when a program is started; the
//! original's commands inherit it (`spec/server.md` 11).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use pcap::{Active, Capture, Direction, Linktype, Offline};
use rustix::io::FdFlags;

use super::frame::{self, Link};
use super::{Error, Received, Source, filter};

/// What to capture, and how (`spec/server.md` 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// An interface, or `any`.
    pub device: String,
    /// pcap-filter(7); empty means everything.
    pub filter: String,
    /// Bytes of each IP packet. Room for the link header is added: in the original `MAX_SNIFF_BYTES` includes it,
    /// so its default loses the longest packets an Ethernet can carry (`spec/wire.md` 8.4).
    pub snaplen: u32,
    pub promiscuous: bool,
    /// Also what the device sends.
    pub any_direction: bool,
}

/// Frames from libpcap, decoded.
pub struct PcapSource {
    handle: Handle,
    link: Link,
    /// The device, or the path of the savefile: for messages.
    name: String,
}

enum Handle {
    Device(Capture<Active>),
    Savefile(Capture<Offline>),
}

impl PcapSource {
    /// Opens a device. From here on packets wait in the kernel's buffer, so privileges can be dropped next.
    pub fn open(options: &DeviceOptions) -> Result<Self, Error> {
        let device = options.device.as_str();
        let failed = |error| refused(device, error);
        let snaplen = options.snaplen.saturating_add(LINK_ROOM).min(MAX_SNAPLEN);
        let mut capture = Capture::from_device(device)
            .map_err(failed)?
            .snaplen(snaplen.cast_signed())
            // `any` cannot be promiscuous; libpcap's warning about it would count as an error.
            .promisc(options.promiscuous && device != "any")
            .immediate_mode(true)
            .open()
            .map_err(failed)?;
        rustix::io::fcntl_setfd(&capture, FdFlags::CLOEXEC)
            .map_err(|error| Error::Device { device: device.into(), said: error.to_string() })?;
        let link = readable(device, capture.get_datalink())?;
        // On a BSD loopback link everything goes both ways; on Linux "in" sees each packet of `lo` once.
        if !options.any_direction && link != Link::Loopback {
            capture.direction(Direction::In).map_err(failed)?;
        }
        set_filter(&mut capture, &options.filter)?;
        let capture = capture.setnonblock().map_err(failed)?;
        Ok(Self { handle: Handle::Device(capture), link, name: device.into() })
    }

    /// Opens a savefile, pcap or pcapng; `-` is standard input. It ends with [`Received::End`].
    pub fn savefile(path: &Path, filter: &str) -> Result<Self, Error> {
        let name = path.display().to_string();
        if path.to_str().is_none() {
            return Err(Error::Savefile { path: name, said: "its name is not UTF-8".into() });
        }
        let mut capture = Capture::from_file(path)
            .map_err(|error| Error::Savefile { said: without_path(&error, &name), path: name.clone() })?;
        let link = readable(&name, capture.get_datalink())?;
        set_filter(&mut capture, filter)?;
        Ok(Self { handle: Handle::Savefile(capture), link, name })
    }

    /// The device, or the path of the savefile.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel counted since the start. `None` for a savefile, or if it does not tell.
    pub fn statistics(&mut self) -> Option<Statistics> {
        let Handle::Device(capture) = &mut self.handle else { return None };
        let seen = capture.stats().ok()?;
        Some(Statistics { received: seen.received, dropped: seen.dropped })
    }
}

/// Frames that passed the filter, and those of them lost because we were too slow. The counters may wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    pub received: u32,
    pub dropped: u32,
}

impl Source for PcapSource {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.handle {
            Handle::Device(capture) => Some(capture.as_fd()),
            Handle::Savefile(_) => None,
        }
    }

    /// Takes one frame off the buffer. After an error there is nothing more to poll for: the source is dead.
    fn next(&mut self) -> Result<Received, Error> {
        let packet = match &mut self.handle {
            Handle::Device(capture) => capture.next_packet(),
            Handle::Savefile(capture) => capture.next_packet(),
        };
        match packet {
            Ok(packet) => Ok(frame::decode(self.link, packet.data).map_or(Received::Skipped, Received::Datagram)),
            Err(pcap::Error::TimeoutExpired) => Ok(Received::Nothing),
            Err(pcap::Error::NoMorePackets) => Ok(Received::End),
            Err(error) => Err(self.broken(&error)),
        }
    }
}

impl PcapSource {
    fn broken(&self, error: &pcap::Error) -> Error {
        let said = error.to_string();
        match self.handle {
            Handle::Savefile(_) => Error::Savefile { said: without_path(error, &self.name), path: self.name.clone() },
            // libpcap has no number for these, only its words.
            Handle::Device(_) if said.contains("disappeared") => Error::Vanished { device: self.name.clone() },
            Handle::Device(_) if said.contains("went down") => Error::Down { device: self.name.clone() },
            Handle::Device(_) => Error::Device { device: self.name.clone(), said },
        }
    }
}

/// Why a device could not be opened.
fn refused(device: &str, error: pcap::Error) -> Error {
    let (device, said) = (device.to_owned(), error.to_string());
    if said.contains("No such device") {
        Error::NoDevice { device }
    } else if said.contains("not up") {
        Error::Down { device }
    } else if said.contains("not permitted") || said.contains("ermission") {
        Error::NotPermitted { device }
    } else {
        Error::Device { device, said }
    }
}

fn readable(name: &str, link: Linktype) -> Result<Link, Error> {
    Link::from_datalink(link.0).ok_or_else(|| Error::LinkType {
        name: name.into(),
        link: link.get_name().unwrap_or_else(|_| format!("number {}", link.0)),
    })
}

/// The dead capture inside `check_for` gives the clearer error, and it gives it before the device is touched.
fn set_filter<T: pcap::Activated>(capture: &mut Capture<T>, text: &str) -> Result<(), Error> {
    filter::check_for(text, capture.get_datalink())?;
    capture.filter(text, true).map_err(|error| Error::Filter { filter: text.into(), said: error.to_string() })
}

/// libpcap begins some of its messages with the path, which ours already names.
fn without_path(error: &pcap::Error, path: &str) -> String {
    let said = error.to_string();
    let rest = said.split_once(path).and_then(|(_, rest)| rest.strip_prefix(": "));
    rest.unwrap_or(&said).to_owned()
}

/// The longest link header we read: Ethernet, two tags, PPPoE.
const LINK_ROOM: u32 = 14 + 8 + 8;

/// More than any packet; libpcap's own limit.
const MAX_SNAPLEN: u32 = 262_144;
