//! Signs that a robustness score cannot be trusted. `AutoAttack` checks for such signs (Croce &
//! Hein 2020), and Carlini et al., *On Evaluating Adversarial Robustness*, 2019, list them.

use robustseg_attacks::{Attack, Candidates, CurveConfig, GradientCheck, Settings};
use robustseg_words::counted;

use crate::observation::Observation;
use crate::record::{Point, Warning, WarningKind};

/// Mean IoU by which a cheaper attack may be stronger by chance.
const TOLERANCE: f64 = 0.002;
/// Share of images whose loss did not rise that triggers a warning.
const FALLEN: f64 = 0.1;
/// Share of an image's values that did not change that counts as a vanishing gradient.
const UNMOVED: f32 = 0.5;
/// Difference of pixel accuracy between a single random start and the worst of several that
/// triggers a warning.
const STARTS: f64 = 0.05;
/// Share of epsilon that an attack should reach.
const REACHED: f64 = 0.95;

/// A measured curve: its configuration, its points, and the observations of all examples by point
/// and image.
pub(crate) struct Measured<'a> {
    pub(crate) config: &'a CurveConfig,
    /// The source of the gradients, if the measured network is not.
    pub(crate) source: Option<&'a str>,
    pub(crate) points: &'a [Point],
    pub(crate) observed: Vec<Vec<Vec<&'a Observation>>>,
}

/// The warnings about `curves`. `clean` holds the observations of the same images without an
/// attack. Examples of other networks promise nothing, so there are no warnings about them.
pub(crate) fn warnings(clean: &[&Observation], clean_miou: f64, curves: &[Measured<'_>]) -> Vec<Warning> {
    let mut found = Vec::new();
    for curve in curves.iter().filter(|curve| curve.source.is_none()) {
        for (point, observed) in
            curve.points.iter().zip(&curve.observed).filter(|(point, _)| point.epsilon > 0.0)
        {
            let mut warn = |kind, message: String| {
                found.push(Warning {
                    kind,
                    attack: curve.config.name().into(),
                    parameters: curve.config.attack().settings(),
                    epsilon: point.epsilon,
                    message,
                });
            };
            of_images(curve.config.attack(), point.epsilon, clean, observed, &mut warn);
            let own = point.scores.miou;
            let mut weaker = |kind, than: Option<(String, f64)>, reason: &str| {
                if let Some((than, miou)) = than.filter(|(_, miou)| own > miou + TOLERANCE) {
                    warn(kind, format!("mean IoU {own:.4} is above {miou:.4} {than}{reason}"));
                }
            };
            let smaller = curve.points.iter().filter(|other| other.epsilon < point.epsilon);
            let least = smaller.map(|other| (other.epsilon, other.scores.miou)).chain([(0.0, clean_miou)]);
            let least = least.min_by(|a, b| a.1.total_cmp(&b.1));
            weaker(
                WarningKind::WeakerThanSmallerEpsilon,
                least.map(|(epsilon, miou)| (format!("at epsilon {epsilon}"), miou)),
                ", whose ball lies within this one: the attack misses adversarial examples that exist",
            );
            weaker(
                WarningKind::WeakerThanTransfer,
                transferred(curve, point, curves).map(|(source, miou)| {
                    (format!("under the examples that the same attack crafts on {source}"), miou)
                }),
                ": gradients are masked, and the network is weaker than its own gradients show",
            );
            weaker(
                WarningKind::WeakerThanCheaperAttack,
                cheaper(curve, point, curves).map(|(name, miou)| (format!("under {name}"), miou)),
                ", which costs fewer backward passes: gradients may be masked, or steps be badly chosen",
            );
        }
    }
    found
}

/// The warning about a gradient that `check` compared with the loss, for attacks up to `epsilon`.
pub(crate) fn inexact_gradient(check: GradientCheck, epsilon: f64) -> Option<Warning> {
    Some(Warning {
        kind: WarningKind::InexactGradient,
        attack: "all attacks".into(),
        parameters: Settings::default(),
        epsilon,
        message: check.complaint()?,
    })
}

/// Of the curves of the same attack on other networks, the lowest mean IoU at the same epsilon, with
/// the network's name.
fn transferred<'a>(curve: &Measured<'_>, point: &Point, curves: &[Measured<'a>]) -> Option<(&'a str, f64)> {
    let attack = |curve: &Measured<'_>| (curve.config.name(), curve.config.attack().settings());
    let same = |other: &&Measured<'a>| attack(other) == attack(curve);
    let points = curves.iter().filter(same).flat_map(|other| {
        other.points.iter().filter_map(|point| Some((other.source?, point))).collect::<Vec<_>>()
    });
    let same = points.filter(|(_, other)| other.epsilon == point.epsilon);
    same.map(|(source, other)| (source, other.scores.miou)).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Of the curves in the same norm that cost less, the lowest mean IoU at the same epsilon, with its
/// attack.
fn cheaper(curve: &Measured<'_>, point: &Point, curves: &[Measured<'_>]) -> Option<(&'static str, f64)> {
    let cost = curve.config.attack().backward_passes(1);
    let norm = curve.config.attack().norm();
    let own = curves.iter().filter(|other| other.source.is_none());
    let others = own.filter(|other| other.config.attack().backward_passes(1) < cost);
    let others = others.filter(|other| other.config.attack().norm() == norm);
    let points = others.flat_map(|other| other.points.iter().map(|point| (other.config.name(), point)));
    let same = points.filter(|(_, other)| other.epsilon == point.epsilon);
    same.map(|(name, other)| (name, other.scores.miou)).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Warnings from the images of one point.
fn of_images(
    attack: &dyn Attack,
    epsilon: f64,
    clean: &[&Observation],
    observed: &[Vec<&Observation>],
    warn: &mut impl FnMut(WarningKind, String),
) {
    let labelled: Vec<(&Observation, &Vec<&Observation>)> =
        clean.iter().copied().zip(observed).filter(|(clean, _)| !clean.pairs.is_empty()).collect();
    let count = labelled.len();
    let images = |is: &dyn Fn(&Observation, &[&Observation]) -> bool| {
        labelled.iter().filter(|(clean, observed)| is(clean, observed)).count()
    };
    let mean = |value: &dyn Fn(&[&Observation]) -> f64| {
        labelled.iter().map(|(_, observed)| value(observed)).sum::<f64>() / count.max(1) as f64
    };

    let unmoved = images(&|_, observed| observed.iter().all(|observation| observation.unmoved >= UNMOVED));
    let of = counted(count, "image");
    if attack.starts_at_the_image() && unmoved > 0 {
        warn(
            WarningKind::ZeroGradient,
            format!(
                "at least half of the values of {unmoved} of {of} did not move: their gradient vanishes, and an attack that follows gradients says little about them"
            ),
        );
    }
    let fallen = images(&|clean, observed| observed.iter().all(|observation| observation.loss <= clean.loss));
    if fallen > 0 && fallen as f64 >= FALLEN * count as f64 {
        warn(
            WarningKind::LossDoesNotRise,
            format!(
                "the cross-entropy of {fallen} of {of} is not above that of the clean image: the step overshoots, or the gradient points elsewhere"
            ),
        );
    }
    let reached = mean(&|observed| {
        observed.iter().map(|observation| f64::from(observation.largest)).fold(0.0, f64::max)
    });
    if attack.fills_the_ball() && count > 0 && reached < REACHED * epsilon {
        warn(
            WarningKind::BudgetUnused,
            format!(
                "the largest change is {reached:.4} of {epsilon} on average: more or larger steps would use the ball"
            ),
        );
    }
    if let Candidates::Starts(_) = attack.candidates() {
        let accuracy = |observation: &Observation| observation.overlap.pixel_accuracy().unwrap_or(1.0);
        let worst =
            mean(&|observed| observed.iter().map(|observation| accuracy(observation)).fold(1.0, f64::min));
        let single = mean(&|observed| {
            observed.iter().map(|observation| accuracy(observation)).sum::<f64>() / observed.len() as f64
        });
        if single - worst > STARTS {
            warn(
                WarningKind::RandomStartDecisive,
                format!(
                    "an image's pixel accuracy is {single:.4} from a start on average and {worst:.4} from its worst: more starts may find less, and the loss surface is rough"
                ),
            );
        }
    }
}
