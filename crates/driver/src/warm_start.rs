//! A training that starts from a checkpoint of the whole network.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::anyhow;
use robustseg_datasets::Manifest;
use robustseg_models::{Branch, Checkpoint, Network, NetworkConfig, Origin};
use robustseg_words::counted;
use tracing::info;

use crate::checkpoint::require_classes;
use crate::exit::BadData;
use crate::provenance::origin_in_words;

/// The largest number of tensors that the log names.
const NAMED: usize = 6;

/// Sets the weights and statistics of `network` to those of the checkpoint at `path`, and logs what
/// was taken and what was left. Weights that depend on the classes stay random if the checkpoint's
/// classes are others than those of `manifest`. So do branches that the checkpoint lacks. Branches
/// that only the checkpoint has are left.
///
/// # Errors
/// [`BadData`] if the checkpoint cannot be read, or its network is another one.
pub(crate) fn take_over(path: &Path, network: &Network, manifest: &Manifest) -> anyhow::Result<()> {
    let Checkpoint { network: saved, origin } = Checkpoint::load(path, network.device())?;
    let common =
        |config: &NetworkConfig| NetworkConfig { branches: Vec::new(), num_classes: 1, ..config.clone() };
    let (theirs, ours) = (common(saved.config()), common(network.config()));
    if theirs != ours {
        let written = |config| serde_json::to_string(config).unwrap_or_default();
        return Err(anyhow!(BadData(format!(
            "checkpoint {}: its network is {}, but the spec's is {}; make `model` of the spec that of the checkpoint",
            path.display(),
            written(&theirs),
            written(&ours)
        ))));
    }
    let other_classes = has_other_classes(&origin, saved.config().num_classes, manifest);
    let of_classes = if other_classes {
        by_classes(network.config())?
    } else {
        require_classes(path, &origin, saved.config().num_classes, manifest, None)?;
        BTreeSet::new()
    };
    let (mut taken, mut random) = (0, Vec::new());
    for (name, parameter) in network.parameters() {
        let theirs = saved.parameters().get(name).filter(|_| !of_classes.contains(name));
        match theirs.filter(|theirs| theirs.var.dims() == parameter.var.dims()) {
            Some(theirs) => {
                robustseg_ops::assign(&parameter.var, &theirs.var)?;
                taken += 1;
            }
            None => random.push(name.as_str()),
        }
    }
    let ours = network.parameters();
    let left: Vec<&str> =
        saved.parameters().keys().filter(|name| !ours.contains_key(*name)).map(String::as_str).collect();
    let source = origin_in_words(origin.training.as_ref(), origin.import.as_ref());
    let why = if other_classes { ", the classes are others" } else { "" };
    info!(
        "starting from checkpoint {} ({source}): {} taken{}{}",
        path.display(),
        counted(taken, "tensor"),
        names(&format!("; random{why}"), &random),
        names("; left", &left)
    );
    Ok(())
}

/// Whether a checkpoint of `origin` with `count` classes has other classes than `manifest`. Unknown
/// names count as those of the manifest.
fn has_other_classes(origin: &Origin, count: usize, manifest: &Manifest) -> bool {
    let ours = || manifest.classes.iter().map(|class| &class.name);
    let differ =
        origin.classes.as_ref().is_some_and(|theirs| !theirs.iter().map(|class| &class.name).eq(ours()));
    count != manifest.num_classes() || differ
}

/// The variables of a network that depend on its classes: those that have another shape with one
/// class more.
fn by_classes(config: &NetworkConfig) -> anyhow::Result<BTreeSet<String>> {
    let classes = config.num_classes;
    let more = |branch: &Branch| {
        let channels = branch.channels + usize::from(branch.channels == classes);
        Branch { channels, ..branch.clone() }
    };
    let branches = config.branches.iter().map(more).collect();
    let larger = NetworkConfig { num_classes: classes + 1, branches, ..config.clone() }.shapes()?;
    let differs = |(name, shape): &(String, Vec<usize>)| larger.get(name) != Some(shape);
    Ok(config.shapes()?.into_iter().filter(differs).map(|(name, _)| name).collect())
}

/// `what` with names, or nothing if there are no names.
fn names(what: &str, names: &[&str]) -> String {
    match names.len().saturating_sub(NAMED) {
        _ if names.is_empty() => String::new(),
        0 => format!("{what}: {}", names.join(", ")),
        more => format!("{what}: {} and {more} more", names[..NAMED].join(", ")),
    }
}
