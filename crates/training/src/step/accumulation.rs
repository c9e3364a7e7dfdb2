//! Batches in parts.

use robustseg_models::{Mode, NormStatistics};

use super::tests::{fgsm, values};
use super::*;
use crate::{AdversarialDraw, Basic, MethodConfig, NoisyNewton, Sora, fixture};

/// The weights after a step on `batch` in `parts`.
fn after(method: MethodConfig, batch: &Batch, parts: usize) -> Result<(StepRecord, Vec<f32>)> {
    let mut config = fixture::config(method);
    (config.batch_size, config.accumulate, config.dropout, config.learning_rate) = (4, parts, 0.0, 0.1);
    config.adversarial_draw = Some(AdversarialDraw::Exact);
    let mut trainer = fixture::trainer(&config)?;
    let record = trainer.step_with(batch, &[true, false, true, false])?;
    let parameters = trainer.network().parameters().values().filter(|parameter| parameter.is_trainable());
    let all = parameters.map(|parameter| values(parameter.var.as_tensor())).collect::<Result<Vec<_>>>()?;
    Ok((record, all.concat()))
}

/// The same two samples twice, so that batch norm has the same statistics in halves and whole. In the
/// second half `removed` pixels have lost their labels.
fn twice(removed: usize) -> Batch {
    let two = fixture::batch(1, 2);
    let mut labels = [two.labels.clone(), two.labels].concat();
    let half = labels.len() / 2;
    labels[half..half + removed].fill(IGNORE_LABEL);
    let ids = ["a", "b", "c", "d"].map(str::to_owned).into();
    Batch { ids, images: two.images.repeat(2), labels, height: two.height, width: two.width }
}

#[test]
fn halves_learn_as_the_whole_batch_up_to_batch_norm() -> Result<()> {
    for removed in [0, 550] {
        let batch = twice(removed);
        let (one, whole) = after(Basic {}.into(), &batch, 1)?;
        let (two, halves) = after(Basic {}.into(), &batch, 2)?;
        assert!((one.loss - two.loss).abs() < 1e-5, "{} {}", one.loss, two.loss);
        let largest = whole.iter().zip(&halves).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-4, "{largest}");
    }
    Ok(())
}

#[test]
fn the_samples_to_attack_are_drawn_for_the_whole_batch() -> Result<()> {
    let [whole, halves] = [1, 2].map(|parts| after(fgsm(), &twice(0), parts));
    let (whole, halves) = (whole?.0, halves?.0);
    assert_eq!((whole.attacked, whole.epsilons), (halves.attacked, halves.epsilons));
    Ok(())
}

#[test]
fn parts_of_unlike_samples_differ_by_batch_norm_alone() -> Result<()> {
    let batch = fixture::batch(5, 4);
    let [whole, halves] = [1, 2].map(|parts| after(Basic {}.into(), &batch, parts));
    assert_ne!(whole?.1, halves?.1);
    Ok(())
}

#[test]
fn shares_are_those_of_the_labelled_pixels() -> Result<()> {
    let batch = twice(550);
    let (images, labels) = upload(&batch, &Device::Cpu)?;
    let on_device = OnDevice { ids: &batch.ids, images, labels };
    let labelled = |labels: &[u8]| labels.iter().filter(|label| **label != IGNORE_LABEL).count() as f64;
    let (first, all) = (labelled(&batch.labels[..batch.labels.len() / 2]), labelled(&batch.labels));
    let shares = on_device.shares(2)?;
    assert!((shares[0] - first / all).abs() < 1e-12 && (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(on_device.shares(1)?, [1.0]);
    Ok(())
}

/// A pixel of the last sample that is not a number makes the second half of the batch fail.
#[test]
fn a_step_whose_second_part_is_not_finite_changes_nothing() -> Result<()> {
    for method in [Sora::default().into(), NoisyNewton::default().into(), fgsm()] {
        let mut config = fixture::config(method);
        (config.batch_size, config.accumulate, config.dropout) = (4, 2, 0.0);
        config.adversarial_probability = Some(1.0);
        let batch = fixture::batch(3, 4);
        let mut spoilt = batch.clone();
        *spoilt.images.last_mut().expect("pixels") = f32::NAN;
        let mut plain = fixture::trainer(&config)?;
        let mut disturbed = fixture::trainer(&config)?;
        for trainer in [&mut plain, &mut disturbed] {
            trainer.step(&batch)?;
        }
        let state = |trainer: &Trainer| -> Result<Vec<(String, Vec<f32>)>> {
            let of = |(name, tensor): (String, Tensor)| Ok((name, values(&tensor)?));
            trainer.method.state().into_iter().map(of).collect()
        };
        let refused = disturbed.step(&spoilt);
        assert!(refused.is_err(), "{}", config.method.name());
        assert_eq!(state(&disturbed)?, state(&plain)?);
        for trainer in [&mut plain, &mut disturbed] {
            trainer.step(&batch)?;
        }
        assert_eq!(state(&disturbed)?, state(&plain)?);
        for (name, parameter) in plain.network().parameters() {
            let other = &disturbed.network().parameters()[name];
            assert_eq!(values(other.var.as_tensor())?, values(parameter.var.as_tensor())?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn every_part_is_crafted_on_the_running_statistics_from_before_the_step() -> Result<()> {
    let mut config = fixture::config(fgsm());
    (config.batch_size, config.accumulate, config.dropout) = (4, 2, 0.0);
    config.crafting_statistics = Some(NormStatistics::Running);
    let batch = twice(0);
    let crafted = |trainer: &mut Trainer, before: Option<&Statistics>| -> Result<Vec<f32>> {
        let (images, labels) = upload(&batch, &Device::Cpu)?;
        let on_device = OnDevice { ids: &batch.ids, images, labels };
        let at = At { seed: 7, step: 0, update: 0, part: 1, learning_rate: 0.1 };
        let crafted = trainer.craft_on(&on_device.part(2, 2)?, &[true; 2], before, at)?;
        values(&crafted.images)
    };
    let mut trainer = fixture::trainer(&config)?;
    let expected = crafted(&mut trainer, None)?;
    let before = trainer.running_statistics()?;
    trainer.network().forward(
        &upload(&fixture::batch(9, 4), &Device::Cpu)?.0,
        &mut Mode::Training { dropout: 0.0, random: &mut robustseg_random::stream(0, "test", [0; 3]) },
    )?;
    let after = trainer.running_statistics()?;
    assert_ne!(crafted(&mut trainer, None)?, expected, "the statistics have moved");
    assert_eq!(crafted(&mut trainer, Some(&before))?, expected);
    for ((_, present), (_, moved)) in trainer.running_statistics()?.iter().zip(&after) {
        assert_eq!(values(present)?, values(moved)?, "crafting has put them back");
    }
    Ok(())
}
