//! The search for the smallest perturbation of one image, step by step.

use robustseg_ops::IGNORE_LABEL;

use crate::lagrangian::Lagrangian;
use crate::margin::margin;
use crate::proximal::shrink;

/// The share of the mean of squared gradients that remains at each step.
const INERTIA: f64 = 0.8;
/// The smallest root of that mean.
const SMALL: f64 = 1e-8;
/// The range of the constraints' scale, and its relative change in a step.
const SCALES: [f64; 2] = [0.1, 1.0];
const SCALE_RATE: f64 = 0.02;
/// The share of the step size that remains at the last step.
const LAST_SHARE: f64 = 0.1;

/// What a search aims at.
#[derive(Clone, Copy)]
pub(crate) struct Aim {
    /// The step size before it falls.
    pub(crate) alpha: f64,
    /// Number of steps.
    pub(crate) steps: usize,
    /// The share of the labelled pixels to get wrong.
    pub(crate) wrong: f64,
}

/// The state of the search on one image.
pub(crate) struct Search<'a> {
    aim: Aim,
    image: &'a [f32],
    label: &'a [u8],
    labelled: usize,
    change: Vec<f64>,
    /// The smallest and the largest change of each value.
    bounds: [Vec<f64>; 2],
    squares: Vec<f64>,
    scale: f64,
    lagrangian: Lagrangian,
    /// The step at which enough pixels were wrong for the first time.
    success: Option<usize>,
    best: Best,
}

/// The best change so far: the smallest of those that succeed, else the one with most wrong pixels.
struct Best {
    change: Vec<f64>,
    norm: f64,
    share: f64,
}

impl<'a> Search<'a> {
    /// For an `image` in `[0, 1]`, whose values may change by up to `limit`, and its `label` map.
    pub(crate) fn new(image: &'a [f32], label: &'a [u8], limit: f64, aim: Aim) -> Self {
        let labelled = label.iter().filter(|label| **label != IGNORE_LABEL).count();
        let values = image.iter().map(|&value| f64::from(value));
        let low = values.clone().map(|value| -value.min(limit)).collect();
        let high = values.map(|value| (1.0 - value).min(limit)).collect();
        let still = vec![0.0; image.len()];
        Self {
            aim,
            image,
            label,
            labelled,
            bounds: [low, high],
            squares: still.clone(),
            scale: SCALES[1],
            lagrangian: Lagrangian::new(labelled),
            success: None,
            best: Best { change: still.clone(), norm: f64::INFINITY, share: 0.0 },
            change: still,
        }
    }

    /// The point to observe, in `[0, 1]`.
    pub(crate) fn point(&self) -> impl Iterator<Item = f64> {
        moved(self.image, &self.change)
    }

    /// The best point so far.
    pub(crate) fn best(&self) -> impl Iterator<Item = f64> {
        moved(self.image, &self.best.change)
    }

    /// Observes the `logits` (H, W, K) at the point of `step`. Returns the derivative by
    /// them of the objective, which the search minimises.
    pub(crate) fn observe(&mut self, step: usize, logits: &[f32]) -> Vec<f32> {
        let classes = logits.len() / self.label.len();
        let mut slopes = vec![0.0; logits.len()];
        let (mut margins, mut wrong) = (Vec::with_capacity(self.labelled), Vec::with_capacity(self.labelled));
        for (pixel, &label) in self.label.iter().enumerate().filter(|(_, label)| **label != IGNORE_LABEL) {
            let place = pixel * classes..(pixel + 1) * classes;
            let (logits, label) = (&logits[place.clone()], usize::from(label));
            margins.push(margin(logits, label, &mut slopes[place]));
            let first =
                (0..classes).reduce(|best, class| if logits[class] > logits[best] { class } else { best });
            wrong.push(first != Some(label));
        }
        let enough = self.record(step, wrong.iter().filter(|wrong| **wrong).count());
        self.scale /= if enough { 1.0 + SCALE_RATE } else { 1.0 - SCALE_RATE };
        self.scale = self.scale.clamp(SCALES[0], SCALES[1]);
        let constraints: Vec<f64> = margins.iter().map(|margin| self.scale * margin).collect();
        let limit = self.limit(step, &constraints);
        let pixels = self.label.iter().enumerate().filter(|(_, label)| **label != IGNORE_LABEL);
        let derivatives = self.lagrangian.slopes(step, &constraints, limit, &wrong);
        for ((pixel, _), derivative) in pixels.zip(derivatives) {
            let times = (derivative * self.scale) as f32;
            slopes[pixel * classes..(pixel + 1) * classes].iter_mut().for_each(|slope| *slope *= times);
        }
        slopes
    }

    /// Records the point of `step` with its number of wrong pixels if it is the best one. Returns
    /// whether enough pixels are wrong.
    fn record(&mut self, step: usize, wrong: usize) -> bool {
        let enough = wrong as f64 >= self.aim.wrong * self.labelled as f64;
        let share = wrong as f64 / self.labelled.max(1) as f64;
        let norm = self.change.iter().fold(0.0, |largest: f64, change| largest.max(change.abs()));
        let smaller = enough && norm <= self.best.norm;
        if smaller || (self.success.is_none() && !enough && share >= self.best.share) {
            // A point that fails has no norm to compare with.
            let norm = if enough { norm } else { f64::INFINITY };
            self.best = Best { change: self.change.clone(), norm, share };
        }
        if enough {
            self.success.get_or_insert(step);
        }
        enough
    }

    /// The largest constraint that counts. The pixels that may stay right are those of the largest
    /// constraints. Their number grows from none to all that the aim allows.
    fn limit(&self, step: usize, constraints: &[f64]) -> f64 {
        let part = step as f64 / self.aim.steps.saturating_sub(1).max(1) as f64;
        let spare = ((1.0 - self.aim.wrong) * self.labelled as f64 * part) as usize;
        let Some(index) = spare.checked_sub(1) else { return f64::INFINITY };
        let mut sorted = constraints.to_vec();
        *sorted.select_nth_unstable_by(index, |a, b| b.total_cmp(a)).1
    }

    /// Moves along the `gradient` of the objective at the point of `step`, then shrinks the change.
    pub(crate) fn advance(&mut self, step: usize, gradient: &[f32]) {
        let rate = self.rate(step);
        let bias = 1.0 - INERTIA.powi(step as i32 + 1);
        let mut metric = Vec::with_capacity(gradient.len());
        for ((change, square), &gradient) in self.change.iter_mut().zip(&mut self.squares).zip(gradient) {
            let gradient = f64::from(gradient);
            *square = INERTIA * *square + (1.0 - INERTIA) * gradient * gradient;
            let root = (*square / bias).sqrt().max(SMALL);
            *change -= rate / root * gradient;
            metric.push(root);
        }
        let [low, high] = &self.bounds;
        shrink(&mut self.change, &metric, [low, high], rate);
    }

    /// The step size at `step`. It falls hyperbolically from the first success, or from half of the
    /// steps, to the last step.
    fn rate(&self, step: usize) -> f64 {
        let half = self.aim.steps / 2;
        let from = self.success.map_or(half, |success| success.min(half));
        let scale = LAST_SHARE / (1.0 - LAST_SHARE) * (self.aim.steps - from).max(1) as f64;
        self.aim.alpha * scale / (step.saturating_sub(from) as f64 + scale)
    }
}

/// `image` after `change`.
fn moved(image: &[f32], change: &[f64]) -> impl Iterator<Item = f64> {
    image.iter().zip(change).map(|(&value, change)| (f64::from(value) + change).clamp(0.0, 1.0))
}
