//! The settings of a run in layers, weakest first: `[default]`, the named stanza, the command line. Plain precedence:
//! the strongest layer that says something wins, `N` undoes a weaker `Y`, and a key from a stronger layer replaces one
//! from a weaker, in whatever form each is given (`spec/client.md` 20 no. 11).

use super::variables::TABLE;
use crate::config::{Checked, Complaints, Place, Setting, Settings};

/// Checked settings, weakest layer first.
#[derive(Debug, Default)]
pub struct Layers(Vec<Layer>);

/// What one place says.
#[derive(Debug)]
pub struct Layer {
    settings: Settings,
    is_command_line: bool,
}

/// A setting and who said it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    pub name: &'static str,
    pub value: &'a Checked,
    pub place: &'a Place,
    pub on_command_line: bool,
}

impl Layers {
    /// Adds the sections of the rc file that have this name: the later value wins.
    pub fn add_sections(&mut self, sections: Vec<Vec<Setting>>, complaints: &mut Complaints) {
        let mut settings = Settings::default();
        for section in sections {
            settings.add(&TABLE, section, complaints);
        }
        self.0.push(Layer { settings, is_command_line: false });
    }

    pub fn add_command_line(&mut self, written: Vec<Setting>, complaints: &mut Complaints) {
        let settings = Settings::read(&TABLE, written, complaints);
        self.0.push(Layer { settings, is_command_line: true });
    }

    /// What each layer says about `name`, strongest first.
    pub fn all(&self, name: &'static str) -> impl Iterator<Item = Said<'_>> {
        self.0.iter().rev().filter_map(move |layer| layer.said(name))
    }

    /// Of settings that are about the same thing: the one in the strongest layer; within it, the first in `names`.
    pub fn strongest(&self, names: &[&'static str]) -> Option<Said<'_>> {
        self.0.iter().rev().find_map(|layer| names.iter().find_map(|name| layer.said(name)))
    }

    pub fn strongest_first(&self) -> impl Iterator<Item = &Layer> {
        self.0.iter().rev()
    }

    pub fn flag(&self, name: &'static str) -> bool {
        matches!(self.strongest(&[name]), Some(Said { value: Checked::Flag(true), .. }))
    }

    pub fn number(&self, name: &'static str) -> Option<u64> {
        match self.strongest(&[name])?.value {
            Checked::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn text(&self, name: &'static str) -> Option<&str> {
        self.strongest(&[name])?.text()
    }
}

impl Layer {
    pub fn said(&self, name: &'static str) -> Option<Said<'_>> {
        let (value, place) = (self.settings.get(name)?, self.settings.place(name)?);
        Some(Said { name, value, place, on_command_line: self.is_command_line })
    }
}

impl<'a> Said<'a> {
    pub fn text(&self) -> Option<&'a str> {
        match self.value {
            Checked::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn is_yes(&self) -> bool {
        matches!(self.value, Checked::Flag(true))
    }
}
