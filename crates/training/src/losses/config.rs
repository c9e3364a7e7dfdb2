//! Losses as named in specs.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{ClassWeights, Term, losses, read};
use crate::ranges::check;
use crate::{Error, Result};

/// The loss of a training: the name of a loss, or a map from the names of losses to their settings,
/// of which the training loss is the weighted sum.
///
/// ```
/// use robustseg_training::{CrossEntropy, Dice, LossConfig};
///
/// let read: LossConfig = serde_json::from_str(r#"{"cross_entropy": {}, "dice": {"weight": 0.5}}"#)?;
/// let dice = Dice { weight: 0.5, ..Dice::default() };
/// assert_eq!(read, LossConfig::from(CrossEntropy::default()).plus(dice));
/// assert_eq!(serde_json::from_str::<LossConfig>(r#""cross_entropy""#)?, LossConfig::default());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct LossConfig(Vec<Arc<dyn Term>>);

/// The names of all losses.
static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| losses().iter().map(|loss| loss.name()).collect());

impl LossConfig {
    /// The sum of `terms`.
    pub(super) fn of(terms: Vec<Arc<dyn Term>>) -> Self {
        Self(terms)
    }

    /// The names of all losses.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The sum of this loss and another.
    #[must_use]
    pub fn plus(mut self, other: impl Into<Self>) -> Self {
        self.0.extend(other.into().0);
        self
    }

    pub(crate) fn terms(&self) -> &[Arc<dyn Term>] {
        &self.0
    }

    /// Whether the loss is the mean cross-entropy over labelled pixels.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses settings out of range.
    pub(crate) fn validate(&self) -> Result<()> {
        for term in &self.0 {
            term.validate()?;
            let (field, weight) = term.weight();
            check(field, weight, weight > 0.0, "must be above 0")?;
            if let Some((field, ClassWeights::Given(weights))) = term.class_weights() {
                let fits = |weight: &f64| *weight >= 0.0 && weight.is_finite();
                if !weights.iter().all(fits) || weights.iter().all(|weight| *weight == 0.0) {
                    let reason = format!("{weights:?} must be at least 0, one of them above 0");
                    return Err(Error::Setting { field, reason });
                }
            }
        }
        Ok(())
    }

    /// Bytes that the loss of a batch of `images` of `pixels` pixels takes in addition to the network's
    /// own, about.
    pub fn memory(&self, images: usize, pixels: usize, classes: usize) -> usize {
        self.0.iter().map(|term| term.memory(images, pixels, classes)).max().unwrap_or(0)
    }

    /// Whether a class's weight depends on how often it occurs in the training split.
    pub fn needs_class_pixels(&self) -> bool {
        let weights = self.0.iter().filter_map(|term| term.class_weights());
        weights.into_iter().any(|(_, weights)| *weights == ClassWeights::InverseFrequency)
    }

    /// The loss as written in specs.
    fn spec(&self) -> Value {
        let settings = |term: &Arc<dyn Term>| serde_json::to_value(term.settings()).unwrap_or_default();
        match &self.0[..] {
            [term]
                if losses()
                    .iter()
                    .any(|plain| settings(plain) == settings(term) && plain.name() == term.name()) =>
            {
                json!(term.name())
            }
            terms => terms
                .iter()
                .map(|term| (term.name().to_owned(), settings(term)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

impl Default for LossConfig {
    /// The mean cross-entropy over labelled pixels.
    fn default() -> Self {
        super::CrossEntropy::default().into()
    }
}

impl PartialEq for LossConfig {
    fn eq(&self, other: &Self) -> bool {
        self.spec() == other.spec()
    }
}

impl fmt::Debug for LossConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec())
    }
}

impl Serialize for LossConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LossConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Terms)
    }
}

struct Terms;

fn place<E: de::Error>(name: &str) -> Result<usize, E> {
    let place = NAMES.iter().position(|known| *known == name);
    place.ok_or_else(|| E::unknown_variant(name, NAMES.as_slice()))
}

impl<'de> Visitor<'de> for Terms {
    type Value = LossConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or a map of them", NAMES.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<LossConfig, E> {
        Ok(LossConfig(vec![losses().swap_remove(place(name)?)]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LossConfig, A::Error> {
        let mut terms: Vec<Option<Arc<dyn Term>>> = NAMES.iter().map(|_| None).collect();
        while let Some(name) = map.next_key::<String>()? {
            let place = place(&name)?;
            terms[place] = Some(read(place, &mut map)?);
        }
        let terms: Vec<_> = terms.into_iter().flatten().collect();
        if terms.is_empty() {
            return Err(de::Error::custom(format!("names no loss; take one of {}", NAMES.join(", "))));
        }
        Ok(LossConfig(terms))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for LossConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "LossConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names =
            losses().into_iter().map(|loss| json!({ "description": loss.summary(), "const": loss.name() }));
        let mut choices: Vec<Value> = names.collect();
        let mut properties = Map::new();
        for (loss, mut settings) in losses().into_iter().zip(super::schemas(generator)) {
            settings.remove("title");
            settings.insert("description".into(), loss.summary().into());
            properties.insert(loss.name().to_owned(), settings.into());
        }
        choices.push(json!({
            "description": "A weighted sum of losses.",
            "type": "object",
            "properties": properties,
            "minProperties": 1,
            "additionalProperties": false,
        }));
        schemars::json_schema!({ "description": "The loss of a training.", "oneOf": choices })
    }
}
