//! `--set key.path=value` replaces values of a spec from the command line.

use super::argument::Argument;
use super::document::{Entry, Node, Value};
use super::fault::{Fault, Place};
use super::layers::BASE;
use super::merge::Change;

impl Node {
    /// Inserts the value of `argument`, `key.path=value`, into the tree. [`Argument`] describes how
    /// the value is read. Missing maps on the path are created, and list elements are addressed by
    /// index. Returns the change of layer number `layer`.
    pub(super) fn set(&mut self, argument: &str, layer: usize) -> Result<Vec<Change>, Fault> {
        let place = Place::Override(argument.to_owned());
        let refuse = |message: &str| Fault::new(message).at(&place);
        let (path, value) = argument
            .split_once('=')
            .ok_or_else(|| refuse("expected key.path=value, for example training.epochs=3"))?;
        let keys: Vec<&str> = path.trim().split('.').collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(refuse("a key is empty; expected key.path=value, for example training.epochs=3"));
        }
        if keys[0] == BASE {
            return Err(refuse("a base is read before this; name it in the spec"));
        }
        let node = Node { value: Value::Argument(Argument::new(value, &place)), place: place.clone() };
        let value = node.value.to_string();
        let was = self.put(&keys, node, layer).map_err(|fault| fault.at(&place))?.map(|was| was.to_string());
        let change = Change { key: path.trim().to_owned(), value: Some(value), was };
        Ok(if change.was == change.value { Vec::new() } else { vec![change] })
    }

    /// Puts `new` at `keys`, and returns the value that was there.
    fn put(&mut self, keys: &[&str], new: Node, layer: usize) -> Result<Option<Value>, Fault> {
        let Some((first, rest)) = keys.split_first() else {
            return Ok(Some(std::mem::replace(self, new).value));
        };
        let place = new.place.clone();
        // A map from an earlier argument can take further keys.
        if let Value::Argument(Argument { read: Ok(read), .. }) = &self.value
            && let Value::List(_) | Value::Map(_) = read.value
        {
            *self = Node::clone(read);
        }
        let child = match &mut self.value {
            Value::List(nodes) => {
                let count = nodes.len();
                let index = first.parse().ok().filter(|index: &usize| *index < count);
                let index = index.ok_or_else(|| {
                    Fault::new(format!(
                        "is a list of {count}; `{first}` is no index from 0 to {}",
                        count.max(1) - 1
                    ))
                })?;
                &mut nodes[index]
            }
            Value::Map(entries) => {
                let index = entries.iter().position(|entry| entry.key == *first).unwrap_or(entries.len());
                if index == entries.len() {
                    let mut node = Node { value: Value::Null, place: place.clone() };
                    node.put(rest, new, layer).map_err(|fault| fault.under(first, &place))?;
                    let key = (*first).to_owned();
                    entries.push(Entry { key, place, node, layer });
                    return Ok(None);
                }
                entries[index].layer = layer;
                &mut entries[index].node
            }
            // Any other value, such as `basic` or nothing, is replaced by a map.
            value => {
                let was = std::mem::replace(value, Value::Map(Vec::new()));
                self.place = place;
                self.put(keys, new, layer)?;
                return Ok(Some(was).filter(|was| !matches!(was, Value::Null)));
            }
        };
        child.put(rest, new, layer).map_err(|fault| fault.under(first, &place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(node: &Node, path: &[&str]) -> i128 {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        match &node.deepest(&path).value {
            Value::Integer(value) => *value,
            Value::Argument(Argument { read: Ok(read), .. }) => integer(read, &[]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_replaced_and_made() {
        let mut node = Node::parse("a: {b: 1}\nl: [1, {x: 2}]\nm: basic\n").unwrap();
        for argument in ["a.b=5", "a.c.d=6", "l.1.x=7", "m={fgsm: {e: 8}}", "m.fgsm.f=9"] {
            node.set(argument, 1).unwrap();
        }
        assert_eq!(integer(&node, &["a", "b"]), 5);
        assert_eq!(integer(&node, &["a", "c", "d"]), 6);
        assert_eq!(integer(&node, &["l", "1", "x"]), 7);
        assert_eq!(integer(&node, &["m", "fgsm", "e"]), 8);
        assert_eq!(integer(&node, &["m", "fgsm", "f"]), 9);
    }

    #[test]
    fn what_cannot_be_set_is_refused_by_name() {
        let mut node = Node::parse("l: [1]\n").unwrap();
        for (argument, part) in [("l.3=1", "`3` is no index"), ("x", "key.path=value"), (".a=1", "empty")] {
            let fault = node.set(argument, 1).unwrap_err();
            assert_eq!(fault.place, Some(Place::Override(argument.into())));
            assert!(fault.to_string().contains(part), "{fault}");
        }
    }
}
