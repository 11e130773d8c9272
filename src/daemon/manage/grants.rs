//! `fwknopd grants`: what is open now, asked of the running daemon, and closing it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::{Places, say, values};
use crate::cli::consent::{Consent, Plan};
use crate::cli::keys::Ended;
use crate::crypto::openpgp::Fingerprint;
use crate::daemon::control::ask::{self, Connection};
use crate::daemon::control::protocol::{Answer, Open, Request, Which};
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Grants {
    #[command(subcommand)]
    command: Option<Change>,
    #[arg(long)]
    json: bool,
    /// Stay, and tell what opens and closes
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Close what is open before its time
    Close {
        /// Numbers of grants
        #[arg(value_name = "GRANT", add = values::grants(), required_unless_present = "certificate")]
        grants: Vec<u64>,
        /// All that signatures of this certificate opened
        #[arg(long, value_name = "FINGERPRINT", conflicts_with = "grants")]
        certificate: Option<Fingerprint>,
        #[command(flatten)]
        consent: Consent,
    },
}

pub fn run(command: Grants, places: &Places) -> Result<(), Ended> {
    let now = Timestamp::now();
    let mut daemon = connect(places)?;
    match command.command {
        None if command.watch => watch(&mut daemon, command.json),
        None => list(&mut daemon, command.json, now),
        Some(Change::Close { grants, certificate, consent }) => {
            let certificate = certificate.map(|key| key.to_string());
            close(&mut daemon, &grants, certificate, consent, now)
        }
    }
}

fn connect(places: &Places) -> Result<Connection, Ended> {
    let none = || Ended::refused("no daemon is running", "start it with: fwknopd");
    ask::connect(&places.server()?.run_dir).map_err(failed)?.ok_or_else(none)
}

fn list(daemon: &mut Connection, json: bool, now: Timestamp) -> Result<(), Ended> {
    let open = daemon.grants().map_err(failed)?;
    if json {
        let text = serde_json::to_string(&open).map_err(Ended::other)?;
        return say(&format!("{text}\n"));
    }
    if open.is_empty() {
        return say("nothing is open\n");
    }
    let lines: Vec<String> = open.iter().map(|open| shown(open, now) + "\n").collect();
    say(&lines.concat())
}

/// What is open, and from then on what opens and closes, a line each, until somebody ends us or the daemon ends.
fn watch(daemon: &mut Connection, json: bool) -> Result<(), Ended> {
    let mut known = BTreeMap::new();
    let mut seen = 0;
    loop {
        let open: BTreeMap<u64, Open> =
            daemon.grants().map_err(failed)?.into_iter().map(|open| (open.grant, open)).collect();
        for event in events(&known, &open) {
            say(&event.line(json, Timestamp::now())?)?;
        }
        known = open;
        // However busy the daemon is: it is not to be asked all the time.
        std::thread::sleep(BREATH);
        seen = daemon.watch(seen).map_err(failed)?;
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(flatten)]
    open: &'a Open,
}

fn events<'a>(before: &'a BTreeMap<u64, Open>, after: &'a BTreeMap<u64, Open>) -> Vec<Event<'a>> {
    let only = |event, these: &'a BTreeMap<u64, Open>, those: &'a BTreeMap<u64, Open>| {
        these.values().filter(|open| !those.contains_key(&open.grant)).map(move |open| Event { event, open })
    };
    only("close", before, after).chain(only("open", after, before)).collect()
}

impl Event<'_> {
    fn line(&self, json: bool, now: Timestamp) -> Result<String, Ended> {
        if json {
            return Ok(serde_json::to_string(self).map_err(Ended::other)? + "\n");
        }
        Ok(format!("{:<5}  {}\n", self.event, shown(self.open, now)))
    }
}

/// Between two looks at all that is open.
const BREATH: Duration = Duration::from_millis(100);

fn close(
    daemon: &mut Connection,
    grants: &[u64],
    certificate: Option<String>,
    consent: Consent,
    now: Timestamp,
) -> Result<(), Ended> {
    let open = daemon.grants().map_err(failed)?;
    let is_meant = |open: &&Open| match &certificate {
        Some(_) => open.signer == certificate,
        None => grants.contains(&open.grant),
    };
    let meant: Vec<&Open> = open.iter().filter(is_meant).collect();
    if let Some(missing) = grants.iter().find(|id| meant.iter().all(|open| open.grant != **id)) {
        return Err(not_open(format!("there is no grant {missing}")));
    }
    if let (Some(key), true) = (&certificate, meant.is_empty()) {
        return Err(not_open(format!("nothing is open for the certificate {key}")));
    }
    let mut plan = Plan::default();
    for open in &meant {
        plan.step(format!("close {}", shown(open, now)));
    }
    consent.obtain(&plan)?;
    // What has ended while somebody was asked needs no closing.
    match certificate {
        Some(key) => closed(daemon.ask(&Request::Close(Which::Certificate(key))))?,
        None => grants.iter().try_for_each(|id| closed(daemon.ask(&Request::Close(Which::Grant(*id)))))?,
    }
    let numbers: Vec<u64> = meant.iter().map(|open| open.grant).collect();
    Ok(consent.done(&plan, [("grants", json!(numbers))], "")?)
}

fn closed(answer: Result<Answer, ask::Error>) -> Result<(), Ended> {
    match answer.map_err(failed)? {
        Answer::Closed { .. } => Ok(()),
        other => Err(failed(ask::Error::unexpected(&other))),
    }
}

fn not_open(what: String) -> Ended {
    Ended::not_found(what, "see what is open with: fwknopd grants")
}

fn failed(error: ask::Error) -> Ended {
    Ended::other(error)
}

/// One line, safe for a terminal.
fn shown(open: &Open, now: Timestamp) -> String {
    let left = open.until.saturating_sub(now.secs());
    let mut line = format!("{}  {}  {}  {left}s", open.grant, open.allow, open.ports);
    let more = [
        ("to", &open.to),
        ("source-nat", &open.source_nat),
        ("stanza", &open.stanza),
        ("user", &open.user),
        ("signer", &open.signer),
        ("user-id", &open.user_id),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            line.push_str(&format!("  {name}={}", value.escape_debug()));
        }
    }
    if let Some(source) = open.source.filter(|source| *source != open.allow) {
        line.push_str(&format!("  from={source}"));
    }
    line
}

/// For shells: what can be closed.
pub fn numbers(places: &Places, now: Timestamp) -> Result<Vec<(String, String)>, Ended> {
    let open = connect(places)?.grants().map_err(failed)?;
    Ok(open.iter().map(|open| (open.grant.to_string(), shown(open, now))).collect())
}
