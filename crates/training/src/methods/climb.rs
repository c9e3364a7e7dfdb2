//! Sign steps from a random start: what most methods beside the paper's five consist of.

use candle_core::{DType, Tensor};
use rand::RngExt;
use robustseg_attacks::{Adversarial, Model, PixelObjective, input_gradient};
use robustseg_ops::{project, sign_step};
use robustseg_random::ChaCha8Rng;

use crate::Result;

/// Noise, then sign steps along an objective's gradient; the methods differ in the values.
pub(super) struct Climb {
    /// The start is the image plus noise from `U(-noise, noise)`, one draw a channel of a pixel.
    pub(super) noise: f64,
    /// Size of one step.
    pub(super) alpha: f64,
    /// Number of steps.
    pub(super) steps: usize,
    /// Radius of the ball around the image that each step is projected onto; none if it may leave.
    pub(super) ball: Option<f64>,
    /// The objective to climb at a step (from 0) of so many.
    pub(super) objective: fn(usize, usize) -> PixelObjective,
}

/// The plain cross-entropy at every step.
pub(super) fn cross_entropy(_step: usize, _steps: usize) -> PixelObjective {
    PixelObjective::CrossEntropy
}

impl Climb {
    /// The examples for `images` (N, 3, H, W), f32 in `[0, 1]`. Images are f64 in between, as in the iterated attacks.
    pub(super) fn craft(
        &self,
        model: &dyn Model,
        images: &Tensor,
        labels: &Tensor,
        random: &mut ChaCha8Rng,
    ) -> Result<Adversarial> {
        let origin = images.detach().to_dtype(DType::F64)?;
        let count = origin.dim(0)?;
        let each = |value: f64| Tensor::full(value, count, origin.device());
        let alpha = each(self.alpha)?;
        let mut image = noisy(&origin, self.noise, random)?;
        for step in 0..self.steps {
            let objective = (self.objective)(step, self.steps);
            let gradient = input_gradient(model, &image, labels, objective)?.gradient;
            image = sign_step(&image, &gradient, &alpha)?;
            if let Some(radius) = self.ball {
                image = project(&image, &origin, &each(radius)?)?;
            }
        }
        let reach = self.ball.unwrap_or(self.noise + self.alpha * self.steps as f64);
        let epsilon = Tensor::full(reach as f32, count, origin.device())?;
        Ok(Adversarial { image: image.to_dtype(DType::F32)?, epsilon })
    }
}

/// `image` plus noise from `U(-radius, radius)`, one draw an element, clipped to `[0, 1]`.
pub(crate) fn noisy(image: &Tensor, radius: f64, random: &mut ChaCha8Rng) -> Result<Tensor> {
    if radius == 0.0 {
        return Ok(image.clone());
    }
    let noise: Vec<f32> = (0..image.elem_count()).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
    let noise = Tensor::from_vec(noise, image.shape(), image.device())?.to_dtype(image.dtype())?;
    Ok((image + (noise * radius)?)?.clamp(0.0, 1.0)?)
}
