//! Validation during training, which selects the best weights.

use std::time::Instant;

use robustseg_evaluation::{Advance, Scores, clean_scores};
use robustseg_models::Network;

use crate::Result;
use crate::observer::{Event, Observer, Progress, Stage};
use crate::run::Run;
use crate::trainer::Trainer;

/// The checkpoint of the best weights.
const BEST: &str = "best.safetensors";

impl Trainer {
    /// Whether the steps done so far complete an epoch that needs a validation and has had none.
    pub(crate) fn validation_is_due(&self, per_epoch: u64) -> bool {
        let (step, every) = (self.steps_done(), self.config.validate_every as u64);
        let epoch = step / per_epoch;
        let wanted = every > 0 && step > 0 && step.is_multiple_of(per_epoch) && epoch.is_multiple_of(every);
        (wanted || self.is_over()) && self.state.validated != Some(step)
    }

    /// Scores the network on clean images, and saves it if it is the best so far.
    pub(crate) fn validate(&mut self, run: &Run<'_>, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
        let start = Instant::now();
        self.compare_best(run, epoch, observer)?;
        let clean = self.score(self.scored(), run, observer)?;
        let best = self.state.best_miou.is_none_or(|best| clean.miou > best);
        if best {
            self.save(self.scored(), run, BEST)?;
            self.state.best_miou = Some(clean.miou);
        }
        let (step, seconds) = (self.steps_done(), start.elapsed().as_secs_f64());
        self.state.validated = Some(step);
        self.state.timing.validation_seconds += seconds;
        let (miou, pixel_accuracy) = (clean.miou, clean.pixel_accuracy);
        observer.event(&Event::Validation { step, epoch, miou, pixel_accuracy, best, seconds })?;
        Ok(())
    }

    /// Scores the best weights so far on the present validation images. `validation_limit` may have
    /// changed, and scores on other images cannot be compared.
    fn compare_best(&mut self, run: &Run<'_>, epoch: u64, observer: &mut dyn Observer) -> Result<()> {
        let samples = self.config.validation_limit.unwrap_or(usize::MAX).min(run.validation.len());
        if self.state.best_miou.is_some() && self.state.best_samples != samples {
            let path = run.checkpoints.join(BEST);
            let miou = if path.exists() {
                let mut best = Network::load(&path, self.network().device())?;
                best.set_precision(self.network().precision())?;
                Some(self.score(&best, run, observer)?.miou)
            } else {
                None
            };
            self.state.best_miou = miou;
            if let Some(miou) = miou {
                observer.event(&Event::BestScored { step: self.steps_done(), epoch, miou, samples })?;
            }
        }
        self.state.best_samples = samples;
        Ok(())
    }

    /// The clean scores of `network` on the validation images.
    fn score(&self, network: &Network, run: &Run<'_>, observer: &mut dyn Observer) -> Result<Scores> {
        let mut progress = |advance: Advance| {
            let Advance { images: done, of_images: total, .. } = advance;
            observer.progress(Progress { stage: Stage::Validation, done, total });
        };
        let limit = self.config.validation_limit;
        Ok(clean_scores(network, run.validation, limit, run.stop, &mut progress)?)
    }
}
