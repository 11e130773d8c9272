//! The sources that the configuration names.

use super::journal::{Journal, Level};
use crate::capture::pcap::{DeviceOptions, PcapSource};
use crate::capture::udp::UdpSource;
use crate::capture::{Error, Source};
use crate::config::{CaptureFrom, CaptureSettings};

/// Opens all of them, or none.
pub fn open(capture: &CaptureSettings, journal: &mut Journal) -> Result<Vec<Box<dyn Source>>, Error> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    match &capture.from {
        CaptureFrom::UdpServer { port } => {
            sources.push(Box::new(UdpSource::bind(*port)?));
            journal.note(Level::Info, format!("Kicking off UDP server to listen on port {port}."));
            return Ok(sources);
        }
        CaptureFrom::Savefile(path) => {
            sources.push(Box::new(PcapSource::savefile(path, &capture.filter)?));
            journal.note(Level::Info, format!("Reading pcap file: {}", path.display()));
        }
        CaptureFrom::Devices(devices) => {
            for device in devices {
                sources.push(Box::new(PcapSource::open(&DeviceOptions {
                    device: device.clone(),
                    filter: capture.filter.clone(),
                    snaplen: capture.snaplen,
                    promiscuous: capture.promiscuous,
                    any_direction: capture.any_direction,
                })?));
                journal.note(Level::Info, format!("Sniffing interface: {device}"));
            }
        }
    }
    journal.note(Level::Info, format!("PCAP filter is: '{}'", capture.filter));
    Ok(sources)
}
