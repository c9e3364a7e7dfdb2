//! Noisy Newton against its formulas, on a linear model.

use candle_core::DType;
use proptest::prelude::*;
use robustseg_attacks::{IGNORE_LABEL, PixelObjective, input_gradient};
use robustseg_random::stream;

use super::length::{Curvature, Length};
use super::objective::Objective;
use super::*;
use crate::methods::tests::{CLASSES, SHAPE, Scene, values};

const CHOICES: [(StepGain, PixelWeights); 4] = [
    (StepGain::Plain, PixelWeights::Pixel),
    (StepGain::Plain, PixelWeights::Class),
    (StepGain::Masked, PixelWeights::Pixel),
    (StepGain::Masked, PixelWeights::Class),
];

/// Gain, label and best other class of each pixel of image `index`, and its G and gradient by
/// pixel, from the formulas.
fn by_hand(scene: &Scene, index: usize, gain: StepGain, weights: PixelWeights) -> (f64, Vec<[f64; 3]>) {
    let logits = scene.logits(&scene.images.narrow(0, index, 1).unwrap()).unwrap();
    let logits: Vec<Vec<f32>> = logits.reshape(((), CLASSES)).unwrap().to_vec2().unwrap();
    let labels: Vec<u8> = scene.labels.get(index).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let matrix: Vec<Vec<f32>> = scene.matrix.to_vec2().unwrap();
    let pixel = |(logits, &label): (&Vec<f32>, &u8)| {
        (label != IGNORE_LABEL).then(|| {
            let label = usize::from(label);
            let others = (0..CLASSES).filter(|other| *other != label);
            let best = others.max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            (f64::from(logits[label] - logits[best]), label, best)
        })
    };
    let pixels: Vec<Option<(f64, usize, usize)>> = logits.iter().zip(&labels).map(pixel).collect();
    let masked = gain == StepGain::Masked;
    let counts = |gain: f64| !masked || gain > 0.0;
    let mut positive: Vec<f64> = pixels.iter().flatten().map(|p| p.0).filter(|g| counts(*g)).collect();
    positive.sort_by(f64::total_cmp);
    let median = positive.len().saturating_sub(1) / 2;
    let most = positive.get(median).copied().filter(|_| masked).unwrap_or(f64::INFINITY);
    let of_class = |class: usize| pixels.iter().flatten().filter(|pixel| pixel.1 == class).count() as f64;
    let weight = |label: usize| if weights == PixelWeights::Class { 1.0 / of_class(label) } else { 1.0 };
    let counting = || pixels.iter().flatten().filter(|pixel| counts(pixel.0));
    let total: f64 = counting().map(|pixel| weight(pixel.1)).sum();
    let value: f64 = counting().map(|pixel| weight(pixel.1) * pixel.0.min(most)).sum();
    let slope = |pixel: &Option<(f64, usize, usize)>| match *pixel {
        Some((gain, label, best)) if counts(gain) && gain <= most => {
            let channel = |c: usize| f64::from(matrix[c][label] - matrix[c][best]) * weight(label) / total;
            [channel(0), channel(1), channel(2)]
        }
        _ => [0.0; 3],
    };
    (if total > 0.0 { value / total } else { 0.0 }, pixels.iter().map(slope).collect())
}

fn objective(scene: &Scene, gain: StepGain, weights: PixelWeights, contributions: bool) -> Objective {
    let model = |images: &Tensor| scene.logits(images);
    Objective::at(&scene.case(&model), &scene.images, gain, weights, contributions).unwrap()
}

proptest! {
    #[test]
    fn the_gain_of_a_step_and_its_gradient_are_those_of_the_formulas(seed: u64) {
        let scene = Scene::new(seed, 0.0, 1.0);
        for (gain, weights) in CHOICES {
            let found = objective(&scene, gain, weights, true);
            let contributions = values(&found.contributions.unwrap().flatten_from(1).unwrap().sum(1).unwrap());
            for (index, contribution) in contributions.into_iter().enumerate() {
                let (value, slopes) = by_hand(&scene, index, gain, weights);
                let name = format!("{gain:?} {weights:?}");
                prop_assert!((f64::from(values(&found.value)[index]) - value).abs() < 1e-5, "{name}");
                prop_assert!((f64::from(contribution) - value).abs() < 1e-5, "{name}");
                let gradient: Vec<Vec<f32>> =
                    found.gradient.get(index).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
                for (pixel, slope) in slopes.iter().enumerate() {
                    for channel in 0..3 {
                        let (found, expected) = (f64::from(gradient[channel][pixel]), slope[channel]);
                        prop_assert!((found - expected).abs() < 1e-5, "{name}: {found}, not {expected}");
                    }
                }
            }
        }
        // The mean gain is the objective of Fast Newton, to the last digit if nothing is local.
        let model = |images: &Tensor| scene.logits(images);
        let plain = objective(&scene, StepGain::Plain, PixelWeights::Pixel, false);
        let expected = input_gradient(&model, &scene.images, &scene.labels, PixelObjective::Gain).unwrap();
        prop_assert_eq!(values(&plain.gradient), values(&expected.gradient));
    }

    #[test]
    fn the_example_is_noise_and_a_random_share_of_newtons_step(
        seed: u64,
        epsilon in 0.01..0.1_f64,
        noise in 0.0..2.0_f64,
        limit in 0.5..2.0_f64,
    ) {
        let scene = Scene::new(seed, 0.0, 1.0);
        let method = NoisyNewton { epsilon, noise, limit, ..NoisyNewton::default() };
        let crafted = scene.craft(&method, seed);
        let random = &mut stream(seed, "craft", [0; 3]);
        let start = noisy(&scene.images, noise * epsilon, random).unwrap();
        let share = values(&shares(start.shape(), start.device(), random).unwrap());
        let model = |images: &Tensor| scene.logits(images);
        let found = input_gradient(&model, &start, &scene.labels, PixelObjective::Gain).unwrap();
        let (gains, gradient) = (values(&found.value), values(&found.gradient));
        let size = gradient.len() / SHAPE.0;
        let (start, examples) = (values(&start), values(&crafted.image));
        for (index, length) in values(&crafted.epsilon).into_iter().enumerate() {
            let own = index * size..(index + 1) * size;
            let norm: f32 = gradient[own.clone()].iter().map(|slope| slope.abs()).sum();
            let expected = if norm == 0.0 { 0.0 } else { gains[index] / norm };
            let expected = expected.clamp(0.0, (limit * epsilon) as f32);
            prop_assert!((length - expected).abs() < 1e-6, "{length}, not {expected}");
            for at in own {
                let sign = if gradient[at] == 0.0 { 0.0 } else { gradient[at].signum() };
                let moved = (start[at] - length * share[at] * sign).clamp(0.0, 1.0);
                prop_assert!((examples[at] - moved).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn no_option_leaves_the_range_or_the_reach(seed: u64, choice in 0..4_usize, local in 0..4_usize) {
        let (gain, weights) = CHOICES[choice];
        let local = (local > 0).then_some(local);
        let scene = Scene::new(seed, 0.0, 1.0);
        let method = NoisyNewton { gain, weights, local, ..NoisyNewton::default() };
        let crafted = scene.craft(&method, seed);
        prop_assert!(values(&crafted.image).iter().all(|value| (0.0..=1.0).contains(value)));
        prop_assert!(scene.change(&crafted).into_iter().all(|change| change <= 4.0 * 0.03 + 1e-6));
        prop_assert!(values(&crafted.epsilon).into_iter().all(|length| (0.0..=0.06 + 1e-6).contains(&length)));
    }

    #[test]
    fn a_region_as_large_as_the_image_has_the_images_length(seed: u64, choice in 0..4_usize) {
        let (gain, weights) = CHOICES[choice];
        let scene = Scene::new(seed, 0.0, 1.0);
        let found = objective(&scene, gain, weights, true);
        let length = Length { limit: 10.0, bend: None };
        let whole = values(&length.of_each_image(&found).unwrap());
        let local = values(&length.of_each_region(&found, 9).unwrap());
        for (image, lengths) in local.chunks(local.len() / SHAPE.0).enumerate() {
            // The regularisation adds a hundredth to the norm.
            prop_assert!(lengths.iter().all(|t| (t * 1.01 - whole[image]).abs() <= 1e-4 * (1.0 + whole[image])));
        }
    }

    #[test]
    fn a_parabola_ends_at_its_first_zero_or_at_its_minimum(
        gain in 0.01..2.0_f64,
        norm in 0.1..20.0_f64,
        linearity in -0.5..1.1_f64,
        before in 0.001..0.1_f64,
    ) {
        let one = |value: f64| Tensor::new(&[value as f32], &candle_core::Device::Cpu).unwrap();
        let length = |bend| values(&Length { limit: 1e6, bend }.of(&one(gain), &one(norm)).unwrap())[0];
        prop_assert!((f64::from(length(None)) * norm / gain - 1.0).abs() < 1e-5);
        let straight = length(Some(Curvature { linearity: 1.0, before }));
        prop_assert!((f64::from(straight) * norm / gain - 1.0).abs() < 1e-5, "a linearity of 1 means a line");
        let kappa = (1.0 - linearity) * norm / before;
        let found = f64::from(length(Some(Curvature { linearity, before })));
        let discriminant = norm * norm - 2.0 * kappa * gain;
        let expected =
            if discriminant >= 0.0 { 2.0 * gain / (norm + discriminant.sqrt()) } else { norm / kappa };
        prop_assert!((found / expected - 1.0).abs() < 2e-3, "{found}, not {expected}");
        let limited = values(&Length { limit: 1e-3, bend: None }.of(&one(gain), &one(norm)).unwrap())[0];
        prop_assert!(limited <= 1e-3);
    }
}

#[test]
fn an_image_that_is_wrong_everywhere_gets_noise_alone() -> Result<()> {
    let mut scene = Scene::new(5, 0.2, 0.8);
    // Labels of the smallest logit.
    scene.labels = scene.logits(&scene.images)?.argmin(3)?.to_dtype(DType::U8)?;
    for (gain, weights) in CHOICES {
        for local in [None, Some(1)] {
            let method = NoisyNewton { noise: 0.1, gain, weights, local, ..NoisyNewton::default() };
            let crafted = scene.craft(&method, 3);
            let start = noisy(&scene.images, 0.1 * 0.03, &mut stream(3, "craft", [0; 3]))?;
            assert_eq!(values(&crafted.image), values(&start), "{gain:?} {weights:?}");
            assert_eq!(values(&crafted.epsilon), [0.0, 0.0]);
        }
    }
    Ok(())
}

#[test]
fn the_linearity_is_that_of_the_losss_gradient_and_is_saved() -> Result<()> {
    let scene = Scene::new(1, 0.2, 0.8);
    let model = |images: &Tensor| scene.logits(images);
    let method = NoisyNewton { curvature: true, gain: StepGain::Masked, ..NoisyNewton::default() };
    let mut newton = Newton::new(method);
    let random = &mut stream(1, "craft", [0; 3]);
    newton.craft(&scene.case(&model), random)?;
    let signs = newton.pending.as_ref().expect("a step").signs.clone();
    // A loss that rises exactly where the step leads, in another unit, is perfectly aligned.
    newton.after_update(Some(&(signs.neg()? * 7.0)?))?;
    assert!((newton.linearity.value() - (0.99 + 0.05 * 0.01)).abs() < 1e-6);
    newton.craft(&scene.case(&model), random)?;
    let signs = newton.pending.as_ref().expect("a step").signs.clone();
    newton.after_update(Some(&(signs * 2.0)?))?;
    assert!((newton.linearity.value() - (0.9905 - 0.05 * 1.9905)).abs() < 1e-6);
    let mut other = Newton::new(method);
    other.restore(newton.state())?;
    assert_eq!((other.linearity, other.before), (newton.linearity, newton.before));
    assert!(newton.before.is_some() && newton.state().len() == 2);
    Ok(())
}

#[test]
fn a_linear_model_reaches_what_the_step_predicts() -> Result<()> {
    let scene = Scene::new(6, 0.2, 0.8);
    let model = |images: &Tensor| scene.logits(images);
    let alignment = robustseg_ops::Alignment::HalfPixel;
    for (gain, weights) in CHOICES {
        for local in [None, Some(1)] {
            // Steps so small that no pixel has another best class afterwards.
            let small = NoisyNewton { epsilon: 1e-4, residual: 1.0, ..NoisyNewton::default() };
            let mut newton = Newton::new(NoisyNewton { gain, weights, local, ..small });
            let crafted = newton.craft(&scene.case(&model), &mut stream(1, "craft", [0; 3]))?;
            let prediction = newton.prediction.take().expect("a prediction");
            let logits = scene.logits(&crafted.expect("examples").image)?;
            let after = prediction.fixed.at(&logits, alignment)?;
            let fell = values(&(&prediction.before - &after)?);
            let (found, expected) = (values(&after), values(&prediction.expected));
            for ((found, expected), fell) in found.into_iter().zip(expected).zip(fell) {
                assert!((found - expected).abs() < 5e-6, "{gain:?} {weights:?}: {found}, not {expected}");
                assert!(gain == StepGain::Plain || fell > 2e-5, "the step moved the gain by {fell}");
            }
            assert!(values(&prediction.residuals(&after)?).iter().all(|residual| *residual < 1e-8));
        }
    }
    Ok(())
}

#[test]
fn the_gain_as_a_function_of_logits_has_the_gradient_of_its_differences() -> Result<()> {
    let scene = Scene::new(8, 0.0, 1.0);
    let logits = scene.logits(&scene.images)?.contiguous()?;
    let alignment = robustseg_ops::Alignment::HalfPixel;
    for (gain, weights) in CHOICES {
        let Objective { value, fixed, .. } = objective(&scene, gain, weights, false);
        let start = values(&fixed.at(&logits, alignment)?);
        assert!(start.iter().zip(values(&value)).all(|(found, value)| (found - value).abs() < 1e-5));
        let variable = candle_core::Var::from_tensor(&logits)?;
        let found = fixed.at(variable.as_tensor(), alignment)?.sum_all()?.backward()?;
        let found = values(found.get(variable.as_tensor()).expect("a gradient"));
        let step = 1e-3_f32;
        for at in (0..found.len()).step_by(7) {
            let moved = |by: f32| -> Result<f32> {
                let mut moved = values(&logits);
                moved[at] += by;
                let moved = Tensor::from_vec(moved, logits.shape(), logits.device())?;
                Ok(fixed.at(&moved, alignment)?.sum_all()?.to_scalar::<f32>()?)
            };
            let difference = (moved(step)? - moved(-step)?) / (2.0 * step);
            assert!(
                (difference - found[at]).abs() < 2e-3,
                "{gain:?} {weights:?}: {difference}, {}",
                found[at]
            );
        }
    }
    Ok(())
}
