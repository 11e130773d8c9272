//! Port lists of access stanzas (`spec/access.md` 5).

use super::complaint::Fault;
use crate::net::{PortSet, Service, parse_port};

/// Reads `tcp/22`, `UDP/53` and so on. What the original half-reads is a mistake here: `tcp/22-25` is not `tcp/22`.
pub fn parse(items: &[&str]) -> Result<PortSet, Fault> {
    let services = items.iter().map(|item| service(item)).collect::<Result<Vec<_>, _>>()?;
    PortSet::new(services).ok_or_else(|| Fault::new("no port is listed", ADVICE))
}

fn service(item: &str) -> Result<Service, Fault> {
    let wrong = |advice: &str| Fault::new(format!("'{item}' is not a port"), advice);
    let (proto, port) = item.split_once('/').ok_or_else(|| wrong(ADVICE))?;
    let proto = proto.to_ascii_lowercase().parse().map_err(|_| wrong(ADVICE))?;
    if port.contains(['-', ':']) {
        return Err(wrong("ranges are not known; list each port"));
    }
    let port = parse_port(port).ok_or_else(|| wrong("write a port from 1 to 65535 after the slash"))?;
    Ok(Service { proto, port })
}

const ADVICE: &str = "write tcp/<port> or udp/<port>, with commas between several";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_any_case_and_once() {
        assert_eq!(parse(&["tcp/22", "UDP/53", "TCP/22"]).unwrap().to_string(), "tcp/22,udp/53");
        for bad in ["tcp/22-25", "tcp/ab", "tcp/0", "tcp/65536", "icmp", "icmp/8", "none", "tcp / 22", "tcp/22/23"] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
    }
}
