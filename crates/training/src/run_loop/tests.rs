//! Whole trainings, interrupted and resumed.

use std::collections::BTreeMap;

use std::sync::atomic::AtomicBool;

use robustseg_datasets::Dataset;

use super::*;
use robustseg_attacks::{AttackConfig, Bim, RandomFgsm};

use crate::{
    AverageConfig, DdcAt, Free, GradAlign, MethodConfig, NoisyNewton, Sora, StepGain, TrainingConfig, fixture,
};

/// Keeps the events, and sets the stop flag after a given step.
struct Witness<'a> {
    events: Vec<serde_json::Value>,
    stop: &'a AtomicBool,
    stop_after: Option<u64>,
}

impl Observer for Witness<'_> {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        if let Event::Step { record, .. } = event
            && Some(record.step + 1) == self.stop_after
        {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.events.push(serde_json::to_value(event).expect("events are plain data"));
        Ok(())
    }
}

pub(super) struct Bench {
    pub(super) dataset: Dataset,
    pub(super) folder: tempfile::TempDir,
    pub(super) config: TrainingConfig,
}

impl Bench {
    pub(super) fn new() -> Result<Self> {
        Self::with(random_fgsm())
    }

    pub(super) fn with(method: MethodConfig) -> Result<Self> {
        let mut config = fixture::config(method);
        (config.epochs, config.batch_size, config.checkpoint_every) = (2, 2, 2);
        let folder = tempfile::tempdir().expect("a temporary folder");
        Ok(Self { dataset: fixture::dataset()?, folder, config })
    }

    pub(super) fn trainer(&self) -> Result<Trainer> {
        let steps = self.config.total_steps(self.dataset.len())?;
        Trainer::new(fixture::network_for(&self.config.method, 1)?, &self.config, 7, steps)
    }

    /// Runs `trainer`, and optionally stops it after a step.
    pub(super) fn run(
        &self,
        trainer: &mut Trainer,
        stop_after: Option<u64>,
    ) -> Result<(Outcome, Vec<serde_json::Value>)> {
        let stop = AtomicBool::new(false);
        let mut witness = Witness { events: Vec::new(), stop: &stop, stop_after };
        let run = fixture::run(&self.dataset, self.folder.path(), &stop);
        let outcome = trainer.run(&run, &mut witness)?;
        Ok((outcome, witness.events))
    }
}

pub(super) fn random_fgsm() -> MethodConfig {
    AttackConfig::new(RandomFgsm {}, 0.03).into()
}

pub(super) fn weights(trainer: &Trainer) -> Result<BTreeMap<String, Vec<u32>>> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let parameters = trainer.network().parameters().iter();
    parameters.map(|(name, p)| Ok((name.clone(), bits(p.var.flatten_all()?.to_vec1()?)))).collect()
}

fn of_kind<'a>(events: &'a [serde_json::Value], kind: &str) -> Vec<&'a serde_json::Value> {
    events.iter().filter(|event| event["kind"] == kind).collect()
}

#[test]
fn the_best_under_attack_are_kept_and_patience_ends_a_training_the_same_when_resumed() -> Result<()> {
    let bench = |keep_best| -> Result<Bench> {
        let mut bench = Bench::new()?;
        bench.config.epochs = 6;
        bench.config.validate_under = Some(AttackConfig::new(Bim { alpha: 0.02, steps: 2 }, 0.03));
        (bench.config.keep_best, bench.config.patience) = (keep_best, Some(1));
        // Without progress the first validation stays the best.
        bench.config.learning_rate = 1e-12;
        Ok(bench)
    };
    let whole = bench(2)?;
    let mut trainer = whole.trainer()?;
    let (outcome, events) = whole.run(&mut trainer, None)?;
    assert!(matches!(outcome, Outcome::Finished));
    let validations = of_kind(&events, "validation");
    for validation in &validations {
        let [clean, attacked] = ["miou", "attacked_miou"].map(|key| validation[key].as_f64().unwrap());
        assert!(attacked <= clean, "{validation}");
    }
    let ended = of_kind(&events, "training_stopped_early");
    assert_eq!(ended.len(), 1, "{events:?}");
    let step = ended[0]["step"].as_u64().unwrap();
    assert!(step < trainer.total_steps() && trainer.steps_done() == step);
    assert_eq!(ended[0]["best_miou"].as_f64(), trainer.best_miou());
    let kept = |bench: &Bench| -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(bench.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path))
            .filter(|(name, _)| name.starts_with("best_"))
            .map(|(name, path)| (name, std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    assert_eq!(kept(&whole).len(), 2.min(validations.len()));

    let half = bench(2)?;
    let mut first = half.trainer()?;
    half.run(&mut first, Some(step - 2))?;
    let mut second = half.trainer()?;
    assert!(second.restore(half.folder.path(), &fixture::identity("spec"))?);
    half.run(&mut second, None)?;
    assert_eq!(weights(&second)?, weights(&trainer)?);
    assert_eq!((second.steps_done(), second.best_miou()), (trainer.steps_done(), trainer.best_miou()));
    assert_eq!(kept(&half), kept(&whole));

    let one = bench(1)?;
    one.run(&mut one.trainer()?, None)?;
    assert!(kept(&one).is_empty() && one.folder.path().join("best.safetensors").exists());
    Ok(())
}

#[test]
fn a_resumed_training_ends_as_one_that_was_not_interrupted() -> Result<()> {
    for method in [
        random_fgsm(),
        GradAlign::default().into(),
        Free { replays: 2, ..Free::default() }.into(),
        DdcAt::default().into(),
        Sora::default().into(),
        NoisyNewton { curvature: true, residual: 0.5, gain: StepGain::Masked, ..NoisyNewton::default() }
            .into(),
    ] {
        continues_as_if_not_interrupted(method)?;
    }
    Ok(())
}

#[test]
fn the_average_follows_its_formula_and_moves_no_weight() -> Result<()> {
    let mut config = fixture::config(random_fgsm());
    let mut plain = fixture::trainer(&config)?;
    config.average = Some(AverageConfig { decay: 0.15 });
    let mut trainer = fixture::trainer(&config)?;
    let names = ["head.conv.weight", "backbone.norm.running_mean"];
    let values = |network: &Network, name: &str| -> Result<Vec<f32>> {
        Ok(network.parameters()[name].var.flatten_all()?.to_vec1()?)
    };
    let batch = fixture::batch(1, 2);
    let mut expected: Vec<Vec<f32>> =
        names.iter().map(|name| values(trainer.network(), name)).collect::<Result<_>>()?;
    // 1/10, then 2/11 is more than the decay.
    for kept in [0.1, 0.15, 0.15_f32] {
        plain.step(&batch)?;
        trainer.step(&batch)?;
        for (name, expected) in names.iter().zip(&mut expected) {
            let weights = values(trainer.network(), name)?;
            expected
                .iter_mut()
                .zip(weights)
                .for_each(|(mean, new)| *mean = kept * *mean + (1.0 - kept) * new);
            let found = values(trainer.averaged().expect("an average"), name)?;
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - *expected).abs() < 1e-6, "{name}: {found}, not {expected}");
            }
        }
    }
    assert_eq!(weights(&trainer)?, weights(&plain)?);
    Ok(())
}

fn continues_as_if_not_interrupted(method: MethodConfig) -> Result<()> {
    let (straight, broken) = (Bench::with(method.clone())?, Bench::with(method)?);
    let mut expected = straight.trainer()?;
    assert_eq!(expected.total_steps(), 6);
    let (outcome, all) = straight.run(&mut expected, None)?;
    assert_eq!(outcome, Outcome::Finished);

    let mut first = broken.trainer()?;
    assert!(!first.restore(broken.folder.path(), &fixture::identity("spec"))?, "nothing is saved yet");
    // Step 3 ends an epoch, whose validation is left to the resumed run.
    let (outcome, mut events) = broken.run(&mut first, Some(3))?;
    assert_eq!(outcome, Outcome::Interrupted);
    assert_eq!(of_kind(&events, "training_interrupted")[0]["step"], 3);
    drop(first);
    let mut second = broken.trainer()?;
    assert!(second.restore(broken.folder.path(), &fixture::identity("spec"))?);
    assert_eq!(second.steps_done(), 3);
    let (outcome, later) = broken.run(&mut second, None)?;
    assert_eq!(outcome, Outcome::Finished);
    events.extend(later);

    assert_eq!(weights(&second)?, weights(&expected)?);
    assert_eq!(second.best_miou(), expected.best_miou());
    assert_eq!((second.timing().steps, second.timing().images), (6, 12));
    for kind in ["step", "validation"] {
        let without_seconds = |events: &[serde_json::Value]| -> Vec<serde_json::Value> {
            let events = of_kind(events, kind).into_iter().cloned();
            events
                .map(|mut event| {
                    event["seconds"].take();
                    event
                })
                .collect()
        };
        assert_eq!(without_seconds(&events), without_seconds(&all));
    }
    for name in ["last.safetensors", "best.safetensors"] {
        let read = |bench: &Bench| std::fs::read(bench.folder.path().join(name)).expect(name);
        assert!(read(&straight) == read(&broken), "{name}");
    }
    Ok(())
}

#[test]
fn events_tell_step_epoch_and_parts() -> Result<()> {
    let bench = Bench::new()?;
    let (_, events) = bench.run(&mut bench.trainer()?, None)?;
    for event in &events {
        assert!(event["step"].is_u64() && event["epoch"].is_u64() && event["kind"].is_string(), "{event}");
    }
    let steps = of_kind(&events, "step");
    assert_eq!(
        steps.iter().map(|event| event["epoch"].as_u64()).collect::<Vec<_>>(),
        [0, 0, 0, 1, 1, 1].map(Some)
    );
    for part in ["data", "attack", "forward", "backward", "optimiser"] {
        assert!(steps[0]["seconds"][part].is_number(), "{part}");
    }
    assert_eq!(of_kind(&events, "validation").len(), 2);
    assert_eq!(of_kind(&events, "checkpoint").len(), 3);
    assert_eq!(of_kind(&events, "training_finished").len(), 1);
    Ok(())
}

#[test]
fn the_best_weights_are_scored_again_when_other_samples_are_validated_on() -> Result<()> {
    let mut bench = Bench::new()?;
    bench.config.validation_limit = Some(1);
    let (_, events) = bench.run(&mut bench.trainer()?, Some(4))?;
    assert_eq!(of_kind(&events, "validation").len(), 1);
    assert!(of_kind(&events, "best_scored").is_empty());
    bench.config.validation_limit = None;
    let mut trainer = bench.trainer()?;
    trainer.restore(bench.folder.path(), &fixture::identity("spec"))?;
    let (_, events) = bench.run(&mut trainer, None)?;
    let best = of_kind(&events, "best_scored");
    assert_eq!(best.len(), 1);
    assert_eq!(best[0]["samples"], 6);
    let last = of_kind(&events, "validation")[0];
    let better = last["miou"].as_f64() > best[0]["miou"].as_f64();
    assert_eq!(last["best"], better);
    let kept = if better { last } else { best[0] };
    assert_eq!(trainer.best_miou(), kept["miou"].as_f64());
    Ok(())
}
