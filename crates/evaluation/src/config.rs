//! The settings of an evaluation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use robustseg_attacks::CurveConfig;
use serde::{Deserialize, Serialize};

use crate::protocol::Protocol;
use crate::window::{Views, Window};
use crate::{Error, Result};

/// The settings of an evaluation. By default it runs the paper's FGSM and BIM curves with epsilon
/// from 0 to 0.04.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// The split to evaluate on. The default is the data's validation split.
    pub split: Option<String>,
    /// The number of samples to take, evenly spaced over the split. The default is all.
    pub limit: Option<usize>,
    /// Images per batch. Only neighbours of the same size share a batch. An image's random starts
    /// depend on its position in the batch.
    pub batch_size: usize,
    /// Seed of the attacks' random starts. It is separate from the experiment's seed, so that runs
    /// with different seeds face the same attacks.
    pub seed: u64,
    /// The protocol that turns images into scores. Attacks go through all of it.
    pub protocol: Protocol,
    /// How the protocol `whole_image` presents images to the network. Other protocols cut images
    /// themselves.
    pub window: Window,
    /// Which weights of the training to evaluate.
    pub weights: Weights,
    /// The robustness curves.
    pub curves: Vec<CurveConfig>,
    /// Checkpoints of other networks by name. Each curve is repeated with the gradients of each, and
    /// the evaluated network faces those examples too. A relative path starts at the spec's folder.
    /// An evaluation gets the networks themselves in a [`Subject`](crate::Subject).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, PathBuf>,
    /// The number of samples to keep as examples. They are the samples that suffer most from the
    /// last curve at its largest epsilon.
    pub examples: usize,
}

/// Which weights of a training to evaluate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// The weights at the end of the training, as in the paper.
    #[default]
    Last,
    /// The weights with the highest mean IoU of all validations: on clean images, or under the attack
    /// of `training.validate_under`. If the evaluation uses the
    /// validation split too, this selects on the test data, and the report says so.
    Best,
    /// The moving average of the weights at the end of a training that keeps one. It is the default
    /// there.
    Average,
}

impl Weights {
    /// The name in specs and results, and of the checkpoint's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Best => "best",
            Self::Average => "average",
        }
    }
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            split: None,
            limit: None,
            batch_size: 1,
            seed: 0,
            protocol: Protocol::default(),
            window: Window::default(),
            weights: Weights::default(),
            curves: paper_curves(),
            sources: BTreeMap::new(),
            examples: 4,
        }
    }
}

impl EvaluationConfig {
    /// The inputs of the network for an image of `height` x `width` pixels. Inputs of one size are
    /// together.
    pub fn views(&self, height: usize, width: usize) -> Vec<Views> {
        match self.protocol {
            Protocol::WholeImage => vec![self.window.views(height, width)],
            _ => self.protocol.views(height, width),
        }
    }

    /// Those that an attack holds in memory at once.
    pub fn attacked_views(&self, height: usize, width: usize) -> Vec<Views> {
        match self.protocol {
            Protocol::WholeImage => vec![self.window.views(height, width)],
            _ => self.protocol.attacked_views(height, width),
        }
    }

    /// The largest number of passes for one image: the clean one, and the backward passes of each
    /// attack on the network and on each of the [sources](Self::sources). Crops and scales of a
    /// protocol count once together.
    pub fn passes_per_image(&self) -> u64 {
        self.passes(self.sources.len())
    }

    pub(crate) fn passes(&self, sources: usize) -> u64 {
        let of_curve = |curve: &CurveConfig| {
            let points = curve.epsilons().iter().filter(|epsilon| **epsilon > 0.0).count() as u64;
            if points > 0 { curve.attack().backward_passes(points) } else { 0 }
        };
        let attacks = self.curves.iter().map(of_curve).fold(0, u64::saturating_add);
        attacks.saturating_mul(1 + sources as u64).saturating_add(1)
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Curve`] with the first such setting.
    pub fn validate(&self) -> Result<()> {
        at_least_one("batch_size", self.batch_size)?;
        if let Some(limit) = self.limit {
            at_least_one("limit", limit)?;
        }
        self.protocol.validate()?;
        self.window.validate()?;
        if !self.protocol.is_whole_image() && self.window != Window::Whole {
            let protocol = self.protocol.name();
            let reason = format!("the protocol {protocol} cuts images itself; leave the window whole");
            return Err(Error::Setting { field: "window", reason });
        }
        for (index, curve) in self.curves.iter().enumerate() {
            let attack = curve.name();
            let named = |source| Error::Curve { index, attack, source: Box::new(source) };
            curve.validate().map_err(named)?;
        }
        Ok(())
    }
}

/// FGSM and BIM with the settings and epsilons of Wiens & Hammer 2022.
fn paper_curves() -> Vec<CurveConfig> {
    CurveConfig::all().into_iter().filter(|curve| ["fgsm", "bim"].contains(&curve.name())).collect()
}

fn at_least_one(field: &'static str, value: usize) -> Result<()> {
    if value >= 1 {
        return Ok(());
    }
    Err(Error::Setting { field, reason: "must be at least 1".into() })
}

/// At most `limit` indices below `count`, evenly spaced.
pub fn evenly_spaced(count: usize, limit: Option<usize>) -> Vec<usize> {
    let taken = limit.unwrap_or(count).min(count);
    (0..taken).map(|index| index * count / taken).collect()
}
