//! The sample files of the original, as Debian installs them.

use std::fs;
use std::path::Path;

use fwknop::config::Severity;

use super::{access, read, server, testdata};

/// Our copy, without the prose; and what is installed, where it may be read: it is root's alone.
fn samples(name: &str) -> Vec<String> {
    let copy = read(&testdata("debian").join(name));
    let installed = fs::read_to_string(Path::new("/etc/fwknop").join(name));
    std::iter::once(copy).chain(installed).collect()
}

#[test]
fn nothing_is_missing_in_our_copies() {
    for name in ["fwknopd.conf", "access.conf"] {
        let samples = samples(name);
        for sample in &samples {
            let settings = sample.lines().filter(|line| !line.trim().is_empty());
            let settings = settings.filter(|line| !line.starts_with('#') || suggestion(line).is_some());
            assert!(settings.eq(samples[0].lines()), "/etc/fwknop/{name} is another than was copied");
        }
    }
}

#[test]
fn the_sample_fwknopd_conf_is_taken_without_a_word() {
    for text in samples("fwknopd.conf") {
        let (_, said) = server("fwknopd.conf", &text).unwrap_or_else(|said| panic!("{said}"));
        assert!(said.is_empty(), "{said}");
    }
}

#[test]
fn the_sample_access_conf_lacks_only_keys() {
    for text in samples("access.conf") {
        let said = access("access.conf", &text).expect_err("it has placeholders for keys");
        let what: Vec<&str> = said.iter().map(|complaint| complaint.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "KEY_BASE64: is still the placeholder of the sample file",
                "HMAC_KEY_BASE64: is still the placeholder of the sample file"
            ]
        );
    }
}

/// With all comment signs before settings removed, every name is known and every suggested value is understood.
#[test]
fn every_suggestion_of_the_sample_fwknopd_conf_is_known() {
    for text in samples("fwknopd.conf") {
        let suggestions = text.lines().filter(|line| suggestion(line).is_some()).count();
        assert!(suggestions > 70, "{suggestions} settings found: has the sample changed?");
        let uncommented: Vec<&str> = text.lines().map(|line| suggestion(line).unwrap_or(line)).collect();
        let said = match server("fwknopd.conf", &uncommented.join("\n")) {
            Ok((_, said)) => said,
            Err(said) => said,
        };
        for complaint in said.iter().filter(|complaint| complaint.severity == Severity::Error) {
            let about = &complaint.what;
            let other = about.contains("is for firewalld, and the firewall is iptables");
            let expected =
                other || about.ends_with("is not supported") || about.contains("is not set before this line");
            assert!(expected, "{complaint}");
        }
    }
}

/// The setting behind a comment sign.
fn suggestion(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?.trim_start();
    let name = setting.split([' ', '\t']).next()?;
    let upper = name.len() > 3 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    (upper && name != "NOTE" && setting.ends_with(';')).then_some(setting)
}
