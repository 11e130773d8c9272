//! A fault in this program must leave a trace: one line that says where. Not what: that could hold anything.

use std::io::Write as _;
use std::panic::{self, Location};
use std::sync::Mutex;

use super::journal::Level;
use super::syslog::Syslog;

/// From now on faults are told on standard error, and to syslog when there is one.
pub fn tell(syslog: Option<Syslog>) {
    let syslog = Mutex::new(syslog);
    panic::set_hook(Box::new(move |info| {
        let line = line(info.location());
        let _ = writeln!(std::io::stderr(), "{line}");
        if let Ok(mut syslog) = syslog.try_lock()
            && let Some(syslog) = &mut *syslog
        {
            syslog.write(Level::Error, &line);
        }
    }));
}

fn line(place: Option<&Location<'_>>) -> String {
    let place = place.map_or_else(|| String::from("an unknown place"), ToString::to_string);
    format!("[*] a fault in fwknopd, at {place}: please report this")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where() {
        let here = Location::caller();
        let line = line(Some(here));
        assert!(line.contains(&format!("{}:{}", here.file(), here.line())), "{line}");
    }
}
