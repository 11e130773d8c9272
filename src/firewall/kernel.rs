//! The kernel's nf_tables, asked and changed without a program in between.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::{self as netlink_socket, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with};

use super::backend::{Element, Output, Step, Verb};
use super::error::Error;
use super::iptables::{Place, Sweep};
use super::netlink::{self, Answer, Content};
use super::rule::Entry;
use super::settings::{Family, Name};

/// A socket to the kernel's nf_tables. It answers while it is asked: when sending has returned, the answer is there.
pub struct Kernel {
    socket: OwnedFd,
    /// Of the next message. Answers to earlier ones are passed over.
    sequence: u32,
}

impl Kernel {
    pub fn open() -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(netlink_socket::NETFILTER);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)
            .map_err(|errno| Error::Socket(errno.into()))?;
        Ok(Self { socket, sequence: 1 })
    }

    /// All of them or none.
    pub fn change(&mut self, changes: &[(Verb, &Element)]) -> Result<(), Error> {
        let first = self.sequence;
        let count = changes.len() as u32; // a grant has a few dozen services
        self.sequence = first.wrapping_add(count).wrapping_add(2);
        let show = |sequence: u32| {
            // The transaction as a whole (its begin or end) is shown by its first change.
            let place = (sequence.wrapping_sub(first) as usize).saturating_sub(1);
            changes.get(place).or(changes.first()).map(|(verb, element)| step(*verb, element)).unwrap_or_default()
        };
        self.ask(&netlink::batch(changes, first), first, first.wrapping_add(count), &show).map(|_| ())
    }

    pub fn get(&mut self, element: &Element) -> Result<Output, Error> {
        let sequence = self.next();
        let show = |_| step(Verb::Get, element);
        let answers = match self.ask(&netlink::get(element, sequence), sequence, sequence, &show) {
            Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Output::Found(None));
            }
            other => other?,
        };
        let stored = answers.into_iter().find_map(|content| match content {
            Content::Element(stored) => Some(stored),
            _ => None,
        });
        let stored = stored.ok_or_else(|| Error::NoAnswer { step: step(Verb::Get, element) })?;
        Ok(Output::Found(Some(Entry {
            spot: element.spot,
            to: stored.to,
            remaining: stored.remaining,
            comment: stored.comment,
        })))
    }

    pub fn generation(&mut self) -> Result<u32, Error> {
        let sequence = self.next();
        let show = |_| Step::Generation.to_string();
        let answers = self.ask(&netlink::get_generation(sequence), sequence, sequence, &show)?;
        let number = answers.into_iter().find_map(|content| match content {
            Content::Generation(number) => Some(number),
            _ => None,
        });
        number.ok_or_else(|| Error::NoAnswer { step: show(sequence) })
    }

    pub fn handle(&mut self, family: Family, table: &Name) -> Result<Output, Error> {
        let sequence = self.next();
        let show = |_| Step::Handle(family, table.clone()).to_string();
        let found = match self.ask(&netlink::get_table(family, table, sequence), sequence, sequence, &show) {
            // No such table.
            Err(Error::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        Ok(Output::Handle(found.into_iter().find_map(|content| match content {
            Content::Table(handle) => Some(handle),
            _ => None,
        })))
    }

    /// Removes the rules at these places of a ruleset that had that number when they were looked up, and tells in how many
    /// transactions. Has anybody changed it since, nothing more is removed.
    pub fn sweep(&mut self, sweep: &Sweep, places: &[Place], number: u32) -> Result<u32, Error> {
        let mut doomed = Vec::new();
        for place in places {
            let handles = self.rules(sweep, &place.chain)?;
            if handles.len() != place.of {
                return Err(Error::outdated(sweep.to_string()));
            }
            doomed.extend(place.doomed.iter().filter_map(|at| handles.get(*at)).map(|handle| (&*place.chain, *handle)));
        }
        let mut made = 0;
        for part in doomed.chunks(AT_ONCE) {
            let first = self.sequence;
            let last = first.wrapping_add(part.len() as u32); // AT_ONCE at most
            self.sequence = last.wrapping_add(2);
            let bytes = netlink::delete_rules(sweep.family(), sweep.table(), part, number.wrapping_add(made), first);
            self.ask(&bytes, first, last, &|_| sweep.to_string())?;
            made += 1;
        }
        Ok(made)
    }

    /// The handles of a chain's rules, in their order.
    fn rules(&mut self, sweep: &Sweep, chain: &str) -> Result<Vec<u64>, Error> {
        let sequence = self.next();
        let bytes = netlink::get_rules(sweep.family(), sweep.table(), chain, sequence);
        let found = self.ask(&bytes, sequence, sequence, &|_| sweep.to_string())?;
        let handle = |content| match content {
            Content::Rule(handle) => Some(handle),
            _ => None,
        };
        Ok(found.into_iter().filter_map(handle).collect())
    }

    fn next(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// Sends messages numbered from `first` and reads until `last` is acknowledged. The first error wins.
    fn ask(&self, bytes: &[u8], first: u32, last: u32, show: &dyn Fn(u32) -> String) -> Result<Vec<Content>, Error> {
        sendto(&self.socket, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map_err(|errno| refusal(errno.into(), show(first)))?;
        let mut contents = Vec::new();
        loop {
            for Answer { sequence, content } in self.receive(|| show(first))? {
                // Numbers wrap around, so what lies before `first` is far away.
                if sequence.wrapping_sub(first) > last.wrapping_sub(first) {
                    continue;
                }
                match content {
                    Content::Error(0) if sequence == last => return Ok(contents),
                    Content::Error(0) => {}
                    Content::Error(number) => {
                        return Err(refusal(io::Error::from_raw_os_error(number), show(sequence)));
                    }
                    other => contents.push(other),
                }
            }
        }
    }

    fn receive(&self, show: impl Fn() -> String) -> Result<Vec<Answer>, Error> {
        let mut buffer = [0_u8; 8192];
        match recvfrom(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _, from)) => {
                let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
                let by_kernel = from.is_some_and(|from| from.pid() == 0);
                Ok(if by_kernel { netlink::answers(&buffer[..length]) } else { Vec::new() })
            }
            Err(rustix::io::Errno::AGAIN) => Err(Error::NoAnswer { step: show() }),
            Err(errno) => Err(Error::Kernel { step: show(), source: errno.into() }),
        }
    }
}

fn step(verb: Verb, element: &Element) -> String {
    Step::Element(verb, element.clone()).to_string()
}

fn refusal(source: io::Error, step: String) -> Error {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return Error::NotPermitted;
    }
    Error::Kernel { step, source }
}

/// So many rules go in one message, whatever size of it the kernel allows whom: each takes some 100 bytes.
const AT_ONCE: usize = 1000;
