//! SORA, *ICML* 2026, from its published formulas.

use std::collections::BTreeMap;

use candle_core::Tensor;
use robustseg_attacks::{
    Adversarial, Case, IGNORE_LABEL, PixelObjective, check_alpha, check_radius, input_gradient,
};
use robustseg_ops::l1_norm_per_image;
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::linearity::{Linearity, slopes};
use super::noise::{noisy, shares};
use crate::Result;
use crate::method::{Method, TrainingMethod, no_more};
use crate::practice::Practice;
use crate::samples::Samples;

/// How much of the slope may be lost before steps become shorter.
const TOLERANCE: f64 = 0.02;

/// FGSM around a noisy image, with a random share of the step for each element, and a step size
/// that follows the linearity of the loss.
///
/// `x_adv = clip01(x_0 + size u sign(g))`, where `x_0 = clip01(x + U(-epsilon, epsilon))`, g is the
/// gradient of the cross-entropy at `x_0`, and u is drawn from U(0, 1) for each element. There is no
/// ball. `size = alpha min(1, 0.02 / (1 - c))`. The linearity c is a running mean, with a rate of
/// 0.05 from 0.99, of `sign(g) . g' / norm_1(g)` over the images of a batch. g' is the gradient of
/// the training loss at the example, from the update's own backward pass. The loss is a mean over
/// the pixels of the batch, so g' is scaled to the mean over the image's own pixels. The recorded
/// epsilon is `size`.
///
/// Cost: that of FGSM, and the stem's input gradient in the update's backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Sora {
    /// The radius of the intended robustness and magnitude of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// The largest step size, in `(0, 1]`. The default is twice `epsilon`, as in the paper.
    pub alpha: Option<f64>,
}

impl Default for Sora {
    /// Epsilon 0.03 and alpha twice epsilon.
    fn default() -> Self {
        Self { epsilon: 0.03, alpha: None }
    }
}

impl Sora {
    /// The largest step size. It is at most 1 because images are in `[0, 1]`.
    fn largest(&self) -> f64 {
        self.alpha.unwrap_or((2.0 * self.epsilon).min(1.0))
    }
}

impl Method for Sora {
    fn name(&self) -> &'static str {
        "sora"
    }

    fn title(&self) -> &'static str {
        "SORA"
    }

    fn summary(&self) -> &'static str {
        "FGSM around a noisy image, with random shares of a step that follows the linearity of the loss."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        Ok(self.alpha.map_or(Ok(()), check_alpha)?)
    }

    /// All samples, on batch statistics: the linearity compares with the update's own gradient.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    /// The linearity compares the gradients of the attack with those of the loss.
    fn takes_loss(&self) -> bool {
        false
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        3.0 + probability * 2.0
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(Aligning { config: *self, linearity: Linearity::default(), labelled: 0.0, pending: None })
    }
}

/// The method at work.
struct Aligning {
    config: Sora,
    linearity: Linearity,
    /// Labelled pixels of the batch.
    labelled: f32,
    pending: Option<Pending>,
}

/// A step whose linearity is not known yet.
struct Pending {
    /// Signs of the gradient, (M, 3, H, W).
    signs: Tensor,
    /// Norms of the gradients over labelled pixels, by image: what the slope of the batch's loss is
    /// divided by.
    norms: Vec<f32>,
}

impl TrainingMethod for Aligning {
    fn prepare(&mut self, samples: &Samples<'_>) -> Result<()> {
        self.labelled = labelled(samples.labels())?.iter().sum();
        Ok(())
    }

    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        let start = noisy(case.image(), self.config.epsilon, random)?;
        let found = input_gradient(case.model(), &start, case.label(), PixelObjective::CrossEntropy)?;
        let size = size(self.config.largest(), self.linearity.value());
        let signs = found.gradient.sign()?;
        let share = (shares(start.shape(), start.device(), random)? * size)?;
        let image = (&start + (&signs * share)?)?.clamp(0_f32, 1_f32)?;
        let norms: Vec<f32> = l1_norm_per_image(&found.gradient)?.to_vec1()?;
        let own = labelled(case.label())?;
        let norms = norms.into_iter().zip(own).map(|(norm, own)| norm * own / self.labelled).collect();
        self.pending = Some(Pending { signs, norms });
        let epsilon = Tensor::full(size as f32, case.len(), start.device())?;
        Ok(Some(Adversarial { image, epsilon }))
    }

    fn wants_example_gradient(&self) -> bool {
        true
    }

    fn after_update(&mut self, example_gradient: Option<&Tensor>) -> Result<()> {
        if let (Some(Pending { signs, norms }), Some(gradient)) = (self.pending.take(), example_gradient) {
            self.linearity.learn(&slopes(&signs, gradient)?, &norms);
        }
        Ok(())
    }

    fn linearity(&self) -> Option<f64> {
        Some(self.linearity.value())
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        [(Linearity::NAME.to_owned(), self.linearity.to_tensor())].into()
    }

    fn restore(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let linearity = state.remove(Linearity::NAME);
        no_more(state)?;
        self.linearity = linearity.map_or(Ok(self.linearity), |tensor| Linearity::of_tensor(&tensor))?;
        Ok(())
    }
}

/// The step size at a linearity.
fn size(largest: f64, linearity: f64) -> f64 {
    // From a linearity of 1 on, nothing of the slope is lost.
    let lost = (1.0 - linearity).max(f64::MIN_POSITIVE);
    largest * (TOLERANCE / lost).min(1.0)
}

/// The number of labelled pixels of each image of `labels` (N, H, W).
fn labelled(labels: &Tensor) -> Result<Vec<f32>> {
    let labelled = labels.ne(IGNORE_LABEL)?.to_dtype(candle_core::DType::F32)?;
    Ok(labelled.flatten_from(1)?.sum(1)?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::tests::{SHAPE, Scene, values};
    use robustseg_random::stream;

    fn aligning() -> Aligning {
        Aligning { config: Sora::default(), linearity: Linearity::default(), labelled: 0.0, pending: None }
    }

    #[test]
    fn the_step_shrinks_with_the_linearity() {
        assert_eq!(size(0.06, 1.0), 0.06);
        assert_eq!(size(0.06, 1.5), 0.06);
        assert!((size(0.06, 0.99) - 0.06).abs() < 1e-12);
        assert!((size(0.06, 0.9) - 0.012).abs() < 1e-12);
        assert!((size(0.06, 0.0) - 0.0012).abs() < 1e-12);
    }

    #[test]
    fn the_example_is_noise_and_a_random_share_of_a_step() -> Result<()> {
        let scene = Scene::new(2, 0.0, 1.0);
        let crafted = scene.craft(&Sora::default(), 4);
        let random = &mut stream(4, "craft", [0; 3]);
        let start = noisy(&scene.images, 0.03, random)?;
        let share = values(&shares(start.shape(), start.device(), random)?);
        let model = |images: &Tensor| scene.logits(images);
        let gradient =
            values(&input_gradient(&model, &start, &scene.labels, PixelObjective::CrossEntropy)?.gradient);
        for (at, (found, start)) in values(&crafted.image).into_iter().zip(values(&start)).enumerate() {
            let sign = if gradient[at] == 0.0 { 0.0 } else { gradient[at].signum() };
            let expected = (start + 0.06 * share[at] * sign).clamp(0.0, 1.0);
            assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
        assert!(values(&crafted.epsilon).into_iter().all(|size| (size - 0.06).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn the_linearity_is_the_share_of_each_images_slope_that_is_left() -> Result<()> {
        let scene = Scene::new(3, 0.2, 0.8);
        let model = |images: &Tensor| scene.logits(images);
        let mut method = aligning();
        // A batch of which the two images are a part.
        let own = labelled(&scene.labels)?;
        method.labelled = own.iter().sum::<f32>() + 11.0;
        method.craft(&scene.case(&model), &mut stream(1, "craft", [0; 3]))?;
        let start = noisy(&scene.images, 0.03, &mut stream(1, "craft", [0; 3]))?;
        let before = input_gradient(&model, &start, &scene.labels, PixelObjective::CrossEntropy)?.gradient;
        // Of the first image's slope 0.8 is left, of the second's 0.4. The batch's loss is a mean over
        // all of its pixels.
        let left = own.iter().zip([0.8, 0.4]).map(|(own, left)| left * own / method.labelled).collect();
        let left = Tensor::from_vec::<_, f32>(left, (SHAPE.0, 1, 1, 1), before.device())?;
        method.after_update(Some(&before.broadcast_mul(&left)?))?;
        assert!((method.linearity.value() - (0.99 + 0.05 * (0.6 - 0.99))).abs() < 1e-6);
        let mut other = aligning();
        other.restore(method.state())?;
        assert_eq!(other.linearity, method.linearity);
        Ok(())
    }
}
