//! The interface of all attacks.

use std::fmt::Debug;

use candle_core::Tensor;
use robustseg_ops::{PixelObjective, pixel_objective_per_image};
use robustseg_random::Rng;

use crate::epsilon::{EpsilonRole, check_epsilon};
use crate::settings::Described;
use crate::{Case, Norm, Result, selection};

/// Adversarial examples for a batch.
#[derive(Clone, Debug)]
pub struct Adversarial {
    /// The perturbed images (N, 3, H, W), f32 in `[0, 1]`.
    pub image: Tensor,
    /// The step size or radius used for each image (N), f32, in the unit of the image. It is
    /// negative where [`FastNewton`](crate::FastNewton) stepped the other way.
    pub epsilon: Tensor,
}

impl Adversarial {
    /// `image` with the largest change of a channel from `original` as its epsilon, at most `limit`.
    pub(crate) fn measured(image: Tensor, original: &Tensor, limit: f64) -> Result<Self> {
        let largest = (&image - original)?.abs()?.flatten_from(1)?.max(1)?;
        // Rounding may overshoot the ball by one unit in the last place.
        let epsilon = largest.minimum(limit.min(1.0) as f32)?;
        Ok(Self { image, epsilon })
    }
}

/// How many examples an attack crafts per image and epsilon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// One example.
    One,
    /// One example per random start; this many starts.
    Starts(usize),
    /// One example per objective, in this order.
    Objectives(Vec<&'static str>),
}

impl Candidates {
    /// The candidates' names in results. Empty for a single candidate.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::One | Self::Starts(0 | 1) => Vec::new(),
            Self::Starts(count) => (1..=*count).map(|start| format!("start_{start}")).collect(),
            Self::Objectives(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// An attack with its settings. Epsilon is not a setting but an argument: a list of epsilons gives
/// a robustness curve.
///
/// A new attack implements the required methods and overrides the defaults that do not fit. One
/// line in `attacks/mod.rs` makes it known to specs, the command line, reports and tests. An attack
/// from another crate needs no such line: everything that takes a `dyn Attack` accepts it.
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

    /// Crafts one example per epsilon and candidate, with the candidates in the order of
    /// [`Attack::candidates`]. Callers use [`Attack::examples`], which checks settings and epsilons
    /// first.
    ///
    /// An image without a labelled pixel must come back unchanged. Only randomised attacks draw
    /// from `random`.
    fn craft(&self, case: &Case<'_>, epsilons: &[f64], random: &mut dyn Rng)
    -> Result<Vec<Vec<Adversarial>>>;

    /// The norm of the balls in which the attack looks for examples.
    fn norm(&self) -> Norm {
        Norm::Linf
    }

    /// The role of epsilon.
    fn epsilon_role(&self) -> EpsilonRole {
        match self.share_to_get_wrong() {
            Some(_) => EpsilonRole::Limit,
            None => self.norm().role(),
        }
    }

    /// Refuses an epsilon that is out of range or does not suit the settings.
    fn check_epsilon(&self, epsilon: f64) -> Result<()> {
        check_epsilon(self.epsilon_role(), epsilon)?;
        let settings = self.settings();
        self.norm().check_reach(["alpha", "steps"].map(|name| settings.number(name)), epsilon)
    }

    /// How many examples the attack crafts per image and epsilon.
    fn candidates(&self) -> Candidates {
        Candidates::One
    }

    /// How strong the example `image` (N, 3, H, W) is, for each image. [`Attack::perturb`] keeps
    /// the strongest candidate. The default is the cross-entropy. It is not called for a single
    /// candidate.
    fn strength(&self, case: &Case<'_>, image: &Tensor) -> Result<Vec<f32>> {
        let logits = case.logits(image)?;
        let (objective, alignment) = (PixelObjective::CrossEntropy, case.model().alignment());
        Ok(pixel_objective_per_image(&logits, case.label(), objective, alignment)?.to_vec1()?)
    }

    /// Whether the attack needs the [class pixels](Case::with_class_pixels) of the dataset.
    fn needs_class_pixels(&self) -> bool {
        false
    }

    /// Upper bound on the backward passes that one image costs at this many epsilons.
    fn backward_passes(&self, epsilons: u64) -> u64 {
        epsilons
    }

    /// Whether the first gradient is taken at the image itself. A pixel that such an attack leaves
    /// unchanged has a gradient of zero.
    fn starts_at_the_image(&self) -> bool {
        false
    }

    /// Whether a large enough number of steps brings the largest change of a channel to epsilon.
    fn fills_the_ball(&self) -> bool {
        self.norm() == Norm::Linf && self.share_to_get_wrong().is_none()
    }

    /// The share of an image's labelled pixels that the attack gets wrong with a perturbation as
    /// small as it can find. `None` for an attack that does the most damage at a given size.
    fn share_to_get_wrong(&self) -> Option<f64> {
        None
    }

    /// The adversarial examples at each of `epsilons`, one per candidate.
    ///
    /// If the attack draws nothing, a call with several epsilons returns bit for bit the examples
    /// of separate calls. It costs less where paths share gradients.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) for settings or epsilons out of range, and any
    /// error of the model.
    fn examples(
        &self,
        case: &Case<'_>,
        epsilons: &[f64],
        random: &mut dyn Rng,
    ) -> Result<Vec<Vec<Adversarial>>> {
        self.validate()?;
        epsilons.iter().try_for_each(|&epsilon| self.check_epsilon(epsilon))?;
        self.craft(case, epsilons, random)
    }

    /// The adversarial examples at one epsilon: the strongest candidate of each image.
    ///
    /// # Errors
    /// As [`Attack::examples`].
    fn perturb(&self, case: &Case<'_>, epsilon: f64, random: &mut dyn Rng) -> Result<Adversarial> {
        let candidates = self.examples(case, &[epsilon], random)?.swap_remove(0);
        selection::strongest(candidates, |image| self.strength(case, image))
    }
}

/// The defaults of an attack's robustness curve.
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

/// 0, 0.01, ... 0.04: every second epsilon of the paper, for attacks that share no gradients
/// between epsilons.
pub(crate) fn few_epsilons() -> Vec<f64> {
    (0..5).map(|point| f64::from(point) / 100.0).collect()
}
