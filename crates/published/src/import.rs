//! Turns a published checkpoint into one of ours.

use std::collections::BTreeMap;
use std::path::Path;

use robustseg_models::{NetworkConfig, Origin, write_weights};

use crate::fit::{Fit, fit, needed, sorted};
use crate::kind::{Kind, Product};
use crate::{Error, Result, Weights};

/// A published checkpoint of a known kind, all of whose tensors have their places.
///
/// ```
/// use robustseg_models::Origin;
/// use robustseg_published::{Import, Kind, Weights};
/// # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/semseg-pspnet_tiny.pth");
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("ours.safetensors");
/// let mut weights = Weights::open(file.as_ref())?;
/// let import = Import::plan(&weights, Kind::named("semseg-pspnet").unwrap(), None)?;
/// assert_eq!(import.config().num_classes, 3);
/// import.write(&mut weights, &Origin::default(), &out)?;
/// # Ok::<(), robustseg_published::Error>(())
/// ```
pub struct Import {
    kind: &'static Kind,
    config: NetworkConfig,
    fit: Fit,
}

impl Import {
    /// Finds a place for each tensor of `weights`, a checkpoint of `kind`. The size of the network
    /// and the number of its classes follow from the shapes.
    ///
    /// # Errors
    /// [`Error::Misfit`] with all tensors that do not fit, [`Error::Classes`] if there are not
    /// `classes` classes, [`Error::Model`] if there is no network of that size.
    pub fn plan(weights: &Weights, kind: &'static Kind, classes: Option<usize>) -> Result<Self> {
        let path = || weights.path().to_path_buf();
        let sorted = sorted(weights, kind);
        if sorted.sources.is_empty() {
            let reason = format!("has no tensor of the kind {}: {}", kind.name, weights.described());
            return Err(weights.refuse(reason));
        }
        let config = kind.config(&sorted.shapes);
        let needed = match config.shapes() {
            Ok(shapes) => needed(kind, shapes),
            // The file gave the settings.
            Err(robustseg_models::Error::Setting { field, reason }) => {
                let network = config.architecture.name();
                return Err(weights.refuse(format!("describes no {network}: its {field} {reason}")));
            }
            Err(error) => return Err(error.into()),
        };
        let fit = fit(sorted, needed).map_err(|mut misfit| {
            let other = weights.nearest().filter(|(nearest, _)| nearest.name != kind.name);
            misfit.hint = other.map(|_| weights.described());
            Error::Misfit { path: path(), kind: kind.name, misfit: Box::new(misfit) }
        })?;
        match classes {
            Some(expected) if kind.product == Product::Checkpoint && expected != config.num_classes => {
                Err(Error::Classes { path: path(), found: config.num_classes, expected })
            }
            _ => Ok(Self { kind, config, fit }),
        }
    }

    /// The same import for a network that subtracts `mean` from the colours and divides them by
    /// `std`, where its training differed from the published one.
    ///
    /// # Errors
    /// [`Error::Model`] if the numbers are no mean or no standard deviation.
    pub fn normalised(self, mean: [f32; 3], std: [f32; 3]) -> Result<Self> {
        let config = NetworkConfig { mean, std, ..self.config };
        config.validate()?;
        Ok(Self { config, ..self })
    }

    /// The network. Of a backbone, the network that takes it.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Number of tensors that become weights.
    pub fn taken(&self) -> usize {
        self.fit.sources.len()
    }

    /// Names of the file's tensors that are not needed.
    pub fn left(&self) -> &[String] {
        &self.fit.left
    }

    /// Shapes of tensors that are written, by name.
    pub fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.fit.shapes
    }

    /// Writes the checkpoint or backbone to `path` atomically, with `origin`. `weights` are those
    /// that were planned. No more than one tensor is in memory.
    ///
    /// # Errors
    /// If the numbers of a tensor cannot be read or are not finite, or the file cannot be written.
    pub fn write(&self, weights: &mut Weights, origin: &Origin, path: &Path) -> Result<()> {
        let model = (self.kind.product == Product::Checkpoint).then_some(&self.config);
        write_weights(path, model, origin, &self.fit.shapes, |name| weights.read(&self.fit.sources[name]))
    }
}
