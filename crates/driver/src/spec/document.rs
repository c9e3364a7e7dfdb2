//! A YAML document as a tree of values with their lines and columns.

use std::fmt;

use robustseg_files::yaml;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, Spanned};

use super::argument::Argument;
use super::fault::{Fault, Place};

/// A value with its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The kinds of YAML values.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// An argument of the command line. Its reading depends on the expected type.
    Argument(Argument),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
    /// The number of the uppermost layer that wrote the key or something in it.
    pub(super) layer: usize,
}

impl Node {
    /// The tree of the document `text`, within the limits of [`yaml::parse`].
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        yaml::parse::<Spanned<Value>>(text).map(Node::from).map_err(|fault| Fault {
            path: Vec::new(),
            place: fault.place.map(|(line, column)| Place::File { line, column }),
            message: fault.reason,
        })
    }

    /// The node at `path`, or its deepest existing ancestor.
    pub(super) fn deepest(&self, path: &[String]) -> &Self {
        let Some((first, rest)) = path.split_first() else { return self };
        let child = match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == *first).map(|entry| &entry.node),
            Value::List(nodes) => first.parse().ok().and_then(|index: usize| nodes.get(index)),
            _ => None,
        };
        child.map_or(self, |child| child.deepest(rest))
    }

    /// Replaces the places of the node and of all that is in it.
    pub(super) fn relocate(&mut self, new: &impl Fn(Place) -> Place) {
        self.place = new(self.place.clone());
        match &mut self.value {
            Value::List(nodes) => nodes.iter_mut().for_each(|node| node.relocate(new)),
            Value::Map(entries) => {
                for entry in entries {
                    entry.place = new(entry.place.clone());
                    entry.node.relocate(new);
                }
            }
            _ => {}
        }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        Self::File { line: location.line(), column: location.column() }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { place: spanned.referenced.into(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Untyped)
    }
}

struct Untyped;

impl<'de> Visitor<'de> for Untyped {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element::<Spanned<Value>>()? {
            nodes.push(node.into());
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node: Spanned<Value> = access.next_value()?;
            entries.push(Entry { place: key.referenced.into(), key: key.value, node: node.into(), layer: 0 });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn every_value_knows_its_place() {
        let node = Node::parse("a: 1\nb:\n  - x\n  - c: 2.5\n").unwrap();
        let path = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(node.deepest(&path(&["b", "1", "c"])).place, Place::File { line: 4, column: 8 });
        assert_eq!(node.deepest(&path(&["a", "none"])).place, Place::File { line: 1, column: 4 });
    }

    #[test]
    fn duplicate_keys_and_broken_syntax_are_refused_with_their_line() {
        let line = |text: &str| match Node::parse(text).unwrap_err().place {
            Some(Place::File { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("a: 1\nb: 2\na: 3\n"), 3);
        assert_eq!(line("a: 1\nb: [1, 2\n"), 2);
    }

    #[test]
    fn documents_that_explode_are_refused_fast() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}, ", level - 1).repeat(9);
            writeln!(bomb, "a{level}: &a{level} [{before}]").unwrap();
        }
        let start = std::time::Instant::now();
        assert!(Node::parse(&bomb).is_err());
        assert!(Node::parse(&"[".repeat(5000)).is_err());
        assert!(Node::parse(&"- ".repeat(5000)).is_err());
        assert!(Node::parse(&"- x\n".repeat(50_000)).is_err());
        assert!(start.elapsed().as_secs_f64() < 2.0);
    }

    #[test]
    fn yes_is_no_boolean() {
        assert!(matches!(Node::parse("yes").unwrap().value, Value::Text(_)));
        assert!(matches!(Node::parse("true").unwrap().value, Value::Bool(true)));
    }
}
