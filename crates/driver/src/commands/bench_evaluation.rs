//! The time of evaluation: the part of `robustseg bench` that does not train.

use std::time::Instant;

use candle_core::Tensor;
use robustseg_attacks::{Case, Model};
use robustseg_datasets::Batch;
use robustseg_evaluation::{EvaluationConfig, Target};
use robustseg_models::{Network, NormStatistics};
use robustseg_ops::predict;
use robustseg_random::stream;
use tracing::info;

use super::median::median;

/// Medians in seconds.
pub(super) struct Evaluation {
    /// The forward pass of the batch, in evaluation mode.
    pub(super) forward: f64,
    /// The paper's FGSM and BIM curves per image, including the predictions at every point.
    pub(super) curves: f64,
}

/// Times forward passes of `batch` and the curves of its first `at_once` images. The curves take
/// long and are timed half as often. `rounds` gives the numbers of warm-up and timed rounds.
pub(super) fn measure(
    network: &Network,
    batch: &Batch,
    at_once: usize,
    (warmup, rounds): (usize, usize),
) -> anyhow::Result<Evaluation> {
    let (count, height, width) = (batch.ids.len(), batch.height, batch.width);
    let device = network.device();
    let images = Tensor::from_slice(&batch.images, (count, 3, height, width), device)?;
    let labels = Tensor::from_slice(&batch.labels, (count, height, width), device)?;
    let target = Target::new(network, NormStatistics::Running);
    let forward = seconds(warmup, rounds, || {
        target.logits(&images)?;
        Ok(device.synchronize()?)
    })?;
    let [image, label] = [&images, &labels].map(|tensor| tensor.narrow(0, 0, at_once)?.contiguous());
    let (image, label) = (image?, label?);
    // In its first round, a GPU selects the algorithms for convolutions of this size.
    let before = usize::from(!device.is_cpu());
    let curves = seconds(before, rounds.div_ceil(2), || curves(&target, &image, &label))?;
    Ok(Evaluation { forward, curves: curves / at_once as f64 })
}

/// What an evaluation does with images under its default curves. The clean images are the point at
/// epsilon 0.
fn curves(target: &Target<'_>, image: &Tensor, label: &Tensor) -> anyhow::Result<()> {
    let (_, height, width) = label.dims3()?;
    let case = Case::new(target, image, label)?;
    let random = &mut stream(0, "bench", [1, 0, 0]);
    let mut images = vec![image.clone()];
    for curve in EvaluationConfig::default().curves {
        let above_zero: Vec<f64> =
            curve.epsilons().iter().copied().filter(|epsilon| *epsilon > 0.0).collect();
        let examples = curve.attack().examples(&case, &above_zero, random)?;
        images.extend(examples.into_iter().flatten().map(|example| example.image));
    }
    for image in images {
        predict(&target.logits(&image)?, height, width, target.alignment())?
            .to_device(&candle_core::Device::Cpu)?;
    }
    Ok(())
}

fn seconds(warmup: usize, rounds: usize, work: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for round in 0..warmup + rounds {
        let start = Instant::now();
        work()?;
        if round >= warmup {
            times.push(start.elapsed().as_secs_f64());
            info!("evaluation, round {} of {rounds}: {:.2} s", times.len(), times[times.len() - 1]);
        }
    }
    Ok(median(times.into_iter()))
}
