//! What a run needs before it begins. `check` asks for the same, so that what it lets pass, `run` does not refuse.

use std::path::Path;

use candle_core::Device;
use robustseg_models::{Network, pretrained};
use tracing::info;

use crate::inputs::holds_anything;
use crate::plan::Plan;
use crate::run_directory::default_path;
use crate::spec::{Spec, is_hub_name};

impl Plan {
    /// The plan of `spec` on its device, where it has splits without common images and, on the CPU, enough memory.
    ///
    /// # Errors
    /// If the device, the data, their splits or the memory are not what a run needs.
    pub(crate) fn prepare(spec: Spec) -> anyhow::Result<(Self, Device)> {
        let device = spec.device.open()?;
        spec.precision.require_on(&device)?;
        let plan = Self::new(spec)?;
        plan.require_disjoint()?;
        if device.is_cpu() {
            plan.require_memory()?;
        }
        Ok((plan, device))
    }

    /// The network that the training starts from: random, or with the backbone of the spec's pretrained weights.
    ///
    /// # Errors
    /// If these weights cannot be had or do not fit.
    pub(crate) fn initial_network(&self, device: &Device) -> anyhow::Result<Network> {
        let network = Network::new(&self.model, self.spec.seed, device)?;
        if let Some(source) = &self.spec.model.pretrained {
            let file = pretrained::resolve(source)?;
            let taken = network.load_backbone(&file)?;
            info!("pretrained weights {}: {taken}; all other weights are random", file.display());
        }
        Ok(network)
    }

    /// Requires that the training's first network can be made. A model of the hub is not fetched: a check changes nothing.
    ///
    /// # Errors
    /// As [`Plan::initial_network`].
    pub(crate) fn require_weights(&self, device: &Device) -> anyhow::Result<()> {
        let file = self.spec.model.pretrained.as_ref().filter(|source| !is_hub_name(source));
        file.map_or(Ok(()), |_| self.initial_network(device).map(drop))
    }

    /// Why a run without `--out` cannot begin as it is, if its directory is not free: a sentence.
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
