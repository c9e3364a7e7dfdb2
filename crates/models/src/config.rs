//! The full description of a network.

use crate::branch;
use crate::layers::Heads;
use crate::networks::{Architecture, Flat};
use crate::outline::Outline;
use crate::variables::{Maker, Source};
use crate::{Branch, Error, Result, Upsampling};
use candle_core::Device;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// All that makes a network, but for its weights: the `model` metadata of a checkpoint.
///
/// ```
/// use robustseg_models::{NetworkConfig, PspNetConfig, Upsampling};
/// let small = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() };
/// let config = NetworkConfig { upsampling: Upsampling::AlignCorners, ..NetworkConfig::new(small, 21) };
/// assert_eq!(config.outline().unwrap().parameter_count(), 489_885);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// The kind of network and its own settings.
    pub architecture: Architecture,
    /// Classes, 1 to 255.
    pub num_classes: usize,
    /// Mean of each colour channel, in units of `[0, 1]`. Images are normalised inside the network.
    pub mean: [f32; 3],
    /// Standard deviation of each colour channel.
    pub std: [f32; 3],
    /// Kind of upsampling.
    pub upsampling: Upsampling,
    /// Heads next to the main one.
    pub branches: Vec<Branch>,
}

impl NetworkConfig {
    /// `architecture` for `num_classes` classes: mean and standard deviation 0.5, half-pixel
    /// upsampling, no branches.
    pub fn new(architecture: impl Into<Architecture>, num_classes: usize) -> Self {
        Self {
            architecture: architecture.into(),
            num_classes,
            mean: [0.5; 3],
            std: [0.5; 3],
            upsampling: Upsampling::HalfPixel,
            branches: Vec::new(),
        }
    }

    /// Checks that the configuration describes a network.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first setting out of its range.
    pub fn validate(&self) -> Result<()> {
        self.architecture.validate()?;
        crate::layers::within("num_classes", self.num_classes, 255)?;
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            let reason = format!("must be finite, found {:?}", self.mean);
            return Err(Error::Setting { field: "mean", reason });
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            let reason = format!("must be positive, found {:?}", self.std);
            return Err(Error::Setting { field: "std", reason });
        }
        branch::validate(&self.branches)
    }

    /// The least height and width of an image that the network can read.
    pub fn smallest_image(&self) -> usize {
        self.architecture.settings().smallest_image()
    }

    /// The costs of the network, without its weights. Takes milliseconds and next to no memory.
    ///
    /// # Errors
    /// [`Error::Setting`] if the configuration describes no network.
    pub fn outline(&self) -> Result<Outline> {
        self.build(&Maker::new(Source::Outline, &Device::Cpu))
    }

    /// The shapes of all variables by their names in checkpoints, as files hold them: convolution
    /// weights are (O, I, KH, KW).
    ///
    /// ```
    /// use robustseg_models::{NetworkConfig, PspNetConfig};
    /// let shapes = NetworkConfig::new(PspNetConfig::default(), 21).shapes().unwrap();
    /// assert_eq!(shapes["classifier.weight"], [21, 512, 1, 1]);
    /// ```
    ///
    /// # Errors
    /// As [`NetworkConfig::outline`].
    pub fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>> {
        let maker = Maker::new(Source::Outline, &Device::Cpu);
        self.build(&maker)?;
        Ok(maker.into_shapes())
    }

    /// Builds the layers of the network with variables from `maker`.
    pub(crate) fn build(&self, maker: &Maker<'_>) -> Result<Outline> {
        self.validate()?;
        let heads =
            Heads { classes: self.num_classes, branches: &self.branches, alignment: self.upsampling.into() };
        let layers = self.architecture.settings().layers(&heads, &maker.variables())?;
        Ok(Outline::new(layers, maker.trainable()))
    }
}

impl Architecture {
    /// Checks that the settings describe a network.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first setting out of its range.
    pub fn validate(&self) -> Result<()> {
        self.settings().validate()
    }

    /// The setting that scales the network's memory, by its name, and its value.
    ///
    /// ```
    /// use robustseg_models::{Architecture, PspNetConfig};
    /// assert_eq!(Architecture::from(PspNetConfig::default()).scale(), ("width", 64));
    /// ```
    pub fn scale(&self) -> (&'static str, usize) {
        self.settings().scale()
    }

    /// The settings by their names.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(Flat(self)) {
            Ok(Value::Object(fields)) => fields,
            // Settings are structs of plain data.
            _ => Map::new(),
        }
    }

    /// The same kind of network with the settings in `fields` and the others of this one. Values
    /// out of range are for [`Architecture::validate`] to find.
    ///
    /// ```
    /// use robustseg_models::{Architecture, PspNetConfig};
    /// use serde_json::{Map, json};
    /// let pspnet50 = Architecture::from(PspNetConfig::default());
    /// let fields = Map::from_iter([("width".to_owned(), json!(16))]);
    /// let narrow = PspNetConfig { width: 16, ..PspNetConfig::default() };
    /// assert_eq!(pspnet50.with(fields).unwrap(), narrow.into());
    /// ```
    ///
    /// # Errors
    /// If this kind of network does not have one of the settings, or its value is of another type.
    pub fn with(&self, fields: Map<String, Value>) -> serde_json::Result<Self> {
        let mut all = self.fields();
        all.extend(fields);
        Self::read(self.name(), Value::Object(all))
    }
}
