//! The requirements of a run. `check` tests the same, so `run` accepts every spec that passes it.

use std::path::Path;

use candle_core::Device;
use robustseg_models::{Network, pretrained};
use tracing::info;

use crate::inputs::holds_anything;
use crate::plan::Plan;
use crate::run_directory::default_path;
use crate::sources::Sources;
use crate::spec::{Spec, is_hub_name};
use crate::warm_start;

impl Plan {
    /// The plan of `spec` and its device. A resumed run has `begun` with a number of parts of a batch. Requires splits without common images and, on the CPU,
    /// enough memory.
    ///
    /// # Errors
    /// If the device, the data, the splits or the memory do not meet the requirements.
    pub(crate) fn prepare(spec: Spec, begun: Option<usize>) -> anyhow::Result<(Self, Device)> {
        let device = spec.device.open()?;
        spec.precision.require_on(&device)?;
        let mut plan = Self::new(spec)?;
        plan.require_disjoint()?;
        plan.fit_memory(&device, begun)?;
        if device.is_cpu() {
            plan.require_memory()?;
        }
        Ok((plan, device))
    }

    /// The network at the start of the training: random, with the backbone of the spec's pretrained
    /// weights, or that of a checkpoint.
    ///
    /// # Errors
    /// If these weights are not available or do not fit.
    pub(crate) fn initial_network(&self, device: &Device) -> anyhow::Result<Network> {
        let network = Network::new(&self.model, self.spec.seed, device)?;
        if let Some(path) = &self.spec.training.from {
            warm_start::take_over(path, &network, &self.data.manifest)?;
        }
        if let Some(source) = &self.spec.model.pretrained {
            let file = pretrained::resolve(source)?;
            let taken = network.load_backbone(&file)?;
            info!("pretrained weights {}: {taken}; all other weights are random", file.display());
        }
        Ok(network)
    }

    /// Requires that the initial network can be created and the evaluation's sources be read. Does
    /// not download a model of the hub, because a check changes nothing.
    ///
    /// # Errors
    /// The errors of [`Plan::initial_network`] and [`Plan::sources`].
    pub(crate) fn require_weights(&self, device: &Device) -> anyhow::Result<()> {
        self.sources(device)?;
        let backbone = self.spec.model.pretrained.as_ref().is_some_and(|source| !is_hub_name(source));
        if backbone || self.spec.training.from.is_some() {
            self.initial_network(device)?;
        }
        Ok(())
    }

    /// The sources of the evaluation. Requires enough memory for them on the CPU.
    ///
    /// # Errors
    /// If one is not available or does not fit the data.
    pub(crate) fn sources(&self, device: &Device) -> anyhow::Result<Sources> {
        let sources = Sources::load(&self.spec, &self.data, device, false)?;
        if device.is_cpu() {
            sources.require_memory(&self.spec, &self.evaluation)?;
        }
        Ok(sources)
    }

    /// If the default directory is not free, a sentence about what a run without `--out` needs.
    pub(crate) fn occupied(&self) -> Option<String> {
        let path = default_path(&self.spec.name);
        let (shown, holds_run) = (path.display(), Path::new(&path).join("provenance.json").exists());
        if holds_run {
            Some(format!("{shown} holds a run: this one needs another --out, --resume or --overwrite"))
        } else if path.exists() && holds_anything(&path).unwrap_or(true) {
            Some(format!("{shown} holds something that is no run: this one needs another --out"))
        } else {
            None
        }
    }
}
