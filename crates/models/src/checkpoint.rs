//! Checkpoints: one safetensors file that describes its network in the metadata key `model` and
//! detects damage by a seal. Classes and training are in further keys: see [`Origin`].

use crate::disk::Disk;
use crate::foreign::{self, is_counter};
use crate::stored::outside;
use crate::variables::Source;
use crate::{Error, Network, NetworkConfig, Origin, Parameter, Result};
use candle_core::Device;
use robustseg_files::sealed::{Sealed, read_open, seal, write_floats};
use robustseg_files::{Sha256, write_atomically};
use robustseg_words::plain;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// Numbers that are hashed at once.
const HASHED: usize = 1 << 16;

/// The content of a checkpoint file.
pub struct Checkpoint {
    /// The network.
    pub network: Network,
    /// Its classes and training, as far as the file states them.
    pub origin: Origin,
}

impl Checkpoint {
    /// Loads the checkpoint at `path`, with the network on `device`. The network is in memory once, and
    /// so is the file for the time of its check.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let (bytes, file) = read_open(path).map_err(refuse)?;
        let (tensors, config, origin) = parse(&bytes).map_err(refuse)?;
        // Once the content is known to be whole, it is read again, tensor by tensor.
        let names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
        let foreign = config.architecture.settings().foreign(&tensors).or_else(|| foreign::start(&tensors));
        let disk = Disk::new(file, &bytes).ok_or_else(|| refuse("has no header".into()))?;
        drop(bytes);
        let network = Network::build(&config, Source::File(&disk), device).map_err(|error| {
            // Other names explain the missing tensor.
            let reason = foreign.unwrap_or_else(|| error.to_string());
            refuse(format!("does not fit its own model metadata: {reason}"))
        })?;
        let known = |name: &str| network.parameters().contains_key(name) || is_counter(name);
        let unknown = names.into_iter().find(|name| !known(name));
        match unknown {
            Some(name) => Err(refuse(format!("tensor {name} is not part of the model"))),
            None => Ok(Self { network, origin }),
        }
    }
}

impl Network {
    /// Loads the network of a checkpoint file: [`Checkpoint::load`] without the origin. f16, bf16
    /// and f64 are converted to f32. PyTorch's counters of batches (`num_batches_tracked`) are
    /// ignored.
    ///
    /// # Errors
    /// If the file cannot be read, is not a safetensors file or is damaged; if its metadata lack
    /// `model` or are wrong; if a tensor is missing, has another shape or type, holds values that
    /// are not finite, or is not part of the model.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Ok(Checkpoint::load(path, device)?.network)
    }

    /// Writes the network to `path` atomically, without an origin.
    ///
    /// # Errors
    /// If the file cannot be written. A file that was there before is then unchanged.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(&Origin::default(), path)
    }

    /// Writes the network and its `origin` to `path` atomically.
    ///
    /// # Errors
    /// As [`Network::save`].
    pub fn save_with(&self, origin: &Origin, path: &Path) -> Result<()> {
        let bytes = serialize(self.config(), origin, self.parameters())?;
        write_atomically(path, &bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
    }

    /// SHA-256 of all weights and statistics in hexadecimal digits, which identifies a trained
    /// network.
    ///
    /// # Errors
    /// If the device does not give them out.
    pub fn weights_sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for (name, parameter) in self.parameters() {
            hash.update(format!("{name} {:?} ", parameter.var.dims()));
            let values = parameter.var.as_detached_tensor().flatten_all()?;
            let count = values.elem_count();
            for start in (0..count).step_by(HASHED) {
                let piece = values.narrow(0, start, HASHED.min(count - start))?.to_vec1::<f32>()?;
                hash.update(piece.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
            }
        }
        Ok(hash.hexadecimal())
    }
}

/// Writes weights of another program to `path` atomically: a checkpoint of the network `model`, or
/// without one a backbone that [`Network::load_backbone`] takes. `shapes` has the tensors by name,
/// and `values` gives the numbers of one, so that no more than one is in memory.
///
/// # Errors
/// The first error of `values`, or [`Error::Write`]. A file that was there before is then unchanged.
pub fn write_weights<E: From<Error>>(
    path: &Path,
    model: Option<&NetworkConfig>,
    origin: &Origin,
    shapes: &BTreeMap<String, Vec<usize>>,
    mut values: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    let mut metadata = BTreeMap::new();
    if let Some(model) = model {
        let model = serde_json::to_string(model).expect("a configuration is plain data");
        metadata.insert("model", model);
    }
    origin.write(&mut metadata);
    let written = write_floats(path, shapes, &metadata, |name| values(name).map_err(Failed::Values));
    written.map_err(|failed| match failed {
        Failed::Write(source) => Error::Write { path: path.to_path_buf(), source }.into(),
        Failed::Values(error) => error,
    })
}

/// A failure to write, or one of the values to be written.
enum Failed<E> {
    Write(std::io::Error),
    Values(E),
}

impl<E> From<std::io::Error> for Failed<E> {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

/// The bytes of a checkpoint of `parameters`.
fn serialize(
    config: &NetworkConfig,
    origin: &Origin,
    parameters: &BTreeMap<String, Parameter>,
) -> Result<Vec<u8>> {
    let mut tensors = Vec::with_capacity(parameters.len());
    for (name, parameter) in parameters {
        let tensor = outside(&parameter.var.as_detached_tensor())?;
        tensors.push((name.clone(), tensor));
    }
    let model = serde_json::to_string(config).expect("a configuration is plain data");
    let mut metadata = BTreeMap::from([("model", model)]);
    origin.write(&mut metadata);
    seal(tensors, &metadata).map_err(|error| Error::Candle(candle_core::Error::wrap(error)))
}

/// The tensors, the configuration and the origin in a checkpoint's bytes.
fn parse(bytes: &[u8]) -> Result<(SafeTensors<'_>, NetworkConfig, Origin), String> {
    let Sealed { tensors, metadata, .. } = Sealed::parse(bytes)?;
    let model = metadata.get("model");
    let model = model.ok_or_else(|| {
        let told = foreign::no_checkpoint(&tensors);
        format!("has no `model` metadata, so it is not a robustseg checkpoint; {told}")
    })?;
    let config: NetworkConfig = serde_json::from_str(model).map_err(|error| {
        format!("its `model` metadata is not understood: {}; is it of a newer robustseg?", plain(error))
    })?;
    config.validate().map_err(|error| format!("its `model` metadata is wrong: {error}"))?;
    let origin = Origin::parse(&metadata, config.num_classes)?;
    Ok((tensors, config, origin))
}
