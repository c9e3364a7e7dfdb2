//! Resumed trainings with every pair of knobs.

use std::collections::BTreeSet;

use candle_core::Device;
use robustseg_datasets::JitterConfig;

use super::tests::{Bench, random_fgsm, weights};
use super::*;
use crate::{
    AdamW, AverageConfig, ClassWeights, Constant, Cosine, CrossEntropy, Dice, Free, LossConfig, Lovasz, Ohem,
    OptimiserConfig, ScheduleConfig, Sgd, Step, fixture,
};

fn losses() -> [LossConfig; 5] {
    let class_weights = ClassWeights::InverseFrequency;
    let balanced = CrossEntropy { class_weights: class_weights.clone(), ..CrossEntropy::default() };
    [
        LossConfig::default(),
        balanced.into(),
        Ohem { class_weights, ..Ohem::default() }.into(),
        LossConfig::from(CrossEntropy::default()).plus(Dice { weight: 0.5, ..Dice::default() }),
        Lovasz::default().into(),
    ]
}

fn schedules() -> [ScheduleConfig; 4] {
    let step = Step { at: vec![0.5], factor: 0.5 };
    [ScheduleConfig::default(), Cosine { end: 0.1 }.into(), step.into(), Constant {}.into()]
}

fn optimisers() -> [OptimiserConfig; 3] {
    [OptimiserConfig::default(), Sgd { nesterov: true }.into(), AdamW::default().into()]
}

/// With `on` parts more than one, all changes of colours, and crops that one class seldom fills.
fn colours_and_classes(on: usize) -> (Option<JitterConfig>, Option<f64>) {
    let jitter = JitterConfig { brightness: 0.2, contrast: 0.3, saturation: 0.4, hue: 0.1 };
    if on == 0 { (None, None) } else { (Some(jitter), Some(0.4)) }
}

/// Choices of a loss, a schedule, an optimiser, and of accumulation, clipping and average with
/// warm-up: every pair of two choices occurs.
fn rows() -> impl Iterator<Item = [usize; 6]> {
    let row = |(loss, schedule): (usize, usize)| {
        let sum = loss + schedule;
        [loss, schedule, sum % 3, sum % 2, (loss + schedule / 2) % 2, (loss / 2 + schedule) % 2]
    };
    (0..5).flat_map(|loss| (0..4).map(move |schedule| (loss, schedule))).map(row)
}

#[test]
fn every_pair_of_choices_occurs() {
    let sizes = [5, 4, 3, 2, 2, 2];
    for (first, second) in (0..6).flat_map(|first| (0..first).map(move |second| (first, second))) {
        let pairs: BTreeSet<_> = rows().map(|row| (row[first], row[second])).collect();
        assert_eq!(pairs.len(), sizes[first] * sizes[second], "{first} {second}");
    }
}

#[test]
fn a_resumed_training_with_every_pair_of_knobs_ends_as_one_that_was_not_interrupted() -> Result<()> {
    for [loss, schedule, optimiser, parts, clipped, averaged] in rows() {
        let bench = || -> Result<Bench> {
            let mut bench = Bench::with(random_fgsm())?;
            let config = &mut bench.config;
            (config.epochs, config.validation_limit) = (1, Some(1));
            (config.augmentation.jitter, config.augmentation.class_share) = colours_and_classes(parts);
            (config.loss, config.schedule) = (losses()[loss].clone(), schedules()[schedule].clone());
            (config.optimiser, config.accumulate) = (optimisers()[optimiser].clone(), parts + 1);
            config.clip_gradient = (clipped == 1).then_some(0.5);
            if averaged == 1 {
                config.average = Some(AverageConfig { decay: 0.6 });
                config.warm_up_epochs = 0.7;
            }
            Ok(bench)
        };
        let (straight, broken) = (bench()?, bench()?);
        let mut expected = straight.trainer()?;
        straight.run(&mut expected, None)?;
        let mut first = broken.trainer()?;
        broken.run(&mut first, Some(2))?;
        let mut second = broken.trainer()?;
        assert!(second.restore(broken.folder.path(), &fixture::identity("spec"))?);
        assert_eq!(second.steps_done(), 2);
        broken.run(&mut second, None)?;
        let row = (&broken.config.loss, &broken.config.schedule, &broken.config.optimiser, parts, clipped);
        assert!(weights(&second)? == weights(&expected)?, "{row:?}");
        assert!(weights(&first)? != weights(&second)?, "{row:?}");
        for name in ["last.safetensors", "average.safetensors"] {
            let read = |bench: &Bench| std::fs::read(bench.folder.path().join(name)).ok();
            assert!(read(&straight) == read(&broken), "{name} {row:?}");
            assert_eq!(read(&broken).is_some(), name == "last.safetensors" || averaged == 1);
        }
    }
    Ok(())
}

#[test]
fn a_resumed_training_with_replays_and_an_average_ends_as_one_that_was_not_interrupted() -> Result<()> {
    for optimiser in optimisers() {
        let bench = || -> Result<Bench> {
            let mut bench = Bench::with(Free { replays: 2, ..Free::default() }.into())?;
            bench.config.optimiser = optimiser.clone();
            bench.config.average = Some(AverageConfig { decay: 0.6 });
            bench.config.warm_up_epochs = 1.5;
            Ok(bench)
        };
        let (straight, broken) = (bench()?, bench()?);
        let mut expected = straight.trainer()?;
        assert!((expected.learning_rate() - straight.config.learning_rate / 5.0).abs() < 1e-12);
        straight.run(&mut expected, None)?;
        broken.run(&mut broken.trainer()?, Some(3))?;
        let mut second = broken.trainer()?;
        assert!(second.restore(broken.folder.path(), &fixture::identity("spec"))?);
        broken.run(&mut second, None)?;
        assert_eq!(weights(&second)?, weights(&expected)?);
        for name in ["last.safetensors", "best.safetensors", "average.safetensors"] {
            let read = |bench: &Bench| std::fs::read(bench.folder.path().join(name)).expect(name);
            assert!(read(&straight) == read(&broken), "{name}");
        }
        let average = Network::load(&broken.folder.path().join("average.safetensors"), &Device::Cpu)?;
        assert_ne!(average.weights_sha256()?, second.network().weights_sha256()?);
        assert_eq!(average.weights_sha256()?, second.averaged().expect("an average").weights_sha256()?);
    }
    Ok(())
}
