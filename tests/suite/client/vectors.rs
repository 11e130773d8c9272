//! The command lines the vectors were made with, given to our client: the same messages come out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fwknop::crypto::rijndael::Mode;
use fwknop::net::PortSet;
use fwknop::spa::{Digest, Message, Request};
use serde_json::Value;

use super::{Home, read, text_of};

const FILES: [&str; 6] = ["digests", "hmac", "keys", "messages", "modes", "users"];

/// Where we decide otherwise, on purpose, and why. Each must occur.
const DEVIATIONS: [(&str, Deviation, &str); 6] = [
    ("a-msg-access-ip6", Deviation::Sends, "IPv6 addresses are our extension"),
    ("a-user-30", Deviation::Differs, "a long name is not cut without a word"),
    ("a-user-env-49", Deviation::Refuses, "no server takes more than 48"),
    ("a-user-env-70", Deviation::Refuses, "no server takes more than 48"),
    ("a-msg-timeout-65537", Deviation::Refuses, "no server takes more than 65536"),
    ("a-msg-timeout-131072", Deviation::Refuses, "no server takes more than 65536"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deviation {
    Refuses,
    Sends,
    Differs,
}

#[test]
fn the_same_command_line_makes_the_same_message() {
    let (mut made, mut refused, mut deviations, mut wrong) = (0, 0, 0, Vec::new());
    for vector in FILES.iter().flat_map(|file| load(file)) {
        let id = vector["id"].as_str().unwrap();
        let expected = match DEVIATIONS.iter().find(|(name, ..)| *name == id) {
            Some((_, deviation, _)) => {
                deviations += 1;
                *deviation
            }
            None if vector["expect"]["result"] == "client-refuses" => Deviation::Refuses,
            None => Deviation::Sends,
        };
        match (compare(&vector), expected) {
            (Ok(true), Deviation::Sends) | (Err(Trouble::Differs(_)), Deviation::Differs) => made += 1,
            (Ok(false), Deviation::Refuses) => refused += 1,
            (found, _) => wrong.push(format!("{id}: {found:?}, expected {expected:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(deviations, DEVIATIONS.len());
    assert!(made > 90 && refused > 15, "{made} made, {refused} refused");
}

#[derive(Debug)]
enum Trouble {
    Differs(#[expect(dead_code, reason = "shown when the test fails")] String),
    Program(#[expect(dead_code, reason = "shown when the test fails")] String),
}

/// `Ok(false)`: our client refuses, with a reason and advice.
fn compare(vector: &Value) -> Result<bool, Trouble> {
    let home = Home::new();
    let file = home.0.join("packet");
    let mut args = vec!["-T", "-v", "-v", "--no-rc-file", "--no-save-args", "-D", "127.0.0.1", "-B", text_of(&file)];
    args.extend(vector["client_args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
    let env: Vec<(&str, &str)> = match vector["client_env"].as_object() {
        Some(env) => env.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect(),
        None => Vec::new(),
    };
    let run = home.run_with(&args, &env, "");
    if run.code == Some(1) && !file.exists() && run.err.contains("fwknop: ") && run.err.contains("\n     ") {
        return Ok(false);
    }
    if run.code != Some(0) || !run.out.contains("Dump of the Decoded Data") {
        return Err(Trouble::Program(format!("{:?} {}", run.code, run.err)));
    }
    let packet = std::fs::read_to_string(file).unwrap();
    let ours = decode(vector, packet.trim_end()).map_err(Trouble::Program)?;
    let Some(theirs) = vector["packet"].as_str() else { return Ok(true) };
    let theirs = decode(vector, theirs).map_err(Trouble::Program)?;
    let (ours, theirs) = (comparable(ours, vector), comparable(theirs, vector));
    if ours == theirs { Ok(true) } else { Err(Trouble::Differs(format!("{ours:?} instead of {theirs:?}"))) }
}

fn decode(vector: &Value, packet: &str) -> Result<Message, String> {
    let mode: Mode = vector["encryption"]["mode"].as_str().unwrap_or("CBC").parse().unwrap();
    let mut key = bytes(&vector["encryption"]["key"]);
    if mode == Mode::Legacy {
        key.truncate(16);
    }
    let hmac = vector["hmac"].as_object().map(|hmac| {
        let digest: Digest = hmac["type"].as_str().unwrap().parse().unwrap();
        (digest, bytes(&hmac["key"]))
    });
    let hmac = hmac.as_ref().map(|(digest, key)| (*digest, key.as_slice()));
    read(packet, &key, mode, hmac).map_err(|reason| format!("{reason} in {packet}"))
}

fn bytes(key: &Value) -> Vec<u8> {
    match (key["ascii"].as_str(), key["base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (_, Some(text)) => {
            let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
            STANDARD.decode(padded).unwrap()
        }
        _ => panic!("no key in {key}"),
    }
}

/// Without what must differ: random value, time, and a port chosen at random.
fn comparable(mut message: Message, vector: &Value) -> Message {
    message.random = fwknop::spa::RandomValue::new(&[b'0'; 16]).unwrap();
    message.time = fwknop::time::Timestamp::from_secs(0);
    if vector["id"] == "a-msg-nat-rand-port"
        && let Request::Nat { ports, .. } = &mut message.request
    {
        let port = ports.first().port.get();
        assert!((10_000..=65_534).contains(&port), "{port}");
        *ports = "tcp/1".parse::<PortSet>().unwrap();
    }
    message
}

#[test]
fn time_offsets_reach_the_packet() {
    for (option, offset, secs) in
        [("--time-offset-plus", "1d", 86_400i64), ("--time-offset-minus", "10m", -600), ("--time-offset-plus", "0", 0)]
    {
        let home = Home::new();
        let args = ["--no-rc-file", "-A", "tcp/22", "-s", option, offset, "--key-rijndael", "key"];
        let packet = home.packet(&args).unwrap_or_else(|run| panic!("{}", run.err));
        let message = read(&packet, b"key", Mode::Cbc, None).unwrap();
        let now = fwknop::time::Timestamp::now().secs().cast_signed();
        assert!((now + secs - message.time.secs().cast_signed()).abs() < 60, "{option} {offset}");
    }
}

fn load(file: &str) -> Vec<Value> {
    let path = format!("{}/testdata/spa/rijndael-{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: Value = serde_json::from_str(&text).unwrap();
    file["vectors"].as_array().unwrap().iter().filter(|vector| vector["client_args"].is_array()).cloned().collect()
}
