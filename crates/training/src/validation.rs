//! Validation during training, which selects the best weights.

use std::fs;
use std::io::ErrorKind;
use std::time::Instant;

use robustseg_evaluation::{Advance, EvaluationConfig, clean_scores_among, evaluate_among};
use robustseg_models::{Checkpoint, Network};
use serde::{Deserialize, Serialize};

use crate::observer::{Event, Observer, Progress, Stage};
use crate::run::Run;
use crate::trainer::Trainer;
use crate::{Error, Result};

/// The checkpoint of the best weights.
const BEST: &str = "best.safetensors";

/// Weights that are kept because they are among the best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The steps behind them.
    pub(crate) step: u64,
    /// Their mean IoU, which decides.
    pub(crate) miou: f64,
}

impl Kept {
    fn file(&self) -> String {
        format!("best_{}.safetensors", self.step)
    }
}

/// The scores of a validation.
struct Scored {
    miou: f64,
    pixel_accuracy: f64,
    /// Mean IoU under `validate_under`.
    attacked_miou: Option<f64>,
}

impl Scored {
    /// The score that tells better weights from worse.
    fn decisive(&self) -> f64 {
        self.attacked_miou.unwrap_or(self.miou)
    }
}

impl Trainer {
    /// Whether the steps done so far complete an epoch that needs a validation and has had none.
    pub(crate) fn validation_is_due(&self, per_epoch: u64) -> bool {
        let (step, every) = (self.steps_done(), self.config.validate_every as u64);
        let epoch = step / per_epoch;
        let wanted = every > 0 && step > 0 && step.is_multiple_of(per_epoch) && epoch.is_multiple_of(every);
        (wanted || self.is_over()) && self.state.validated != Some(step)
    }

    /// Scores the network, saves it if it is the best so far, and ends the training if the patience
    /// is over.
    pub(crate) fn validate(&mut self, run: &Run<'_>, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
        let start = Instant::now();
        self.compare_best(run, epoch, observer)?;
        let scored = self.score(self.scored(), run, observer)?;
        let (step, decisive) = (self.steps_done(), scored.decisive());
        let best = self.state.best_miou.is_none_or(|best| decisive > best);
        if best {
            self.save(self.scored(), run, BEST)?;
            self.state.best_miou = Some(decisive);
        }
        self.keep(run, Kept { step, miou: decisive })?;
        let seconds = start.elapsed().as_secs_f64();
        self.state.validated = Some(step);
        self.state.timing.validation_seconds += seconds;
        let Scored { miou, pixel_accuracy, attacked_miou } = scored;
        observer.event(&Event::Validation {
            step,
            epoch,
            miou,
            pixel_accuracy,
            attacked_miou,
            best,
            seconds,
        })?;
        self.lose_patience(best, epoch, observer)
    }

    /// Ends the training if too many validations in a row were not the `best`.
    fn lose_patience(&mut self, best: bool, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
        let Some(patience) = self.config.patience else { return Ok(()) };
        self.state.since_best = if best { 0 } else { self.state.since_best + 1 };
        let validations = self.state.since_best;
        if validations >= patience && !self.is_over() {
            self.state.out_of_patience = true;
            let (step, best_miou) = (self.steps_done(), self.state.best_miou.unwrap_or_default());
            observer.event(&Event::TrainingStoppedEarly { step, epoch, validations, best_miou })?;
        }
        Ok(())
    }

    /// Saves the present weights if they are among the best, and deletes those that no longer are.
    fn keep(&mut self, run: &Run<'_>, new: Kept) -> Result<()> {
        if self.config.keep_best < 2 {
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.state.kept);
        kept.retain(|kept| kept.step != new.step);
        kept.push(new);
        // The earlier one of two equal ones comes first.
        kept.sort_by(|a, b| b.miou.total_cmp(&a.miou).then(a.step.cmp(&b.step)));
        let left = kept.split_off(kept.len().min(self.config.keep_best));
        if kept.contains(&new) {
            self.save(self.scored(), run, &new.file())?;
        }
        self.state.kept = kept;
        self.on_first(|| {
            left.iter().filter(|old| old.step != new.step).try_for_each(|old| delete(run, &old.file()))
        })
    }

    /// Scores the best weights so far on the present validation images. `validation_limit` may have
    /// changed, and scores on other images cannot be compared.
    fn compare_best(&mut self, run: &Run<'_>, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
        let samples = self.config.validation_limit.unwrap_or(usize::MAX).min(run.validation.len());
        if self.state.best_miou.is_some() && self.state.best_samples != samples {
            let miou = self.score_of(BEST, run, observer)?;
            self.state.best_miou = miou;
            let mut kept = Vec::new();
            for old in std::mem::take(&mut self.state.kept) {
                let miou = self.score_of(&old.file(), run, observer)?;
                kept.extend(miou.map(|miou| Kept { miou, ..old }));
            }
            self.state.kept = kept;
            if let Some(miou) = miou {
                observer.event(&Event::BestScored { step: self.steps_done(), epoch, miou, samples })?;
            }
        }
        self.state.best_samples = samples;
        Ok(())
    }

    /// The decisive score of the checkpoint `name`, if it is there.
    fn score_of(&self, name: &str, run: &Run<'_>, observer: &mut dyn Observer) -> Result<Option<f64>> {
        let path = run.checkpoints.join(name);
        if !self.first_says(|| path.exists())? {
            return Ok(None);
        }
        let Checkpoint { mut network, .. } = self.load_shared(&path)?;
        network.set_precision(self.network().precision())?;
        Ok(Some(self.score(&network, run, observer)?.decisive()))
    }

    /// The scores of `network` on the validation images.
    fn score(&self, network: &Network, run: &Run<'_>, observer: &mut dyn Observer) -> Result<Scored> {
        let mut progress = |advance: Advance| {
            let Advance { images: done, of_images: total, .. } = advance;
            observer.progress(Progress { stage: Stage::Validation, done, total });
        };
        let (limit, ranks) = (self.config.validation_limit, &*self.ranks);
        let (clean, attacked_miou) = match &self.config.validate_under {
            None => {
                (clean_scores_among(ranks, network, run.validation, limit, run.stop, &mut progress)?, None)
            }
            Some(attack) => {
                let curves = vec![attack.curve()];
                let config = EvaluationConfig { limit, curves, examples: 0, ..EvaluationConfig::default() };
                let evaluation =
                    evaluate_among(ranks, None, network, run.validation, &config, run.stop, &mut progress)?
                        .evaluation;
                let attacked = evaluation.curves.first().and_then(|curve| curve.points.first());
                (evaluation.clean, attacked.map(|point| point.scores.miou))
            }
        };
        Ok(Scored { miou: clean.miou, pixel_accuracy: clean.pixel_accuracy, attacked_miou })
    }
}

/// Deletes the checkpoint `name` of `run`, if it is there.
fn delete(run: &Run<'_>, name: &str) -> Result<()> {
    let path = run.checkpoints.join(name);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(Error::File { operation: "deleting", path, source })
        }
        _ => Ok(()),
    }
}
