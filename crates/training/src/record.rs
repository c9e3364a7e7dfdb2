//! The records that an evaluation leaves: `evaluation.json`.

use serde::{Deserialize, Serialize};

/// Scores of one network on clean and attacked images of a whole dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Without any attack.
    pub clean: Scores,
    /// One curve for each attack, in the order of the configuration.
    pub curves: Vec<Curve>,
}

/// Scores from one confusion matrix over a whole dataset, all of them fractions in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean of the classes' IoU, over those that occur.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class; `None` for one that occurs neither in labels nor predictions.
    pub iou: Vec<Option<f64>>,
}

/// A robustness curve: scores under one attack as epsilon grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The attack's name.
    pub attack: String,
    /// The attack's settings beside epsilon.
    pub parameters: Parameters,
    /// The points in the order of the configuration.
    pub points: Vec<Point>,
}

/// An attack's settings beside epsilon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// Size of one step, for iterated attacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Number of steps, for iterated attacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
}

/// A point of a robustness curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The attack's epsilon; 0 is the clean image.
    pub epsilon: f64,
    /// The scores there.
    #[serde(flatten)]
    pub scores: Scores,
}
