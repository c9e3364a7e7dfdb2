//! The defining property of each method, on models whose gradients are known.

use std::cell::{Cell, RefCell};

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rand::RngExt;
use robustseg_attacks::{
    Adversarial, Attack, AttackConfig, Bim, Case, FastNewton, Fgsm, IGNORE_LABEL, Model, PixelObjective,
    input_gradient,
};
use robustseg_random::{Rng, stream};

use super::*;
use crate::{MethodConfig, Result};

/// Two images of 4 x 5 pixels, their labels (a quarter of the pixels has none), and a linear model
/// on them.
pub(super) struct Scene {
    pub(super) images: Tensor,
    pub(super) labels: Tensor,
    pub(super) matrix: Tensor,
}

pub(super) const SHAPE: (usize, usize, usize, usize) = (2, 3, 4, 5);
pub(super) const CLASSES: usize = 3;

impl Scene {
    /// Pixels in `[low, high]`.
    pub(super) fn new(seed: u64, low: f32, high: f32) -> Self {
        let random = &mut stream(seed, "scene", [0; 3]);
        let (n, _, h, w) = SHAPE;
        let images = (0..n * 3 * h * w).map(|_| low + (high - low) * random.random::<f32>()).collect();
        let matrix = (0..3 * CLASSES).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
        let label = |random: &mut dyn Rng| {
            if random.random::<f32>() < 0.25 { IGNORE_LABEL } else { random.random_range(0..CLASSES as u8) }
        };
        let labels = (0..n * h * w).map(|_| label(random)).collect();
        Self {
            images: Tensor::from_vec::<_, f32>(images, SHAPE, &Device::Cpu).unwrap(),
            labels: Tensor::from_vec(labels, (n, h, w), &Device::Cpu).unwrap(),
            matrix: Tensor::from_vec::<_, f32>(matrix, (3, CLASSES), &Device::Cpu).unwrap(),
        }
    }

    pub(super) fn logits(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let (n, _, h, w) = images.dims4()?;
        let pixels = images.permute((0, 2, 3, 1))?.reshape((n * h * w, 3))?;
        pixels.matmul(&self.matrix)?.reshape((n, h, w, CLASSES))
    }

    pub(super) fn craft(&self, method: &dyn Method, seed: u64) -> Adversarial {
        let model = |images: &Tensor| self.logits(images);
        let random = &mut stream(seed, "craft", [0; 3]);
        method.start().craft(&self.case(&model), random).unwrap().expect("examples")
    }

    pub(super) fn case<'a>(&'a self, model: &'a dyn Model) -> Case<'a> {
        Case::new(model, &self.images, &self.labels).unwrap()
    }

    /// The largest change of each image.
    pub(super) fn change(&self, adversarial: &Adversarial) -> Vec<f32> {
        let change = (&adversarial.image - &self.images).unwrap().abs().unwrap();
        change.flatten_from(1).unwrap().max(1).unwrap().to_vec1().unwrap()
    }
}

pub(super) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap()
}

/// Every method with a radius, set to `epsilon`.
fn with_radius(epsilon: f64) -> [MethodConfig; 5] {
    let steps = SignSteps { epsilon, ..SignSteps::default() };
    [
        RsFgsm { epsilon, alpha: None }.into(),
        FgsmCkpt { epsilon, ..FgsmCkpt::default() }.into(),
        PgdAt(steps).into(),
        SegPgdAt(steps).into(),
        DdcAt(steps).into(),
    ]
}

proptest! {
    #[test]
    fn methods_with_a_ball_stay_in_it(seed: u64, epsilon in 0.001..0.2_f64) {
        let scene = Scene::new(seed, 0.0, 1.0);
        for method in with_radius(epsilon) {
            let crafted = scene.craft(&*method, seed);
            let inside = values(&crafted.image).iter().all(|value| (0.0..=1.0).contains(value));
            prop_assert!(inside, "{}", method.name());
            for (change, radius) in scene.change(&crafted).into_iter().zip(values(&crafted.epsilon)) {
                prop_assert!(change <= radius + 1e-6, "{}: {change} beyond {radius}", method.name());
                prop_assert!(radius <= epsilon as f32 + 1e-9, "{}", method.name());
            }
        }
    }

    #[test]
    fn n_fgsm_leaves_the_ball_but_not_the_range(seed: u64, epsilon in 0.01..0.1_f64, k in 0.0..3.0_f64) {
        // From the middle of [0, 1] nothing is clipped, so noise and step remain whole.
        let scene = Scene::new(seed, 0.45, 0.55);
        let crafted = scene.craft(&NFgsm { epsilon, alpha: None, k }, seed);
        let reach = ((k + 1.0) * epsilon) as f32;
        prop_assert!(scene.change(&crafted).into_iter().all(|change| change <= reach + 1e-6));
        prop_assert!(values(&crafted.epsilon).into_iter().all(|found| (found - reach).abs() < 1e-6));
        if k > 1.0 {
            // Of 60 draws, one goes far enough along the step.
            prop_assert!(scene.change(&crafted).into_iter().all(|change| change > epsilon as f32 + 1e-6));
        }
        let scene = Scene::new(seed, 0.0, 1.0);
        let crafted = scene.craft(&NFgsm { epsilon, alpha: None, k }, seed);
        prop_assert!(values(&crafted.image).iter().all(|value| (0.0..=1.0).contains(value)));
    }

    #[test]
    fn rs_fgsm_is_noise_step_and_projection(seed: u64, epsilon in 0.01..0.2_f64) {
        let scene = Scene::new(seed, 0.0, 1.0);
        let model = |images: &Tensor| scene.logits(images);
        let crafted = values(&scene.craft(&RsFgsm { epsilon, alpha: None }, seed).image);
        let start = noisy(&scene.images, epsilon, &mut stream(seed, "craft", [0; 3])).unwrap();
        let gradient = input_gradient(&model, &start, &scene.labels, PixelObjective::CrossEntropy).unwrap().gradient;
        let all = values(&start).into_iter().zip(values(&gradient)).zip(values(&scene.images)).zip(crafted);
        for (((start, gradient), image), found) in all {
            let sign = if gradient == 0.0 { 0.0 } else { gradient.signum() };
            let (moved, radius) = ((start + 1.25 * epsilon as f32 * sign).clamp(0.0, 1.0), epsilon as f32);
            let expected = moved.clamp(image - radius, image + radius).clamp(0.0, 1.0);
            prop_assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        }
    }

    #[test]
    fn random_starts_climb_the_cross_entropy(seed: u64) {
        // The cross-entropy of a linear model is convex in the image, so a step along the
        // gradient's sign cannot lower it.
        let scene = Scene::new(seed, 0.2, 0.8);
        let model = |images: &Tensor| scene.logits(images);
        let value = |images: &Tensor| {
            values(&input_gradient(&model, images, &scene.labels, PixelObjective::CrossEntropy).unwrap().value)
        };
        let start = noisy(&scene.images, 0.05, &mut stream(seed, "craft", [0; 3])).unwrap();
        let pgd = scene.craft(&PgdAt(SignSteps { epsilon: 0.05, alpha: 0.1, steps: 2 }), seed);
        for (before, after) in value(&start).into_iter().zip(value(&pgd.image)) {
            prop_assert!(after > before, "{after} from {before}");
        }
    }

    #[test]
    fn checkpoints_choose_the_smallest_that_gets_the_image_wrong(
        seed: u64,
        checkpoints in 1_usize..6,
        wrong in 0.3..0.9_f64,
    ) {
        let scene = Scene::new(seed, 0.0, 1.0);
        let model = |images: &Tensor| scene.logits(images);
        let method = FgsmCkpt { epsilon: 0.3, alpha: None, checkpoints, wrong };
        let whole = scene.craft(&RsFgsm { epsilon: 0.3, alpha: None }, seed).image;
        let perturbation = (whole - &scene.images).unwrap();
        let is_wrong: Vec<Vec<bool>> = (0..checkpoints)
            .map(|k| {
                let part = (&perturbation * (k as f64 / checkpoints as f64)).unwrap();
                let labels = scene.labels.clone();
                let part = (&scene.images + part).unwrap();
                let logits: Vec<Vec<f32>> = model(&part).unwrap().reshape(((), CLASSES)).unwrap().to_vec2().unwrap();
                let labels: Vec<u8> = labels.flatten_all().unwrap().to_vec1().unwrap();
                let wrong_pixel = |(logits, label): (&Vec<f32>, &u8)| {
                    (*label != IGNORE_LABEL).then(|| logits.iter().any(|other| *other > logits[usize::from(*label)]))
                };
                let pixels: Vec<Option<bool>> = logits.iter().zip(&labels).map(wrong_pixel).collect();
                let image = |pixels: &[Option<bool>]| {
                    let labelled: Vec<bool> = pixels.iter().copied().flatten().collect();
                    labelled.iter().filter(|wrong| **wrong).count() as f64 >= wrong * labelled.len() as f64
                };
                pixels.chunks(pixels.len() / 2).map(image).collect()
            })
            .collect();
        let crafted = scene.craft(&method, seed);
        for (index, epsilon) in values(&crafted.epsilon).into_iter().enumerate() {
            let k = (0..checkpoints).find(|k| is_wrong[*k][index]).unwrap_or(checkpoints);
            let share = k as f64 / checkpoints as f64;
            let expected = (&scene.images + (&perturbation * share).unwrap()).unwrap();
            let [expected, found] = [&expected, &crafted.image].map(|images| values(&images.get(index).unwrap()));
            let furthest = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            prop_assert!(furthest < 1e-6, "image {index}: not {k} of {checkpoints}");
            prop_assert!((epsilon - 0.3 * share as f32).abs() < 1e-6);
        }
    }

    #[test]
    fn pixel_newton_is_the_mean_over_the_pixels(seed: u64) {
        // The model treats each pixel on its own: the example of pixel j differs from the image
        // only at j. The mean therefore changes each labelled pixel by its own Newton step over the
        // number of labelled pixels.
        let scene = Scene::new(seed, 0.3, 0.7);
        let crafted = scene.craft(&PixelNewton { max_epsilon: Some(0.2), ..PixelNewton::default() }, seed);
        let change = (&crafted.image - &scene.images).unwrap();
        let step = FastNewton::default();
        let model = |images: &Tensor| scene.logits(images);
        let (_, _, height, width) = SHAPE;
        let labels: Vec<Vec<u8>> = scene.labels.flatten_from(1).unwrap().to_vec2().unwrap();
        for (index, truth) in labels.iter().enumerate() {
            let labelled = truth.iter().filter(|label| **label != IGNORE_LABEL).count();
            let image = scene.images.narrow(0, index, 1).unwrap();
            let mut epsilons = 0.0;
            let mut expected = change.narrow(0, index, 1).unwrap().zeros_like().unwrap();
            for pixel in (0..truth.len()).filter(|pixel| truth[*pixel] != IGNORE_LABEL) {
                let mut alone = vec![IGNORE_LABEL; truth.len()];
                alone[pixel] = truth[pixel];
                let alone = Tensor::from_vec(alone, (1, height, width), &Device::Cpu).unwrap();
                let case = Case::new(&model, &image, &alone).unwrap();
                let example = step.perturb(&case, 0.2, &mut stream(0, "unused", [0; 3])).unwrap();
                expected = (expected + (example.image - &image).unwrap()).unwrap();
                epsilons += values(&example.epsilon)[0];
            }
            if labelled == 0 {
                continue;
            }
            let found = values(&change.narrow(0, index, 1).unwrap());
            for (found, expected) in found.iter().zip(values(&(expected / labelled as f64).unwrap())) {
                prop_assert!((found - expected).abs() < 1e-5, "{found}, not {expected}");
            }
            prop_assert!((values(&crafted.epsilon)[index] - epsilons / labelled as f32).abs() < 1e-5);
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_examples(seed: u64) {
        let scene = Scene::new(seed, 0.0, 1.0);
        for method in MethodConfig::all().iter().filter(|method| method.crafts()) {
            let craft = |seed| values(&scene.craft(&**method, seed).image);
            prop_assert_eq!(craft(1), craft(1));
            let random = ["random_fgsm", "rs_fgsm", "n_fgsm", "pgd_at", "segpgd_at", "sora", "noisy_newton"]
                .contains(&method.name());
            prop_assert!(!random || craft(1) != craft(2), "{}", method.name());
        }
    }
}

/// Counts the gradients and predictions that a method requests.
struct Counting<'a> {
    scene: &'a Scene,
    gradients: Cell<usize>,
    predictions: Cell<usize>,
    seen: RefCell<Vec<Tensor>>,
}

impl Model for Counting<'_> {
    fn logits(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let counter = if images.track_op() { &self.gradients } else { &self.predictions };
        counter.set(counter.get() + images.dim(0)?);
        self.seen.borrow_mut().push(images.detach().to_dtype(DType::F32)?);
        self.scene.logits(images)
    }
}

#[test]
fn the_cost_is_the_declared_one() -> Result<()> {
    let scene = Scene::new(3, 0.0, 1.0);
    let labelled = values(&scene.labels.ne(IGNORE_LABEL)?.to_dtype(DType::F32)?).iter().sum::<f32>() as usize;
    for method in MethodConfig::all() {
        // No image counts as wrong until all its pixels are, so every checkpoint is tried.
        let method = match method.name() {
            "fgsm_ckpt" => FgsmCkpt { wrong: 1.0, ..FgsmCkpt::default() }.into(),
            _ => method,
        };
        let (gradients, predictions, seen) = (Cell::new(0), Cell::new(0), RefCell::default());
        let counting = Counting { scene: &scene, gradients, predictions, seen };
        let random = &mut stream(1, "craft", [0; 3]);
        method.start().craft(&scene.case(&counting), random)?;
        let found = (2 * counting.gradients.get() + counting.predictions.get()) as f64;
        // Two images. One pixel in four has no label and costs `pixel_newton` nothing.
        let expected = match method.name() {
            "pixel_newton" => 2.0 * labelled as f64,
            "grad_align" => 2.0 * 2.0,
            // Its updates need no additional passes.
            "free" => 0.0,
            _ => 2.0 * (method.cost(1.0, 20) - 3.0),
        };
        assert_eq!(found, expected, "{}", method.name());
        let updates = method.start().updates();
        // An attack and two predictions divide the clean samples.
        let divided = if method.name() == "ddc_at" { 2 * SignSteps::default().steps + 2 } else { 0 };
        assert_eq!(method.cost(0.0, 20), (3 * updates + divided) as f64, "{}", method.name());
    }
    Ok(())
}

#[test]
fn methods_read_as_specs_write_them() -> serde_json::Result<()> {
    let read = |text: &str| serde_json::from_str::<MethodConfig>(text);
    assert_eq!(read(r#""basic""#)?, MethodConfig::from(Basic {}));
    let bim = AttackConfig::new(Bim { alpha: 0.01, steps: 3 }, 0.02);
    assert_eq!(read(r#"{"bim": {"epsilon": 0.02}}"#)?, MethodConfig::from(bim));
    assert_eq!(
        read(r#"{"fast_newton": {}}"#)?,
        MethodConfig::from(AttackConfig::new(FastNewton::default(), f64::INFINITY))
    );
    assert!(read(r#"{"fgsm": {"eps": 0.02}}"#).is_err());
    let names: Vec<&str> = MethodConfig::paper().iter().map(|method| method.name()).collect();
    assert_eq!(names, ["basic", "fgsm", "random_fgsm", "bim", "fast_newton"]);
    for method in MethodConfig::all() {
        let text = serde_json::to_string(&method)?;
        assert_eq!(read(&text)?, method);
        assert!(text.contains(&format!("\"{}\"", method.name())), "{text}");
        assert!(method.validate().is_ok());
    }
    Ok(())
}

#[test]
fn settings_out_of_range_are_named() {
    let rs = RsFgsm::default();
    let (n, ckpt, steps) = (NFgsm::default(), FgsmCkpt::default(), SignSteps::default());
    let newton = NoisyNewton::default();
    let cases: [(MethodConfig, &str); 20] = [
        (AttackConfig::new(Fgsm {}, 8.0).into(), "did you mean 8/255"),
        (RsFgsm { epsilon: 8.0, ..rs }.into(), "did you mean 8/255"),
        (RsFgsm { alpha: Some(0.0), ..rs }.into(), "alpha = 0"),
        (NFgsm { k: -1.0, ..n }.into(), "k = -1"),
        (NFgsm { k: f64::INFINITY, ..n }.into(), "k = inf"),
        (FgsmCkpt { checkpoints: 0, ..ckpt }.into(), "checkpoints = 0"),
        (FgsmCkpt { wrong: 0.0, ..ckpt }.into(), "wrong = 0"),
        (FgsmCkpt { epsilon: -1.0, ..ckpt }.into(), "epsilon = -1"),
        (GradAlign { epsilon: 0.03, lambda: -1.0 }.into(), "lambda = -1"),
        (Free { epsilon: 0.03, replays: 0 }.into(), "replays = 0"),
        (PgdAt(SignSteps { steps: 0, ..steps }).into(), "steps = 0"),
        (DdcAt(SignSteps { steps: 0, ..steps }).into(), "steps = 0"),
        (SegPgdAt(SignSteps { alpha: 3.0, ..steps }).into(), "alpha = 3"),
        (Sora { epsilon: 8.0, alpha: None }.into(), "did you mean 8/255"),
        (Sora { epsilon: 0.03, alpha: Some(0.0) }.into(), "alpha = 0"),
        (NoisyNewton { noise: -1.0, ..newton }.into(), "noise = -1"),
        (NoisyNewton { limit: 0.0, ..newton }.into(), "limit = 0"),
        (NoisyNewton { local: Some(0), ..newton }.into(), "local = 0"),
        (NoisyNewton { residual: f64::NAN, ..newton }.into(), "residual = NaN"),
        (PixelNewton { max_epsilon: Some(9.0), ..PixelNewton::default() }.into(), "max_epsilon = 9"),
    ];
    for (method, part) in cases {
        let message = method.validate().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
