//! The norm of a ball around an image: its steps, projection and random points.

use candle_core::{DType, Device, Shape, Tensor};
use rand::RngExt;
use robustseg_ops::{project, sign_step};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use crate::epsilon::EpsilonRole;
use crate::ranges::check_alpha;
use crate::{Error, Result};

/// The norm in which an attack's epsilon and alpha are measured.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use robustseg_attacks::{Attack, Case, Norm, Pgd, channels_first};
///
/// let model = channels_first(|image: &Tensor| image.affine(4.0, 0.0));
/// let image = Tensor::full(0.5_f32, (1, 3, 8, 7), &Device::Cpu)?;
/// let label = Tensor::zeros((1, 8, 7), DType::U8, &Device::Cpu)?;
/// let case = Case::new(&model, &image, &label)?;
/// let pgd = Pgd { alpha: 0.5, steps: 5, restarts: 1, norm: Norm::L2 };
/// let found = pgd.perturb(&case, 2.0, &mut robustseg_random::stream(0, "example", [0; 3]))?;
/// let norm = (found.image - &image)?.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
/// assert!(norm <= 2.0 * 56_f32.sqrt() / 224.0 + 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The largest change of a channel.
    #[default]
    Linf,
    /// The root of the sum of squared changes of an image of 224 x 224 pixels. For another size the
    /// radius grows with the root of the number of pixels, so that an epsilon means the same mean
    /// change per pixel at every size.
    L2,
}

/// The side of the image for which an epsilon in [`Norm::L2`] is the radius itself.
const SIDE: f64 = 224.0;
/// Far below the norm of any gradient or change in f32 but zero, and its inverse is finite.
const TINY: f64 = 1e-150;

impl Norm {
    /// The role of epsilon in balls of this norm.
    pub(crate) fn role(self) -> EpsilonRole {
        match self {
            Self::Linf => EpsilonRole::Radius,
            Self::L2 => EpsilonRole::L2Radius,
        }
    }

    /// Refuses an alpha out of range.
    pub(crate) fn check_alpha(self, alpha: f64) -> Result<()> {
        match self {
            Self::Linf => check_alpha(alpha),
            Self::L2 if alpha > 0.0 && alpha <= EpsilonRole::LARGEST_L2 => Ok(()),
            Self::L2 => refuse(alpha, "must be a number above 0 and at most 388".into()),
        }
    }

    /// Refuses a number of steps of size alpha that cannot reach the surface of an l2 ball of radius
    /// `epsilon`. The defaults of alpha are made for l-infinity balls.
    pub(crate) fn check_reach(self, [alpha, steps]: [Option<f64>; 2], epsilon: f64) -> Result<()> {
        let (Some(alpha), Some(steps)) = (alpha, steps) else { return Ok(()) };
        let reach = alpha * steps;
        if self == Self::Linf || reach >= epsilon {
            return Ok(());
        }
        let reason = format!(
            "{steps} such steps reach {reach:.4} of an epsilon of {epsilon}; with norm l2, alpha has the unit of epsilon, and a \
             quarter of it is usual"
        );
        refuse(alpha, reason)
    }

    /// `image` (N, 3, H, W), f64, after a step up `gradient`, f32, of `sizes` (N), f64. A step in
    /// [`Norm::L2`] may leave `[0, 1]`.
    pub(crate) fn step(self, image: &Tensor, gradient: &Tensor, sizes: &Tensor) -> Result<Tensor> {
        if self == Self::Linf {
            return Ok(sign_step(image, gradient, sizes)?);
        }
        let gradient = gradient.to_dtype(DType::F64)?;
        // Without a gradient there is no step.
        let lengths = lengths(&gradient)?.maximum(TINY)?;
        let scale = per_image(&(sizes * unit(image)?)?.div(&lengths)?)?;
        Ok((image + gradient.broadcast_mul(&scale)?)?)
    }

    /// `image` (N, 3, H, W) projected onto the balls of radius `epsilons` (N) around `origin`, then
    /// onto `[0, 1]`, which does not leave the ball.
    pub(crate) fn project(self, image: &Tensor, origin: &Tensor, epsilons: &Tensor) -> Result<Tensor> {
        if self == Self::Linf {
            return Ok(project(image, origin, epsilons)?);
        }
        let change = (image - origin)?;
        let lengths = lengths(&change)?.maximum(TINY)?;
        let share = (epsilons * unit(image)?)?.div(&lengths)?.minimum(1.0)?;
        Ok((origin + change.broadcast_mul(&per_image(&share)?)?)?.clamp(0.0, 1.0)?)
    }

    /// Random points of balls of epsilon 1 around 0, f64, of the shape (N, 3, H, W).
    pub(crate) fn noise(self, shape: &Shape, device: &Device, random: &mut dyn Rng) -> Result<Tensor> {
        if self == Self::Linf {
            let values = (0..shape.elem_count()).map(|_| 2.0 * random.random::<f64>() - 1.0).collect();
            return Ok(Tensor::from_vec::<_, f64>(values, shape, device)?);
        }
        let values = (0..shape.elem_count()).map(|_| normal(random)).collect();
        let direction = Tensor::from_vec::<_, f64>(values, shape, device)?;
        let images = shape.dims()[0];
        // The volume within a radius grows with its power of the dimension.
        let dimension = (shape.elem_count() / images) as f64;
        let radii = (0..images).map(|_| random.random::<f64>().powf(1.0 / dimension)).collect();
        let radii = Tensor::from_vec::<_, f64>(radii, images, device)?;
        let scale = (radii * unit(&direction)?)?.div(&lengths(&direction)?)?;
        Ok(direction.broadcast_mul(&per_image(&scale)?)?)
    }
}

/// The radius of an l2 ball of epsilon 1 around an image of the size of `image` (N, 3, H, W).
fn unit(image: &Tensor) -> Result<f64> {
    let (_, _, height, width) = image.dims4()?;
    Ok(((height * width) as f64).sqrt() / SIDE)
}

/// The l2 norm of each image, (N, 3, H, W) to (N).
fn lengths(images: &Tensor) -> Result<Tensor> {
    Ok(images.sqr()?.flatten_from(1)?.sum(1)?.sqrt()?)
}

/// (N) to (N, 1, 1, 1).
fn per_image(values: &Tensor) -> Result<Tensor> {
    Ok(values.reshape(((), 1, 1, 1))?)
}

/// A draw from the standard normal distribution (Box, Muller 1958).
fn normal(random: &mut dyn Rng) -> f64 {
    let (radius, turn) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

fn refuse(alpha: f64, reason: String) -> Result<()> {
    Err(Error::Setting { setting: "alpha".into(), value: alpha, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use robustseg_random::stream;

    const SHAPE: (usize, usize, usize, usize) = (2, 3, 5, 7);
    const COUNT: usize = 2 * 3 * 5 * 7;

    fn tensor(values: Vec<f64>) -> Tensor {
        Tensor::from_vec(values, SHAPE, &Device::Cpu).unwrap()
    }

    /// Distances between images, in the unit of epsilon.
    fn distances(a: &Tensor, b: &Tensor) -> Vec<f64> {
        (lengths(&(a - b).unwrap()).unwrap() / unit(a).unwrap()).unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn projections_are_in_the_ball_and_in_range_and_move_nothing_inside(
            origin in prop::collection::vec(0.0..=1.0_f64, COUNT),
            image in prop::collection::vec(-1.0..=2.0_f64, COUNT),
            gradient in prop::collection::vec(-1.0..=1.0_f64, COUNT),
            epsilon in 0.0..40.0_f64,
            size in 0.0..40.0_f64,
        ) {
            let (origin, image) = (tensor(origin), tensor(image));
            let epsilons = Tensor::new(&[epsilon, epsilon / 3.0], &Device::Cpu).unwrap();
            let found = Norm::L2.project(&image, &origin, &epsilons).unwrap();
            for (distance, epsilon) in distances(&found, &origin).iter().zip([epsilon, epsilon / 3.0]) {
                prop_assert!(*distance <= epsilon * (1.0 + 1e-12), "{distance} {epsilon}");
            }
            let range = found.ge(0.0).unwrap().mul(&found.le(1.0).unwrap()).unwrap();
            prop_assert_eq!(range.min_all().unwrap().to_scalar::<u8>().unwrap(), 1);
            let again = Norm::L2.project(&found, &origin, &epsilons).unwrap();
            prop_assert!(distances(&again, &found).iter().all(|distance| *distance < 1e-9));
            // A step is as long as it should be.
            let gradient = tensor(gradient).to_dtype(DType::F32).unwrap();
            let sizes = Tensor::new(&[size, size / 2.0], &Device::Cpu).unwrap();
            let stepped = Norm::L2.step(&origin, &gradient, &sizes).unwrap();
            for (distance, size) in distances(&stepped, &origin).iter().zip([size, size / 2.0]) {
                prop_assert!((distance - size).abs() < 1e-6 * (1.0 + size), "{distance} {size}");
            }
        }
    }

    #[test]
    fn random_points_fill_the_ball_evenly() -> Result<()> {
        // One pixel has three channels. An eighth of a ball of three dimensions lies within half of
        // its radius.
        let shape = Shape::from((4000, 3, 1, 1));
        let noise = Norm::L2.noise(&shape, &Device::Cpu, &mut stream(0, "noise", [0; 3]))?;
        let distances: Vec<f64> = (lengths(&noise)? / unit(&noise)?)?.to_vec1()?;
        assert!(distances.iter().all(|distance| *distance <= 1.0 + 1e-12));
        let inner = distances.iter().filter(|distance| **distance < 0.5).count();
        assert!((440..560).contains(&inner), "{inner} of 4000");
        let mean: Vec<f64> = noise.mean(0)?.flatten_all()?.to_vec1()?;
        assert!(mean.iter().all(|mean| mean.abs() < 0.05 / SIDE), "{mean:?}");
        Ok(())
    }

    #[test]
    fn no_gradient_is_no_step_and_alphas_have_the_unit_of_epsilon() -> Result<()> {
        let image = tensor(vec![0.5; COUNT]);
        let sizes = Tensor::new(&[1.0, 1.0], &Device::Cpu)?;
        let still = Norm::L2.step(&image, &Tensor::zeros(SHAPE, DType::F32, &Device::Cpu)?, &sizes)?;
        assert_eq!(distances(&still, &image), [0.0, 0.0]);
        assert!(Norm::Linf.check_alpha(2.0).is_err() && Norm::L2.check_alpha(2.0).is_ok());
        assert!(Norm::L2.check_alpha(0.0).is_err() && Norm::L2.check_alpha(f64::NAN).is_err());
        let reach = |norm: Norm, alpha, steps| norm.check_reach([Some(alpha), Some(steps)], 1.0);
        assert!(reach(Norm::L2, 0.25, 4.0).is_ok() && reach(Norm::Linf, 0.01, 3.0).is_ok());
        assert!(Norm::L2.check_reach([None, Some(3.0)], 1.0).is_ok());
        let message = reach(Norm::L2, 0.01, 10.0).unwrap_err().to_string();
        assert!(
            message.starts_with("alpha = 0.01: 10 such steps reach 0.1000 of an epsilon of 1;"),
            "{message}"
        );
        Ok(())
    }
}
