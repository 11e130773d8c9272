//! Real sockets, on the loopback device of a network namespace of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use fwknop::crypto::rijndael::Mode;

use super::{Home, PROGRAM, read};
use crate::support::namespace;
use crate::support::peers::Maker;
use crate::support::{PATIENCE, within};

const INSIDE: &str = "CLIENT_TEST_INSIDE";
const ASK: [&str; 6] = ["--no-rc-file", "-A", "tcp/22", "-s", "--key-rijndael", "key"];

/// Runs the named test of this program again, in a namespace with nothing but a loopback device.
pub(super) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let home = Home::new();
    let hosts = home.0.write("hosts", "127.0.0.1 both.test\n::1 both.test\n::1 six.test\n");
    let script = "ip link set lo up && mount --bind \"$HOSTS\" /etc/hosts && exec \"$0\" \"$@\"";
    let mut command = namespace::unshare();
    command.args(["sh", "-c", script]).arg(std::env::current_exe().unwrap()).env("HOSTS", hosts);
    let name = format!("client::{test}");
    let output = command.args([name.as_str(), "--exact", "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn send(args: &[&str]) {
    let run = Home::new().run(&[&ASK[..], args].concat());
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut buffer = [0; 2000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), from)
}

fn is_good(packet: &str) -> bool {
    read(packet, b"key", Mode::Cbc, None).is_ok()
}

#[test]
fn datagrams_go_over_ipv4_and_ipv6() {
    inside("sending::datagrams_go_over_ipv4_and_ipv6", || {
        for (host, bind) in [("127.0.0.1", "127.0.0.1:62201"), ("::1", "[::1]:62201"), ("[::1]", "[::1]:62201")] {
            let socket = UdpSocket::bind(bind).unwrap();
            send(&["-D", host]);
            let (packet, _) = receive(&socket);
            assert!(is_good(&packet), "{packet}");
        }
        let socket = UdpSocket::bind("127.0.0.1:7777").unwrap();
        send(&["-D", "127.0.0.1", "-p", "7777", "-S", "5353", "-v"]);
        assert_eq!(receive(&socket).1.port(), 5353);
        let run = Home::new().run(&[&ASK[..], &["-D", "127.0.0.1", "-p", "7777", "-v"]].concat());
        let (packet, _) = receive(&socket);
        assert!(run.out.contains("         source port: <OS assigned>\n    destination port: 7777\n"), "{}", run.out);
        assert!(run.out.ends_with(&format!("send_spa_packet: bytes sent: {}\n", packet.len())), "{}", run.out);
    });
}

#[test]
fn names_are_looked_up_and_the_family_chosen() {
    inside("sending::names_are_looked_up_and_the_family_chosen", || {
        let v4 = UdpSocket::bind("127.0.0.1:62201").unwrap();
        let v6 = UdpSocket::bind("[::1]:62201").unwrap();
        for (more, socket) in [(&[][..], &v4), (&["--server-resolve-ipv4"], &v4), (&["-a", "2001:db8::7"], &v6)] {
            send(&[&["-D", "both.test"], more].concat());
            assert!(is_good(&receive(socket).0), "{more:?}");
        }
        let run = Home::new().run(&[&ASK[..], &["-D", "six.test", "--server-resolve-ipv4"]].concat());
        assert_eq!(run.code, Some(1));
        assert!(run.err.contains("has no IPv4 address: packet not sent"), "{}", run.err);
    });
}

#[test]
fn a_random_port_lies_in_its_range() {
    inside("sending::a_random_port_lies_in_its_range", || {
        let run = Home::new().run(&[&ASK[..], &["-D", "127.0.0.1", "-r", "-v"]].concat());
        let port = run.out.lines().find_map(|line| line.trim().strip_prefix("destination port: ")).unwrap();
        assert!((10_000..=65_534).contains(&port.parse().unwrap()), "{port}");
    });
}

#[test]
fn tcp_and_http_carry_the_packet() {
    inside("sending::tcp_and_http_carry_the_packet", || {
        let accept = |listener: TcpListener| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let (mut stream, from) = listener.accept().unwrap();
                stream.read_to_string(&mut text).unwrap();
                (text, from.port())
            })
        };
        let server = accept(TcpListener::bind("127.0.0.1:62201").unwrap());
        send(&["-D", "127.0.0.1", "-P", "TCP", "-S", "5454"]);
        let (text, port) = server.join().unwrap();
        assert!(is_good(&text) && port == 5454, "{text} from {port}");

        for (args, address, agent) in [
            (&["-P", "http"][..], "[::1]:80", concat!("Fwknop/", env!("CARGO_PKG_VERSION"))),
            (&["-P", "http", "-p", "8080", "-u", "Fwknop/2.6.10"], "[::1]:8080", "Fwknop/2.6.10"),
        ] {
            let server = accept(TcpListener::bind(address).unwrap());
            send(&[&["-D", "::1"], args].concat());
            let (text, _) = server.join().unwrap();
            let (target, rest) = text.strip_prefix("GET /").unwrap().split_once(' ').unwrap();
            assert_eq!(
                rest,
                format!("HTTP/1.0\r\nUser-Agent: {agent}\r\nAccept: */*\r\nHost: ::1\r\nConnection: close\r\n\r\n")
            );
            assert!(is_good(&target.replace('-', "+").replace('_', "/")), "{target}");
        }
    });
}

#[test]
fn what_cannot_be_sent_is_said() {
    inside("sending::what_cannot_be_sent_is_said", || {
        for (args, complaint) in [
            (&["-D", "nosuch.invalid"][..], "the server 'nosuch.invalid' cannot be found: packet not sent: "),
            (
                &["-D", "127.0.0.1", "-P", "tcp"],
                "nothing can be sent to 127.0.0.1:62201: packet not sent: Connection refused",
            ),
            (
                &["-D", "gate.example", "-H", "nosuch.invalid"],
                "the proxy 'nosuch.invalid' cannot be found: packet not sent: ",
            ),
            (
                &["-D", "gate.example", "-H", "127.0.0.1:3128"],
                "nothing can be sent to 127.0.0.1:3128: packet not sent: Connection refused",
            ),
            (&["-D", "192.0.2.1"], "nothing can be sent to 192.0.2.1:62201: packet not sent: Network is unreachable"),
        ] {
            let run = Home::new().run(&[&ASK[..], args].concat());
            assert_eq!(run.code, Some(1), "{args:?}");
            assert!(run.err.contains(complaint) && run.err.ends_with('\n'), "{args:?}: {}", run.err);
        }
        let run = Home::new().run(&[&ASK[..], &["-D", "six.test", "-P", "udpraw"]].concat());
        let complaint =
            "raw packets go over IPv4, and the server 'six.test' has no IPv4 address: packet not sent\n     send";
        assert!(run.code == Some(1) && run.err.contains(complaint), "{}", run.err);
        let home = Home::new();
        let mut without = home.command("setpriv");
        without.args(["--bounding-set", "-net_raw", PROGRAM]).args(ASK).args(["-D", "127.0.0.1", "-P", "icmp"]);
        let run = super::run(&mut without, "");
        let complaint = "a raw packet cannot be sent without the right to do so: packet not sent";
        assert!(run.code == Some(1) && run.err.contains(complaint), "{}", run.err);
        assert!(run.err.contains("\n     run fwknop as root, give it CAP_NET_RAW, or send with -P udp"), "{}", run.err);
        let taken = UdpSocket::bind("0.0.0.0:5353").unwrap();
        let run = Home::new().run(&[&ASK[..], &["-D", "127.0.0.1", "-S", "5353"]].concat());
        assert!(run.err.contains("the source port 5353 cannot be used: packet not sent"), "{}", run.err);
        drop(taken);
    });
}

#[test]
fn what_a_proxy_says_is_told_where_it_matters() {
    inside("sending::what_a_proxy_says_is_told_where_it_matters", || {
        let ask = |status: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:3128").unwrap();
            let proxy = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 2000];
                let length = stream.read(&mut buffer).unwrap();
                // Where the client's end is shut before the answer, the read says so.
                stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                assert!(stream.read(&mut [0]).is_err(), "the client does not wait");
                stream.write_all(format!("HTTP/1.1 {status}\r\nVia: x\r\n\r\n").as_bytes()).unwrap();
                String::from_utf8(buffer[..length].to_vec()).unwrap()
            });
            let args = ["--no-rc-file", "-A", "tcp/22", "-a", "192.0.2.7", "--key-rijndael", "key"];
            let run = Home::new().run(&[&args[..], &["-D", "gate.example", "-H", "127.0.0.1:3128"]].concat());
            let request = proxy.join().unwrap();
            let (target, rest) = request.strip_prefix("GET http://gate.example/").unwrap().split_once(' ').unwrap();
            assert!(rest.contains("\r\nHost: 127.0.0.1\r\n"), "{rest}");
            assert!(is_good(&target.replace('-', "+").replace('_', "/")), "{target}");
            run
        };
        let run = ask("407 Proxy Authentication Required");
        assert_eq!(run.code, Some(1), "{}", run.err);
        let complaint =
            "the proxy wants a password (407 Proxy Authentication Required): packet not sent\n     use a proxy";
        assert!(run.err.contains(complaint), "{}", run.err);
        let run = ask("403 Forbidden");
        assert_eq!(run.code, Some(0), "{}", run.err);
        let note = "note: the proxy, or a server behind it, answered 403 Forbidden: the packet may not have arrived";
        assert!(run.err.contains(note), "{}", run.err);
        for good in ["404 Not Found", "502 Bad Gateway", "200 OK"] {
            let run = ask(good);
            assert_eq!(run.code, Some(0), "{}", run.err);
            assert!(!run.err.contains("answered"), "{}", run.err);
        }
    });
}

#[test]
fn a_proxy_is_told_apart_from_the_client() {
    inside("sending::a_proxy_is_told_apart_from_the_client", || {
        let proxy = TcpListener::bind("127.0.0.1:80").unwrap();
        let serves = std::thread::spawn(move || drop(proxy.accept().unwrap()));
        let run = Home::new().run(&[&ASK[..], &["-D", "gate.example", "-H", "127.0.0.1"]].concat());
        serves.join().unwrap();
        let note = "note: with -s the server lets in the address it sees, which is that of the proxy\n     name yours";
        assert!(run.code == Some(0) && run.err.contains(note), "{}", run.err);
    });
}

#[test]
fn the_kernel_finds_no_fault_in_raw_packets() {
    inside("sending::the_kernel_finds_no_fault_in_raw_packets", || {
        let socket = UdpSocket::bind("127.0.0.1:62201").unwrap();
        send(&["-D", "127.0.0.1", "-P", "udpraw", "-S", "5353", "-Q", "127.0.0.7"]);
        let (packet, from) = receive(&socket);
        assert!(is_good(&packet), "{packet}");
        assert_eq!(from.to_string(), "127.0.0.7:5353");
        let run = Home::new().run(&[&ASK[..], &["-D", "127.0.0.1", "-P", "UDPRAW", "-v"]].concat());
        let port = receive(&socket).1.port();
        assert!(
            port >= 10_000 && run.out.contains(&format!("protocol: udpraw\n         source port: {port}\n")),
            "{}",
            run.out
        );

        // It answers an echo request, and a connection request to a port that nobody listens on.
        send(&["-D", "127.0.0.1", "-P", "icmp", "--icmp-type", "8"]);
        assert!(within(PATIENCE, || counted("Icmp", "OutEchoReps") == 1));
        send(&["-D", "127.0.0.1", "-P", "tcpraw", "-Q", "127.0.0.7"]);
        assert!(within(PATIENCE, || counted("Tcp", "OutRsts") == 1));
        for protocol in ["Icmp", "Tcp", "Udp"] {
            assert_eq!(counted(protocol, "InCsumErrors"), 0, "{protocol}");
        }
        // It does look: the original sends no checksum.
        let home = Home::new();
        let mut original = home.command(Maker::Original.client());
        let run = super::run(original.args(ASK).args(["--no-save-args", "-D", "127.0.0.1", "-P", "tcpraw"]), "");
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert!(within(PATIENCE, || counted("Tcp", "InCsumErrors") == 1));
    });
}

/// A counter of this namespace.
fn counted(protocol: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|other| other == name).unwrap_or_else(|| panic!("no {name} in {names}"));
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
