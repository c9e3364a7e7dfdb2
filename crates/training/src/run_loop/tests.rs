//! Whole trainings, interrupted and resumed.

use std::collections::BTreeMap;

use std::sync::atomic::AtomicBool;

use robustseg_datasets::{Dataset, OnBadSample};

use super::*;
use safetensors::tensor::{Dtype, TensorView};

use robustseg_attacks::{AttackConfig, Bim, RandomFgsm};
use robustseg_files::sealed::{self, Sealed, seal};
use robustseg_models::PspNetConfig;

use crate::{
    AverageConfig, Basic, DdcAt, Free, GradAlign, MethodConfig, NoisyNewton, Sora, StepGain, TrainingConfig,
    fixture, resume,
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
    dataset: Dataset,
    pub(super) folder: tempfile::TempDir,
    pub(super) config: TrainingConfig,
}

impl Bench {
    fn new() -> Result<Self> {
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
        let run = Run {
            train: &self.dataset,
            validation: &self.dataset,
            checkpoints: self.folder.path(),
            identity: &fixture::identity("spec"),
            origin: &Origin::default(),
            stop: &stop,
            on_bad_sample: OnBadSample::Fail,
        };
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
fn states_of_other_runs_and_broken_ones_are_refused() -> Result<()> {
    let bench = Bench::new()?;
    bench.run(&mut bench.trainer()?, Some(1))?;
    let refusal = |trainer: &mut Trainer, spec: &str| {
        let before = weights(trainer).expect("weights");
        let message = trainer.restore(bench.folder.path(), &fixture::identity(spec)).unwrap_err().to_string();
        assert_eq!(weights(trainer).expect("weights"), before, "nothing changes");
        message
    };
    let other = refusal(&mut bench.trainer()?, "another spec");
    assert!(
        other.contains("the spec has changed") && other.contains("spec then, another spec now"),
        "{other}"
    );
    let mut longer = Trainer::new(fixture::network(1)?, &bench.config, 7, 600)?;
    assert!(refusal(&mut longer, "spec").contains("a training of 6 steps, this one has 600"));
    let mut wider = fixture::network(1)?.config().clone();
    wider.architecture = PspNetConfig { layers: [1, 1, 1, 1], width: 8, ..PspNetConfig::default() }.into();
    let wider = robustseg_models::Network::new(&wider, 1, &candle_core::Device::Cpu)?;
    let mut wider = Trainer::new(wider, &bench.config, 7, 6)?;
    assert!(refusal(&mut wider, "spec").contains("is needed"));
    let file = bench.folder.path().join(resume::FILE);
    let whole = std::fs::read(&file).expect("the state");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("a truncated state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("truncated"));
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    std::fs::write(&file, &flipped).expect("a damaged state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("is damaged"));
    std::fs::copy(bench.folder.path().join("last.safetensors"), &file).expect("another file");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("not written by a training run"));
    let Sealed { tensors, mut metadata, .. } = Sealed::parse(&whole).expect("the state");
    let newer = metadata.remove("resume").expect("its state").replace("\"version\":2", "\"version\":3");
    let newer = sealed::seal(tensors.tensors(), &BTreeMap::from([("resume", newer)])).expect("a file");
    std::fs::write(&file, &newer).expect("a newer state");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("its version is 3, and this one reads 2"));
    std::fs::remove_file(&file).expect("it was there");
    std::fs::create_dir(&file).expect("a folder in its place");
    assert!(refusal(&mut bench.trainer()?, "spec").contains("is a folder"));
    let message = bench.run(&mut longer, None).unwrap_err().to_string();
    assert!(message.contains("2 epochs of 3 steps"));
    Ok(())
}

#[test]
fn states_of_other_tensors_are_refused() -> Result<()> {
    type Tensors<'a> = Vec<(String, TensorView<'a>)>;
    let bench = Bench::new()?;
    bench.run(&mut bench.trainer()?, Some(1))?;
    let file = bench.folder.path().join(resume::FILE);
    let whole = std::fs::read(&file).expect("the state");
    let Sealed { tensors, metadata, .. } = Sealed::parse(&whole).expect("the state");
    let refusal = |change: &dyn Fn(&mut Tensors<'_>)| {
        let mut tensors: Tensors<'_> = tensors.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        change(&mut tensors);
        let other = seal(tensors, &BTreeMap::from([("resume", metadata["resume"].clone())])).expect("a file");
        std::fs::write(&file, other).expect("another state");
        let mut trainer = bench.trainer().expect("a trainer");
        let before = weights(&trainer).expect("weights");
        let message =
            trainer.restore(bench.folder.path(), &fixture::identity("spec")).unwrap_err().to_string();
        assert_eq!(weights(&trainer).expect("weights"), before, "nothing changes");
        assert!(!message.contains("previous state"), "there is no previous state");
        message
    };
    let more = refusal(&|tensors| tensors.push(("more".into(), tensors[0].1.clone())));
    assert!(more.contains("tensor more is not of this network"), "{more}");
    let fewer = refusal(&|tensors| drop(tensors.pop()));
    assert!(fewer.contains("is missing"), "{fewer}");
    let other = refusal(&|tensors| {
        let view = &tensors[0].1;
        tensors[0].1 = TensorView::new(Dtype::U32, view.shape().to_vec(), view.data()).expect("a view");
    });
    assert!(other.contains("is U32") && other.contains("where F32"), "{other}");
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

#[test]
fn the_state_before_the_last_is_taken_when_asked_for_and_then_is_the_last() -> Result<()> {
    let bench = Bench::new()?;
    let path = bench.folder.path();
    let mut trainer = bench.trainer()?;
    bench.run(&mut trainer, None)?;
    let expected = weights(&trainer)?;
    let (file, former) = (path.join(resume::FILE), path.join(resume::FORMER));
    std::fs::write(&file, b"rust").expect("a damaged state");
    let message = bench.trainer()?.restore(path, &fixture::identity("spec")).unwrap_err().to_string();
    assert!(message.contains("truncated") && message.contains(resume::FORMER), "{message}");
    let mut again = bench.trainer()?;
    assert!(again.restore_or_fall_back(path, &fixture::identity("spec"))?);
    assert_eq!(again.steps_done(), 4);
    assert!(file.exists() && !former.exists());
    bench.run(&mut again, None)?;
    assert_eq!(weights(&again)?, expected);

    // A lost state must not look like a training that never began.
    std::fs::remove_file(&file).expect("it was there");
    assert!(
        bench
            .trainer()?
            .restore(path, &fixture::identity("spec"))
            .unwrap_err()
            .to_string()
            .contains("no such file")
    );
    assert!(bench.trainer()?.restore_or_fall_back(path, &fixture::identity("other")).is_err());
    assert!(bench.trainer()?.restore_or_fall_back(path, &fixture::identity("spec"))?);
    std::fs::write(&file, b"rust").expect("a damaged state");
    let message =
        bench.trainer()?.restore_or_fall_back(path, &fixture::identity("spec")).unwrap_err().to_string();
    assert!(
        message.contains("resume.safetensors") && message.contains("truncated"),
        "there is none before it"
    );
    Ok(())
}

/// Makes a bias invalid after step 1, and repairs it as soon as a step was skipped.
struct Poison {
    bias: candle_core::Var,
    former: Option<candle_core::Tensor>,
    kinds: Vec<(String, u64)>,
}

impl Observer for Poison {
    fn event(&mut self, event: &Event) -> std::io::Result<()> {
        let event = serde_json::to_value(event)?;
        let (kind, step) = (event["kind"].as_str().unwrap_or_default(), event["step"].as_u64().unwrap_or(99));
        let set = |value: &candle_core::Tensor| self.bias.set(value).map_err(std::io::Error::other);
        match (kind, step) {
            ("step", 1) => {
                self.former = Some(self.bias.copy().map_err(std::io::Error::other)?);
                set(&(self.bias.as_tensor() * f64::NAN).map_err(std::io::Error::other)?)?;
            }
            ("step_skipped", _) => set(self.former.as_ref().expect("spoilt before"))?,
            _ => {}
        }
        self.kinds.push((kind.into(), step));
        Ok(())
    }
}

#[test]
fn a_step_that_is_not_finite_ends_the_training_or_is_left_out() -> Result<()> {
    for skip_not_finite in [0, 1] {
        let mut bench = Bench::new()?;
        bench.config.method = Basic {}.into();
        bench.config.skip_not_finite = skip_not_finite;
        let mut trainer = bench.trainer()?;
        let bias = trainer.network().parameters()["classifier.bias"].var.clone();
        let mut poison = Poison { bias, former: None, kinds: Vec::new() };
        let stop = AtomicBool::new(false);
        let run = Run {
            train: &bench.dataset,
            validation: &bench.dataset,
            checkpoints: bench.folder.path(),
            identity: &fixture::identity("spec"),
            origin: &Origin::default(),
            stop: &stop,
            on_bad_sample: OnBadSample::Fail,
        };
        let outcome = trainer.run(&run, &mut poison);
        let told = |kind: &str, step| poison.kinds.contains(&(kind.into(), step));
        if skip_not_finite == 1 {
            assert_eq!(outcome?, Outcome::Finished);
            assert!(told("step_skipped", 2) && !told("step", 2) && told("step", 5));
            assert_eq!((trainer.steps_done(), trainer.timing().steps, trainer.state.left_out), (6, 5, 1));
            continue;
        }
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("the loss is NaN at step 2 (learning rate"), "{message}");
        assert!(told("training_failed", 2) && !told("step_skipped", 2));
        let read = |name| std::fs::read(bench.folder.path().join(name)).expect(name);
        let (state, batch) = (read(resume::FILE), read("failed_batch.safetensors"));
        assert!(Sealed::parse(&state).expect("that of step 2").metadata["resume"].contains("\"step\":2"));
        let batch = Sealed::parse(&batch).expect("a batch");
        assert_eq!(batch.tensors.tensor("image").expect("its images").shape(), [2, 3, 24, 24]);
        assert_eq!(batch.metadata["samples"].lines().count(), 2);
        assert!(message.contains(&batch.metadata["samples"].replace('\n', ", ")), "{message}");
        assert!(bench.folder.path().join("failed.safetensors").exists());
    }
    Ok(())
}
