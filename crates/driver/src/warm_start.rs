//! A training that starts from a checkpoint of the whole network.

use std::path::Path;

use anyhow::anyhow;
use robustseg_datasets::Manifest;
use robustseg_models::{Checkpoint, Network, NetworkConfig};
use tracing::info;

use crate::checkpoint::require_classes;
use crate::exit::BadData;
use crate::provenance::origin_in_words;

/// Sets the weights and statistics of `network` to those of the checkpoint at `path`. Branches that
/// the checkpoint lacks keep their random weights; branches that only the checkpoint has are left
/// out.
///
/// # Errors
/// [`BadData`] if the checkpoint cannot be read, its classes are not those of `manifest`, or its
/// network is another one.
pub(crate) fn take_over(path: &Path, network: &Network, manifest: &Manifest) -> anyhow::Result<()> {
    let Checkpoint { network: saved, origin } = Checkpoint::load(path, network.device())?;
    require_classes(path, &origin, saved.config().num_classes, manifest, None)?;
    let without_branches = |config: &NetworkConfig| NetworkConfig { branches: Vec::new(), ..config.clone() };
    let (theirs, ours) = (without_branches(saved.config()), without_branches(network.config()));
    if theirs != ours {
        let written = |config| serde_json::to_string(config).unwrap_or_default();
        return Err(anyhow!(BadData(format!(
            "checkpoint {}: its network is {}, but the spec's is {}; make `model` of the spec that of the checkpoint",
            path.display(),
            written(&theirs),
            written(&ours)
        ))));
    }
    let mut random = 0;
    for (name, parameter) in network.parameters() {
        match saved.parameters().get(name) {
            Some(other) if other.var.dims() == parameter.var.dims() => parameter.var.set(&other.var)?,
            _ => random += 1,
        }
    }
    let source = origin_in_words(origin.training.as_ref(), origin.import.as_ref());
    let rest = if random == 0 { String::new() } else { format!("; {random} tensors of branches are random") };
    info!("starting from checkpoint {} ({source}){rest}", path.display());
    Ok(())
}
