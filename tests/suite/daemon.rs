//! The life of the daemon: starting, ready, signals, the pid file, other sources of packets, and being idle.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::agent::to_hex;
use crate::support::gateway::Wall;
use crate::support::netns::{CLIENT, SERVER};
use crate::support::peers::{Client, Daemon, Detached, Maker, READY, bounded, said};
use crate::support::scene::{OTHER_PORT, PORT, Scene, access, access_to};
use crate::support::{PATIENCE, within};

#[test]
fn the_parent_reports_success_only_when_the_daemon_is_ready() {
    let scene = Scene::new(2);
    let (output, said) = scene.control(&[]);
    assert!(output.status.success(), "{said}");
    // No waiting: ready is ready.
    let daemon = Detached::of(&scene.settings.pid_file());
    let knocked = scene.knock(PORT);
    assert!(scene.road().opens(PORT), "the knock right after the start was not heard");
    scene.closes_on_time(PORT, knocked, Duration::from_secs(2));
    assert!(!daemon.gone());
}

#[test]
fn in_the_background_the_journal_goes_to_syslog() {
    let scene = Scene::new(2);
    scene.settings.rewrite("SYSLOG_IDENTITY gatekeeper;\nSYSLOG_FACILITY LOG_LOCAL3;\n", &access(PORT, 2));
    let path = scene.settings.path("log");
    let syslog = UnixDatagram::bind(&path).unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let output = bounded(scene.settings.command_with_syslog(&scene.world, &path), PATIENCE);
    assert!(output.status.success(), "{}", said(&output));
    let _daemon = Detached::of(&scene.settings.pid_file());
    scene.knock(PORT);
    assert!(scene.road().opens(PORT));

    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.contains("open    grant=1")) {
        let mut line = [0; 4096];
        let length = syslog.recv(&mut line).unwrap_or_else(|error| panic!("{error} after {lines:#?}"));
        lines.push(String::from_utf8_lossy(&line[..length]).into_owned());
    }
    // LOG_LOCAL3 with LOG_INFO is 19 * 8 + 6.
    let line = lines.last().unwrap();
    assert!(line.starts_with("<158>") && line.contains("gatekeeper["), "{line}");
    assert!(lines.iter().any(|line| line.contains(READY)), "{lines:#?}");
}

#[test]
fn a_daemon_that_cannot_start_says_so_and_fails() {
    let scene = Scene::new(2);
    let settings = scene.settings;
    let scene = Scene { settings: settings.interface(Some("nowhere0")), ..scene };
    for mode in [&["-f"][..], &[]] {
        let (output, said) = scene.control(mode);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nowhere0"), "{said}");
        assert!(!scene.settings.pid_file().exists(), "the pid file stays behind");
    }
}

#[test]
fn without_a_default_drop_chain_it_says_what_to_do() {
    let scene = Scene::new(2);
    scene.world.server.run("nft", &["flush", "ruleset"]);
    let (output, said) = scene.control(&["-f"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("chain"), "{said}");
}

#[test]
fn a_second_daemon_is_refused_and_the_control_options_find_the_first() {
    let scene = Scene::new(2);
    let pid_file = scene.settings.pid_file();

    let (output, said) = scene.control(&["-S"]);
    assert_eq!((output.status.code(), said.trim()), (Some(1), "No running fwknopd detected."));
    let (output, said) = scene.control(&["-K"]);
    assert_eq!((output.status.code(), said.trim()), (Some(1), "No running fwknopd detected."));
    assert!(!pid_file.exists(), "asking leaves no pid file behind");

    let (output, said) = scene.control(&[]);
    assert!(output.status.success(), "{said}");
    let daemon = Detached::of(&scene.settings.pid_file());
    let pid = daemon.pid();
    for mode in [&["-f"][..], &[]] {
        let (output, said) = scene.control(mode);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("An instance of fwknopd is already running: (PID={pid}).")), "{said}");
    }
    let (output, said) = scene.control(&["-S"]);
    assert_eq!((output.status.code(), said.trim()), (Some(0), &*format!("Detected fwknopd is running (pid={pid}).")));

    scene.settings.rewrite("", &access(OTHER_PORT, 2));
    let (output, said) = scene.control(&["-R"]);
    let sent = format!("Sent restart signal to fwknopd (pid={pid})");
    assert_eq!((output.status.code(), said.trim()), (Some(0), &*sent));
    let heard = || {
        scene.knock(OTHER_PORT);
        scene.road().connects(OTHER_PORT)
    };
    assert!(within(PATIENCE, heard), "the new file was not read");

    let (output, said) = scene.control(&["-K"]);
    let killed = format!("Killed fwknopd (pid={pid}) via SIGTERM");
    assert_eq!((output.status.code(), said.trim()), (Some(0), &*killed));
    assert!(daemon.gone());
    assert!(!pid_file.exists(), "the pid file goes with the daemon");
}

#[test]
fn a_stale_pid_file_stops_nobody_and_nobody_is_signalled() {
    let scene = Scene::new(2);
    scene.daemon().kill9();
    // The number of a process that has nothing to do with it: the one that runs this test.
    fs::write(scene.settings.pid_file(), format!("{}\n", std::process::id())).unwrap();
    for option in ["-K", "-R", "-S"] {
        let (output, said) = scene.control(&[option]);
        assert_eq!(output.status.code(), Some(1), "{option}: {said}");
    }
    scene.daemon().stop();
}

#[test]
fn term_and_int_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let scene = Scene::new(30);
        let before = scene.ruleset();
        let mut daemon = scene.daemon();
        scene.opens(PORT, &daemon);
        daemon.signal(signal);
        assert_eq!(daemon.ended().code(), Some(0));
        daemon.logs.expect(&["Shutting Down fwknopd."]);
        assert_eq!(scene.ruleset(), before, "what was there before, and nothing else");
        assert!(!scene.road().connects(PORT));
        assert!(!scene.settings.pid_file().exists());
    }
}

#[test]
fn usr_signals_are_ignored() {
    let scene = Scene::new(2);
    let mut daemon = scene.daemon();
    daemon.signal(Signal::USR1);
    daemon.signal(Signal::USR2);
    scene.opens(PORT, &daemon);
    assert!(daemon.lives());
}

#[test]
fn hup_takes_the_new_files_and_keeps_what_is_open() {
    let scene = Scene::new(6);
    scene.world.record(62201);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);

    // Whoever is in may no longer ask for the same; the key is still taken.
    let narrower = access_to(&format!("tcp/{OTHER_PORT}"), PORT, 3);
    scene.settings.rewrite("", &(narrower + &access(OTHER_PORT, 3)));
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["Got SIGHUP. Re-reading configs."]);
    scene.opens(OTHER_PORT, &daemon);
    assert!(scene.road().connects(PORT), "a grant survives the reload");
    // What was seen before the reload is still known.
    scene.road().send(&scene.world.recorded()[0]);
    daemon.logs.expect_after(mark, &["refuse", "reason=replay"]);
    scene.closes_on_time(PORT, knocked, Duration::from_secs(6));
    let mark = daemon.logs.mark();
    scene.knock(PORT);
    daemon.logs.expect_after(mark, &["refuse"]);
    assert!(!scene.road().connects(PORT), "the old stanza is gone");
}

#[test]
fn hup_with_a_broken_file_keeps_the_old_settings() {
    let scene = Scene::new(3);
    let mut daemon = scene.daemon();
    scene.settings.rewrite("", "SOURCE ANY\nKEY abc\nOPEN_PROTS tcp/22\n");
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["access.conf:3:", "OPEN_PROTS"]);
    assert!(daemon.lives());
    scene.opens(PORT, &daemon);
}

#[test]
fn a_savefile_is_read_to_its_end() {
    let scene = Scene::new(20);
    let packets: Vec<Vec<u8>> = {
        scene.world.record(62201);
        scene.knock(PORT);
        assert!(within(PATIENCE, || scene.world.recorded().len() == 1));
        scene.world.recorded()
    };
    let file = scene.settings.path("knock.pcap");
    fs::write(&file, savefile(&packets)).unwrap();
    let mut daemon = Daemon::launch(
        &scene.world,
        Maker::Ours,
        &scene.settings,
        &["--pcap-file", file.to_str().expect("a plain path")],
    );
    assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.logs.text());
    daemon.logs.expect(&["open ", "ports=tcp/2201", "src=10.71.0.2"]);
}

#[test]
fn the_udp_server_needs_no_capture() {
    let scene = Scene::new(2);
    scene.world.server.run("nft", &["add", "rule", "inet", "filter", "input", "udp", "dport", "62201", "accept"]);
    let daemon = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-U"]);
    daemon.logs.expect(&[READY]);
    let knocked = scene.opens(PORT, &daemon);
    // The original ends here (`spec/server.md` 3.1).
    daemon.signal(Signal::HUP);
    scene.closes_on_time(PORT, knocked, Duration::from_secs(2));
    scene.opens(PORT, &daemon);
    daemon.stop();
}

#[test]
fn nor_does_the_tcp_server() {
    let scene = Scene::new(60);
    let server = &scene.world.server;
    server.run("nft", &["add", "rule", "inet", "filter", "input", "tcp", "dport", "62201", "accept"]);
    scene.settings.rewrite("ENABLE_TCP_SERVER Y;\nENABLE_SPA_OVER_HTTP Y;\n", &access(PORT, 2));
    let daemon = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-U"]);
    daemon.logs.expect(&["Kicking off TCP server to listen on port 62201."]);
    daemon.logs.expect(&[READY]);
    let name = PORT.to_string();
    scene.client.knock(&scene.world.client, Maker::Original, &["-n", &name, "-P", "tcp"]);
    assert!(scene.road().opens(PORT), "{}", daemon.logs.text());
    // A reload that wants it no more lets the port go.
    let mark = daemon.logs.mark();
    scene.settings.rewrite("ENABLE_SPA_OVER_HTTP Y;\n", &access(PORT, 2));
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["Got SIGHUP"]);
    let refused = || scene.client.try_knock(&scene.world.client, Maker::Ours, &["-n", &name, "-P", "tcp"]);
    assert!(within(PATIENCE, || said(&refused()).contains("Connection refused")), "{}", daemon.logs.text());
    daemon.stop();
}

/// Beside a capture, which sees each piece by itself, and among many who only connect.
#[test]
fn a_packet_may_come_over_a_connection_in_pieces() {
    let scene = Scene::new(60);
    let server = &scene.world.server;
    server.run("nft", &["add", "rule", "inet", "filter", "input", "tcp", "dport", "62201", "accept"]);
    let conf = "ENABLE_TCP_SERVER Y;\nENABLE_SPA_OVER_HTTP Y;\nPCAP_FILTER tcp port 62201;\n";
    scene.settings.rewrite(conf, &format!("{}{}", access(PORT, 60), access(OTHER_PORT, 60)));
    let daemon = scene.daemon();
    let to = format!("{SERVER}:62201");
    for (port, as_request) in [(PORT, false), (OTHER_PORT, true)] {
        let keys = format!("KEY key-of-{port}\nHMAC_KEY tag-of-{port}\n");
        let client = Client::new(&format!("[x]\nSPA_SERVER h\nACCESS tcp/{port}\nALLOW_IP {CLIENT}\n{keys}"));
        let file = scene.settings.path("packet");
        client.knock(&scene.world.client, Maker::Original, &["-n", "x", "-T", "-B", file.to_str().unwrap()]);
        let mut text = fs::read_to_string(&file).unwrap().trim_end().to_owned();
        if as_request {
            let target = text.replace('+', "-").replace('/', "_");
            text = format!("GET /{target} HTTP/1.1\r\nUser-Agent: Fwknop\r\n\r\n");
        }
        scene.world.client.ask(&format!("crowd {to} 100"));
        let pieces: Vec<String> = text.as_bytes().chunks(text.len() / 3 + 1).map(to_hex).collect();
        scene.world.client.ask(&format!("pieces {to} 100 {}", pieces.join(" ")));
        assert!(scene.road().opens(port), "{as_request}: {}", daemon.logs.text());
    }
    assert_eq!(daemon.logs.count(&["open ", "grant="]), 2, "{}", daemon.logs.text());
    daemon.stop();
}

#[test]
fn what_only_other_builds_can_do_is_told() {
    let scene = Scene::new(2);
    for (options, told) in [
        (&["-n"][..], "--nfq-capture is not supported\n     capture with libpcap (PCAP_INTF)"),
        (&["-A"], "--afl-fuzzing is for fuzzing builds of the original\n     leave it out"),
        (
            &["--fault-injection-tag", "x"],
            "--fault-injection-tag is for test builds of the original\n     leave it out",
        ),
    ] {
        let (output, said) = scene.control(options);
        assert!(output.status.code() == Some(1) && said.contains(told), "{options:?}: {said}");
    }
    let (output, said) = scene.control(&["--dump-serv-err-codes"]);
    assert!(output.status.success() && said.starts_with("packet-too-short\n") && said.ends_with("\nbusy\n"), "{said}");
}

#[test]
fn it_listens_on_several_interfaces_and_on_all() {
    for interfaces in ["lo,srv0", "any"] {
        let scene = Scene::new(2);
        let settings = scene.settings;
        let scene = Scene { settings: settings.interface(Some(interfaces)), ..scene };
        let daemon = scene.daemon();
        scene.opens(PORT, &daemon);
        daemon.logs.expect(&["open ", "grant="]);
        assert_eq!(daemon.logs.count(&["open ", "grant="]), 1, "{interfaces}: {}", daemon.logs.text());
    }
}

#[test]
fn fw_list_shows_and_fw_flush_removes_what_is_open() {
    let scene = Scene::new(20);
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    let (output, said) = scene.control(&["--fw-list"]);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(CLIENT) && said.contains("2201"), "{said}");

    let (output, said) = scene.control(&["--fw-flush"]);
    assert!(output.status.success(), "{said}");
    daemon.logs.expect(&["close ", "reason=asked"]);
    // The running daemon builds again what it needs, but opens nothing by itself.
    assert!(within(PATIENCE, || scene.ruleset().contains("jump fwknop_input")));
    assert!(!scene.road().connects(PORT) && !scene.ruleset().contains("\"fwknop:"), "{}", scene.ruleset());
    scene.opens(PORT, &daemon);
    // Nor does the next one, when none runs.
    daemon.kill9();
    let (output, said) = scene.control(&["--fw-flush"]);
    assert!(output.status.success(), "{said}");
    let daemon = scene.daemon();
    assert!(!scene.road().connects(PORT) && !scene.ruleset().contains("\"fwknop:"), "{}", scene.ruleset());
    assert!(!daemon.logs.text().contains("adopt "), "{}", daemon.logs.text());
    scene.opens(PORT, &daemon);
}

#[test]
fn an_idle_daemon_sleeps() {
    let scene = Scene::new(2);
    let daemon = scene.daemon();
    let knocked = scene.opens(PORT, &daemon);
    scene.closes_on_time(PORT, knocked, Duration::from_secs(2));
    daemon.logs.expect(&["close", "reason=expired"]);
    let before = daemon.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(4));
    let woken = daemon.status("voluntary_ctxt_switches") - before;
    assert!(woken <= 2, "woken {woken} times in four idle seconds");
}

#[test]
fn its_memory_is_locked_where_that_is_allowed_and_else_it_says_so() {
    const NOT_LOCKED: &[&str] = &["memory cannot be locked"];
    let scene = Scene::new(2);
    let start = |wrapper: &[&str]| {
        let mut command = scene.settings.command_by(&scene.world, wrapper);
        command.args(["-f", "-v"]);
        let daemon = Daemon::follow(command);
        daemon.logs.expect(&[READY]);
        scene.opens(PORT, &daemon);
        let (locked, whole) = (daemon.status("VmLck"), daemon.status("VmSize"));
        (locked, whole, daemon.logs.count(NOT_LOCKED))
    };
    let (locked, whole, said) = start(&["env"]);
    match said {
        0 => assert!(locked > whole / 2, "{locked} of {whole} KiB"),
        _ => assert_eq!(locked, 0),
    }
    // Some, but not any amount: it might run out one day.
    const WITHOUT: &str = "-ipc_lock,-sys_resource";
    let limited = ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", WITHOUT, "--inh-caps", WITHOUT];
    let (locked, _, said) = start(&limited);
    assert_eq!((locked, said), (0, 1));
}

/// A capture file with these payloads, each sent from the client to the server's SPA port.
pub fn savefile(payloads: &[Vec<u8>]) -> Vec<u8> {
    const ETHERNET: u32 = 1;
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, ETHERNET] {
        file.extend(u32::to_le_bytes(word));
    }
    for payload in payloads {
        let frame = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 71, 0, 2], [10, 71, 0, 1], 64)
            .udp(40000, 62201);
        let mut bytes = Vec::new();
        frame.write(&mut bytes, payload).unwrap();
        let length = u32::try_from(bytes.len()).unwrap();
        for word in [0, 0, length, length] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(bytes);
    }
    file
}

#[test]
fn a_test_run_tells_what_it_would_do_and_does_nothing() {
    Wall::each(|wall| {
        let scene = Scene::behind(wall, 30);
        let before = scene.ruleset();
        let daemon = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-f", "--test"]);
        daemon.logs.expect(&[READY]);
        scene.knock(PORT);
        daemon.logs.expect(&["--test mode enabled, skipping firewall manipulation."]);
        let step = match wall {
            Wall::Nftables => "would do: add element inet filter fwknop4 { 10.71.0.2 . tcp . 2201 timeout",
            Wall::Firewalld => {
                "would do: firewall-cmd --direct --passthrough ipv4 -t filter -A FWKNOP_INPUT -p 6 -s 10.71.0.2"
            }
            _ => "would do: iptables -t filter -A FWKNOP_INPUT -p 6 -s 10.71.0.2",
        };
        daemon.logs.expect(&[step]);
        assert_eq!(scene.ruleset(), before);
        daemon.stop();
        assert_eq!(scene.ruleset(), before);
    });
}

#[test]
fn the_whole_firewall_is_shown_as_its_own_tool_does() {
    Wall::each(|wall| {
        let scene = Scene::behind(wall, 30);
        let daemon = scene.daemon();
        scene.opens(PORT, &daemon);
        let (output, said) = scene.control(&["--fw-list-all"]);
        assert!(output.status.success(), "{wall:?}: {said}");
        let theirs = if wall == Wall::Nftables { "table inet filter {" } else { "Chain FORWARD (policy " };
        for part in ["10.71.0.2", "tcp/2201", "1 open", theirs] {
            assert!(said.contains(part), "{wall:?}, {part}: {said}");
        }
        daemon.stop();
    });
}
