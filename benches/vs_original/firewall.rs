//! Grants by the thousand: how fast they are given, and whether it matters how many are open already.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fwknop::spa::Request;

use crate::support::netns::SPA_PORT;
use crate::support::peers::Maker;
use crate::support::scratch::Scratch;
use crate::{Bench, Kind, Row, ms, per_second};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![Row::of("grants per second, 1,000 open", per_second, |maker| {
        // The original takes half a minute for the first thousand.
        let measured = if maker == Maker::Ours { 4000 } else { 60 };
        let mut crowd = Crowd::new(maker);
        crowd.open(1000);
        f64::from(measured) / crowd.open(measured).as_secs_f64()
    })];
    // The original does not get to ten thousand before the first thousand has ended.
    rows.push(Row::ours("time per grant, 10 open, then 10,000", ms, || {
        let mut crowd = Crowd::new(Maker::Ours);
        crowd.open(10);
        let each = |taken: Duration| taken.as_secs_f64() * 1000.0 / 1000.0;
        let few = each(crowd.open(1000));
        crowd.open(9000);
        [few, each(crowd.open(1000))]
    }));
    rows
}

/// Grants of one service, each for another address.
struct Crowd {
    bench: Bench,
    dir: Scratch,
    given: u32,
}

impl Crowd {
    fn new(maker: Maker) -> Self {
        Self { bench: Bench::lasting(maker, Kind::Rijndael, 600), dir: Scratch::new(), given: 0 }
    }

    /// Gives so many more, and tells how long it took.
    fn open(&mut self, count: u32) -> Duration {
        let (first, mut taken) = (self.given, Duration::ZERO);
        // As many as surely fit into what a capture buffers.
        for chunk in (0..count).step_by(CHUNK) {
            let numbers = first + chunk..first + count.min(chunk + CHUNK as u32);
            let packets: Vec<String> = numbers.clone().map(|number| self.packet(number)).collect();
            self.dir.write("packets", &packets.join("\n"));
            let (logs, mark) = (&self.bench.daemon.logs, self.bench.daemon.logs.mark());
            let road = self.bench.world.v4();
            let to = SocketAddr::from((road.server, SPA_PORT));
            let begun = Instant::now();
            self.bench.world.client.ask(&format!("burst {} {to} {}", road.client, self.dir.join("packets").display()));
            assert!(logs.count_of(packets.len(), mark, &["Added access rule"], PATIENCE), "{}", logs.text());
            taken += begun.elapsed();
            self.given = numbers.end;
        }
        taken
    }

    fn packet(&self, number: u32) -> String {
        let allow = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 100, 0, 1)) + number).into();
        self.bench.sealed(number, Request::Access { allow, ports: "tcp/22".parse().expect("ports") })
    }
}

const CHUNK: usize = 250;
const PATIENCE: Duration = Duration::from_secs(60);
