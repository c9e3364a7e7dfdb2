//! A tiny network and batches for tests.

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use rand::RngExt;
use robustseg_attacks::IGNORE_LABEL;
use robustseg_datasets::{AugmentationConfig, Batch, Dataset, Manifest, OnBadSample};
use robustseg_models::{Network, NetworkConfig, Origin, PspNetConfig};
use robustseg_random::stream;

use crate::{Basic, Identity, MethodConfig, Result, Run, Trainer, TrainingConfig};

pub(crate) const CLASSES: usize = 3;

pub(crate) fn network(seed: u64) -> Result<Network> {
    network_for(&Basic {}.into(), seed)
}

/// A network for training with `method`.
pub(crate) fn network_for(method: &MethodConfig, seed: u64) -> Result<Network> {
    let small = PspNetConfig { layers: [1, 1, 1, 1], width: 4, ..PspNetConfig::default() };
    let branches = method.branches(CLASSES);
    let config = NetworkConfig { branches, ..NetworkConfig::new(small, CLASSES) };
    Ok(Network::new(&config, seed, &Device::Cpu)?)
}

pub(crate) fn trainer(config: &TrainingConfig) -> Result<Trainer> {
    Trainer::new(network_for(&config.method, 1)?, config, 7, 100)
}

pub(crate) fn config(method: impl Into<MethodConfig>) -> TrainingConfig {
    let augmentation = AugmentationConfig { crop: 24.into(), ..AugmentationConfig::default() };
    TrainingConfig { learning_rate: 0.001, augmentation, ..TrainingConfig::new(method, 1) }
}

/// The identity of a run with `spec`.
pub(crate) fn identity(spec: &str) -> Identity {
    let mut identity = Identity::default();
    identity.set("spec", &serde_json::Value::from(spec));
    identity
}

/// A run that trains and validates on `dataset`, with the identity of `spec` and no origin.
pub(crate) fn run<'a>(dataset: &'a Dataset, checkpoints: &'a Path, stop: &'a AtomicBool) -> Run<'a> {
    static KNOWN: LazyLock<(Identity, Origin)> = LazyLock::new(|| (identity("spec"), Origin::default()));
    let (identity, origin) = &*KNOWN;
    let on_bad_sample = OnBadSample::Fail;
    Run { train: dataset, validation: dataset, checkpoints, identity, origin, stop, on_bad_sample }
}

/// `count` images of 17 x 25 pixels, dark, green or bright by label, a few pixels unlabelled.
pub(crate) fn batch(seed: u64, count: usize) -> Batch {
    let (height, width) = (17, 25);
    let random = &mut stream(seed, "batch", [0; 3]);
    let mut images = vec![0.0; count * 3 * height * width];
    let mut labels = vec![0; count * height * width];
    for (pixel, label) in labels.iter_mut().enumerate() {
        let (sample, place) = (pixel / (height * width), pixel % (height * width));
        let class = (place % width * CLASSES / width + sample) % CLASSES;
        for channel in 0..3 {
            let value = [[0.1, 0.1, 0.1], [0.2, 0.8, 0.2], [0.9, 0.9, 0.9]][class][channel];
            images[(sample * 3 + channel) * height * width + place] = value + 0.1 * random.random::<f32>();
        }
        *label = if random.random::<f32>() < 0.05 { IGNORE_LABEL } else { class as u8 };
    }
    Batch { ids: (0..count).map(|sample| format!("sample{sample}")).collect(), images, labels, height, width }
}

/// Six generated scenes of 40 x 32 pixels.
pub(crate) fn dataset() -> Result<Dataset> {
    let manifest = Manifest::parse(SCENES, Path::new("scenes.yaml"))?;
    Ok(Dataset::open(&manifest, Path::new(""), "train")?)
}

const SCENES: &str = "
name: scenes
folder: scenes
layout:
  synthetic: {height: 32, width: 40, seed: 1}
classes:
  - {name: ground, colour: [0, 0, 0]}
  - {name: stripes, colour: [200, 80, 60]}
  - {name: steps, colour: [60, 110, 200]}
splits:
  train: {count: 6}
citation: none
licence: generated
obtain: nothing to obtain
";
