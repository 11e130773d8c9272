use super::*;
use crate::access::{NatRule, Stanza};
use crate::crypto::hmac::{HmacAuth, HmacKey};
use crate::crypto::rijndael::{Mode, RijndaelAuth, RijndaelKey};
use crate::crypto::seal;
use crate::grant::{CommandCycle, Half, RunAs, Template};
use crate::net::{AddrSet, Origin};
use crate::replay::{Entry, MemoryStore, ReplayKey};
use crate::spa::{ClientTimeout, Digest, Message, RandomValue, Request, Username};
use crate::time::Lifetime;

const NOW: Timestamp = Timestamp::from_secs(1_795_294_448);
const SRC: &str = "198.51.100.7";

fn rijndael(key: &str) -> RijndaelAuth {
    RijndaelAuth::new(RijndaelKey::new(key.into()).unwrap(), Mode::Cbc)
}

fn hmac(key: &str) -> HmacAuth {
    HmacAuth::new(Digest::Sha256, &HmacKey::new(key.into()).unwrap())
}

fn stanza(id: u32, key: &str) -> Stanza {
    Stanza {
        id: StanzaId(id),
        name: "access".into(),
        source: AddrSet::Any,
        destination: AddrSet::Any,
        open_ports: Some("tcp/22,udp/53".parse().unwrap()),
        restrict_ports: None,
        rijndael: Some(rijndael(key)),
        openpgp: None,
        hmac: Some(hmac("hmac key")),
        timeout: Lifetime::from_secs(30).unwrap(),
        max_timeout: Lifetime::from_secs(300).unwrap(),
        require_username: None,
        require_source_address: false,
        expires: None,
        nat: NatRule::default(),
        only_destination: false,
        commands: None,
        cycle: None,
    }
}

fn gate(stanzas: Vec<Stanza>) -> Gate {
    let rules = GateRules { max_age: Some(Duration::from_secs(120)), http: HttpRules::default() };
    let replay = Box::new(MemoryStore::default());
    Gate::new(rules, AccessTable::new(stanzas), Keyrings::default(), replay, GrantId(0))
}

fn message(ports: &str, at: Timestamp) -> Message {
    Message {
        random: RandomValue::generate().unwrap(),
        user: Username::new("alice").unwrap(),
        time: at,
        version: "3.0.0".into(),
        request: Request::Access { allow: "203.0.113.9".parse().unwrap(), ports: ports.parse().unwrap() },
        server_auth: None,
        timeout: None,
        digest: Digest::Sha256,
    }
}

fn packet(message: &Message, key: &str, hmac: Option<&HmacAuth>) -> Datagram {
    let text = seal::rijndael(&message.encode().unwrap(), &rijndael(key), hmac).unwrap();
    Datagram { payload: text.as_bytes().to_vec(), origin: Origin::udp(SRC.parse().unwrap()) }
}

fn knock(ports: &str, at: Timestamp) -> Datagram {
    packet(&message(ports, at), "key", Some(&hmac("hmac key")))
}

fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        permitted => panic!("permitted: {permitted:?}"),
    }
}

fn grant(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Open(opening) => opening.grant,
        other => panic!("not opened: {other:?}"),
    }
}

#[test]
fn a_good_knock_is_granted_once() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let knock = knock("tcp/22", NOW);
    let granted = grant(gate.handle(&knock, NOW));
    assert_eq!(granted.allow.to_string(), "203.0.113.9");
    assert_eq!(granted.until, NOW.plus(Duration::from_secs(30)));
    let again = refusal(gate.handle(&knock, NOW.plus(Duration::from_secs(5))));
    assert_eq!(again.reason, Reason::Replay);
    assert_eq!(again.first_seen.unwrap().at, NOW);
    assert_eq!(gate.expire(granted.until).len(), 1);
}

fn with_cycle(close: Option<&str>) -> Stanza {
    let template = |text: &str| Template::parse(text).unwrap();
    let run_as = RunAs { user: None, group: None, sudo: None, timeout: Duration::from_secs(30) };
    let cycle = CommandCycle { open: template("/bin/open $PORT"), close: close.map(template), run_as };
    Stanza { cycle: Some(cycle), ..stanza(1, "key") }
}

/// The closing command closes what both have opened, so it must not come before the later end.
#[test]
fn a_cycle_is_renewed_and_never_shortened() {
    let mut gate = gate(vec![with_cycle(Some("/bin/close $IP"))]);
    let mut open = |ports: &str, timeout: Option<u32>| {
        let timeout = timeout.map(|secs| ClientTimeout::new(secs).unwrap());
        let message = Message { timeout, ..message(ports, NOW) };
        match gate.handle(&packet(&message, "key", Some(&hmac("hmac key"))), NOW) {
            Verdict::Open(opening) => opening,
            other => panic!("not opened: {other:?}"),
        }
    };
    let ends = |opening: &Opening| NOW.until(opening.grant.until).as_secs();
    let first = open("tcp/22", Some(60));
    let shorter = open("tcp/22", Some(5));
    assert_eq!((ends(&first), ends(&shorter)), (60, 60));
    assert_eq!(shorter.supersedes, [first.grant]);
    let other = open("udp/53", Some(1000));
    assert_eq!((ends(&other), other.supersedes.len()), (300, 1));
    assert_eq!(other.grant.access.ports().unwrap().to_string(), "udp/53,tcp/22");
    assert_eq!(gate.grants().count(), 1);
    assert!(gate.take(Grant::is_closed_by_command).len() == 1 && gate.next_deadline().is_none());
}

#[test]
fn a_cycle_without_a_close_has_no_end() {
    let mut gate = gate(vec![with_cycle(None)]);
    let opened = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    assert_eq!((gate.grants().count(), gate.next_deadline()), (0, None));
    assert!(opened.errand(Half::Open).is_some() && opened.errand(Half::Close).is_none());
    let again = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    assert_eq!(again.id, GrantId(2), "its number is used up");
    assert_eq!(refusal(gate.handle(&knock("tcp/80", NOW), NOW)).reason, Reason::PortDenied);
}

/// The stanza of the last knock from an address is a guess about the next one, and nothing more.
#[test]
fn who_knocked_with_one_key_may_knock_with_another() {
    let with = |id, key: &str, tag: &str| Stanza { hmac: Some(hmac(tag)), ..stanza(id, key) };
    let narrow = Stanza { open_ports: Some("udp/53".parse().unwrap()), ..with(3, "third", "three") };
    let mut gate = gate(vec![with(1, "first", "one"), with(2, "second", "two"), narrow, with(4, "third", "three")]);
    let mut opened_by = |key: &str, tag: &str, ports: &str| {
        let granted = grant(gate.handle(&packet(&message(ports, NOW), key, Some(&hmac(tag))), NOW));
        granted.knock.unwrap().stanza.0
    };
    for _ in 0..2 {
        assert_eq!(opened_by("second", "two", "tcp/22"), 2);
        assert_eq!(opened_by("first", "one", "tcp/22"), 1);
        // Two stanzas have this key, and the first of them that permits still wins.
        assert_eq!(opened_by("third", "three", "tcp/22"), 4);
        assert_eq!(opened_by("third", "three", "udp/53"), 3);
    }
    let foreign = packet(&message("tcp/22", NOW), "first", Some(&hmac("two")));
    assert_eq!(refusal(gate.handle(&foreign, NOW)).stanza, Some(StanzaId(2)), "the tag was right, the key was not");
    let rules = GateRules { max_age: None, http: HttpRules::default() };
    gate.reload(rules, AccessTable::new(vec![with(3, "first", "one")]), Keyrings::default());
    let knock = packet(&message("tcp/22", NOW), "first", Some(&hmac("one")));
    assert_eq!(grant(gate.handle(&knock, NOW)).knock.unwrap().stanza, StanzaId(3));
}

#[test]
fn a_message_under_another_text_is_a_replay_too() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let message = message("tcp/22", NOW);
    let hmac = hmac("hmac key");
    grant(gate.handle(&packet(&message, "key", Some(&hmac)), NOW));
    // The same message under another salt: another text, the same identity.
    let again = refusal(gate.handle(&packet(&message, "key", Some(&hmac)), NOW));
    assert_eq!(again.reason, Reason::Replay);
}

#[test]
fn one_packet_has_one_spelling() {
    let open = Stanza { hmac: None, ..stanza(1, "key") };
    let mut gate = gate(vec![open]);
    let good = packet(&message("tcp/22", NOW), "key", None);
    let respell = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut payload = good.payload.clone();
        change(&mut payload);
        Datagram { payload, origin: good.origin }
    };
    assert_eq!(refusal(gate.handle(&respell(&|p| p.push(b'=')), NOW)).reason, Reason::NotCanonical);
    // The upper four bits of the first character belong to `Salted__`.
    for magic in [b'A', b'Q', b'g', b'w', b'4'] {
        assert_eq!(refusal(gate.handle(&respell(&|p| p[0] = magic), NOW)).reason, Reason::NoKey);
    }
    let last_bits = respell(&|p| {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let last = p.last_mut().unwrap();
        let at = ALPHABET.iter().position(|c| c == last).unwrap();
        *last = ALPHABET[at ^ 1];
    });
    let unused_bits = !(10 + good.payload.len()).is_multiple_of(4);
    let reason = refusal(gate.handle(&last_bits, NOW)).reason;
    assert!(!unused_bits || reason == Reason::NotCanonical, "{reason:?}");
    grant(gate.handle(&good, NOW));
}

#[test]
fn age_counts_both_ways_and_a_message_from_the_future_is_remembered() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let seconds = Duration::from_secs;
    let stale = |gate: &mut Gate, datagram: &Datagram, now| refusal(gate.handle(datagram, now)).reason;
    let old = knock("tcp/22", NOW);
    assert!(matches!(stale(&mut gate, &old, NOW.plus(seconds(121))), Reason::TooOld(age) if age.seconds == 121));
    let ahead = knock("tcp/22", NOW.plus(seconds(300)));
    assert!(matches!(stale(&mut gate, &ahead, NOW), Reason::TooOld(age) if age.seconds == -300));
    // Whoever overheard it cannot use it when its time has come.
    assert_eq!(stale(&mut gate, &ahead, NOW.plus(seconds(300))), Reason::Replay);
    grant(gate.handle(&knock("tcp/22", NOW), NOW.plus(seconds(120))));
}

#[test]
fn what_has_been_forgotten_is_refused_even_when_the_clock_is_set_back() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let knock = knock("tcp/22", NOW);
    grant(gate.handle(&knock, NOW));
    gate.tidy(NOW).unwrap();
    gate.tidy(NOW.plus(Duration::from_secs(3600))).unwrap();
    assert!(matches!(refusal(gate.handle(&knock, NOW)).reason, Reason::TooOld(_)));
    grant(gate.handle(&self::knock("tcp/22", NOW.plus(Duration::from_secs(200))), NOW.plus(Duration::from_secs(200))));
}

#[test]
fn neither_a_wider_window_nor_no_window_brings_back_what_was_forgotten() {
    let seconds = Duration::from_secs;
    for max_age in [Some(seconds(6000)), None] {
        let mut gate = gate(vec![stanza(1, "key")]);
        let old = knock("tcp/22", NOW);
        grant(gate.handle(&old, NOW));
        gate.tidy(NOW.plus(seconds(1000))).unwrap();
        let rules = GateRules { max_age, http: HttpRules::default() };
        gate.reload(rules, AccessTable::new(vec![stanza(1, "key")]), Keyrings::default());
        let reason = refusal(gate.handle(&old, NOW.plus(seconds(1010)))).reason;
        assert!(matches!(reason, Reason::TooOld(_)), "{max_age:?}: {reason:?}");
    }
}

#[test]
fn what_cost_a_decryption_is_refused_for_free_the_second_time() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let old = knock("tcp/22", NOW);
    let later = NOW.plus(Duration::from_secs(1000));
    let first = refusal(gate.handle(&old, later));
    assert!(matches!(first.reason, Reason::TooOld(_)));
    // Without any stanza that could decrypt it, only the memory can know the reason.
    gate.access = AccessTable::new(vec![stanza(1, "another key")]);
    assert_eq!(refusal(gate.handle(&old, later)), first);
}

#[test]
fn the_first_stanza_that_permits_wins_and_the_best_refusal_is_told() {
    let narrow = Stanza { open_ports: Some("udp/53".parse().unwrap()), ..stanza(1, "key") };
    let mut gate = gate(vec![narrow, stanza(2, "other"), stanza(3, "key")]);
    assert_eq!(grant(gate.handle(&knock("tcp/22", NOW), NOW)).knock.unwrap().stanza, StanzaId(3));
    let denied = refusal(gate.handle(&knock("tcp/80", NOW), NOW));
    assert_eq!((denied.reason, denied.stanza), (Reason::PortDenied, Some(StanzaId(1))));
    assert_eq!(denied.signer, Some(Signer::SharedKey));
}

#[test]
fn a_forgery_stops_at_the_tag() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let forged = packet(&message("tcp/22", NOW), "key", Some(&hmac("another")));
    assert_eq!(refusal(gate.handle(&forged, NOW)).reason, Reason::HmacMismatch);
    let unsigned = packet(&message("tcp/22", NOW), "key", None);
    assert_eq!(refusal(gate.handle(&unsigned, NOW)).reason, Reason::HmacMismatch);
    assert_eq!(refusal(gate.handle(&unsigned, NOW)).signer, None);
}

#[test]
fn policy_is_asked_in_order() {
    let strict = Stanza {
        require_username: Some("bob".into()),
        require_source_address: true,
        restrict_ports: Some("tcp/22".parse().unwrap()),
        ..stanza(1, "key")
    };
    let mut gate = gate(vec![strict]);
    let mut asks = message("tcp/22", NOW);
    let mut refused = |asks: &Message| refusal(gate.handle(&packet(asks, "key", Some(&hmac("hmac key"))), NOW)).reason;
    assert!(matches!(refused(&asks), Reason::UsernameMismatch(_)));
    asks.random = RandomValue::generate().unwrap();
    asks.request = Request::Access { allow: "0.0.0.0".parse().unwrap(), ports: "tcp/22".parse().unwrap() };
    assert_eq!(refused(&asks), Reason::SourceAddressRequired);
    asks.user = Username::new("bob").unwrap();
    asks.request = Request::Access { allow: "203.0.113.9".parse().unwrap(), ports: "udp/53,tcp/22".parse().unwrap() };
    assert_eq!(refused(&asks), Reason::PortDenied);
}

#[test]
fn unspecified_means_the_source_and_time_is_bounded() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let mut asks = message("tcp/22", NOW);
    asks.request = Request::Access { allow: "::".parse().unwrap(), ports: "tcp/22".parse().unwrap() };
    asks.timeout = crate::spa::ClientTimeout::new(65_536);
    let granted = grant(gate.handle(&packet(&asks, "key", Some(&hmac("hmac key"))), NOW));
    assert_eq!((granted.allow.to_string().as_str(), granted.lifetime.secs()), (SRC, 300));
}

#[test]
fn a_failing_store_shuts_the_gate() {
    struct Broken;
    impl ReplayStore for Broken {
        fn seen(&mut self, _: &ReplayKey) -> Result<Option<Seen>, StoreError> {
            Ok(None)
        }
        fn remember(&mut self, _: &Entry) -> Result<(), StoreError> {
            Err(StoreError("disk full".into()))
        }
        fn floor(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }
        fn forget(&mut self, _: Timestamp) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let rules = GateRules { max_age: None, http: HttpRules::default() };
    let access = AccessTable::new(vec![stanza(1, "key"), stanza(2, "key")]);
    let mut gate = Gate::new(rules, access, Keyrings::default(), Box::new(Broken), GrantId(0));
    assert_eq!(refusal(gate.handle(&knock("tcp/22", NOW), NOW)).reason, Reason::ReplayStore);
    assert_eq!(gate.grants().count(), 0);
    assert!(gate.take_trouble().unwrap().to_string().contains("disk full"));
}

/// Each verdict of a batch, in one word.
fn settled(gate: &mut Gate, packets: &[Datagram]) -> Vec<&'static str> {
    let examined = packets.iter().map(|packet| match gate.examine(packet, NOW) {
        Examined::Final(unsettled) => unsettled,
        Examined::Pending(_) => panic!("no public-key work here"),
    });
    let batch = examined.collect();
    let settled = gate.settle(batch);
    settled
        .iter()
        .map(|(_, verdict)| match verdict {
            Verdict::Refuse(refusal) if refusal.reason == Reason::ReplayStore => "store",
            Verdict::Refuse(refusal) if refusal.reason == Reason::Replay => "replay",
            Verdict::Refuse(_) => "refused",
            _ => "permitted",
        })
        .collect()
}

#[test]
fn a_batch_is_settled_in_order_and_knows_its_own_replays() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let (one, other) = (knock("tcp/22", NOW), knock("udp/53", NOW));
    let forged = packet(&message("tcp/22", NOW), "key", Some(&hmac("another")));
    let batch = [one.clone(), forged, one.clone(), other];
    assert_eq!(settled(&mut gate, &batch), ["permitted", "refused", "replay", "permitted"]);
    assert_eq!(settled(&mut gate, &[one]), ["replay"]);
    assert_eq!(gate.grants().count(), 2);
}

#[test]
fn what_cannot_be_made_durable_is_taken_back() {
    /// Remembers, but as long as there are failures left nothing of it lasts.
    struct Forgetful {
        memory: MemoryStore,
        kept: MemoryStore,
        failures: usize,
    }
    impl ReplayStore for Forgetful {
        fn seen(&mut self, key: &ReplayKey) -> Result<Option<Seen>, StoreError> {
            self.memory.seen(key)
        }
        fn remember(&mut self, entry: &Entry) -> Result<(), StoreError> {
            self.memory.remember(entry)
        }
        fn settle(&mut self) -> Result<(), StoreError> {
            if self.failures > 0 {
                self.failures -= 1;
                self.memory = std::mem::take(&mut self.kept);
                return Err(StoreError("disk full".into()));
            }
            Ok(())
        }
        fn floor(&self) -> Timestamp {
            Timestamp::from_secs(0)
        }
        fn forget(&mut self, _: Timestamp) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let replay = Forgetful { memory: MemoryStore::default(), kept: MemoryStore::default(), failures: 1 };
    let rules = GateRules { max_age: None, http: HttpRules::default() };
    let access = AccessTable::new(vec![stanza(1, "key")]);
    let mut gate = Gate::new(rules, access, Keyrings::default(), Box::new(replay), GrantId(0));
    // The second makes the first superfluous; both go.
    let batch = [knock("tcp/22", NOW), knock("tcp/22", NOW)];
    assert_eq!(settled(&mut gate, &batch), ["store", "store"]);
    assert_eq!(gate.grants().count(), 0);
    assert!(gate.take_trouble().unwrap().to_string().contains("disk full"));
    assert_eq!(settled(&mut gate, &batch), ["permitted", "permitted"], "nobody is locked out when there is room again");
    assert_eq!(gate.grants().count(), 1);
}

#[test]
fn a_withdrawn_opening_leaves_what_was_open() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let first = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    let Verdict::Open(second) = gate.handle(&knock("tcp/22", NOW), NOW) else { panic!("refused") };
    assert_eq!(second.supersedes, std::slice::from_ref(&first));
    gate.withdraw(&second).unwrap();
    assert_eq!(gate.grants().collect::<Vec<_>>(), [&first]);
}

/// Decided together, they fail one after the other.
#[test]
fn what_did_not_come_about_does_not_stand_again() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let first = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    let [second, third] = [(); 2].map(|()| match gate.handle(&knock("tcp/22", NOW), NOW) {
        Verdict::Open(opening) => opening,
        other => panic!("refused: {other:?}"),
    });
    gate.withdraw(&second).unwrap();
    gate.withdraw(&third).unwrap();
    assert_eq!(gate.grants().collect::<Vec<_>>(), [&first]);
}

#[test]
fn what_was_closed_meanwhile_does_not_come_back() {
    let mut gate = gate(vec![stanza(1, "key")]);
    grant(gate.handle(&knock("tcp/22", NOW), NOW));
    let Verdict::Open(second) = gate.handle(&knock("tcp/22", NOW), NOW) else { panic!("refused") };
    assert_eq!(gate.take(|_| true), std::slice::from_ref(&second.grant));
    gate.withdraw(&second).unwrap();
    assert_eq!(gate.grants().count(), 0);
    assert!(!gate.locate(&second).unwrap());
}

#[test]
fn a_clock_that_is_set_before_it_is_opened_changes_its_end() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let first = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    let Verdict::Open(mut second) = gate.handle(&knock("tcp/22", NOW), NOW) else { panic!("refused") };
    for (shift, back) in [
        (Shift::Ahead(Duration::from_secs(3600)), Shift::Back(Duration::from_secs(3600))),
        (Shift::Back(Duration::from_secs(60)), Shift::Ahead(Duration::from_secs(60))),
    ] {
        let before = second.clone();
        gate.clock_was_set(shift).unwrap();
        gate.retime(&mut second);
        assert_eq!(second.grant.until, before.grant.until.shifted(shift));
        assert_eq!(second.supersedes[0].until, first.until.shifted(shift));
        gate.clock_was_set(back).unwrap();
        gate.retime(&mut second);
        assert_eq!(second, before);
    }
}

#[test]
fn the_next_daemon_is_told_what_the_firewall_may_not_know() {
    let mut gate = gate(vec![stanza(1, "key")]);
    let first = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    assert!(gate.is_untold(first.id));
    let opening = gate.reopen(first.id).unwrap();
    assert_eq!(opening.grant, first);
    gate.told(&opening);
    assert!(!gate.is_untold(first.id));
    let second = grant(gate.handle(&knock("tcp/22", NOW), NOW));
    assert!(gate.is_untold(second.id) && !gate.is_untold(first.id));
    gate.expire(second.until);
    assert!(!gate.is_untold(second.id) && gate.reopen(second.id).is_none());
}

proptest::proptest! {
    #[test]
    fn mutated_packets_are_refused(at in 0usize..180, to in proptest::prelude::any::<u8>()) {
        let mut gate = gate(vec![stanza(1, "key"), Stanza { hmac: None, ..stanza(2, "other") }]);
        let good = knock("tcp/22", NOW);
        let mut bad = good.clone();
        let at = at % bad.payload.len();
        bad.payload[at] = to;
        if bad.payload != good.payload {
            refusal(gate.handle(&bad, NOW));
        }
        grant(gate.handle(&good, NOW));
    }
}
