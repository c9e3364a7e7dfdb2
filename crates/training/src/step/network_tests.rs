//! Tests of single steps with each network.

use super::tests::{fgsm, is_affordable, values};
use super::*;
use crate::{Basic, MethodConfig, TrainingConfig, fixture};
use robustseg_models::{Architecture, FcnConfig, Network, NetworkConfig, Part};

/// [`fixture::batch`] at twice its size, 34 x 50 pixels, because UPerNet reads no smaller images
/// than 32 x 32.
fn batch(seed: u64, count: usize) -> Batch {
    let Batch { ids, images, labels, height, width } = fixture::batch(seed, count);
    Batch {
        ids,
        images: doubled(&images, width),
        labels: doubled(&labels, width),
        height: 2 * height,
        width: 2 * width,
    }
}

/// Maps with rows of `width` pixels, each pixel as a square of four.
fn doubled<T: Copy>(maps: &[T], width: usize) -> Vec<T> {
    let row = |row: &[T]| row.iter().flat_map(|pixel| [*pixel; 2]).collect::<Vec<_>>().repeat(2);
    maps.chunks(width).flat_map(row).collect()
}

/// A training of `architecture`.
fn trainer(architecture: Architecture, method: &MethodConfig) -> Result<Trainer> {
    let branches = method.branches(fixture::CLASSES);
    let config = NetworkConfig { branches, ..NetworkConfig::new(architecture, fixture::CLASSES) };
    let network = Network::new(&config, 1, &Device::Cpu)?;
    let config = TrainingConfig { weight_decay: 0.0, ..fixture::config(method.clone()) };
    Trainer::new(network, &config, 7, 100)
}

/// The trainable variables of the backbone.
fn backbone(trainer: &Trainer) -> Result<Vec<Vec<f32>>> {
    let all = trainer.network.parameters().values();
    let backbone = all.filter(|parameter| parameter.part == Part::Backbone && parameter.is_trainable());
    backbone.map(|parameter| values(&parameter.var)).collect()
}

#[test]
fn every_method_trains_every_network() -> Result<()> {
    let batch = batch(1, 2);
    for architecture in Architecture::small() {
        for method in MethodConfig::all().into_iter().filter(is_affordable) {
            let mut trainer = trainer(architecture.clone(), &method)?;
            let before = backbone(&trainer)?;
            let record = trainer.step_with(&batch, &[true, false])?;
            let names = (architecture.name(), method.name());
            assert!(record.loss > 0.0, "{names:?}: {}", record.loss);
            // Without weight decay, gradients alone move weights.
            let moved = backbone(&trainer)?.iter().zip(&before).filter(|(new, old)| new != old).count();
            assert!(2 * moved > before.len(), "{names:?}: {moved} of {} variables moved", before.len());
        }
    }
    Ok(())
}

#[test]
fn every_network_lowers_the_loss_of_a_batch() -> Result<()> {
    let batch = batch(1, 4);
    for architecture in Architecture::small() {
        let mut trainer = trainer(architecture.clone(), &fgsm())?;
        let mut losses = Vec::new();
        for _ in 0..40 {
            losses.push(trainer.step_with(&batch, &[true, false, true, false])?.loss);
        }
        assert!(losses[39] < 0.8 * losses[0], "{}: {losses:?}", architecture.name());
    }
    Ok(())
}

/// A training of an FCN whose auxiliary loss has `weight`.
fn supervised(method: &MethodConfig, weight: f64) -> Result<Trainer> {
    let small = FcnConfig { layers: [1; 4], width: 4, auxiliary_loss: weight, ..FcnConfig::default() };
    trainer(small.into(), method)
}

#[test]
fn every_method_trains_an_auxiliary_head_without_knowing_of_it() -> Result<()> {
    let batch = fixture::batch(1, 2);
    for method in MethodConfig::all().into_iter().filter(is_affordable) {
        let mut trainer = supervised(&method, 0.4)?;
        let bias = |trainer: &Trainer, head: &str| {
            values(&trainer.network.parameters()[&format!("{head}classifier.bias")].var)
        };
        trainer.step_with(&batch, &[true, false])?;
        for head in ["", "supervision."] {
            assert_ne!(bias(&trainer, head)?, [0.0; 3], "{}: {head}", method.name());
        }
    }
    Ok(())
}

#[test]
fn the_auxiliary_loss_counts_by_its_weight_and_not_in_the_recorded_loss() -> Result<()> {
    let batch = fixture::batch(1, 2);
    let mut found = Vec::new();
    for weight in [0.25, 0.5] {
        let mut trainer = supervised(&Basic {}.into(), weight)?;
        let record = trainer.step(&batch)?;
        assert_eq!(record.penalty, None);
        let parameters = trainer.network.parameters();
        found.push((record.loss, values(&parameters["supervision.classifier.bias"].var)?));
    }
    let [(loss, half), (same, whole)] = &found[..] else { unreachable!() };
    assert_eq!(loss, same);
    for (half, whole) in half.iter().zip(whole) {
        assert!((2.0 * half - whole).abs() < 1e-4 * whole.abs(), "{half} {whole}");
    }
    Ok(())
}
