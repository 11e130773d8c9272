use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::table::table;
use super::*;
use crate::grant::Access;
use crate::time::Lifetime;

/// A firewall of plain commands, as most are: no transactions, no numbers of changes.
#[derive(Default)]
struct Commands {
    found: Option<Entry>,
}

fn command(verb: &str, spot: Spot) -> Step {
    let service = spot.service.map(|service| service.to_string()).unwrap_or_default();
    Step::Command(Command::new("fw", [verb.to_owned(), spot.address.to_string(), service]))
}

impl Backend for Commands {
    fn survey(&self) -> Vec<Step> {
        vec![Step::Command(Command::new("fw", ["survey"]))]
    }

    fn set_up(&mut self, _: &[Output]) -> Result<SetUp, Error> {
        Ok(SetUp { steps: vec![Step::Command(Command::new("fw", ["set-up"]))], ..SetUp::default() })
    }

    fn check(&self) -> Option<Step> {
        Some(Step::Command(Command::new("fw", ["check"])))
    }

    fn in_place(&self, check: &Output) -> bool {
        *check == Output::Text("in place".to_owned())
    }

    fn generation(&self) -> Option<Step> {
        Some(Step::Generation)
    }

    fn tear_down(&self, _: &[Output]) -> Result<Vec<Step>, Error> {
        Ok(vec![Step::Command(Command::new("fw", ["tear-down"]))])
    }

    fn find(&self, rule: &Rule) -> Result<Step, Error> {
        Ok(command("find", rule.spot))
    }

    fn open(&self, rule: &Rule, _: Option<&Entry>, _: Duration) -> Result<Vec<Change>, Error> {
        Ok(vec![Change { step: command("open", rule.spot), undo: Some(command("shut", rule.spot)) }])
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![command("shut", entry.spot)])
    }

    fn entries(&self, _: &[Output]) -> Result<Vec<Entry>, Error> {
        Ok(self.found.iter().cloned().collect())
    }

    fn list_all(&self) -> Vec<Step> {
        vec![Step::Command(Command::new("fw", ["list"]))]
    }
}

/// Writes down what it is told to do, and fails where it is told to.
#[derive(Clone, Default)]
struct Script {
    done: Rc<RefCell<Vec<String>>>,
    refuse: Rc<RefCell<Vec<(&'static str, i32)>>>,
    generation: Rc<RefCell<u32>>,
    check: &'static str,
}

impl Script {
    /// The commands since the last call, without those that only ask.
    fn changes(&self) -> Vec<String> {
        let mut done = self.done.take();
        done.retain(|step| !step.contains("find") && step != "get generation" && step != "fw survey");
        done
    }

    fn refuse(&self, step: &'static str, errno: i32) {
        self.refuse.borrow_mut().push((step, errno));
    }
}

impl Runner for Script {
    fn run(&mut self, steps: &[Step]) -> Result<Vec<Output>, Failed> {
        let mut outputs = Vec::new();
        for step in steps {
            let text = step.to_string();
            let mut refuse = self.refuse.borrow_mut();
            if let Some(place) = refuse.iter().position(|(refused, _)| *refused == text) {
                let (_, errno) = refuse.remove(place);
                let error = Error::Kernel { step: text, source: io::Error::from_raw_os_error(errno) };
                return Err(Failed { done: outputs.len(), error });
            }
            self.done.borrow_mut().push(text.clone());
            outputs.push(match &*text {
                "get generation" => Output::Generation(*self.generation.borrow()),
                "fw check" => Output::Text(self.check.to_owned()),
                _ => Output::Text(String::new()),
            });
        }
        Ok(outputs)
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_000);
const NO_SPACE: i32 = 28;
const NOT_THERE: i32 = 2;

fn grant(id: u64, ports: &str, seconds: u32) -> Grant {
    let lifetime = Lifetime::from_secs(seconds).unwrap();
    let until = NOW.plus(lifetime.as_duration());
    let allow = "192.0.2.1".parse().unwrap();
    Grant {
        id: GrantId(id),
        allow,
        access: Access::Open(ports.parse().unwrap()),
        at: None,
        lifetime,
        until,
        certificate: None,
        knock: None,
    }
}

fn entry(remaining: Option<u64>, comment: &str) -> Entry {
    Entry {
        spot: Spot {
            kind: Kind::Input,
            address: "192.0.2.1".parse().unwrap(),
            peer: None,
            service: Some("tcp/22".parse().unwrap()),
        },
        to: None,
        remaining: remaining.map(Duration::from_secs),
        comment: Some(comment.to_owned()),
    }
}

fn firewall(script: &Script, found: Option<Entry>) -> Firewall {
    Firewall::with(Box::new(Commands { found }), Box::new(script.clone()))
}

#[test]
fn a_failing_step_undoes_the_ones_before_it_backwards() {
    let script = Script { check: "in place", ..Script::default() };
    script.refuse("fw open 192.0.2.1 tcp/3", NO_SPACE);
    let error = firewall(&script, None).open(&grant(1, "tcp/1,tcp/2,tcp/3,tcp/4", 30), NOW).unwrap_err();
    assert_eq!(error.to_string(), "the kernel refused 'fw open 192.0.2.1 tcp/3'");
    assert_eq!(
        script.changes(),
        [
            "fw check",
            "fw open 192.0.2.1 tcp/1",
            "fw open 192.0.2.1 tcp/2",
            "fw shut 192.0.2.1 tcp/2",
            "fw shut 192.0.2.1 tcp/1"
        ]
    );
}

#[test]
fn what_cannot_be_undone_is_said_and_the_rest_is_undone() {
    let script = Script { check: "in place", ..Script::default() };
    script.refuse("fw open 192.0.2.1 tcp/3", NO_SPACE);
    script.refuse("fw shut 192.0.2.1 tcp/2", NO_SPACE);
    let error = firewall(&script, None).open(&grant(1, "tcp/1,tcp/2,tcp/3", 30), NOW).unwrap_err();
    assert!(matches!(&error, Error::NotUndone { cause, .. } if matches!(**cause, Error::Kernel { .. })), "{error}");
    assert!(error.to_string().contains("fw shut 192.0.2.1 tcp/2"), "{error}");
    assert_eq!(script.changes().last().unwrap(), "fw shut 192.0.2.1 tcp/1");
}

#[test]
fn what_lasts_longer_is_kept_and_what_is_shorter_replaced() {
    let tag = "fwknop:1:1";
    for (remaining, comment, opened) in [
        (Some(29), tag, 1),
        (Some(30), tag, 0),
        (Some(300), tag, 0),
        (None, "by hand", 0),
        // Nothing of ours is for ever: that one was restored from a file.
        (None, tag, 1),
    ] {
        let script = Script { check: "in place", ..Script::default() };
        firewall(&script, Some(entry(remaining, comment))).open(&grant(2, "tcp/22", 30), NOW).unwrap();
        assert_eq!(script.changes().len(), 1 + opened, "{remaining:?} {comment}");
    }
}

#[test]
fn only_a_grants_own_rules_are_closed() {
    for (comment, closed) in [("fwknop:1:999", 1), ("fwknop:2:999", 0), ("by hand", 0)] {
        let script = Script::default();
        firewall(&script, Some(entry(Some(9), comment))).close(&grant(1, "tcp/22", 30)).unwrap();
        assert_eq!(script.changes().len(), closed, "{comment}");
    }
}

#[test]
fn a_rule_the_kernel_closed_first_is_closed() {
    let script = Script::default();
    script.refuse("fw shut 192.0.2.1 tcp/22", NOT_THERE);
    firewall(&script, Some(entry(Some(0), "fwknop:1:1030"))).close(&grant(1, "tcp/22", 30)).unwrap();
}

#[test]
fn set_up_is_looked_at_only_when_somebody_changed_the_firewall() {
    let script = Script { check: "in place", ..Script::default() };
    let mut firewall = firewall(&script, None);
    firewall.set_up().unwrap();
    *script.generation.borrow_mut() += 1;
    assert_eq!(script.changes(), ["fw set-up", "fw check"]);

    firewall.open(&grant(1, "tcp/1", 30), NOW).unwrap();
    *script.generation.borrow_mut() += 1;
    firewall.open(&grant(2, "tcp/2", 30), NOW).unwrap();
    assert_eq!(script.changes(), ["fw open 192.0.2.1 tcp/1", "fw open 192.0.2.1 tcp/2"]);

    *script.generation.borrow_mut() += 7;
    firewall.open(&grant(3, "tcp/3", 30), NOW).unwrap();
    assert_eq!(script.changes(), ["fw check", "fw open 192.0.2.1 tcp/3"]);
}

#[test]
fn a_lost_set_up_is_made_again_and_the_grant_tried_once_more() {
    let lost = Script { check: "nothing there", ..Script::default() };
    firewall(&lost, None).open(&grant(1, "tcp/22", 30), NOW).unwrap();
    assert_eq!(lost.changes(), ["fw check", "fw set-up", "fw check", "fw open 192.0.2.1 tcp/22"]);

    let raced = Script { check: "in place", ..Script::default() };
    raced.refuse("fw open 192.0.2.1 tcp/22", NOT_THERE);
    firewall(&raced, None).open(&grant(1, "tcp/22", 30), NOW).unwrap();
    assert_eq!(raced.changes(), ["fw check", "fw set-up", "fw check", "fw open 192.0.2.1 tcp/22"]);

    let broken = Script { check: "in place", ..Script::default() };
    broken.refuse("fw open 192.0.2.1 tcp/22", NOT_THERE);
    broken.refuse("fw open 192.0.2.1 tcp/22", NOT_THERE);
    assert!(firewall(&broken, None).open(&grant(1, "tcp/22", 30), NOW).is_err());
}

/// Two knocks of one user within the same moment: what the first one opened is enough for the second, and would stay its own.
#[test]
fn a_renewed_grant_holds_its_rules_itself() {
    let script = Script { check: "in place", ..Script::default() };
    let there = || Some(entry(Some(30), "fwknop:1:1030"));
    let (first, second) = (grant(1, "tcp/22", 30), grant(2, "tcp/22", 30));
    let opened = |script: &Script| script.changes().contains(&"fw open 192.0.2.1 tcp/22".to_owned());
    firewall(&script, there()).open(&second, NOW).unwrap();
    assert!(!opened(&script), "somebody else's is enough");
    firewall(&script, there()).renew(&second, std::slice::from_ref(&first), NOW).unwrap();
    assert!(opened(&script));
}

#[test]
fn only_tagged_rules_that_should_still_be_open_are_adopted() {
    let script = Script::default();
    let adopt = |remaining, comment| firewall(&script, Some(entry(remaining, comment))).adopt(NOW).unwrap();
    let adopted = adopt(Some(20), "fwknop:5:1030");
    assert_eq!(
        (adopted[0].id, adopted[0].until, adopted[0].lifetime.secs()),
        (GrantId(5), NOW.plus(Duration::from_secs(21)), 21)
    );
    // The tag ends before what the kernel counts; it is cut to whole seconds, so its last second counts.
    assert_eq!(adopt(Some(600), "fwknop:5:1030")[0].until, Timestamp::from_secs(1_031));
    assert!(adopt(Some(20), "by hand").is_empty());
    assert!(adopt(None, "by hand").is_empty());
    assert!(script.changes().is_empty());
    assert!(adopt(Some(20), "fwknop:5:999").is_empty());
    assert_eq!(script.changes(), ["fw shut 192.0.2.1 tcp/22"]);
}

/// As from a ruleset that was saved without times and restored.
#[test]
fn a_tagged_rule_without_a_timeout_gets_one_or_goes() {
    let script = Script::default();
    let adopt = |comment| firewall(&script, Some(entry(None, comment))).adopt(NOW).unwrap();
    let adopted = adopt("fwknop:5:1030");
    assert_eq!((adopted[0].id, adopted[0].until), (GrantId(5), Timestamp::from_secs(1_031)));
    assert_eq!(script.changes(), ["fw open 192.0.2.1 tcp/22"]);
    assert!(adopt("fwknop:5:999").is_empty());
    assert_eq!(script.changes(), ["fw shut 192.0.2.1 tcp/22"]);

    // The kernel counts no further than a lifetime goes.
    let for_ever = adopt("fwknop:5:18446744073709551615");
    assert_eq!(for_ever[0].lifetime.secs(), u32::MAX);
    script.changes();

    // Somebody removed it since.
    script.refuse("fw open 192.0.2.1 tcp/22", NOT_THERE);
    assert!(adopt("fwknop:5:1030").is_empty());
}

#[test]
fn a_flush_that_somebody_disturbed_is_tried_once_more() {
    let once = Script::default();
    once.refuse("fw tear-down", NOT_THERE);
    firewall(&once, None).flush().unwrap();
    assert_eq!(*once.done.borrow(), ["fw survey", "fw survey", "fw tear-down"]);

    let twice = Script::default();
    twice.refuse("fw tear-down", NOT_THERE);
    twice.refuse("fw tear-down", NOT_THERE);
    assert!(firewall(&twice, None).flush().is_err());
    assert_eq!(*twice.done.borrow(), ["fw survey", "fw survey"]);
}

#[test]
fn foreign_comments_do_not_steer_the_terminal() {
    let listed = table(&[entry(None, "\u{1b}[2J")]);
    assert!(listed.contains("not ours: ?[2J") && !listed.contains('\u{1b}'), "{listed:?}");
    assert!(table(&[]).ends_with("nothing is open\n"));
}
