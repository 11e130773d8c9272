//! What happens around the daemon: interfaces that go and come, parents that die, somebody who asks at the wrong moment,
//! directories of others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::PATIENCE;
use crate::support::peers::{Daemon, Detached, Maker, READY, bounded, said};
use crate::support::scene::{PORT, Scene, access};

#[test]
fn an_interface_that_comes_back_is_heard_again() {
    let scene = Scene::new(2);
    scene.settings.rewrite("EXIT_AT_INTF_DOWN N;\n", &access(PORT, 2));
    let scene = Scene { settings: scene.settings.interface(Some("tmp0")), ..scene };
    add_interface(&scene);
    let mut daemon = scene.daemon();
    let idle = daemon.status("voluntary_ctxt_switches");
    scene.world.server.run("ip", &["link", "delete", "tmp0"]);
    daemon.logs.expect(&["tmp0", "disappeared"]);
    assert!(daemon.lives());
    assert!(daemon.status("voluntary_ctxt_switches") < idle + 20, "it spins");
    let mark = daemon.logs.mark();
    add_interface(&scene);
    daemon.logs.expect_after(mark, &["Sniffing interface: tmp0"]);
    // A reload in between finds nothing to do.
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    daemon.logs.expect(&["capture on=tmp0", "received=", "dropped=0"]);
}

#[test]
fn an_interface_that_is_down_for_a_while_is_no_reason_to_end() {
    let scene = Scene::new(3);
    let mut daemon = scene.daemon();
    let server = &scene.world.server;
    server.run("ip", &["link", "set", "srv0", "down"]);
    std::thread::sleep(Duration::from_millis(300));
    let before = daemon.status("voluntary_ctxt_switches") + daemon.status("nonvoluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(1));
    let after = daemon.status("voluntary_ctxt_switches") + daemon.status("nonvoluntary_ctxt_switches");
    assert!(after - before < 20, "woken {} times in a second", after - before);
    server.run("ip", &["link", "set", "srv0", "up"]);
    assert!(daemon.lives(), "{}", daemon.logs.text());
    scene.opens(PORT, &daemon);
}

#[test]
fn by_default_it_ends_with_its_interface() {
    let scene = Scene::new(2);
    let scene = Scene { settings: scene.settings.interface(Some("srv0,tmp0")), ..scene };
    add_interface(&scene);
    let mut daemon = scene.daemon();
    scene.world.server.run("ip", &["link", "delete", "tmp0"]);
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.logs.text());
    daemon.logs.expect(&["tmp0", "disappeared"]);
}

#[test]
fn a_reload_changes_the_capture_without_losing_its_own_port() {
    let scene = Scene::new(2);
    scene.world.server.run("nft", &["add", "rule", "inet", "filter", "input", "udp", "dport", "62201", "accept"]);
    let daemon = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-U"]);
    daemon.logs.expect(&[READY]);
    scene.settings.rewrite("MAX_SNIFF_BYTES 1400;\nEXIT_AT_INTF_DOWN N;\n", &access(PORT, 2));
    let mark = daemon.logs.mark();
    daemon.signal(Signal::HUP);
    daemon.logs.expect_after(mark, &["Re-starting fwknopd"]);
    scene.opens(PORT, &daemon);
    daemon.stop();
}

#[test]
fn a_child_without_its_parent_cleans_up_and_ends() {
    let scene = Scene::new(2);
    let before = scene.ruleset();
    let mut command = scene.settings.command(&scene.world, Maker::Ours);
    command.env("FWKNOPD_DETACHED", std::process::id().to_string());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let mut status = None;
    crate::support::within(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let _ = child.kill();
    assert_eq!(status.expect("it goes on without its parent").code(), Some(1));
    assert_eq!(scene.ruleset(), before);
    assert!(!scene.settings.pid_file().exists());
}

#[test]
fn a_variable_in_the_environment_makes_no_child() {
    let scene = Scene::new(2);
    let mut command = scene.settings.command(&scene.world, Maker::Ours);
    command.env("FWKNOPD_DETACHED", "1");
    let output = bounded(command, PATIENCE);
    assert!(output.status.success());
    Detached::of(&scene.settings.pid_file());
}

#[test]
fn whoever_asks_does_not_keep_a_daemon_from_starting() {
    let scene = Scene::new(2);
    // There is a file to lock, so that each question takes the lock for a moment.
    scene.daemon().kill9();
    assert!(scene.settings.pid_file().exists());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            while !done.load(Ordering::Relaxed) {
                scene.control(&["-S"]);
            }
        };
        scope.spawn(ask);
        scope.spawn(ask);
        for _ in 0..3 {
            let mut daemon = Daemon::launch(&scene.world, Maker::Ours, &scene.settings, &["-f"]);
            if daemon.logs.wait_after(0, &[READY], PATIENCE).is_none() {
                done.store(true, Ordering::Relaxed);
                panic!("{}", daemon.logs.text());
            }
            daemon.signal(Signal::KILL);
            daemon.ended();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Both makers' daemons may be installed during a change-over: each must see that the other runs.
#[test]
fn the_original_sees_that_ours_runs() {
    let scene = Scene::new(2);
    assert!(scene.control(&[]).0.status.success());
    let daemon = Detached::of(&scene.settings.pid_file());
    let mut command = scene.settings.command(&scene.world, Maker::Original);
    command.arg("-S");
    let output = bounded(command, PATIENCE);
    let said = said(&output);
    assert!(said.contains(&format!("Detected fwknopd is running (pid={}).", daemon.pid())), "{said}");
    let (output, said) = scene.control(&["-S"]);
    assert_eq!((output.status.code(), said.contains(&daemon.pid().to_string())), (Some(0), true), "{said}");
}

#[test]
fn a_run_directory_that_others_can_write_to_is_refused() {
    let scene = Scene::new(2);
    fs::create_dir(scene.settings.run_dir()).unwrap();
    fs::set_permissions(scene.settings.run_dir(), fs::Permissions::from_mode(0o777)).unwrap();
    for mode in [&["-f"][..], &[], &["--exit-parse-digest-cache"]] {
        let (output, said) = scene.control(mode);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("chmod go-w"), "{said}");
    }
    assert_eq!(fs::read_dir(scene.settings.run_dir()).unwrap().count(), 0);
}

#[test]
fn the_replay_store_is_rotated_when_nobody_has_it_open() {
    let scene = Scene::new(2);
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    let rotate = ["--rotate-digest-cache", "--exit-parse-digest-cache"];
    let (output, said) = scene.control(&rotate);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a daemon has it open"), "{said}");
    daemon.stop();

    let (output, said) = scene.control(&rotate[1..]);
    assert!(output.status.success() && said.contains("entry count = 2"), "{said}");
    let (output, said) = scene.control(&rotate);
    assert!(output.status.success() && said.contains("entry count = 0"), "{said}");
    assert!(scene.settings.run_dir().join("replay.redb-old").exists());
    assert!(!scene.settings.pid_file().exists());
}

#[test]
fn its_files_are_for_it_alone_whatever_the_umask() {
    let scene = Scene::new(2);
    let plain = scene.settings.command(&scene.world, Maker::Ours);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000 && exec \"$@\"", "sh"]).arg(plain.get_program()).args(plain.get_args()).arg("-f");
    let daemon = Daemon::follow(command);
    daemon.logs.expect(&[READY]);
    for file in fs::read_dir(scene.settings.run_dir()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.path());
    }
}

fn add_interface(scene: &Scene) {
    let server = &scene.world.server;
    server.run("ip", &["link", "add", "tmp0", "type", "veth", "peer", "name", "tmp1"]);
    server.run("ip", &["link", "set", "tmp1", "up"]);
    server.run("ip", &["link", "set", "tmp0", "up"]);
}
