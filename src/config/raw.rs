//! What a file says, before anything is decided about it: names and values with the places they stand at.
//!
//! Both syntaxes deserialize (serde) into these types. Values are secrets here: which of them are keys is known only
//! later.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
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

enum Node {
    Value(Value),
    Table(Entries),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData))
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Self {
        Node::Value(value)
    }
}

impl From<Entries> for Node {
    fn from(entries: Entries) -> Self {
        Node::Table(entries)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData))
    }
}

/// A table where a value is wanted is not an error of the format: the other entries shall be checked too.
impl From<Entries> for Value {
    fn from(_: Entries) -> Self {
        Value::Unusable("a table")
    }
}

struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: From<Value> + From<Entries>> Visitor<'de> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<T, E> {
        Ok(Value::Flag(flag).into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<T, E> {
        Ok(Value::Number(number).into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<T, E> {
        Ok(i64::try_from(number).map_or(Value::Unusable("a number that is too large"), Value::Number).into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<T, E> {
        Ok(Value::Unusable("a number with a fraction").into())
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok(Value::Text(Secret::new(text.to_owned())).into())
    }

    fn visit_string<E>(self, text: String) -> Result<T, E> {
        Ok(Value::Text(Secret::new(text)).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut entries = Entries::default();
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            // TOML hands a date over as a table with one private name.
            if name.get_ref().starts_with("$__toml") {
                map.next_value::<IgnoredAny>()?;
                return Ok(Value::Unusable("a date").into());
            }
            entries.0.push(Entry { name, value: map.next_value()? });
        }
        Ok(entries.in_file_order().into())
    }
}
