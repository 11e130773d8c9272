//! What goes wrong while grants are open: nothing stays open longer than its time, and nothing is lost that should be open.

mod clock;
mod disk;
mod kill;
mod many;
mod refusal;
mod reload;
mod saved;

use crate::support::scene::Scene;

/// How many rules or elements of grants the firewall holds.
fn held(scene: &Scene) -> usize {
    let rules = scene.ruleset();
    rules.matches("\"fwknop:").count() + rules.matches("_exp_").count()
}

/// A grant of several rules, in several tables where the firewall has some.
const FORWARD: &[&str] = &["-n", "2201", "-N", "10.72.0.2:22"];
const FORWARDING: &str = "ENABLE_IPT_FORWARDING Y;\nENABLE_IPT_SNAT Y;\n";
