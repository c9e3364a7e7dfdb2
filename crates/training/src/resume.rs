//! The file from which an interrupted training resumes.
//!
//! It is a sealed safetensors file, written atomically. It holds `parameter.NAME` for every weight
//! and running statistic in the network's layout, the optimiser's state for every trainable one
//! (`velocity.NAME`, or `mean.NAME` and `square.NAME`), `average.NAME` if weights are averaged, and the
//! tensors of the method. The metadata key `resume` is a JSON object with the state and the run's
//! [`Identity`]. Only the run that wrote the file reads it. The previous file is kept.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use robustseg_files::sealed::{Sealed, seal};
use robustseg_files::write_keeping_former;
use robustseg_words::{counted, plain};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::trainer::{State, Trainer};
use crate::{Error, Result};

/// The name of the file in the folder of checkpoints.
pub(crate) const FILE: &str = "resume.safetensors";

/// The name of the previous file.
pub(crate) const FORMER: &str = "resume.former.safetensors";

const METADATA: &str = "resume";

/// The version of the format. Every change of the content increases it.
const VERSION: u32 = 2;

/// The metadata of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: u32,
    identity: Identity,
    total_steps: u64,
    state: State,
}

/// The metadata of every version.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Trainer {
    /// Writes everything that resuming needs into `checkpoints`, under the run's `identity`.
    pub(crate) fn save_state(&self, checkpoints: &Path, identity: &Identity) -> Result<()> {
        let path = &checkpoints.join(FILE);
        let metadata = Metadata {
            version: VERSION,
            identity: identity.clone(),
            total_steps: self.total_steps(),
            state: self.state.clone(),
        };
        let broken = |reason: String| Error::Resume { path: path.into(), reason, previous: None };
        let metadata = serde_json::to_string(&metadata).map_err(|error| broken(error.to_string()))?;
        let mut bytes = BTreeMap::new();
        for (name, variable) in self.variables() {
            bytes.insert(name, (variable.dims().to_vec(), little_endian(variable.as_tensor())?));
        }
        for (name, tensor) in self.method.state() {
            bytes.insert(name, (tensor.dims().to_vec(), little_endian(&tensor)?));
        }
        let views = bytes
            .iter()
            .map(|(name, (shape, data))| {
                Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), data)?))
            })
            .collect::<Result<Vec<_>, SafeTensorError>>();
        let file = views
            .and_then(|views| seal(views, &BTreeMap::from([(METADATA, metadata)])))
            .map_err(|error| broken(error.to_string()))?;
        write_keeping_former(path, &file, &checkpoints.join(FORMER)).map_err(|source| Error::File {
            operation: "writing",
            path: path.into(),
            source,
        })
    }

    /// Whether `checkpoints` contains a saved state, valid or not. All weights then come from it,
    /// so the network may start as [`Network::blank`](robustseg_models::Network::blank).
    pub fn has_state(checkpoints: &Path) -> bool {
        checkpoints.join(FILE).exists() || checkpoints.join(FORMER).exists()
    }

    /// Loads weights, velocities and state from `resume.safetensors` in `checkpoints`, if it
    /// exists. Returns whether it does.
    ///
    /// # Errors
    /// [`Error::Resume`] if the file is damaged, or comes from a run with a different `identity`,
    /// length or network. Nothing has changed then.
    pub fn restore(&mut self, checkpoints: &Path, identity: &Identity) -> Result<bool> {
        if !self.first_says(|| Self::has_state(checkpoints))? {
            return Ok(false);
        }
        let (path, former) = (checkpoints.join(FILE), checkpoints.join(FORMER));
        let has_former = self.first_says(|| former.exists())?;
        self.take_state(&path, identity).map_err(|error| match error {
            Error::Resume { path, reason, .. } if has_former => {
                Error::Resume { path, reason, previous: Some(FORMER.into()) }
            }
            other => other,
        })?;
        Ok(true)
    }

    /// Like [`Trainer::restore`]. If `resume.safetensors` is unusable, restores the previous state,
    /// which then takes its place.
    ///
    /// # Errors
    /// The errors of [`Trainer::restore`], if neither state is usable.
    pub fn restore_or_fall_back(&mut self, checkpoints: &Path, identity: &Identity) -> Result<bool> {
        let (path, former) = (checkpoints.join(FILE), checkpoints.join(FORMER));
        match self.restore(checkpoints, identity) {
            Err(Error::Resume { previous: Some(_), .. }) => {
                self.take_state(&former, identity)?;
                self.on_first(|| {
                    let renamed = std::fs::rename(&former, &path);
                    renamed.map_err(|source| Error::File { operation: "replacing", path, source })
                })?;
                Ok(true)
            }
            other => other,
        }
    }

    /// Loads weights, velocities and state from the file at `path`.
    fn take_state(&mut self, path: &Path, identity: &Identity) -> Result<()> {
        let refuse = |reason: String| Error::Resume { path: path.into(), reason, previous: None };
        let file = self.read_shared(path).map_err(|reason| refuse(format!("it {reason}")))?;
        let Sealed { tensors, metadata, sealed } =
            Sealed::parse(&file).map_err(|reason| refuse(format!("it {reason}")))?;
        let metadata = metadata.get(METADATA).filter(|_| sealed);
        let metadata = metadata.ok_or_else(|| refuse("it was not written by a training run".into()))?;
        let unreadable =
            |error: serde_json::Error| refuse(format!("its state is unreadable ({})", plain(error)));
        let Version { version } = serde_json::from_str(metadata).map_err(unreadable)?;
        if version != VERSION {
            let reason = format!(
                "another robustseg wrote it: its version is {version}, and this one reads {VERSION}; continue with the one \
                 that wrote it, or begin a new run in another directory"
            );
            return Err(refuse(reason));
        }
        let metadata: Metadata = serde_json::from_str(metadata).map_err(unreadable)?;
        if metadata.identity != *identity {
            let differences = metadata.identity.differences(identity);
            return Err(refuse(format!(
                "the spec has changed since, or the data: {differences}; go back to what it was, or begin a new run \
                 in another directory"
            )));
        }
        if metadata.total_steps != self.total_steps() {
            let (then, now) = (metadata.total_steps, self.total_steps());
            return Err(refuse(format!(
                "it is of a training of {}, this one has {now}",
                counted(then, "step")
            )));
        }
        let variables = self.variables();
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
        let others = tensors.tensors().into_iter().filter(|(name, _)| !variables.contains_key(name));
        let others = others.map(|(name, view)| Ok((name, tensor(&view, &device)?)));
        self.method.restore(others.collect::<Result<_>>()?).map_err(|error| match error {
            Error::Mismatch { what, .. } => refuse(format!("{what} is not of this network or method")),
            other => other,
        })?;
        for (variable, tensor) in loaded {
            robustseg_ops::assign(variable, &tensor)?;
        }
        self.state = metadata.state;
        Ok(())
    }

    /// Every tensor of the file by its name in the file.
    fn variables(&self) -> BTreeMap<String, Var> {
        let parameters = self.network().parameters().iter();
        let parameters =
            parameters.map(|(name, parameter)| (format!("parameter.{name}"), parameter.var.clone()));
        let state = self.optimiser.state().iter().map(|(name, value)| (name.clone(), value.clone()));
        let average = self.average.iter().flat_map(|average| average.network().parameters());
        let average = average.map(|(name, parameter)| (format!("average.{name}"), parameter.var.clone()));
        parameters.chain(state).chain(average).collect()
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
