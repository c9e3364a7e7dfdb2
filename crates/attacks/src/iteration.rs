//! Iterated sign steps inside an l-infinity ball, for one radius or several at once.

use candle_core::{DType, Tensor};
use robustseg_ops::{PixelObjective, project, sign_step};

use crate::{Adversarial, Model, Result, check_alpha, check_epsilon, check_steps, input, input_gradient};

/// Iterated sign steps: all that BIM and its relatives differ in is the objective.
pub(crate) struct Iteration {
    /// Size of one step.
    pub(crate) alpha: f64,
    /// Number of steps.
    pub(crate) steps: usize,
    /// The objective to climb at a step, given that step (from 0) and their number.
    pub(crate) objective: fn(usize, usize) -> PixelObjective,
}

/// Paths that are still the same: where they are, and which radii they belong to.
struct Bundle {
    image: Tensor,
    members: Vec<usize>,
}

impl Iteration {
    /// The adversarial examples for one radius.
    pub(crate) fn attack(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        epsilon: f64,
    ) -> Result<Adversarial> {
        let mut images = self.curve(model, image, label, &[epsilon])?;
        let count = image.dim(0)?;
        let epsilon = Tensor::full(epsilon as f32, count, image.device())?;
        Ok(Adversarial { image: images.swap_remove(0), epsilon })
    }

    /// The adversarial images for each of `epsilons`, in their order.
    ///
    /// Paths of different radii are the same until the projection onto the smaller ball bites. Until then one
    /// gradient serves them all; paths part at the first step after which their images differ anywhere.
    ///
    /// Between the steps images are f64. Rounded to f32, a pixel is off by up to 3e-8, which moves activations by 1e-6,
    /// more than the network's own rounding does; and one activation that ends up on the other side of zero sends the
    /// rest of the path elsewhere.
    pub(crate) fn curve(
        &self,
        model: &dyn Model,
        image: &Tensor,
        label: &Tensor,
        epsilons: &[f64],
    ) -> Result<Vec<Tensor>> {
        check_alpha(self.alpha)?;
        check_steps(self.steps)?;
        epsilons.iter().try_for_each(|&epsilon| check_epsilon(epsilon))?;
        let count = input::check(image, label)?;
        let original = image.detach();
        let image = original.to_dtype(DType::F64)?;
        let alpha = Tensor::full(self.alpha, count, image.device())?;
        let radius = |epsilon: f64| Tensor::full(epsilon, count, image.device());

        // A ball of radius 0 holds one image: there is nothing to climb.
        let members = (0..epsilons.len()).filter(|&index| epsilons[index] > 0.0).collect();
        let mut bundles = vec![Bundle { image: image.clone(), members }];
        for step in 0..self.steps {
            let objective = (self.objective)(step, self.steps);
            let mut next: Vec<Bundle> = Vec::new();
            for Bundle { image: start, members } in bundles {
                if members.is_empty() {
                    continue;
                }
                let gradient = input_gradient(model, &start, label, objective)?.gradient;
                let moved = sign_step(&start, &gradient, &alpha)?;
                let first_of_this_start = next.len();
                for member in members {
                    let projected = project(&moved, &image, &radius(epsilons[member])?)?;
                    join(&mut next, first_of_this_start, projected, member)?;
                }
            }
            bundles = next;
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

/// Adds `member` to the bundle at or after `from` that is at `image`, or begins one.
fn join(bundles: &mut Vec<Bundle>, from: usize, image: Tensor, member: usize) -> Result<()> {
    for bundle in &mut bundles[from..] {
        if bundle.image.ne(&image)?.max_all()?.to_scalar::<u8>()? == 0 {
            bundle.members.push(member);
            return Ok(());
        }
    }
    bundles.push(Bundle { image, members: vec![member] });
    Ok(())
}
