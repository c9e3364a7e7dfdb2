//! A class, with its values and colours in label files.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// A class of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The class's name.
    pub name: String,
    /// The class's colour in pictures: red, green, blue.
    pub colour: [u8; 3],
    /// The class's values in label files, if the layout leaves them to the manifest: `value: 7` or
    /// `value: [7, 8]` in YAML. A class without values has its index as its only value.
    #[serde(
        default,
        rename = "value",
        alias = "values",
        deserialize_with = "one_or_more",
        serialize_with = "one_or_all",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "OneOrMore"))]
    pub values: Vec<u8>,
    /// The class's colours in label files that are read by colour
    /// ([`LabelsBy::Colour`](crate::LabelsBy)). The default is `colour`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub label_colours: Vec<[u8; 3]>,
}

/// A value or several, as manifests write them.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "it stands for its schema alone")]
enum OneOrMore {
    One(u8),
    More(Vec<u8>),
}

impl Class {
    /// The values in label files, given that it is the class `index`.
    pub(crate) fn values_at(&self, index: u8) -> Vec<u8> {
        if self.values.is_empty() { vec![index] } else { self.values.clone() }
    }

    /// The colours in label files that are read by colour.
    pub(crate) fn colours(&self) -> &[[u8; 3]] {
        if self.label_colours.is_empty() { std::slice::from_ref(&self.colour) } else { &self.label_colours }
    }
}

/// A number or a list of numbers.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Values;

    impl<'de> Visitor<'de> for Values {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value from 0 to 255, or a list of them")
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Vec<u8>, E> {
            u8::try_from(value)
                .map(|value| vec![value])
                .map_err(|_| E::custom(format!("the value {value} is not from 0 to 255")))
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<u8>, E> {
            let out = || E::custom(format!("the value {value} is not from 0 to 255"));
            u8::try_from(value).map(|value| vec![value]).map_err(|_| out())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            if values.is_empty() { Err(A::Error::custom("the list of values is empty")) } else { Ok(values) }
        }
    }

    deserializer.deserialize_any(Values)
}

/// Writes a single value as a number and several values as a list.
fn one_or_all<S: Serializer>(values: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match values {
        [value] => serializer.serialize_u8(*value),
        values => values.serialize(serializer),
    }
}
