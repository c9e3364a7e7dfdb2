//! Checkpoints: one safetensors file that describes itself by its `model` metadata, and tells whether it is whole.

use crate::durable::write_atomically;
use crate::sealed::{Sealed, read, seal};
use crate::variables::{Source, outside, stored};
use crate::{Error, Parameter, PspNet, PspNetConfig, Result};
use candle_core::{Device, Tensor, Var};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;

impl PspNet {
    /// The network of a checkpoint file.
    ///
    /// # Errors
    /// If the file cannot be read, is no safetensors file, is damaged, has no or a wrong `model` metadata, lacks a tensor,
    /// or has one of another shape, another type, with values that are not finite, or that the model does not have.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let bytes = read(path).map_err(refuse)?;
        let (file, config) = parse(&bytes).map_err(refuse)?;
        let net = PspNet::build(&config, Source::File(&file), device)
            .map_err(|error| refuse(format!("does not fit its own model metadata: {error}")))?;
        let unknown = file.names().into_iter().find(|name| !net.parameters().contains_key(*name));
        match unknown {
            Some(name) => Err(refuse(format!("tensor {name} is not part of the model"))),
            None => Ok(net),
        }
    }

    /// Writes the network to `path`, whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written; a former file is then as it was.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = serialize(self.config(), self.parameters())?;
        write_atomically(path, &bytes).map_err(|source| Error::Write { path: path.to_path_buf(), source })
    }

    /// Takes the backbone's weights and statistics from a safetensors file with timm's names (with or without
    /// `backbone.` before them); other tensors of the file, such as a classifier's, are left alone.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor of the backbone is missing or does not fit; the network is then as
    /// it was.
    pub fn load_backbone(&self, path: &Path) -> Result<()> {
        let refuse = |reason: String| Error::Checkpoint { path: path.to_path_buf(), reason };
        let bytes = read(path).map_err(refuse)?;
        let file = Sealed::parse(&bytes).map_err(refuse)?.tensors;
        let mut values: Vec<(&Var, Tensor)> = Vec::new();
        for (full, parameter) in self.parameters() {
            let Some(name) = full.strip_prefix("backbone.") else { continue };
            let name = if file.tensor(name).is_ok() { name } else { full };
            let tensor = stored(&file, name, parameter.var.shape(), self.device())
                .map_err(|error| refuse(format!("is no backbone of this model: {error}")))?;
            values.push((&parameter.var, tensor));
        }
        for (var, value) in values {
            var.set(&value)?;
        }
        Ok(())
    }
}

/// The bytes of a checkpoint of `parameters`.
fn serialize(config: &PspNetConfig, parameters: &BTreeMap<String, Parameter>) -> Result<Vec<u8>> {
    let mut tensors = Vec::with_capacity(parameters.len());
    for (name, parameter) in parameters {
        let tensor = outside(&parameter.var.as_detached_tensor())?;
        tensors.push((name.clone(), tensor));
    }
    let model = serde_json::to_string(config).expect("a configuration is plain data");
    seal(tensors, "model", model).map_err(|error| Error::Candle(candle_core::Error::wrap(error)))
}

/// The tensors and the configuration in a checkpoint's bytes.
fn parse(bytes: &[u8]) -> Result<(SafeTensors<'_>, PspNetConfig), String> {
    let Sealed { tensors, metadata, .. } = Sealed::parse(bytes)?;
    let model = metadata.get("model");
    let model = model.ok_or("has no `model` metadata, so it is no robustseg checkpoint")?;
    let config: PspNetConfig = serde_json::from_str(model).map_err(|error| {
        format!("its `model` metadata is not understood: {error}; is it of a newer robustseg?")
    })?;
    config.validate().map_err(|error| format!("its `model` metadata is wrong: {error}"))?;
    Ok((tensors, config))
}
