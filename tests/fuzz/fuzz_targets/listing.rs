//! What the firewalls' own tools print: others wrote most of it. The first byte chooses the firewall.
#![no_main]

use std::cell::RefCell;
use std::rc::Rc;

use fwknop::firewall::{ALL, Failed, Features, Firewall, FirewallSettings, Output, Runner, Step};
use fwknop::grant::{Access, Grant, GrantId};
use fwknop::time::{Lifetime, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let nat = choice & 0x80 != 0;
    let features = Features { forwarding: nat, local_nat: nat, source_nat: nat, ..Features::default() };
    let settings = FirewallSettings { features, ..FirewallSettings::default() };
    let backend = ALL[usize::from(choice & 0x7f) % ALL.len()].backend(&settings);
    let now = Timestamp::from_secs(1_748_779_000);
    let steps = Rc::new(RefCell::new(Vec::new()));
    let machine = Machine { prints: text.to_owned(), steps: steps.clone() };
    let mut firewall = Firewall::with(backend, Box::new(machine));
    let listed = firewall.list(false).unwrap_or_default();
    assert!(listed.chars().all(|letter| letter == '\n' || !letter.is_control()), "{listed:?}");
    for concern in firewall.check(&|_| true) {
        assert!(!concern.what.is_empty() && !concern.advice.is_empty(), "{concern:?}");
    }
    if firewall.set_up().is_ok() {
        for grant in firewall.adopt(now).unwrap_or_default() {
            assert!(grant.until > now, "{grant:?}");
            let _ = firewall.close(&grant);
        }
        let _ = firewall.open(&grant(now), now);
        let _ = firewall.tidy(now.plus(std::time::Duration::from_secs(60)));
    }
    let _ = firewall.flush();
    steps.borrow().iter().for_each(harmless);
});

/// Nothing that a program could take for two arguments or two lines.
fn harmless(step: &Step) {
    match step {
        Step::Command(command) => {
            for arg in &command.args {
                assert!(!arg.chars().any(|letter| letter.is_control()), "{command:?}");
            }
        }
        Step::Line(line) => assert!(!line.text.contains('\n'), "{line:?}"),
        _ => {}
    }
}

fn grant(now: Timestamp) -> Grant {
    let lifetime = Lifetime::from_secs(30).expect("not zero");
    Grant {
        id: GrantId(9),
        allow: "198.51.100.7".parse().expect("an address"),
        access: Access::Open("tcp/22,udp/53".parse().expect("two services")),
        at: None,
        lifetime,
        until: now.plus(lifetime.as_duration()),
        certificate: None,
        knock: None,
    }
}

/// Prints the same whatever it is asked, and obeys.
struct Machine {
    prints: String,
    steps: Rc<RefCell<Vec<Step>>>,
}

impl Runner for Machine {
    fn run(&mut self, steps: &[Step]) -> Result<Vec<Output>, Failed> {
        self.steps.borrow_mut().extend(steps.iter().cloned());
        let output = |step: &Step| match step {
            Step::Command(_) => Output::Text(self.prints.clone()),
            Step::Generation => Output::Generation(1),
            Step::Element(..) => Output::Found(None),
            Step::Edit(edit) => {
                if let Ok(commands) = edit.firewall.commands(&self.prints, &[edit]) {
                    commands.into_iter().for_each(|part| harmless(&Step::Command(part.command)));
                }
                Output::Done
            }
            _ => Output::Done,
        };
        Ok(steps.iter().map(output).collect())
    }
}
