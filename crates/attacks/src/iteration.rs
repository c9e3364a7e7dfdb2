//! Iterated steps inside a ball, for one radius or several at once.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, l1_norm_per_image};
use robustseg_random::Rng;

use crate::gradient::{InputGradient, finite, unchecked};
use crate::{Adversarial, Case, Norm, Result, Start, selection};

/// Iterated steps up the gradient, or along its sign in an l-infinity ball. BIM and its relatives
/// differ in the objective, the momentum and the start.
pub(crate) struct Iteration<'a> {
    /// Size of one step.
    pub(crate) alpha: f64,
    /// Number of steps.
    pub(crate) steps: usize,
    /// The objective at a step, given its index from 0 and the number of steps.
    pub(crate) objective: &'a dyn Fn(usize, usize) -> PixelObjective,
    /// The factor of the accumulated direction when a gradient is added to it. Without it, the
    /// gradient is the direction.
    pub(crate) decay: Option<f64>,
    /// The norm of the ball and of the steps.
    pub(crate) norm: Norm,
}

/// Paths that are still identical: their image and momentum, and the radii they belong to.
struct Bundle {
    image: Tensor,
    momentum: Option<Tensor>,
    members: Vec<usize>,
}

impl Iteration<'_> {
    /// The adversarial examples at each of `epsilons`, from `start`: one candidate each.
    ///
    /// A random start is the same point of the ball, relative to its radius, at every epsilon. The
    /// paths then share nothing. Images without a labelled pixel stay unchanged even if the others
    /// start at a random point.
    pub(crate) fn examples(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        start: Start,
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        let images = match start {
            Start::Image => self.paths(case, epsilons, None)?,
            Start::Random => {
                let blank = selection::without_labels(case.label())?;
                let noise = self.norm.noise(case.image().shape(), case.image().device(), random)?;
                let moved = self.paths(case, epsilons, Some(&noise))?;
                let kept = moved.iter().map(|moved| selection::rows(&blank, case.image(), moved));
                kept.collect::<Result<Vec<_>>>()?
            }
        };
        let example = |(image, &epsilon): (Tensor, &f64)| {
            Ok(vec![Adversarial { image, epsilon: case.for_each_image(epsilon)? }])
        };
        images.into_iter().zip(epsilons).map(example).collect()
    }

    /// The adversarial images at each of `epsilons`, in the same order.
    ///
    /// Paths of different radii are identical until the projection onto the smaller ball takes
    /// effect. Until then one gradient serves them all. Paths separate at the first step after
    /// which their images differ anywhere.
    ///
    /// Images are f64 between the steps. Rounding to f32 moves pixels by up to 3e-8 and
    /// activations by 1e-6, more than the network's own rounding. A single activation that ends up
    /// on the other side of zero changes the rest of the path.
    ///
    /// With `noise` (N, 3, H, W), f64, a point of the ball of radius 1 around 0, a path starts at the
    /// image plus radius times noise.
    fn paths(&self, case: &Case<'_>, epsilons: &[f64], noise: Option<&Tensor>) -> Result<Vec<Tensor>> {
        let (model, label, count) = (case.model(), case.label(), case.len());
        let original = case.image().detach();
        let image = original.to_dtype(DType::F64)?;
        let alpha = Tensor::full(self.alpha, count, image.device())?;
        let radius = |epsilon: f64| Tensor::full(epsilon, count, image.device());

        // A ball of radius 0 holds one image and leaves nothing to climb.
        let members = (0..epsilons.len()).filter(|&index| epsilons[index] > 0.0);
        let mut bundles = match noise {
            None => vec![Bundle { image: image.clone(), momentum: None, members: members.collect() }],
            Some(noise) => members
                .map(|member| {
                    let image = (&image + (noise * epsilons[member])?)?.clamp(0.0, 1.0)?;
                    Ok(Bundle { image, momentum: None, members: vec![member] })
                })
                .collect::<Result<_>>()?,
        };
        let mut values = Vec::new();
        for step in 0..self.steps {
            let objective = (self.objective)(step, self.steps);
            let mut next: Vec<Bundle> = Vec::new();
            for Bundle { image: start, momentum, members } in bundles {
                if members.is_empty() {
                    continue;
                }
                let (InputGradient { value, gradient }, _) = unchecked(model, &start, label, objective)?;
                values.push(value);
                let momentum = self.decay.map(|decay| accumulate(momentum, decay, &gradient)).transpose()?;
                let moved = self.norm.step(&start, momentum.as_ref().unwrap_or(&gradient), &alpha)?;
                let first_of_this_start = next.len();
                for member in members {
                    let image = self.norm.project(&moved, &image, &radius(epsilons[member])?)?;
                    join(&mut next, first_of_this_start, image, momentum.as_ref(), member)?;
                }
            }
            bundles = next;
        }
        // By now the GPU has all its work enqueued.
        for value in values {
            finite("objective", &value.to_vec1()?)?;
        }
        let mut images = vec![original; epsilons.len()];
        for bundle in bundles {
            let image = bundle.image.to_dtype(DType::F32)?;
            for member in bundle.members {
                images[member] = image.clone();
            }
        }
        Ok(images)
    }
}

/// `decay` times the accumulated direction plus the gradient over its l1 norm, image by image.
fn accumulate(former: Option<Tensor>, decay: f64, gradient: &Tensor) -> Result<Tensor> {
    let norms: Vec<f32> = l1_norm_per_image(gradient)?.to_vec1()?;
    finite("norm of the gradient", &norms)?;
    let shares: Vec<f32> = norms.iter().map(|&norm| if norm > 0.0 { 1.0 / norm } else { 0.0 }).collect();
    let shares = Tensor::from_vec(shares, (norms.len(), 1, 1, 1), gradient.device())?;
    let share = gradient.broadcast_mul(&shares)?;
    Ok(match former {
        Some(former) => ((former * decay)? + share)?,
        None => share,
    })
}

/// Adds `member` to the bundle, at index `from` or later, whose image is `image`, or starts a new
/// bundle.
fn join(
    bundles: &mut Vec<Bundle>,
    from: usize,
    image: Tensor,
    momentum: Option<&Tensor>,
    member: usize,
) -> Result<()> {
    for bundle in &mut bundles[from..] {
        if bundle.image.ne(&image)?.max_all()?.to_scalar::<u8>()? == 0 {
            bundle.members.push(member);
            return Ok(());
        }
    }
    bundles.push(Bundle { image, momentum: momentum.cloned(), members: vec![member] });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn directions_add_up_independently_of_the_gradients_length() -> Result<()> {
        let gradient = |values: [f32; 4]| Tensor::from_slice(&values, (2, 1, 1, 2), &Device::Cpu);
        // The second image has no gradient.
        let first = accumulate(None, 0.5, &gradient([3.0, -1.0, 0.0, 0.0])?)?;
        assert_eq!(first.flatten_all()?.to_vec1::<f32>()?, [0.75, -0.25, 0.0, 0.0]);
        let second = accumulate(Some(first), 0.5, &gradient([0.0, 80.0, 0.0, -4.0])?)?;
        assert_eq!(second.flatten_all()?.to_vec1::<f32>()?, [0.375, 0.875, 0.0, -1.0]);
        Ok(())
    }
}
