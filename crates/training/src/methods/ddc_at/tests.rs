//! The losses and the division of DDC-AT.

use super::*;
use crate::{Basic, MethodConfig, Trainer, fixture};
use candle_core::{Device, Var};
use rand::RngExt;
use robustseg_attacks::AttackConfig;
use robustseg_models::Mode;
use robustseg_ops::upsample_bilinear;
use robustseg_random::stream;

const SMALL: (usize, usize) = (3, 4);
const FULL: (usize, usize) = (9, 13);

/// Logits of two images in three classes, and labels with a few missing.
fn scene(seed: u64) -> Result<([Var; 3], Tensor, Tensor)> {
    let random = &mut stream(seed, "divided", [0; 3]);
    let mut logits = |classes: usize| -> Result<Var> {
        let (h, w) = SMALL;
        let values = (0..2 * h * w * classes).map(|_| 4.0 * random.random::<f32>() - 2.0).collect();
        Ok(Var::from_tensor(&Tensor::from_vec::<_, f32>(values, (2, h, w, classes), &Device::Cpu)?)?)
    };
    let logits = [logits(3)?, logits(3)?, logits(2)?];
    let (h, w) = FULL;
    let mut map = |classes: u8, missing: f32| -> Result<Tensor> {
        let value = |random: &mut dyn Rng| {
            if random.random::<f32>() < missing { IGNORE_LABEL } else { random.random_range(0..classes) }
        };
        let values = (0..2 * h * w).map(|_| value(random)).collect();
        Ok(Tensor::from_vec::<_, u8>(values, (2, h, w), &Device::Cpu)?)
    };
    Ok((logits, map(3, 0.2)?, map(2, 0.0)?))
}

fn losses(logits: &[Var; 3], labels: &Tensor, division: &Tensor) -> Result<DividedLoss> {
    let [main, auxiliary, mask] = logits.each_ref().map(|var| var.as_tensor().clone());
    DividedLoss::of(&BranchLogits { main, auxiliary, mask }, labels, division, Alignment::HalfPixel)
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.to_scalar::<f32>()?))
}

/// The negative log-softmax at every pixel, from logits at full size: [image][pixel][class].
fn surprise(logits: &Var) -> Result<Vec<Vec<f64>>> {
    let full = upsample_bilinear(logits, FULL.0, FULL.1, Alignment::HalfPixel)?;
    let pixels: Vec<Vec<f32>> = full.flatten_to(2)?.to_vec2()?;
    let minus_log = |pixel: &Vec<f32>| {
        let sum: f64 = pixel.iter().map(|z| f64::from(*z).exp()).sum();
        pixel.iter().map(|z| sum.ln() - f64::from(*z)).collect()
    };
    Ok(pixels.iter().map(minus_log).collect())
}

#[test]
fn the_losses_are_those_of_the_merged_branches() -> Result<()> {
    for seed in 0..4 {
        let (logits, labels, division) = scene(seed)?;
        let [main, auxiliary, mask] = logits.each_ref().map(surprise);
        let (main, auxiliary, mask) = (main?, auxiliary?, mask?);
        let flat = |map: &Tensor| -> Result<Vec<u8>> { Ok(map.flatten_all()?.to_vec1()?) };
        let (mut pixels, mut labelled, mut masked) = (0.0, 0.0, 0.0);
        let (labels_flat, division_flat) = (flat(&labels)?, flat(&division)?);
        for (place, (label, part)) in labels_flat.iter().zip(&division_flat).enumerate() {
            masked += mask[place][usize::from(*part)];
            if *label != IGNORE_LABEL {
                let branch = if mask[place][1] < mask[place][0] { &auxiliary } else { &main };
                pixels += branch[place][usize::from(*label)];
                labelled += 1.0;
            }
        }
        let found = losses(&logits, &labels, &division)?;
        assert!((scalar(&found.pixels)? - pixels / labelled).abs() < 1e-5, "{pixels} of {labelled}");
        assert!((scalar(&found.mask)? - masked / labels_flat.len() as f64).abs() < 1e-5, "{masked}");
    }
    Ok(())
}

#[test]
fn gradients_are_numerical_derivatives() -> Result<()> {
    // Each loss with respect to its own logits: the choice of a pixel's branch may change within a
    // step and has no gradient.
    let (logits, labels, division) = scene(5)?;
    let loss = |branch: usize| -> Result<Tensor> {
        let DividedLoss { pixels, mask } = losses(&logits, &labels, &division)?;
        Ok(if branch == 2 { mask } else { pixels })
    };
    assert!(loss(0)?.backward()?.get(&logits[2]).is_none());
    for (branch, var) in logits.iter().enumerate() {
        let gradients = loss(branch)?.backward()?;
        let gradient: Vec<f32> = gradients.get(var).expect("a gradient").flatten_all()?.to_vec1()?;
        let before: Vec<f32> = var.flatten_all()?.to_vec1()?;
        let mut largest = 0.0_f64;
        for (index, found) in gradient.into_iter().enumerate() {
            let at = |change: f32| -> Result<f64> {
                let mut values = before.clone();
                values[index] += change;
                robustseg_ops::assign(var, &Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
                scalar(&loss(branch)?)
            };
            let expected = (at(0.02)? - at(-0.02)?) / 0.04;
            at(0.0)?;
            let found = f64::from(found);
            assert!((found - expected).abs() < 2e-5 + 1e-3 * expected.abs(), "{found}, not {expected}");
            largest = largest.max(found.abs());
        }
        assert!(largest > 1e-3, "{largest}");
    }
    Ok(())
}

fn ddc_at() -> MethodConfig {
    DdcAt::default().into()
}

fn tensors(batch: &robustseg_datasets::Batch) -> Result<(Tensor, Tensor)> {
    let (n, h, w) = (batch.ids.len(), batch.height, batch.width);
    let images = Tensor::from_slice(&batch.images, (n, 3, h, w), &Device::Cpu)?;
    Ok((images, Tensor::from_slice(&batch.labels, (n, h, w), &Device::Cpu)?))
}

#[test]
fn what_the_attack_changes_is_for_the_auxiliary_branch() -> Result<()> {
    let mut trainer = fixture::trainer(&fixture::config(ddc_at()))?;
    let batch = fixture::batch(1, 3);
    for _ in 0..6 {
        trainer.step_with(&batch, &[true, false, false])?; // something to change
    }
    let network = trainer.network();
    let (images, labels) = tensors(&batch)?;
    let method = DdcAt(SignSteps { epsilon: 0.1, alpha: 0.05, steps: 3 });
    let random = &mut stream(0, "unused", [0; 3]);
    let found = method.divide(network, &images, &labels, NormStatistics::Running, random)?;
    let target = Target::new(network, NormStatistics::Running);
    let attacked = method.examples(&Case::new(&target, &images, &labels)?, random)?.image;
    // From logits at full size, pixel by pixel.
    let largest = |images: &Tensor| -> Result<Vec<u32>> {
        let logits = BranchLogits::try_from(network.forward_branches(images, &mut Mode::Evaluation)?)?;
        let argmax = |logits: &Tensor| -> Result<Vec<u32>> {
            let full = upsample_bilinear(logits, batch.height, batch.width, network.alignment())?;
            Ok(full.argmax(3)?.flatten_all()?.to_vec1()?)
        };
        let [main, auxiliary] = [argmax(&logits.main)?, argmax(&logits.auxiliary)?];
        let mask = argmax(&logits.mask)?;
        Ok((0..mask.len()).map(|j| if mask[j] == 1 { auxiliary[j] } else { main[j] }).collect())
    };
    let (before, after) = (largest(&images)?, largest(&attacked)?);
    let expected: Vec<u8> = before.iter().zip(&after).map(|(a, b)| u8::from(a != b)).collect();
    assert_eq!(found.flatten_all()?.to_vec1::<u8>()?, expected);
    let share = expected.iter().map(|part| f64::from(*part)).sum::<f64>() / expected.len() as f64;
    assert!((0.01..0.99).contains(&share), "{share}");
    Ok(())
}

/// Sets the bias of the mask branch's classifier.
fn send(trainer: &Trainer, bias: [f32; 2]) -> Result<()> {
    let bias = Tensor::new(&bias, &Device::Cpu)?;
    Ok(robustseg_ops::assign(&trainer.network().parameters()["mask.classifier.bias"].var, &bias)?)
}

#[test]
fn without_division_the_main_branch_trains_as_under_bim() -> Result<()> {
    let batch = fixture::batch(1, 2);
    let mut bim = fixture::trainer(&fixture::config(AttackConfig::new(Bim::default(), 0.03)))?;
    let mut divided = fixture::trainer(&fixture::config(ddc_at()))?;
    send(&divided, [100.0, -100.0])?;
    let records = [&mut bim, &mut divided].map(|trainer| trainer.step_with(&batch, &[true, true]));
    let [bim_record, record] = records;
    let record = record?;
    assert_eq!(record.loss, bim_record?.loss);
    assert!(record.penalty.is_some_and(|mask| mask < 1e-6), "an adversarial image is for the main branch");
    let values = |trainer: &Trainer, name: &str| -> Result<Vec<f32>> {
        Ok(trainer.network().parameters()[name].var.flatten_all()?.to_vec1()?)
    };
    for name in ["classifier.weight", "head.conv.weight", "backbone.stem.conv.weight"] {
        for (bim, divided) in values(&bim, name)?.into_iter().zip(values(&divided, name)?) {
            assert!((bim - divided).abs() < 1e-6, "{name}: {bim} and {divided}");
        }
    }
    // If all clean pixels go to the auxiliary branch, the main classifier only decays.
    send(&divided, [-100.0, 100.0])?;
    let name = "classifier.bias";
    let velocity = divided.optimiser.state()[&format!("velocity.{name}")].clone();
    robustseg_ops::assign(&velocity, &velocity.zeros_like()?.detach())?;
    let before = values(&divided, name)?;
    let record = divided.step_with(&batch, &[false, false])?;
    for (before, after) in before.into_iter().zip(values(&divided, name)?) {
        assert!((before - after).abs() < 1e-5, "{before} became {after}");
    }
    assert!(record.penalty.is_some_and(|mask| mask > 10.0), "hardly all of it changes under BIM");
    Ok(())
}

#[test]
fn the_method_and_its_network_go_together() -> Result<()> {
    let new = |network, method| Trainer::new(network, &fixture::config(method), 7, 1).err();
    let message = |error: Option<crate::Error>| error.expect("refused").to_string();
    let found = message(new(fixture::network(1)?, ddc_at()));
    assert!(found.contains("network for ddc_at: expected a network with the branches auxiliary (3 channels), mask (2 channels)"), "{found}");
    let found = message(new(fixture::network_for(&ddc_at(), 1)?, Basic {}.into()));
    assert!(found.contains("expected a network without branches"), "{found}");
    Ok(())
}
