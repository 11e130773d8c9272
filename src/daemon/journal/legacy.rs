//! The original's lines, in its wording (`spec/server.md` 10).

use super::Level;
use crate::crypto::Signer;
use crate::daemon::command::Ended;
use crate::gate::Refusal;
use crate::grant::{Access, Errand, Grant, Half, RunAs, Task};
use crate::net::Origin;
use crate::reason::Reason;
use crate::replay::Seen;

/// L06, L17 and L41, or L31.
pub fn opened(grant: &Grant, target: &str) -> Vec<(Level, String)> {
    let mut lines = Vec::new();
    if let Some(knock) = &grant.knock {
        let (src, stanza) = (knock.origin.src, knock.stanza);
        lines.push(format!("(stanza #{stanza}) SPA Packet from IP: {src} received with access source match"));
        if let Signer::Certificate { signing, .. } = &knock.signer {
            let id = signing.short_id();
            lines.push(format!(
                "[{src}] (stanza #{stanza}) Incoming SPA data signed by '{id}' (fingerprint '{signing}')."
            ));
        }
    }
    let any = if grant.allow.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
    let at = grant.at.map_or_else(|| any.to_owned(), |at| at.to_string());
    let asked = grant.access.ports().map_or("*/*".to_owned(), ToString::to_string);
    for (kind, to) in rules(&grant.access, &at, any) {
        let (allow, until) = (grant.allow, grant.until);
        lines.push(format!("Added {kind} rule to {target} for {allow} -> {to} {asked}, expires at {until}"));
    }
    if let Some(close) = grant.errand(Half::Close) {
        let (at, lasts, command) = (stanza(&close), grant.lifetime.secs(), shown(&close.task.command()));
        lines.push(format!("{at}Running CMD_CYCLE_CLOSE command in {lasts} seconds: {command}"));
    }
    lines.into_iter().map(|line| (Level::Info, line)).collect()
}

/// The rules of the original for the same thing, and their destinations.
fn rules<'a>(access: &Access, at: &'a str, any: &'a str) -> Vec<(&'static str, &'a str)> {
    match access {
        Access::Open(_) => vec![("access", at)],
        Access::Cycle(_) => Vec::new(),
        Access::Local { .. } => vec![("local NAT", at), ("DNAT", at)],
        Access::Forward(forward) => {
            let names = match &forward.ports {
                Some(_) => ["FORWARD", "DNAT", "SNAT"],
                None => ["FORWARD ALL", "DNAT ALL", "SNAT ALL"],
            };
            let made = [true, forward.translated, forward.source.is_some()];
            let named = names.into_iter().zip([any, at, any]).zip(made);
            named.filter(|(_, made)| *made).map(|(rule, _)| rule).collect()
        }
    }
}

/// L36, and L37 or L38; L30 for cycles.
pub fn running(errand: &Errand) -> Vec<(Level, String)> {
    let at = stanza(errand);
    let command = shown(&errand.task.command());
    match &errand.task {
        Task::Message(_) => {}
        Task::Cycle { half: Half::Open, .. } => {
            return vec![(Level::Info, format!("{at}Running CMD_CYCLE_OPEN command: {command}"))];
        }
        Task::Cycle { half: Half::Close, .. } => return Vec::new(),
    }
    let RunAs { user, group, .. } = &errand.run_as;
    let run = match user {
        None => format!("{at}Running command '{command}'"),
        Some(user) => {
            let group = group.as_ref().unwrap_or(user);
            let (name, uid, group, gid) = (&user.name, user.id, &group.name, group.gid);
            format!("{at}Running command '{command}' setuid/setgid user/group to {name}/{group} (UID={uid},GID={gid})")
        }
    };
    vec![(Level::Info, format!("{at}Processing SPA Command message: command='{command}'.")), (Level::Info, run)]
}

/// L32.
pub fn timed_out(close: &Errand) -> String {
    let (allow, stanza, command) = (close.allow, close.knock.stanza, shown(&close.task.command()));
    format!("[{allow}] (stanza #{stanza}) Timer expired, running CMD_CYCLE_CLOSE command: {command}")
}

/// L39. Of cycles the original says nothing.
pub fn ran(errand: &Errand, ended: &Ended) -> Option<(Level, String)> {
    let Task::Message(_) = errand.task else { return None };
    let code = ended.status.code().unwrap_or(-1);
    let text = format!(
        "{}CMD_EXEC: command returned {code}, pid_status: {}",
        stanza(errand),
        std::os::unix::process::ExitStatusExt::into_raw(ended.status)
    );
    Some((Level::Info, text))
}

fn stanza(errand: &Errand) -> String {
    format!("[{}] (stanza #{}) ", errand.knock.origin.src, errand.knock.stanza)
}

/// On one line, whatever it is.
fn shown(command: &str) -> String {
    command.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// L42, with the grant for the rule number.
pub fn expired(grant: &Grant) -> String {
    format!("Removed rule {} from fwknop with expire time of {}", grant.id, grant.until)
}

/// The line for a refusal, if the original writes one.
pub fn refused(origin: &Origin, refusal: &Refusal) -> Option<(Level, String)> {
    let src = origin.src;
    let stanza = refusal.stanza.map(|stanza| format!("(stanza #{stanza}) ")).unwrap_or_default();
    let at = format!("[{src}] {stanza}");
    let warning = |text: String| Some((Level::Warning, text));
    match &refusal.reason {
        // L01
        Reason::PrefixPresent | Reason::NotBase64 | Reason::NotCanonical | Reason::NotHttpSpa => Some((
            Level::Debug,
            format!("[{src}] preprocess_spa_data() returned error 4098: 'not an SPA message' for incoming packet."),
        )),
        // The original has no such line, and whoever reads one bans the sender.
        Reason::PacketTooShort | Reason::PacketTooLong | Reason::Busy => None,
        Reason::NoSourceMatch => warning(format!("No access data found for source IP: {src}")), // L03
        Reason::Replay => warning(replay(origin, refusal.first_seen.as_deref())),
        Reason::StanzaExpired => Some((Level::Info, format!("{at}Access stanza has expired"))), // L08
        Reason::NoKey => Some((Level::Error, format!("{at}No stanza encryption mode match for encryption type: 1."))), // L12
        Reason::HmacMismatch => warning(format!("{at}Error creating fko context: HMAC_COMPAREFAIL")), // L13
        Reason::SignerNotListed(by) => warning(format!(
            "{at}Incoming SPA packet signed by: {by}, but that fingerprint is not in the GPG_FINGERPRINT_ID list." // L18
        )),
        Reason::TooOld(age) => warning(format!(
            "{at}SPA data time difference is too great ({} seconds).", // L22
            age.seconds.unsigned_abs()
        )),
        Reason::SourceAddressRequired => warning(format!("{at}Got 0.0.0.0 when valid source IP was required.")), // L25
        Reason::UsernameMismatch(names) => warning(format!(
            "{at}Username in SPA data ({}) does not match required username: {}", // L26
            names.found, names.required
        )),
        // L27 carries the address inside, not in front.
        Reason::NatDisabled | Reason::NatTarget => {
            warning(format!("{stanza}SPA packet from {src} requested NAT access, but is not enabled/supported"))
        }
        Reason::NatName => {
            warning("Received Hostname in NAT SPA message, but hostname is disabled.".to_owned()) // L47
        }
        Reason::CommandDisabled => {
            warning(format!("{at}SPA Command messages are not allowed in the current configuration.")) // L34
        }
        Reason::PortDenied => {
            warning(format!("{at}One or more requested protocol/ports was denied per access.conf.")) // L28
        }
        Reason::ReplayStore => warning(format!("{at}Could not add digest to replay cache")), // L15
        // Everything else went wrong while decrypting or decoding: L13.
        other => warning(format!("{at}Error creating fko context: {other}")),
    }
}

/// L04.
fn replay(origin: &Origin, first: Option<&Seen>) -> String {
    let (original, created) = match first {
        Some(seen) => (seen.origin, jiff_time(seen.at.secs())),
        None => (*origin, String::from("unknown")),
    };
    format!(
        "Replay detected from source IP: {}, Destination proto/port: {}/{}, Original source IP: {}, \
         Original dst proto/port: {}/{}, Entry created: {created}",
        origin.src, origin.proto, origin.dst_port, original.src, original.proto, original.dst_port
    )
}

/// `MM/DD/YY HH:MM:SS`, local time.
fn jiff_time(secs: u64) -> String {
    let moment = i64::try_from(secs).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    let local = moment.map(|moment| moment.to_zoned(jiff::tz::TimeZone::system()));
    local.map_or_else(|| secs.to_string(), |local| local.strftime("%m/%d/%y %H:%M:%S").to_string())
}
