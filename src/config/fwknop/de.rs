//! Serde's side of the format: a tree of texts with the places they stand at.

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_spanned::de::{SpannedDeserializer, is_spanned};
use toml::Spanned;

use super::line::Node;

/// A node and its place. `Spanned` is a foreign type, so it is wrapped.
pub struct NodeDeserializer<'a>(Spanned<Node<'a>>);

impl<'de> Deserializer<'de> for NodeDeserializer<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.into_inner() {
            Node::Text(text) => visitor.visit_borrowed_str(text),
            Node::Map(entries) => {
                let entries = entries.into_iter().map(|(name, value)| {
                    let span = name.span();
                    (NodeDeserializer(Spanned::new(span, Node::Text(name.into_inner()))), NodeDeserializer(value))
                });
                visitor.visit_map(MapDeserializer::new(entries))
            }
            Node::Seq(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(NodeDeserializer))),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if is_spanned(name) {
            let span = self.0.span();
            return visitor.visit_map(SpannedDeserializer::new(self, span));
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for NodeDeserializer<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> From<Spanned<Node<'de>>> for NodeDeserializer<'de> {
    fn from(node: Spanned<Node<'de>>) -> Self {
        Self(node)
    }
}
