//! The firewall refuses one of the steps of a grant, whichever: nothing of it stays, it is told, and the next knock works.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{FORWARD, FORWARDING, held};
use crate::support::gateway::Wall;
use crate::support::peers::{Daemon, Maker};
use crate::support::scene::{PORT, Scene, access};
use crate::support::{PATIENCE, within};

#[test]
fn a_program_that_fails_from_any_of_its_runs_on() {
    Wall::each(|wall| {
        if wall == Wall::Nftables {
            return;
        }
        let scene = scene(wall);
        let works = scene.settings.path("works");
        fs::write(&works, "1000").unwrap();
        match wall {
            Wall::Firewalld => replace_programs_of_firewalld(&scene, &works),
            _ => replace_programs(&scene, &works),
        }
        let daemon = scene.daemon();
        let mut failed = 0;
        for run in 1..MOST {
            fs::write(&works, run.to_string()).unwrap();
            let mark = daemon.logs.mark();
            if knock(&scene, &daemon) {
                break;
            }
            failed += 1;
            daemon.logs.expect_after(mark, &["refused", "no room today"]);
            // It may not even have been possible to undo the rest: then that is done as soon as it is.
            fs::write(&works, "1000").unwrap();
            assert!(within(PATIENCE, || held(&scene) == 0), "{wall:?}: failed at run {run}: {}", scene.ruleset());
        }
        assert!(failed >= 2, "{wall:?}: {failed}");
        fs::write(&works, "1000").unwrap();
        assert_eq!(held(&scene), 3, "{}", scene.ruleset());
        daemon.stop();
        assert_eq!(held(&scene), 0);
    });
}

#[test]
fn a_kernel_that_fails_at_any_message() {
    let scene = scene(Wall::Nftables);
    let daemon = scene.daemon();
    let mut failed = 0;
    for message in 1..MOST {
        let pid = daemon.pid().as_raw_nonzero().to_string();
        let mut command = scene.world.server.command("strace");
        let inject = format!("inject=sendto:error=ENOBUFS:when={message}");
        command.args(["-p", &pid, "-o", "/dev/null", "-e", &inject]);
        let tracer = Daemon::follow(command);
        tracer.logs.expect(&["attached"]);
        let opened = knock(&scene, &daemon);
        drop(tracer);
        if opened {
            break;
        }
        failed += 1;
        assert_eq!(held(&scene), 0, "failed at message {message}: {}", scene.ruleset());
    }
    assert!(failed >= 2, "{failed}");
    assert_eq!(held(&scene), 4, "{}", scene.ruleset());
    daemon.stop();
    assert_eq!(held(&scene), 0);
}

/// In the place of the programs of iptables stand scripts.
fn replace_programs(scene: &Scene, works: &Path) {
    let programs = scene.settings.path("bin");
    fs::create_dir(&programs).unwrap();
    for name in ["iptables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"] {
        let real = name.replacen("tables", &format!("tables-{}", scene.wall.variant()), 1);
        let real = format!("/usr/sbin/{real}");
        let body = if name == "iptables-restore" { COUNTS } else { "exec REAL \"$@\"" };
        program(&programs.join(name), &body.replace("REAL", &real).replace("COUNT", &works.display().to_string()));
    }
    let conf = format!("FIREWALL_EXE {};\n{FORWARDING}", programs.join("iptables").display());
    scene.settings.rewrite(&conf, &access(PORT, 600));
}

/// firewalld knows where they are: there stands a script in the mounts of this host alone.
fn replace_programs_of_firewalld(scene: &Scene, works: &Path) {
    let all = fs::canonicalize("/usr/sbin/iptables-nft").expect("iptables is installed");
    let real = scene.settings.path("real");
    fs::copy(&all, &real).unwrap();
    let body = PASSES.replace("REAL", &real.display().to_string()).replace("COUNT", &works.display().to_string());
    let stand_in = scene.settings.path("stand-in");
    program(&stand_in, &body);
    scene.world.server.run("mount", &["--bind", &stand_in.display().to_string(), &all.display().to_string()]);
}

fn program(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn scene(wall: Wall) -> Scene {
    let scene = Scene::behind(wall, 600);
    scene.settings.rewrite(&format!("{}{FORWARDING}", wall.conf()), &access(PORT, 600));
    scene
}

/// Whether a knock opens what it asks for.
fn knock(scene: &Scene, daemon: &Daemon) -> bool {
    let mark = daemon.logs.mark();
    scene.client.knock(&scene.world.client, Maker::Ours, FORWARD);
    let line = daemon.logs.expect_after(mark, &["grant=", "allow="]);
    assert!(line.starts_with("open ") || line.contains("reason=failed"), "{line}");
    line.starts_with("open ")
}

/// The same as the real one, for as many runs as COUNT says.
const COUNTS: &str = "\
lines=$(cat)
left=$(($(cat COUNT) - 1))
echo $left >COUNT
[ $left -le 0 ] && { echo 'iptables-restore: line 1 failed: no room today' >&2; exit 1; }
printf '%s\\n' \"$lines\" | REAL \"$@\"";

/// The same for the program that is all of them, by the name it is called.
const PASSES: &str = "\
name=$(basename \"$0\")
case $name in
iptables | ip6tables)
    left=$(($(cat COUNT) - 1))
    echo $left >COUNT
    [ $left -le 0 ] && { echo \"$name: no room today\" >&2; exit 1; } ;;
esac
exec REAL \"$name\" \"$@\"";
/// More than there are.
const MOST: u32 = 30;
