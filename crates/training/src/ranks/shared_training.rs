//! Trainings by ranks that are threads, next to the same trainings by one process.

use std::sync::Arc;
use std::thread;

use candle_core::Device;
use robustseg_models::{FcnConfig, Network, NetworkConfig, NormStatistics};
use robustseg_ranks::{Ranks, Solo, threads};

use crate::fixture::{self, CLASSES, batch};
use crate::{AdversarialDraw, AverageConfig, Basic, MethodConfig, PgdAt, Trainer, TrainingConfig};

/// Errors of several kinds, which only have to be shown.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What `work` gives on each of `size` ranks.
fn on_each<T: Send + 'static>(size: usize, work: impl Fn(Ranks) -> T + Clone + Send + 'static) -> Vec<T> {
    let ranks = if size == 1 { vec![Arc::new(Solo) as Ranks] } else { threads(size) };
    let start = |rank| {
        let work = work.clone();
        thread::spawn(move || work(rank))
    };
    let running: Vec<_> = ranks.into_iter().map(start).collect();
    running.into_iter().map(|rank| rank.join().expect("a rank")).collect()
}

/// The training of a tiny network together with `ranks`.
fn distributed(config: &TrainingConfig, ranks: Ranks) -> Result<Trainer> {
    // Without pooling to one pixel: a batch norm over four numbers has next to no correct digits.
    let small = FcnConfig { layers: [1; 4], width: 4, auxiliary_loss: 0.4, ..FcnConfig::default() };
    let branches = config.method.branches(CLASSES);
    let network = NetworkConfig { branches, ..NetworkConfig::new(small, CLASSES) };
    let mut trainer = Trainer::new(Network::new(&network, 1, &Device::Cpu)?, config, 7, 100)?;
    trainer.distribute(ranks)?;
    Ok(trainer)
}

/// Losses and final weights.
type Trained = (Vec<f32>, Vec<f32>);

/// `steps` steps of `config` on each of `size` ranks, on batches of 4. Attacks from random starts on
/// batch statistics bring two of the first three batches of the generator within rounding of a jump of
/// the network's gradient, and the examples of four ranks then differ in many pixels. So the batches
/// begin with the fourth.
fn trained(config: &TrainingConfig, size: usize, steps: u64) -> Vec<Trained> {
    let config = config.clone();
    on_each(size, move |ranks| -> Result<Trained> {
        let mut trainer = distributed(&config, ranks)?;
        let step = |step| Ok(trainer.step(&batch(step + 3, 4))?.loss);
        let losses = (0..steps).map(step).collect::<Result<_>>()?;
        let mut weights = Vec::new();
        for parameter in trainer.network().parameters().values() {
            weights.extend(parameter.var.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok((losses, weights))
    })
    .into_iter()
    .map(|trained| trained.expect("a training"))
    .collect()
}

/// The largest relative difference.
fn furthest(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1e-6)).fold(0.0, f32::max)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = &mut a.iter().zip(b).map(|(a, b)| f64::from(a - b));
    norm(difference) / norm(&mut b.iter().map(|b| f64::from(*b)))
}

fn config(method: impl Into<MethodConfig>) -> TrainingConfig {
    TrainingConfig { batch_size: 4, ..fixture::config(method) }
}

#[test]
fn every_method_learns_the_same_on_any_number_of_ranks() {
    for method in MethodConfig::all() {
        let name = method.name().to_owned();
        let config = config(method);
        let [(losses, weights)] = &trained(&config, 1, 3)[..] else { panic!("one process") };
        for size in [2, 4] {
            let all = trained(&config, size, 3);
            assert!(all.iter().all(|one| *one == all[0]), "{name}: {size} ranks have drifted apart");
            let (loss, weight) = (furthest(&all[0].0, losses), distance(&all[0].1, weights));
            assert!(loss < 1e-5 && weight < 1e-5, "{name}: {size} ranks differ by {loss} and {weight}");
        }
    }
}

#[test]
fn parts_batch_statistics_uneven_draws_clipping_and_averages_stay_the_same() {
    let plain = config(PgdAt::default());
    let variants = [
        TrainingConfig { accumulate: 2, ..plain.clone() },
        TrainingConfig { crafting_statistics: Some(NormStatistics::Batch), ..plain.clone() },
        // Mostly fewer attacked samples than ranks.
        TrainingConfig {
            adversarial_probability: Some(0.3),
            adversarial_draw: Some(AdversarialDraw::Sample),
            crafting_statistics: Some(NormStatistics::Batch),
            ..plain.clone()
        },
        TrainingConfig { clip_gradient: Some(0.1), average: Some(AverageConfig::default()), ..plain },
    ];
    for config in variants {
        let [(losses, weights)] = &trained(&config, 1, 3)[..] else { panic!("one process") };
        for (loss, weight) in
            trained(&config, 2, 3).iter().map(|(l, w)| (furthest(l, losses), distance(w, weights)))
        {
            assert!(loss < 1e-5 && weight < 1e-5, "{config:?}: {loss} and {weight}");
        }
    }
}

#[test]
fn a_number_of_ranks_that_does_not_divide_the_batch_is_refused() {
    let parts = TrainingConfig { accumulate: 2, ..config(Basic {}) };
    for (config, size) in [(config(Basic {}), 3), (parts, 4)] {
        let refused = on_each(size, move |ranks| distributed(&config, ranks).map(drop));
        for refused in refused {
            let error = refused.expect_err("4 samples").to_string();
            assert!(error.contains("batch_size") && error.contains("processes"), "{error}");
        }
    }
}
