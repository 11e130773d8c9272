//! What is open, as a table for people.

use std::time::Duration;

use super::{Entry, Error, Firewall, Output};
use crate::time::Timestamp;

impl Firewall {
    /// What is open, for people; with `all` also the whole firewall as its own tool shows it.
    pub fn list(&mut self, all: bool) -> Result<String, Error> {
        let now = Timestamp::now();
        let mut entries = self.entries()?;
        for entry in &mut entries {
            let end = entry.end().map(Timestamp::from_secs);
            entry.remaining = entry.remaining.or_else(|| end.map(|end| now.until(end)));
        }
        let mut text = table(&entries);
        if all {
            for output in self.run(&self.backend.list_all())? {
                let Output::Text(whole) = output else { continue };
                text.push('\n');
                text.push_str(&whole);
            }
        }
        Ok(text)
    }
}

/// A comment of somebody else must not steer the terminal.
fn printable(comment: &str) -> String {
    comment.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// One line per opening, those that end first on top.
pub(super) fn table(entries: &[Entry]) -> String {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by_key(|entry| (entry.remaining.unwrap_or(Duration::MAX), entry.spot));
    let mut text = format!("{:<39}  {:<9}  {:<10}  {}\n", "ADDRESS", "SERVICE", "REMAINING", "GRANT");
    for entry in &entries {
        let address = entry.spot.address.to_string();
        let service = entry.spot.service.map_or("all".to_owned(), |service| service.to_string());
        let remaining = entry.remaining.map_or("for ever".to_owned(), |left| format!("{}s", left.as_secs()));
        let grant = match (entry.tag(), &entry.comment) {
            (Some(tag), _) => tag.grant.to_string(),
            (None, _) if entry.end().is_some() => "-".to_owned(),
            (None, Some(comment)) => format!("not ours: {}", printable(comment)),
            (None, None) => "not ours".to_owned(),
        };
        let line = format!("{address:<39}  {service:<9}  {remaining:<10}  {grant:<5}  {entry}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&match entries.len() {
        0 => "nothing is open\n".to_owned(),
        count => format!("{count} open\n"),
    });
    text
}
