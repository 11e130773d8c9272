//! The same settings in both syntaxes mean the same.

use fwknop::access::Stanza;
use fwknop::config::{AccessPlace, CaptureFrom, Facility, Severity};

use super::{access, read, server, testdata};

#[test]
fn fwknopd_settings_are_equal_in_both_syntaxes() {
    let load = |name: &str| server(name, &read(&testdata("good").join(name))).unwrap_or_else(|said| panic!("{said}"));
    let (lines, said) = load("fwknopd.conf");
    assert!(said.is_empty(), "{said}");
    let (toml, said) = load("fwknopd.toml");
    assert!(said.is_empty(), "{said}");
    assert_eq!(lines, toml);

    // And they mean what they say.
    assert_eq!(lines.capture.from, CaptureFrom::Devices(vec!["eth1".into(), "wg0".into()]));
    assert_eq!(lines.capture.snaplen, 2000);
    assert!(lines.capture.promiscuous && lines.capture.any_direction && !lines.capture.exit_when_down);
    assert_eq!(lines.gate.max_age.unwrap().as_secs(), 60);
    assert!(lines.gate.http.enabled && lines.gate.http.any_user_agent && lines.gate.http.forwarded_for);
    assert_eq!(lines.pid_file.to_str(), Some("/run/knock/knock.pid"));
    assert_eq!(lines.access, AccessPlace::File { path: "/etc/knock/access.conf".into(), refuse_link: false });
    assert_eq!((lines.journal.facility, lines.journal.verbose), (Facility::Local(3), 2));
    assert_eq!(lines.firewall.input.as_ref().unwrap().to_string(), "inet filter input");
    assert!(lines.flush_at_init && !lines.flush_at_exit);
    assert_eq!(lines.gpg_budget, 80);
}

#[test]
fn defaults_are_those_of_the_original() {
    let (settings, said) = server("fwknopd.conf", "").unwrap();
    assert!(said.is_empty(), "{said}");
    assert_eq!(settings.capture.from, CaptureFrom::Devices(vec!["eth0".into()]));
    assert_eq!(settings.capture.filter, "udp port 62201");
    assert_eq!(settings.capture.snaplen, 1500);
    assert!(settings.capture.exit_when_down && !settings.capture.promiscuous && !settings.capture.any_direction);
    assert_eq!(settings.gate.max_age.unwrap().as_secs(), 120);
    assert!(!settings.gate.http.enabled);
    assert_eq!(settings.run_dir.to_str(), Some("/run/fwknop"));
    assert_eq!(settings.pid_file.to_str(), Some("/run/fwknop/fwknopd.pid"));
    assert_eq!(settings.digest_file.to_str(), Some("/run/fwknop/digest.cache"));
    assert_eq!(settings.access, AccessPlace::File { path: "/etc/fwknop/access.conf".into(), refuse_link: false });
    assert_eq!(settings.gpg_home.to_str(), Some("/root/.gnupg"));
    assert_eq!(settings.journal.identity, "fwknopd");
    assert_eq!(settings.gpg_budget, 50);
    // Ours: open grants are taken over at start.
    assert!(!settings.flush_at_init && settings.flush_at_exit);
}

#[test]
fn a_savefile_is_read_without_ageing_unless_it_is_asked_for() {
    let age = |text: &str| server("fwknopd.conf", text).unwrap().0.gate.max_age.map(|age| age.as_secs());
    assert_eq!(age("PCAP_FILE /a.pcap;"), None);
    assert_eq!(age("PCAP_FILE /a.pcap;\nMAX_SPA_PACKET_AGE 9;"), None);
    assert_eq!(age("PCAP_FILE /a.pcap;\nENABLE_SPA_PACKET_AGING Y;"), Some(120));
    assert_eq!(age("ENABLE_SPA_PACKET_AGING N;"), None);
}

#[test]
fn access_stanzas_are_equal_in_both_syntaxes() {
    let load = |name: &str| access(name, &read(&testdata("good").join(name))).unwrap_or_else(|said| panic!("{said}"));
    let (lines, said) = load("access.conf");
    let warnings: Vec<&str> = said.iter().map(|complaint| complaint.what.as_str()).collect();
    assert_eq!(warnings.len(), 4, "{said}");
    assert!(said.iter().all(|complaint| complaint.severity == Severity::Warning));
    let (toml, said) = load("access.toml");
    assert_eq!(said.iter().map(|complaint| complaint.what.as_str()).collect::<Vec<_>>(), warnings);

    let lines: Vec<String> = lines.iter().map(meaning).collect();
    assert_eq!(lines, toml.iter().map(meaning).collect::<Vec<_>>());
    assert_eq!(lines.len(), 2);
    for part in ["2001:db8::/32", "OPEN tcp/22,udp/1194", "alice", "timeout 60", "CTR", "SHA512"] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
    for part in ["ANY", "552BF49B20C4FDD451154E8A04C3D3838AB7EEB9", "expired: true", "sha1: true", "4102444800"] {
        assert!(lines[1].contains(part), "{part} is not in {}", lines[1]);
    }
}

/// Everything a stanza says, its keys by what they do.
fn meaning(stanza: &Stanza) -> String {
    let ports = |ports: &Option<fwknop::net::PortSet>| ports.as_ref().map(ToString::to_string).unwrap_or_default();
    let sealed = stanza.rijndael.as_ref().map(|auth| (auth.mode().name(), auth.seal_with_salt(b"text", [7; 8])));
    let tag = stanza.hmac.as_ref().map(|auth| (auth.digest().name(), auth.tag("", "text")));
    format!(
        "#{} FROM {} TO {} OPEN {} RESTRICT {} timeout {} of {} user {:?} source {} until {:?}\n{sealed:?}\n{tag:?}\n{:?}",
        stanza.id,
        stanza.source,
        stanza.destination,
        ports(&stanza.open_ports),
        ports(&stanza.restrict_ports),
        stanza.timeout.secs(),
        stanza.max_timeout.secs(),
        stanza.require_username,
        stanza.require_source_address,
        stanza.expires,
        stanza.openpgp,
    )
}
