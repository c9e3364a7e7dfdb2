//! An attack's settings and its epsilons in one map, as specs write them: `bim: {steps: 3, epsilon:
//! 0.03}`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use robustseg_words::unknown_key;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};
use serde_json::{Map, Value};

use crate::attack::Attack;
use crate::attacks::{self, ENTRIES, Use};

/// The names of all attacks.
pub(crate) static NAMES: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| attacks::attacks().iter().map(|attack| attack.name()).collect());

/// An attack as read, with the value of its epsilon key if present.
pub(crate) struct Found<E> {
    pub(crate) index: usize,
    pub(crate) attack: Arc<dyn Attack>,
    pub(crate) epsilon: Option<E>,
}

/// Reads an attack by its name, for `used`. `key` maps the attack to the name of its epsilon key.
pub(crate) fn attack<'de, D: Deserializer<'de>, E: Deserialize<'de>>(
    deserializer: D,
    used: Use,
    key: fn(&dyn Attack) -> &'static str,
) -> Result<Found<E>, D::Error> {
    deserializer.deserialize_enum("Attack", NAMES.as_slice(), Choice { used, key, epsilon: PhantomData })
}

/// Reads the settings of the attack `name` from a variant of that name.
pub(crate) fn variant<'de, A: VariantAccess<'de>, E: Deserialize<'de>>(
    name: &str,
    variant: A,
    used: Use,
    key: fn(&dyn Attack) -> &'static str,
) -> Result<Found<E>, A::Error> {
    let index = attacks::index_of(name).ok_or_else(|| A::Error::unknown_variant(name, NAMES.as_slice()))?;
    variant.newtype_variant_seed(Fields::new(index, used, key))
}

struct Choice<E> {
    used: Use,
    key: fn(&dyn Attack) -> &'static str,
    epsilon: PhantomData<E>,
}

impl<'de, E: Deserialize<'de>> Visitor<'de> for Choice<E> {
    type Value = Found<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one of {}", NAMES.join(", "))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Found<E>, A::Error> {
        let (index, variant) = access.variant_seed(Name)?;
        variant.newtype_variant_seed(Fields::new(index, self.used, self.key))
    }
}

/// Reads the name of an attack as its index in the registry.
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
        f.write_str("the name of an attack")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<usize, E> {
        attacks::index_of(name).ok_or_else(|| E::unknown_variant(name, NAMES.as_slice()))
    }
}

/// Reads the settings of one attack together with its epsilon.
struct Fields<E> {
    index: usize,
    key: &'static str,
    defaults: Map<String, Value>,
    epsilon: PhantomData<E>,
}

impl<E> Fields<E> {
    fn new(index: usize, used: Use, key: fn(&dyn Attack) -> &'static str) -> Self {
        let default = ENTRIES[index].default(used);
        let (key, defaults) = (key(default.as_ref()), default.settings().into_map());
        Self { index, key, defaults, epsilon: PhantomData }
    }
}

impl<'de, E: Deserialize<'de>> DeserializeSeed<'de> for Fields<E> {
    type Value = Found<E>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<E>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, E: Deserialize<'de>> Visitor<'de> for Fields<E> {
    type Value = Found<E>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Found<E>, A::Error> {
        let Self { index, key, defaults, .. } = self;
        let mut epsilon = None;
        let known: Vec<String> = defaults.keys().cloned().chain([key.to_owned()]).collect();
        let fields = Completed {
            entries,
            key,
            known: &known,
            epsilon: &mut epsilon,
            missing: defaults,
            default: None,
        };
        let attack = attacks::read(index, MapAccessDeserializer::new(fields))?;
        Ok(Found { index, attack, epsilon })
    }
}

/// The entries of a map except the one for epsilon, followed by the defaults of missing settings.
struct Completed<'a, A, E> {
    entries: A,
    key: &'static str,
    known: &'a [String],
    epsilon: &'a mut Option<E>,
    missing: Map<String, Value>,
    default: Option<Value>,
}

impl<'de, A: MapAccess<'de>, E: Deserialize<'de>> MapAccess<'de> for Completed<'_, A, E> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = Some(seed);
        let mut key =
            Key { epsilon: self.key, known: self.known, missing: &mut self.missing, seed: &mut seed };
        while let Some(found) = self.entries.next_key_seed(key)? {
            if let Some(setting) = found {
                return Ok(Some(setting));
            }
            if self.epsilon.replace(self.entries.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(self.key));
            }
            key = Key { epsilon: self.key, known: self.known, missing: &mut self.missing, seed: &mut seed };
        }
        let first = self.missing.keys().next().cloned();
        let (Some(name), Some(seed)) = (first, seed) else { return Ok(None) };
        self.default = self.missing.remove(&name);
        let name: StrDeserializer<'_, A::Error> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.default.take() {
            Some(default) => seed.deserialize(default).map_err(A::Error::custom),
            None => self.entries.next_value_seed(seed),
        }
    }
}

/// Reads a key: with `seed` if it names a setting, or as `None` if it is the key of epsilon. `seed`
/// must read it in place, so that errors carry its position.
struct Key<'a, K> {
    epsilon: &'static str,
    known: &'a [String],
    missing: &'a mut Map<String, Value>,
    seed: &'a mut Option<K>,
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<'_, K> {
    type Value = Option<K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<'_, K> {
    type Value = Option<K::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a setting")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        if name == self.epsilon {
            return Ok(None);
        }
        if !self.known.iter().any(|known| known == name) {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            return Err(E::custom(unknown_key(name, &known)));
        }
        self.missing.remove(name);
        let name: StrDeserializer<'_, E> = name.into_deserializer();
        self.seed.take().map(|seed| seed.deserialize(name)).transpose()
    }
}
