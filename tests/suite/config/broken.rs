//! Broken files carry, in comments, exactly what must be said about them.

use fwknop::config::{Complaint, Place, Severity};

use super::{complaints_about, read, testdata};

#[test]
fn every_broken_file_gets_its_complaints() {
    let mut files: Vec<_> = std::fs::read_dir(testdata("broken")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "files are missing: {files:?}");
    let mut wrong = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let text = read(&file);
        let mut expected: Vec<String> = text.lines().filter_map(expectation).collect();
        let said = complaints_about(name, &text);
        let mut found: Vec<String> = said.iter().map(|complaint| shown(complaint, name)).collect();
        expected.sort();
        found.sort();
        if expected != found {
            let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
            let surplus: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
            wrong += &format!("{name}\n  not said: {missing:#?}\n  said as well: {surplus:#?}\n");
        }
        for complaint in said.iter().filter(|complaint| complaint.advice.is_empty()) {
            wrong += &format!("{name}: no advice with: {complaint}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What a stanza may ask for depends on the firewall that is configured.
#[test]
fn what_pf_cannot_do_is_refused_in_stanzas() {
    let server = "FIREWALL pf;\nENABLE_IPT_FORWARDING Y;\nENABLE_IPT_LOCAL_NAT Y;\nPF_SYNTAX freebsd;\n";
    let (settings, said) = super::server("fwknopd.conf", server).unwrap();
    assert!(!said.has_errors(), "{said}");
    let stanza = |line: &str| format!("SOURCE ANY\nKEY k\nHMAC_KEY h\nFORCE_NAT 10.1.2.3 22\n{line}\n");
    let said = |line: &str| match super::access_with(&settings, "access.conf", &stanza(line)) {
        Ok((_, said)) | Err(said) => said.to_string(),
    };
    for (line, what, advice) in [
        ("FORWARD_ALL Y", "FORWARD_ALL cannot be had with pf", "the ports that are asked for"),
        ("FORCE_MASQUERADE Y", "FORCE_MASQUERADE cannot be had with pf", "FORCE_SNAT"),
    ] {
        let said = said(line);
        assert!(said.contains(&format!("access.conf:5: {what}")) && said.contains(advice), "{said}");
    }
    assert!(!said("FORCE_SNAT 10.9.9.9").contains("cannot be had"));
}

/// `# error 3: what` as `error 3: what`.
fn expectation(line: &str) -> Option<String> {
    let line = line.strip_prefix("# ")?;
    ["error", "warning", "note"].into_iter().any(|word| line.starts_with(word)).then(|| line.to_owned())
}

fn shown(complaint: &Complaint, file: &str) -> String {
    let severity = match complaint.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    match &complaint.place {
        Place::Line(path, line) if path.to_str() == Some(file) => format!("{severity} {line}: {}", complaint.what),
        Place::File(path) if path.to_str() == Some(file) => format!("{severity}: {}", complaint.what),
        other => panic!("{file}: a complaint about {other}"),
    }
}
