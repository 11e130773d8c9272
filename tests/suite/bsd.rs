//! ipfw and PF, with stand-ins for their programs: what the daemon tells them, and what becomes of it. None of it was run on
//! a BSD.

mod check;
mod each;
mod ipfw;
mod pf;

use crate::support::peers::Maker;
use crate::support::scene::PORT;
use crate::support::stand_in::{Kind, StandIn};

/// Proves it for each of them, side by side.
fn each(prove: fn(Kind)) {
    each_of(&[Kind::Ipfw, Kind::PfOfOpenBsd, Kind::PfOfFreeBsd], prove);
}

fn each_of(kinds: &[Kind], prove: fn(Kind)) {
    std::thread::scope(|scope| {
        for kind in kinds {
            scope.spawn(move || prove(*kind));
        }
    });
}

impl StandIn {
    /// A knock of our client, with the keys of the usual port and these options.
    fn ask(&self, options: &[&str]) {
        let port = PORT.to_string();
        let args = [&["-n", &*port], options].concat();
        self.scene.client.knock(&self.scene.world.client, Maker::Ours, &args);
    }
}
