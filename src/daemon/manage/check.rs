//! `fwknopd check`: what would keep the daemon from working, told before it is started. Nothing is changed.
//!
//! Each part is looked at by the very code that the start runs, as far as that can be done without consequences; when the
//! configuration is wrong, whatever can be said without it is said nevertheless.

use serde_json::{Value, json};

use super::{Places, say};
use crate::access::AccessTable;
use crate::capture::Error;
use crate::cli::describe;
use crate::cli::keys::Ended;
use crate::config::{Complaint, Complaints, ServerSettings, Severity};
use crate::daemon::sources::Sources;
use crate::daemon::{pidfile, run_dir, settings};
use crate::firewall::{self, Concern, FIREWALLD, Firewall, IPTABLES};
use crate::net::Service;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Check {
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    pub fn run(self, places: &Places) -> Result<(), Ended> {
        let mut report = Report::default();
        let (server, access) = match settings::load(&places.options()?, Timestamp::now()) {
            Ok(all) => {
                report.add("configuration", complained(&all.remarks));
                (Some(all.server), all.access)
            }
            Err(complaints) => {
                report.add("configuration", complained(&complaints));
                (places.server().ok(), AccessTable::new(Vec::new()))
            }
        };
        if let Some(server) = server {
            let (running, concerns) = another(&server);
            report.add("daemon", concerns);
            report.add("run directory", unsafe_directory(&server));
            report.add("capture", deaf(&server, running));
            let needed = access.needs_firewall() || access.iter().next().is_none();
            report.add("firewall", if needed { of_firewall(&server, &access) } else { Vec::new() });
        }
        report.end(self.json)
    }
}

/// What was looked at, and what was found there.
#[derive(Default)]
struct Report(Vec<(&'static str, Vec<Concern>)>);

impl Report {
    fn add(&mut self, part: &'static str, concerns: Vec<Concern>) {
        self.0.push((part, concerns));
    }

    /// Shows it, the worst of it as exit code as well.
    fn end(&self, json: bool) -> Result<(), Ended> {
        match json {
            true => say(&format!("{}\n", self.as_json()))?,
            false => say(&self.text())?,
        }
        match self.0.iter().flat_map(|(_, concerns)| concerns).map(|concern| concern.grave).max() {
            None => Ok(()),
            Some(false) => Err(Ended::Attention),
            Some(true) => Err(Ended::Unfit),
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (part, concerns) in &self.0 {
            let state = match concerns.iter().any(|concern| concern.grave) {
                true => "will not work",
                false if concerns.is_empty() => "good",
                false => "needs attention",
            };
            text.push_str(&format!("{part}: {state}\n"));
            for Concern { what, advice, .. } in concerns {
                text.push_str(&format!("  {what}\n"));
                if !advice.is_empty() {
                    text.push_str(&format!("     {advice}\n"));
                }
            }
        }
        text
    }

    fn as_json(&self) -> Value {
        let finding =
            |Concern { grave, what, advice }: &Concern| json!({"grave": grave, "what": what, "advice": advice});
        let part = |(part, concerns): &(&str, Vec<Concern>)| json!({"part": part, "findings": concerns.iter().map(finding).collect::<Value>()});
        self.0.iter().map(part).collect()
    }
}

/// Notes are for readers of the log: they harm nobody.
fn complained(complaints: &Complaints) -> Vec<Concern> {
    let concern = |complaint: &Complaint| {
        let text = Complaint { advice: String::new(), ..complaint.clone() }.to_string();
        Concern { grave: complaint.severity == Severity::Error, what: text, advice: complaint.advice.clone() }
    };
    complaints.iter().filter(|complaint| complaint.severity != Severity::Note).map(concern).collect()
}

/// Whether a daemon runs already, and what that means for starting one.
fn another(server: &ServerSettings) -> (bool, Vec<Concern>) {
    match pidfile::confirmed(&server.pid_file, |_| Ok(())) {
        Ok(None) => (false, Vec::new()),
        Ok(Some((pid, ()))) => {
            let what =
                format!("a daemon is running already (PID={}), so another would not start", pid.as_raw_nonzero());
            (
                true,
                vec![Concern::minor(what, "let it read its files again with fwknopd -R, or stop it with fwknopd -K")],
            )
        }
        Err(error) => (true, vec![Concern::grave(describe(&error), "FWKNOP_PID_FILE names another pid file")]),
    }
}

/// One that is not there is made at the start.
fn unsafe_directory(server: &ServerSettings) -> Vec<Concern> {
    match run_dir::look(&server.run_dir) {
        Err(run_dir::Error::Unusable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Ok(()) => Vec::new(),
        Err(error) => {
            let (text, otherwise) = (describe(&error), "name another in FWKNOP_RUN_DIR");
            let (what, advice) = text
                .split_once(": `")
                .map_or((&*text, otherwise.to_owned()), |(what, command)| (what, format!("`{command}")));
            vec![Concern::grave(what, advice)]
        }
    }
}

fn deaf(server: &ServerSettings, running: bool) -> Vec<Concern> {
    // The sockets of the one that runs are in the way, as they should be.
    let in_the_way = |error: &Error| running && matches!(error, Error::Bind { .. });
    let failing = Sources::failing(&server.capture).into_iter().filter(|error| !in_the_way(error));
    let advice = |error: &Error| match error {
        Error::Bind { .. } => "see who listens there with: ss -lnup, ss -lntp; or name another port",
        _ => "PCAP_INTF names the interface; see: ip link",
    };
    failing.map(|error| Concern::grave(describe(&error), advice(&error))).collect()
}

fn of_firewall(server: &ServerSettings, access: &AccessTable) -> Vec<Concern> {
    // What a stanza forwards does not pass the input chain; a command cycle takes the place of the firewall.
    let opening = || access.iter().filter(|stanza| stanza.nat.forced.is_none() && stanza.cycle.is_none());
    let opens = |service: Service| {
        opening().any(|stanza| {
            let denied = stanza.restrict_ports.as_ref().is_some_and(|ports| ports.contains(service));
            !denied && stanza.open_ports.as_ref().is_none_or(|ports| ports.contains(service))
        })
    };
    let mut concerns = Firewall::new(&server.firewall).check(&opens);
    concerns.extend(firewall::forwarding(server.firewall.features));
    let masquerades = access.iter().any(|stanza| stanza.cycle.is_none() && stanza.nat.masquerades());
    let as_the_original = [IPTABLES, FIREWALLD].contains(&server.firewall.backend);
    concerns.extend((masquerades && as_the_original).then(firewall::one_at_a_time));
    concerns
}
