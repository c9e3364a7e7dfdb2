//! The progress of a run on standard error: bars on a terminal, otherwise an occasional line.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressStyle};
use robustseg_evaluation::Advance;
use robustseg_training::{Event, Progress, Sign, Stage};
use robustseg_words::counted;
use tracing::{Span, info, info_span, warn};
use tracing_indicatif::span_ext::IndicatifSpanExt;

use crate::log::{PROGRESS, Screen};

/// The interval between two lines without bars, and in the run's log.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The present stage as a bar and as lines.
pub(crate) struct Meter {
    bars: bool,
    stage: Option<Running>,
    epochs: u64,
    training: String,
    evaluation: String,
    monitor: String,
    skipped: Vec<String>,
}

struct Running {
    name: &'static str,
    bar: Span,
    since: Instant,
    first: u64,
    told: Option<Instant>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            bars: Screen::of_this_process().bars,
            stage: None,
            epochs: 0,
            training: String::new(),
            evaluation: String::new(),
            monitor: String::new(),
            skipped: Vec::new(),
        }
    }

    /// Takes the results of a step or validation into the text next to the bar.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Step { epoch, record } => {
                let seconds = record.seconds.total();
                let rate = record.images as f64 / seconds.max(f64::MIN_POSITIVE);
                let Self { epochs, monitor, .. } = self;
                let epoch = epoch + 1;
                self.training =
                    format!("epoch {epoch}/{epochs}  loss {:.4}{monitor}  {rate:.2} img/s", record.loss);
            }
            Event::TrainingStarted { step, total_steps, epochs, parameters, .. } => {
                self.epochs = *epochs;
                info!(
                    "training: {}, {}, {}, from step {step}",
                    counted(*parameters, "parameter"),
                    counted(*epochs, "epoch"),
                    counted(*total_steps, "step")
                );
            }
            Event::SampleSkipped { sample, reason, .. } => {
                warn!("skipped sample {sample}: {reason}");
                self.skipped.push(sample.clone());
            }
            Event::Validation { epoch, miou, pixel_accuracy, attacked_miou, best, seconds, .. } => {
                let best = if *best { ", the best so far" } else { "" };
                let under = attacked_miou.map_or(String::new(), |miou| format!(", under attack {miou:.4}"));
                info!(
                    "epoch {epoch}: mean IoU {miou:.4}{under}, pixel accuracy {pixel_accuracy:.4}{best} ({seconds:.1} s)"
                );
            }
            Event::BestScored { miou, samples, .. } => info!(
                "the best weights so far have mean IoU {miou:.4} on the {samples} samples that are validated on now"
            ),
            Event::Monitor { step, reading, sign, flagged, patience, overfitting, .. } => {
                let [fgsm, bim] = [reading.fgsm.miou, reading.bim.miou];
                let cosine = reading.cosine.map_or(String::new(), |cosine| format!("  cos {cosine:.2}"));
                self.monitor = format!("  FGSM {fgsm:.3}  BIM {bim:.3}{cosine}");
                if let Some(sign) = sign {
                    // A sign may pass. It counts as overfitting after `patience` consecutive
                    // readings with one.
                    let (mark, what) = if overfitting.is_some() {
                        ("OVERFITTING".to_owned(), "catastrophic overfitting".to_owned())
                    } else {
                        let number = format!("sign {flagged} of {patience}");
                        (number.clone(), format!("monitor: {number}"))
                    };
                    self.monitor += &format!("  {mark}");
                    let seen = words(*sign);
                    warn!("{what} at step {step}: {seen}; mean IoU {fgsm:.4} under FGSM, {bim:.4} under BIM");
                }
            }
            Event::TrainingStopped { step, weights_of, .. } => {
                warn!("training ends at step {step} with the weights of step {weights_of}");
            }
            Event::TrainingStoppedEarly { step, validations, best_miou, .. } => warn!(
                "training ends early at step {step}: the best mean IoU, {best_miou:.4}, is {} old",
                counted(*validations, "validation")
            ),
            Event::TrainingFinished { seconds, .. } => {
                info!("trained in {:.1} s", seconds.total());
                self.tell_skipped();
            }
            Event::StepSkipped { reason, .. } => warn!("left out: {reason}"),
            Event::TrainingFailed { .. } => {
                warn!("checkpoints/failed.safetensors and failed_batch.safetensors hold what it failed with");
                self.tell_skipped();
            }
            Event::TrainingInterrupted { step, .. } => {
                info!("interrupted after step {step}; state saved");
                self.tell_skipped();
            }
            Event::Checkpoint { .. } | Event::Unknown => {}
        }
    }

    /// Lists the bad samples that others replaced.
    fn tell_skipped(&self) {
        if !self.skipped.is_empty() {
            warn!(
                "{} skipped, events.jsonl says why: {}",
                counted(self.skipped.len(), "bad training sample"),
                self.skipped.join(", ")
            );
        }
    }

    /// Moves the stage's bar, or writes its line when one is due.
    pub(crate) fn progress(&mut self, progress: Progress) {
        let Progress { stage, done, total } = progress;
        self.advance(name(stage), done, total);
    }

    /// The same for an evaluation, whose bar and estimate follow the passes.
    pub(crate) fn evaluation(&mut self, advance: Advance) {
        let Advance { images, of_images, passes, of_passes } = advance;
        self.evaluation = format!("{images}/{of_images} images");
        if of_passes > of_images {
            self.evaluation += &format!(", {passes}/{of_passes} passes");
        }
        self.advance(EVALUATION, passes, of_passes);
    }

    /// The same for any stage called `name`.
    pub(crate) fn advance(&mut self, name: &'static str, done: u64, total: u64) {
        if self.stage.as_ref().is_none_or(|running| running.name != name) {
            let bar = if self.bars { bar(total) } else { Span::none() };
            self.stage = Some(Running { name, bar, since: Instant::now(), first: done, told: None });
        }
        let Some(running) = &mut self.stage else { return };
        let left = running.left(done, total).map(|left| format!("  {left:#} left"));
        let details = if name == TRAINING { &*self.training } else { "" };
        let counts = if name == EVALUATION {
            format!("{}  {:#} done", self.evaluation, HumanDuration(running.since.elapsed()))
        } else {
            format!("{done}/{total}")
        };
        let line = format!("{name} {counts}{}  {details}", left.as_deref().unwrap_or_default());
        if self.bars {
            running.bar.pb_set_position(done);
            running.bar.pb_set_message(line.trim_end());
        }
        if left.is_some() && running.told.is_none_or(|told| told.elapsed() >= BETWEEN_LINES) {
            info!(target: PROGRESS, "{}", line.trim_end());
            running.told = Some(Instant::now());
        }
        if done >= total {
            self.stage = None;
        }
    }
}

impl Running {
    /// Estimates the remaining time from the work done so far.
    fn left(&self, done: u64, total: u64) -> Option<HumanDuration> {
        let since = done.checked_sub(self.first).filter(|since| *since > 0)?;
        let each = self.since.elapsed().as_secs_f64() / since as f64;
        let left = Duration::try_from_secs_f64(each * total.saturating_sub(done) as f64);
        Some(HumanDuration(left.unwrap_or(Duration::MAX)))
    }
}

const TRAINING: &str = "training";
const EVALUATION: &str = "evaluating";

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Training => TRAINING,
        Stage::Validation => "validating",
    }
}

/// A sign in words.
fn words(sign: Sign) -> &'static str {
    match sign {
        Sign::Gap => "it looks robust under FGSM and is not under BIM",
        Sign::Distortion => "parts of FGSM's step do more harm than the whole",
        Sign::Drop => "its pixel accuracy under BIM fell suddenly",
    }
}

/// A bar with a message next to it, which is cut at the edge of the terminal.
fn bar(total: u64) -> Span {
    let span = info_span!("stage");
    if let Ok(style) = ProgressStyle::with_template("{bar:10} {wide_msg}") {
        span.pb_set_style(&style);
    }
    span.pb_set_length(total);
    span.pb_start();
    span
}
