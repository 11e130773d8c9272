//! The client program: options → message → packet → network, in the order of `spec/client.md` 1.
//!
//! [`args`] and the rc file ([`rc`]) give settings in [`layers`]; [`options`] says what they mean; [`compose`] makes the
//! message and [`keys`] fetches what seals it; [`packet`] puts it together, shows it and checks it; [`send`] sends it.

pub mod args;
pub mod compose;
pub mod keys;
pub mod layers;
pub mod options;
pub mod packet;
pub mod rc;
pub mod send;
pub mod table;
pub mod user;
pub mod variables;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use args::Args;
use clap::error::ErrorKind;
use compose::{Allow, Circumstances, OuterPort};
use keys::{KeyLines, KeyReader};
use layers::Layers;
use options::{Given, Options, Transport};
use packet::Packet;
use send::{FamilyChoice, Route};

use crate::cli::key_gen::{KeyLengths, NewKeys};
use crate::cli::{self, EXIT_FAILURE, EXIT_OK};
use crate::config::{Complaint, Complaints, Place};
use crate::net::Port;
use crate::spa::{RandomValue, Request};
use crate::time::Timestamp;

pub fn main() -> ExitCode {
    let code = match Args::read(std::env::args_os()) {
        Ok(args) => match run(args) {
            Ok(()) => EXIT_OK,
            Err(failure) => failure.report(),
        },
        Err(error) => usage(&error),
    };
    ExitCode::from(code)
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] Complaints),
    #[error("{what}\n     {advice}")]
    Refused { what: String, advice: &'static str },
    #[error(transparent)]
    Rc(#[from] rc::RcError),
    #[error(transparent)]
    Compose(#[from] compose::ComposeError),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    #[error(transparent)]
    Packet(#[from] packet::PacketError),
    #[error(transparent)]
    Send(#[from] send::SendError),
    #[error("the system's random source failed: {0}")]
    Random(getrandom::Error),
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
    #[error("{} cannot be written", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Failure {
    fn refused(what: impl Into<String>, advice: &'static str) -> Self {
        Failure::Refused { what: what.into(), advice }
    }

    fn report(&self) -> u8 {
        match self {
            Failure::Settings(complaints) => complain(complaints),
            other => warn(&cli::describe(other)),
        }
        EXIT_FAILURE
    }
}

fn run(args: Args) -> Result<(), Failure> {
    if args.files.version {
        return print(&format!(
            "fwknop client {}, FKO protocol version {}\n",
            env!("CARGO_PKG_VERSION"),
            compose::VERSION
        ));
    }
    refuse_unbuilt(&args)?;
    let rc_file = rc::locate(&args.files, std::env::var_os("HOME"))?;
    if let (true, Some(path)) = (args.files.stanza_list, &rc_file) {
        return list_stanzas(path);
    }
    let layers = settings(&args, rc_file.as_deref())?;
    if args.keys.key_gen || args.keys.key_gen_file.is_some() {
        return make_keys(&args, &layers);
    }
    knock(&args, &layers)
}

/// Options whose effect is missing are refused, never ignored.
fn refuse_unbuilt(args: &Args) -> Result<(), Failure> {
    let unbuilt = [
        (args.files.last_cmd, "--last-cmd", "put the options into a stanza, with --save-rc-stanza, and use -n"),
        (args.files.show_last, "--show-last", "the command line is never stored, as it may hold keys"),
        (args.send.http_proxy.is_some(), "--http-proxy", "send with -P udp, tcp or http"),
        (args.send.icmp_type.is_some(), "--icmp-type", "send with -P udp, tcp or http"),
        (args.send.icmp_code.is_some(), "--icmp-code", "send with -P udp, tcp or http"),
        (args.files.save_rc_stanza, "--save-rc-stanza", "write the stanza with an editor"),
    ];
    if args.files.fault_injection_tag.is_some() {
        return Err(Failure::refused("--fault-injection-tag is for test builds of the original", "leave it away"));
    }
    match unbuilt.into_iter().find(|(given, ..)| *given) {
        Some((_, option, advice)) => Err(Failure::refused(format!("{option} is not supported yet"), advice)),
        None => Ok(()),
    }
}

fn list_stanzas(path: &Path) -> Result<(), Failure> {
    let mut text = format!("The following stanzas are configured in {} :\n", path.display());
    rc::stanza_names(path)?.iter().for_each(|name| text.push_str(&format!(" - {name}\n")));
    print(&text)
}

/// All layers, checked; what is odd but no mistake is said.
fn settings(args: &Args, rc_file: Option<&Path>) -> Result<Layers, Failure> {
    let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
    if let Some(path) = rc_file {
        if rc::create_if_missing(path)? {
            print(&format!("[*] Creating initial rc file: {}.\n", path.display()))?;
        }
        rc::add_layers(path, args.files.named_config.as_deref(), &mut layers, &mut complaints);
    }
    layers.add_command_line(args.settings(), &mut complaints);
    if complaints.has_errors() {
        return Err(complaints.into());
    }
    complain(&complaints);
    for option in args.exposed_secrets() {
        warn(&format!(
            "warning: everybody on this machine can read the key after {option}\n     \
             put it into the rc file, or write it to standard input and use --stdin"
        ));
    }
    Ok(layers)
}

fn make_keys(args: &Args, layers: &Layers) -> Result<(), Failure> {
    let usual = KeyLengths::for_digest(options::digest(layers, "HMAC_DIGEST_TYPE"));
    let lengths = KeyLengths {
        encryption: args.keys.key_len.map_or(usual.encryption, usize::from),
        hmac: args.keys.hmac_key_len.map_or(usual.hmac, usize::from),
    };
    let keys = NewKeys::generate(lengths).map_err(Failure::Random)?;
    match &args.keys.key_gen_file {
        None => print(keys.lines().expose()),
        Some(path) => {
            write_private(path, keys.lines().expose(), false)?;
            print(&format!("[+] Wrote Rijndael and HMAC keys to: {}\n", path.display()))
        }
    }
}

/// The main job: compose, seal, show, send.
fn knock(args: &Args, layers: &Layers) -> Result<(), Failure> {
    let options = meaning(args, layers)?;
    if options.send.destination.is_none() && !args.files.test {
        return Err(Failure::refused("no server is named", "name it with -D, or only make the packet with -T"));
    }
    let message = compose::compose(&options.ask, circumstances()?)?;
    if let (OuterPort::Random, Request::Nat { ports, target, allow, .. }) = (options.ask.nat.outer, &message.request) {
        let port = ports.first().port;
        print(&format!(
            "[+] Randomly assigned port '{port}' on: '{allow},{ports}' will grant access to: '{target}'\n"
        ))?;
    }
    if message.request.allow().is_ipv6() {
        warn("note: servers of the original refuse requests for an IPv6 address");
    }

    let lines = match (args.keys.stdin, args.keys.fd) {
        (true, _) => Some(KeyLines::stdin()),
        (false, Some(number)) => Some(KeyLines::descriptor(number)?),
        (false, None) => None,
    };
    let mut reader = KeyReader::new(lines, options.send.destination.clone());
    let keys = reader.read(&options)?;
    reader.warnings.iter().for_each(|warning| warn(&format!("warning: {warning}")));

    let packet = Packet::seal(message, &options.scheme, keys)?;
    packet.notes(options.verbose).iter().for_each(|note| warn(note));
    if options.verbose > 0 || args.files.test {
        print(&format!("{}\n", packet.table(&options.scheme)?))?;
    }
    if let Some(path) = &args.files.save_packet {
        write_private(path, &format!("{}\n", packet.text()), args.files.save_packet_append)?;
    }
    deliver(args, &options, &packet)
}

fn meaning(args: &Args, layers: &Layers) -> Result<Options, Failure> {
    let given = Given {
        command: args.ask.server_cmd.clone().map(OsStringExt::into_vec),
        key_lines: args.keys.stdin || args.keys.fd.is_some(),
    };
    let mut complaints = Complaints::default();
    let options = Options::resolve(layers, given, &mut complaints);
    let (options, notes) = complaints.judge(options)?;
    complain(&notes);
    Ok(options)
}

fn deliver(args: &Args, options: &Options, packet: &Packet) -> Result<(), Failure> {
    let port = if options.send.random_port { random_port()?.get() } else { options.send.port };
    if options.verbose > 0 {
        print(&transmit_block(options, port))?;
    }
    if args.files.test {
        print("test mode enabled, SPA packet not actually sent.\n")?;
        if options.verbose > 0 {
            print("send_spa_packet: bytes sent: 0\n")?;
        }
        let again = packet.check()?;
        if options.verbose > 0 {
            let table = packet.decoded_table(&again, &options.scheme)?;
            print(&format!("\nDump of the Decoded Data\n{table}\n"))?;
        }
        return Ok(());
    }
    let (to, bytes) = transmit(options, packet, port)?;
    if options.verbose > 0 {
        print(&format!("send_spa_packet: bytes sent: {bytes}\n"))?;
    }
    if options.verbose > 1 {
        print(&format!("sent to {to}\n"))?;
    }
    Ok(())
}

fn transmit(options: &Options, packet: &Packet, port: u16) -> Result<(SocketAddr, usize), Failure> {
    let agent = options.send.user_agent.as_deref().unwrap_or(USER_AGENT);
    if options.send.transport == Transport::Http && !agent.starts_with("Fwknop") {
        warn("note: servers read a request only when its User-Agent begins with Fwknop, unless told otherwise");
    }
    let wants_ipv6 = matches!(options.ask.allow, Some(Allow::Address(address)) if address.is_ipv6());
    let route = Route {
        host: options.send.destination.as_deref().unwrap_or_default(), // `knock` refuses to go on without one
        port,
        source_port: options.send.source_port,
        transport: options.send.transport,
        family: match (options.send.ipv4_only, wants_ipv6) {
            (true, _) => FamilyChoice::Ipv4Only,
            (false, true) => FamilyChoice::Ipv6First,
            (false, false) => FamilyChoice::Ipv4First,
        },
        user_agent: agent,
    };
    Ok(route.send(packet.text())?)
}

const USER_AGENT: &str = concat!("Fwknop/", env!("CARGO_PKG_VERSION"));

fn transmit_block(options: &Options, port: u16) -> String {
    let source = match options.send.source_port {
        0 => "<OS assigned>".to_owned(),
        port => port.to_string(),
    };
    format!(
        "Generating SPA packet:\n            protocol: {}\n         source port: {source}\n    \
         destination port: {port}\n             IP/host: {}\n",
        options.send.transport.name(),
        options.send.destination.as_deref().unwrap_or("<NULL>"),
    )
}

fn circumstances() -> Result<Circumstances, Failure> {
    Ok(Circumstances {
        now: Timestamp::now(),
        random: RandomValue::generate().map_err(Failure::Random)?,
        random_port: random_port()?,
        user_names: user::names(),
    })
}

/// 10000 to 65534, each equally likely. Not taken from the packet, of which it would tell five digits.
fn random_port() -> Result<Port, Failure> {
    const FIRST: u16 = 10_000;
    const LAST: u16 = 65_534;
    loop {
        let mut bytes = [0u8; 2];
        getrandom::fill(&mut bytes).map_err(Failure::Random)?;
        let port = u16::from_ne_bytes(bytes);
        if let (FIRST..=LAST, Some(port)) = (port, Port::new(port)) {
            return Ok(port);
        }
    }
}

/// Writes a file that only its owner can read: a packet opens a door, and keys open all of them.
fn write_private(path: &Path, text: &str, append: bool) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| Failure::File { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if append {
        options.append(true)
    } else {
        options.write(true).truncate(true)
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// To people, on standard error. When that is closed, nobody listens.
fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "fwknop: {text}");
}

fn complain(complaints: &Complaints) {
    complaints.iter().for_each(|complaint| warn(&shown(complaint)));
}

/// On the command line nobody wrote the variable's name that the check puts in front.
fn shown(complaint: &Complaint) -> String {
    let mut complaint = complaint.clone();
    if let Place::Option(_) = complaint.place
        && let Some((name, what)) = complaint.what.split_once(": ")
        && variables::TABLE.variables.iter().any(|variable| variable.name == name)
    {
        complaint.what = what.to_owned();
    }
    complaint.to_string()
}

/// Help goes to standard output and is no failure.
fn usage(error: &clap::Error) -> u8 {
    if error.kind() == ErrorKind::DisplayHelp {
        return if error.print().is_ok() { EXIT_OK } else { EXIT_FAILURE };
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines.next().unwrap_or_default();
    let tip = lines.find_map(|line| line.strip_prefix("tip: ")).unwrap_or("see: fwknop --help");
    warn(&format!("{}\n     {tip}", what.strip_prefix("error: ").unwrap_or(what)));
    EXIT_FAILURE
}
