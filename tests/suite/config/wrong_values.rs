//! Each variable of the tables, with values that are wrong for it.

use fwknop::config::{Complaint, Kind, Severity, State, Syntax, Variable};
use fwknop::config::{access_table, server_table};

use super::complaints_about;

/// The line syntax and TOML around one setting, with the line on which it stands.
fn written(variable: &Variable, value: &str, file: &str) -> (String, u32) {
    let is_access = file.starts_with("access");
    match (file.ends_with(".toml"), is_access) {
        (false, true) if variable.name == "SOURCE" => (format!("SOURCE {value}\nKEY k\nHMAC_KEY h\n"), 1),
        (false, true) => (format!("SOURCE ANY\n{} {value}\n", variable.name), 2),
        (false, false) => (format!("{} {value};\n", variable.name), 1),
        (true, true) => (format!("[[stanza]]\n{} = {value}\n", variable.name.to_lowercase()), 2),
        (true, false) => (format!("{} = {value}\n", variable.name.to_lowercase()), 1),
    }
}

fn said_about(variable: &Variable, value: &str, file: &str) -> Vec<Complaint> {
    let (text, line) = written(variable, value, file);
    let at = format!("{file}:{line}");
    complaints_about(file, &text).into_iter().filter(|complaint| complaint.place.to_string() == at).collect()
}

fn each_variable(mut check: impl FnMut(&Variable, &str)) {
    server_table::TABLE.variables.iter().for_each(|variable| check(variable, "fwknopd"));
    access_table::TABLE.variables.iter().for_each(|variable| check(variable, "access"));
}

#[test]
fn each_variable_refuses_what_is_wrong_for_it() {
    each_variable(|variable, file| {
        for value in wrong_texts(variable.kind) {
            let said = said_about(variable, &value, &format!("{file}.conf"));
            let named = said.iter().find(|c| c.severity == Severity::Error && c.what.starts_with(variable.name));
            assert!(named.is_some(), "{} took {value:?}: {said:?}", variable.name);
            assert!(named.is_some_and(|complaint| !complaint.advice.is_empty()));
        }
        for value in wrong_toml(variable.kind) {
            let said = said_about(variable, value, &format!("{file}.toml"));
            let name = variable.name.to_lowercase();
            let named = said.iter().find(|c| c.severity == Severity::Error && c.what.starts_with(&name));
            assert!(named.is_some(), "{name} took {value}: {said:?}");
        }
    });
}

fn wrong_texts(kind: Kind) -> Vec<String> {
    let mut wrong: Vec<String> = vec!["\u{1}".into(), "\u{1b}[2J".into()];
    match kind {
        Kind::YesNo => wrong.extend(["1", "true", "Yup", "off"].map(String::from)),
        Kind::Number { min, max } => {
            wrong.extend(["-1", "+1", "0x10", "1.5", "12a", "ten", "99999999999999999999"].map(String::from));
            wrong.push((max + 1).to_string());
            wrong.extend(min.checked_sub(1).map(|below| below.to_string()));
        }
        Kind::Choice(_) | Kind::Digest | Kind::Mode => wrong.extend(["other", "1"].map(String::from)),
        Kind::List => wrong.extend(["a,", ",a", "a,,b"].map(String::from)),
        Kind::Ports => {
            wrong.extend(["22", "tcp/", "tcp/0", "tcp/65536", "icmp/1", "tcp/1-2", "tcp/1,"].map(String::from))
        }
        Kind::Addresses => {
            wrong.extend(["1.2", "0.0.0.0/0", "::/0", "host", "1.2.3.4,", "1.2.3.4/0"].map(String::from))
        }
        Kind::Date => wrong.extend(["2030-01-01", "13/01/2030", "tomorrow"].map(String::from)),
        Kind::SecretBase64 => wrong.extend(["a*b", "__CHANGEME__", "====", "YWJj="].map(String::from)),
        Kind::Secret => wrong.push("__CHANGEME__".into()),
        Kind::Chain => {
            wrong.extend(["ACCEPT", "A,b,c,d,e,f", "A,b,c,0,e,1", "A,b,c,1,e-f,1", "A,b,c,1,e,70000"].map(String::from))
        }
        Kind::NftChain => wrong.extend(["inet filter", "arp filter input", "inet filter in;put"].map(String::from)),
        Kind::Address => wrong.extend(["1.2.3", "1.2.3.4/32", "host", "1.2.3.4, 1.2.3.5"].map(String::from)),
        Kind::Target => {
            wrong.extend(["10.1.2.3", "10.1.2.3 0", "10.1.2.3 65536", "host 22", "10.1.2.3:22"].map(String::from))
        }
        Kind::Text | Kind::Path => {}
    }
    wrong
}

fn wrong_toml(kind: Kind) -> Vec<&'static str> {
    let mut wrong = vec!["1.5", "{ a = 1 }", "2030-01-01", "\"\"", "\"  \""];
    match kind {
        Kind::YesNo => wrong.extend(["\"Y\"", "1", "[true]"]),
        Kind::Number { .. } => wrong.extend(["\"1\"", "-1", "true", "[1]"]),
        Kind::List | Kind::Ports | Kind::Addresses => {
            wrong.extend(["1", "true", "[]", "[1]", "[\"\"]", "[[\"tcp/1\"]]"])
        }
        _ => wrong.extend(["1", "true", "[\"a\"]"]),
    }
    wrong
}

/// A value that is declared harmless but not understood would never be recognised.
#[test]
fn what_the_tables_declare_is_understood() {
    each_variable(|variable, _| {
        let harmless: &[&str] = match variable.state {
            State::Built => &[],
            State::NoEffect { silent, .. } | State::NotNeeded { silent, .. } => silent,
            State::NotSupported { fine, .. } => fine,
        };
        let default = Some(variable.default).filter(|default| !default.is_empty());
        for value in harmless.iter().copied().chain(default) {
            assert!(variable.kind.check_text(value, Syntax::Fwknop).is_ok(), "{}: {value}", variable.name);
        }
        assert!(!variable.doc.is_empty(), "{}", variable.name);
    });
}

#[test]
fn what_is_not_supported_is_refused_and_not_ignored() {
    let mut found = 0;
    each_variable(|variable, file| {
        let State::NotSupported { fine, instead } = variable.state else { return };
        found += 1;
        let file = format!("{file}.conf");
        for value in fine {
            assert_eq!(said_about(variable, value, &file), [], "{} {value}", variable.name);
        }
        let asking = asking_value(variable, fine);
        let said = said_about(variable, &asking, &file);
        let refused = format!("{} is not supported", variable.name);
        let advice = format!("remove it, and {instead}");
        let is_said = |c: &Complaint| c.severity == Severity::Error && c.what == refused && c.advice == advice;
        assert!(said.iter().any(is_said), "{asking}: {said:?}");
    });
    assert!(found > 5, "{found}");
}

#[test]
fn what_has_no_effect_says_so_once() {
    each_variable(|variable, file| {
        let (silent, severity) = match variable.state {
            State::NoEffect { silent, .. } => (silent, Severity::Warning),
            State::NotNeeded { silent, .. } => (silent, Severity::Note),
            _ => return,
        };
        let file = format!("{file}.conf");
        for value in silent {
            assert_eq!(said_about(variable, value, &file), [], "{} {value}", variable.name);
        }
        let said = said_about(variable, &asking_value(variable, silent), &file);
        let what: Vec<_> = said.iter().map(|complaint| (complaint.severity, complaint.what.clone())).collect();
        assert_eq!(what, [(severity, format!("{} has no effect", variable.name))]);
    });
}

/// A correct value that is not among the harmless ones.
fn asking_value(variable: &Variable, harmless: &[&str]) -> String {
    let other =
        |values: &[&str]| values.iter().find(|value| !harmless.contains(*value)).map(|value| (*value).to_owned());
    let value = match variable.kind {
        Kind::YesNo => other(&["Y", "N"]),
        Kind::Number { min, max } => Some(((min + max) / 2).to_string()),
        Kind::Choice(words) => other(words),
        Kind::Chain => Some("ACCEPT, filter, OTHER, 1, MINE, 1".to_owned()),
        _ => Some("something else".to_owned()),
    };
    value.unwrap_or_else(|| panic!("no other value for {}", variable.name))
}
