//! Converts a document's tree into a typed spec and keeps the positions of faults.

use std::fmt::Display;

use robustseg_words::{self as words, counted, nearest, unknown_key};
use serde::de::{
    self, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor, value::StrDeserializer,
};

use super::document::{Entry, Node, Value};
use super::fault::Fault;
use crate::number;

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Fault::new(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        wrong(&unexpected.to_string(), &expected.to_string())
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        wrong(&unexpected.to_string(), &expected.to_string())
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        wrong(&counted(length, "value"), &expected.to_string())
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(unknown_key(field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Fault::new(format!("unknown choice `{variant}`; {}", nearest(variant, expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Fault::new(format!("key `{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Fault::new(format!("key `{field}` stands here twice"))
    }
}

/// The fault of a value with the wrong type.
fn wrong(unexpected: &str, expected: &str) -> Fault {
    Fault::new(format!("expected {}, found {}", words::expected(expected), words::found(unexpected)))
}

impl Node {
    /// The node to read where no text is expected. For an argument, this is its YAML reading.
    fn read(&self) -> Result<&Self, Fault> {
        match &self.value {
            Value::Argument(argument) => argument.read.as_deref().map_err(Clone::clone),
            _ => Ok(self),
        }
    }

    /// Whether there is a node at `path`.
    pub(super) fn has(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        let child = match self.read().map(|node| &node.value) {
            Ok(Value::Map(entries)) => entries.iter().find(|entry| entry.key == *first),
            _ => None,
        };
        child.is_some_and(|entry| entry.node.has(rest))
    }

    fn text<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Argument(argument) = &self.value else {
            let scalar = matches!(self.value, Value::Bool(_) | Value::Integer(_) | Value::Float(_));
            let read = de::Deserializer::deserialize_any(self, visitor);
            return read.map_err(|fault| if scalar { fault.with_advice("put it in quotes") } else { fault });
        };
        visitor.visit_str(&argument.text).map_err(|fault: Fault| fault.at(&self.place))
    }

    fn number<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Result<V::Value, Fault> {
        let node = self.read()?;
        let fraction = if let Value::Text(text) = &node.value { number::parse(text).ok() } else { None };
        match fraction {
            Some(value) => visitor.visit_f64(value).map_err(|fault: Fault| fault.at(&self.place)),
            None => de::Deserializer::deserialize_any(node, visitor),
        }
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(nodes) => visitor.visit_seq(Items { nodes, next: 0 }),
            Value::Map(entries) => visitor.visit_map(Entries { entries, next: 0 }),
            Value::Argument(_) => self.read()?.deserialize_any(visitor),
        }
        .map_err(|fault| fault.at(&self.place))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.read().map(|node| &node.value) {
            Ok(Value::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.number(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let node = self.read()?;
        let choice = match &node.value {
            Value::Text(name) => Choice { name, node, entry: None },
            Value::Map(entries) if !entries.is_empty() => {
                // A layer that makes another choice replaces the one below.
                let upper = entries.iter().map(|entry| entry.layer).max();
                let chosen: Vec<&Entry> = entries.iter().filter(|entry| Some(entry.layer) == upper).collect();
                let [entry] = chosen[..] else {
                    let keys: Vec<&str> = chosen.iter().map(|entry| entry.key.as_str()).collect();
                    let message = format!("exactly one choice is possible, found {}", keys.join(", "));
                    return Err(Fault::new(message).at(&self.place));
                };
                Choice { name: &entry.key, node, entry: Some(entry) }
            }
            _ => {
                let message = format!("expected one of {}", variants.join(", "));
                return Err(Fault::new(message).at(&self.place));
            }
        };
        visitor.visit_enum(choice)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'de> {
    nodes: &'de [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(node).map(Some).map_err(|fault| fault.under(&index.to_string(), &node.place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - self.next)
    }
}

struct Entries<'de> {
    entries: &'de [Entry],
    next: usize,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|fault| fault.at(&entry.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = &self.entries[self.next];
        self.next += 1;
        seed.deserialize(&entry.node).map_err(|fault| fault.under(&entry.key, &entry.node.place))
    }
}

/// A variant: its name alone (`basic`), or a map from its name to its content (`bim: {steps: 3}`).
struct Choice<'de> {
    name: &'de str,
    node: &'de Node,
    entry: Option<&'de Entry>,
}

impl<'de> Choice<'de> {
    /// The variant's content, if there is any.
    fn content(&self) -> Result<Option<&'de Node>, Fault> {
        self.entry.map(|entry| entry.node.read()).transpose()
    }
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name: StrDeserializer<'_, Fault> = self.name.into_deserializer();
        let place = self.entry.map_or(&self.node.place, |entry| &entry.place);
        let variant = seed.deserialize(name).map_err(|fault| fault.at(place))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        match self.content()? {
            None | Some(Node { value: Value::Null, .. }) => Ok(()),
            Some(Node { value: Value::Map(entries), .. }) if entries.is_empty() => Ok(()),
            Some(node) => {
                Err(Fault::new(format!("`{}` takes no settings", self.name)).under(self.name, &node.place))
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let empty = Entries { entries: &[], next: 0 };
        match self.content()? {
            None | Some(Node { value: Value::Null, .. }) => {
                seed.deserialize(de::value::MapAccessDeserializer::new(empty))
            }
            Some(node) => seed.deserialize(node),
        }
        .map_err(|fault| fault.under(self.name, &self.node.place))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::new(format!("`{}` cannot be read from a spec", self.name)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let empty = Entries { entries: &[], next: 0 };
        match self.content()? {
            None | Some(Node { value: Value::Null, .. }) => visitor.visit_map(empty),
            Some(node) => de::Deserializer::deserialize_any(node, visitor),
        }
        .map_err(|fault| fault.under(self.name, &self.node.place))
    }
}
