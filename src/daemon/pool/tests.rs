use std::sync::mpsc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::access::{AccessTable, NatRule, OpenPgpAccess, Stanza};
use crate::crypto::hmac::{HmacAuth, HmacKey};
use crate::crypto::openpgp::{Engine, Opened, RecipientRule, SignerRule};
use crate::crypto::unseal::Keyrings;
use crate::gate::{Examined, Gate, GateRules, Verdict};
use crate::grant::{GrantId, StanzaId};
use crate::net::{AddrSet, Origin};
use crate::reason::Reason;
use crate::replay::MemoryStore;
use crate::spa::{Datagram, Digest, HttpRules};
use crate::time::Lifetime;

/// Does what a message says.
struct Puppet(Mutex<Option<Receiver<()>>>);

const REFUSE: u8 = b'r';
const PANIC: u8 = b'p';
/// Waits until somebody tells it not to.
const HANG: u8 = b'h';

impl Engine for Puppet {
    fn open(&self, message: &[u8], _: Timestamp) -> Result<Opened, Reason> {
        match message[BEHIND_THE_HEADERS] {
            PANIC => panic!("a fault in the engine, on purpose"),
            HANG => {
                let strings = self.0.lock().unwrap().take().expect("one hangs");
                let _ = strings.recv();
            }
            _ => {}
        }
        Err(Reason::GpgDecrypt)
    }

    fn is_addressed(&self, _: &[u8]) -> bool {
        true
    }
}

const BEHIND_THE_HEADERS: usize = 21;

/// A gate with one stanza for strangers and one that wants a tag, and what ends a hanging engine.
fn gate() -> (Gate, mpsc::Sender<()>) {
    let (release, strings) = mpsc::channel();
    let mut keyrings = Keyrings::default();
    let keyring = keyrings.add(Box::new(Puppet(Mutex::new(Some(strings)))));
    let stanza = |id, source: &str, hmac| Stanza {
        id: StanzaId(id),
        name: "access".into(),
        source: AddrSet::Networks(vec![source.parse().unwrap()]),
        destination: AddrSet::Any,
        open_ports: None,
        restrict_ports: None,
        rijndael: None,
        openpgp: Some(OpenPgpAccess { keyring, recipient: RecipientRule::Any, signer: SignerRule::Disabled }),
        hmac,
        timeout: Lifetime::from_secs(30).unwrap(),
        max_timeout: Lifetime::from_secs(30).unwrap(),
        require_username: None,
        require_source_address: false,
        expires: None,
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    };
    let access = AccessTable::new(vec![stanza(1, STRANGERS, None), stanza(2, INSIDERS, Some(hmac()))]);
    let rules = GateRules { max_age: None, http: HttpRules::default() };
    (Gate::new(rules, access, keyrings, Box::new(MemoryStore::default()), GrantId(0)), release)
}

fn hmac() -> HmacAuth {
    HmacAuth::new(Digest::Sha256, &HmacKey::new(b"hmac key".to_vec()).unwrap())
}

const STRANGERS: &str = "198.51.100.0/24";
const INSIDERS: &str = "192.0.2.0/24";

/// A message of the right shape. `number` makes it one of its kind.
fn packet(what: u8, number: u16, insider: bool) -> Datagram {
    let key = [&[0x85, 0, 14, 3], &[7; 8][..], &[1, 0, 16, 0xff, 0xff]].concat();
    let data = [&[1, 9, what][..], &number.to_be_bytes(), &[0; 95]].concat();
    let message = [&key[..], &[0xd2, data.len() as u8], &data].concat();
    let mut text = STANDARD_NO_PAD.encode(message).split_off(2);
    if insider {
        text.push_str(&hmac().tag("hQ", &text));
    }
    let source = if insider { [192, 0, 2, 1] } else { [198, 51, 100, 1] };
    Datagram { payload: text.into_bytes(), origin: Origin::udp(source.into()) }
}

struct Scene {
    gate: Gate,
    pool: Pool,
    release: mpsc::Sender<()>,
}

impl Scene {
    fn new() -> Self {
        let (gate, release) = gate();
        Self { gate, pool: Pool::start(100).unwrap(), release }
    }

    fn submit(&mut self, packet: &Datagram) -> Option<Dropped<Box<Pending>>> {
        let now = Timestamp::now();
        match self.gate.examine(packet, now) {
            Examined::Pending(pending) => self.pool.submit(pending, now),
            Examined::Final(unsettled) => panic!("decided: {unsettled:?}"),
        }
    }

    fn submits(&mut self, what: u8, number: u16, insider: bool) {
        assert!(self.submit(&packet(what, number, insider)).is_none());
    }

    fn rings(&self, within: Duration) -> bool {
        let within = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(&self.pool, PollFlags::IN)], Some(&within)).unwrap() > 0
    }

    /// The next that comes back, and what became of it.
    fn concluded(&mut self) -> Reason {
        let mut worked = self.pool.take();
        while worked.is_none() {
            assert!(self.rings(PATIENCE), "nothing comes back");
            worked = self.pool.take();
        }
        let Examined::Final(unsettled) = self.gate.conclude(worked.unwrap(), Timestamp::now()) else {
            panic!("it waits again")
        };
        match &self.gate.settle(vec![unsettled])[..] {
            [(_, Verdict::Refuse(refusal))] => refusal.reason.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn it_rings_when_something_is_done_and_is_silent_when_all_is_taken() {
    let mut scene = Scene::new();
    assert!(scene.pool.is_idle() && !scene.rings(Duration::ZERO));
    (0..5).for_each(|number| scene.submits(REFUSE, number, false));
    assert!(!scene.pool.is_idle());
    (0..5).for_each(|_| assert_eq!(scene.concluded(), Reason::GpgDecrypt));
    assert!(scene.pool.is_idle() && scene.pool.take().is_none());
    let _ = rustix::io::read(&scene.pool.shared.bell, &mut [0; 8]);
    assert!(!scene.rings(Duration::ZERO));
}

#[test]
fn a_fault_of_an_engine_costs_one_packet() {
    let mut scene = Scene::new();
    for number in 0..8 {
        scene.submits(PANIC, number, number % 2 == 0);
    }
    (0..8).for_each(|_| assert_eq!(scene.concluded(), Reason::GpgDecrypt));
    scene.submits(REFUSE, 9, false);
    assert_eq!(scene.concluded(), Reason::GpgDecrypt);
}

#[test]
fn a_stranger_whose_work_hangs_keeps_nobody_with_a_tag_waiting_and_not_the_end() {
    let mut scene = Scene::new();
    scene.submits(HANG, 0, false);
    (1..50).for_each(|number| scene.submits(REFUSE, number, true));
    (1..50).for_each(|_| assert_eq!(scene.concluded(), Reason::GpgDecrypt));
    assert!(!scene.pool.is_idle(), "it hangs");
    let begun = Instant::now();
    let Scene { pool, release, .. } = scene;
    drop(pool);
    assert!(begun.elapsed() < PATIENCE, "the end waits for it");
    drop(release);
}

#[test]
fn at_the_end_nobody_works_on_what_waits() {
    let mut scene = Scene::new();
    scene.submits(HANG, 0, true);
    (1..900).for_each(|number| scene.submits(REFUSE, number, true));
    let begun = Instant::now();
    drop(scene.release);
    drop(scene.pool);
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn a_flood_is_dropped_and_its_retries_are_not_lost() {
    let mut scene = Scene::new();
    scene.submits(HANG, 0, false);
    // Where there are more workers than two the rest is worked on at once.
    let fit = scene.pool.workers.len() == 2;
    let dropped: Vec<u16> = (1..100)
        .filter(|number| matches!(scene.submit(&packet(REFUSE, *number, false)), Some(Dropped::Busy(_))))
        .collect();
    assert!(!fit || (99 - dropped.len()).abs_diff(8) <= 1, "{} were dropped", dropped.len());
    let twin = packet(HANG, 0, false);
    assert!(matches!(scene.submit(&twin), Some(Dropped::Twin(..))));
    scene.release.send(()).unwrap();
    (0..100 - dropped.len()).for_each(|_| drop(scene.concluded()));
    assert!(scene.pool.is_idle());
    for number in dropped.into_iter().take(5) {
        scene.submits(REFUSE, number, false);
        assert_eq!(scene.concluded(), Reason::GpgDecrypt);
    }
}
