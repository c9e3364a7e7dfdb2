//! How checkpoints write a network's configuration.

use crate::networks::{Architecture, Flat};
use crate::{Branch, NetworkConfig, PspNetConfig, Upsampling};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Fields in addition to the settings of the architecture.
const SHARED: [&str; 7] = ["network", "num_classes", "mean", "std", "upsampling", "divided", "branches"];

/// Branches as the first version of the format knows them: an auxiliary head and a mask.
fn divided(num_classes: usize) -> Vec<Branch> {
    vec![Branch::new("auxiliary", num_classes), Branch::new("mask", 2)]
}

/// The network of a configuration that does not name one.
fn unnamed() -> String {
    Architecture::from(PspNetConfig::default()).name().into()
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'static str>,
    #[serde(flatten)]
    settings: Flat<'a>,
    num_classes: usize,
    mean: [f32; 3],
    std: [f32; 3],
    #[serde(skip_serializing_if = "Option::is_none")]
    upsampling: Option<Upsampling>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    divided: bool,
    #[serde(skip_serializing_if = "<[Branch]>::is_empty")]
    branches: &'a [Branch],
}

#[derive(Deserialize)]
struct Shared {
    #[serde(default = "unnamed")]
    network: String,
    num_classes: usize,
    mean: [f32; 3],
    std: [f32; 3],
    #[serde(default)]
    upsampling: Upsampling,
    #[serde(default)]
    divided: bool,
    #[serde(default)]
    branches: Vec<Branch>,
}

/// One JSON object: the settings of the architecture, the fields that all networks share, and
/// `network` with the name, which PSPNet leaves out.
impl Serialize for NetworkConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { architecture, num_classes, mean, std, upsampling, branches } = self;
        let divided = *branches == divided(*num_classes);
        let written = Written {
            network: Some(architecture.name()).filter(|name| *name != unnamed()),
            settings: Flat(architecture),
            num_classes: *num_classes,
            mean: *mean,
            std: *std,
            upsampling: Some(*upsampling).filter(|upsampling| *upsampling != Upsampling::default()),
            divided,
            branches: if divided { &[] } else { branches },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let (shared, settings): (Map<_, _>, Map<_, _>) =
            fields.into_iter().partition(|(key, _)| SHARED.contains(&key.as_str()));
        let shared: Shared = serde_json::from_value(Value::Object(shared)).map_err(Error::custom)?;
        let Shared { network, num_classes, mean, std, upsampling, branches, .. } = shared;
        let architecture =
            Architecture::read(&network, Value::Object(settings.clone())).map_err(Error::custom)?;
        // Defaults are for specs. A checkpoint without a setting is damaged.
        if let Some(missing) = architecture.fields().keys().find(|field| !settings.contains_key(*field)) {
            return Err(Error::custom(format!("missing field `{missing}`")));
        }
        let branches = match (shared.divided, branches.is_empty()) {
            (false, _) => branches,
            (true, true) => divided(num_classes),
            (true, false) => return Err(Error::custom("`divided` and `branches` exclude each other")),
        };
        Ok(Self { architecture, num_classes, mean, std, upsampling, branches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NetworkConfig, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    const SMALL: &str =
        r#"{"layers":[1,1,1,1],"width":4,"num_classes":3,"mean":[0.5,0.5,0.5],"std":[0.1,0.2,0.3]}"#;

    /// The configuration with `field` put at its end.
    fn with(field: &str) -> String {
        format!("{},{field}}}", &SMALL[..SMALL.len() - 1])
    }

    #[test]
    fn pspnet_is_written_without_its_name_and_read_with_and_without() {
        let config = read(SMALL).unwrap();
        let small = PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::default() };
        assert_eq!(config, NetworkConfig { std: [0.1, 0.2, 0.3], ..NetworkConfig::new(small, 3) });
        assert_eq!(serde_json::to_string(&config).unwrap(), SMALL);
        assert_eq!(read(&with(r#""network":"pspnet""#)).unwrap(), config);
    }

    #[test]
    fn all_fields_come_back() {
        let upsampling = with(r#""upsampling":"align_corners""#);
        assert_eq!(read(&upsampling).unwrap().upsampling, Upsampling::AlignCorners);
        let branches = with(r#""branches":[{"name":"depth","channels":7}]"#);
        assert_eq!(read(&branches).unwrap().branches, [Branch::new("depth", 7)]);
        let divided = with(r#""divided":true"#);
        assert_eq!(read(&divided).unwrap().branches, [Branch::new("auxiliary", 3), Branch::new("mask", 2)]);
        for text in [&upsampling, &branches, &divided] {
            assert_eq!(&serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn an_unknown_network_is_refused_with_the_known_ones() {
        let found = read(&with(r#""network":"unet""#)).unwrap_err();
        assert!(found.contains("network `unet` is not known, only pspnet"), "{found}");
    }

    #[test]
    fn missing_and_unknown_fields_are_refused() {
        for (text, part) in [
            (SMALL.replace("\"width\":4,", ""), "missing field `width`"),
            (SMALL.replace("\"num_classes\":3,", ""), "missing field `num_classes`"),
            (SMALL.replace("width", "wodth"), "unknown field `wodth`"),
            (with(r#""divided":true,"branches":[{"name":"a","channels":1}]"#), "exclude each other"),
        ] {
            let found = read(&text).unwrap_err();
            assert!(found.contains(part), "{text}: {found}");
        }
    }
}
