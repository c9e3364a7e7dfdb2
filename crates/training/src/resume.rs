//! The file from which an interrupted training goes on.
//!
//! One safetensors file, written atomically: `parameter.NAME` for every weight and running statistic as the
//! network holds it, `velocity.NAME` for every trainable one, and the metadata key `resume`, a JSON object with
//! the state and a fingerprint of the run. Only the run that wrote it reads it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use robustseg_models::write_atomically;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::trainer::State;
use crate::{Error, Result, Trainer};

/// The file's name in the checkpoints' folder.
pub(crate) const FILE: &str = "resume.safetensors";

const METADATA: &str = "resume";

/// What stands beside the tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    fingerprint: String,
    total_steps: u64,
    state: State,
}

impl Trainer {
    /// Writes all that resuming needs to `path`. `fingerprint` stands for the spec that the run follows.
    pub(crate) fn save_state(&self, path: &Path, fingerprint: &str) -> Result<()> {
        let metadata = Metadata {
            fingerprint: fingerprint.into(),
            total_steps: self.total_steps(),
            state: self.state.clone(),
        };
        let broken = |reason: String| Error::Resume { path: path.into(), reason };
        let metadata = serde_json::to_string(&metadata).map_err(|error| broken(error.to_string()))?;
        let mut bytes = BTreeMap::new();
        for (name, variable) in self.variables() {
            bytes.insert(name, (variable.dims().to_vec(), little_endian(variable.as_tensor())?));
        }
        let views = bytes
            .iter()
            .map(|(name, (shape, data))| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let file = views
            .and_then(|views| {
                safetensors::serialize(views, Some(HashMap::from([(METADATA.to_string(), metadata)])))
            })
            .map_err(|error| broken(error.to_string()))?;
        write_atomically(path, &file).map_err(|source| Error::File {
            operation: "writing",
            path: path.into(),
            source,
        })
    }

    /// Takes weights, velocities and state from `resume.safetensors` in `checkpoints`, if there is one; returns
    /// whether there is.
    ///
    /// # Errors
    /// [`Error::Resume`], and nothing has changed, if the file is broken, or was written by a run of another
    /// `fingerprint`, length or network.
    pub fn restore(&mut self, checkpoints: &Path, fingerprint: &str) -> Result<bool> {
        let path = checkpoints.join(FILE);
        let file = match std::fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(source) => {
                return Err(Error::File { operation: "reading", path, source });
            }
        };
        let refuse = |reason: String| Error::Resume { path: path.clone(), reason };
        let unreadable =
            |error: safetensors::SafeTensorError| refuse(format!("truncated or not safetensors ({error})"));
        let (_, header) = SafeTensors::read_metadata(&file).map_err(unreadable)?;
        let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA));
        let metadata = metadata.ok_or_else(|| refuse("not written by a training run".into()))?;
        let metadata: Metadata = serde_json::from_str(metadata)
            .map_err(|error| refuse(format!("its state is unreadable ({error})")))?;
        if metadata.fingerprint != fingerprint {
            let reason =
                "the spec has changed since; start anew in another directory, or go back to the former spec";
            return Err(refuse(reason.into()));
        }
        if metadata.total_steps != self.total_steps() {
            let (then, now) = (metadata.total_steps, self.total_steps());
            return Err(refuse(format!("it is of a training of {then} steps, this one has {now}")));
        }
        let tensors = SafeTensors::deserialize(&file).map_err(unreadable)?;
        let variables = self.variables();
        if let Some(name) = tensors.names().into_iter().find(|name| !variables.contains_key(*name)) {
            return Err(refuse(format!("tensor {name} is not in this network")));
        }
        let device = self.network().device().clone();
        let mut loaded = Vec::with_capacity(variables.len());
        for (name, variable) in &variables {
            let view = tensors.tensor(name).map_err(|_| refuse(format!("tensor {name} is missing")))?;
            if view.dtype() != Dtype::F32 || view.shape() != variable.dims() {
                let (dtype, shape, expected) = (view.dtype(), view.shape(), variable.dims());
                return Err(refuse(format!(
                    "tensor {name} is {dtype:?} {shape:?} where F32 {expected:?} is needed"
                )));
            }
            loaded.push((variable, tensor(&view, &device)?));
        }
        for (variable, tensor) in loaded {
            variable.set(&tensor)?;
        }
        self.state = metadata.state;
        Ok(true)
    }

    /// Every tensor of the file, by its name there.
    fn variables(&self) -> BTreeMap<String, Var> {
        let parameters = self.network().parameters().iter();
        let parameters =
            parameters.map(|(name, parameter)| (format!("parameter.{name}"), parameter.var.clone()));
        let velocities = self.optimiser().velocities().iter();
        parameters
            .chain(velocities.map(|(name, velocity)| (format!("velocity.{name}"), velocity.clone())))
            .collect()
    }
}

fn little_endian(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn tensor(view: &TensorView<'_>, device: &Device) -> Result<Tensor> {
    let (words, _) = view.data().as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Ok(Tensor::from_vec(values, view.shape(), device)?)
}
