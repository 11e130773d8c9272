//! In pieces: examined, worked on elsewhere, concluded. The verdict is that of doing all in one go, and a packet that
//! waits is judged as things are when its turn comes.

use std::time::Duration;

use fwknop::access::AccessTable;
use fwknop::gate::{Examined, Gate, Pending, Unsettled, Verdict, Worked};
use fwknop::reason::Reason;
use fwknop::spa::Datagram;
use fwknop::time::Timestamp;

use super::case::{self, Case};
use super::library::{datagram, gate, load, server};
use crate::openpgp::vectors::NOW;

#[test]
fn every_vector_and_its_mutants_get_the_same_verdict_in_pieces() {
    let (mut waited, mut trusted) = (0, 0);
    for case in case::FILES.iter().flat_map(|file| case::load(file)) {
        let Ok((stanzas, keys)) = load(&case) else { continue };
        let mut whole = gate(stanzas.clone(), keys);
        let mut apart = gate(stanzas, load(&case).unwrap_or_else(|said| panic!("{said}")).1);
        // Once more at the end: both remember alike.
        let again = [case.payload.clone(), case.payload.clone()];
        for payload in mutants(&case.payload).into_iter().chain(again) {
            let datagram = datagram(&payload);
            let (verdict, waits) = in_pieces(&mut apart, &datagram);
            assert_eq!(whole.handle(&datagram, NOW), verdict, "{}", case.id);
            waited += waits.len();
            trusted += waits.iter().filter(|trusted| **trusted).count();
            assert!(waits.is_empty() || case.stanza.contains("GPG_"), "{} waits for public-key work", case.id);
        }
    }
    assert!(waited > 100 && trusted > 10 && trusted < waited, "{trusted} of {waited}");
}

/// The verdict, and for each time it had to wait, whether the tag was valid.
fn in_pieces(gate: &mut Gate, datagram: &Datagram) -> (Verdict, Vec<bool>) {
    let mut waits = Vec::new();
    let mut examined = gate.examine(datagram, NOW);
    loop {
        match examined {
            Examined::Final(unsettled) => return (settled(gate, unsettled), waits),
            Examined::Pending(pending) => {
                waits.push(pending.trusted());
                examined = gate.conclude(pending.work(NOW), NOW);
            }
        }
    }
}

/// Each with one character exchanged, at places spread over the text.
fn mutants(payload: &[u8]) -> Vec<Vec<u8>> {
    let places = (0..6).map(|part| part * payload.len() / 6).filter(|at| *at < payload.len());
    let mutant = |at: usize| {
        let mut mutant = payload.to_vec();
        mutant[at] = if mutant[at] == b'A' { b'B' } else { b'A' };
        mutant
    };
    places.map(mutant).collect()
}

#[test]
fn of_two_copies_in_flight_one_opens() {
    let (mut gate, packet) = waiting(KNOCK);
    let pending = [examine(&mut gate, &packet), examine(&mut gate, &packet)];
    let [first, second] = pending.map(|pending| pending.work(NOW));
    assert!(matches!(concluded(&mut gate, second, NOW), Verdict::Open(_)));
    assert_eq!(refused(&mut gate, first, NOW), Reason::Replay);
    assert_eq!(gate.grants().count(), 1);
}

#[test]
fn what_waits_is_not_remembered() {
    let (mut gate, packet) = waiting(KNOCK);
    drop(examine(&mut gate, &packet));
    assert!(matches!(gate.handle(&packet, NOW), Verdict::Open(_)));
}

#[test]
fn age_counts_when_the_work_is_done() {
    let (mut gate, packet) = waiting(KNOCK);
    let rules = fwknop::gate::GateRules { max_age: Some(Duration::from_secs(86_400)), ..server().gate };
    let (stanzas, keys) = load(&vector(KNOCK)).unwrap_or_else(|said| panic!("{said}"));
    gate.reload(rules, AccessTable::new(stanzas), keys);
    let worked = examine(&mut gate, &packet).work(NOW);
    let later = NOW.plus(Duration::from_secs(2 * 86_400));
    assert!(matches!(refused(&mut gate, worked, later), Reason::TooOld(_)));
}

#[test]
fn a_reload_while_it_waits_counts() {
    let case = vector(KNOCK);
    let loaded = |case: &Case| load(case).unwrap_or_else(|said| panic!("{said}"));

    // The signer is no longer listed.
    let (mut gate, packet) = waiting(&case.id);
    let worked = examine(&mut gate, &packet).work(NOW);
    let (mut stanzas, keys) = loaded(&case);
    let other = loaded(&vector("a-gpg-id-not-listed")).0.remove(0);
    stanzas[0].openpgp = other.openpgp;
    gate.reload(server().gate, AccessTable::new(stanzas), keys);
    let examined = gate.conclude(worked, NOW);
    // What other keys have said counts for nothing: it is asked again.
    let Examined::Pending(pending) = examined else { panic!("concluded by the keys of before") };
    assert!(matches!(refused(&mut gate, pending.work(NOW), NOW), Reason::SignerNotListed(_)));

    // The stanza is gone.
    let (mut gate, packet) = waiting(&case.id);
    let worked = examine(&mut gate, &packet).work(NOW);
    gate.reload(server().gate, AccessTable::default(), loaded(&case).1);
    assert_eq!(refused(&mut gate, worked, NOW), Reason::NoSourceMatch);

    // Nothing has changed.
    let (mut gate, packet) = waiting(&case.id);
    let worked = examine(&mut gate, &packet).work(NOW);
    let (stanzas, keys) = loaded(&case);
    gate.reload(server().gate, AccessTable::new(stanzas), keys);
    let Examined::Pending(pending) = gate.conclude(worked, NOW) else { panic!("concluded by the keys of before") };
    assert!(matches!(concluded(&mut gate, pending.work(NOW), NOW), Verdict::Open(_)));
}

/// A gate for this vector, and its packet.
fn waiting(id: &str) -> (Gate, Datagram) {
    let case = vector(id);
    let (stanzas, keys) = load(&case).unwrap_or_else(|said| panic!("{said}"));
    (gate(stanzas, keys), datagram(&case.payload))
}

fn vector(id: &str) -> Case {
    case::load("gpg").into_iter().find(|case| case.id == id).unwrap_or_else(|| panic!("no vector {id}"))
}

fn examine(gate: &mut Gate, datagram: &Datagram) -> Box<Pending> {
    match gate.examine(datagram, NOW) {
        Examined::Pending(pending) => pending,
        Examined::Final(unsettled) => panic!("decided without public-key work: {unsettled:?}"),
    }
}

fn refused(gate: &mut Gate, worked: Worked, now: Timestamp) -> Reason {
    match concluded(gate, worked, now) {
        Verdict::Refuse(refusal) => refusal.reason,
        permitted => panic!("permitted: {permitted:?}"),
    }
}

fn concluded(gate: &mut Gate, worked: Worked, now: Timestamp) -> Verdict {
    match gate.conclude(worked, now) {
        Examined::Final(unsettled) => settled(gate, unsettled),
        Examined::Pending(_) => panic!("it waits again"),
    }
}

fn settled(gate: &mut Gate, unsettled: Unsettled) -> Verdict {
    gate.settle(vec![unsettled]).remove(0).1
}

const KNOCK: &str = "a-gpg-rsa2048-signed-rsa2048";
