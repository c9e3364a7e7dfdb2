//! Checkpoints: one safetensors file that describes itself by its `model` metadata, and tells whether it is whole. What it
//! knows of its classes and its training stands beside that: see [`Origin`].

use crate::foreign::{is_counter, names};
use crate::stored::outside;
use crate::variables::Source;
use crate::{Error, Network, NetworkConfig, Origin, Parameter, Result};
use candle_core::Device;
use robustseg_files::sealed::{Sealed, read, seal};
use robustseg_files::{Sha256, write_atomically};
use robustseg_words::plain;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

/// All that a checkpoint file holds.
pub struct Checkpoint {
    /// The network.
    pub network: Network,
    /// Its classes and its training, as far as the file knows them.
    pub origin: Origin,
}

impl Checkpoint {
    /// The checkpoint in the file at `path`, its network on `device`.
    ///
    /// # Errors
    /// As [`Network::load`].
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let bytes = read(path).map_err(refuse)?;
        let (file, config, origin) = parse(&bytes).map_err(refuse)?;
        let network = Network::build(&config, Source::File(&file), device).map_err(|error| {
            // Other names explain the missing tensor.
            let foreign = config.architecture.settings().foreign(&file);
            let reason = foreign.unwrap_or_else(|| error.to_string());
            refuse(format!("does not fit its own model metadata: {reason}"))
        })?;
        let known = |name: &str| network.parameters().contains_key(name) || is_counter(name);
        let unknown = file.names().into_iter().find(|name| !known(name));
        match unknown {
            Some(name) => Err(refuse(format!("tensor {name} is not part of the model"))),
            None => Ok(Self { network, origin }),
        }
    }
}

impl Network {
    /// The network of a checkpoint file: [`Checkpoint::load`] without its origin. Numbers in f16, bf16 and f64 are converted to
    /// f32; PyTorch's counters of batches (`num_batches_tracked`) are not looked at.
    ///
    /// # Errors
    /// If the file cannot be read, is no safetensors file, is damaged, has no or a wrong `model` metadata, a wrong
    /// `classes` or `training`, lacks a tensor, or has one of another shape, another type, with values that are not finite,
    /// or that the model does not have.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        Ok(Checkpoint::load(path, device)?.network)
    }

    /// Writes the network to `path`, whole or not at all. Its origin is then unknown.
    ///
    /// # Errors
    /// If the file cannot be written; a former file is then as it was.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_with(&Origin::default(), path)
    }

    /// Writes the network and its `origin` to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`Network::save`].
    pub fn save_with(&self, origin: &Origin, path: &Path) -> Result<()> {
        let bytes = serialize(self.config(), origin, self.parameters())?;
        write_atomically(path, &bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
    }

    /// SHA-256 of all weights and statistics, in hexadecimal digits: what tells one trained network from another.
    ///
    /// # Errors
    /// If they cannot be fetched from their device.
    pub fn weights_sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for (name, parameter) in self.parameters() {
            let values = parameter.var.as_detached_tensor().flatten_all()?.to_vec1::<f32>()?;
            hash.update(format!("{name} {:?} ", parameter.var.dims()));
            hash.update(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        Ok(hash.hexadecimal())
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
        let told = names(&tensors).unwrap_or_else(|| {
            "if it is a backbone, name it as model.pretrained of a spec, from which a training starts".into()
        });
        format!("has no `model` metadata, so it is no robustseg checkpoint; {told}")
    })?;
    let config: NetworkConfig = serde_json::from_str(model).map_err(|error| {
        format!("its `model` metadata is not understood: {}; is it of a newer robustseg?", plain(error))
    })?;
    config.validate().map_err(|error| format!("its `model` metadata is wrong: {error}"))?;
    let origin = Origin::parse(&metadata, config.num_classes)?;
    Ok((tensors, config, origin))
}
