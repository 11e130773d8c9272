//! What comes over a connection to our TCP server may be seen by a capture as well, before it is read or after. It is the
//! same packet, not its replay, and is examined once.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use crate::net::Proto;
use crate::spa::Datagram;

#[derive(Default)]
pub struct Twins {
    /// That of the TCP server; `None`: there is none, or nothing else beside it.
    port: Option<u16>,
    key: RandomState,
    /// The last that were seen.
    seen: VecDeque<u64>,
}

impl Twins {
    pub fn watch(&mut self, port: Option<u16>) {
        self.port = port;
    }

    /// Whether it is the second of two. A packet of other connections, or with another text, never is.
    pub fn is_second(&mut self, datagram: &Datagram) -> bool {
        let Datagram { payload, origin } = datagram;
        if origin.proto != Proto::Tcp.number() || self.port != Some(origin.dst_port) {
            return false;
        }
        let print = self.key.hash_one((payload, origin.src, origin.src_port));
        if self.seen.contains(&print) {
            return true;
        }
        if self.seen.len() >= MOST {
            self.seen.pop_front();
        }
        self.seen.push_back(print);
        false
    }
}

const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Origin;

    #[test]
    fn only_the_same_text_of_the_same_connection_is_a_twin() {
        let one = Datagram {
            payload: b"text".to_vec(),
            origin: Origin { proto: 6, src_port: 1, dst_port: 62201, ..Origin::udp([192, 0, 2, 1].into()) },
        };
        let with = |change: fn(&mut Datagram)| {
            let mut other = one.clone();
            change(&mut other);
            other
        };
        let mut twins = Twins::default();
        assert!(!twins.is_second(&one) && !twins.is_second(&one), "there is no server");
        twins.watch(Some(62201));
        assert!(!twins.is_second(&one) && twins.is_second(&one) && twins.is_second(&one));
        let others: [fn(&mut Datagram); 3] = [
            |other| other.payload.push(b'x'),
            |other| other.origin.src_port = 2,
            |other| other.origin.src = [192, 0, 2, 2].into(),
        ];
        for change in others {
            let other = with(change);
            assert!(!twins.is_second(&other) && twins.is_second(&other));
        }
        let elsewhere: [fn(&mut Datagram); 2] = [|other| other.origin.dst_port = 80, |other| other.origin.proto = 17];
        for change in elsewhere {
            let other = with(change);
            assert!(!twins.is_second(&other) && !twins.is_second(&other));
        }
        // Only so many are remembered.
        for port in 0..MOST as u16 {
            let mut other = one.clone();
            other.origin.src_port = 1000 + port;
            twins.is_second(&other);
        }
        assert!(!twins.is_second(&one));
    }
}
