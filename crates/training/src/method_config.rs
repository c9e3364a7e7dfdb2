//! Training methods as named in specs and results.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::method::Method;
use crate::methods;

/// A training method with its settings: `basic` or `bim: {epsilon: 0.03}` in a spec.
///
/// ```
/// use robustseg_training::{MethodConfig, RsFgsm};
///
/// let method = MethodConfig::from(RsFgsm::default());
/// assert_eq!(method.name(), "rs_fgsm");
/// assert_eq!(MethodConfig::by_name("rs_fgsm"), Some(method));
/// ```
#[derive(Clone)]
pub struct MethodConfig(Arc<dyn Method>);

/// The names of all methods.
static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| methods::methods().iter().map(|method| method.name()).collect());

impl MethodConfig {
    /// The five methods of Wiens & Hammer 2022, with the paper's settings.
    pub fn paper() -> Vec<Self> {
        methods::paper().into_iter().map(Self).collect()
    }

    /// Every registered method with its default settings, the paper's first.
    pub fn all() -> Vec<Self> {
        methods::methods().into_iter().map(Self).collect()
    }

    /// The registered method `name` with its default settings.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|method| method.name() == name)
    }
}

impl<M: Method + 'static> From<M> for MethodConfig {
    fn from(method: M) -> Self {
        Self(Arc::new(method))
    }
}

impl Deref for MethodConfig {
    type Target = dyn Method;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl PartialEq for MethodConfig {
    fn eq(&self, other: &Self) -> bool {
        self.spec() == other.spec()
    }
}

impl fmt::Debug for MethodConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.spec())
    }
}

impl Serialize for MethodConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Method", NAMES.as_slice(), Choice)
    }
}

struct Choice;

impl<'de> Visitor<'de> for Choice {
    type Value = MethodConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", NAMES.join(", "))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<MethodConfig, A::Error> {
        let (index, variant) = access.variant_seed(Name)?;
        methods::read(index, variant).map(MethodConfig)
    }
}

/// Reads the name of a method as its index in the registry.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a training method")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<usize, E> {
        let index = NAMES.iter().position(|known| *known == name);
        index.ok_or_else(|| E::unknown_variant(name, NAMES.as_slice()))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for MethodConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MethodConfig".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        use serde_json::json;
        let all = methods::methods();
        let first = 1 + methods::ATTACKS.len();
        let mut choices = vec![json!({ "description": all[0].summary(), "const": all[0].name() })];
        for name in methods::ATTACKS {
            choices.extend(robustseg_attacks::AttackConfig::schema_of(name, generator));
        }
        for (method, mut settings) in all[first..].iter().zip(methods::schemas(generator)) {
            settings.remove("title");
            choices.push(json!({
                "description": method.summary(),
                "type": "object",
                "properties": { method.name(): settings },
                "required": [method.name()],
                "additionalProperties": false,
            }));
        }
        schemars::json_schema!({
            "description": "A training method with its settings.",
            "oneOf": choices,
        })
    }
}
