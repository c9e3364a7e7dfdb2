//! The value of `--set key.path=value`, read as the type of the key.
//!
//! If the key takes text, such as a name or a path, the value is taken literally: `0042`, `true`,
//! `null`, `x #2`, `a: b` and `*` are text. Quotes around the whole value are removed, as in YAML.
//! If the key takes anything else, the value is YAML, except that `#` does not start a comment: the
//! shell has its own comments.

use serde::de::DeserializeOwned;

use super::document::{Node, Value};
use super::fault::{Fault, Place};

/// Reads `text` as a value of a spec that is not text.
///
/// # Errors
/// If it is no such value.
pub(crate) fn read_value<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let place = Place::Override(text.to_owned());
    let node = Node { value: Value::Argument(Argument::new(text, &place)), place };
    T::deserialize(&node).map_err(|fault| fault.to_string())
}

/// A value in both readings.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    /// The value where text is expected.
    pub(super) text: String,
    /// The value where anything else is expected.
    pub(super) read: Result<Box<Node>, Fault>,
}

impl Argument {
    /// The argument `given`, at `place`.
    pub(super) fn new(given: &str, place: &Place) -> Self {
        let trimmed = given.trim();
        let value = if trimmed.is_empty() { Ok(Value::Null) } else { yaml(trimmed) };
        let text = match &value {
            Ok(Value::Text(text)) if is_quoted(trimmed) => text.clone(),
            _ => given.to_owned(),
        };
        let value = match value {
            Err(fault) if trimmed.starts_with(['[', '{']) => Err(fault),
            value => Ok(value.unwrap_or_else(|_| Value::Text(trimmed.to_owned()))),
        };
        let read = value.map(|value| {
            let mut node = Node { value, place: place.clone() };
            node.relocate(&|_| place.clone());
            Box::new(node)
        });
        Self { text, read: read.map_err(|fault| Fault { place: Some(place.clone()), ..fault }) }
    }
}

/// Whether one pair of quotes encloses all of `text`, provided that it is a single YAML value.
fn is_quoted(text: &str) -> bool {
    ['\'', '"'].iter().any(|quote| text.len() > 1 && text.starts_with(*quote) && text.ends_with(*quote))
}

/// Parses `text` as YAML without comments.
fn yaml(text: &str) -> Result<Value, Fault> {
    // Replaces `#` by a character that is not in the text and has no meaning in YAML.
    let Some(other) = ('\u{e000}'..'\u{f8ff}').find(|other| !text.contains(*other)) else {
        return Ok(Value::Text(text.to_owned()));
    };
    let mut node = Node::parse(&text.replace('#', other.encode_utf8(&mut [0; 4])))?;
    restore(&mut node, other);
    Ok(node.value)
}

/// Puts `#` back in place of `other`.
fn restore(node: &mut Node, other: char) {
    let put_back = |text: &mut String| *text = text.replace(other, "#");
    match &mut node.value {
        Value::Text(text) => put_back(text),
        Value::List(nodes) => nodes.iter_mut().for_each(|node| restore(node, other)),
        Value::Map(entries) => {
            for entry in entries {
                put_back(&mut entry.key);
                restore(&mut entry.node, other);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(given: &str) -> Argument {
        Argument::new(given, &Place::Override(given.into()))
    }

    #[test]
    fn text_is_what_was_given_and_quotes_around_all_of_it_are_taken_off() {
        for given in [
            "x #2", "# 2", "0042", "null", "~", "a: b", "*a", "&a", "@", "%", "[", "[1]", "- x", " x ", "",
            "it's",
        ] {
            assert_eq!(argument(given).text, given);
        }
        for (given, text) in [
            ("'x #2'", "x #2"),
            ("\"x #2\"", "x #2"),
            ("''", ""),
            ("'it''s'", "it's"),
            ("'a' or 'b'", "'a' or 'b'"),
            ("'", "'"),
        ] {
            assert_eq!(argument(given).text, text);
        }
    }

    #[test]
    fn yaml_is_read_without_comments() {
        let read = |given: &str| argument(given).read.unwrap().value;
        assert!(matches!(read("3"), Value::Integer(3)));
        assert!(matches!(read(" "), Value::Null));
        assert!(matches!(read("null"), Value::Null));
        assert!(matches!(read("3 #2"), Value::Text(text) if text == "3 #2"));
        assert!(matches!(read("%"), Value::Text(text) if text == "%"));
        let Value::List(nodes) = read("[x #2, y]") else { panic!("no list") };
        assert!(matches!(&nodes[0].value, Value::Text(text) if text == "x #2"));
        assert!(argument("[1").read.is_err());
    }
}
