//! The interface of all attacks.

use std::fmt::Debug;

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, pixel_objective_per_image};
use robustseg_random::ChaCha8Rng;

use crate::epsilon::{EpsilonRole, check_epsilon};
use crate::settings::Described;
use crate::{Case, Result, selection};

/// Adversarial examples for a batch.
#[derive(Clone, Debug)]
pub struct Adversarial {
    /// The perturbed images (N, 3, H, W), f32 in `[0, 1]`.
    pub image: Tensor,
    /// The step or radius that was used for each image (N), f32, in the images' unit. It is negative
    /// where [`FastNewton`](crate::FastNewton) stepped the other way.
    pub epsilon: Tensor,
}

/// How many examples an attack crafts for one image and one epsilon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// One.
    One,
    /// One for each of so many random starts.
    Starts(usize),
    /// One for each of these objectives.
    Objectives(Vec<&'static str>),
}

impl Candidates {
    /// The candidates' names in results; empty for a single candidate.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::One | Self::Starts(0 | 1) => Vec::new(),
            Self::Starts(count) => (1..=*count).map(|start| format!("start_{start}")).collect(),
            Self::Objectives(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// An attack with its settings. Epsilon is not among them: it is an argument, and a list of
/// epsilons gives a robustness curve.
///
/// A new attack implements the methods without a body, and those whose default does not fit. One
/// line in `attacks/mod.rs` makes it known to specs, the command line, reports and tests. An attack
/// of another crate needs no such line: everything that takes a `dyn Attack` takes it too.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use robustseg_attacks::{Attack, Bim, Case, channels_first};
///
/// let model = channels_first(|image: &Tensor| image.affine(4.0, 0.0));
/// let image = Tensor::rand(0_f32, 1.0, (1, 3, 4, 5), &Device::Cpu)?;
/// let label = Tensor::zeros((1, 4, 5), DType::U8, &Device::Cpu)?;
/// let case = Case::new(&model, &image, &label)?;
/// let mut random = robustseg_random::stream(0, "example", [0; 3]);
/// let bim = Bim { alpha: 0.01, steps: 3 };
/// let one = bim.perturb(&case, 0.02, &mut random)?;
/// let curve = bim.examples(&case, &[0.01, 0.02], &mut random)?;
/// let change = (one.image - &curve[1][0].image)?.abs()?.max_all()?.to_scalar::<f32>()?;
/// assert_eq!(change, 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Attack: Described + Debug + Send + Sync {
    /// The attack's name in specs, on the command line and in results, such as `mi_fgsm`.
    fn name(&self) -> &'static str;

    /// The attack's name in papers, such as `MI-FGSM`.
    fn title(&self) -> &'static str;

    /// One sentence about the attack and its source, for help texts and schemas.
    fn summary(&self) -> &'static str;

    /// Refuses settings out of range.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Crafts examples: for each of `epsilons` one for each candidate, in the order of
    /// [`Attack::candidates`]. Callers use [`Attack::examples`], which checks settings and epsilons.
    ///
    /// An image without a labelled pixel must come back unchanged. Only randomised attacks draw
    /// from `random`.
    fn craft(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Adversarial>>>;

    /// The role of epsilon.
    fn epsilon_role(&self) -> EpsilonRole {
        EpsilonRole::Radius
    }

    /// How many examples there are for each image and epsilon.
    fn candidates(&self) -> Candidates {
        Candidates::One
    }

    /// How strong the example `image` (N, 3, H, W) is for each image; the strongest candidate
    /// becomes the attack's only example. By default its cross-entropy. Not called for a single
    /// candidate.
    fn strength(&self, case: &Case<'_>, image: &Tensor) -> Result<Vec<f32>> {
        let logits = case.logits(image)?;
        let (objective, alignment) = (PixelObjective::CrossEntropy, case.model().alignment());
        Ok(pixel_objective_per_image(&logits, case.label(), objective, alignment)?.to_vec1()?)
    }

    /// Backward passes that one image costs at so many epsilons, at most.
    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons
    }

    /// Whether the first gradient is taken at the image itself. A value that does not move then has
    /// no gradient.
    fn starts_at_the_image(&self) -> bool {
        false
    }

    /// Whether a large enough number of steps brings an example to the surface of its ball.
    fn fills_the_ball(&self) -> bool {
        true
    }

    /// The adversarial examples at each of `epsilons`, one for each candidate.
    ///
    /// Examples at several epsilons equal those of one epsilon after the other, bit for bit, as long
    /// as the attack draws nothing. They cost less where paths share gradients.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for settings or epsilons out of range, and whatever
    /// goes wrong in the model.
    fn examples(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        self.validate()?;
        epsilons.iter().try_for_each(|&epsilon| check_epsilon(self.epsilon_role(), epsilon))?;
        self.craft(case, epsilons, random)
    }

    /// The adversarial examples at one epsilon: of each image the strongest candidate.
    ///
    /// # Errors
    /// As [`Attack::examples`].
    fn perturb(&self, case: &Case<'_>, epsilon: f64, random: &mut ChaCha8Rng) -> Result<Adversarial> {
        let candidates = self.examples(case, &[epsilon], random)?.swap_remove(0);
        selection::strongest(candidates, |image| self.strength(case, image))
    }
}

/// What a curve of an attack has by default.
pub trait CurveDefaults: Default {
    /// The settings.
    fn in_curves() -> Self {
        Self::default()
    }

    /// The epsilons: 0, 0.005, ... 0.04, as in Wiens & Hammer 2022.
    fn epsilons() -> Vec<f64> {
        (0..9).map(|point| f64::from(point) / 200.0).collect()
    }
}

/// 0, 0.01, ... 0.04: every other of the paper's epsilons, for attacks that share nothing between them.
pub(crate) fn few_epsilons() -> Vec<f64> {
    (0..5).map(|point| f64::from(point) / 100.0).collect()
}
