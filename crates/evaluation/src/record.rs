//! The records of an evaluation: `evaluation.json` and the lines of `images.jsonl`.

use std::fmt;

use robustseg_attacks::Settings;
use robustseg_models::TrainingOrigin;
use robustseg_words::counted;
use serde::{Deserialize, Serialize};

use crate::metrics::MetricValues;
use crate::protocol::Protocol;
use crate::window::Window;

/// Scores of one network on clean and attacked images of a whole dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The scores without an attack.
    pub clean: Scores,
    /// One curve per attack, in the order of the configuration. The same follow for each source, in
    /// the order of their names.
    pub curves: Vec<Curve>,
    /// The worst case over the attacks of all curves in l-infinity balls, at each of their epsilons
    /// above 0, in rising order. A ball contains all smaller ones, so the candidates at an epsilon
    /// are the clean image and the examples of all epsilons up to it. Hence no score rises with
    /// epsilon, except those of single classes and of sizes of objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst_case: Vec<Point>,
    /// Reasons to distrust a score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// SHA-256 of the checkpoint with the evaluated weights, if they come from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The networks that further adversarial examples come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRecord>,
    /// The training that made the weights. It is `unknown` in JSON if the checkpoint does not say.
    #[serde(default, with = "unknown")]
    pub training: Option<TrainingOrigin>,
    /// What the scores cover: split, images, classes and weights.
    #[serde(flatten)]
    pub scope: Scope,
}

/// A network that adversarial examples come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// Its name in curves.
    pub name: String,
    /// SHA-256 of its checkpoint, if its weights come from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The training that made the weights. It is `unknown` in JSON if the checkpoint does not say.
    #[serde(default, with = "unknown")]
    pub training: Option<TrainingOrigin>,
}

/// JSON of a value that may be unknown.
mod unknown {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written<T> {
        Known(T),
        Unknown(String),
    }

    // Serde's signature.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str("unknown"),
        }
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Known(value) => Some(value),
            Written::Unknown(_) => None,
        })
    }
}

/// What scores cover. Unknown parts are missing, as in all files older than this record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// The split of the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The protocol that turned images into scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The parts of images that were evaluated, unless whole images were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// The number of images evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// The number of images in the split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_images: Option<usize>,
    /// The names of the classes, in the order of the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// For each class, the areas in pixels from which on its objects count as medium and as large
    /// ones. `None` for a class without objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_edges: Option<Vec<Option<[u64; 2]>>>,
    /// Which weights of a training were evaluated: `last`, `best`, or the name of a checkpoint's
    /// file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Whether the weights were selected by their score on the evaluated split, that is, on
    /// the test data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub selected_on_evaluated_split: bool,
}

/// As a phrase: `24 of 100 images of split val, weights: last`. Empty if nothing is known.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = match (self.images, self.split_images) {
            (Some(images), Some(all)) => Some(format!("{images} of {all} images")),
            (Some(images), None) => Some(counted(images, "image")),
            (None, _) => None,
        };
        let split =
            self.split.as_ref().filter(|_| images.is_some()).map(|split| format!(" of split {split}"));
        let weights = self.weights.as_ref().map(|weights| format!("weights: {weights}"));
        let images = images.map(|images| images + &split.unwrap_or_default());
        let protocol = self.protocol.as_ref().filter(|protocol| !protocol.is_whole_image());
        let protocol = protocol.map(|protocol| format!("protocol {protocol}"));
        let window = self.window.as_ref().map(ToString::to_string);
        let parts = images.into_iter().chain(window).chain(weights).chain(protocol);
        f.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}

/// Scores over a whole dataset, as fractions in `[0, 1]`. Where an attack crafts several examples
/// per image, the scores are worst cases. Mean IoU, IoU by class and IoU by size of object belong to
/// the choice of examples with the lowest mean IoU over the dataset. The boundary IoU belongs to the
/// choice with the lowest boundary IoU. All other scores take each image's lowest value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean over the classes' IoU on the dataset, for classes that occur.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
    /// Intersection over union of each class. `None` for a class that occurs in neither labels nor
    /// predictions.
    pub iou: Vec<Option<f64>>,
    /// The values of the registered [`METRICS`](crate::METRICS), each under its own key.
    #[serde(flatten)]
    pub metrics: MetricValues,
    /// The interval that holds the `miou` of 95 % of the bootstrap samples of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miou_interval: Option<[f64; 2]>,
    /// The interval that holds the `pixel_accuracy` of 95 % of the bootstrap samples of the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_accuracy_interval: Option<[f64; 2]>,
}

/// A robustness curve: scores under one attack as epsilon grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenCurve")]
pub struct Curve {
    /// The attack's name.
    pub attack: String,
    /// The attack's settings.
    pub parameters: Settings,
    /// The source of the gradients, if examples of another network were used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The points in the order of the configuration.
    pub points: Vec<Point>,
    /// The cost of the attack for all points together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Passes>,
}

/// A curve as stored. An older version may have written fewer settings.
#[derive(Deserialize)]
struct WrittenCurve {
    attack: String,
    parameters: Settings,
    #[serde(default)]
    source: Option<String>,
    points: Vec<Point>,
    #[serde(default)]
    passes: Option<Passes>,
}

impl From<WrittenCurve> for Curve {
    fn from(written: WrittenCurve) -> Self {
        let WrittenCurve { attack, parameters, source, points, passes } = written;
        let parameters = robustseg_attacks::completed(&attack, &parameters);
        Self { attack, parameters, source, points, passes }
    }
}

/// Average cost per image in passes through the network. Points that share gradients count them
/// once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    /// Forward passes, including those before a backward pass, but not those for the scored
    /// predictions.
    pub forward: f64,
    /// Backward passes.
    pub backward: f64,
}

/// A point of a robustness curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The attack's epsilon. 0 is the clean image.
    pub epsilon: f64,
    /// The scores at this epsilon.
    #[serde(flatten)]
    pub scores: Scores,
    /// The candidates of a worst case, each with its own scores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<CandidateScores>,
    /// How small the perturbations are, for an attack that looks for small ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest: Option<Smallest>,
}

/// How small the perturbations are that get a share of the pixels wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smallest {
    /// The share of an image's labelled pixels that has to be wrong.
    pub wrong: f64,
    /// The share of the images with labelled pixels in which it is.
    pub succeeded: f64,
    /// The median over these images of the largest change of a channel, where an image without
    /// success counts as infinite. `None` if it is infinite.
    pub median: Option<f64>,
}

/// Scores of one candidate of an attack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateScores {
    /// The candidate's name.
    pub name: String,
    /// Mean IoU over the dataset.
    pub miou: f64,
    /// Share of the labelled pixels that are right.
    pub pixel_accuracy: f64,
}

/// A reason to distrust a score of a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// The kind of warning.
    pub kind: WarningKind,
    /// The curve's attack.
    pub attack: String,
    /// The attack's settings.
    pub parameters: Settings,
    /// The point's epsilon.
    pub epsilon: f64,
    /// What was observed, and what it may mean.
    pub message: String,
}

/// Possible faults of a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningKind {
    /// The gradient of images vanishes. It may be masked.
    ZeroGradient,
    /// The attack did not raise the cross-entropy of images.
    LossDoesNotRise,
    /// The attack gets weaker as its ball grows.
    WeakerThanSmallerEpsilon,
    /// A cheaper attack is stronger.
    WeakerThanCheaperAttack,
    /// Examples of another network are stronger. The gradients of this one may be masked.
    WeakerThanTransfer,
    /// The result depends strongly on the random start.
    RandomStartDecisive,
    /// The attack does not reach the surface of its ball.
    BudgetUnused,
    /// The gradient of the model differs from the slope of its loss. The warning covers all attacks
    /// and names the largest epsilon.
    InexactGradient,
}

/// The record of one image and attack: a line of `images.jsonl`. Confusion matrices add up, so any
/// score and any worst case can be computed from the lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The sample's id.
    pub id: String,
    /// The attack's name, or `None` for the clean image.
    pub attack: Option<String>,
    /// The attack's settings.
    pub parameters: Settings,
    /// The source of the attack's gradients, if examples of another network were used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The attack's epsilon.
    pub epsilon: f64,
    /// The candidate's name, if the attack has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Mean cross-entropy over the labelled pixels.
    pub loss: f32,
    /// The largest change of a channel.
    pub largest_perturbation: f32,
    /// Label, prediction and number of pixels, for the pairs that occur.
    pub confusion: Vec<(u8, u8, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_says_how_many_images_of_how_many() {
        let scope = Scope {
            split: Some("val".into()),
            images: Some(24),
            split_images: Some(100),
            weights: Some("best".into()),
            ..Scope::default()
        };
        assert_eq!(scope.to_string(), "24 of 100 images of split val, weights: best");
        assert_eq!(Scope { images: Some(1), ..Scope::default() }.to_string(), "1 image");
        assert_eq!(Scope::default().to_string(), "");
    }

    #[test]
    fn an_evaluation_from_before_there_were_scopes_is_read() -> serde_json::Result<()> {
        let text = r#"{"clean": {"miou": 0.5, "pixel_accuracy": 0.75, "iou": [0.5, null]}, "curves": []}"#;
        let read: Evaluation = serde_json::from_str(text)?;
        assert_eq!(read.scope, Scope::default());
        let written = serde_json::to_string(&read)?;
        assert!(!written.contains("images") && !written.contains("selected"), "{written}");
        Ok(())
    }
}
