//! What a file says, before anything is decided about it: names and values with the places they stand at.
//!
//! Both syntaxes deserialize (serde) into these types. Values are secrets here: which of them are keys is known only
//! later.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use crate::secret::Secret;

/// Names and values in the order of the file; a name may occur twice.
#[derive(Debug, Default)]
pub struct Entries(pub Vec<Entry>);

#[derive(Debug)]
pub struct Entry {
    pub name: Spanned<String>,
    pub value: Spanned<Value>,
}

/// A value as its syntax can write it. The line syntaxes know only text.
#[derive(Clone, Debug)]
pub enum Value {
    Text(Secret<String>),
    Flag(bool),
    Number(i64),
    List(Vec<Value>),
    /// Something that no setting takes; says what.
    Unusable(&'static str),
}

impl Value {
    /// As the line syntaxes have it.
    pub fn in_lines(&self) -> Option<Secret<String>> {
        let text = match self {
            Value::Text(text) => return Some(text.clone()),
            Value::Flag(flag) => if *flag { "Y" } else { "N" }.to_owned(),
            Value::Number(number) => number.to_string(),
            Value::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(Value::in_lines).collect();
                items?.iter().map(|item| item.expose().as_str()).collect::<Vec<_>>().join(",")
            }
            Value::Unusable(_) => return None,
        };
        Some(Secret::new(text))
    }
}

/// An access file: what stands outside of all stanzas (include directives), and the stanzas.
#[derive(Debug, Default)]
pub struct RawAccess {
    pub head: Entries,
    pub stanzas: Vec<Spanned<Entries>>,
}

/// An rc file: what stands before the first section, and the sections; a name may occur twice.
#[derive(Debug, Default)]
pub struct RawSections {
    pub head: Entries,
    pub sections: Vec<(Spanned<String>, Entries)>,
}

/// The key under which a format hands over the stanzas of an access file.
pub const STANZA: &str = "stanza";

impl Entries {
    /// TOML hands tables over sorted by name; messages and precedence follow the file.
    fn in_file_order(mut self) -> Self {
        self.0.sort_by_key(|entry| entry.name.span().start);
        self
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Entries::default();
                while let Some(name) = map.next_key()? {
                    entries.0.push(Entry { name, value: map.next_value()? });
                }
                Ok(entries.in_file_order())
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

impl<'de> Deserialize<'de> for RawAccess {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AccessVisitor;
        impl<'de> Visitor<'de> for AccessVisitor {
            type Value = RawAccess;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("stanzas")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawAccess, A::Error> {
                let mut access = RawAccess::default();
                while let Some(name) = map.next_key::<Spanned<String>>()? {
                    if name.get_ref() == STANZA {
                        access.stanzas = map.next_value()?;
                    } else {
                        access.head.0.push(Entry { name, value: map.next_value()? });
                    }
                }
                access.head = access.head.in_file_order();
                Ok(access)
            }
        }
        deserializer.deserialize_map(AccessVisitor)
    }
}

impl<'de> Deserialize<'de> for RawSections {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionsVisitor;
        impl<'de> Visitor<'de> for SectionsVisitor {
            type Value = RawSections;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sections")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSections, A::Error> {
                let mut raw = RawSections::default();
                while let Some(name) = map.next_key::<Spanned<String>>()? {
                    let node: Spanned<Node> = map.next_value()?;
                    let span = node.span();
                    match node.into_inner() {
                        Node::Table(entries) => raw.sections.push((name, entries)),
                        Node::Value(value) => raw.head.0.push(Entry { name, value: Spanned::new(span, value) }),
                    }
                }
                raw.head = raw.head.in_file_order();
                raw.sections.sort_by_key(|(name, _)| name.span().start);
                Ok(raw)
            }
        }
        deserializer.deserialize_map(SectionsVisitor)
    }
}

/// What stands at the top of an rc file.
enum Node {
    Value(Value),
    Table(Entries),
}

/// What a format can hand over where one of our values is wanted.
trait FromParts: Sized {
    fn from_value(value: Value) -> Self;

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

impl FromParts for Node {
    fn from_value(value: Value) -> Self {
        Node::Value(value)
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut entries = Entries::default();
        // TOML hands a date over as a table with a name that stands nowhere.
        let no_table = |_| A::Error::custom("a date cannot be used here");
        while let Some(name) = map.next_key().map_err(no_table)? {
            entries.0.push(Entry { name, value: map.next_value()? });
        }
        Ok(Node::Table(entries.in_file_order()))
    }
}

impl FromParts for Value {
    fn from_value(value: Value) -> Self {
        value
    }

    /// Not an error of the format: the other entries shall be checked too.
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Unusable("a table or a date"))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartsVisitor(PhantomData))
    }
}

struct PartsVisitor<T>(PhantomData<T>);

impl<'de, T: FromParts> Visitor<'de> for PartsVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<T, E> {
        Ok(T::from_value(Value::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(T::from_value(Value::Number(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        let number = i64::try_from(number).map_or(Value::Unusable("a number that is too large"), Value::Number);
        Ok(T::from_value(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(T::from_value(Value::Unusable("a number with a fraction")))
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(T::from_value(Value::Text(Secret::new(text.to_owned()))))
    }

    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok(T::from_value(Value::Text(Secret::new(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(T::from_value(Value::List(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::from_map(map)
    }
}
