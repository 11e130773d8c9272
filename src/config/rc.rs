//! The client's rc file as sections of settings (`spec/client.md` 3). What they mean is the client's business.

use std::path::Path;

use super::complaint::{Complaint, Complaints, Place};
use super::fwknop::Dialect;
use super::raw::{RawSections, Value};
use super::setting::Setting;
use super::source::{Guard, Source};
use crate::secret::Secret;

/// One `[section]`. A name may occur twice in a file: both are read, the later value wins.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    pub place: Place,
    pub settings: Vec<Setting>,
    /// Lines in it that could not be read: they matter only when the section is used.
    pub complaints: Vec<Complaint>,
}

impl Section {
    /// Section names compare without regard to case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// Reads an rc file: `.toml` by extension (`[default]` and `[name]` tables, names in lower case), else the original's
/// syntax. The complaints that come beside the sections are about the file as a whole.
pub fn read_sections(path: &Path) -> Result<(Vec<Section>, Complaints), Complaints> {
    let mut complaints = Complaints::default();
    let sections = Source::open(path, Guard::Rc, &mut complaints).and_then(|file| sections(&file, &mut complaints));
    complaints.judge(sections)
}

/// The same for a text that is already in memory; `path` only names it.
pub fn parse_sections(path: &Path, text: &str) -> Result<(Vec<Section>, Complaints), Complaints> {
    let mut complaints = Complaints::default();
    let sections = sections(&Source::from_text(path, text), &mut complaints);
    complaints.judge(sections)
}

fn sections(source: &Source, complaints: &mut Complaints) -> Option<Vec<Section>> {
    let mut about_lines = Complaints::default();
    let raw: Option<RawSections> = source.parse(Dialect::Rc, &mut about_lines);
    let Some(raw) = raw else {
        complaints.append(about_lines);
        return None;
    };
    for entry in raw.head.0 {
        let what = format!("{} stands before the first section and is ignored", entry.name.get_ref());
        complaints.warn(&source.place(entry.name.span().start), what, "put it below [default]");
    }
    let mut sections: Vec<Section> = Vec::new();
    for (name, entries) in raw.sections {
        let place = source.place(name.span().start);
        let settings = Setting::located(entries, source);
        sections.push(Section { name: name.into_inner(), place, settings, complaints: Vec::new() });
    }
    for complaint in about_lines {
        // Sections are in file order: the last that begins above the line holds it.
        match sections.iter_mut().rev().find(|section| section.place <= complaint.place) {
            Some(section) => section.complaints.push(complaint),
            // The original ignores whatever stands before the first section.
            None => complaints.warn(&complaint.place, complaint.what, complaint.advice),
        }
    }
    Some(sections)
}

/// A line that says this, quoted when it must be. It is read back to make sure that it says what it should; `None`: it
/// cannot be said in this syntax.
pub fn rc_line(name: &str, value: &Secret<String>) -> Option<Secret<String>> {
    let says_so = |text: &Secret<String>| {
        let whole = Secret::new(format!("[x]\n{}", text.expose()));
        let Ok((sections, complaints)) = parse_sections(Path::new("rc"), whole.expose()) else { return false };
        let [section] = &sections[..] else { return false };
        let [setting] = &section.settings[..] else { return false };
        let same = matches!(&setting.value, Value::Text(read) if read == value) && setting.name == name;
        same && complaints.is_empty() && section.complaints.is_empty()
    };
    let plain = Secret::new(format!("{name:<24}    {}\n", value.expose()));
    let quoted = Secret::new(format!("{name:<24}    \"{}\"\n", value.expose()));
    [plain, quoted].into_iter().find(says_so)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::text_of;

    #[test]
    fn both_syntaxes_give_the_same_sections() {
        let lines = "early x\n[default]\nSPA_SERVER_PORT 1\n[Web]\nACCESS tcp/80\nBROKEN\n";
        let toml = "early = 'x'\n[default]\nspa_server_port = 1\n[Web]\naccess = 'tcp/80'\n";
        let (sections, complaints) = parse_sections(Path::new("rc"), lines).unwrap();
        assert_eq!(
            complaints.to_string(),
            "rc:1: warning: early stands before the first section and is ignored\n     put it below [default]"
        );
        assert!(sections[0].complaints.is_empty());
        assert_eq!(
            sections[1].complaints[0].to_string(),
            "rc:6: BROKEN has no value\n     write a value, or remove the line"
        );
        let (others, _) = parse_sections(Path::new("rc.toml"), toml).unwrap();
        for sections in [sections, others] {
            assert!(sections[0].is("DEFAULT") && sections[1].is("web"));
            assert_eq!(sections[1].settings[0].name.to_ascii_uppercase(), "ACCESS");
            assert_eq!(text_of(&sections[1].settings[0].value), Some("tcp/80"));
            assert_eq!(sections[1].settings[0].place.to_string().rsplit(':').next(), Some("5"));
        }
    }

    #[test]
    fn broken_toml_never_shows_its_line() {
        let complaints = parse_sections(Path::new("rc.toml"), "[default]\nkey = secret words\n").unwrap_err();
        let text = complaints.to_string();
        assert!(text.starts_with("rc.toml:2: "), "{text}");
        assert!(!text.contains("words"), "{text}");
    }
}
