//! The monitor on networks of known behaviour, and in whole trainings.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use robustseg_attacks::{AttackConfig, Bim, Fgsm};
use robustseg_datasets::{Dataset, OnBadSample};
use robustseg_random::stream;

use super::*;
use crate::monitor::{Mark, Sign, chance};
use crate::{Outcome, TrainingConfig, fixture};

fn reading(model: &dyn robustseg_attacks::Model, config: &MonitorConfig, start: f32) -> Result<Reading> {
    let images = Tensor::full(start, (2, 3, 6, 7), &Device::Cpu)?;
    let labels = Tensor::zeros((2, 6, 7), DType::U8, &Device::Cpu)?;
    Reading::take(config, model, &images, &labels, 2, &mut stream(1, "monitor", [0; 3]))
}

/// Logits (s, -s) of the image's red value: `s` decides about class 0.
fn red(
    score: impl Fn(Tensor) -> candle_core::Result<Tensor>,
) -> impl Fn(&Tensor) -> candle_core::Result<Tensor> {
    move |images: &Tensor| {
        let score = score(images.narrow(1, 0, 1)?.permute((0, 2, 3, 1))?)?;
        Tensor::cat(&[&score, &score.neg()?], 3)?.contiguous()
    }
}

#[test]
fn a_linear_network_is_read_as_what_it_is() -> Result<()> {
    // Class 0 above 0.46. From 0.5 neither attack reaches it with 0.03, but an attack with 0.05
    // does.
    let model = red(|red| red.affine(10.0, -4.6));
    let calm = reading(&model, &MonitorConfig::default(), 0.5)?;
    assert_eq!([calm.clean, calm.fgsm, calm.bim].map(|mark| mark.pixel_accuracy), [1.0; 3]);
    assert_eq!(calm.loss_along.len(), 5);
    assert!(calm.loss_along.is_sorted_by(|a, b| a < b), "{:?}", calm.loss_along);
    assert!(calm.cosine.is_some_and(|cosine| cosine > 0.95), "{:?}", calm.cosine);
    // The loss is ln(1 + exp(-2 s)). s falls from 0.4 to 0.1, in the last quarter from 0.175.
    let loss = |s: f64| (-2.0 * s).exp().ln_1p();
    let slope = 0.03 * 20.0 / (1.0 + 0.8_f64.exp());
    let expected = 4.0 * (loss(0.1) - loss(0.175)) / slope;
    assert!(calm.linearity.is_some_and(|found| (found - expected).abs() < 1e-3), "{:?}", calm.linearity);
    // The gain of both logits is 20 (red - 0.46): zero after 0.04.
    assert!(
        calm.newton_epsilon.iter().all(|epsilon| (epsilon - 0.04).abs() < 1e-5),
        "{:?}",
        calm.newton_epsilon
    );
    assert_eq!(MonitorConfig::default().judge(&calm, Some(1.0)), Verdict::NoSign);
    let wide = MonitorConfig { epsilon: 0.05, alpha: 0.01, ..MonitorConfig::default() };
    let fallen = reading(&model, &wide, 0.5)?;
    assert_eq!((fallen.fgsm.miou, fallen.bim.miou), (0.0, 0.0));
    // It does not appear robust either, so this is not overfitting to FGSM. But its accuracy fell
    // since the previous reading.
    assert_eq!(wide.judge(&fallen, None), Verdict::NoSign);
    assert_eq!(wide.judge(&fallen, Some(1.0)), Verdict::Sign(Sign::Drop));
    Ok(())
}

#[test]
fn a_network_that_defends_against_fgsm_alone_is_flagged() -> Result<()> {
    // Right at the image and at the end of FGSM's step, wrong in between: a valley around 0.49 that
    // a step of 0.03 skips.
    let model = red(|red| (red - 0.49)?.sqr()?.affine(5000.0, -0.4));
    let config = MonitorConfig::default();
    let distorted = reading(&model, &config, 0.5)?;
    assert_eq!((distorted.clean.miou, distorted.fgsm.miou), (1.0, 1.0));
    assert_eq!(distorted.bim.miou, 0.0);
    assert_eq!(config.judge(&distorted, Some(0.0)), Verdict::Sign(Sign::Gap));
    // Without BIM, the losses alone would reveal it.
    let spared = Reading { bim: distorted.clean, ..distorted.clone() };
    assert_eq!(config.judge(&spared, None), Verdict::Sign(Sign::Distortion));
    let [first, inner @ .., last] = &distorted.loss_along[..] else { panic!("a loss at every point") };
    assert!(inner.iter().any(|inner| inner > first && inner > last), "{:?}", distorted.loss_along);
    assert!(distorted.cosine.is_some_and(|cosine| cosine < 0.9), "{:?}", distorted.cosine);
    Ok(())
}

#[test]
fn a_loss_that_falls_back_along_the_step_is_a_distortion() -> Result<()> {
    let config = MonitorConfig::default();
    let calm = reading(&red(|red| red.affine(10.0, -4.6)), &config, 0.5)?;
    let judge =
        |loss_along: &[f64]| config.judge(&Reading { loss_along: loss_along.to_vec(), ..calm.clone() }, None);
    let distortion = Verdict::Sign(Sign::Distortion);
    for (losses, expected) in [
        (&[1.0, 1.5, 2.0][..], Verdict::NoSign),
        (&[1.0, 2.0, 1.6], Verdict::NoSign),
        (&[1.0, 2.0, 1.5], distortion),
        (&[1.0, 2.0, 0.5], distortion),
        (&[1.0, 1.0], Verdict::NoSign),
        (&[1.0, 0.9, 0.8], distortion),
    ] {
        assert_eq!(judge(losses), expected, "{losses:?}");
    }
    Ok(())
}

#[test]
fn guessing_scores_what_the_shares_of_the_classes_say() -> Result<()> {
    // Three quarters of the labelled pixels are class 0, a quarter is class 2, and class 1 does not
    // occur.
    let labels = Tensor::new(&[[[0_u8, 0, 0, 255], [2, 255, 255, 255]]], &Device::Cpu)?;
    let expected = f64::midpoint(0.75 / 1.25, 0.25 / 1.75);
    assert!((chance(&labels, 3)? - expected).abs() < 1e-12);
    Ok(())
}

#[test]
fn a_network_at_chance_level_has_no_sign() -> Result<()> {
    let config = MonitorConfig::default();
    // Gap, distortion and drop at once.
    let flagged = reading(&red(|red| (red - 0.49)?.sqr()?.affine(5000.0, -0.4)), &config, 0.5)?;
    let mark = |miou| Mark { miou, pixel_accuracy: miou };
    let with = |miou: f64| Reading {
        chance: 0.1,
        clean: mark(miou),
        fgsm: mark(miou),
        bim: mark(0.0),
        ..flagged.clone()
    };
    assert_eq!(config.judge(&with(0.199), Some(1.0)), Verdict::AtChance);
    assert_eq!(config.judge(&with(0.201), Some(1.0)), Verdict::Sign(Sign::Drop));
    assert_eq!(config.judge(&with(0.201), None), Verdict::Sign(Sign::Gap));
    assert_eq!(MonitorConfig { chance: 0.0, ..config }.judge(&with(0.01), None), Verdict::Sign(Sign::Gap));
    Ok(())
}

#[test]
fn a_network_without_gradients_has_no_cosine() -> Result<()> {
    let model = red(|red| red.affine(1.0, -2.0)?.relu()? + 1.0);
    let flat = reading(&model, &MonitorConfig::default(), 0.5)?;
    assert_eq!((flat.cosine, flat.newton_epsilon), (None, vec![0.0, 0.0]));
    Ok(())
}

#[test]
fn readings_take_a_fiftieth_of_the_work_and_the_last_step_has_one() {
    let training = TrainingConfig::new(AttackConfig::new(Fgsm {}, 0.03), 50);
    let config = MonitorConfig::default();
    for total in [1, 7, 500, 33_333] {
        let due: Vec<u64> =
            (0..=total).filter(|step| config.is_due(training.step_cost(), *step, total)).collect();
        let work = due.len() as f64 * config.cost();
        let whole = training.method.cost(0.5, 1) * (16 * total) as f64;
        assert!(due.len() == 1 || work <= 0.015 * whole, "{total}: {due:?}");
        assert_eq!(due.last(), Some(&total));
        let gaps: Vec<u64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().max().is_none_or(|longest| longest - gaps.iter().min().unwrap() <= 1));
    }
    let every = MonitorConfig { every: Some(4), ..config };
    let due: Vec<u64> = (0..=10).filter(|step| every.is_due(training.step_cost(), *step, 10)).collect();
    assert_eq!(due, [4, 8, 10]);
}

#[test]
fn settings_out_of_range_are_named() {
    let good = MonitorConfig::default();
    assert!(good.validate().is_ok());
    for (key, bad) in [
        ("every", MonitorConfig { every: Some(0), ..good }),
        ("samples", MonitorConfig { samples: 0, ..good }),
        ("points", MonitorConfig { points: 0, ..good }),
        ("patience", MonitorConfig { patience: 0, ..good }),
        ("epsilon", MonitorConfig { epsilon: 8.0, ..good }),
        ("alpha", MonitorConfig { alpha: 0.0, ..good }),
        ("steps", MonitorConfig { steps: 0, ..good }),
        ("gap", MonitorConfig { gap: f64::NAN, ..good }),
        ("distortion", MonitorConfig { distortion: -0.1, ..good }),
        ("drop", MonitorConfig { drop: 1.5, ..good }),
        ("chance", MonitorConfig { chance: f64::INFINITY, ..good }),
        ("chance", MonitorConfig { chance: -1.0, ..good }),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(message.starts_with(&format!("monitor.{key}:")), "{message}");
    }
}

/// A short training on generated scenes with a monitor.
struct Bench {
    dataset: Dataset,
    folder: tempfile::TempDir,
    config: TrainingConfig,
}

/// Keeps the events, and optionally sets the stop flag after every step.
struct Witness<'a> {
    events: Vec<serde_json::Value>,
    stop: &'a AtomicBool,
    stop_after_a_step: bool,
}

impl Observer for Witness<'_> {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        if matches!(event, Event::Step { .. }) {
            self.stop.store(self.stop_after_a_step, Ordering::Relaxed);
        }
        let mut event = serde_json::to_value(event).expect("events are plain data");
        event["seconds"].take();
        self.events.push(event);
        Ok(())
    }
}

impl Bench {
    fn new(monitor: MonitorConfig) -> Result<Self> {
        let mut config = fixture::config(AttackConfig::new(Bim::default(), 0.03));
        (config.epochs, config.batch_size, config.checkpoint_every) = (2, 2, 0);
        config.monitor = Some(monitor);
        let folder = tempfile::tempdir().expect("a temporary folder");
        Ok(Self { dataset: fixture::dataset()?, folder, config })
    }

    fn trainer(&self) -> Result<Trainer> {
        Trainer::new(fixture::network(1)?, &self.config, 7, 6)
    }

    fn run(
        &self,
        trainer: &mut Trainer,
        stop_after_a_step: bool,
    ) -> Result<(Outcome, Vec<serde_json::Value>)> {
        let stop = AtomicBool::new(false);
        let mut witness = Witness { events: Vec::new(), stop: &stop, stop_after_a_step };
        let run = fixture::run(&self.dataset, self.folder.path(), &stop);
        let outcome = trainer.run(&run, &mut witness)?;
        Ok((outcome, witness.events))
    }
}

fn of_kind(events: &[serde_json::Value], kind: &str) -> Vec<serde_json::Value> {
    events.iter().filter(|event| event["kind"] == kind).cloned().collect()
}

fn weights(trainer: &Trainer) -> Result<Vec<f32>> {
    Ok(trainer.network().parameters()["classifier.weight"].var.flatten_all()?.to_vec1()?)
}

fn small() -> MonitorConfig {
    MonitorConfig { every: Some(2), samples: 2, steps: 2, points: 2, ..MonitorConfig::default() }
}

/// Gives a sign at every reading below the remembered accuracy of the last reading without one,
/// even at chance level.
fn only_drops() -> MonitorConfig {
    MonitorConfig { gap: 0.0, distortion: 1.0, drop: 0.0, chance: 0.0, ..small() }
}

#[test]
fn a_resumed_training_reads_what_an_uninterrupted_one_does() -> Result<()> {
    let (straight, broken) = (Bench::new(small())?, Bench::new(small())?);
    let mut expected = straight.trainer()?;
    let (_, all) = straight.run(&mut expected, false)?;
    let all = of_kind(&all, "monitor");
    assert_eq!(all.iter().map(|event| event["step"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4, 6]);
    for key in ["clean", "fgsm", "bim"] {
        assert!(all[0][key]["miou"].is_f64() && all[0][key]["pixel_accuracy"].is_f64(), "{}", all[0]);
    }
    let mut found = Vec::new();
    for _ in 0..10 {
        let mut trainer = broken.trainer()?;
        trainer.restore(broken.folder.path(), &fixture::identity("spec"))?;
        let (outcome, events) = broken.run(&mut trainer, true)?;
        found.extend(of_kind(&events, "monitor"));
        if outcome == Outcome::Finished {
            assert_eq!(weights(&trainer)?, weights(&expected)?);
            break;
        }
    }
    assert_eq!(found, all);
    Ok(())
}

#[test]
fn reading_changes_nothing_of_the_training() -> Result<()> {
    let watched = Bench::new(small())?;
    let mut alone = Bench::new(small())?;
    alone.config.monitor = None;
    let [watched, alone] = [&watched, &alone].map(|bench| -> Result<_> {
        let mut trainer = bench.trainer()?;
        bench.run(&mut trainer, false)?;
        weights(&trainer)
    });
    assert_eq!(watched?, alone?);
    Ok(())
}

#[test]
fn a_sign_stops_the_training_or_rolls_it_back() -> Result<()> {
    // The remembered accuracy is set to an impossible value, so that there is a sign at step 4 and
    // none before.
    for (then, of) in [(Then::Stop, 4), (Then::RollBack, 2), (Then::Report, 6)] {
        let monitor = MonitorConfig { patience: 1, then, ..only_drops() };
        let bench = Bench::new(monitor)?;
        let mut trainer = bench.trainer()?;
        let batches = bench.config.loader(&bench.dataset, 7, [0.5; 3], 0..6, OnBadSample::Fail)?;
        let stop = AtomicBool::new(false);
        let run = fixture::run(&bench.dataset, bench.folder.path(), &stop);
        let monitor = Monitor::new(&trainer, &run)?.expect("a monitor");
        let mut at_two = Vec::new();
        for batch in batches.take(4) {
            trainer.step(&batch?)?;
            if trainer.steps_done() == 2 {
                at_two = weights(&trainer)?;
            } else if trainer.steps_done() == 4 {
                trainer.state.monitor.robust = Some(2.0);
            }
            trainer.monitor(&monitor, &run, 0, &mut ())?;
        }
        let at_four = weights(&trainer)?;
        let (outcome, events) = bench.run(&mut trainer, false)?;
        assert_eq!(outcome, Outcome::Finished);
        let finished = &of_kind(&events, "training_finished")[0];
        assert_eq!(finished["step"], if then == Then::Report { 6 } else { 4 });
        match of {
            2 => assert!(weights(&trainer)? == at_two && at_four == at_two),
            4 => assert!(weights(&trainer)? == at_four && at_four != at_two),
            _ => assert_ne!(weights(&trainer)?, at_four),
        }
        // A stopped training stays stopped.
        let mut again = bench.trainer()?;
        assert!(again.restore(bench.folder.path(), &fixture::identity("spec"))?);
        let (outcome, _) = bench.run(&mut again, false)?;
        assert_eq!((outcome, weights(&again)?), (Outcome::Finished, weights(&trainer)?));
    }
    Ok(())
}

#[test]
fn a_sign_that_passes_is_waited_out() -> Result<()> {
    let monitor = MonitorConfig { every: Some(1), patience: 2, then: Then::Stop, ..only_drops() };
    let bench = Bench::new(monitor)?;
    let mut trainer = bench.trainer()?;
    let stop = AtomicBool::new(false);
    let run = fixture::run(&bench.dataset, bench.folder.path(), &stop);
    let monitor = Monitor::new(&trainer, &run)?.expect("a monitor");
    let mut stopped = Vec::new();
    for sign in [true, false, true, true] {
        trainer.state.step += 1;
        trainer.state.monitor.robust = Some(if sign { 2.0 } else { 0.0 });
        trainer.monitor(&monitor, &run, 0, &mut ())?;
        stopped.push(trainer.state.monitor.stopped);
    }
    assert_eq!(stopped, [false, false, false, true]);
    Ok(())
}

/// Takes a reading on `bench` after each of `steps` training steps. After step 2 the remembered
/// accuracy is set to an impossible value, so all later readings are drops. Returns the events and
/// the weights at step 2.
fn collapse_after_two(
    bench: &Bench,
    trainer: &mut Trainer,
    steps: usize,
) -> Result<(Vec<serde_json::Value>, Vec<f32>)> {
    let stop = AtomicBool::new(false);
    let run = fixture::run(&bench.dataset, bench.folder.path(), &stop);
    let mut witness = Witness { events: Vec::new(), stop: &stop, stop_after_a_step: false };
    let monitor = Monitor::new(trainer, &run)?.expect("a monitor");
    let batches = bench.config.loader(&bench.dataset, 7, [0.5; 3], 0..6, OnBadSample::Fail)?;
    let mut at_two = Vec::new();
    for batch in batches.take(steps) {
        trainer.step(&batch?)?;
        trainer.monitor(&monitor, &run, 0, &mut witness)?;
        if trainer.steps_done() == 2 {
            at_two = weights(trainer)?;
            trainer.state.monitor.robust = Some(2.0);
        }
    }
    Ok((witness.events, at_two))
}

#[test]
fn a_collapse_that_stays_is_a_drop_at_every_reading_and_ends_with_the_weights_before_it() -> Result<()> {
    let bench = Bench::new(MonitorConfig { patience: 2, then: Then::RollBack, ..only_drops() })?;
    let mut trainer = bench.trainer()?;
    let (events, at_two) = collapse_after_two(&bench, &mut trainer, 6)?;
    let readings = of_kind(&events, "monitor");
    let told: Vec<_> = readings
        .iter()
        .map(|event| {
            (event["sign"].as_str(), event["flagged"].as_u64().unwrap(), event["overfitting"].as_str())
        })
        .collect();
    assert_eq!(told, [(None, 0, None), (Some("drop"), 1, None), (Some("drop"), 2, Some("drop"))]);
    assert!(readings.iter().all(|event| event["patience"] == 2));
    let stopped = &of_kind(&events, "training_stopped")[0];
    assert_eq!((stopped["step"].as_u64(), stopped["weights_of"].as_u64()), (Some(6), Some(2)));
    assert!(trainer.state.monitor.stopped);
    assert_eq!(weights(&trainer)?, at_two);
    Ok(())
}

#[test]
fn readings_at_chance_level_neither_count_nor_are_rolled_back_to() -> Result<()> {
    // From step 4 on, only a perfect network is above chance.
    let mut bench = Bench::new(MonitorConfig { patience: 1, then: Then::RollBack, ..only_drops() })?;
    let mut trainer = bench.trainer()?;
    let (_, at_two) = collapse_after_two(&bench, &mut trainer, 2)?;
    bench.config.monitor = Some(MonitorConfig { chance: 1e6, ..bench.config.monitor.expect("one") });
    let before = trainer.state.monitor.clone();
    let mut blind = bench.trainer()?;
    blind.state.monitor = before.clone();
    let (events, _) = collapse_after_two(&bench, &mut blind, 4)?;
    assert!(of_kind(&events, "monitor").iter().all(|event| event["sign"].is_null()));
    assert_eq!(
        (blind.state.monitor.unflagged, blind.state.monitor.flagged),
        (before.unflagged, before.flagged)
    );
    let kept = Network::load(&bench.folder.path().join(FILE), trainer.network().device())?;
    let kept: Vec<f32> = kept.parameters()["classifier.weight"].var.flatten_all()?.to_vec1()?;
    assert_eq!(kept, at_two);
    Ok(())
}
