//! The control socket and `fwknopd grants`: what is open, closing it, reloading with an answer; and what nobody can do
//! through it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::namespace::has_other_users;
use crate::support::netns::CLIENT;
use crate::support::peers::{Daemon, Maker, bounded, said};
use crate::support::scene::{OTHER_PORT, PORT, Scene, access};

/// Both ports, each to whoever has its own key.
fn two(first: u32) -> String {
    access(PORT, first) + &access(OTHER_PORT, 60)
}

fn scene() -> Scene {
    let scene = Scene::new(60);
    scene.settings.rewrite("", &two(60));
    scene
}

fn socket(scene: &Scene) -> PathBuf {
    scene.settings.pid_file().with_file_name("control.sock")
}

fn connect(scene: &Scene) -> UnixStream {
    let stream = UnixStream::connect(socket(scene)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut UnixStream, line: &[u8]) -> String {
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

/// What `fwknopd grants` says.
pub fn grants(scene: &Scene, words: &[&str]) -> (Output, String) {
    let mut command = scene.world.server.command(Maker::Ours.daemon());
    command.arg("grants").args(words).arg("-c").arg(scene.settings.path("fwknopd.conf"));
    let output = bounded(command, PATIENCE);
    let text = said(&output);
    (output, text)
}

fn listed(scene: &Scene) -> Vec<Value> {
    let (output, text) = grants(scene, &["--json"]);
    assert!(output.status.success(), "{text}");
    serde_json::from_str(&text).unwrap()
}

fn open_both(scene: &Scene, daemon: &Daemon) {
    scene.opens(PORT, daemon);
    scene.opens(OTHER_PORT, daemon);
}

#[test]
fn what_is_open_is_told_and_closed_by_its_number() {
    let scene = scene();
    let (output, text) = grants(&scene, &[]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no daemon is running\n     "), "{text}");

    let daemon = scene.daemon();
    assert_eq!(fs::metadata(socket(&scene)).unwrap().permissions().mode() & 0o777, 0o600);
    let (_, text) = grants(&scene, &[]);
    assert_eq!(text, "nothing is open\n");
    open_both(&scene, &daemon);
    let rows = listed(&scene);
    let ports: Vec<&str> = rows.iter().map(|row| row["ports"].as_str().unwrap()).collect();
    assert_eq!(ports, [format!("tcp/{PORT}"), format!("tcp/{OTHER_PORT}")]);
    let first = &rows[0];
    assert_eq!((&first["allow"], &first["source"]), (&CLIENT.into(), &CLIENT.into()));
    assert_eq!((&first["stanza"], &first["signer"]), (&"access#1".into(), &"shared-key".into()));
    assert!(first["until"].as_u64().unwrap() > 1_700_000_000 && first["user"].as_str().is_some());
    let (_, text) = grants(&scene, &[]);
    assert!(text.contains(&format!("1  {CLIENT}  tcp/{PORT}  ")) && text.contains("stanza=access#2"), "{text}");

    let (output, text) = grants(&scene, &["close", "99", "--yes"]);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let (output, text) = grants(&scene, &["close", "1", "99", "--yes"]);
    assert_eq!(output.status.code(), Some(4), "{text}");
    let (output, text) = grants(&scene, &["close", "1", "--dry-run"]);
    assert!(output.status.success() && text.contains("close 1  "), "{text}");
    let (output, text) = grants(&scene, &["close", "1"]);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(scene.road().connects(PORT), "it was not asked for yet");
    let (output, text) = grants(&scene, &["close", "1", "--yes"]);
    assert!(output.status.success(), "{text}");
    // No waiting: closed is closed.
    assert!(!scene.road().connects(PORT));
    assert!(scene.road().connects(OTHER_PORT), "nobody else notices");
    daemon.logs.expect(&["close ", "grant=1 ", "reason=asked"]);
    assert_eq!(listed(&scene).len(), 1);
    daemon.stop();
    assert!(!socket(&scene).exists());
}

/// Told by the daemon as it happens, and nobody is woken in between.
#[test]
fn whoever_watches_hears_what_opens_and_closes() {
    let scene = scene();
    let daemon = scene.daemon();
    scene.opens(PORT, &daemon);
    let watch = |words: &[&str]| {
        let mut command = scene.world.server.command(Maker::Ours.daemon());
        command.args(["grants", "--watch"]).args(words).arg("-c").arg(scene.settings.path("fwknopd.conf"));
        Daemon::follow(command)
    };
    let (mut plain, json) = (watch(&[]), watch(&["--json"]));
    let first = format!("open   1  {CLIENT}  tcp/{PORT}  ");
    plain.logs.expect(&[&first, "stanza=access#1", "signer=shared-key"]);
    json.logs.expect(&["{\"event\":\"open\",\"grant\":1,"]);
    std::thread::sleep(Duration::from_secs(1));
    let before = daemon.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(3));
    let woken = daemon.status("voluntary_ctxt_switches") - before;
    assert!(woken <= 2, "woken {woken} times in three idle seconds");

    scene.opens(OTHER_PORT, &daemon);
    plain.logs.expect(&[&format!("open   2  {CLIENT}  tcp/{OTHER_PORT}  ")]);
    let (output, text) = grants(&scene, &["close", "1", "--yes"]);
    assert!(output.status.success(), "{text}");
    plain.logs.expect(&[&format!("close  1  {CLIENT}  tcp/{PORT}  ")]);
    json.logs.expect(&["{\"event\":\"close\",\"grant\":1,"]);
    assert_eq!(plain.logs.count(&["open "]), 2, "each is told once");

    assert!(plain.lives());
    daemon.stop();
    plain.logs.expect(&["fwknopd: the daemon has hung up"]);
}

/// Who opened what is known again after a crash, and the socket of the dead daemon is in nobody's way.
#[test]
fn a_restart_does_not_forget_who_knocked() {
    let scene = scene();
    let daemon = scene.daemon();
    open_both(&scene, &daemon);
    let before = listed(&scene);
    daemon.kill9();
    assert!(socket(&scene).exists());
    let daemon = scene.daemon();
    daemon.logs.expect(&["adopt ", "name=access#2", "signer=shared-key"]);
    let after = listed(&scene);
    let told = |rows: &[Value]| -> Vec<Value> {
        let names = ["grant", "allow", "ports", "stanza", "user", "signer", "source"];
        rows.iter().map(|row| names.iter().map(|name| row[*name].clone()).collect()).collect()
    };
    assert_eq!(told(&after), told(&before));
    daemon.stop();
}

/// A stanza with shared keys is known by its keys, wherever it stands.
#[test]
fn what_a_removed_key_opened_is_closed_and_nothing_else() {
    let scene = scene();
    let daemon = scene.daemon();
    open_both(&scene, &daemon);
    // The order, the lifetime and the source change; the keys do not.
    scene.settings.rewrite("", &(access(OTHER_PORT, 50) + &access(PORT, 50)));
    let mut peer = connect(&scene);
    assert!(ask(&mut peer, b"\"reload\"\n").starts_with("{\"reloaded\":"));
    assert_eq!(scene.road().scan(&[PORT, OTHER_PORT]), [PORT, OTHER_PORT]);
    // A new key in the old place.
    let other_key = access(PORT, 50).replace("KEY key-of-", "KEY another-key-of-");
    scene.settings.rewrite("", &(access(OTHER_PORT, 50) + &other_key));
    assert!(ask(&mut peer, b"\"reload\"\n").starts_with("{\"reloaded\":"));
    assert_eq!(scene.road().scan(&[PORT, OTHER_PORT]), [OTHER_PORT]);
    daemon.logs.expect(&["close ", "grant=1 ", "reason=key-not-listed"]);
    // The same while no daemon runs.
    daemon.kill9();
    scene.settings.rewrite("", &access(PORT, 50));
    let daemon = scene.daemon();
    assert!(!scene.road().connects(OTHER_PORT), "{}", daemon.logs.text());
    daemon.logs.expect(&["close ", "grant=2 ", "reason=key-not-listed"]);
    daemon.stop();
}

#[test]
fn a_reload_with_mistakes_is_answered_with_them_and_changes_nothing() {
    let scene = scene();
    let daemon = scene.daemon();
    open_both(&scene, &daemon);
    scene.settings.rewrite("", "SOURCE ANY\nKEY abc\nOPEN_PROTS tcp/22\n");
    let answer = ask(&mut connect(&scene), b"\"reload\"\n");
    assert!(answer.starts_with("{\"not-reloaded\":") && answer.contains("access.conf:3: OPEN_PROTS"), "{answer}");
    assert_eq!(scene.road().scan(&[PORT, OTHER_PORT]), [PORT, OTHER_PORT]);
    daemon.logs.expect(&["the old configuration stays in force"]);
    // Nor does a signal.
    daemon.signal(Signal::HUP);
    assert_eq!(listed(&scene).len(), 2);
    daemon.stop();
}

#[test]
fn garbage_and_idle_connections_stop_nobody() {
    let scene = scene();
    let mut daemon = scene.daemon();
    for line in [&b"reload\n"[..], b"\xff\x00\n", b"{\"close\":{}}\n", &[b'['; 5000], &[b'\n'; 1]] {
        let mut peer = connect(&scene);
        let answer = ask(&mut peer, line);
        assert!(answer.starts_with("{\"misunderstood\":"), "{answer}");
        // What was sent and never read makes the end a hard one.
        assert!(matches!(peer.read(&mut [0; 8]), Ok(0) | Err(_)), "the connection ends");
    }
    let mut idle: Vec<UnixStream> = (0..100).map(|_| connect(&scene)).collect();
    // One of them asks, and never reads.
    let last = idle.last_mut().unwrap();
    last.write_all(&b"{\"grants\":{\"after\":0}}\n".repeat(100)).unwrap();
    open_both(&scene, &daemon);
    assert_eq!(listed(&scene).len(), 2);
    let before = daemon.status("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(3));
    let woken = daemon.status("voluntary_ctxt_switches") - before;
    assert!(woken <= 2, "woken {woken} times in three idle seconds");
    assert!(daemon.lives());
    drop(idle);
    daemon.stop();
}

/// Root's alone, and not even to be reached by others.
#[test]
fn other_users_are_refused() {
    let scene = scene();
    let daemon = scene.daemon();
    let path = socket(&scene);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    // Where nobody else is there to try, only the socket's own test shows whom it would not listen to.
    if has_other_users() {
        with_all_doors_open_another_user_is_not_heard(&scene, &path);
    }
    assert_eq!(daemon.logs.count(&["asks=reload"]), 0);
    assert!(ask(&mut connect(&scene), b"\"reload\"\n").starts_with("{\"reloaded\":"));
    daemon.logs.expect(&["control uid=0 ", "asks=reload"]);
    daemon.stop();
}

fn with_all_doors_open_another_user_is_not_heard(scene: &Scene, path: &Path) {
    let mut way = path;
    fs::set_permissions(way, fs::Permissions::from_mode(0o666)).unwrap();
    while let Some(parent) = way.parent().filter(|parent| parent.starts_with(std::env::temp_dir())) {
        if parent == std::env::temp_dir() {
            break;
        }
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        way = parent;
    }
    let mut command = scene.world.server.command("setpriv");
    command.args(["--reuid", "1", "--regid", "1", "--clear-groups", "sh", "-ec", SPEAK]).arg(path);
    let output = bounded(command, PATIENCE);
    let text = said(&output);
    assert!(output.status.success() && text.contains("heard nothing"), "{text}");
}

/// Perl is part of every Debian.
const SPEAK: &str = r#"perl -MSocket -e '
    socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
    connect($s, sockaddr_un($ARGV[0])) or die "connect: $!";
    $SIG{PIPE} = "IGNORE";
    syswrite($s, "\"reload\"\n");
    my $n = sysread($s, my $answer, 100);
    print $n ? "heard $answer" : "heard nothing";
' "$0""#;
