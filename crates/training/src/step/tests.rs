//! Tests of single steps.

use super::*;
use crate::{AdversarialDraw, Basic, Free, GradAlign, MethodConfig, TrainingConfig, fixture};
use robustseg_attacks::{AttackConfig, Bim, FastNewton, Fgsm, RandomFgsm};
use robustseg_models::NormStatistics;

pub(super) fn fgsm() -> MethodConfig {
    AttackConfig::new(Fgsm {}, 0.03).into()
}

pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[test]
fn basic_training_draws_nothing() -> Result<()> {
    let basic = fixture::trainer(&fixture::config(Basic {}))?;
    assert_eq!(basic.draw_attacked(4), [false; 4]);
    Ok(())
}

#[test]
fn only_marked_samples_are_replaced() -> Result<()> {
    for statistics in [NormStatistics::Running, NormStatistics::Batch] {
        let mut config = fixture::config(fgsm());
        config.crafting_statistics = Some(statistics);
        let mut trainer = fixture::trainer(&config)?;
        let batch = fixture::batch(1, 4);
        let (images, labels) = upload(&batch, &Device::Cpu)?;
        let mask = [false, true, false, true];
        let on_device = OnDevice { ids: &batch.ids, images: images.clone(), labels };
        let at = At { seed: 7, step: 0, update: 0, part: 0, learning_rate: 0.1 };
        let Crafted { images: replaced, attacked, epsilons } = trainer.craft(&on_device, &mask, at)?;
        assert_eq!(attacked.expect("two samples").places, [1, 3]);
        assert_eq!(epsilons, [0.03, 0.03]);
        for (index, attacked) in mask.into_iter().enumerate() {
            let (old, new) = (values(&images.get(index)?)?, values(&replaced.get(index)?)?);
            let change = old.iter().zip(&new).map(|(old, new)| (old - new).abs()).fold(0.0, f32::max);
            assert_eq!(change > 0.0, attacked);
            assert!(change <= 0.03 + 1e-6);
        }
    }
    Ok(())
}

/// Whether a method costs less than a gradient per pixel.
pub(super) fn is_affordable(method: &MethodConfig) -> bool {
    method.name() != "pixel_newton"
}

#[test]
fn every_method_trains_on_half_and_on_all_of_the_samples() -> Result<()> {
    let batch = fixture::batch(1, 2);
    for method in MethodConfig::all() {
        for (probability, steps) in [(0.5, 3), (1.0, 1)] {
            let mut config = fixture::config(method.clone());
            config.adversarial_probability = Some(probability);
            config.adversarial_draw = Some(AdversarialDraw::Exact);
            let mut trainer = fixture::trainer(&config)?;
            let steps = if is_affordable(&method) { steps } else { 1 };
            let attacked = if method.name() == "basic" { 0 } else { (2.0 * probability) as usize };
            for _ in 0..steps {
                let record = trainer.step(&batch)?;
                assert_eq!(record.attacked, attacked, "{}", method.name());
                assert!(record.loss > 0.0, "{}: {}", method.name(), record.loss);
            }
        }
    }
    Ok(())
}

#[test]
fn every_method_lowers_the_loss_of_a_batch() -> Result<()> {
    let batch = fixture::batch(1, 4);
    for method in MethodConfig::all().into_iter().filter(is_affordable) {
        let mut trainer = fixture::trainer(&fixture::config(method.clone()))?;
        let mut losses = Vec::new();
        for step in 0..12 {
            let record = trainer.step_with(&batch, &[true, false, true, false])?;
            assert_eq!(record.step, step);
            assert_eq!(record.images, 4);
            assert_eq!(record.attacked, if method.name() == "basic" { 0 } else { 2 });
            assert_eq!(record.epsilon_mean.is_some(), method.name() != "basic");
            assert_eq!(record.epsilons.len(), record.attacked);
            let parts = record.seconds;
            assert!(parts.forward > 0.0 && parts.backward > 0.0 && parts.optimiser > 0.0);
            losses.push(record.loss);
        }
        assert!(losses[11] < 0.8 * losses[0], "{}: {losses:?}", method.name());
        assert_eq!(trainer.timing().images, 48);
    }
    Ok(())
}

#[test]
fn grad_align_adds_its_penalty_to_the_gradient_of_the_loss() -> Result<()> {
    // Without weight decay, momentum or dropout an update is the rate times the gradient, which is
    // linear in lambda.
    let batch = fixture::batch(1, 2);
    let moved = |lambda: f64| -> Result<(Vec<f32>, Option<f64>)> {
        let mut config = fixture::config(GradAlign { epsilon: 0.03, lambda });
        (config.weight_decay, config.dropout, config.learning_rate) = (0.0, 0.0, 0.1);
        let mut trainer = fixture::trainer(&config)?;
        let name = "head.conv.weight";
        let before = values(trainer.network().parameters()[name].var.as_tensor())?;
        let penalty = trainer.step_with(&batch, &[true, true])?.penalty;
        let after = values(trainer.network().parameters()[name].var.as_tensor())?;
        Ok((before.iter().zip(after).map(|(before, after)| after - before).collect(), penalty))
    };
    let [(none, zero), (once, one), (twice, two)] = [moved(0.0)?, moved(1.0)?, moved(2.0)?];
    assert_eq!(zero, Some(0.0));
    let (one, two) = (one.expect("a penalty"), two.expect("a penalty"));
    assert!(one > 0.0 && (two - 2.0 * one).abs() < 1e-6, "{one} and {two}");
    let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let first: Vec<f32> = once.iter().zip(&none).map(|(once, none)| once - none).collect();
    let second: Vec<f32> = twice.iter().zip(&once).map(|(twice, once)| twice - once).collect();
    let apart: Vec<f32> = first.iter().zip(&second).map(|(first, second)| first - second).collect();
    assert!(norm(&first) > 1e-4 * norm(&none), "the penalty moves the weights");
    assert!(norm(&apart) < 1e-2 * norm(&first), "{} of {}", norm(&apart), norm(&first));
    Ok(())
}

#[test]
fn free_updates_several_times_with_a_perturbation_that_it_keeps() -> Result<()> {
    let batch = fixture::batch(1, 2);
    let epsilon = 0.03;
    let free = |replays| MethodConfig::from(Free { epsilon, replays });
    let weight =
        |trainer: &Trainer| values(trainer.network().parameters()["head.conv.weight"].var.as_tensor());
    let perturbation =
        |trainer: &Trainer| trainer.method.state().remove("perturbation").expect("a perturbation");
    let mut config = fixture::config(free(2));
    config.dropout = 0.0;
    let mut twice = fixture::trainer(&config)?;
    let record = twice.step_with(&batch, &[true, true])?;
    assert_eq!((record.attacked, twice.steps_done()), (2, 1));
    config.method = free(1);
    // The same as two steps with one replay, at the same rate.
    let mut once = fixture::trainer(&config)?;
    let first = once.step_with(&batch, &[true, true])?;
    let after_one = perturbation(&once);
    once.state.step = 0;
    let second = once.step_with(&batch, &[true, true])?;
    assert_eq!(weight(&once)?, weight(&twice)?);
    assert_eq!(record.loss, first.loss / 2.0 + second.loss / 2.0);
    // The first example is the image itself, so the first perturbation is a whole step. The second
    // stays in the ball.
    let after_two = values(&perturbation(&twice))?;
    assert_eq!(after_two, values(&perturbation(&once))?);
    let whole = values(&after_one)?.iter().filter(|value| value.abs() == epsilon as f32).count();
    assert!(whole as f64 > 0.9 * after_two.len() as f64, "{whole} of {}", after_two.len());
    assert!(after_two.iter().all(|value| value.abs() <= epsilon as f32));
    // With one sample drawn, only the first position changes.
    once.step_with(&batch, &[false, true])?;
    let after_three = perturbation(&once);
    assert_eq!(values(&after_three.get(1)?)?, after_two[after_two.len() / 2..]);
    assert_ne!(values(&after_three.get(0)?)?, after_two[..after_two.len() / 2]);
    Ok(())
}

#[test]
fn a_batch_of_which_nothing_is_attacked_trains_as_basic_does() -> Result<()> {
    let batch = fixture::batch(1, 2);
    let methods =
        [MethodConfig::from(Basic {}), AttackConfig::new(FastNewton::default(), f64::INFINITY).into()];
    let [basic, newton] = methods.map(|method| -> Result<_> {
        let mut trainer = fixture::trainer(&fixture::config(method.clone()))?;
        let record = trainer.step_with(&batch, &[false, false])?;
        assert_eq!((record.attacked, record.epsilon_mean), (0, None));
        Ok((record.loss, values(trainer.network().parameters()["classifier.weight"].var.as_tensor())?))
    });
    assert_eq!(basic?, newton?);
    Ok(())
}

#[test]
fn what_is_not_finite_stops_the_step_and_names_it() -> Result<()> {
    let batch = fixture::batch(1, 2);
    for (method, mask, quantity, samples) in [
        (MethodConfig::from(Basic {}), [false, false], "the loss", vec!["sample0", "sample1"]),
        (
            AttackConfig::new(Bim::default(), 0.03).into(),
            [false, true],
            "the attack's objective",
            vec!["sample1"],
        ),
        (
            AttackConfig::new(RandomFgsm {}, 0.03).into(),
            [false, false],
            "the loss",
            vec!["sample0", "sample1"],
        ),
    ] {
        let mut trainer = fixture::trainer(&fixture::config(method.clone()))?;
        trainer.step_with(&batch, &[false, false])?;
        let bias = trainer.network().parameters()["classifier.bias"].var.clone();
        robustseg_ops::assign(&bias, &Tensor::full(f32::NAN, fixture::CLASSES, &Device::Cpu)?)?;
        let weight = trainer.network().parameters()["classifier.weight"].var.clone();
        let before = values(weight.as_tensor())?;
        let statistics = |trainer: &Trainer| -> Result<Vec<Vec<f32>>> {
            trainer.running_statistics()?.iter().map(|(var, _)| values(var.as_tensor())).collect()
        };
        let statistics_before = statistics(&trainer)?;
        match trainer.step_with(&batch, &mask).unwrap_err() {
            Error::NotFinite { quantity: found, step: 1, samples: ids, value, learning_rate } => {
                assert!(learning_rate < 0.001, "the second step's");
                assert_eq!(
                    (found.as_str(), ids),
                    (quantity, samples.into_iter().map(String::from).collect())
                );
                assert!(value.is_nan());
            }
            other => panic!("{other}"),
        }
        assert_eq!(values(weight.as_tensor())?, before);
        assert_eq!(statistics(&trainer)?, statistics_before);
        assert_eq!(trainer.steps_done(), 1);
    }
    Ok(())
}

#[test]
fn batches_and_masks_that_do_not_fit_are_refused() -> Result<()> {
    let mut trainer = fixture::trainer(&fixture::config(fgsm()))?;
    let batch = fixture::batch(1, 2);
    assert!(matches!(trainer.step_with(&batch, &[true]), Err(Error::Mismatch { .. })));
    let mut short = fixture::batch(1, 2);
    short.labels.pop();
    assert!(matches!(trainer.step(&short), Err(Error::Mismatch { .. })));
    Ok(())
}

#[test]
fn computing_maps_again_changes_no_weight() -> Result<()> {
    for method in MethodConfig::all().into_iter().filter(is_affordable) {
        let trained = |recompute: bool| -> Result<Vec<Vec<f32>>> {
            let config = TrainingConfig { recompute, ..fixture::config(method.clone()) };
            let mut trainer = fixture::trainer(&config)?;
            for step in 0..2 {
                // More than half of the samples, then fewer.
                trainer.step_with(&fixture::batch(step, 3), &[step == 0, true, false])?;
            }
            trainer.network().parameters().values().map(|p| values(p.var.as_tensor())).collect()
        };
        assert!(trained(true)? == trained(false)?, "{}", method.name());
    }
    Ok(())
}
