//! The sample files of the original, as Debian installs them.

use std::path::Path;

use fwknop::config::Severity;

use super::{access, server};

/// Where Debian installs them only root may read them, so `.ci/deps` copies them for others.
fn sample(name: &str) -> String {
    let installed = Path::new("/etc/fwknop").join(name);
    let copied = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/samples").join(name);
    let text = std::fs::read_to_string(&installed).or_else(|error| match std::fs::read_to_string(&copied) {
        Ok(text) => Ok(text),
        Err(_) => Err(error),
    });
    text.unwrap_or_else(|error| {
        let (from, to) = (installed.display(), copied.display());
        panic!("{from}: {error}\n     run: .ci/deps test, or: sudo install -D -m 600 -o $USER {from} {to}")
    })
}

#[test]
fn the_sample_fwknopd_conf_is_taken_without_a_word() {
    let text = sample("fwknopd.conf");
    let (_, said) = server("fwknopd.conf", &text).unwrap_or_else(|said| panic!("{said}"));
    assert!(said.is_empty(), "{said}");
}

#[test]
fn the_sample_access_conf_lacks_only_keys() {
    let text = sample("access.conf");
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

/// With all comment signs before settings removed, every name is known and every suggested value is understood.
#[test]
fn every_suggestion_of_the_sample_fwknopd_conf_is_known() {
    let text = sample("fwknopd.conf");
    let mut settings = 0;
    let uncommented: Vec<String> = text
        .lines()
        .map(|line| {
            let Some(setting) = line.strip_prefix('#').map(str::trim_start).filter(|line| is_setting(line)) else {
                return line.to_owned();
            };
            settings += 1;
            setting.to_owned()
        })
        .collect();
    assert!(settings > 70, "{settings} settings found: has the sample changed?");
    let said = match server("fwknopd.conf", &uncommented.join("\n")) {
        Ok((_, said)) => said,
        Err(said) => said,
    };
    for complaint in said.iter().filter(|complaint| complaint.severity == Severity::Error) {
        let about = &complaint.what;
        let other = about.contains("is for firewalld, and the firewall is iptables");
        let expected =
            other || about.ends_with("is not supported yet") || about.contains("is not set before this line");
        assert!(expected, "{complaint}");
    }
}

fn is_setting(line: &str) -> bool {
    let name = line.split([' ', '\t']).next().unwrap_or_default();
    let upper = name.len() > 3 && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    upper && name != "NOTE" && line.ends_with(';')
}
