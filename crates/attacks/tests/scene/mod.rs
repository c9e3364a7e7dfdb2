//! Two images, their labels, and a model whose gradients are known: a linear map of each pixel.

#![allow(dead_code)] // each test file uses a part of it

use candle_core::{Device, Tensor};
use rand::RngExt;
use robustseg_attacks::{
    Adversarial, Alignment, Attack, AttackConfig, Case, IGNORE_LABEL, Model, PixelObjective, Result,
    Settings, input_gradient,
};
use robustseg_random::stream;
use serde_json::json;

/// Two images of 4 x 5 pixels, their labels (some pixels have none), and a linear model on them.
pub struct Scene {
    pub image: Tensor,
    pub label: Tensor,
    pub matrix: Tensor,
    pub classes: usize,
}

pub const SHAPE: (usize, usize, usize, usize) = (2, 3, 4, 5);

impl Scene {
    /// Pixels in `[low, high]`, labels of `classes` classes, each pixel unlabelled with probability
    /// 1/4.
    pub fn new(seed: u64, classes: usize, low: f32, high: f32) -> Result<Self> {
        let random = &mut stream(seed, "scene", [0; 3]);
        let (n, _, h, w) = SHAPE;
        let pixels = (0..n * 3 * h * w).map(|_| low + (high - low) * random.random::<f32>()).collect();
        let weights: Vec<f32> = (0..3 * classes).map(|_| random.random::<f32>() * 2.0 - 1.0).collect();
        let labels = (0..n * h * w)
            .map(|_| {
                if random.random::<f32>() < 0.25 {
                    IGNORE_LABEL
                } else {
                    random.random_range(0..classes) as u8
                }
            })
            .collect();
        Ok(Self {
            image: Tensor::from_vec(pixels, SHAPE, &Device::Cpu)?,
            label: Tensor::from_vec(labels, (n, h, w), &Device::Cpu)?,
            matrix: Tensor::from_vec(weights, (3, classes), &Device::Cpu)?,
            classes,
        })
    }

    pub fn logits(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        let (n, _, h, w) = image.dims4()?;
        let pixels = image.permute((0, 2, 3, 1))?.reshape((n * h * w, 3))?;
        pixels.matmul(&self.matrix)?.reshape((n, h, w, self.classes))
    }

    pub fn predict(&self, image: &Tensor) -> candle_core::Result<Tensor> {
        robustseg_ops::predict(&self.logits(image)?, SHAPE.2, SHAPE.3, Alignment::HalfPixel)
    }

    pub fn run(&self, config: &AttackConfig, seed: u64) -> Result<Adversarial> {
        let model = |image: &Tensor| self.logits(image);
        config.perturb(&self.case(&model)?, &mut stream(seed, "attack", [0; 3]))
    }

    /// Whether two seeds give two results: the attack has a random start, or draws its epsilon.
    pub fn depends_on_the_seed(&self, config: &AttackConfig) -> bool {
        let [one, other] = [1, 2].map(|seed| values(&self.run(config, seed).unwrap().image));
        one != other
    }

    /// `model` on the scene's images.
    pub fn case<'a>(&'a self, model: &'a dyn Model) -> Result<Case<'a>> {
        Case::new(model, &self.image, &self.label)
    }

    /// The largest change of each image.
    pub fn change(&self, adversarial: &Tensor) -> Result<Vec<f32>> {
        Ok((adversarial - &self.image)?.abs()?.flatten_from(1)?.max(1)?.to_vec1()?)
    }

    pub fn value(&self, image: &Tensor, objective: PixelObjective) -> Result<Vec<f32>> {
        let model = |image: &Tensor| self.logits(image);
        Ok(input_gradient(&model, image, &self.label, objective)?.value.to_vec1()?)
    }
}

pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap()
}

/// Every attack at `epsilon`, with the given alpha and number of steps where it has these settings.
/// Fast Newton has no limit.
pub fn attacks(epsilon: f64, alpha: f64, steps: usize) -> Vec<AttackConfig> {
    let changed = |attack: std::sync::Arc<dyn Attack>| {
        let mut changes = Settings::default();
        let known = attack.settings();
        for (name, value) in [("alpha", json!(alpha)), ("steps", json!(steps)), ("restarts", json!(2))] {
            if known.get(name).is_some() {
                changes.set(name, value);
            }
        }
        if attack.name() != "fast_newton" {
            changes.set("epsilon", epsilon);
        }
        AttackConfig::by_name(attack.name(), &changes).unwrap()
    };
    robustseg_attacks::attacks().into_iter().map(changed).collect()
}
