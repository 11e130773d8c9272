//! The main job: compose, seal, show, send.

use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;

use super::address::Kinds;
use super::args::Args;
use super::compose::{self, Circumstances, OuterPort};
use super::keys::{KeyLines, KeyReader};
use super::layers::Layers;
use super::options::{Given, Options, SendOptions, Transport};
use super::output::{complain, print, warn, write_private};
use super::packet::Packet;
use super::send::{FamilyChoice, Route, Sent};
use super::{Failure, user};
use crate::config::Complaints;
use crate::net::Port;
use crate::spa::{RandomValue, Request};
use crate::time::Timestamp;

pub(super) fn knock(args: &Args, mut options: Options) -> Result<(), Failure> {
    draw_ports(&mut options.send)?;
    if let Some(address) = look_up(args, &options)? {
        options.ask.allow = Some(address);
    }
    let options = &options;
    let here = circumstances()?;
    let now = here.now;
    let message = compose::compose(&options.ask, here)?;
    if let (OuterPort::Random, Request::Nat { ports, target, allow, .. }) = (options.ask.nat.outer, &message.request) {
        let port = ports.first().port;
        print(&format!(
            "[+] Randomly assigned port '{port}' on: '{allow},{ports}' will grant access to: '{target}'\n"
        ))?;
    }
    if options.ask.command.is_some() && options.ask.timeout.is_some() {
        warn("note: a command is sent without a timeout: --fw-timeout (FW_TIMEOUT) has no effect with -C");
    }
    if message.request.allow().is_ipv6() {
        warn("note: servers of the original refuse requests for an IPv6 address");
    }

    let lines = match (args.keys.stdin, args.keys.fd) {
        (true, _) => Some(KeyLines::stdin()),
        (false, Some(number)) => Some(KeyLines::descriptor(number)?),
        (false, None) => None,
    };
    let mut reader = KeyReader::new(lines, options.send.destination.clone(), now);
    let keys = reader.read(options)?;
    reader.warnings.iter().for_each(|warning| warn(&format!("warning: {warning}")));

    let packet = Packet::seal(message, keys, route(options).room())?;
    packet.notes(options.verbose).iter().for_each(|note| warn(note));
    if options.verbose > 0 || args.files.test {
        print(&format!("{}\n", packet.table(&options.scheme)?))?;
    }
    if let Some(path) = &args.files.save_packet {
        write_private(path, &format!("{}\n", packet.text()), args.files.save_packet_append)?;
    }
    deliver(args, options, &packet)
}

/// The address to let in, if it has to be found out.
fn look_up(args: &Args, options: &Options) -> Result<Option<IpAddr>, Failure> {
    let Some(look_up) = &options.look_up else { return Ok(None) };
    if look_up.is_open() {
        warn(
            "warning: our address is asked for without encryption: whoever is on the way can have another let in\n     \
             use an https address with --resolve-url, or -s",
        );
    }
    let kinds = match (route(options).kinds(), args.files.test) {
        (Ok(kinds), _) => kinds,
        // Nothing is sent there.
        (Err(_), true) => Kinds { v4: true, v6: true },
        (Err(error), false) => return Err(error.into()),
    };
    let address = look_up.find(kinds, USER_AGENT)?;
    if options.verbose > 0 {
        print(&format!("\n[+] Resolved external IP as: {address}\n"))?;
    }
    Ok(Some(address))
}

pub(super) fn meaning(args: &Args, layers: &Layers) -> Result<Options, Failure> {
    let given = Given {
        command: args.ask.server_cmd.clone().map(OsStringExt::into_vec),
        key_lines: args.keys.stdin || args.keys.fd.is_some(),
    };
    let mut complaints = Complaints::default();
    let options = Options::resolve(layers, given, &mut complaints);
    let (options, notes) = complaints.judge(options)?;
    complain(&notes);
    if options.send.destination.is_none() && !args.files.test {
        return Err(Failure::refused("no server is named", "name it with -D, or only make the packet with -T"));
    }
    Ok(options)
}

fn deliver(args: &Args, options: &Options, packet: &Packet) -> Result<(), Failure> {
    if options.verbose > 0 {
        print(&transmit_block(options))?;
    }
    if args.files.test {
        print("test mode enabled, SPA packet not actually sent.\n")?;
        if options.verbose > 0 {
            print("send_spa_packet: bytes sent: 0\n")?;
        }
        return match packet.check()? {
            Some(message) if options.verbose > 0 => {
                let table = packet.decoded_table(&message, &options.scheme)?;
                print(&format!("\nDump of the Decoded Data\n{table}\n"))
            }
            Some(_) => Ok(()),
            None => {
                warn("note: only the holder of the server's key can decrypt this packet");
                Ok(())
            }
        };
    }
    let Sent { to, bytes, answer } = transmit(options, packet)?;
    if options.verbose > 0 {
        print(&format!("send_spa_packet: bytes sent: {bytes}\n"))?;
    }
    if options.verbose > 1 {
        print(&format!("sent to {to}\n"))?;
    }
    match answer {
        Some(answer) if answer.code().is_some_and(|code| (400..500).contains(&code) && code != NOT_FOUND) => {
            warn(&format!(
                "note: the proxy, or a server behind it, answered {answer}: the packet may not have arrived"
            ));
            Ok(())
        }
        Some(answer) if options.verbose > 1 => print(&format!("answered {answer}\n")),
        _ => Ok(()),
    }
}

/// What a web server says to a packet.
const NOT_FOUND: u16 = 404;

fn transmit(options: &Options, packet: &Packet) -> Result<Sent, Failure> {
    let route = route(options);
    if options.send.transport == Transport::Http && !route.user_agent.starts_with("Fwknop") {
        warn("note: servers read a request only when its User-Agent begins with Fwknop, unless told otherwise");
    }
    if options.send.proxy.is_some() && options.ask.allow.is_some_and(|address| address.is_unspecified()) {
        warn(
            "note: with -s the server lets in the address it sees, which is that of the proxy\n     name yours with -a, or have it found with -R",
        );
    }
    Ok(route.send(packet.text())?)
}

pub(super) fn route(options: &Options) -> Route<'_> {
    let wants_ipv6 = options.ask.allow.is_some_and(|address| address.is_ipv6());
    Route {
        host: options.send.destination.as_deref().unwrap_or_default(), // `knock` refuses to send without one
        port: options.send.port,
        source_port: options.send.source_port,
        transport: options.send.transport,
        family: match (options.send.ipv4_only, wants_ipv6) {
            (true, _) => FamilyChoice::Ipv4Only,
            (false, true) => FamilyChoice::Ipv6First,
            (false, false) => FamilyChoice::Ipv4First,
        },
        user_agent: options.send.user_agent.as_deref().unwrap_or(USER_AGENT),
        proxy: options.send.proxy.as_ref(),
        forged: options.send.forged,
    }
}

const USER_AGENT: &str = concat!("Fwknop/", env!("CARGO_PKG_VERSION"));

fn transmit_block(options: &Options) -> String {
    let source = match options.send.source_port {
        0 => "<OS assigned>".to_owned(),
        port => port.to_string(),
    };
    format!(
        "Generating SPA packet:\n            protocol: {}\n         source port: {source}\n    \
         destination port: {}\n             IP/host: {}\n",
        options.send.transport.name(),
        options.send.port,
        options.send.destination.as_deref().unwrap_or("<NULL>"),
    )
}

/// Those that are to be random; for a raw packet the system chooses none.
fn draw_ports(send: &mut SendOptions) -> Result<(), Failure> {
    if send.random_port {
        send.port = random_port()?.get();
    }
    if matches!(send.transport, Transport::Raw(_)) && send.source_port == 0 {
        send.source_port = random_port()?.get();
    }
    Ok(())
}

pub(super) fn circumstances() -> Result<Circumstances, Failure> {
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
