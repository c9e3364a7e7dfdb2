//! `GradAlign`: Andriushchenko, Flammarion, *Understanding and Improving Fast Adversarial
//! Training*, `NeurIPS` 2020.
//!
//! # The second-order term
//!
//! The penalty's gradient with respect to the weights w needs a derivative of the image gradient g.
//! candle's backward pass cannot provide it, because its gradients are not part of a graph. The
//! derivative is not needed as a matrix, though. Let `R = 1 - cos(a, b)`
//! with a = g(x) and b = g(x + n). With the vectors
//! `u = dR/da = (cos(a, b) a / |a| - b / |b|) / |a|`, and v likewise with a and b exchanged,
//!
//! `dR/dw = (da/dw)^T u + (db/dw)^T v`.
//!
//! Since a is the gradient of the loss l in x, `(da/dw)^T u` is the derivative of `dl/dw` as x
//! moves along u. A central difference of the weights' gradients at two images approximates it:
//!
//! `(dl/dw (x + h u) - dl/dw (x - h u)) / 2h + O(h^2)`.
//!
//! Four ordinary backward passes thus replace a double backward pass (Pearlmutter's trick in finite
//! differences, for the mixed derivative). The step h is chosen for each image so that no channel
//! changes by more than 0.002.
//!
//! In a network of `ReLU`s, g jumps where a unit switches. The difference counts the switches
//! between the two images, each divided by 2h. A double backward pass would miss them, although
//! they contribute to the rotation of g. The difference therefore does not converge as h goes to
//! zero but gets noisier. It is exact for smooth networks (a test confirms 1e-6). For `ReLU`s it is
//! an estimate in the right direction.

use candle_core::Tensor;
use robustseg_attacks::{Adversarial, Attack, Case, Fgsm, PixelObjective, check_radius, input_gradient};
use robustseg_evaluation::Target;
use robustseg_models::{Mode, Network, NormStatistics};
use robustseg_ops::{Gradients, Tape, pixel_objective_per_image};
use robustseg_random::Rng;
use serde::{Deserialize, Serialize};

use super::noise::noisy;
use super::range::refuse;
use crate::Result;
use crate::method::{Method, TrainingMethod};
use crate::practice::Practice;
use crate::samples::Samples;

/// The largest change of a channel between an image and each of its two neighbours in the central
/// difference, in units of `[0, 1]`: half a level of an 8-bit image.
const STEP: f64 = 0.002;

/// FGSM with a penalty that aligns the gradients of neighbouring inputs. It adds `lambda * (1 -
/// cos(g(x), g(x + n)))` to the loss for each attacked image x, with noise n from `U(-epsilon,
/// epsilon)`. Here g is the gradient of the image's mean cross-entropy with respect to the image.
/// If gradients inside the ball agree, a single step is as good as many.
///
/// The penalty's gradient with respect to the weights is a central difference of ordinary
/// gradients, through both g(x) and g(x + n), as in the paper's formula. The authors' program
/// detaches g(x) if the attack is FGSM, so the weights learn from g(x + n) alone.
///
/// The penalty uses batch norm's running statistics, whatever `crafting_statistics` says. Each
/// image then has its own gradient, and the statistics stay unchanged. The authors' program
/// computes it in training mode.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct GradAlign {
    /// Size of FGSM's step and magnitude of the noise, in `[0, 1]`.
    pub epsilon: f64,
    /// Weight of the penalty, at least 0.
    pub lambda: f64,
}

impl Default for GradAlign {
    /// Epsilon 0.03, and the paper's lambda of 0.2 for 8/255 on CIFAR-10.
    fn default() -> Self {
        Self { epsilon: 0.03, lambda: 0.2 }
    }
}

impl Method for GradAlign {
    fn name(&self) -> &'static str {
        "grad_align"
    }

    fn title(&self) -> &'static str {
        "GradAlign"
    }

    fn summary(&self) -> &'static str {
        "FGSM, with a penalty that aligns gradients of neighbouring inputs."
    }

    fn validate(&self) -> Result<()> {
        check_radius(self.epsilon)?;
        if self.lambda >= 0.0 && self.lambda.is_finite() {
            return Ok(());
        }
        Err(refuse("lambda", self.lambda, "must be at least 0; the paper has 0.2 for 8/255"))
    }

    /// All samples, on batch statistics, because the authors' model is in training mode throughout.
    fn practice(&self) -> Practice {
        Practice::ALL
    }

    fn cost(&self, probability: f64, _pixels: usize) -> f64 {
        // In addition to FGSM's gradient: two gradients of images and four of weights.
        3.0 + probability * f64::from(2 + 2 * 2 + 4 * 3)
    }

    fn start(&self) -> Box<dyn TrainingMethod> {
        Box::new(Aligning { config: *self, penalty: None })
    }
}

/// The method in a running training. The penalty of an update is kept until the gradient of its
/// loss is known.
struct Aligning {
    config: GradAlign,
    penalty: Option<Penalty>,
}

/// An additional term of the loss.
pub(super) struct Penalty {
    /// The weighted value, as added to the loss.
    value: f64,
    /// The gradients with respect to the trainable parameters. A missing gradient is zero.
    gradients: Gradients,
}

impl GradAlign {
    /// The penalty of `network` on `images` (N, 3, H, W) with `labels` (N, H, W).
    fn penalty(
        &self,
        network: &Network,
        images: &Tensor,
        labels: &Tensor,
        random: &mut dyn Rng,
    ) -> Result<Option<Penalty>> {
        let target = Target::new(network, NormStatistics::Running);
        let objective = PixelObjective::CrossEntropy;
        let neighbours = noisy(images, self.epsilon, random)?;
        let points = [images, &neighbours].map(|images| -> Result<Point> {
            let gradient = input_gradient(&target, images, labels, objective)?.gradient;
            Ok(Point { images: images.clone(), gradient })
        });
        let [here, there] = points;
        let losses = |images: &Tensor| -> Result<Tensor> {
            let logits = network.forward(images, &mut Mode::FixedStatistics)?;
            Ok(pixel_objective_per_image(&logits, labels, objective, network.alignment())?)
        };
        misalignment(&[here?, there?], &losses, self.lambda, STEP)
    }
}

impl TrainingMethod for Aligning {
    fn prepare(&mut self, samples: &Samples<'_>) -> Result<()> {
        self.penalty = match samples.drawn() {
            None => None,
            Some(drawn) => {
                let (network, random) = (samples.network(), &mut samples.random("penalty"));
                let penalty = self.config.penalty(network, &drawn.images, &drawn.labels, random);
                penalty.map_err(|error| drawn.named(error))?
            }
        };
        Ok(())
    }

    fn craft(&mut self, case: &Case<'_>, random: &mut dyn Rng) -> Result<Option<Adversarial>> {
        Ok(Some(Fgsm {}.perturb(case, self.config.epsilon, random)?))
    }

    fn after_backward(&mut self, gradients: &mut Gradients) -> Result<Option<f64>> {
        let Some(Penalty { value, gradients: more }) = self.penalty.take() else { return Ok(None) };
        gradients.extend(more)?;
        Ok(Some(value))
    }
}

/// Images (N, ...) and the gradient of each image's loss with respect to it.
struct Point {
    images: Tensor,
    gradient: Tensor,
}

/// `lambda` times the mean of `1 - cos` between the gradients at two points, over images where
/// neither gradient is zero. Also returns its gradient with respect to all variables that `losses`
/// depends on. `losses` gives the loss (N) of each image.
fn misalignment(
    points: &[Point; 2],
    losses: &dyn Fn(&Tensor) -> Result<Tensor>,
    lambda: f64,
    step: f64,
) -> Result<Option<Penalty>> {
    let [a, b] = [&points[0].gradient, &points[1].gradient];
    let product = |a: &Tensor, b: &Tensor| per_image(&(a * b)?);
    let (both, squares) = (product(a, b)?, [product(a, a)?, product(b, b)?]);
    let defined = |index: &usize| squares.iter().all(|squares| squares[*index] > 0.0);
    let cosine = |index: usize| both[index] / (squares[0][index] * squares[1][index]).sqrt();
    let cosines: Vec<Option<f64>> =
        (0..both.len()).map(|index| defined(&index).then(|| cosine(index))).collect();
    let count = cosines.iter().flatten().count().max(1) as f64;

    let mut gradients: Option<Gradients> = None;
    for (own, other) in [(0, 1), (1, 0)] {
        let factor = |of: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            cosines.iter().enumerate().map(|(n, cosine)| cosine.map_or(0.0, |cosine| of(n, cosine))).collect()
        };
        let towards = factor(&|n, _| -1.0 / (squares[0][n] * squares[1][n]).sqrt());
        let away = factor(&|n, cosine| cosine / squares[own][n]);
        let direction = (scale(&points[other].gradient, &towards)? + scale(&points[own].gradient, &away)?)?;
        let furthest: Vec<f64> = largest(&direction)?;
        let h: Vec<f64> =
            furthest.iter().map(|furthest| if *furthest > 0.0 { step / furthest } else { 0.0 }).collect();
        // candle's gradients may still depend on the weights, which are constants here.
        let moved = scale(&direction, &h)?.detach();
        for sign in [1.0, -1.0] {
            let weight = |h: &f64| if *h > 0.0 { sign * lambda / (2.0 * h * count) } else { 0.0 };
            let weights: Vec<f64> = h.iter().map(weight).collect();
            let images = (&points[own].images + (&moved * sign)?)?;
            let tape = Tape::start();
            let losses = losses(&images)?;
            let weights = Tensor::new(weights, losses.device())?.to_dtype(losses.dtype())?;
            let found = tape.backward(&(losses * weights)?)?;
            match &mut gradients {
                Some(sum) => sum.extend(found)?,
                None => gradients = Some(found),
            }
        }
    }
    let mean = cosines.iter().flatten().map(|cosine| 1.0 - cosine).sum::<f64>() / count;
    Ok(gradients.map(|gradients| Penalty { value: lambda * mean, gradients }))
}

/// The sum over each image's elements.
fn per_image(values: &Tensor) -> Result<Vec<f64>> {
    Ok(values.flatten_from(1)?.to_dtype(candle_core::DType::F64)?.sum(1)?.to_vec1()?)
}

/// The largest magnitude among each image's elements.
fn largest(values: &Tensor) -> Result<Vec<f64>> {
    Ok(values.abs()?.flatten_from(1)?.max(1)?.to_dtype(candle_core::DType::F64)?.to_vec1()?)
}

/// Each image of `values`, multiplied by its factor.
fn scale(values: &Tensor, factors: &[f64]) -> Result<Tensor> {
    let mut shape = vec![1; values.rank()];
    shape[0] = factors.len();
    let factors = Tensor::from_slice(factors, shape, values.device())?.to_dtype(values.dtype())?;
    Ok(values.broadcast_mul(&factors)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use candle_core::{DType, Device, Var};
    use rand::RngExt;
    use robustseg_random::stream;

    /// Two images of six numbers in f64, a network with one hidden layer, and its loss for each
    /// image.
    struct Tiny {
        images: Tensor,
        neighbours: Tensor,
        variables: [Var; 3],
    }

    impl Tiny {
        fn new(seed: u64) -> Result<Self> {
            let random = &mut stream(seed, "tiny", [0; 3]);
            let mut draw = |shape: &[usize]| -> Result<Tensor> {
                let values = (0..shape.iter().product()).map(|_| random.random::<f64>() * 2.0 - 1.0);
                Ok(Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)?)
            };
            let (images, noise) = (draw(&[2, 6])?, draw(&[2, 6])?);
            let neighbours = (&images + (noise * 0.3)?)?;
            let variables = [draw(&[6, 5])?, draw(&[5])?, draw(&[5, 3])?];
            let [a, b, c] = variables.map(|tensor| Var::from_tensor(&tensor));
            Ok(Self { images, neighbours, variables: [a?, b?, c?] })
        }

        /// Cross-entropy against class 0, smooth in all arguments.
        fn losses(&self, images: &Tensor) -> Result<Tensor> {
            let [first, bias, second] = &self.variables;
            let hidden = images.matmul(first)?.broadcast_add(bias)?.tanh()?;
            let logits = hidden.matmul(second)?;
            Ok((logits.exp()?.sum(1)?.log()? - logits.narrow(1, 0, 1)?.squeeze(1)?)?)
        }

        fn points(&self) -> Result<[Point; 2]> {
            let point = |images: &Tensor| -> Result<Point> {
                let variable = Var::from_tensor(images)?;
                let found = self.losses(variable.as_tensor())?.sum_all()?.backward()?;
                let gradient = found.get(variable.as_tensor()).expect("it depends on the image").clone();
                Ok(Point { images: images.clone(), gradient })
            };
            Ok([point(&self.images)?, point(&self.neighbours)?])
        }

        fn penalty(&self) -> Result<Penalty> {
            let losses = |images: &Tensor| self.losses(images);
            Ok(misalignment(&self.points()?, &losses, 0.7, 1e-4)?.expect("a penalty"))
        }
    }

    #[test]
    fn the_gradient_is_the_penaltys_numerical_derivative() -> Result<()> {
        for seed in 0..4 {
            let tiny = Tiny::new(seed)?;
            let penalty = tiny.penalty()?;
            assert!(penalty.value > 1e-3, "{}", penalty.value);
            for variable in &tiny.variables {
                let gradient = penalty.gradients.get(variable.as_tensor()).expect("every weight takes part");
                let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
                let before = variable.flatten_all()?.to_vec1::<f64>()?;
                for (index, found) in gradient.into_iter().enumerate() {
                    let at = |change: f64| -> Result<f64> {
                        let mut values = before.clone();
                        values[index] += change;
                        robustseg_ops::assign(
                            variable,
                            &Tensor::from_vec(values, variable.shape(), &Device::Cpu)?,
                        )?;
                        Ok(tiny.penalty()?.value)
                    };
                    let expected = (at(1e-5)? - at(-1e-5)?) / 2e-5;
                    at(0.0)?;
                    assert!(
                        (found - expected).abs() < 1e-6 * (1.0 + expected.abs()),
                        "{found}, not {expected}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn images_without_a_gradient_are_left_out() -> Result<()> {
        let tiny = Tiny::new(1)?;
        let mut points = tiny.points()?;
        let losses = |images: &Tensor| tiny.losses(images);
        let mask = Tensor::new(&[[1.0_f64], [0.0]], &Device::Cpu)?;
        points[1].gradient = points[1].gradient.broadcast_mul(&mask)?;
        let one = misalignment(&points, &losses, 1.0, 1e-4)?.expect("a penalty");
        let both = tiny.points()?.map(|Point { images, gradient }| -> Result<Point> {
            Ok(Point { images: images.narrow(0, 0, 1)?, gradient: gradient.narrow(0, 0, 1)? })
        });
        let [here, there] = both;
        let alone = misalignment(&[here?, there?], &losses, 1.0, 1e-4)?.expect("a penalty");
        assert!((one.value - alone.value).abs() < 1e-12);
        let flat = |penalty: &Penalty| -> Result<Vec<f64>> {
            let gradient = penalty.gradients.get(tiny.variables[0].as_tensor()).expect("a gradient");
            Ok(gradient.flatten_all()?.to_vec1()?)
        };
        for (one, alone) in flat(&one)?.into_iter().zip(flat(&alone)?) {
            assert!((one - alone).abs() < 1e-9);
        }
        Ok(())
    }

    /// A step of plain gradient descent on the penalty alone lowers it by about the amount that its
    /// gradient predicts.
    #[test]
    fn descending_the_penalty_of_a_network_aligns_its_gradients() -> Result<()> {
        let network = fixture::network(3)?;
        let batch = fixture::batch(1, 2);
        let images = Tensor::from_slice(&batch.images, (2, 3, batch.height, batch.width), &Device::Cpu)?;
        let labels = Tensor::from_slice(&batch.labels, (2, batch.height, batch.width), &Device::Cpu)?;
        let method = GradAlign { epsilon: 0.1, lambda: 1.0 };
        let penalty = || -> Result<Penalty> {
            let random = &mut stream(0, "penalty", [0; 3]);
            Ok(method.penalty(&network, &images, &labels, random)?.expect("a penalty"))
        };
        let before = penalty()?;
        let trainable: Vec<&Var> =
            network.parameters().values().filter(|p| p.is_trainable()).map(|p| &p.var).collect();
        let mut square = 0.0;
        let gradient = |variable: &Var| before.gradients.get(variable.as_tensor());
        for gradient in trainable.iter().filter_map(|variable| gradient(variable)) {
            square += gradient.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
        // A decrease of 0.02, if the penalty were linear.
        let rate = 0.02 / square;
        for variable in &trainable {
            if let Some(gradient) = gradient(variable) {
                robustseg_ops::assign(variable, &(variable.as_tensor() - (gradient * rate)?)?)?;
            }
        }
        let fall = before.value - penalty()?.value;
        assert!((0.005..0.04).contains(&fall), "{fall} from {}", before.value);
        Ok(())
    }
}
