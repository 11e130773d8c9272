//! Where packets come from, as the configuration says: opened at start, exchanged by a reload, opened again when an
//! interface comes back.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::event::PollFlags;

use super::journal::{Journal, Level};
use super::twins::Twins;
use crate::capture::pcap::{DeviceOptions, PcapSource};
use crate::capture::tcp::TcpSource;
use crate::capture::udp::UdpSource;
use crate::capture::{Error, Received, Source as _};
use crate::config::{CaptureFrom, CaptureSettings};
use crate::net::Proto;

/// All sources, in the order of the configuration.
#[derive(Default)]
pub struct Sources {
    open: Vec<Open>,
    /// Interfaces that went away, and may come back.
    missing: Vec<Place>,
    twins: Twins,
}

struct Open {
    place: Place,
    input: Input,
    /// How often in a row its socket reported an error, and gave nothing.
    errors: u8,
}

/// What a source is built from, and nothing else: one that stays the same is never reopened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Device(DeviceOptions),
    Savefile { path: PathBuf, filter: String },
    Udp { port: u16 },
    Tcp { port: u16 },
}

enum Input {
    Pcap(PcapSource),
    Udp(UdpSource),
    Tcp(TcpSource),
}

impl Sources {
    /// Opens what is configured and closes what no longer is; what stays the same goes on. All, or nothing is changed.
    pub fn change(&mut self, capture: &CaptureSettings, journal: &mut Journal) -> Result<(), Error> {
        let places = places(capture);
        let (mut opened, mut missing) = (Vec::new(), Vec::new());
        for place in places.iter().filter(|place| !self.open.iter().any(|open| open.place == **place)) {
            match Open::at(place.clone()) {
                Ok(open) => opened.push(open),
                // Known already, and waited for.
                Err(_) if self.missing.contains(place) => missing.push(place.clone()),
                Err(error) => return Err(error),
            }
        }
        self.open.retain(|open| places.contains(&open.place));
        opened.iter().for_each(|open| open.place.tell(journal));
        if !opened.is_empty() && !matches!(capture.from, CaptureFrom::UdpServer { .. }) {
            journal.note(Level::Info, format!("PCAP filter is: '{}'", capture.filter));
        }
        self.open.extend(opened);
        self.missing = missing;
        self.twins.watch(capture.tcp_port);
        Ok(())
    }

    /// What could not be opened. What can is closed again at once.
    pub fn failing(capture: &CaptureSettings) -> Vec<Error> {
        places(capture).into_iter().filter_map(|place| Open::at(place).err()).collect()
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Whether none will ever give anything again.
    pub fn exhausted(&self) -> bool {
        self.open.is_empty() && self.missing.is_empty()
    }

    /// The next datagram of the source at this place in the order; an error means that it is dead.
    pub fn next(&mut self, at: usize) -> Result<Received, Error> {
        let open = &mut self.open[at];
        match open.input.next()? {
            Received::Nothing if open.errors >= MAX_ERRORS => Err(open.place.broken()),
            Received::Datagram(datagram) if self.twins.is_second(&datagram) => Ok(Received::Skipped),
            received => Ok(received),
        }
    }

    pub fn remove(&mut self, at: usize) {
        self.open.remove(at);
    }

    /// Whether the source, once dead, can be opened again: an interface may come back.
    pub fn may_return(&self, at: usize) -> bool {
        matches!(self.open[at].place, Place::Device(_))
    }

    /// Takes a dead source out, to be opened again later.
    pub fn lose(&mut self, at: usize) {
        let open = self.open.remove(at);
        self.missing.push(open.place);
    }

    pub fn any_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Opens those that are back.
    pub fn look_again(&mut self, journal: &mut Journal) {
        for place in std::mem::take(&mut self.missing) {
            match Open::at(place.clone()) {
                Ok(open) => {
                    place.tell(journal);
                    self.open.push(open);
                }
                Err(_) => self.missing.push(place),
            }
        }
    }

    /// Whether what it gives is still there later: a savefile.
    pub fn can_wait(&self, at: usize) -> bool {
        self.open[at].input.fd().is_none()
    }

    /// Savefiles cannot be polled: there is always more, or the end.
    pub fn always_ready(&self) -> bool {
        self.open.iter().any(|open| open.input.fd().is_none())
    }

    /// What to poll for reading.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().filter_map(|open| open.input.fd())
    }

    /// What polling said, in the same order. An error that reading never finds would make each poll return at once.
    pub fn polled(&mut self, flags: impl IntoIterator<Item = PollFlags>) {
        let polled = self.open.iter_mut().filter(|open| open.input.fd().is_some());
        for (open, flags) in polled.zip(flags) {
            let error = flags.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
            let only_error = error && !flags.contains(PollFlags::IN);
            open.errors = if only_error { open.errors.saturating_add(1) } else { 0 };
        }
    }

    /// What the kernel counted, for the journal.
    pub fn tell_statistics(&mut self, journal: &mut Journal) {
        for open in &mut self.open {
            let Input::Pcap(source) = &mut open.input else { continue };
            if let Some(seen) = source.statistics() {
                let level = if seen.dropped > 0 { Level::Warning } else { Level::Info };
                let text = format!("capture on={} received={} dropped={}", source.name(), seen.received, seen.dropped);
                journal.note(level, text);
            }
        }
    }
}

impl Open {
    fn at(place: Place) -> Result<Self, Error> {
        let input = match &place {
            Place::Device(options) => Input::Pcap(PcapSource::open(options)?),
            Place::Savefile { path, filter } => Input::Pcap(PcapSource::savefile(path, filter)?),
            Place::Udp { port } => Input::Udp(UdpSource::bind(*port)?),
            Place::Tcp { port } => Input::Tcp(TcpSource::bind(*port)?),
        };
        Ok(Self { place, input, errors: 0 })
    }
}

impl Place {
    fn tell(&self, journal: &mut Journal) {
        let text = match self {
            Place::Device(options) => format!("Sniffing interface: {}", options.device),
            Place::Savefile { path, .. } => format!("Reading pcap file: {}", path.display()),
            Place::Udp { port } => format!("Kicking off UDP server to listen on port {port}."),
            Place::Tcp { port } => format!("Kicking off TCP server to listen on port {port}."),
        };
        journal.note(Level::Info, text);
    }

    fn broken(&self) -> Error {
        let receiving = |proto, port, said| Error::Receive { proto, port, source: std::io::Error::other(said) };
        let said = String::from("its socket reports an error again and again");
        match self {
            Place::Device(options) => Error::Device { device: options.device.clone(), said },
            Place::Savefile { path, .. } => Error::Savefile { path: path.display().to_string(), said },
            Place::Udp { port } => receiving(Proto::Udp, *port, said),
            Place::Tcp { port } => receiving(Proto::Tcp, *port, said),
        }
    }
}

impl Input {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Input::Pcap(source) => source.fd(),
            Input::Udp(source) => source.fd(),
            Input::Tcp(source) => source.fd(),
        }
    }

    fn next(&mut self) -> Result<Received, Error> {
        match self {
            Input::Pcap(source) => source.next(),
            Input::Udp(source) => source.next(),
            Input::Tcp(source) => source.next(),
        }
    }
}

fn places(capture: &CaptureSettings) -> Vec<Place> {
    let device = |device: &String| {
        Place::Device(DeviceOptions {
            device: device.clone(),
            filter: capture.filter.clone(),
            snaplen: capture.snaplen,
            promiscuous: capture.promiscuous,
            any_direction: capture.any_direction,
        })
    };
    let mut places: Vec<Place> = match &capture.from {
        CaptureFrom::UdpServer { port } => vec![Place::Udp { port: *port }],
        CaptureFrom::Savefile(path) => vec![Place::Savefile { path: path.clone(), filter: capture.filter.clone() }],
        CaptureFrom::Devices(devices) => devices.iter().map(device).collect(),
    };
    // A savefile has an end, a server has none.
    if !matches!(capture.from, CaptureFrom::Savefile(_)) {
        places.extend(capture.tcp_port.map(|port| Place::Tcp { port }));
    }
    // Named twice, it would be heard twice.
    let mut at = 0;
    while at < places.len() {
        let twice = places[..at].contains(&places[at]);
        if twice {
            places.remove(at);
        } else {
            at += 1;
        }
    }
    places
}

const MAX_ERRORS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::journal::Sink;

    fn udp(port: u16) -> CaptureSettings {
        CaptureSettings {
            from: CaptureFrom::UdpServer { port },
            tcp_port: None,
            filter: String::new(),
            snaplen: 1500,
            promiscuous: false,
            any_direction: false,
            exit_when_down: true,
        }
    }

    #[test]
    fn our_own_socket_does_not_stand_in_the_way_of_a_change() {
        let mut journal = Journal::new(Sink::stderr(), 0);
        let mut sources = Sources::default();
        sources.change(&udp(0), &mut journal).unwrap();
        let Input::Udp(source) = &sources.open[0].input else { panic!("no UDP source") };
        let port = source.port();
        sources.open[0].place = Place::Udp { port };
        sources.change(&CaptureSettings { snaplen: 99, exit_when_down: false, ..udp(port) }, &mut journal).unwrap();
        assert_eq!(sources.count(), 1);
        // Of somebody else: then the old one goes on.
        let other = std::net::UdpSocket::bind("[::]:0").unwrap();
        let taken = other.local_addr().unwrap().port();
        assert!(sources.change(&udp(taken), &mut journal).is_err());
        assert_eq!((sources.count(), &sources.open[0].place), (1, &Place::Udp { port }));
    }

    #[test]
    fn an_interface_is_heard_once() {
        let names = ["eth0", "lo", "eth0"].map(String::from).to_vec();
        let capture = CaptureSettings { from: CaptureFrom::Devices(names), ..udp(0) };
        assert_eq!(places(&capture).len(), 2);
        assert_eq!(places(&CaptureSettings { exit_when_down: false, ..capture.clone() }), places(&capture));
    }

    #[test]
    fn a_socket_that_only_reports_errors_is_given_up() {
        let mut sources = Sources::default();
        sources.change(&udp(0), &mut Journal::new(Sink::stderr(), 0)).unwrap();
        for _ in 0..MAX_ERRORS {
            assert_eq!(sources.next(0).unwrap(), Received::Nothing);
            sources.polled([PollFlags::ERR]);
        }
        assert!(sources.next(0).is_err());
        sources.polled([PollFlags::IN | PollFlags::ERR]);
        assert!(sources.next(0).is_ok());
    }
}
