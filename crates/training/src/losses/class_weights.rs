//! Weights of classes in a loss.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// How much a pixel counts by its class: `equal`, `inverse_frequency`, or a list of weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClassWeights {
    /// All pixels count the same.
    #[default]
    Equal,
    /// A pixel counts `labelled / (classes * pixels)` by the labelled pixels of the training split,
    /// the classes that occur there, and the pixels of its class. It counts 1 on average. Reading
    /// the label maps once costs their decoding at the start of a training.
    InverseFrequency,
    /// One weight for each class, in the order of the classes.
    Given(Vec<f64>),
}

/// The names in specs.
const NAMES: &[&str] = &["equal", "inverse_frequency"];

impl ClassWeights {
    /// The weights for a training split with `pixels` of each class. `None` if all are the same.
    pub(crate) fn of(&self, pixels: &[u64]) -> Option<Vec<f32>> {
        match self {
            Self::Equal => None,
            Self::Given(weights) => Some(weights.iter().map(|&weight| weight as f32).collect()),
            Self::InverseFrequency => {
                let labelled: u64 = pixels.iter().sum();
                let present = pixels.iter().filter(|&&pixels| pixels > 0).count();
                let weight = |&pixels: &u64| match pixels {
                    // No pixel of the split has this weight.
                    0 => 1.0,
                    pixels => (labelled as f64 / (present as f64 * pixels as f64)) as f32,
                };
                Some(pixels.iter().map(weight).collect())
            }
        }
    }
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Equal => serializer.serialize_str(NAMES[0]),
            Self::InverseFrequency => serializer.serialize_str(NAMES[1]),
            Self::Given(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = ClassWeights;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a list with one weight for each class", NAMES.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<ClassWeights, E> {
        match NAMES.iter().position(|known| *known == name) {
            Some(0) => Ok(ClassWeights::Equal),
            Some(_) => Ok(ClassWeights::InverseFrequency),
            None => Err(E::unknown_variant(name, NAMES)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ClassWeights, A::Error> {
        let mut weights = Vec::new();
        while let Some(weight) = list.next_element()? {
            weights.push(weight);
        }
        Ok(ClassWeights::Given(weights))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for ClassWeights {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClassWeights".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "How much a pixel counts by its class.",
            "oneOf": [
                { "description": "All pixels count the same.", "const": NAMES[0] },
                { "description": "Rare classes of the training split count more.", "const": NAMES[1] },
                { "description": "One weight for each class.", "type": "array", "items": { "type": "number" } },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_frequencies_weigh_one_on_average_and_each_class_the_same() {
        let pixels = [60, 0, 30, 10];
        let weights = ClassWeights::InverseFrequency.of(&pixels).expect("they differ");
        let total: f32 = weights.iter().zip(pixels).map(|(weight, pixels)| weight * pixels as f32).sum();
        assert!((total - 100.0).abs() < 1e-4, "{weights:?}");
        for (weight, pixels) in weights.iter().zip(pixels).filter(|(_, pixels)| *pixels > 0) {
            assert!((weight * pixels as f32 - 100.0 / 3.0).abs() < 1e-4, "{weights:?}");
        }
        assert_eq!(ClassWeights::Equal.of(&pixels), None);
        assert_eq!(ClassWeights::Given(vec![0.5, 2.0]).of(&[]), Some(vec![0.5, 2.0]));
    }

    #[test]
    fn weights_are_read_as_they_are_written() {
        for weights in
            [ClassWeights::Equal, ClassWeights::InverseFrequency, ClassWeights::Given(vec![0.25, 1.0])]
        {
            let written = serde_json::to_string(&weights).unwrap();
            assert_eq!(serde_json::from_str::<ClassWeights>(&written).unwrap(), weights);
        }
        assert!(serde_json::from_str::<ClassWeights>(r#""inverse""#).is_err());
    }
}
