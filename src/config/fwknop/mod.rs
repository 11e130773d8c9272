//! The line syntaxes of the original as a serde format: `fwknopd.conf` (`spec/server.md` 4), `access.conf`
//! (`spec/access.md` 1) and the client's rc file (`spec/client.md` 3.1).
//!
//! Reading never stops at a bad line: what can be read is handed over, the rest is reported with its line.

mod de;
mod line;

pub use line::Node;

use serde::Deserialize;
use toml::Spanned;

use super::complaint::Severity;
use super::raw::STANZA;
use line::{Line, Parameter};

/// Which of the three grammars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `NAME value;`
    Server,
    /// `NAME value`; `SOURCE` starts a stanza.
    Access,
    /// The key file of `%include_keys`: as [`Dialect::Access`], but only one list of entries.
    Keys,
    /// `NAME value` in `[sections]`; a value is one word.
    Rc,
}

/// A line that could not be read as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Byte offset of the line.
    pub at: usize,
    pub severity: Severity,
    pub what: String,
    pub advice: String,
}

/// Deserializes `text`; the faults of single lines come beside the rest.
pub fn from_str<'de, T: Deserialize<'de>>(
    text: &'de str,
    dialect: Dialect,
) -> (Result<T, serde::de::value::Error>, Vec<LineFault>) {
    let mut faults = Vec::new();
    let root = parse(text, dialect, &mut faults);
    (T::deserialize(de::NodeDeserializer::from(root)), faults)
}

/// The longest line in bytes, as in the original.
pub const LINE_MAX: usize = 1023;

type Entry<'a> = (Spanned<&'a str>, Spanned<Node<'a>>);

fn parse<'a>(text: &'a str, dialect: Dialect, faults: &mut Vec<LineFault>) -> Spanned<Node<'a>> {
    let mut parameters = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        match line::read(line, offset, dialect, faults) {
            Some(Line::Parameter(parameter)) => parameters.push(Step::Entry(parameter)),
            Some(Line::Section(name)) => parameters.push(Step::Section(name)),
            None => {}
        }
        offset += line.len();
    }
    let map = match dialect {
        Dialect::Server | Dialect::Keys => entries(parameters),
        Dialect::Access => stanzas(parameters),
        Dialect::Rc => sections(parameters),
    };
    Spanned::new(0..text.len(), Node::Map(map))
}

enum Step<'a> {
    Entry(Parameter<'a>),
    Section(Spanned<&'a str>),
}

fn entries(steps: Vec<Step<'_>>) -> Vec<Entry<'_>> {
    steps.into_iter().filter_map(Step::entry).collect()
}

fn stanzas(steps: Vec<Step<'_>>) -> Vec<Entry<'_>> {
    let mut head = Vec::new();
    let mut stanzas: Vec<(std::ops::Range<usize>, Vec<Entry<'_>>)> = Vec::new();
    for entry in steps.into_iter().filter_map(Step::entry) {
        if *entry.0.get_ref() == "SOURCE" {
            stanzas.push((entry.0.span(), Vec::new()));
        }
        match stanzas.last_mut() {
            Some((_, stanza)) => stanza.push(entry),
            None => head.push(entry),
        }
    }
    let stanzas = stanzas.into_iter().map(|(span, entries)| Spanned::new(span, Node::Map(entries))).collect();
    head.push((Spanned::new(0..0, STANZA), Spanned::new(0..0, Node::Seq(stanzas))));
    head
}

fn sections(steps: Vec<Step<'_>>) -> Vec<Entry<'_>> {
    let mut head = Vec::new();
    let mut sections: Vec<(Spanned<&str>, Vec<Entry<'_>>)> = Vec::new();
    for step in steps {
        match (step, sections.last_mut()) {
            (Step::Section(name), _) => sections.push((name, Vec::new())),
            (Step::Entry(entry), Some((_, section))) => section.push(entry),
            (Step::Entry(entry), None) => head.push(entry),
        }
    }
    head.extend(sections.into_iter().map(|(name, entries)| {
        let span = name.span();
        (name, Spanned::new(span, Node::Map(entries)))
    }));
    head
}

impl<'a> Step<'a> {
    fn entry(self) -> Option<Entry<'a>> {
        match self {
            Step::Entry(parameter) => Some(parameter),
            Step::Section(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::raw::{Entries, RawAccess, RawSections, Value};
    use super::*;

    fn texts(entries: &Entries) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::Text(text) => text.expose().clone(),
            other => panic!("not a text: {other:?}"),
        };
        entries.0.iter().map(|e| (e.name.get_ref().clone(), text(e.value.get_ref()))).collect()
    }

    fn server(text: &str) -> (Vec<(String, String)>, Vec<LineFault>) {
        let (entries, faults) = from_str::<Entries>(text, Dialect::Server);
        (texts(&entries.unwrap()), faults)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_server_value_runs_to_its_semicolon() {
        let (entries, faults) = server(
            "# a comment; with more\n; another\r\n\r\n  # indented\nPCAP_FILTER   udp port 62201;\nPCAP_INTF eth0\nX a#b ; \nY a; # said\n",
        );
        assert_eq!(
            entries,
            [pair("PCAP_FILTER", "udp port 62201"), pair("PCAP_INTF", "eth0"), pair("X", "a#b"), pair("Y", "a")]
        );
        assert_eq!(faults, []);
    }

    #[test]
    fn bad_lines_are_reported_and_the_rest_is_read() {
        let long = "L".repeat(LINE_MAX + 1);
        let text = format!("VERBOSE\nPCAP_INTF=eth0;\nKEY ab;cd\n{long}\nA\0B c\nLOCALE ;\nGOOD 1;\n");
        let (entries, faults) = server(&text);
        assert_eq!(entries, [pair("GOOD", "1")]);
        let lines: Vec<usize> = faults.iter().map(|f| 1 + text[..f.at].matches('\n').count()).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn source_starts_a_stanza_and_includes_stay_inside() {
        let text = "%include first\nSOURCE: ANY\nKEY one two\n%include more.conf\nSOURCE 1.2.3.4\n";
        let (access, faults) = from_str::<RawAccess>(text, Dialect::Access);
        let access = access.unwrap();
        assert_eq!(faults, []);
        assert_eq!(texts(&access.head), [pair("%include", "first")]);
        let stanzas: Vec<_> = access.stanzas.iter().map(|s| texts(s.get_ref())).collect();
        assert_eq!(stanzas[0], [pair("SOURCE", "ANY"), pair("KEY", "one two"), pair("%include", "more.conf")]);
        assert_eq!(stanzas[1], [pair("SOURCE", "1.2.3.4")]);
        assert_eq!(access.stanzas[1].span().start, text.rfind("SOURCE").unwrap());
    }

    #[test]
    fn an_rc_value_is_one_word_or_quoted() {
        let text = "EARLY x\n[default]\nUSE_HMAC: Y\n\n   # note\n  HMAC_KEY  a#b\nKEY \"two words\" # said\nX \"open\n [ Web 1 ] rest\nY a;b\n";
        let (raw, faults) = from_str::<RawSections>(text, Dialect::Rc);
        let raw = raw.unwrap();
        assert_eq!(faults, []);
        assert_eq!(texts(&raw.head), [pair("EARLY", "x")]);
        assert_eq!(raw.sections[0].0.get_ref(), "default");
        assert_eq!(
            texts(&raw.sections[0].1),
            [pair("USE_HMAC", "Y"), pair("HMAC_KEY", "a"), pair("KEY", "two words"), pair("X", "\"open")]
        );
        assert_eq!(raw.sections[1].0.get_ref(), "Web 1");
        assert_eq!(texts(&raw.sections[1].1), [pair("Y", "a")]);
    }

    #[test]
    fn words_behind_an_rc_value_are_mentioned() {
        let (raw, faults) = from_str::<RawSections>("[default]\nKEY two words\n", Dialect::Rc);
        assert_eq!(texts(&raw.unwrap().sections[0].1), [pair("KEY", "two")]);
        assert_eq!((faults.len(), faults[0].severity), (1, Severity::Warning));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([A-Z_%]{1,4}|[ \t:;#=\"\\[\\]\r\n\0]|\\PC){0,60}") {
            for dialect in [Dialect::Server, Dialect::Access, Dialect::Keys, Dialect::Rc] {
                let mut faults = Vec::new();
                parse(&text, dialect, &mut faults);
                prop_assert!(faults.iter().all(|f| f.at <= text.len()));
            }
            prop_assert!(from_str::<Entries>(&text, Dialect::Server).0.is_ok());
            prop_assert!(from_str::<RawAccess>(&text, Dialect::Access).0.is_ok());
            prop_assert!(from_str::<RawSections>(&text, Dialect::Rc).0.is_ok());
        }
    }
}
