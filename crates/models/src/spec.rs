//! How specs describe a network.

use crate::networks::{Architecture, Written};
use crate::{Branch, NetworkConfig, PspNetConfig, Upsampling};
use serde::{Deserialize, Serialize};

#[cfg(feature = "schema")]
const DESCRIPTION: &str = "A network, but for its classes, which come from the data: a kind of network by its name with its \
     settings, and what all kinds share. Settings without a name are PSPNet's. The default is PSPNet50 from random weights.";

/// A network, but for its classes, which come from the data, with the weights that its training
/// starts from. The default is `PSPNet50` from random weights.
///
/// In files the kind of network is a key with its settings. PSPNet's settings may also stand
/// without that key, and are always written so.
///
/// ```
/// use robustseg_models::NetworkSpec;
/// let long: NetworkSpec = serde_json::from_str(r#"{"pspnet": {"width": 16}, "std": [0.2, 0.2, 0.2]}"#)?;
/// let short: NetworkSpec = serde_json::from_str(r#"{"width": 16, "std": [0.2, 0.2, 0.2]}"#)?;
/// assert_eq!(long, short);
/// assert_eq!(long.network(21, Vec::new()).num_classes, 21);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(description = DESCRIPTION))]
#[serde(try_from = "Written", into = "Written")]
pub struct NetworkSpec {
    /// The kind of network and its own settings.
    pub architecture: Architecture,
    /// Mean of each colour channel, in units of `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each colour channel.
    pub std: [f32; 3],
    /// Kind of upsampling.
    pub upsampling: Upsampling,
    /// Weights of the backbone to start from, as
    /// [`pretrained::resolve`](crate::pretrained::resolve) takes them; random weights if there are
    /// none.
    pub pretrained: Option<String>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        let Written { mean, std, upsampling, pretrained, .. } = Written::default();
        Self { architecture: PspNetConfig::default().into(), mean, std, upsampling, pretrained }
    }
}

impl NetworkSpec {
    /// The network for `num_classes` classes, with `branches`.
    pub fn network(&self, num_classes: usize, branches: Vec<Branch>) -> NetworkConfig {
        let Self { architecture, mean, std, upsampling, .. } = self.clone();
        NetworkConfig { architecture, num_classes, mean, std, upsampling, branches }
    }
}

impl Architecture {
    /// The blocks and the width of a PSPNet that specs write without its name, as before other
    /// networks could be named: one whose other settings are the defaults.
    fn short_form(&self) -> Option<([usize; 4], usize)> {
        let Self::PspNet(PspNetConfig { layers, width, .. }) = *self else { return None };
        let short = PspNetConfig { layers, width, ..PspNetConfig::default() };
        (*self == short.into()).then_some((layers, width))
    }

    /// The key under which specs write the settings, or `None` where they need none.
    ///
    /// ```
    /// use robustseg_models::{Architecture, FcnConfig, PspNetConfig};
    /// assert_eq!(Architecture::from(FcnConfig::default()).spec_key(), Some("fcn"));
    /// assert_eq!(Architecture::from(PspNetConfig::default()).spec_key(), None);
    /// ```
    pub fn spec_key(&self) -> Option<&'static str> {
        self.short_form().is_none().then(|| self.name())
    }
}

impl TryFrom<Written> for NetworkSpec {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let short = written.layers.is_some() || written.width.is_some();
        let architecture = match &written.named()[..] {
            [] => {
                let default = PspNetConfig::default();
                let layers = written.layers.unwrap_or(default.layers);
                PspNetConfig { layers, width: written.width.unwrap_or(default.width), ..default }.into()
            }
            [named] if short => {
                let name = named.name();
                return Err(format!("`layers` and `width` are next to `{name}`; move them under `{name}`"));
            }
            [named] => named.clone(),
            several => {
                let names: Vec<_> = several.iter().map(Architecture::name).collect();
                return Err(format!("exactly one network is possible, found {}", names.join(", ")));
            }
        };
        let Written { mean, std, upsampling, pretrained, .. } = written;
        Ok(Self { architecture, mean, std, upsampling, pretrained })
    }
}

impl From<NetworkSpec> for Written {
    fn from(spec: NetworkSpec) -> Self {
        let NetworkSpec { architecture, mean, std, upsampling, pretrained } = spec;
        let mut written = Self { mean, std, upsampling, pretrained, ..Self::default() };
        match architecture.short_form() {
            Some((layers, width)) => (written.layers, written.width) = (Some(layers), Some(width)),
            None => written.name(architecture),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NetworkSpec, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_long_form_is_the_short_form_with_a_name() {
        assert_eq!(read("{}").unwrap(), NetworkSpec::default());
        for (short, long) in [
            ("{}", r#"{"pspnet": {}}"#),
            ("{}", r#"{"pspnet": null}"#),
            (r#"{"layers": [1, 2, 3, 4]}"#, r#"{"pspnet": {"layers": [1, 2, 3, 4]}}"#),
            (
                r#"{"width": 8, "upsampling": "align_corners", "pretrained": "a"}"#,
                r#"{"pspnet": {"width": 8}, "upsampling": "align_corners", "pretrained": "a"}"#,
            ),
        ] {
            let (short, long) = (read(short).unwrap(), read(long).unwrap());
            assert_eq!(short, long);
            let written = serde_json::to_string(&long).unwrap();
            assert!(written.starts_with(r#"{"layers":["#), "{written}");
            assert_eq!(read(&written).unwrap(), long);
        }
    }

    #[test]
    fn settings_in_the_wrong_place_are_refused() {
        for (text, part) in [
            (r#"{"pspnet": {"width": 8}, "width": 8}"#, "are next to `pspnet`"),
            (r#"{"pspnet": {"mean": [0, 0, 0]}}"#, "unknown field `mean`"),
            (r#"{"unet": {}}"#, "unknown field `unet`, expected one of `pspnet`, `"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(part), "{text}: {found}");
        }
    }

    #[test]
    fn every_network_has_a_small_instance() {
        let small = Architecture::small();
        assert_eq!(small.iter().map(Architecture::name).collect::<Vec<_>>(), Architecture::NAMES);
        for architecture in small {
            architecture.validate().unwrap();
            let name = architecture.name();
            let count = NetworkConfig::new(architecture, 3).outline().unwrap().parameter_count();
            assert!(count < 300_000, "{name}: {count}");
        }
    }

    #[test]
    fn every_network_comes_back_from_its_name_and_is_built() {
        for name in Architecture::NAMES {
            let spec = read(&format!(r#"{{"{name}": {{}}}}"#)).unwrap();
            assert_eq!(spec.architecture.name(), *name);
            assert_eq!(read(&serde_json::to_string(&spec).unwrap()).unwrap(), spec);
            let config = spec.network(3, vec![Branch::new("further", 7)]);
            let text = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), config);
            let (scale, _) = spec.architecture.scale();
            assert!(spec.architecture.fields().contains_key(scale), "{name} has {scale}");
            let outline = config.outline().unwrap();
            assert!(outline.parameter_count() > 0 && outline.multiply_adds(64, 64) > 0, "{name}");
            assert!(outline.forward_memory(1, 64, 64) < outline.gradient_memory(1, 64, 64), "{name}");
        }
    }
}
